//! A running relay hands over to a newer one: docs/takeover.md is the manual.
//!
//! | file | what it is about |
//! | --- | --- |
//! | `frame`, `message` | what is told, and its bytes: pure |
//! | `standing` | what there is besides sessions, as it is told |
//! | `channel` | messages over a Unix socket, with descriptors |
//! | `claim` | whether the old process lives, and whether it has taken everything back |
//! | `line` | what both sides have in common: the line, patience, failures, batches |
//! | `give` | the old process's side |
//! | `take` | the new process's side |
//!
//! Who relays is decided here and nowhere else; what relaying is, [`Giver`] and [`Taker`] know.

mod channel;
mod claim;
mod frame;
pub mod give;
mod line;
mod message;
mod standing;
pub mod take;

pub use channel::{Channel, ChannelError, Peer};
pub use claim::Claim;
pub use frame::{FormatError, HEAD, Head, Kind, LONGEST, VERSION};
pub use give::{Giver, Going, More, offer};
pub use line::{Failure, Line, Patience, Trouble};
pub use message::{Hello, Message, SESSIONS_VERSION, Totals};
pub use standing::{ListenerSockets, NotedWayIn, SocketNote, Standing};
pub use take::{End, Taker, take};

#[cfg(test)]
mod tests;
