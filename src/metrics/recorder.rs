//! What one worker records: of each listener times, sizes and counters, without locks and without averages.
//!
//! Whoever asks brings an empty [`Recorders`] and gets the full one in exchange, so a worker never copies a
//! histogram; the asker adds it to what it has.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::bounds::Bounds;
use super::counters::Counters;
use super::family::{BaseUnit, Definition, Distribution, Kind};
use super::{Direction, PerDirection, PerLeg, Sizes, Times};

/// The number of a listener in the order of the settings, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ListenerId(pub u16);

/// Everything that was recorded, listener by listener.
#[derive(Debug, Clone, Default)]
pub struct Recorders {
    listeners: Vec<Recorder>,
    /// What is not in its histogram yet: histograms are large, and looking them up for each message costs more
    /// than for many one after the other.
    fresh: Vec<Added>,
    /// What concerns no listener.
    pub process: Counters,
}

/// What the relay added to one message.
#[derive(Debug, Clone, Copy)]
struct Added {
    listener: ListenerId,
    direction: Direction,
    time: Duration,
}

/// So many messages are put into their histograms at a time.
const FRESH: usize = 64;

/// A histogram that was recorded, and what it is of.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// What it is.
    pub definition: &'static Definition,
    /// The direction or leg, if it is of one.
    pub of: Option<&'static str>,
    /// Its counts: microseconds, or bytes.
    pub histogram: &'a Histogram<u64>,
    /// The exact sum of what was recorded, in seconds or bytes.
    pub sum: f64,
    /// The same as a whole number, in nanoseconds or bytes.
    pub exact: u128,
}

macro_rules! recorder {
    ($($(#[doc = $help:literal])+ $field:ident: $type:ty => $name:literal $unit:ident ($($label:literal),+),)+) => {
        /// Everything one worker has counted and timed of one listener.
        #[derive(Debug, Clone, Default)]
        pub struct Recorder {
            $($(#[doc = $help])+ pub $field: $type,)+
            /// Counters.
            pub counters: Counters,
        }

        /// What the histograms are exported as.
        pub static HISTOGRAMS: &[Definition] = &[$(Definition {
            name: $name,
            help: Definition::help(concat!($($help),+)),
            kind: Kind::Histogram,
            unit: BaseUnit::$unit,
            labels: &[$($label),+],
        },)+];

        impl Recorder {
            /// Adds what another worker has recorded; nothing is averaged.
            pub fn add(&mut self, other: &Recorder) {
                $(self.$field.add(&other.$field);)+
                self.counters.add(&other.counters);
            }

            /// Forgets everything.
            pub fn clear(&mut self) {
                $(self.$field.clear();)+
                self.counters = Counters::default();
            }

            /// Its histograms, in the order of [`HISTOGRAMS`].
            pub fn histograms(&self) -> Vec<Measured<'_>> {
                let mut all = Vec::new();
                let mut definitions = HISTOGRAMS.iter();
                $(self.$field.each(definitions.next().expect("one for each field"), &mut all);)+
                all
            }

            /// What keeps the histogram of this metric, of this direction or leg if there are several; none if
            /// there is no such histogram.
            pub(super) fn kept(&mut self, metric: &str, of: Option<&str>) -> Option<&mut dyn Kept> {
                match metric {
                    $($name => self.$field.kept(of),)+
                    _ => None,
                }
            }
        }
    };
}

recorder! {
    /// How long the dial to the server took.
    connect: Times => "unmangle_connect_seconds" Seconds ("listener"),
    /// From accept to relaying, and the dial before it where opening packets are held: what a client waits
    /// before its first byte can go on.
    setup: Times => "unmangle_setup_seconds" Seconds ("listener"),
    /// From accept until the first bytes of a direction were passed on. Recorded by the engine splice only.
    first_byte: PerDirection<Times> => "unmangle_first_byte_seconds" Seconds ("listener", "direction"),
    /// What the relay added: from the worker's wake-up for a readable socket until the other socket had
    /// taken the last of those bytes, without the time in which that one took nothing. The kernel's queueing
    /// before the wake-up is not in it. Recorded by the engine splice only.
    added: PerDirection<Times> => "unmangle_added_latency_seconds" Seconds ("listener", "direction"),
    /// How long bytes waited in the relay because the receiving side's socket took no more: its window was shut,
    /// or the way there is slower. Waits only, most bytes never do; told once they are over.
    /// Recorded by the engine splice only.
    stall: PerDirection<Times> => "unmangle_stall_seconds" Seconds ("listener", "direction"),
    /// From accept to the end of both legs.
    lifetime: Times => "unmangle_session_duration_seconds" Seconds ("listener"),
    /// Bytes of a session that were passed on, at its end; a direction without any counts as one byte, and as none in
    /// the sum.
    bytes: PerDirection<Sizes> => "unmangle_session_size_bytes" Bytes ("listener", "direction"),
    /// The kernel's smoothed round-trip time of a leg: of sessions that moved bytes every ten seconds, and of
    /// each at its end.
    rtt: PerLeg<Times> => "unmangle_rtt_seconds" Seconds ("listener", "leg"),
    /// The shortest round-trip time that the kernel has seen on a leg lately, as often.
    min_rtt: PerLeg<Times> => "unmangle_min_rtt_seconds" Seconds ("listener", "leg"),
}

/// What can be recorded into, alone or for each direction or leg.
trait Records {
    fn add(&mut self, other: &Self);
    fn clear(&mut self);
    fn each<'a>(&'a self, definition: &'static Definition, all: &mut Vec<Measured<'a>>);
    fn kept(&mut self, of: Option<&str>) -> Option<&mut dyn Kept>;
}

/// A histogram alone.
trait Alone: Kept {
    fn measured(&self, definition: &'static Definition, of: Option<&'static str>) -> Measured<'_>;
}

/// A histogram that can be kept elsewhere, and put back.
pub(super) trait Kept {
    /// Its significant digits, and the greatest value that it takes.
    fn limits(&self) -> (u8, u64);
    /// Is what was kept from now on: within the limits, and with its exact sum, in nanoseconds or bytes.
    fn restore(&mut self, histogram: &Histogram<u64>, sum: u128);
}

// === impl Recorder ===

impl Recorder {
    fn take(&mut self, added: Added) {
        self.added.of(added.direction).record(added.time);
    }
}

// === impl Measured ===

impl Measured<'_> {
    /// The same in buckets.
    pub fn distribution(&self) -> Distribution {
        self.bounds().distribution(self.histogram, self.sum)
    }

    /// Its histogram with room for every value, as those need who add histograms.
    pub fn whole(&self) -> Histogram<u64> {
        self.bounds().whole(self.histogram)
    }

    fn bounds(&self) -> Bounds {
        match self.definition.unit {
            BaseUnit::Bytes => Bounds::SIZES,
            BaseUnit::Seconds | BaseUnit::None => Bounds::TIMES,
        }
    }
}

// === impl Recorders ===

impl Recorders {
    /// Empty ones for so many listeners.
    pub fn new(listeners: usize) -> Self {
        Self {
            listeners: vec![Recorder::default(); listeners],
            fresh: Vec::with_capacity(FRESH),
            process: Counters::default(),
        }
    }

    /// What is recorded of a listener.
    pub fn of(&mut self, listener: ListenerId) -> &mut Recorder {
        &mut self.listeners[usize::from(listener.0)]
    }

    /// Records what the relay added to a message.
    pub fn added(&mut self, listener: ListenerId, direction: Direction, time: Duration) {
        self.fresh.push(Added {
            listener,
            direction,
            time,
        });
        if self.fresh.len() >= FRESH {
            self.settle();
        }
    }

    /// Puts everything into its histogram.
    pub fn settle(&mut self) {
        for added in self.fresh.drain(..) {
            self.listeners[usize::from(added.listener.0)].take(added);
        }
    }

    /// In the order of the settings, as far as they are settled.
    pub fn listeners(&self) -> &[Recorder] {
        &self.listeners
    }

    /// Adds what another worker has recorded, of the same listeners.
    pub fn add(&mut self, other: &Self) {
        for (own, other) in self.listeners.iter_mut().zip(&other.listeners) {
            own.add(other);
        }
        for added in &other.fresh {
            self.of(added.listener).take(*added);
        }
        self.process.add(&other.process);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.listeners.iter_mut().for_each(Recorder::clear);
        self.fresh.clear();
        self.process = Counters::default();
    }

    /// All of it as that of one listener.
    pub fn merged(&self) -> Recorder {
        let mut all = Recorder::default();
        self.listeners.iter().for_each(|each| all.add(each));
        self.fresh.iter().for_each(|added| all.take(*added));
        all.counters.add(&self.process);
        all
    }
}

// === impl Records ===

impl Alone for Times {
    fn measured(&self, definition: &'static Definition, of: Option<&'static str>) -> Measured<'_> {
        Measured {
            definition,
            of,
            histogram: self.histogram(),
            sum: self.sum().as_secs_f64(),
            exact: self.exact(),
        }
    }
}

impl Alone for Sizes {
    fn measured(&self, definition: &'static Definition, of: Option<&'static str>) -> Measured<'_> {
        Measured {
            definition,
            of,
            histogram: self.histogram(),
            sum: self.sum() as f64,
            exact: self.sum(),
        }
    }
}

macro_rules! alone {
    ($($type:ty),+) => {$(
        impl Kept for $type {
            fn limits(&self) -> (u8, u64) {
                (self.histogram().sigfig(), <$type>::MOST)
            }

            fn restore(&mut self, histogram: &Histogram<u64>, sum: u128) {
                <$type>::restore(self, histogram, sum);
            }
        }

        impl Records for $type {
            fn add(&mut self, other: &Self) {
                <$type>::add(self, other);
            }

            fn clear(&mut self) {
                <$type>::clear(self);
            }

            fn each<'a>(&'a self, definition: &'static Definition, all: &mut Vec<Measured<'a>>) {
                all.push(self.measured(definition, None));
            }

            fn kept(&mut self, of: Option<&str>) -> Option<&mut dyn Kept> {
                of.is_none().then_some(self as &mut dyn Kept)
            }
        }
    )+};
}

alone!(Times, Sizes);

impl<T: Records + Alone> Records for PerDirection<T> {
    fn add(&mut self, other: &Self) {
        self.client_to_server.add(&other.client_to_server);
        self.server_to_client.add(&other.server_to_client);
    }

    fn clear(&mut self) {
        self.client_to_server.clear();
        self.server_to_client.clear();
    }

    fn each<'a>(&'a self, definition: &'static Definition, all: &mut Vec<Measured<'a>>) {
        let both = self.both();
        all.extend(both.map(|(of, one)| one.measured(definition, Some(of.name()))));
    }

    fn kept(&mut self, of: Option<&str>) -> Option<&mut dyn Kept> {
        let both = [Direction::ClientToServer, Direction::ServerToClient];
        let direction = both.into_iter().find(|each| Some(each.name()) == of)?;
        Some(self.of(direction))
    }
}

impl<T: Records + Alone> Records for PerLeg<T> {
    fn add(&mut self, other: &Self) {
        self.downstream.add(&other.downstream);
        self.upstream.add(&other.upstream);
    }

    fn clear(&mut self) {
        self.downstream.clear();
        self.upstream.clear();
    }

    fn each<'a>(&'a self, definition: &'static Definition, all: &mut Vec<Measured<'a>>) {
        let both = [
            ("downstream", &self.downstream),
            ("upstream", &self.upstream),
        ];
        all.extend(both.map(|(of, one)| one.measured(definition, Some(of))));
    }

    fn kept(&mut self, of: Option<&str>) -> Option<&mut dyn Kept> {
        match of? {
            "downstream" => Some(&mut self.downstream),
            "upstream" => Some(&mut self.upstream),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
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
        one.add(&two);
        assert_eq!(one.connect.count(), 1000);
        assert_eq!(one.connect.sum(), both.connect.sum());
        for percent in [1.0, 50.0, 99.0, 99.9] {
            assert_eq!(
                one.connect.percentile(percent),
                both.connect.percentile(percent)
            );
        }
    }

    #[test]
    fn what_is_cleared_counts_nothing() {
        let mut recorders = Recorders::new(2);
        let ssh = recorders.of(ListenerId(1));
        ssh.bytes.client_to_server.record(4096);
        ssh.rtt.upstream.record(Duration::from_millis(3));
        ssh.counters.accepted = 1;
        assert_eq!(recorders.merged().counters.accepted, 1);
        recorders.clear();
        let all = recorders.merged();
        assert_eq!(all.counters, Counters::default());
        for measured in all.histograms() {
            assert_eq!((measured.histogram.len(), measured.sum), (0, 0.0));
        }
    }

    #[test]
    fn a_message_counts_once_wherever_it_is_looked_for() {
        let mut recorders = Recorders::new(2);
        let (to, all) = (Direction::ServerToClient, FRESH as u64 + 3);
        let count = |recorder: &Recorder| recorder.added.server_to_client.count();
        for nth in 0..all {
            recorders.added(ListenerId((nth % 2) as u16), to, Duration::from_micros(nth));
        }
        assert_eq!(count(&recorders.merged()), all);
        let mut others = Recorders::new(2);
        others.add(&recorders);
        assert_eq!(others.listeners().iter().map(count).sum::<u64>(), all);
        assert_eq!(
            recorders.listeners().iter().map(count).sum::<u64>(),
            FRESH as u64
        );
        recorders.settle();
        assert_eq!(recorders.listeners().iter().map(count).sum::<u64>(), all);
        assert_eq!(count(&recorders.merged()), all);
    }

    #[test]
    fn a_histogram_of_directions_or_legs_is_told_for_each_of_them() {
        let recorder = Recorder::default();
        for measured in recorder.histograms() {
            let labels = measured.definition.labels;
            assert_eq!(
                measured.of.is_some(),
                labels.len() == 2,
                "{}",
                measured.definition.name
            );
        }
    }
}
