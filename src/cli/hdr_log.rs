//! `--hdr-log`: every so often what was recorded since the last time goes to a file. A task asks for it, a thread
//! writes it: a disk that hangs holds up nothing but the log, and the end by no more than [`PATIENCE`].

mod file;

use std::io;
use std::sync::mpsc as work;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use self::file::{Interval, LogFile};
use super::Usage;
use crate::config::HdrLog as HdrLogSettings;
use crate::relay::Handle;

/// How long the end waits for the last interval to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// A log that can be written, and is not yet.
#[derive(Debug)]
pub struct HdrLog {
    file: LogFile,
    every: Duration,
}

/// A log that is being written.
#[derive(Debug)]
pub struct Writing {
    asked: mpsc::UnboundedSender<Asked>,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// For a new file.
    Renew,
    /// For the last interval, and the end.
    End,
}

/// What the thread does.
#[derive(Debug)]
enum Work {
    /// Begins a new file, for what has been recorded since then.
    Renew(Instant),
    Write(Box<Interval>),
}

/// Keeps the file, and says when it begins to fail and when it works again.
#[derive(Debug)]
struct Keeper {
    file: LogFile,
    /// Intervals that were lost since it last worked.
    lost: u64,
}

// === impl HdrLog ===

impl HdrLog {
    /// Opens the file, as whom the relay runs as.
    ///
    /// # Errors
    /// [`Usage`] if it cannot be written.
    pub fn open(settings: &HdrLogSettings) -> Result<Self, Usage> {
        Self::of(LogFile::begin(settings), settings)
    }

    /// Opens the file in the place of a process that may still write to it.
    ///
    /// # Errors
    /// [`Usage`] if it cannot be written.
    pub fn succeed(settings: &HdrLogSettings) -> Result<Self, Usage> {
        Self::of(LogFile::succeed(settings), settings)
    }

    fn of(file: io::Result<LogFile>, settings: &HdrLogSettings) -> Result<Self, Usage> {
        let file = file.map_err(|error| {
            let path = settings.file.display();
            Usage(format!("--hdr-log {path}: {error}"))
        })?;
        Ok(Self {
            file,
            every: settings.every,
        })
    }

    /// Writes what the relay has recorded since it was asked last, until the end is asked for.
    ///
    /// # Errors
    /// If no thread can be had.
    pub fn start(self, relay: Handle) -> io::Result<Writing> {
        let (asked, asks) = mpsc::unbounded_channel();
        let mut keeper = Keeper {
            file: self.file,
            lost: 0,
        };
        let (hand_over, works) = work::channel::<(Work, oneshot::Sender<bool>)>();
        thread::Builder::new()
            .name("hdr-log".into())
            .spawn(move || {
                while let Ok((work, done)) = works.recv() {
                    // Who has lost patience does not wait.
                    let _ = done.send(keeper.does(work));
                }
            })?;
        let task = tokio::spawn(write(hand_over, self.every, asks, relay));
        Ok(Writing { asked, task })
    }
}

// === impl Writing ===

impl Writing {
    /// Has the file put aside and a new one begun.
    pub fn renew(&self) {
        // If the task has failed, `finish` says so.
        let _ = self.asked.send(Asked::Renew);
    }

    /// Writes the last interval.
    pub async fn finish(self) {
        let _ = self.asked.send(Asked::End);
        match timeout(PATIENCE, self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the histogram log has failed"),
            Err(_) => tracing::error!(
                "the last interval of the histogram log is not written yet: it is lost"
            ),
        }
    }
}

async fn write(
    hand_over: work::Sender<(Work, oneshot::Sender<bool>)>,
    every: Duration,
    mut asks: mpsc::UnboundedReceiver<Asked>,
    relay: Handle,
) {
    let mut begun = Instant::now();
    let mut ticks = interval_at((begun + every).into(), every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = ticks.tick() => None,
            // `None`: nobody is left who could ask.
            asked = asks.recv() => Some(asked.unwrap_or(Asked::End)),
        };
        let work = match asked {
            Some(Asked::Renew) => Work::Renew(begun),
            None | Some(Asked::End) => {
                let recorded = relay.interval().await;
                let interval = Interval {
                    begun,
                    ended: Instant::now(),
                    recorded,
                };
                begun = interval.ended;
                Work::Write(Box::new(interval))
            }
        };
        let is_written = matches!(work, Work::Write(_));
        // The next one is asked for when this one is written, so that nothing piles up.
        let (done, is_done) = oneshot::channel();
        if hand_over.send((work, done)).is_err() {
            return;
        }
        match is_done.await {
            Ok(false) if is_written => {
                relay
                    .count(|counters| counters.hdr_log_intervals_lost += 1)
                    .await;
            }
            Ok(_) => {}
            Err(_) => return,
        }
        if asked == Some(Asked::End) {
            return;
        }
    }
}

// === impl Keeper ===

impl Keeper {
    /// Whether it was done.
    fn does(&mut self, work: Work) -> bool {
        let done = match &work {
            Work::Renew(begun) => self.file.renew(*begun).map(|()| true),
            Work::Write(interval) => self.file.write(interval),
        };
        let file = self.file.path().display();
        let is_done = done.is_ok();
        match (work, done) {
            (Work::Renew(_), Ok(_)) => tracing::info!(%file, "the histogram log was begun anew"),
            (Work::Renew(_), Err(error)) => {
                tracing::error!(%file, %error, "the histogram log cannot be begun anew");
            }
            (Work::Write(_), Ok(true)) if self.lost > 0 => {
                let lost = std::mem::take(&mut self.lost);
                tracing::info!(%file, lost, "the histogram log is written again");
            }
            (Work::Write(_), Ok(_)) => {}
            (Work::Write(_), Err(error)) => {
                if self.lost == 0 {
                    tracing::error!(%file, %error, "the histogram log cannot be written: intervals are lost");
                }
                self.lost += 1;
            }
        }
        is_done
    }
}
