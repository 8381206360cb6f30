//! The connection tracker's TCP rules as a pure model: which packet Linux conntrack calls INVALID, by
//! which bound, with the numbers. Time and segments are arguments; nothing is read and nothing sent.
//!
//! | file | what it is about |
//! | --- | --- |
//! | `kernel` | whose rules: the kernels that differ |
//! | `settings` | what a host can set: liberal, loose, timeouts |
//! | `segment` | what the tracker looks at, of a packet that may be cut short |
//! | `state` | states, kinds of segment, and the table of what follows what |
//! | `side` | what the tracker remembers of each direction |
//! | `window` | the four bounds |
//! | `flow` | one connection: state and windows together |
//! | `table` | all connections, with their timeouts, in bounded memory |
//! | `verdict` | what comes out |
//! | `logged` | the same in the kernel's own words |
//!
//! The rules are those of `net/netfilter/nf_conntrack_proto_tcp.c` of Linux 5.10.13, 6.1 and 6.12, in
//! words and code of our own; 6.18 follows 6.12 but where it was seen to do otherwise.
//! `tests/explain_kernel.rs` and its neighbours check the running kernel packet for packet. `docs/diagnosis.md` says what is left out.

mod flow;
mod kernel;
mod logged;
mod segment;
mod settings;
mod side;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod verdict;
mod window;

pub use kernel::{Kernel, NotAKernel, Running};
pub use segment::{Fault, OptionsSeen, SackBlock, Segment, Unseen};
pub use settings::{Settings, Timeouts};
pub use side::Side;
pub use state::{Kind, State, Way};
pub use table::{FlowId, Known, Seen, Table};
pub use verdict::{Bound, By, Ignored, Invalid, Liberal, Measured, Moment, Passed, Verdict};
