//! The whole of a comparison, from the first host to the last figure.

use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use crate::bench::compare::candidate::Candidate;
use crate::bench::compare::gathered::Gathered;
use crate::bench::compare::generator::Failed;
use crate::bench::compare::idle::{self, Idle};
use crate::bench::compare::order::{Place, order};
use crate::bench::compare::plan::{Offload, Plan, Work};
use crate::bench::compare::result::{Absent, Comparison, FORMAT, Failure, Terms};
use crate::bench::compare::stand::Standing;
use crate::bench::compare::turn;
use crate::lab::{self, Interrupt, ground, require};

/// Carries plans out.
#[derive(Debug)]
pub struct Conductor<'a> {
    /// The program that is compared, and that makes the load.
    pub unmangle: &'a Path,
    /// What ends it early.
    pub interrupt: &'a Interrupt,
}

/// What comes next.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// A candidate is put up.
    Start(&'a Candidate),
    /// It has a turn.
    Turn(Work, &'a Candidate),
}

/// One setting of the devices: who stands, and who has failed at what.
struct Stage<'a> {
    plan: &'a Plan,
    offload: Offload,
    /// By candidate; none: it did not start.
    standing: Vec<Option<Standing>>,
    gathered: Gathered,
    failures: Vec<Failure>,
}

// === impl Conductor ===

impl Conductor<'_> {
    /// Measures all of it. `step` hears of what comes next.
    ///
    /// # Errors
    /// If labs cannot be put up here, or an interrupt came. A candidate that fails is told in what is returned.
    pub fn compare(
        &self,
        plan: &Plan,
        absent: Vec<Absent>,
        mut step: impl FnMut(Step<'_>),
    ) -> lab::Result<Comparison> {
        require()?;
        ground::sweep()?;
        let mut comparison = Comparison {
            format: FORMAT,
            terms: terms(plan),
            absent,
            settings: Vec::new(),
            idle: Vec::new(),
            failures: Vec::new(),
        };
        let works: Vec<Work> = plan.timed_works().collect();
        for (nth, offload) in plan.offloads.iter().enumerate() {
            let mut stage = self.put_up(plan, *offload, &mut step)?;
            self.take_turns(&mut stage, nth, &works, &mut step)?;
            // Memory does not depend on the devices.
            if nth == 0 && plan.counts_idle() {
                comparison.idle = self.count_idle(&mut stage, &mut step)?;
            }
            let told = stage.gathered.told(*offload, &works, &plan.candidates);
            comparison.settings.push(told);
            comparison.failures.append(&mut stage.failures);
        }
        Ok(comparison)
    }

    /// Puts everybody up, and sees that bytes get through.
    fn put_up<'p>(
        &self,
        plan: &'p Plan,
        offload: Offload,
        step: &mut impl FnMut(Step<'_>),
    ) -> lab::Result<Stage<'p>> {
        let mut stage = Stage {
            plan,
            offload,
            standing: Vec::new(),
            gathered: Gathered::default(),
            failures: Vec::new(),
        };
        for (nth, candidate) in plan.candidates.iter().enumerate() {
            self.interrupt.check()?;
            step(Step::Start(candidate));
            let standing = Standing::put_up(candidate, plan, offload, self.unmangle)?;
            let checked = match standing {
                Ok(standing) => turn::check(&standing, self.interrupt)?.map(|()| standing),
                Err(failed) => Err(failed),
            };
            let standing = match checked {
                Ok(standing) => Some(standing),
                Err(failed) => {
                    stage.fail(nth, None, failed);
                    None
                }
            };
            stage.standing.push(standing);
        }
        Ok(stage)
    }

    fn take_turns(
        &self,
        stage: &mut Stage<'_>,
        nth: usize,
        works: &[Work],
        step: &mut impl FnMut(Step<'_>),
    ) -> lab::Result<()> {
        let plan = stage.plan;
        for round in 0..plan.rounds {
            for (at, work) in works.iter().enumerate() {
                for cycle in 0..plan.slices {
                    let place = Place {
                        offload: nth,
                        round,
                        work: at,
                        cycle,
                    };
                    for candidate in order(plan.seed, place, plan.candidates.len()) {
                        step(Step::Turn(*work, &plan.candidates[candidate]));
                        self.take_turn(stage, *work, candidate, place)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn take_turn(
        &self,
        stage: &mut Stage<'_>,
        work: Work,
        candidate: usize,
        place: Place,
    ) -> lab::Result<()> {
        let Some(standing) = stage.able(candidate, work) else {
            return Ok(());
        };
        match turn::take(standing, work, stage.plan, self.interrupt)? {
            Ok(figures) => stage.gathered.keep(work, candidate, place, figures),
            Err(failed) => {
                stage.gathered.forget(work, candidate);
                stage.fail(candidate, Some(work), failed);
            }
        }
        Ok(())
    }

    fn count_idle(
        &self,
        stage: &mut Stage<'_>,
        step: &mut impl FnMut(Step<'_>),
    ) -> lab::Result<Vec<Idle>> {
        let mut counted = Vec::new();
        for candidate in 0..stage.standing.len() {
            step(Step::Turn(Work::Idle, &stage.plan.candidates[candidate]));
            let Some(standing) = &stage.standing[candidate] else {
                continue;
            };
            match idle::count(standing, stage.plan, self.interrupt)? {
                Ok(idle) => counted.push(idle),
                Err(failed) => stage.fail(candidate, Some(Work::Idle), failed),
            }
        }
        Ok(counted)
    }
}

// === impl Step ===

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(candidate) => write!(f, "{}: starting", candidate.name),
            Self::Turn(work, candidate) => write!(f, "{work}: {}", candidate.name),
        }
    }
}

// === impl Stage ===

impl Stage<'_> {
    /// The candidate, if it stands and has not failed at this work.
    fn able(&self, candidate: usize, work: Work) -> Option<&Standing> {
        let name = &self.plan.candidates[candidate].name;
        let failed = |failure: &Failure| failure.candidate == *name && failure.work == Some(work);
        let standing = self.standing[candidate].as_ref()?;
        (!self.failures.iter().any(failed)).then_some(standing)
    }

    fn fail(&mut self, candidate: usize, work: Option<Work>, failed: Failed) {
        self.failures.push(Failure {
            candidate: self.plan.candidates[candidate].name.clone(),
            offload: self.offload,
            work,
            why: failed.0,
        });
    }
}

fn terms(plan: &Plan) -> Terms {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let uname = rustix::system::uname();
    Terms {
        shape: plan.shape,
        rounds: plan.rounds,
        slices: plan.slices,
        slice_s: plan.slice.as_secs_f64(),
        warmup_s: plan.warmup.as_secs_f64(),
        placement: plan.placement,
        seed: plan.seed,
        cores: cores as u64,
        kernel: uname.release().to_string_lossy().into_owned(),
        processor: processor(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        at: Some(humantime::format_rfc3339_seconds(SystemTime::now()).to_string()),
    }
}

/// What the first processor calls itself, in the text of /proc/cpuinfo; not all architectures tell.
fn processor(cpuinfo: &str) -> Option<String> {
    let name = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))?;
    Some(name.trim_start_matches([' ', '\t', ':']).to_owned())
}
