//! A wire between two hosts of the lab, in user space: it delays, loses and mangles packets.

pub mod counters;
mod heading;
mod mangle;
mod spec;

pub use heading::{Heading, PerHeading};
pub use mangle::{Delivery, Mangler};
pub use spec::{Direction, End, Isn, Oversize, OversizeAction, Protocol, WindowScale, WireSpec};

/// Carries packets until SIGTERM.
pub fn run(_spec: &WireSpec) -> std::io::Result<()> {
    unimplemented!()
}
