//! What is required, and what is measured for it. Data only.

use unmangle::lab::Row;

use crate::judge::{self, Judged};
use crate::plan::Measurement::{AsUser, Lab};

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
pub enum Measurement {
    /// Run by whoever runs this: root.
    Lab(&'static str),
    /// Run by an ordinary user. Where the machine forbids that, the requirement is not tried.
    AsUser(&'static str),
}

/// Repetitions follow one another in one lab, so that caches are warm and medians mean something.
pub const REQUIREMENTS: &[Requirement] = &[
    Requirement {
        name: "faults",
        text: "with a strict client and no relay, every fault kills an upload",
        measurements: &[Lab(
            "isn-rewrite pix wscale-strip --path direct --family both --strict client",
        )],
        judge: judge::faults_kill,
    },
    Requirement {
        name: "split",
        text: "with a strict client, splitting alone is not enough in pix and wscale-strip, 5 of 5",
        measurements: &[
            Lab("pix wscale-strip --path split --strict client --runs 5"),
            Lab("isn-rewrite --path split --strict client --runs 5"),
        ],
        judge: judge::splitting_is_not_enough,
    },
    Requirement {
        name: "matrix",
        text: "through the relay everything arrives, both ways, IPv4 and IPv6, nothing INVALID",
        measurements: &[Lab("--path direct,relay --direction both --family both")],
        judge: judge::all_arrives,
    },
    Requirement {
        name: "opened-from-server",
        text: "the same for connections opened from the server side",
        measurements: &[Lab(
            "--path direct,relay --direction both --family both --opened-from server",
        )],
        judge: judge::all_arrives,
    },
    Requirement {
        name: "liberal",
        text: "in pix and isn-rewrite the relay is at least 10 times as fast as liberal (medians of 5)",
        measurements: &[Lab(
            "pix isn-rewrite --path liberal,relay --runs 5 --timeout 120s",
        )],
        judge: judge::ten_times_liberal,
    },
    Requirement {
        name: "clean",
        text: "relayed, pix (median of 5) and isn-rewrite (each of 20) take at most 2 times clean",
        measurements: &[
            Lab("clean pix --path relay --runs 5"),
            Lab("isn-rewrite --path relay --runs 20"),
        ],
        judge: judge::at_most_twice_clean,
    },
    Requirement {
        name: "long-rtt",
        text: "with 20 ms on the long leg relay and liberal complete in pix and isn-rewrite",
        measurements: &[Lab(
            "pix isn-rewrite --path liberal,relay --long-rtt 20ms --timeout 180s",
        )],
        judge: judge::both_complete,
    },
    Requirement {
        name: "every-tool",
        text: "through the relay every tool carries everything in all nine scenarios, both ways, IPv4 and \
               IPv6, nothing INVALID",
        measurements: &[Lab(
            "all --path relay --tool scp,sftp,rsync-ssh,rsync-daemon --direction both --family both \
             --timeout 120s",
        )],
        judge: judge::every_tool_arrives,
    },
    Requirement {
        name: "idle-drop",
        text: "a session that is silent for 40 s is lost without the relay and survives with it, both ways, \
               IPv4 and IPv6",
        measurements: &[
            Lab("idle-drop --path direct --family both --timeout 15s"),
            Lab("idle-drop --path relay --direction both --family both --timeout 15s"),
        ],
        judge: judge::silence_is_survived,
    },
    Requirement {
        name: "split-stress",
        text: "splitting alone fails in isn-rewrite-lossy-lan and blackhole, IPv4 and IPv6, 3 of 3",
        measurements: &[Lab(
            "isn-rewrite-lossy-lan blackhole --path split --family both --runs 3 --timeout 15s",
        )],
        judge: judge::splitting_fails,
    },
    Requirement {
        name: "lossy-lan",
        text: "relayed, isn-rewrite-lossy-lan arrives in each of 20 runs, nothing INVALID, the hosts untouched",
        measurements: &[Lab(
            "isn-rewrite-lossy-lan --path relay --runs 20 --timeout 120s",
        )],
        judge: judge::twenty_arrive,
    },
    Requirement {
        name: "lossy-lan-tuned",
        text: "the same with the hosts tuned (--host-tuning apply)",
        measurements: &[Lab(
            "isn-rewrite-lossy-lan --path relay --runs 20 --timeout 120s --host-tuning apply",
        )],
        judge: judge::twenty_arrive,
    },
    Requirement {
        name: "long-rtt-normalise",
        text: "in pix with 20 ms on the long leg the relay is at least 3 times as fast as normalise (medians \
               of 3)",
        measurements: &[Lab(
            "pix --path normalise,relay --long-rtt 20ms --runs 3 --timeout 120s",
        )],
        judge: judge::three_times_normalise,
    },
    Requirement {
        name: "normalise",
        text: "rules without a relay cure what rules can cure, both ways, IPv4 and IPv6, nothing INVALID",
        measurements: &[
            Lab(
                "isn-rewrite pix wscale-strip blackhole reorder asa isn-rewrite-lossy-lan clean \
                 --path normalise --direction both --family both --timeout 120s",
            ),
            Lab("idle-drop --path normalise --idle 10s --timeout 10s"),
        ],
        judge: judge::rules_cure,
    },
    Requirement {
        name: "ordinary-user",
        text: "an ordinary user sees the fault and the cure",
        measurements: &[AsUser("clean pix --path direct,relay --size 5M")],
        judge: judge::fault_and_cure,
    },
];
