#!/bin/bash
# Makes the fixtures anew: loads each *.nft (nft) and *.rules (iptables-nft) in a network namespace
# of its own, and keeps what nft then lists. Needs root, nftables and iptables.
set -eu
cd "$(dirname "$0")"
for source in *.nft *.rules; do
    name=${source%.*}
    namespace=um-check-$$
    ip netns add "$namespace"
    trap 'ip netns del "$namespace"' EXIT
    inside() { ip netns exec "$namespace" "$@"; }
    case $source in
        *.nft) inside nft -f "$source" ;;
        *) inside iptables-nft-restore <"$source" ;;
    esac
    inside nft -a list ruleset >"$name.listing"
    inside nft -j list ruleset | sed 's/}, {"\(table\|chain\|rule\|set\|map\)"/},\n{"\1"/g' >"$name.json"
    ip netns del "$namespace"
    trap - EXIT
done
