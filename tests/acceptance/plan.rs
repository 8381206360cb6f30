//! What is required, and what is measured for it. Data only.

use unmangle::lab::Row;

use crate::judge::{self, Judged};

/// One requirement: what to measure, and who judges the rows.
pub struct Requirement {
    /// A short name, for the command line.
    pub name: &'static str,
    /// What is required, in a sentence.
    pub text: &'static str,
    /// What the lab is asked for; the rows of all of them are judged together.
    pub measurements: &'static [Measurement],
    /// Whether the rows show it.
    pub judge: fn(&[Row]) -> Judged,
}

/// The arguments of one `unmangle lab run --json`.
pub struct Measurement(pub &'static str);

/// Repetitions follow one another in one lab, so that caches are warm and medians mean something.
pub const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        name: "faults",
        text: "with a strict client and no relay, every fault kills an upload",
        measurements: &[Measurement(
            "isn-rewrite pix wscale-strip --path direct --family both --strict client",
        )],
        judge: judge::faults_kill,
    },
    Requirement {
        name: "split",
        text: "with a strict client, splitting alone is not enough in pix and wscale-strip, 5 of 5",
        measurements: &[
            Measurement("pix wscale-strip --path split --strict client --runs 5"),
            Measurement("isn-rewrite --path split --strict client --runs 5"),
        ],
        judge: judge::splitting_is_not_enough,
    },
    Requirement {
        name: "matrix",
        text: "through the relay everything arrives, both ways, IPv4 and IPv6, nothing INVALID",
        measurements: &[Measurement(
            "--path direct,relay --direction both --family both",
        )],
        judge: judge::all_arrives,
    },
    Requirement {
        name: "opened-from-server",
        text: "the same for connections opened from the server side",
        measurements: &[Measurement(
            "--path direct,relay --direction both --family both --opened-from server",
        )],
        judge: judge::all_arrives,
    },
    Requirement {
        name: "liberal",
        text: "in pix and isn-rewrite the relay is at least 10 times as fast as liberal (medians of 5)",
        measurements: &[Measurement(
            "pix isn-rewrite --path liberal,relay --runs 5 --timeout 120s",
        )],
        judge: judge::ten_times_liberal,
    },
    Requirement {
        name: "clean",
        text: "relayed, pix (median of 5) and isn-rewrite (each of 20) take at most 2 times clean",
        measurements: &[
            Measurement("clean pix --path relay --runs 5"),
            Measurement("isn-rewrite --path relay --runs 20"),
        ],
        judge: judge::at_most_twice_clean,
    },
    Requirement {
        name: "long-rtt",
        text: "with 20 ms on the long leg relay and liberal complete in pix and isn-rewrite",
        measurements: &[Measurement(
            "pix isn-rewrite --path liberal,relay --long-rtt 20ms --timeout 180s",
        )],
        judge: judge::both_complete,
    },
];
