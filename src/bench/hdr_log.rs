//! The latencies of a load as an HdrHistogram interval log: a histogram for every interval.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use crate::bench::tally::Interval;
use crate::bench::work::Mode;
use crate::metrics::interval_log::{IntervalLog, Tag};

/// Values are nanoseconds; the longest of an interval, for people, stands there in milliseconds.
const NANOS_A_MILLI: f64 = 1e6;

/// What the log says of itself.
const COMMENT: &str = "[unmangle bench: latencies in nanoseconds, Interval_Max in milliseconds]";

/// A log that is written while a load runs.
///
/// Its lines are tagged with the path, in a mix with path and kind of connection: `direct`, `via-rr`. Streams
/// have no latency and no line; an interval in which nothing was answered has a line with an empty
/// histogram.
#[derive(Debug)]
pub struct HdrLog<W> {
    out: W,
    log: IntervalLog,
}

impl<W: Write> HdrLog<W> {
    /// Begins a log of a run that began at `start`: times in it count from there.
    ///
    /// # Errors
    /// What the writer says.
    pub fn new(mut out: W, start: SystemTime) -> io::Result<Self> {
        let log = IntervalLog::new(start, NANOS_A_MILLI);
        out.write_all(log.header(COMMENT).as_bytes())?;
        Ok(Self { out, log })
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
        let begun = begun
            .duration_since(self.log.start())
            .unwrap_or(Duration::ZERO);
        let from = begun + interval.from;
        let mixed = interval.tallies.iter().count() > 1;
        for (mode, tally) in interval.tallies.iter() {
            if mode == Mode::Stream {
                continue;
            }
            let tag = match mixed {
                true => format!("{path}-{mode}"),
                false => path.to_owned(),
            };
            let tag = Tag::exactly(&tag)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let latency = tally.latency.whole();
            let line = self.log.line(&tag, from, interval.length, &latency);
            self.out.write_all(line.as_bytes())?;
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
