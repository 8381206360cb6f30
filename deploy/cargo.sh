#!/bin/sh
# Runs cargo from a Rust toolchain that is new enough, wherever it is: on PATH, from rustup, or one of
# those that a distribution keeps beside its default.
#
#   deploy/cargo.sh ARGUMENT…            run cargo
#   deploy/cargo.sh --wanted             print the oldest version that will do (from Cargo.toml)
#   deploy/cargo.sh --at-least VERSION   say by the exit code whether this version will do
#   deploy/cargo.sh --found              say by the exit code whether there is a toolchain
#   deploy/cargo.sh --found-at           print the directory of its programs
set -eu

manifest=$(dirname "$0")/../Cargo.toml
wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$manifest")

at_least() {
    [ "$(printf '%s\n%s\n' "$wanted" "$1" | sort -V | head -n 1)" = "$wanted" ]
}

# The directory of the first toolchain that will do.
find_toolchain() {
    for directory in "$(dirname "$(command -v cargo || echo /nowhere/cargo)")" \
        "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin" /usr/bin /usr/lib/rust-*/bin; do
        [ -x "$directory/cargo" ] || continue
        version=$("$directory/rustc" --version 2>/dev/null | cut -d ' ' -f 2)
        if [ -n "$version" ] && at_least "$version"; then
            echo "$directory"
            return 0
        fi
    done
    return 1
}

case ${1:-} in
    --wanted) echo "$wanted" ;;
    --at-least) at_least "$2" ;;
    --found) find_toolchain >/dev/null ;;
    --found-at) find_toolchain ;;
    *)
        toolchain=$(find_toolchain) || {
            echo "cargo.sh: no Rust $wanted or newer here: deploy/install-packages.sh rust" >&2
            exit 1
        }
        PATH=$toolchain:$PATH exec cargo "$@"
        ;;
esac
