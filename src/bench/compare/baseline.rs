//! A guard against getting slower: the ratios that a run once found, and whether those of another are worse. Pure.
//!
//! Ratios alone: figures differ from machine to machine and from day to day, what the relay makes beside the direct
//! path and its peers in the same minutes differs less. `docs/bench-baseline.schema.json` describes the file.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bench::compare::candidate::{Candidate, Kind};
use crate::bench::compare::cores::Placement;
use crate::bench::compare::paired::{self, Ratio};
use crate::bench::compare::plan::{Better, Measure, Offload, Plan, Shape, Work};
use crate::bench::compare::result::{Compared, Comparison, Figure, Terms};
use crate::bench::versioned::{self, Unreadable, Written};
use crate::config::Engine;

/// The version of the format.
pub const FORMAT: u32 = 1;

/// Whose ratios they are.
const OURS: Kind = Kind::Unmangle(Engine::Splice);

/// The ratios of `unmangle` that a run found.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "What unmangle bench compare --write-baseline writes")]
pub struct Baseline {
    /// The version of this format.
    pub format: u32,
    /// By which part of a ratio another may be worse and is still taken for the same: 0.05 is 5 %.
    pub allowance: f64,
    /// How it was measured.
    pub terms: Terms,
    /// The ratios.
    pub entries: Vec<Entry>,
}

/// One ratio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Of what.
    pub of: Subject,
    /// What was found.
    pub found: Found,
}

/// What a ratio is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// With which devices.
    pub offload: Offload,
    /// What was done.
    pub work: Work,
    /// What was measured of it.
    pub measure: Measure,
    /// To whom `unmangle` was compared: `direct`, or a peer.
    pub to: String,
}

/// A ratio, and where it lies with 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// The figure of `unmangle` divided by the other's.
    pub ratio: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// How a ratio stands beside what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing tells it from what it was.
    Same,
    /// All of its interval is better by more than the allowance.
    Better,
    /// All of its interval is worse by more than the allowance.
    Worse,
    /// The baseline has it, the run has not.
    NotMeasured,
    /// The run has it, the baseline has not.
    New,
}

/// One ratio, then and now.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// What it is of.
    pub of: Subject,
    /// In the baseline.
    pub then: Option<Found>,
    /// In the run.
    pub now: Option<Found>,
    /// What that means.
    pub verdict: Verdict,
}

/// What a baseline cannot be made of, or compared with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such text.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Somebody has written a figure that cannot be.
    #[error("its allowance is {0}; it must be from 0 to less than 1")]
    Allowance(f64),
    /// The same.
    #[error("{0}: its ratio does not lie in its interval, or is not above 0")]
    Interval(Subject),
    /// Which of the two holds?
    #[error("it has {0} twice")]
    Twice(Subject),
    /// It would let everything pass.
    #[error("there are no ratios of unmangle")]
    Empty,
    /// Ratios of one shape say nothing of another.
    #[error("made with --shape {}, --cores {}; this run has --shape {}, --cores {}", .was.0, word(.was.1), .is.0, word(.is.1))]
    OtherTerms {
        /// How the baseline was made.
        was: (Shape, Placement),
        /// How the run is.
        is: (Shape, Placement),
    },
    /// There would be no intervals.
    #[error("a single round has no intervals: --rounds 2, or more")]
    OneRound,
    /// What was asked for is not there.
    #[error("not measured: {}", few(.0))]
    Lacking(Vec<Subject>),
}

// === impl Baseline ===

impl Baseline {
    /// Reads one.
    ///
    /// # Errors
    /// A text that is none, is of another format, or contradicts itself.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let known = Written {
            name: "a baseline",
            origin: "what `unmangle bench compare --write-baseline` writes",
            format: FORMAT,
        };
        let baseline: Self = versioned::read(text, known)?;
        if !(0.0..1.0).contains(&baseline.allowance) {
            return Err(Error::Allowance(baseline.allowance));
        }
        for (nth, Entry { of, found }) in baseline.entries.iter().enumerate() {
            let Found { ratio, low, high } = *found;
            if !(0.0 < low && low <= ratio && ratio <= high) {
                return Err(Error::Interval(of.clone()));
            }
            if baseline.entries[..nth].iter().any(|entry| entry.of == *of) {
                return Err(Error::Twice(of.clone()));
            }
        }
        match baseline.entries.is_empty() {
            true => Err(Error::Empty),
            false => Ok(baseline),
        }
    }

    /// Makes one of what a comparison found of what was asked for; it may have found more.
    ///
    /// # Errors
    /// If it found less, or has no intervals.
    pub fn of(comparison: &Comparison, asked: &Plan, allowance: f64) -> Result<Self, Error> {
        more_than_one(comparison.terms.rounds)?;
        let all = found(comparison);
        let wanted = subjects(asked);
        let lacking = wanted.iter().filter(|subject| {
            // Costs are not told on every kernel, and nothing is spent on the direct path: what the work is
            // about has to be there.
            subject.work.measures().first() == Some(&subject.measure)
                && find(&all, subject).is_none()
        });
        none_of(lacking.cloned().collect())?;
        let entries = all.into_iter().filter(|entry| wanted.contains(&entry.of));
        let entries: Vec<Entry> = entries.collect();
        match entries.is_empty() {
            true => Err(Error::Empty),
            false => Ok(Self {
                format: FORMAT,
                allowance,
                terms: comparison.terms.clone(),
                entries,
            }),
        }
    }

    /// Whether a run of this plan can make one.
    ///
    /// # Errors
    /// If it has no ratios, or no intervals.
    pub fn can_be_of(plan: &Plan) -> Result<(), Error> {
        more_than_one(plan.rounds)?;
        match subjects(plan).is_empty() {
            true => Err(Error::Empty),
            false => Ok(()),
        }
    }

    /// Whether a run of this plan can be compared with it.
    ///
    /// # Errors
    /// If its terms are others, or it leaves out what the baseline has.
    pub fn fits(&self, plan: &Plan) -> Result<(), Error> {
        self.same_terms(plan.shape, plan.placement)?;
        more_than_one(plan.rounds)?;
        let measured = subjects(plan);
        let has = self.entries.iter().map(|entry| &entry.of);
        none_of(has.filter(|of| !measured.contains(of)).cloned().collect())
    }

    /// Every ratio then and now, in the order of the baseline, what is new at the end.
    ///
    /// # Errors
    /// If the terms are others, or there are no intervals.
    pub fn judge(&self, now: &Comparison) -> Result<Vec<Judged>, Error> {
        self.same_terms(now.terms.shape, now.terms.placement)?;
        more_than_one(now.terms.rounds)?;
        let now = found(now);
        let known = self.entries.iter().map(|Entry { of, found: then }| {
            let now = find(&now, of);
            Judged {
                of: of.clone(),
                then: Some(*then),
                now,
                verdict: match now {
                    Some(now) => self.verdict(of.measure.better(), *then, now),
                    None => Verdict::NotMeasured,
                },
            }
        });
        let new = now
            .iter()
            .filter(|entry| find(&self.entries, &entry.of).is_none());
        let new = new.map(|Entry { of, found }| Judged {
            of: of.clone(),
            then: None,
            now: Some(*found),
            verdict: Verdict::New,
        });
        Ok(known.chain(new).collect())
    }

    /// As it is kept: a ratio a line, so that what has changed can be seen.
    ///
    /// # Errors
    /// None that its types allow.
    pub fn text(&self) -> serde_json::Result<String> {
        let entries = self.entries.iter().map(serde_json::to_string);
        let entries = entries.collect::<serde_json::Result<Vec<_>>>()?;
        Ok(format!(
            "{{\n\"format\": {},\n\"allowance\": {},\n\"terms\": {},\n\"entries\": [\n{}\n]\n}}\n",
            self.format,
            serde_json::to_string(&self.allowance)?,
            serde_json::to_string(&self.terms)?,
            entries.join(",\n"),
        ))
    }

    fn verdict(&self, better: Better, then: Found, now: Found) -> Verdict {
        let above = now.low > then.ratio * (1.0 + self.allowance);
        let below = now.high < then.ratio * (1.0 - self.allowance);
        match (above, below, better) {
            (true, _, Better::Higher) | (_, true, Better::Lower) => Verdict::Better,
            (true, _, Better::Lower) | (_, true, Better::Higher) => Verdict::Worse,
            (false, false, _) => Verdict::Same,
        }
    }

    fn same_terms(&self, shape: Shape, placement: Placement) -> Result<(), Error> {
        let was = (self.terms.shape, self.terms.placement);
        let is = (shape, placement);
        match was == is {
            true => Ok(()),
            false => Err(Error::OtherTerms { was, is }),
        }
    }
}

fn more_than_one(rounds: u32) -> Result<(), Error> {
    match rounds {
        0 | 1 => Err(Error::OneRound),
        _ => Ok(()),
    }
}

fn none_of(lacking: Vec<Subject>) -> Result<(), Error> {
    match lacking.is_empty() {
        true => Ok(()),
        false => Err(Error::Lacking(lacking)),
    }
}

fn find(entries: &[Entry], subject: &Subject) -> Option<Found> {
    let mut entries = entries.iter();
    entries
        .find(|entry| entry.of == *subject)
        .map(|entry| entry.found)
}

/// Whether ours is compared with this one. One that takes part a second time is there for another reason.
fn is_reference(name: &str) -> bool {
    let kind = name.parse::<Kind>();
    kind.is_ok_and(|kind| kind == Kind::Direct || kind.is_peer())
}

/// All that a run of this plan has ratios of, if everything can be measured.
fn subjects(plan: &Plan) -> Vec<Subject> {
    let named = |candidate: &Candidate| candidate.name.clone();
    let names: Vec<String> = plan.candidates.iter().map(named).collect();
    if !names.contains(&OURS.to_string()) {
        return Vec::new();
    }
    let mut subjects = Vec::new();
    for (offload, work) in plan.offloads.iter().flat_map(|offload| {
        let works = plan.works.iter();
        works.map(|work| (*offload, *work))
    }) {
        for measure in work.measures().iter().copied() {
            let references = names.iter().filter(|name| is_reference(name));
            subjects.extend(references.map(|to| Subject {
                offload,
                work,
                measure,
                to: to.clone(),
            }));
        }
    }
    subjects
}

/// The ratios of a comparison that have an interval.
fn found(comparison: &Comparison) -> Vec<Entry> {
    let measured = comparison.settings.iter().flat_map(|setting| {
        let compared = setting.compared.iter();
        compared.map(|compared| (setting.offload, compared))
    });
    let entries = measured.flat_map(|(offload, compared)| {
        let references = compared
            .figures
            .iter()
            .filter(|figure| is_reference(&figure.candidate));
        references.filter_map(move |figure| entry(offload, compared, figure))
    });
    entries.collect()
}

fn entry(offload: Offload, compared: &Compared, to: &Figure) -> Option<Entry> {
    let ours = compared.figure(&OURS.to_string())?;
    Some(Entry {
        of: Subject {
            offload,
            work: compared.work,
            measure: compared.measure,
            to: to.candidate.clone(),
        },
        found: Found::of(paired::ratio(&ours.turns, &to.turns)?)?,
    })
}

/// Some of them, and how many more there are.
fn few(subjects: &[Subject]) -> String {
    const SHOWN: usize = 2;
    let shown = subjects.iter().take(SHOWN).map(Subject::to_string);
    let shown = shown.collect::<Vec<_>>().join("; ");
    match subjects.len() {
        0..=SHOWN => shown,
        all => format!("{shown}; and {} more", all - SHOWN),
    }
}

fn word(placement: Placement) -> &'static str {
    match placement {
        Placement::Work => "work",
        Placement::Scheduler => "scheduler",
    }
}

// === impl Subject ===

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            offload,
            work,
            measure,
            to,
        } = self;
        write!(f, "{OURS} to {to}, {work}, {measure}, offloads {offload}")
    }
}

// === impl Found ===

impl Found {
    /// None of a ratio that has no interval.
    fn of(
        Ratio {
            ratio, interval, ..
        }: Ratio,
    ) -> Option<Self> {
        let interval = interval?;
        Some(Self {
            ratio: short(ratio),
            low: short(interval.low),
            high: short(interval.high),
        })
    }
}

/// Four digits of it: more are noise, and would make every line of a new baseline differ.
fn short(ratio: f64) -> f64 {
    format!("{ratio:.3e}").parse().unwrap_or(ratio)
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ratio, low, high } = self;
        f.pad(&format!("{ratio:.3} [{low:.3}, {high:.3}]"))
    }
}

// === impl Verdict ===

impl Verdict {
    /// Whether a run with it is no pass.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Worse | Self::NotMeasured)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Same => "same",
            Self::Better => "better",
            Self::Worse => "WORSE",
            Self::NotMeasured => "NOT MEASURED",
            Self::New => "new",
        })
    }
}

#[cfg(test)]
mod tests;
