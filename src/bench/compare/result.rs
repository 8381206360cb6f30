//! What a comparison found: what `--json` writes. `docs/bench-compare.schema.json` describes it for others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bench::compare::cores::Placement;
use crate::bench::compare::idle::Idle;
use crate::bench::compare::paired::{Ratio, Turns};
use crate::bench::compare::plan::{Better, Measure, Offload, Shape, Work};
use crate::bench::versioned::{self, Unreadable, Written};

/// The version of the format.
pub const FORMAT: u32 = 2;

/// What a comparison found.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "What unmangle bench compare found")]
pub struct Comparison {
    /// The version of this format.
    pub format: u32,
    /// How it was measured.
    pub terms: Terms,
    /// Those that did not take part, and why.
    pub absent: Vec<Absent>,
    /// For each setting of the devices, what was found with it.
    pub settings: Vec<Setting>,
    /// What idle sessions cost; empty unless that was asked for.
    pub idle: Vec<Idle>,
    /// Who failed at what. It has no figure there.
    pub failures: Vec<Failure>,
}

/// How it was measured.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Where the relays stood.
    pub shape: Shape,
    /// How often everything was measured; intervals are over these.
    pub rounds: u32,
    /// How many turns each candidate had in a round with each work.
    pub slices: u32,
    /// How long a turn was measured, in seconds.
    pub slice_s: f64,
    /// How long the load ran before that.
    pub warmup_s: f64,
    /// Who decided on which cores a turn ran.
    pub placement: Placement,
    /// What the order of turns was drawn from.
    pub seed: u64,
    /// Cores of the machine.
    pub cores: u64,
    /// Its kernel.
    pub kernel: String,
    /// Its processor, as it calls itself; older runs do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    /// When the run began, as RFC 3339 has it; older runs do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// One that did not take part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// Its name.
    pub candidate: String,
    /// Why it did not.
    pub why: String,
}

/// What was found with one setting of the devices.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The setting.
    pub offload: Offload,
    /// What was found, work by work and measure by measure.
    pub compared: Vec<Compared>,
}

/// One measure of one work, candidate by candidate.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// What was done.
    pub work: Work,
    /// What was measured of it.
    pub measure: Measure,
    /// The unit of the figures.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// The peer with the best median: what `to_best_peer` is the ratio to. None without peers.
    pub best_peer: Option<String>,
    /// The figures.
    pub figures: Vec<Figure>,
}

/// What one candidate reached.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The candidate.
    pub candidate: String,
    /// The median over all turns.
    pub median: f64,
    /// Its paired ratio to the direct path.
    pub to_direct: Option<Ratio>,
    /// Its paired ratio to the best peer; the best peer itself has none.
    pub to_best_peer: Option<Ratio>,
    /// Every turn, by round; null where one told no figure.
    pub turns: Turns,
}

/// Who failed at what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The candidate.
    pub candidate: String,
    /// With which devices.
    pub offload: Offload,
    /// At what; none: it did not even start, or no bytes got through.
    pub work: Option<Work>,
    /// What was said.
    pub why: String,
}

// === impl Comparison ===

impl Comparison {
    /// Reads what `--json` wrote.
    ///
    /// # Errors
    /// A text that is none, that lacks a field or has one too many, or that is of another format.
    pub fn parse(text: &[u8]) -> Result<Self, Unreadable> {
        let known = Written {
            name: "a comparison",
            origin: "what `unmangle bench compare --json` prints",
            format: FORMAT,
        };
        versioned::read(text, known)
    }
}

// === impl Setting ===

impl Setting {
    /// What was found of one measure of one work.
    pub fn find(&self, work: Work, measure: Measure) -> Option<&Compared> {
        self.compared
            .iter()
            .find(|each| each.work == work && each.measure == measure)
    }
}

// === impl Compared ===

impl Compared {
    /// What this candidate reached.
    pub fn figure(&self, candidate: &str) -> Option<&Figure> {
        self.figures.iter().find(|each| each.candidate == candidate)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Those of a run of so many rounds.
    pub fn terms(rounds: u32) -> Terms {
        Terms {
            shape: Shape::Forward,
            rounds,
            slices: 1,
            slice_s: 0.15,
            warmup_s: 0.05,
            placement: Placement::Work,
            seed: 1,
            cores: 2,
            kernel: "6.12".to_owned(),
            processor: None,
            at: None,
        }
    }
}
