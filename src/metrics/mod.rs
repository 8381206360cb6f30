//! What the relay counts and times. Each worker has a [`Recorder`] of its own and writes without locks;
//! they are merged when somebody asks.

mod bounds;
pub mod exposition;
pub mod family;
mod format;
mod report;
mod times;

pub use bounds::Bounds;
pub use family::{BaseUnit, Definition, Distribution, Family, Kind, Sample, Value};
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
    /// The name in logs and tables.
    pub fn name(self) -> &'static str {
        match self {
            Direction::ClientToServer => "client_to_server",
            Direction::ServerToClient => "server_to_client",
        }
    }
}

/// One value for each direction.
#[derive(Debug, Clone, Default)]
pub struct PerDirection<T> {
    /// From the client to the server.
    pub client_to_server: T,
    /// From the server to the client.
    pub server_to_client: T,
}

/// Everything one worker has counted and timed.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    /// How long the dial to the server took.
    pub connect: Times,
    /// From accept to the end of both legs.
    pub lifetime: Times,
    /// What the relay added: from the worker's wake-up for a readable socket until the other socket had
    /// taken the last of those bytes, without the time in which the other side's window was shut.
    /// The kernel's queueing before the wake-up is not in it.
    pub added: PerDirection<Times>,
    /// How long bytes waited because the receiving side's window was shut.
    pub stall: PerDirection<Times>,
    /// Counters.
    pub counters: Counters,
}

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident,)+) => {
        /// Counters, all since the start.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[doc = $help])+ pub $name: u64,)+ }

        impl Counters {
            /// Name, value and help text of each, in the order of their definition.
            pub fn named(&self) -> Vec<(&'static str, u64, &'static str)> {
                vec![$((stringify!($name), self.$name, concat!($($help),+).trim_ascii()),)+]
            }

            fn add(&mut self, other: &Counters) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counters! {
    /// connections accepted
    accepted,
    /// sessions that both sides closed in order
    sessions_closed,
    /// sessions ended by a reset, a timeout or the relay
    sessions_aborted,
    /// dials that failed after the client had been accepted; it was reset
    dial_failures,
    /// dials from another port than the client's, because that one could not be bound
    port_fallbacks,
    /// connections from proxies that were reset because no valid PROXY header came
    headers_refused,
    /// connections reset because of the lists allow and deny
    refused_by_lists,
    /// connections reset because they led to the relay itself
    refused_own,
    /// connections reset because their source had too many at a time
    refused_too_many,
    /// connections reset because their source opened too many within a time
    refused_too_fast,
    /// lines of the log that were left out because there were too many of their kind
    lines_left_out,
    /// connections that waited to be accepted because there were as many as there may be
    accept_waits,
    /// pauses of an accept loop because descriptors or memory ran out
    accept_pauses,
    /// pauses before a dial for the same reason
    dial_pauses,
    /// times that descriptors of the process ran out (EMFILE), at accept, dial or pipe
    short_of_descriptors,
    /// times that open files of the system, or a user's pages for pipes, ran out (ENFILE)
    short_of_files,
    /// times that memory or buffers ran out (ENOMEM, ENOBUFS)
    short_of_memory,
    /// times that changed settings were taken on (SIGHUP)
    reloads,
    /// times that they were refused, and the old ones stayed
    reloads_refused,
    /// opening packets held until the server answered
    held,
    /// of those: let through, because the server accepted
    held_released,
    /// of those: answered by a reset, because the server refused
    held_refused,
    /// of those: answered by ICMP, because the server was unreachable or silent
    held_unreachable,
    /// opening packets repeated while they were held or after they were let through; not dialled again
    held_repeats,
    /// opening packets answered at once, because the table was full or the relay could not dial
    held_fell_back,
    /// connections to servers that were closed, because the client never completed its own
    held_stale,
    /// sessions reset because no byte had moved either way for the idle timeout
    idle_resets,
    /// stalls: bytes waited because the client answered and did not read
    stalls_window_client,
    /// stalls: bytes waited because the server answered and did not read
    stalls_window_server,
    /// stalls: bytes waited because the client, or the way to it, did not answer
    stalls_unacked_client,
    /// stalls: bytes waited because the server, or the way to it, did not answer
    stalls_unacked_server,
    /// stalls: bytes waited in the relay, although the receiver had taken all before them
    stalls_pipe,
    /// stalls that ended because bytes moved again
    stalls_over,
    /// sessions reset because they were stuck
    stall_resets,
    /// bytes passed on from client to server
    bytes_client_to_server,
    /// bytes passed on from server to client
    bytes_server_to_client,
    /// reads that went through a pipe
    splices,
    /// reads that went through the shared buffer
    copies,
    /// times a pipe was wanted and refused; the bytes were copied
    pipes_refused,
    /// stalled pipes that were emptied because others needed them
    pipes_evicted,
}

// === impl PerDirection ===

impl<T> PerDirection<T> {
    /// The value of one direction.
    pub fn of(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::ClientToServer => &mut self.client_to_server,
            Direction::ServerToClient => &mut self.server_to_client,
        }
    }
}

// === impl Recorder ===

impl Recorder {
    /// Adds what another worker has recorded; nothing is averaged.
    pub fn merge(&mut self, other: &Recorder) {
        self.connect.add(&other.connect);
        self.lifetime.add(&other.lifetime);
        self.added
            .client_to_server
            .add(&other.added.client_to_server);
        self.added
            .server_to_client
            .add(&other.added.server_to_client);
        self.stall
            .client_to_server
            .add(&other.stall.client_to_server);
        self.stall
            .server_to_client
            .add(&other.stall.server_to_client);
        self.counters.add(&other.counters);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn merging_two_workers_gives_the_percentiles_of_one_that_saw_both() {
        let (mut one, mut two, mut both) = Default::default();
        for n in 1..=1000_u64 {
            let time = Duration::from_micros(n * n);
            let (half, all): (&mut Recorder, &mut Recorder) =
                (if n % 3 == 0 { &mut one } else { &mut two }, &mut both);
            half.connect.record(time);
            all.connect.record(time);
        }
        one.merge(&two);
        assert_eq!(one.connect.count(), 1000);
        for percent in [1.0, 50.0, 99.0, 99.9] {
            assert_eq!(
                one.connect.percentile(percent),
                both.connect.percentile(percent)
            );
        }
    }

    #[test]
    fn counters_add_up_by_name() {
        let mut one = Counters {
            accepted: 2,
            splices: 1,
            ..Counters::default()
        };
        one.add(&Counters {
            accepted: 3,
            ..Counters::default()
        });
        let named = one.named();
        assert_eq!(named[0], ("accepted", 5, "connections accepted"));
    }
}
