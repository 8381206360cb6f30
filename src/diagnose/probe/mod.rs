//! Finds out what the path between two hosts does to TCP: both ends see what was sent and what arrived.
//!
//! | file | job |
//! | --- | --- |
//! | `order` | what an end is told to do, and what it answers |
//! | `drive` | the experiments: what both ends are told, one after another |
//! | `agent` | an end that carries it out: pure, packets and time in, packets and answers out |
//! | `ends` | the two ends, as an experiment uses them |
//! | `evidence` | what was seen, as plain values |
//! | `here` | one end on this host, by what `crafted` has |
//! | `control` | what both ends say to each other (pure); `control/client` says it, again if need be |
//! | `pair` | both ends for real |
//! | `serve` | lets clients in and gives each an end |
//! | `judge` | what that means: findings, one file a subject |
//! | `finding` | what a path may do, by names that stay |
//! | `remedy` | the profile that cures it, and the file that has it |
//! | `verdict` | all of it in plain words |
//! | `told` | what is told, for programs: `docs/probe.schema.json` |
//! | `text` | the same for people |

pub mod agent;
pub mod control;
pub mod drive;
pub mod ends;
pub mod evidence;
mod finding;
pub mod here;
mod judge;
pub mod order;
pub mod pair;
pub mod remedy;
pub mod serve;
mod text;
mod told;
mod verdict;

pub use finding::{Behaviour, Finding, Status, Ways};
pub use judge::judge;
pub use text::render;
pub use told::{Key, Kind, Passage, PathTold, Recommended, Report};
