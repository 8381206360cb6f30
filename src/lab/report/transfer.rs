//! A transfer as the page shows it: its row, what its captures say, and how it is drawn. Pure.

use crate::lab::matrix::way;
use crate::lab::report::series::Carried;
use crate::lab::row::{Outcome, Row};
use crate::lab::topology::Role;

/// A transfer that is over.
#[derive(Debug, Clone)]
pub(super) struct Transfer {
    /// What it came to.
    pub(super) row: Row,
    /// Where its captures and logs are, seen from the page.
    pub(super) directory: String,
    /// What it carried over time; none if no connection was opened.
    pub(super) carried: Option<Carried>,
    /// The first packet that was INVALID.
    pub(super) objection: Option<Objection>,
}

/// The first packet that connection tracking called INVALID.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Objection {
    /// On which host.
    pub(super) host: Role,
    /// In seconds since the transfer had begun.
    pub(super) at: f64,
}

/// How an end is told, by a sign and a word: colour is a third.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) sign: &'static str,
    pub(super) word: &'static str,
    pub(super) class: &'static str,
}

// === impl Transfer ===

impl Transfer {
    /// When its line ends, in seconds: with the last byte, with the reset, or when nobody would wait any more.
    pub(super) fn end(&self) -> f64 {
        let Some(carried) = &self.carried else {
            return 0.0;
        };
        match self.row.outcome {
            Outcome::Ok | Outcome::Error => carried.last.0,
            Outcome::Reset => carried.reset.unwrap_or(0.0).max(carried.last.0),
            Outcome::Stall => self.row.seconds.max(carried.last.0),
        }
    }
}

// === impl Told ===

impl From<Outcome> for Told {
    fn from(outcome: Outcome) -> Self {
        let (sign, word, class) = match outcome {
            Outcome::Ok => ("●", "ok", "good"),
            Outcome::Reset => ("✕", "reset", "bad"),
            Outcome::Stall => ("■", "stall", "warn"),
            Outcome::Error => ("▲", "error", "bad"),
        };
        Self { sign, word, class }
    }
}

/// The path, and which repetition, if there is more than one.
pub(super) fn name(row: &Row) -> String {
    let way = way(row.path, row.shape);
    match row.run {
        1 => way,
        run => format!("{way}, run {run}"),
    }
}
