#!/bin/sh
# Installs what is missing on Debian or Ubuntu; what is there already is left alone.
#
#   deploy/install-packages.sh [lab] [bench] [metrics] [browser] [python] [machine] [image] [deb] [rust] [lint]
#
#   lab      what the lab and the tests call: nftables, iptables, iproute2, OpenSSH, conntrack, rsync,
#            tcpdump, ping, sysctl, libfaketime, tmux
#   bench    what the benchmarks compare with and measure by: HAProxy, nginx, socat, iperf3, sockperf
#   metrics  what reads our figures independently of us: Prometheus and its promtool
#   browser  what looks at the status page: Chromium, and a font
#   python   what reads our files independently of us: HdrHistogram from PyPI, in target/python
#   machine  a Debian that boots, for what is installed and run by systemd: debootstrap, systemd-nspawn;
#            the readers of pages and completions: mandoc, zsh, fish
#   image    what makes the container's image without a daemon: buildah
#   deb      what makes the Debian package: dpkg-dev, and cargo-deb in target/tools (built once, without optimising: a minute)
#   rust     a C linker, and a Rust toolchain where there is none or where it is too old
#   lint     rustfmt and clippy
#
# Without root it installs no package and says in one line what is missing.
set -eu

here=$(dirname "$0")

# PROGRAM PACKAGE, one a line; a file by its whole path.
lab_tools='ip iproute2
ss iproute2
nft nftables
iptables iptables
conntrack conntrack
sshd openssh-server
scp openssh-client
ssh-keygen openssh-client
rsync rsync
sftp openssh-client
tcpdump tcpdump
ping iputils-ping
sysctl procps
ethtool ethtool
faketime faketime
tmux tmux'
bench_tools='haproxy haproxy
nginx nginx
/usr/lib/nginx/modules/ngx_stream_module.so libnginx-mod-stream
socat socat
iperf3 iperf3
sockperf sockperf'
metrics_tools='prometheus prometheus
promtool prometheus'
browser_tools='chromium chromium
/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf fonts-dejavu-core'
machine_tools='debootstrap debootstrap
systemd-nspawn systemd-container
mandoc mandoc
zsh zsh
fish fish'
image_tools='buildah buildah'
deb_tools='dpkg-shlibdeps dpkg-dev'

# Of PyPI. A later one may read otherwise: what it reads is compared number by number.
hdrhistogram=0.10.8
prometheus_client=0.26.0

have() {
    case $1 in
        /*) [ -e "$1" ] ;;
        *) command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] ;;
    esac
}

die() {
    echo "install-packages: $*" >&2
    exit 1
}

# The packages of the tools listed that are not there, each once.
missing_tools() {
    {
        echo "$1" | while read -r program package; do
            have "$program" || echo "$package"
        done
        # nft looks up the names of protocols there.
        [ -e /etc/protocols ] || echo netbase
    } | sort -u
}

# What cargo needs beside itself: a linker, and certificates to fetch crates by HTTPS.
missing_build() {
    have cc || printf '%s\n' gcc libc6-dev
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
}

require_root() {
    [ "$(id -u)" -eq 0 ] || die "missing: $*; run the same command with sudo to install"
    have apt-get || die "missing: $*; this script knows only apt, please install by hand"
}

updated=
update() {
    [ -n "$updated" ] || apt_get update
    updated=yes
}

# apt-get without questions, and silent unless it fails.
apt_get() {
    log=$(mktemp)
    if ! DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" \
        </dev/null >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        die "apt-get $* failed"
    fi
    rm -f "$log"
}

apt_install() {
    require_root "$*"
    update
    echo "installing: $*"
    hold_services
    apt_get install --no-install-recommends "$@"
    release_services
}

# The lab runs servers of its own: installing one is no reason to open a port on this machine.
policy=/usr/sbin/policy-rc.d
held=
hold_services() {
    [ ! -e "$policy" ] || return 0
    held=yes
    trap release_services EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}
release_services() {
    [ -n "$held" ] || return 0
    held=
    rm -f "$policy"
}

install_tools() {
    # shellcheck disable=SC2046 # one word a package
    set -- $(missing_tools "$1")
    [ $# -gt 0 ] || return 0
    apt_install "$@"
    for package in "$@"; do
        case $package in
            openssh-server) disable ssh.service ssh.socket ;;
            haproxy) disable haproxy.service ;;
            nginx) disable nginx.service ;;
            prometheus) disable prometheus.service ;;
        esac
    done
}

# Nor after the next boot.
disable() {
    [ ! -d /run/systemd/system ] || systemctl disable --now "$@" >/dev/null 2>&1 || true
}

# A Python that can make virtual environments; Debian's may be there beside one that cannot.
python_found() {
    for python in python3 /usr/bin/python3; do
        if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$python"
            return 0
        fi
    done
    return 1
}

install_python() {
    venv=$here/../target/python
    wanted="import importlib.metadata as m, hdrh.log; assert m.version('hdrhistogram') == '$hdrhistogram'"
    wanted="$wanted; import prometheus_client; assert m.version('prometheus_client') == '$prometheus_client'"
    if "$venv/bin/python" -c "$wanted" 2>/dev/null; then return 0; fi
    python_found >/dev/null || apt_install python3-venv
    python=$(python_found) || die "no python3 here can make a virtual environment; please install python3-venv"
    set -- "hdrhistogram==$hdrhistogram" "prometheus_client==$prometheus_client"
    echo "installing: $* from PyPI into target/python"
    log=$(mktemp)
    if ! { "$python" -m venv --clear "$venv" &&
        "$venv/bin/python" -m pip -q --disable-pip-version-check install "$@" &&
        "$venv/bin/python" -c "$wanted"; } >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        die "cannot install $* from PyPI into target/python: see above"
    fi
    rm -f "$log"
}

# The packages of apt that bring the newest Rust that is new enough: Debian 12 has rustc-web beside
# its old rustc, Ubuntu has rustc-1.NN beside its own.
rust_packages() {
    for rustc in rustc rustc-web $(apt-cache pkgnames rustc-1.); do
        version=$(apt-cache policy "$rustc" | sed -n 's/^ *Candidate: //p')
        case $version in
            [0-9]*) "$here/cargo.sh" --at-least "$version" && echo "$version $rustc" ;;
        esac
    done | sort -V | sed -n '$s/^[^ ]* //p'
}

install_rust() {
    # shellcheck disable=SC2046 # one word a package
    set -- $(missing_build)
    [ $# -eq 0 ] || apt_install "$@"
    "$here/cargo.sh" --found && return 0
    require_root "Rust $("$here/cargo.sh" --wanted) or newer"
    update
    rustc=$(rust_packages)
    if [ -n "$rustc" ]; then
        apt_install "$rustc" "cargo${rustc#rustc}"
    elif apt-cache show rustup >/dev/null 2>&1; then
        apt_install rustup
        rustup -q toolchain install --profile minimal stable
        rustup -q default stable
    fi
    "$here/cargo.sh" --found ||
        die "no package here has Rust $("$here/cargo.sh" --wanted) or newer; install it from https://rustup.rs"
}

# A later one may name its files otherwise.
cargo_deb=3.8.0
install_deb() {
    install_tools "$deb_tools"
    tools=$here/../target/tools
    if [ "$("$tools/bin/cargo-deb" --version 2>/dev/null)" = "$cargo_deb" ]; then return 0; fi
    install_rust
    echo "installing: cargo-deb $cargo_deb into target/tools"
    "$here/cargo.sh" install --quiet --locked --debug "cargo-deb@$cargo_deb" --root "$tools" ||
        die "cannot install cargo-deb $cargo_deb into target/tools: see above"
}

have_lint() {
    "$here/cargo.sh" fmt --version >/dev/null 2>&1 && "$here/cargo.sh" clippy --version >/dev/null 2>&1
}

install_lint() {
    if have_lint; then return 0; fi
    case $(readlink -f "$("$here/cargo.sh" --found-at)/cargo") in
        *rustup*)
            rustup -q component add rustfmt clippy
            ;;
        *)
            if dpkg-query -W rustc-web >/dev/null 2>&1; then
                apt_install rustfmt-web rust-web-clippy
            else
                apt_install rustfmt rust-clippy
            fi
            ;;
    esac
    have_lint || die "rustfmt and clippy for this toolchain are missing; please install them by hand"
}

for group in "$@"; do
    case $group in
        lab) install_tools "$lab_tools" ;;
        bench) install_tools "$bench_tools" ;;
        metrics) install_tools "$metrics_tools" ;;
        browser) install_tools "$browser_tools" ;;
        python) install_python ;;
        machine) install_tools "$machine_tools" ;;
        image) install_tools "$image_tools" ;;
        deb) install_deb ;;
        rust) install_rust ;;
        lint) install_lint ;;
        *) die "unknown group $group: there are lab, bench, metrics, browser, python, machine, image, deb, rust and lint" ;;
    esac
done
