//! What the relay counts and times. Each worker has [`Recorders`] of its own and writes without locks; whoever
//! asks takes them and leaves empty ones, and adds them up as [`Recorded`].
//!
//! A metric's name and its help text stand where what it tells is defined: `counters`, `recorder`, `recorded`.

mod bounds;
mod counters;
pub mod document;
pub mod exposition;
pub mod family;
mod format;
pub mod interval_log;
mod portable;
mod recorded;
mod recorder;
mod report;
mod sizes;
mod times;

pub use bounds::Bounds;
pub use counters::{COUNTERS, Counters};
pub use family::{BaseUnit, Definition, Distribution, Family, Kind, Sample, Value};
pub use portable::{Broken, Portable};
pub use recorded::{GAUGES, Gauges, Recorded, Stuck};
pub use recorder::{HISTOGRAMS, ListenerId, Measured, Recorder, Recorders};
pub use sizes::Sizes;
pub use times::{FineTimes, Micros, Nanos, Timed, Times, Unit, Unreadable, human};

/// Which way bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ClientToServer,
    /// From the server to the client.
    ServerToClient,
}

impl Direction {
    /// Both, to loop over.
    pub const BOTH: [Self; 2] = [Self::ClientToServer, Self::ServerToClient];

    /// The other one.
    #[must_use]
    pub fn back(self) -> Self {
        match self {
            Direction::ClientToServer => Direction::ServerToClient,
            Direction::ServerToClient => Direction::ClientToServer,
        }
    }

    /// The name in logs and tables.
    pub fn name(self) -> &'static str {
        match self {
            Direction::ClientToServer => "client_to_server",
            Direction::ServerToClient => "server_to_client",
        }
    }
}

/// One value for each direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerDirection<T> {
    /// From the client to the server.
    pub client_to_server: T,
    /// From the server to the client.
    pub server_to_client: T,
}

/// One value for each leg.
#[derive(Debug, Clone, Default)]
pub struct PerLeg<T> {
    /// Of the client's leg.
    pub downstream: T,
    /// Of the server's leg.
    pub upstream: T,
}

// === impl PerDirection ===

impl<T> PerDirection<T> {
    /// Both values, each with its direction.
    pub fn both(&self) -> [(Direction, &T); 2] {
        [
            (Direction::ClientToServer, &self.client_to_server),
            (Direction::ServerToClient, &self.server_to_client),
        ]
    }

    /// The value of one direction.
    pub fn get(&self, direction: Direction) -> &T {
        match direction {
            Direction::ClientToServer => &self.client_to_server,
            Direction::ServerToClient => &self.server_to_client,
        }
    }

    /// The value of one direction, to be changed.
    pub fn of(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::ClientToServer => &mut self.client_to_server,
            Direction::ServerToClient => &mut self.server_to_client,
        }
    }
}

impl PerDirection<u64> {
    /// Both directions together.
    pub fn total(self) -> u64 {
        self.client_to_server.saturating_add(self.server_to_client)
    }
}
