//! A capture looked at as a connection tracker would: which packets it calls INVALID, by which bound, and what
//! the path has done to them. Packets and their times are arguments; what comes out are values and texts.
//!
//! | file | what it is about |
//! | --- | --- |
//! | `intake` | what is TCP of a capture, and what is left out: fragments, copies, packets cut too short |
//! | `examine` | every connection through the tracker's model, per interface |
//! | `story` | what is remembered of one connection |
//! | `words` | a finding as a sentence, and the profile that cures it |
//! | `told` | what is told, for programs: `docs/explain.schema.json` |
//! | `text` | the same for people |
//! | `chart` | a connection around its first INVALID packet, drawn |
//! | `sides` | two captures, from both sides of what stands between |

pub mod chart;
mod examine;
mod intake;
pub mod sides;
mod story;
mod text;
mod told;
mod words;

pub use examine::{Examination, Judged};
pub use intake::{Intake, LeftOut, Place, Sighting};
pub use text::render;
pub use told::{
    Cure, Finding, FlowTold, Number, PacketTold, Report, SackTold, SideTold, Skipped, Source,
};
