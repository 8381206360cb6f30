//! The whole of it for one relay: [`Conntrack`] looks for as long as it lives, and tells when it is asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::conntrack::{Counter, Counters, Entries, NoCounters, Proc};
use super::definitions::{ENTRIES, ENTRIES_LIMIT, INVALID_REASON, PASSED, REASONS_LOST};
use super::invalid::{InvalidWatch, Tally};
use super::log_settings::{Family as IpFamily, LogSettings, Logger, WhyNot};
use super::reason::Reason;
use super::widened::Widened;
use crate::metrics::{Family, Sample, Value};

/// What is known of this host's conntrack. Its task ends when this is dropped.
#[derive(Debug)]
pub struct Conntrack {
    proc: Proc,
    counters: Mutex<Widened>,
    known: Arc<Known>,
    task: Option<JoinHandle<()>>,
}

/// The same for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Packets that conntrack of this network namespace has called INVALID; none where that is not known.
    pub invalid: Option<u64>,
    /// Why it is not known.
    pub invalid_unknown: Option<String>,
    /// Entries in conntrack's table.
    pub entries: Option<u64>,
    /// Entries that it may have.
    pub entries_limit: Option<u64>,
    /// INVALID packets by reason, those that came, since the relay looks; none where reasons were never known.
    pub reasons: Option<BTreeMap<String, u64>>,
    /// Why reasons are not known now, in one line each; empty where they are.
    pub reasons_unknown: Vec<String>,
}

/// What the task and who asks have in common.
#[derive(Debug)]
struct Known {
    tally: Tally,
    sources: Mutex<Sources>,
    /// Whether reasons have been counted at any time: then their counters stay.
    counted: AtomicBool,
}

/// What brings the texts of each family, or why nothing does.
type Sources = [Result<Logger, WhyNot>; 2];

/// How often it is looked whether the host's settings have changed.
const LOOK: Duration = Duration::from_secs(10);

// === impl Conntrack ===

impl Conntrack {
    /// Begins to look, on the runtime of the calling thread.
    ///
    /// # Panics
    /// Outside a tokio runtime that has I/O and time.
    #[must_use]
    pub fn start() -> Self {
        Self::looking_every(LOOK)
    }

    /// The same, with another time until changed settings are noticed.
    ///
    /// # Panics
    /// Outside a tokio runtime that has I/O and time.
    #[must_use]
    pub fn looking_every(period: Duration) -> Self {
        let proc = Proc::default();
        let settings = LogSettings::read(&proc);
        let known = Known::of(settings.sources());
        let watch = InvalidWatch::open(&settings, &known.tally);
        known.tell(&watch.sources);
        let looking = look(proc.clone(), known.clone(), watch, settings, period);
        Self {
            proc,
            counters: Mutex::default(),
            known,
            task: Some(tokio::spawn(looking)),
        }
    }

    /// Counters alone: what is logged is left to other programs.
    #[must_use]
    pub fn without_reasons() -> Self {
        Self {
            proc: Proc::default(),
            counters: Mutex::default(),
            known: Known::of([const { Err(WhyNot::LeftAlone) }; 2]),
            task: None,
        }
    }

    /// What conntrack has counted by now.
    fn counters(&self) -> Result<Widened, NoCounters> {
        // Held while they are read: what was read first is taken in first.
        let mut widened = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        widened.add(&Counters::read(&self.proc)?);
        Ok(widened.clone())
    }

    /// Everything that is known, as metrics. What is not known is left out.
    pub fn families(&self) -> Vec<Family> {
        let mut families = Vec::new();
        if let Ok(counters) = self.counters() {
            let known = |counter: Counter| {
                let value = Value::Count(counters.of(counter)?);
                Some(Family::single(counter.definition(), value))
            };
            families.extend(Counter::ALL.into_iter().filter_map(known));
        }
        if let Some(entries) = Entries::read(&self.proc) {
            families.push(Family::single(&ENTRIES, Value::Level(entries.now as f64)));
            families.push(Family::single(
                &ENTRIES_LIMIT,
                Value::Level(entries.limit as f64),
            ));
        }
        if self.known.counted() {
            let tally = &self.known.tally;
            families.push(Family {
                definition: &INVALID_REASON,
                samples: Reason::ALL.map(|reason| by_reason(reason, tally)).into(),
            });
            families.push(Family::single(&PASSED, Value::Count(tally.passed())));
            families.push(Family::single(&REASONS_LOST, Value::Count(tally.lost())));
        }
        families
    }

    /// What an operator asks first.
    pub fn summary(&self) -> Summary {
        let counters = self.counters();
        let entries = Entries::read(&self.proc);
        let reasons = || {
            let all = Reason::ALL.into_iter();
            let counted = all.map(|reason| (reason, self.known.tally.of(reason)));
            let that_came = counted.filter(|(_, count)| *count > 0);
            that_came
                .map(|(reason, count)| (reason.name().to_owned(), count))
                .collect()
        };
        Summary {
            invalid: counters
                .as_ref()
                .ok()
                .and_then(|counters| counters.of(Counter::Invalid)),
            invalid_unknown: counters.as_ref().err().map(ToString::to_string),
            entries: entries.map(|entries| entries.now),
            entries_limit: entries.map(|entries| entries.limit),
            reasons: self.known.counted().then(reasons),
            reasons_unknown: why_not(&self.known.sources()),
        }
    }
}

impl Drop for Conntrack {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn by_reason(reason: Reason, tally: &Tally) -> Sample {
    Sample {
        labels: vec![reason.name().to_owned()],
        value: Value::Count(tally.of(reason)),
    }
}

/// Why reasons are not known, in one line, or in one for each family if only one is blind or they differ.
fn why_not(sources: &Sources) -> Vec<String> {
    match sources {
        [Err(v4), Err(v6)] if v4 == v6 => vec![v4.to_string()],
        sources => sources
            .iter()
            .zip(IpFamily::ALL)
            .filter_map(|(source, family)| {
                let why = source.as_ref().err()?;
                Some(format!("{}: {why}", family.name()))
            })
            .collect(),
    }
}

// === impl Known ===

impl Known {
    /// Nothing has been counted.
    fn of(sources: Sources) -> Arc<Self> {
        Arc::new(Self {
            tally: Tally::default(),
            sources: Mutex::new(sources),
            counted: AtomicBool::new(false),
        })
    }

    /// Keeps what brings the texts now, and says it in the log.
    fn tell(&self, sources: &Sources) {
        if sources.iter().any(Result::is_ok) {
            self.counted.store(true, Ordering::Relaxed);
            tracing::info!("INVALID packets are counted by reason");
        }
        let settled = |source: &Result<Logger, WhyNot>| matches!(source, Ok(_) | Err(WhyNot::Off));
        for why in why_not(sources) {
            match sources.iter().all(settled) {
                // Most hosts are so, and mean it.
                true => tracing::debug!("INVALID packets are not counted by reason: {why}"),
                false => tracing::info!("INVALID packets are not counted by reason: {why}"),
            }
        }
        *self.sources() = sources.clone();
    }

    fn counted(&self) -> bool {
        self.counted.load(Ordering::Relaxed)
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === the task ===

/// Watches, and opens anew what the settings name when they have changed, or when reading has failed.
async fn look(
    proc: Proc,
    known: Arc<Known>,
    mut watch: InvalidWatch,
    mut settings: LogSettings,
    period: Duration,
) {
    loop {
        let failed = tokio::select! {
            error = watch.watch(&known.tally) => Some(error),
            () = tokio::time::sleep(period) => None,
        };
        if let Some(error) = &failed {
            tracing::warn!(%error, "conntrack's log cannot be read; it is opened anew");
            // Should it fail again at once, that does not keep this thread busy.
            tokio::time::sleep(period).await;
        }
        let now = LogSettings::read(&proc);
        // Somebody else's hold on the group may be over.
        let blind = watch.sources.contains(&Err(WhyNot::Taken));
        if failed.is_none() && now == settings && !blind {
            continue;
        }
        // The old one must be gone before the group can be opened again.
        let before = watch.sources.clone();
        drop(watch);
        watch = InvalidWatch::open(&now, &known.tally);
        settings = now;
        if watch.sources != before {
            known.tell(&watch.sources);
        }
    }
}
