//! The file of the histogram log: begun, written, and put aside when it is full or when somebody asks.
//!
//! A file that is put aside gets the time at its end, `FILE.20261123T052059.123Z`; the oldest of those are removed.
//! Every file stands for itself: it has its header, and its times count from its own start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use humantime::format_rfc3339_millis;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::cli::logging;
use crate::config::HdrLog;
use crate::metrics::Recorded;
use crate::metrics::interval_log::{IntervalLog, Tag};

/// What the log says of itself.
const COMMENT: &str =
    "[unmangle: times in microseconds, sizes in bytes, Interval_Max in the same unit]";

/// The longest header there is.
const HEADER: u64 = 1024;

/// What was recorded from one moment to another.
#[derive(Debug)]
pub struct Interval {
    /// When it began.
    pub begun: Instant,
    /// When it ended.
    pub ended: Instant,
    /// What was; histograms in which there is nothing have no line.
    pub recorded: Recorded,
}

/// The file that is being written, and those that were.
#[derive(Debug)]
pub struct LogFile {
    settings: HdrLog,
    open: Option<Open>,
    /// When one was last put aside.
    aside: SystemTime,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
    /// Whether it has a line.
    used: bool,
    /// Whether it ends with half a line.
    spoiled: bool,
    log: IntervalLog,
    begun: Instant,
}

// === impl Interval ===

impl Interval {
    /// Whether nothing was recorded.
    fn is_empty(&self) -> bool {
        let mut histograms = self.recorded.histograms();
        histograms.all(|(_, measured)| measured.histogram.is_empty())
    }
}

// === impl LogFile ===

impl LogFile {
    /// Begins a file; one that was there is put aside.
    ///
    /// # Errors
    /// What the file system says, or if there is something that is no regular file.
    pub fn begin(settings: &HdrLog) -> io::Result<Self> {
        let mut file = Self {
            settings: settings.clone(),
            open: None,
            aside: SystemTime::UNIX_EPOCH,
        };
        is_nobodys(&settings.file)?;
        file.renew(Instant::now())?;
        Ok(file)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.settings.file
    }

    /// Begins a file while the process before still writes to the one that was there: that is put aside, and the other
    /// goes on writing to it, by whatever name.
    ///
    /// # Errors
    /// As [`LogFile::begin`].
    pub fn succeed(settings: &HdrLog) -> io::Result<Self> {
        let mut file = Self {
            settings: settings.clone(),
            open: None,
            aside: SystemTime::now(),
        };
        if is_nobodys(&settings.file).is_err() {
            fs::rename(&settings.file, aside(&settings.file, file.aside))?;
        }
        file.renew(Instant::now())?;
        Ok(file)
    }

    /// Puts the file aside, unless somebody has moved it away or there is nothing in it, and begins one for what
    /// has been recorded since `begun`.
    ///
    /// # Errors
    /// What the file system says; the next interval tries again.
    pub fn renew(&mut self, begun: Instant) -> io::Result<()> {
        self.begin_anew(begun).map(drop)
    }

    fn begin_anew(&mut self, begun: Instant) -> io::Result<&mut Open> {
        let path = self.settings.file.clone();
        if is_used(&path)? {
            // Names tell the order, though several may be put aside at a time, and clocks be set back.
            self.aside = SystemTime::now().max(self.aside + Duration::from_millis(1));
            fs::rename(&path, aside(&path, self.aside))?;
        }
        self.open = None;
        let mut file = logging::append(&path)?;
        lock(&file)?;
        file.set_len(0)?;
        let log = IntervalLog::new(SystemTime::now() - begun.elapsed(), 1.0);
        let header = log.header(COMMENT);
        if let Err(error) = file.write_all(header.as_bytes()) {
            // The next one that is begun finds it as if nothing had been written.
            let _ = file.set_len(0);
            return Err(error);
        }
        if let Err(error) = prune(&path, self.settings.keep) {
            let file = path.display();
            tracing::warn!(%file, %error, "former histogram logs cannot be removed");
        }
        Ok(self.open.insert(Open {
            file,
            size: header.len() as u64,
            used: false,
            spoiled: false,
            log,
            begun,
        }))
    }

    /// Appends an interval, to a new file if it has no room in this one. All of it is there afterwards, or nothing.
    /// Whether there was anything to append.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&mut self, interval: &Interval) -> io::Result<bool> {
        if interval.is_empty() {
            return Ok(false);
        }
        let most = self.settings.most;
        if let Some(open) = self.open.as_mut().filter(|open| open.is_fit()) {
            let lines = open.lines(interval);
            if open.has_room(&lines, most) {
                return open.append(&lines).map(|()| true);
            }
        }
        // Its lines are others there: times count from the start of their file.
        let open = self.begin_anew(interval.begun)?;
        let lines = open.lines(interval);
        open.append(&lines).map(|()| true)
    }
}

/// Sees that no other process writes to the file, if it is there.
fn is_nobodys(path: &Path) -> io::Result<()> {
    match OpenOptions::new().append(true).open(path) {
        Ok(file) => lock(&file),
        // What is wrong with it is told by who makes it.
        Err(_) => Ok(()),
    }
}

/// Keeps others from writing to the file until it is closed, whatever its name is then.
fn lock(file: &File) -> io::Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(io::Error::other("another process writes to it")),
        other => Ok(other?),
    }
}

// === impl Open ===

impl Open {
    /// Whether what is appended will be found: the file may have been moved, but not removed.
    fn is_fit(&self) -> bool {
        !self.spoiled && self.file.metadata().is_ok_and(|about| about.nlink() > 0)
    }

    fn lines(&self, interval: &Interval) -> String {
        let from = interval.begun.saturating_duration_since(self.begun);
        let length = interval.ended - interval.begun;
        let histograms = interval.recorded.histograms();
        histograms
            .filter(|(_, measured)| !measured.histogram.is_empty())
            .map(|(listener, measured)| {
                let labels = [Some(listener), measured.of].into_iter().flatten();
                let tag = Tag::of(measured.definition, labels);
                self.log.line(&tag, from, length, &measured.whole())
            })
            .collect()
    }

    /// Whether so much may be appended, of `most` bytes; there is always room for the first.
    fn has_room(&self, lines: &str, most: u64) -> bool {
        !self.used || self.size + lines.len() as u64 <= most
    }

    fn append(&mut self, lines: &str) -> io::Result<()> {
        if let Err(error) = self.file.write_all(lines.as_bytes()) {
            // Half a line would spoil the one after it.
            self.spoiled = self.file.set_len(self.size).is_err();
            return Err(error);
        }
        self.size += lines.len() as u64;
        self.used |= !lines.is_empty();
        Ok(())
    }
}

/// Whether there is a file with something in it that must not be lost.
fn is_used(path: &Path) -> io::Result<bool> {
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // What is no file is refused when it is opened.
    if !about.is_file() || about.len() == 0 {
        return Ok(false);
    }
    if about.len() > HEADER {
        return Ok(true);
    }
    let mut text = Vec::new();
    OpenOptions::new()
        .read(true)
        .open(path)?
        .take(HEADER)
        .read_to_end(&mut text)?;
    Ok(!std::str::from_utf8(&text).is_ok_and(IntervalLog::is_blank))
}

/// A name for a file that is put aside now, which no other has.
fn aside(path: &Path, now: SystemTime) -> PathBuf {
    let names = (0..).map(|millis| {
        let stamp = format_rfc3339_millis(now + Duration::from_millis(millis)).to_string();
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(stamp.replace(['-', ':'], ""));
        PathBuf::from(name)
    });
    let mut free = names.filter(|name| fs::symlink_metadata(name).is_err());
    free.next().expect("time goes on")
}

/// Removes the oldest of the files that were put aside, if there are more than `keep`.
fn prune(path: &Path, keep: usize) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut former = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?.file_name();
        let stamp = entry
            .as_encoded_bytes()
            .strip_prefix(name.as_encoded_bytes());
        if stamp.is_some_and(is_stamp) {
            former.push(entry);
        }
    }
    former.sort();
    let surplus = former.len().saturating_sub(keep);
    former[..surplus]
        .iter()
        .try_for_each(|name| fs::remove_file(directory.join(name)))
}

/// Whether this is what [`aside`] adds: `20261123T052059.123Z`.
fn is_stamp(text: &[u8]) -> bool {
    const FORM: &[u8] = b"00000000T000000.000Z";
    text.len() == FORM.len()
        && text.iter().zip(FORM).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == form,
        })
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use tempfile::TempDir;

    use super::*;
    use crate::metrics::{ListenerId, Recorders};

    /// A directory, and a log in it that has room for `most` bytes a file.
    fn log(most: u64, keep: usize) -> (TempDir, HdrLog) {
        let directory = tempfile::tempdir().unwrap();
        let settings = HdrLog {
            file: directory.path().join("relay.hlog"),
            every: Duration::from_secs(1),
            most,
            keep,
        };
        (directory, settings)
    }

    /// Something that took `micros`.
    fn interval(begun: Instant, micros: u64) -> Interval {
        let mut recorders = Recorders::new(1);
        let connect = &mut recorders.of(ListenerId(0)).connect;
        connect.record(Duration::from_micros(micros));
        Interval {
            begun,
            ended: begun + Duration::from_secs(1),
            recorded: Recorded {
                names: vec!["ssh".to_owned()],
                recorders,
                histograms: true,
                ..Recorded::default()
            },
        }
    }

    /// Files, from the oldest to the one that is being written, each with the longest of its intervals.
    fn files(directory: &TempDir) -> Vec<Vec<u64>> {
        let entries = fs::read_dir(directory.path()).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        // Without an ending: the last.
        paths.sort();
        paths.rotate_left(1);
        let read = |path: &PathBuf| {
            let text = fs::read(path).unwrap();
            let entries = IntervalLogIterator::new(&text).map(|entry| entry.unwrap());
            let mut starts = 0;
            let mut longest = Vec::new();
            for entry in entries {
                match entry {
                    LogEntry::Interval(interval) => longest.push(interval.max() as u64),
                    LogEntry::StartTime(_) | LogEntry::BaseTime(_) => starts += 1,
                }
            }
            assert_eq!(starts, 2, "{path:?} has a header");
            longest
        };
        paths.iter().map(read).collect()
    }

    #[test]
    fn a_file_that_is_full_is_put_aside_and_no_interval_is_lost() {
        let (directory, settings) = log(1000, 100);
        let mut file = LogFile::begin(&settings).unwrap();
        let begun = Instant::now();
        for nth in 1..=20 {
            file.write(&interval(begun, nth)).unwrap();
        }
        let files = files(&directory);
        assert!(files.len() > 2, "{files:?}");
        assert!(files.iter().all(|file| file.len() > 1), "{files:?}");
        assert_eq!(files.concat(), (1..=20).collect::<Vec<_>>());
        for entry in fs::read_dir(directory.path()).unwrap() {
            assert!(entry.unwrap().metadata().unwrap().len() <= 1000);
        }
    }

    #[test]
    fn an_interval_that_is_larger_than_a_file_may_be_has_one_of_its_own() {
        let (directory, settings) = log(1, 100);
        let mut file = LogFile::begin(&settings).unwrap();
        for nth in 1..=3 {
            file.write(&interval(Instant::now(), nth)).unwrap();
        }
        assert_eq!(files(&directory), [[1], [2], [3]]);
    }

    #[test]
    fn only_the_newest_of_those_that_were_put_aside_are_kept_and_no_other_file_is_touched() {
        let (directory, settings) = log(1, 2);
        for other in ["relay.hlog.1", "relay.hlog.20261123T052059.123Z.gz"] {
            fs::write(directory.path().join(other), "").unwrap();
        }
        let mut file = LogFile::begin(&settings).unwrap();
        for nth in 1..=6 {
            file.write(&interval(Instant::now(), nth)).unwrap();
        }
        for other in ["relay.hlog.1", "relay.hlog.20261123T052059.123Z.gz"] {
            fs::remove_file(directory.path().join(other)).unwrap();
        }
        assert_eq!(files(&directory), [[4], [5], [6]]);
    }

    #[test]
    fn a_new_start_puts_the_former_file_aside_unless_there_is_nothing_in_it() {
        let (directory, settings) = log(1 << 20, 7);
        for nth in 1..=2 {
            LogFile::begin(&settings).unwrap();
            let mut file = LogFile::begin(&settings).unwrap();
            file.write(&interval(Instant::now(), nth)).unwrap();
        }
        LogFile::begin(&settings).unwrap();
        assert_eq!(files(&directory), [vec![1], vec![2], vec![]]);
    }

    #[test]
    fn a_successor_begins_a_file_and_the_process_before_goes_on_with_its_own() {
        let (directory, settings) = log(1 << 20, 7);
        let mut before = LogFile::begin(&settings).unwrap();
        assert!(LogFile::begin(&settings).is_err(), "another process has it");
        let mut after = LogFile::succeed(&settings).unwrap();
        after.write(&interval(Instant::now(), 1)).unwrap();
        before.write(&interval(Instant::now(), 2)).unwrap();
        after.write(&interval(Instant::now(), 3)).unwrap();
        assert_eq!(files(&directory), [vec![2], vec![1, 3]]);
    }

    #[test]
    fn what_is_no_log_is_put_aside_as_it_is() {
        let (directory, settings) = log(1 << 20, 7);
        fs::write(&settings.file, "# mine\n").unwrap();
        LogFile::begin(&settings).unwrap();
        let found = fs::read_dir(directory.path()).unwrap().filter(|entry| {
            let path = entry.as_ref().unwrap().path();
            fs::read_to_string(path).unwrap() == "# mine\n"
        });
        assert_eq!(found.count(), 1);
    }

    #[test]
    fn a_file_that_was_moved_away_is_written_until_a_new_one_is_asked_for() {
        let (directory, settings) = log(1 << 20, 7);
        let mut file = LogFile::begin(&settings).unwrap();
        let moved = directory.path().join("moved");
        file.write(&interval(Instant::now(), 1)).unwrap();
        fs::rename(&settings.file, &moved).unwrap();
        file.write(&interval(Instant::now(), 2)).unwrap();
        file.renew(Instant::now()).unwrap();
        file.write(&interval(Instant::now(), 3)).unwrap();
        assert_eq!(files(&directory), [vec![3], vec![1, 2]]);
    }

    #[test]
    fn a_directory_that_has_vanished_is_an_error_until_it_is_there_again() {
        let (directory, settings) = log(1 << 20, 7);
        let mut file = LogFile::begin(&settings).unwrap();
        file.write(&interval(Instant::now(), 1)).unwrap();
        fs::remove_dir_all(directory.path()).unwrap();
        for nth in 2..=3 {
            let error = file.write(&interval(Instant::now(), nth)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
        fs::create_dir(directory.path()).unwrap();
        file.write(&interval(Instant::now(), 4)).unwrap();
        assert_eq!(files(&directory), [[4]]);
    }

    #[test]
    fn the_times_of_a_file_count_from_its_first_interval() {
        let (_directory, settings) = log(1 << 20, 7);
        let mut file = LogFile::begin(&settings).unwrap();
        let begun = Instant::now();
        file.renew(begun).unwrap();
        let later = begun + Duration::from_secs(20);
        file.write(&interval(begun, 1)).unwrap();
        file.write(&interval(later, 2)).unwrap();
        let text = fs::read_to_string(&settings.file).unwrap();
        assert!(text.len() as u64 > HEADER / 4, "{text}");
        assert!(
            text.contains("\nTag=connect|listener=ssh,0.000,1.000,1.000,"),
            "{text}"
        );
        assert!(
            text.contains("\nTag=connect|listener=ssh,20.000,1.000,2.000,"),
            "{text}"
        );
        let header = IntervalLog::new(SystemTime::now(), 1.0).header(COMMENT);
        assert!((header.len() as u64) < HEADER);
    }
}
