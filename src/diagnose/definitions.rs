//! What the metrics of this room are: name and help, once.

use crate::metrics::{BaseUnit, Definition, Kind};

/// Every metric of this room.
pub static DEFINITIONS: [&Definition; 12] = [
    &INVALID,
    &INVALID_REASON,
    &PASSED,
    &REASONS_LOST,
    &INSERT_FAILED,
    &DROPS,
    &EARLY_DROPS,
    &CHAINS_TOO_LONG,
    &CLASHES_RESOLVED,
    &SEARCH_RESTARTS,
    &ENTRIES,
    &ENTRIES_LIMIT,
];

pub(super) static INVALID: Definition = counter(
    "unmangle_conntrack_invalid",
    "Packets that conntrack of this network namespace called INVALID, relayed or not, since the namespace was made or conntrack was loaded, whichever was later",
);
pub(super) static INVALID_REASON: Definition = Definition {
    labels: &["reason"],
    ..counter(
        "unmangle_conntrack_invalid_reason",
        "INVALID packets by conntrack's reason, as logged since the relay looks; only where net.netfilter.nf_conntrack_log_invalid is 6 or 255",
    )
};
pub(super) static PASSED: Definition = counter(
    "unmangle_conntrack_ignored",
    "Packets that conntrack logged as odd and did not call INVALID; only where the reasons are counted",
);
pub(super) static REASONS_LOST: Definition = counter(
    "unmangle_conntrack_reasons_lost",
    "Times that the kernel had more of its log than it could keep, so that reasons are missing",
);
pub(super) static INSERT_FAILED: Definition = counter(
    "unmangle_conntrack_insert_failed",
    "Packets dropped because conntrack could not enter their connection",
);
pub(super) static DROPS: Definition = counter(
    "unmangle_conntrack_drops",
    "Packets dropped because conntrack was full or had no memory",
);
pub(super) static EARLY_DROPS: Definition = counter(
    "unmangle_conntrack_early_drops",
    "Entries that conntrack gave up to make room for others",
);
pub(super) static CHAINS_TOO_LONG: Definition = counter(
    "unmangle_conntrack_chains_too_long",
    "Packets dropped because too many connections had the same place in conntrack's table",
);
pub(super) static CLASHES_RESOLVED: Definition = counter(
    "unmangle_conntrack_clashes_resolved",
    "Connections that two packets opened at once, and conntrack made one of",
);
pub(super) static SEARCH_RESTARTS: Definition = counter(
    "unmangle_conntrack_search_restarts",
    "Searches that conntrack began anew because its table was being resized",
);
pub(super) static ENTRIES: Definition = gauge(
    "unmangle_conntrack_entries",
    "Connections in conntrack's table; a relayed session has two",
);
pub(super) static ENTRIES_LIMIT: Definition = gauge(
    "unmangle_conntrack_entries_limit",
    "Connections that conntrack's table may have (net.netfilter.nf_conntrack_max)",
);

const fn counter(name: &'static str, help: &'static str) -> Definition {
    define(name, help, Kind::Counter)
}

const fn gauge(name: &'static str, help: &'static str) -> Definition {
    define(name, help, Kind::Gauge)
}

const fn define(name: &'static str, help: &'static str, kind: Kind) -> Definition {
    Definition {
        name,
        help,
        kind,
        unit: BaseUnit::None,
        labels: &[],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_definition_keeps_to_the_conventions_and_no_name_is_used_twice() {
        let names: BTreeSet<_> = DEFINITIONS.iter().map(|one| one.name).collect();
        assert_eq!(names.len(), DEFINITIONS.len());
        for definition in DEFINITIONS {
            assert!(definition.name.starts_with("unmangle_conntrack_"));
            assert_eq!(definition.complaint(), None, "{definition:?}");
        }
    }
}
