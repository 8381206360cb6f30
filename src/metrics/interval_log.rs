//! The interval log of HdrHistogram (V2, compressed): a line for each histogram of each interval, as
//! HistogramLogAnalyzer and the libraries of other languages read it. Pure: text for who writes it.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use super::family::Definition;

/// What every log begins with; by that one is known.
const VERSION: &str = "[Histogram log format version 1.3]";

/// A log whose times count from its start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntervalLog {
    start: SystemTime,
    /// The greatest value of an interval stands in its line for people, divided by this.
    divisor: f64,
}

/// Which histogram a line is of: a name without commas, spaces and line breaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// A text that the format does not take as a tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no tag for a histogram log: a comma, white space and nothing at all are none")]
pub struct NoTag(String);

/// A histogram as text: HdrHistogram's V2 encoding, deflated, in base64, as every HdrHistogram library reads it.
pub fn encoded(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .expect("writing to memory does not fail");
    STANDARD.encode(bytes)
}

// === impl IntervalLog ===

impl IntervalLog {
    /// A log of what happens from `start` on; `divisor` is how many of the histograms' unit make the one
    /// in which the greatest value is told.
    pub fn new(start: SystemTime, divisor: f64) -> Self {
        Self { start, divisor }
    }

    /// When it began.
    pub fn start(&self) -> SystemTime {
        self.start
    }

    /// What stands before the first line, with a comment of one line.
    pub fn header(&self, comment: &str) -> String {
        let mut out = Vec::new();
        IntervalLogWriterBuilder::new()
            .add_comment(VERSION)
            .add_comment(comment)
            .with_start_time(self.start)
            .with_base_time(self.start)
            .with_max_value_divisor(self.divisor)
            .begin_log_with(&mut out, &mut V2DeflateSerializer::new())
            .expect("writing to memory does not fail");
        String::from_utf8(out).expect("the header is text")
    }

    /// The line of an interval that began so long after the start.
    // The crate's own writer borrows the file for as long as it lives, so only its header is used.
    pub fn line(&self, tag: &Tag, from: Duration, length: Duration, of: &Histogram<u64>) -> String {
        let (from, length) = (from.as_secs_f64(), length.as_secs_f64());
        let most = of.max() as f64 / self.divisor;
        format!(
            "Tag={tag},{from:.3},{length:.3},{most:.3},{}\n",
            encoded(of)
        )
    }

    /// Whether a text is a header without a line: a log in which nothing would be lost.
    pub fn is_blank(text: &str) -> bool {
        let begins = text
            .strip_prefix('#')
            .is_some_and(|text| text.starts_with(VERSION));
        let mut lines = text.lines();
        text.is_empty() || begins && lines.all(|line| line.starts_with(['#', '"']))
    }
}

// === impl Tag ===

impl Tag {
    /// That of a metric, without what all of them have in common and without the base unit, which is not that of the
    /// histogram: `added_latency|listener=ssh|direction=client_to_server`.
    pub fn of<'a>(definition: &Definition, values: impl IntoIterator<Item = &'a str>) -> Self {
        let name = definition.name;
        let name = name.strip_prefix("unmangle_").unwrap_or(name);
        let unit = definition.unit.name().unwrap_or_default();
        let name = name
            .strip_suffix(unit)
            .unwrap_or(name)
            .trim_end_matches('_');
        let labels: Vec<_> = definition.labels.iter().copied().zip(values).collect();
        Self::labelled(name, &labels)
    }

    /// A name, and labels that tell it from others of the name: `connect|listener=ssh`. What the format or this
    /// form gives a meaning (comma, `|`, `=`, white space, control characters) becomes `_`.
    pub fn labelled(name: &str, labels: &[(&str, &str)]) -> Self {
        let mut tag = plain(name);
        for (label, value) in labels {
            tag = format!("{tag}|{}={}", plain(label), plain(value));
        }
        Self(tag)
    }

    /// The name itself.
    ///
    /// # Errors
    /// If the format does not take it.
    pub fn exactly(name: &str) -> Result<Self, NoTag> {
        match name.is_empty() || name.contains(ends_a_tag) {
            true => Err(NoTag(name.to_owned())),
            false => Ok(Self(name.to_owned())),
        }
    }

    /// As it stands in a line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn ends_a_tag(c: char) -> bool {
    c == ',' || c.is_whitespace() || c.is_control()
}

fn plain(text: &str) -> String {
    text.replace(|c: char| matches!(c, '|' | '=') || ends_a_tag(c), "_")
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::super::family::{BaseUnit, Kind};
    use super::*;

    fn log(divisor: f64) -> IntervalLog {
        let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500_000_000_250);
        IntervalLog::new(start, divisor)
    }

    fn of(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        values
            .iter()
            .for_each(|value| histogram.record(*value).unwrap());
        histogram
    }

    #[test]
    fn a_line_has_its_tag_its_time_since_the_start_and_its_longest() {
        let tag = Tag::labelled("connect", &[("listener", "ssh")]);
        let (from, length) = (Duration::from_secs(12), Duration::from_millis(1000));
        let line = log(1000.0).line(&tag, from, length, &of(&[7, 1500]));
        let begins = "Tag=connect|listener=ssh,12.000,1.000,1.500,HISTF";
        assert!(line.starts_with(begins) && line.ends_with('\n'), "{line}");
    }

    #[test]
    fn header_and_lines_are_read_by_the_crate_that_did_not_write_the_lines() {
        let tag = Tag::exactly("via-rr").unwrap();
        let line = log(1.0).line(&tag, Duration::ZERO, Duration::from_secs(10), &of(&[5]));
        let text = log(1.0).header("[a test]") + &line;
        assert!(text.contains("#[StartTime: 1500000000.250 (seconds since epoch)]\n"));
        let entries: Result<Vec<LogEntry>, _> = IntervalLogIterator::new(text.as_bytes()).collect();
        let entries = entries.unwrap();
        assert_eq!(entries.len(), 3, "{text}");
        let LogEntry::Interval(interval) = &entries[2] else {
            panic!("{text}");
        };
        assert_eq!(interval.tag().map(|tag| tag.as_str()), Some("via-rr"));
        assert_eq!(
            (interval.duration(), interval.max()),
            (Duration::from_secs(10), 5.0)
        );
    }

    #[test]
    fn names_that_would_break_a_line_are_made_plain_or_refused() {
        for (value, plainly) in [
            ("ssh", "ssh"),
            ("listener 1", "listener_1"),
            ("a,b=c|d\ne\u{a0}f\0", "a_b_c_d_e_f_"),
            ("größe-7", "größe-7"),
        ] {
            let tag = Tag::labelled("added", &[("listener", value), ("direction", "up")]);
            assert_eq!(
                tag.as_str(),
                format!("added|listener={plainly}|direction=up")
            );
            assert_eq!(Tag::exactly(tag.as_str()), Ok(tag));
        }
        for wrong in ["", "a,b", "a b", "a\n"] {
            assert!(Tag::exactly(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_metric_s_tag_has_its_labels_and_no_unit() {
        let definition = Definition {
            name: "unmangle_added_latency_seconds",
            help: "what the relay added",
            kind: Kind::Histogram,
            unit: BaseUnit::Seconds,
            labels: &["listener", "direction"],
        };
        let tag = Tag::of(&definition, ["ssh", "client_to_server"]);
        assert_eq!(
            tag.as_str(),
            "added_latency|listener=ssh|direction=client_to_server"
        );
        let sessions = Definition {
            name: "unmangle_sessions",
            unit: BaseUnit::None,
            labels: &[],
            ..definition
        };
        assert_eq!(Tag::of(&sessions, []).as_str(), "sessions");
    }

    #[test]
    fn only_a_header_of_a_histogram_log_is_blank() {
        let header = log(1.0).header("[a test]");
        let tag = Tag::labelled("connect", &[]);
        let line = log(1.0).line(&tag, Duration::ZERO, Duration::ZERO, &of(&[]));
        assert!(IntervalLog::is_blank("") && IntervalLog::is_blank(&header));
        for kept in [header + &line, line, "# mine\n".to_owned(), "\n".to_owned()] {
            assert!(!IntervalLog::is_blank(&kept), "{kept}");
        }
    }
}
