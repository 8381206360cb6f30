//! A wire between two hosts of the lab, in user space: it delays, loses and mangles packets.
//!
//! | file | job |
//! | --- | --- |
//! | `spec` | what a wire is told to do |
//! | `mangle` | the firewall as a pure function: packet and time in, packets and due times out |
//! | `schedule` | packets that are not due yet |
//! | `end` | a TUN device inside a network namespace |
//! | `io` | the loop between two ends |
//! | `counters` | what it did, told at the end |

pub mod counters;
mod end;
mod heading;
mod io;
mod mangle;
mod schedule;
mod spec;
#[cfg(test)]
mod tests;

use std::io::{Write, stdout};
use std::os::fd::AsFd;

use rustix::process::Signal;

pub use heading::{Heading, PerHeading};
pub use io::Wire;
pub use mangle::{Delivery, Mangler};
pub use spec::{
    Direction, End, Isn, Oversize, OversizeAction, Protocol, Stop, UnknownOptions, WindowScale,
    WireSpec,
};

/// Carries packets until SIGTERM or SIGINT.
///
/// Prints `ready` once both devices are up, and at the end one line of JSON: what happened to the
/// packets of each direction, [`PerHeading`] of [`counters::Counters`].
pub fn run(spec: &WireSpec) -> std::io::Result<()> {
    let stop = crate::sys::signal::blocked(&[Signal::TERM, Signal::INT])?;
    let mut wire = Wire::open(spec)?;
    tell("ready")?;
    wire.carry(stop.as_fd())?;
    tell(&serde_json::to_string(&wire.counters()?)?)
}

/// A line the lab reads while this process lives, so it is flushed.
fn tell(line: &str) -> std::io::Result<()> {
    let mut stdout = stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
