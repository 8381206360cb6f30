#!/bin/sh
# Runs every fuzz target for so many seconds, or those that are named:
#
#   fuzz/run.sh [SECONDS [TARGET…]]
#
# What is found lands in fuzz/artifacts, and in tests/corpus once it is fixed.
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- proxy_header packets mangler config ruleset capture tracking

cargo +nightly fuzz --version >/dev/null 2>&1 || {
    echo "fuzz/run.sh: needs rustup toolchain install nightly, cargo install --locked cargo-fuzz, and g++" >&2
    exit 1
}
for target; do
    options="-max_total_time=$seconds -timeout=25 -print_final_stats=1"
    case $target in
        capture) options="$options -max_len=2000" ;;
        packets) options="$options -max_len=2000" ;;
        config) options="$options -max_len=3000" ;;
        proxy_header) options="$options -max_len=4600" ;;
        tracking) options="$options -max_len=3000" ;;
        mangler) options="$options -max_len=6000" ;;
        ruleset) options="$options -max_len=12000" ;;
    esac
    [ ! -e "$target.dict" ] || options="$options -dict=$PWD/$target.dict"
    more=
    [ "$target" != ruleset ] || more=$PWD/../src/rules/check/testdata
    mkdir -p "corpus/$target"
    # shellcheck disable=SC2086 # several words each
    cargo +nightly fuzz run "$target" "$PWD/corpus/$target" "$PWD/../tests/corpus/$target" $more -- $options
done
