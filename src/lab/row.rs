//! One line of the lab's result, as `--json` prints it.

use serde::{Deserialize, Serialize};

use crate::lab::deployment::Shape;
use crate::lab::matrix::{Case, Family, FlowDirection, OpenedFrom, Path, Strict};
use crate::lab::tool::Tool;

/// What one transfer came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// How a relay is deployed.
    pub shape: Shape,
    /// What stood in between.
    pub path: Path,
    /// What carried the bytes.
    pub tool: Tool,
    /// Where the bytes went, seen from the host that opened the connection.
    pub direction: FlowDirection,
    /// By which IP.
    pub family: Family,
    /// Who opened the connection.
    pub opened_from: OpenedFrom,
    /// Who filtered.
    pub strict: Strict,
    /// Which repetition it is, from 1.
    pub run: u32,
    /// How many bytes were to be carried.
    pub bytes: u64,
    /// How long the tool ran.
    pub seconds: f64,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether every byte arrived as it was sent.
    pub sha256_ok: bool,
    /// Packets the kernel's connection tracking called INVALID.
    pub conntrack_invalid: Invalid,
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Complete, and equal at the far end.
    Ok,
    /// A TCP reset ended it.
    Reset,
    /// It hung until its time was over.
    Stall,
    /// It failed in another way.
    Error,
}

/// INVALID packets, by the kernel's own count, coming in and going out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Invalid {
    /// On the client.
    pub client: u64,
    /// On the server.
    pub server: u64,
    /// On the relay host, on the side that faces the firewall.
    pub relay_mangled: u64,
    /// On the relay host, on the side of the long leg.
    pub relay_clean: u64,
}

// === impl Row ===

impl Row {
    /// The row of a case whose transfer is over.
    pub(crate) fn new(case: &Case, bytes: u64, ended: &Ended, invalid: Invalid) -> Self {
        Self {
            scenario: case.scenario.name.to_owned(),
            shape: case.shape,
            path: case.path,
            tool: case.tool,
            direction: case.direction,
            family: case.family,
            opened_from: case.opened_from,
            strict: case.strict,
            run: case.run,
            bytes,
            seconds: (ended.seconds * 1e4).round() / 1e4,
            outcome: ended.outcome(),
            sha256_ok: ended.equal,
            conntrack_invalid: invalid,
        }
    }
}

// === impl Invalid ===

impl Invalid {
    /// All of them.
    pub fn sum(&self) -> u64 {
        self.client + self.server + self.relay_mangled + self.relay_clean
    }
}

/// How a tool ended, before it is judged.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ended {
    /// Whether its exit code was 0; `None` when it was killed because its time was over.
    pub success: Option<bool>,
    /// What it complained about.
    pub stderr: String,
    /// How long it ran.
    pub seconds: f64,
    /// Whether the bytes at the far end equal those sent.
    pub equal: bool,
    /// TCP resets seen by the host that opened the connection.
    pub resets: u64,
}

/// What SSH says when its connection is reset, by whichever side notices.
const RESET_WORDS: [&str; 4] = [
    "reset",
    "broken pipe",
    "closed by remote",
    "lost connection",
];

impl Ended {
    /// Judges it.
    pub fn outcome(&self) -> Outcome {
        let complaint = self.stderr.to_lowercase();
        let by_reset = self.resets > 0 || RESET_WORDS.iter().any(|word| complaint.contains(word));
        match self.success {
            None => Outcome::Stall,
            Some(true) if self.equal => Outcome::Ok,
            Some(false) if by_reset => Outcome::Reset,
            Some(_) => Outcome::Error,
        }
    }
}

#[cfg(test)]
impl Row {
    /// Of an upload by scp by a gateway: its first run, with nothing INVALID.
    pub(crate) fn sample(scenario: &str, path: Path, outcome: Outcome) -> Self {
        Self {
            scenario: scenario.to_owned(),
            shape: Shape::Gateway,
            path,
            tool: Tool::Scp,
            direction: FlowDirection::Upload,
            family: Family::V4,
            opened_from: OpenedFrom::Client,
            strict: Strict::Both,
            run: 1,
            bytes: 1,
            seconds: 1.0,
            outcome,
            sha256_ok: outcome == Outcome::Ok,
            conntrack_invalid: Invalid::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::scenario;

    #[test]
    fn a_row_reads_as_documented() {
        let case = Case {
            family: Family::V6,
            ..Case::relayed(scenario::find("pix").unwrap())
        };
        let ended = Ended {
            success: Some(true),
            seconds: 0.46,
            equal: true,
            ..Ended::default()
        };
        let row = Row::new(&case, 30_000_000, &ended, Invalid::default());
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(
            json,
            r#"{"scenario":"pix","shape":"gateway","path":"relay","tool":"scp","direction":"upload","#
                .to_owned()
                + r#""family":6,"opened_from":"client","strict":"both","run":1,"bytes":30000000,"#
                + r#""seconds":0.46,"outcome":"ok","sha256_ok":true,"#
                + r#""conntrack_invalid":{"client":0,"server":0,"relay_mangled":0,"relay_clean":0}}"#
        );
        assert_eq!(serde_json::from_str::<Row>(&json).unwrap(), row);
    }

    #[test]
    fn a_reset_is_known_by_what_ssh_says_or_by_the_packet() {
        let failed = Ended {
            success: Some(false),
            ..Ended::default()
        };
        assert_eq!(failed.outcome(), Outcome::Error);
        let said = Ended {
            stderr: "client_loop: send disconnect: Broken pipe".into(),
            ..failed.clone()
        };
        assert_eq!(said.outcome(), Outcome::Reset);
        let seen = Ended {
            resets: 1,
            ..failed
        };
        assert_eq!(seen.outcome(), Outcome::Reset);
    }

    #[test]
    fn bytes_that_differ_are_an_error_even_when_the_tool_is_content() {
        let ended = Ended {
            success: Some(true),
            equal: false,
            ..Ended::default()
        };
        assert_eq!(ended.outcome(), Outcome::Error);
    }

    #[test]
    fn a_transfer_that_was_killed_stalled() {
        let ended = Ended {
            resets: 3,
            ..Ended::default()
        };
        assert_eq!(ended.outcome(), Outcome::Stall);
    }
}
