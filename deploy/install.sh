#!/bin/sh
# Installs what was built, and removes it again: what the Debian package does, without its scripts.
#
#   deploy/install.sh install|uninstall DESTDIR PREFIX
set -eu

here=$(dirname "$0")
what=$1
root=$2
prefix=$3
units=$root/etc/systemd/system

# MODE SOURCE TARGET, one a line.
files() {
    echo "755 $here/../target/release/unmangle $root$prefix/bin/unmangle"
    for page in "$here"/man/*.1; do
        echo "644 $page $root$prefix/share/man/man1/${page##*/}"
    done
    echo "644 $here/completions/unmangle.bash $root$prefix/share/bash-completion/completions/unmangle"
    echo "644 $here/completions/_unmangle $root$prefix/share/zsh/site-functions/_unmangle"
    echo "644 $here/completions/unmangle.fish $root$prefix/share/fish/vendor_completions.d/unmangle.fish"
    echo "644 $here/sysusers.d/unmangle.conf $root/etc/sysusers.d/unmangle.conf"
    echo "644 $here/tmpfiles.d/unmangle.conf $root/etc/tmpfiles.d/unmangle.conf"
    for unit in unmangle.service unmangle@.service; do
        echo "644 $here/systemd/$unit $units/$unit"
    done
}

case $what in
    install)
        [ -e "$here/../target/release/unmangle" ] || {
            echo "install: target/release/unmangle is not there: make build first" >&2
            exit 1
        }
        files | while read -r mode from to; do
            install -D -m "$mode" "$from" "$to"
        done
        sed -i "s#/usr/bin/unmangle#$prefix/bin/unmangle#" "$units/unmangle.service" "$units/unmangle@.service"
        [ -e "$root/etc/unmangle/unmangle.toml" ] ||
            install -D -m 644 "$here/unmangle.toml" "$root/etc/unmangle/unmangle.toml"
        [ -n "$root" ] ||
            echo "then: systemd-sysusers && systemd-tmpfiles --create unmangle.conf && systemctl daemon-reload"
        ;;
    uninstall)
        if [ -z "$root" ] && [ -d /run/systemd/system ]; then
            running=$(systemctl list-units --plain --no-legend --state=active 'unmangle.s*' 'unmangle@*.s*' |
                cut -d ' ' -f 1 | tr '\n' ' ')
            [ -z "$running" ] || {
                echo "uninstall: first: systemctl disable --now $running" >&2
                exit 1
            }
        fi
        files | while read -r _ _ to; do
            rm -f "$to"
        done
        echo "stays: $root/etc/unmangle, and the user and the group unmangle if they were made"
        ;;
    *)
        echo "install: $what is neither install nor uninstall" >&2
        exit 2
        ;;
esac
