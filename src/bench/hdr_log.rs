//! The interval log of HdrHistogram (V2): a histogram of latencies for every interval, as HistogramLogAnalyzer
//! and the libraries of other languages read it.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::bench::tally::Interval;
use crate::bench::work::Mode;

/// Values are nanoseconds; the longest of an interval, for people, stands there in milliseconds.
const NANOS_A_MILLI: f64 = 1e6;

/// A log that is written while a load runs.
///
/// Its lines are tagged with the path, in a mix with path and kind of connection: `direct`, `via-rr`. Streams
/// have no latency and no line; an interval in which nothing was answered has a line with an empty
/// histogram.
#[derive(Debug)]
pub struct HdrLog<W> {
    out: W,
    start: SystemTime,
}

impl<W: Write> HdrLog<W> {
    /// Begins a log of a run that began at `start`: times in it count from there.
    ///
    /// # Errors
    /// What the writer says.
    pub fn new(mut out: W, start: SystemTime) -> io::Result<Self> {
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment("[unmangle bench: latencies in nanoseconds, Interval_Max in milliseconds]")
            .with_start_time(start)
            .with_base_time(start)
            .with_max_value_divisor(NANOS_A_MILLI)
            .begin_log_with(&mut out, &mut V2DeflateSerializer::new())?;
        Ok(Self { out, start })
    }

    /// Writes an interval of a measurement of a path that began at `begun`.
    ///
    /// # Errors
    /// What the writer says, or a path whose name is not fit to be a tag: it has a comma, a space or a line break.
    pub fn interval(
        &mut self,
        path: &str,
        begun: SystemTime,
        interval: &Interval,
    ) -> io::Result<()> {
        // A clock that was set back meanwhile leaves nothing better.
        let begun = begun.duration_since(self.start).unwrap_or(Duration::ZERO);
        let from = (begun + interval.from).as_secs_f64();
        let length = interval.length.as_secs_f64();
        let mixed = interval.tallies.iter().count() > 1;
        for (mode, tally) in interval.tallies.iter() {
            if mode == Mode::Stream {
                continue;
            }
            let tag = match mixed {
                true => format!("{path}-{mode}"),
                false => path.to_owned(),
            };
            let tag = Tag::new(&tag).ok_or_else(|| {
                let complaint = format!("{tag:?} is no tag for a histogram log");
                io::Error::new(io::ErrorKind::InvalidInput, complaint)
            })?;
            // The crate's own writer wants to borrow the file for as long as it lives, so only its header is used.
            writeln!(
                self.out,
                "Tag={},{from:.3},{length:.3},{:.3},{}",
                tag.as_str(),
                tally.latency.histogram().max() as f64 / NANOS_A_MILLI,
                tally.latency.encode()
            )?;
        }
        Ok(())
    }

    /// Ends the log.
    ///
    /// # Errors
    /// What the writer says: a full disk may show only now.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::bench::tally::Tallies;

    fn interval(mode: Mode, from: u64) -> Interval {
        Interval {
            from: Duration::from_secs(from),
            length: Duration::from_millis(1000),
            tallies: Tallies::of(mode),
        }
    }

    fn written(mode: Mode) -> String {
        let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500_000_000_250);
        let mut log = HdrLog::new(Vec::new(), start).unwrap();
        let mut interval = interval(mode, 2);
        if mode == Mode::Rr {
            let latency = &mut interval.tallies.mode(Mode::Rr).latency;
            latency.record(Duration::from_micros(1500));
        }
        let begun = start + Duration::from_secs(10);
        log.interval("via", begun, &interval).unwrap();
        String::from_utf8(log.finish().unwrap()).unwrap()
    }

    #[test]
    fn a_line_has_its_tag_its_time_since_the_start_and_its_longest_in_milliseconds() {
        let text = written(Mode::Rr);
        assert!(text.contains("#[StartTime: 1500000000.250 (seconds since epoch)]\n"));
        assert!(text.contains("#[BaseTime: 1500000000.250 (seconds since epoch)]\n"));
        assert!(text.contains("\nTag=via,12.000,1.000,1.5"), "{text}");
        let entries: Vec<LogEntry> = IntervalLogIterator::new(text.as_bytes())
            .map(|entry| entry.unwrap())
            .collect();
        assert_eq!(entries.len(), 3, "{text}");
    }

    #[test]
    fn a_mix_has_a_line_for_each_kind_of_connection_that_has_latencies() {
        let text = written(Mode::Mix);
        let tags: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("Tag="))
            .filter_map(|line| line.split(',').next())
            .collect();
        assert_eq!(tags, ["via-rr", "via-crr", "via-idle"]);
        assert!(!written(Mode::Stream).contains("Tag="));
    }

    #[test]
    fn a_name_that_would_break_the_format_is_refused() {
        let mut log = HdrLog::new(Vec::new(), SystemTime::UNIX_EPOCH).unwrap();
        let error = log
            .interval("a,b", SystemTime::UNIX_EPOCH, &interval(Mode::Rr, 0))
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
