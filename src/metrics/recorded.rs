//! What all workers have recorded, added up, and how things stand now.

use super::counters::{self, Counters};
use super::family::{BaseUnit, Definition, Family, Kind, Sample, Value};
use super::recorder::{HISTOGRAMS, Measured, Recorder, Recorders};

/// What was recorded, of all workers, listener by listener.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// The listeners' names, in the order of the settings.
    pub names: Vec<String>,
    /// What was recorded of them.
    pub recorders: Recorders,
    /// How things stand.
    pub gauges: Gauges,
    /// Whether times and sizes are recorded at all.
    pub histograms: bool,
}

/// How things stand now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Sessions that are being relayed, listener by listener.
    pub sessions: Vec<u64>,
    /// Directions of sessions that are stuck: at the client, at the server, in the relay.
    pub stuck: Stuck,
    /// Pipes that hold bytes.
    pub pipes_in_use: u64,
    /// Pipes that are kept for the next who needs one.
    pub pipes_free: u64,
    /// Bytes that all pipes can hold.
    pub pipe_bytes: u64,
    /// Bytes that they may hold at most.
    pub pipe_budget: u64,
    /// Opening packets that are held now.
    pub held: u64,
    /// How many may be.
    pub held_limit: u64,
    /// Threads that relay, and have answered.
    pub workers: u64,
    /// Threads that did not answer in time: what they have recorded lately is missing.
    pub silent: u64,
}

/// Directions that are stuck, by side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stuck {
    /// At the client, or on the way to it.
    pub client: u64,
    /// At the server, or on the way to it.
    pub server: u64,
    /// In the relay.
    pub relay: u64,
}

macro_rules! gauges {
    ($($constant:ident $name:literal $unit:ident ($($label:literal),*) $help:literal)+) => {
        /// What they are exported as.
        pub static GAUGES: &[Definition] = &[$($constant),+];
        $(const $constant: Definition = Definition {
            name: $name,
            help: $help,
            kind: Kind::Gauge,
            unit: BaseUnit::$unit,
            labels: &[$($label),*],
        };)+
    };
}

gauges! {
    SESSIONS "unmangle_sessions_active" None ("listener") "Sessions that are being relayed now"
    STUCK "unmangle_directions_stuck" None ("side") "Directions of sessions that are stuck now, by the side that is"
    PIPES "unmangle_pipes" None ("state") "Pipes that exist now: in_use holds bytes that wait for a receiver, free is kept for the next who needs one"
    PIPE_BYTES "unmangle_pipe_capacity_bytes" Bytes () "Bytes that all pipes can hold now"
    PIPE_BUDGET "unmangle_pipe_budget_bytes" Bytes () "Bytes that all pipes may hold at most"
    HELD "unmangle_held_syns_waiting" None () "Opening packets that are held now, or were let through and whose connection is not accepted yet"
    HELD_LIMIT "unmangle_held_syns_limit" None () "Opening packets that may be held at a time; 0 if none is"
    WORKERS "unmangle_workers" None () "Threads that relay and have answered"
    SILENT "unmangle_threads_silent" None () "Threads that did not answer within two seconds: what they have recorded lately is missing here"
}

// === impl Recorded ===

impl Recorded {
    /// All of it as that of one listener.
    pub fn merged(&self) -> Recorder {
        self.recorders.merged()
    }

    /// The histograms of each listener, with its name; none if none is recorded.
    pub fn histograms(&self) -> impl Iterator<Item = (&str, Measured<'_>)> {
        let each = self.names.iter().zip(self.recorders.listeners());
        each.filter(|_| self.histograms)
            .flat_map(|(name, recorder)| {
                let histograms = recorder.histograms().into_iter();
                histograms.map(|measured| (name.as_str(), measured))
            })
    }

    /// All of it as metrics.
    pub fn families(&self) -> Vec<Family> {
        let counters: Vec<(&str, &Counters)> = self
            .names
            .iter()
            .zip(self.recorders.listeners())
            .map(|(name, recorder)| (name.as_str(), &recorder.counters))
            .collect();
        let mut families = self.distributions();
        families.extend(counters::families(&counters, &self.recorders.process));
        families.extend(self.gauges.families(&self.names));
        families
    }

    fn distributions(&self) -> Vec<Family> {
        let mut families: Vec<Family> = HISTOGRAMS.iter().map(Family::empty).collect();
        for (listener, measured) in self.histograms() {
            let family = families
                .iter_mut()
                .find(|family| std::ptr::eq(family.definition, measured.definition))
                .expect("each is of one of them");
            let labels = [Some(listener), measured.of].into_iter().flatten();
            family.samples.push(Sample {
                labels: labels.map(str::to_owned).collect(),
                value: Value::Distribution(measured.distribution()),
            });
        }
        families.retain(|family| !family.samples.is_empty());
        families
    }
}

// === impl Gauges ===

impl Gauges {
    /// Adds those of another worker; what they share stays as it is.
    pub fn add(&mut self, other: &Self) {
        self.sessions
            .resize(self.sessions.len().max(other.sessions.len()), 0);
        for (own, other) in self.sessions.iter_mut().zip(&other.sessions) {
            *own += other;
        }
        self.stuck.client += other.stuck.client;
        self.stuck.server += other.stuck.server;
        self.stuck.relay += other.stuck.relay;
        self.pipes_in_use += other.pipes_in_use;
        self.pipes_free += other.pipes_free;
        self.held += other.held;
        self.held_limit += other.held_limit;
        self.workers += other.workers;
        self.silent += other.silent;
    }

    fn families(&self, names: &[String]) -> Vec<Family> {
        let by_listener = names
            .iter()
            .map(String::as_str)
            .zip(self.sessions.iter().copied());
        let values: [Vec<(&str, u64)>; 9] = [
            by_listener.collect(),
            vec![
                ("client", self.stuck.client),
                ("server", self.stuck.server),
                ("relay", self.stuck.relay),
            ],
            vec![("in_use", self.pipes_in_use), ("free", self.pipes_free)],
            vec![("", self.pipe_bytes)],
            vec![("", self.pipe_budget)],
            vec![("", self.held)],
            vec![("", self.held_limit)],
            vec![("", self.workers)],
            vec![("", self.silent)],
        ];
        let families = GAUGES.iter().zip(values);
        families
            .map(|(definition, values)| Family {
                definition,
                samples: values
                    .into_iter()
                    .map(|(label, value)| Sample {
                        labels: definition.labels.iter().map(|_| label.to_owned()).collect(),
                        value: Value::Level(value as f64),
                    })
                    .collect(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::ListenerId;
    use super::*;

    fn recorded(histograms: bool) -> Recorded {
        let mut recorders = Recorders::new(2);
        recorders
            .of(ListenerId(1))
            .connect
            .record(Duration::from_millis(2));
        Recorded {
            names: vec!["ssh".to_owned(), "rsync".to_owned()],
            recorders,
            gauges: Gauges {
                sessions: vec![3, 4],
                ..Gauges::default()
            },
            histograms,
        }
    }

    #[test]
    fn every_metric_is_told_once_and_each_sample_has_its_labels() {
        let families = recorded(true).families();
        let mut names: Vec<_> = families
            .iter()
            .map(|family| family.definition.name)
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), families.len());
        for family in &families {
            assert!(!family.samples.is_empty(), "{}", family.definition.name);
            for sample in &family.samples {
                assert_eq!(sample.labels.len(), family.definition.labels.len());
            }
        }
    }

    #[test]
    fn every_definition_keeps_the_conventions() {
        for definition in HISTOGRAMS.iter().chain(counters::COUNTERS).chain(GAUGES) {
            assert_eq!(definition.complaint(), None, "{}", definition.name);
        }
    }

    #[test]
    fn histograms_that_are_not_recorded_are_absent_and_not_empty() {
        let told = |histograms| {
            let families = recorded(histograms).families();
            families
                .iter()
                .any(|family| family.definition.kind == Kind::Histogram)
        };
        assert!(told(true) && !told(false));
    }
}
