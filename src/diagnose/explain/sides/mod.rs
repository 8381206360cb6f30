//! Two captures of the same connections, from both sides of what stands between: which field was changed on the
//! way, and what was lost.
//!
//! | file | what it is about |
//! | --- | --- |
//! | `trace` | the segments of one capture, by connection |
//! | `record` | one segment, as far as it is compared |
//! | `find` | which connection is which on the other side |
//! | `pairs` | which segment is which on the other side |
//! | `anew` | whether the connection is ended and begun anew between |
//! | `fields` | fields that differ |
//! | `options` | options that differ |
//! | `fate` | lost, cut off by size, late, out of order, twice |
//! | `told` | what is told, for programs |
//! | `text` | the same for people |

mod anew;
mod fate;
mod fields;
mod find;
mod options;
mod pairs;
mod record;
mod text;
mod told;
mod trace;

pub use pairs::compare;
pub use text::render;
pub use told::{Change, Example, Field, PairTold, PathTold, Travelled};
pub use trace::Trace;

use crate::diagnose::tracking::Way;
use record::Record;

/// The sequence spaces of a connection on both sides, and all that is paired one way.
struct Lane<'a> {
    way: Way,
    /// Where the sequence numbers begin: of this way and of the other, where they are sent and where they arrive.
    sent_isn: [u32; 2],
    arrived_isn: [u32; 2],
    /// Segments on the sender's side, in order.
    sent: &'a [Record],
    /// Segments on the receiver's side.
    arrived: &'a [Record],
    /// Which arrived segment each sent one is.
    paired: Vec<Option<usize>>,
    /// Sent segments that arrived cut or joined otherwise.
    resegmented: Vec<bool>,
    /// What is to be added to the time of arrival to have it by the sender's clock, in nanoseconds.
    shift: i128,
}

// === impl Lane ===

impl Lane<'_> {
    fn pairs(&self) -> impl Iterator<Item = (&Record, &Record)> {
        self.sent
            .iter()
            .zip(&self.paired)
            .filter_map(|(sent, paired)| Some((sent, &self.arrived[(*paired)?])))
    }

    /// By how much this way's sequence numbers are shifted.
    fn offset(&self) -> u32 {
        self.arrived_isn[0].wrapping_sub(self.sent_isn[0])
    }

    /// By how much the numbers are shifted that this way acknowledges.
    fn acknowledged_offset(&self) -> u32 {
        self.arrived_isn[1].wrapping_sub(self.sent_isn[1])
    }

    /// How long a segment was under way, in nanoseconds.
    fn delay(&self, sent: &Record, arrived: &Record) -> i128 {
        arrived.at.as_nanos() as i128 + self.shift - sent.at.as_nanos() as i128
    }
}
