//! What can be learnt of this host's conntrack: its own counters, and why it called packets INVALID.
//!
//! | file | what it is about |
//! | --- | --- |
//! | `conntrack` | the counters, from /proc or by netlink |
//! | `widened` | the counters beyond their 32 bits: pure |
//! | `log_settings` | where conntrack's reasons are logged, by the host's settings: pure |
//! | `reason` | a text of the log as a reason: pure |
//! | `invalid` | reads what is logged, and counts |
//! | `watching` | does so for as long as the relay lives |
//! | `doctor` | what of this host is sound and what is not: facts, judged purely |
//! | `definitions` | the metrics: name and help |
//! | `explain` | a capture through that model, told |
//! | `crafted` | packets past this host's TCP: sent, and seen, for `probe` and `sweep` |
//! | `sequential` | whether packets come to harm more often than others: pure |
//! | `probe` | what the path between two hosts does to TCP, seen from both ends |
//! | `sweep` | the same, as far as one end shows it |
//! | `tracking` | conntrack's TCP rules as a model: which packet would be INVALID, and why: pure |
//!
//! Nothing on the host is changed. What cannot be known is absent, with the reason why; it is never 0.

pub mod conntrack;
pub mod crafted;
mod definitions;
pub mod doctor;
pub mod explain;
pub mod invalid;
pub mod log_settings;
pub mod probe;
pub mod reason;
pub mod sequential;
pub mod sweep;
pub mod tracking;
mod watching;
mod widened;

pub use definitions::DEFINITIONS;
pub use watching::{Conntrack, Summary};
