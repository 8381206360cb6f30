//! Metrics as plain values, when somebody asks: what a metric is (defined once), and what it says now.

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often which values came.
    Histogram,
}

/// What a metric's values are; base units only, as Prometheus wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseUnit {
    /// A number of things.
    None,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// What a metric is. Each is defined once, and everything that tells of it takes name and help from there.
#[derive(Debug, PartialEq, Eq)]
pub struct Definition {
    /// With the unit at its end, and without `_total`: `unmangle_connect_seconds`, `unmangle_sessions`.
    pub name: &'static str,
    /// One sentence, without a full stop.
    pub help: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What its values are.
    pub unit: BaseUnit,
    /// Names of its labels; never one whose values clients choose.
    pub labels: &'static [&'static str],
}

/// A metric and all that it says now.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// What it is.
    pub definition: &'static Definition,
    /// One for each combination of labels.
    pub samples: Vec<Sample>,
}

/// What a metric says of one combination of labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Their values, in the order of [`Definition::labels`].
    pub labels: Vec<String>,
    /// What it says.
    pub value: Value,
}

/// What a metric says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A counter's whole number.
    Count(u64),
    /// A counter of something that has fractions, such as seconds.
    Amount(f64),
    /// What a gauge shows.
    Level(f64),
    /// A histogram.
    Distribution(Distribution),
}

/// A histogram in buckets, as [`Bounds`](super::Bounds) makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// Each bound, in the base unit, and how many values are at most that; the bound `+Inf` is left to who
    /// writes it.
    pub buckets: Vec<(f64, u64)>,
    /// How many values there are.
    pub count: u64,
    /// All values added up, in the base unit.
    pub sum: f64,
}

// === impl Kind ===

impl Kind {
    /// As both formats call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

// === impl BaseUnit ===

impl BaseUnit {
    /// As it stands at the end of a name.
    pub fn name(self) -> Option<&'static str> {
        match self {
            BaseUnit::None => None,
            BaseUnit::Seconds => Some("seconds"),
            BaseUnit::Bytes => Some("bytes"),
        }
    }
}

// === impl Definition ===

impl Definition {
    /// A documentation comment as help text: without the space before it and the full stop.
    pub(super) const fn help(comment: &'static str) -> &'static str {
        match comment.trim_ascii().as_bytes() {
            [text @ .., b'.'] => match std::str::from_utf8(text) {
                Ok(text) => text,
                Err(_) => comment,
            },
            _ => comment.trim_ascii(),
        }
    }

    /// The name under which Prometheus stores it, which for a counter has `_total` at its end.
    pub fn scraped_name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Gauge | Kind::Histogram => self.name.to_owned(),
        }
    }

    /// What is wrong with it, if anything: so that a test can hold every definition to the conventions.
    pub fn complaint(&self) -> Option<&'static str> {
        let plain = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_lowercase())
                && name
                    .chars()
                    .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))
        };
        let suffixed = |suffix: &str| {
            let stem = self.name.strip_suffix(suffix);
            stem.is_some_and(|stem| stem.ends_with('_'))
        };
        // Always 1, and its labels say something of the process.
        let is_info =
            self.kind == Kind::Gauge && self.unit == BaseUnit::None && !self.labels.is_empty();
        if !plain(self.name) {
            Some("a name has lower-case letters, digits and underscores")
        } else if ["total", "count", "sum", "bucket", "created", "info"]
            .into_iter()
            .any(|end| suffixed(end) && !(end == "info" && is_info))
        {
            Some("this ending has a meaning of its own")
        } else if self.unit.name().is_some_and(|unit| !suffixed(unit)) {
            Some("the name must end with its unit")
        } else if self.help.is_empty() || self.help.ends_with('.') {
            Some("the help is a sentence without a full stop")
        } else if self.labels.iter().any(|label| !plain(label)) {
            Some("a label has lower-case letters, digits and underscores")
        } else if self.kind == Kind::Histogram && self.labels.contains(&"le") {
            Some("le is the label of buckets")
        } else {
            None
        }
    }
}

// === impl Family ===

impl Family {
    /// A metric that says nothing yet.
    pub fn empty(definition: &'static Definition) -> Self {
        let samples = Vec::new();
        Self {
            definition,
            samples,
        }
    }

    /// A metric without labels.
    pub fn single(definition: &'static Definition, value: Value) -> Self {
        let labels = Vec::new();
        Self {
            definition,
            samples: vec![Sample { labels, value }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Definition = Definition {
        name: "unmangle_connect_seconds",
        help: "how long the dial to the server took",
        kind: Kind::Histogram,
        unit: BaseUnit::Seconds,
        labels: &["listener"],
    };

    const INFO: Definition = Definition {
        name: "unmangle_build_info",
        help: "the version",
        kind: Kind::Gauge,
        unit: BaseUnit::None,
        labels: &["version"],
    };

    #[test]
    fn definitions_that_break_a_convention_are_complained_of() {
        assert_eq!(GOOD.complaint(), None);
        assert_eq!(INFO.complaint(), None);
        for wrong in [
            Definition {
                name: "Connect_seconds",
                ..GOOD
            },
            Definition {
                name: "unmangle_connect",
                ..GOOD
            },
            Definition {
                name: "unmangle_connectseconds",
                ..GOOD
            },
            Definition {
                name: "seconds",
                ..GOOD
            },
            Definition {
                name: "unmangle_sessions_total",
                unit: BaseUnit::None,
                ..GOOD
            },
            Definition {
                name: "unmangle_build_info",
                kind: Kind::Counter,
                unit: BaseUnit::None,
                ..GOOD
            },
            Definition {
                labels: &[],
                ..INFO
            },
            Definition { help: "", ..GOOD },
            Definition {
                help: "Time.",
                ..GOOD
            },
            Definition {
                labels: &["le"],
                ..GOOD
            },
            Definition {
                labels: &["the listener"],
                ..GOOD
            },
        ] {
            assert!(wrong.complaint().is_some(), "{wrong:?}");
        }
    }

    #[test]
    fn only_counters_are_stored_with_total_at_the_end() {
        let named = |kind| Definition { kind, ..GOOD }.scraped_name();
        assert_eq!(named(Kind::Counter), "unmangle_connect_seconds_total");
        assert_eq!(named(Kind::Gauge), "unmangle_connect_seconds");
        assert_eq!(named(Kind::Histogram), "unmangle_connect_seconds");
    }
}
