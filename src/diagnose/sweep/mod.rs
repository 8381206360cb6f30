//! What the path to a host does to packets, seen from one end: nothing of ours runs at the other.
//!
//! | file | job |
//! | --- | --- |
//! | `network` | the way out of this host, as a sweep uses it |
//! | `here` | the same as real sockets |
//! | `line` | a network that is used within limits |
//! | `came` | what comes back, read once |
//! | `echo` | the largest ping that is answered |
//! | `flow` | a crafted connection that delivers nothing to the service behind it |
//! | `segments` | TCP segments of all sizes, and what SACK blocks say of them |
//! | `hops`, `quote` | SYNs with few hops to live, and what routers quote of them |
//! | `search`, `background` | bisection; from when on packets are lost more often than others |
//! | `seen`, `judge`, `told`, `text` | what was seen, what it means, how it is told |
//!
//! Everything but `here` is pure: it takes packets and the time from a [`Network`].

pub mod background;
pub mod came;
pub mod echo;
pub mod flow;
pub mod here;
pub mod hops;
pub mod judge;
pub mod line;
pub mod network;
pub mod quote;
pub mod search;
pub mod seen;
pub mod segments;
pub mod text;
pub mod told;

#[cfg(test)]
mod tests;

use std::time::Duration;

use line::Line;
use network::{Broken, Network};
use seen::{Seen, Sizes, Target, Tcp};

/// When pings, TCP segments and hops have to come to an end, one after the other.
const ECHO: Duration = Duration::from_secs(12);
const SEGMENTS: Duration = Duration::from_secs(40);
const HOPS: Duration = Duration::from_secs(50);

/// What is being looked at, for those who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Pings.
    Echo,
    /// TCP segments.
    Segments,
    /// Hops.
    Hops,
}

/// Sweeps.
///
/// # Errors
/// If the network is gone.
pub fn sweep(
    network: &mut dyn Network,
    target: Target,
    mut progress: impl FnMut(Stage),
) -> Result<Seen, Broken> {
    let mut line = Line::new(network);
    let begun = line.now();
    progress(Stage::Echo);
    let identifier = rand::random();
    let echo = echo::Echoes::to(target, identifier, begun + ECHO).sweep(&mut line)?;
    progress(Stage::Segments);
    let tcp = segments::Segments::to(target, begun + SEGMENTS).sweep(&mut line)?;
    let round_trip = match &tcp {
        Tcp::Open(open) => Some(open.round_trip),
        _ => None,
    };
    let answered = matches!(tcp, Tcp::Open(_) | Tcp::Closed) || echo != Sizes::Silent;
    let trace = match answered && tcp != Tcp::Forbidden {
        true => {
            progress(Stage::Hops);
            let until = begun + HOPS;
            Some(hops::trace(&mut line, &target, round_trip, until)?)
        }
        false => None,
    };
    let took = line.now().saturating_sub(begun);
    Ok(Seen {
        target,
        echo,
        tcp,
        trace,
        took,
    })
}
