//! `unmangle bench compare`: every peer and every engine beside each other, in one run.

mod guard;
mod page;
mod table;

use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Resource, getrlimit};

use crate::bench::compare::candidate::{Candidate, Kind, named};
use crate::bench::compare::conduct::{Conductor, Step};
use crate::bench::compare::cores::Placement;
use crate::bench::compare::cost;
use crate::bench::compare::plan::{Offload, Plan, Shape, Work};
use crate::bench::compare::plot::{self, Undrawable};
use crate::bench::compare::result::{Absent, Comparison, Failure};
use crate::cli::Usage;
use crate::cli::output::print;
use crate::config::Engine;
use crate::lab::{Error, Interrupt, require, rootless};

use guard::{Ending, Guard};

/// Compare the relay and its engines with other relays, each in hosts of its own.
///
/// Client, router, relay host and server are network namespaces, joined by veth pairs; nothing is mangled.
/// All candidates stand during the whole run and are measured in turn, in short slices, so that what else
/// happens on the machine happens to all. Ratios are paired, round by round, and have 95 % intervals.
///
/// Exit code 1 when a candidate fails a work (the others go on) or a ratio is worse than --baseline has it.
/// Ctrl-C takes everything down and ends with 130; a second one ends at once.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Other relays; one that is given twice takes part twice.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "haproxy,nginx,socat",
        value_name = "NAMES"
    )]
    peers: Vec<PeerName>,

    /// Engines of `unmangle`.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "splice,tokio-splice,copy",
        value_name = "NAMES"
    )]
    engines: Vec<EngineName>,

    /// What is measured; rr64bulk (rr64 while another connection streams) only if it is asked for.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "stream1,stream8,rr1,rr64,crr64,idle,mix",
        value_name = "NAMES"
    )]
    work: Vec<Work>,

    /// Whether packets may be larger than the MTU inside the machine.
    #[arg(long, default_value = "both")]
    offload: Offloads,

    /// Where the relays stand.
    #[arg(long, default_value = "forward")]
    shape: Shape,

    /// How often everything is measured; intervals are over the rounds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "N")]
    rounds: u32,

    /// How many turns each candidate has in a round with each work.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "N")]
    slices: u32,

    /// How long a turn is measured, from 100ms to 1m.
    #[arg(long, default_value = "150ms", value_parser = slice, value_name = "TIME")]
    slice: Duration,

    /// How long the load runs before that, from 0s to 1m.
    #[arg(long, default_value = "50ms", value_parser = warmup, value_name = "TIME")]
    warmup: Duration,

    /// How many idle sessions those get who can hold them.
    #[arg(long, default_value_t = 9000, value_parser = clap::value_parser!(u32).range(1..=30_000), value_name = "N")]
    idle_sessions: u32,

    /// Who decides on which cores rr1 runs: `work` puts client, relay and server on one, so that the work is
    /// measured and not the luck of the scheduler.
    #[arg(long, default_value = "work")]
    cores: Placement,

    /// What the order of turns is drawn from.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,

    /// Print it in JSON, as docs/bench-compare.schema.json describes.
    #[arg(long)]
    json: bool,

    /// Draw it, too: as a picture, or as a page with tables and chart.
    #[arg(long, value_name = "FILE.svg|FILE.html")]
    plot: Option<PathBuf>,

    /// Measure nothing: show what an earlier run has printed with --json.
    #[arg(long, value_name = "FILE.json")]
    from: Option<PathBuf>,

    #[command(flatten)]
    guard: guard::Flags,
}

const EXAMPLES: &str = "\
Examples:
  unmangle bench compare                                     # a quick pass: under 15 minutes
  unmangle bench compare --rounds 10 --plot compare.svg      # a full one: under an hour
  unmangle bench compare --peers haproxy,haproxy --engines none --work stream1,rr1 --rounds 10
                                                             # how well it tells the same from the same
  unmangle bench compare --from run.json --baseline benches/baseline.json
                                                             # whether that run was worse than the one that is kept";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PeerName {
    /// HAProxy
    Haproxy,
    /// nginx, its stream module
    Nginx,
    /// a process for each connection
    Socat,
    /// nobody else
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EngineName {
    /// ours
    Splice,
    /// the crate of that name
    TokioSplice,
    /// tokio's copy_bidirectional
    Copy,
    /// no `unmangle` at all
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Offloads {
    /// They may.
    On,
    /// They may not.
    Off,
    /// First the one, then the other.
    Both,
}

/// Runs the subcommand.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    let guard = Guard::new(&args.guard)?;
    if let Some(path) = &args.from {
        let comparison = read(path)?;
        let picture = picture(args.plot.as_deref())?;
        let code = show(&comparison, picture, args.json)?;
        let ending = guard.conclude(&comparison, &asked(&args), args.json)?;
        return Ok(with(ending, code));
    }
    // First of all: a process that has threads may not.
    rootless::enter().map_err(ended_early)?;
    match compare(args, guard) {
        Err(error) => match error.downcast::<Error>() {
            Ok(Error::Interrupted { signal }) => Ok(ExitCode::from(128 + signal)),
            Ok(error) => Err(ended_early(error)),
            Err(other) => Err(other),
        },
        done => done,
    }
}

/// What was asked for and cannot be done here ends with exit code 2.
fn ended_early(error: Error) -> anyhow::Error {
    match error.is_usage() {
        true => Usage(error.to_string()).into(),
        false => error.into(),
    }
}

fn compare(args: Args, guard: Guard) -> anyhow::Result<ExitCode> {
    require()?;
    let (plan, absent) = plan(&args);
    for absent in &absent {
        eprintln!(
            "unmangle: {} takes no part: {}",
            absent.candidate, absent.why
        );
    }
    if !cost::kernel_tells() {
        eprintln!(
            "unmangle: this kernel does not tell what threads and children use (CONFIG_SCHED_INFO, \
             CONFIG_PROC_CHILDREN): there are no figures of CPU time, and a child's memory does not count"
        );
    }
    // Before an hour is spent on what could then not be kept.
    guard.fits(&plan, &absent)?;
    let picture = picture(args.plot.as_deref())?;
    eprintln!("{} turns, about {}", plan.turns(), minutes(plan.estimate()));
    let interrupt = Interrupt::watch()?;
    let unmangle = rootless::program().context("finding this program")?;
    let conductor = Conductor {
        unmangle: &unmangle,
        interrupt: &interrupt,
    };
    let progress = progress(plan.turns());
    let comparison = conductor.compare(&plan, absent, |step| {
        progress.set_message(step.to_string());
        if matches!(step, Step::Turn(..)) {
            progress.inc(1);
        }
    })?;
    progress.finish_and_clear();
    let code = show(&comparison, picture, args.json)?;
    Ok(with(guard.conclude(&comparison, &plan, args.json)?, code))
}

fn with(ending: Ending, code: ExitCode) -> ExitCode {
    match ending {
        Ending::Passed => code,
        Ending::Worse => ExitCode::FAILURE,
    }
}

/// What an earlier run has printed.
fn read(path: &Path) -> anyhow::Result<Comparison> {
    let complaint = |error: String| Usage(format!("--from {}: {error}", path.display()));
    let text = fs::read(path).map_err(|error| complaint(error.to_string()))?;
    Ok(Comparison::parse(&text).map_err(|error| complaint(error.to_string()))?)
}

/// Where it is drawn, and as what.
struct Picture {
    file: File,
    draw: fn(&Comparison) -> Result<String, Undrawable>,
}

/// What is drawn is known by the file's ending: a page if it is .html, else a picture.
fn picture(path: Option<&Path>) -> anyhow::Result<Option<Picture>> {
    let Some(path) = path else { return Ok(None) };
    let complaint = |why: String| Usage(format!("--plot {}: {why}", path.display()));
    let draw = match path.extension().is_some_and(|ending| ending == "html") {
        true => page::render,
        false => plot::svg,
    };
    let file = File::create(path).map_err(|error| complaint(error.to_string()))?;
    Ok(Some(Picture { file, draw }))
}

fn show(comparison: &Comparison, picture: Option<Picture>, json: bool) -> anyhow::Result<ExitCode> {
    if let Some(Picture { mut file, draw }) = picture {
        file.write_all(draw(comparison)?.as_bytes())?;
    }
    if json {
        print(format!("{}\n", serde_json::to_string_pretty(comparison)?))?;
    } else {
        print(table::render(comparison))?;
    }
    complain(comparison);
    Ok(ExitCode::from(u8::from(!comparison.failures.is_empty())))
}

/// What is to be measured, and who does not take part.
fn plan(args: &Args) -> (Plan, Vec<Absent>) {
    let mut plan = asked(args);
    let (absent, candidates): (Vec<_>, Vec<_>) = plan
        .candidates
        .into_iter()
        .map(|candidate| (why_absent(&candidate, args.shape), candidate))
        .partition(|(why, _)| why.is_some());
    let absent = absent.into_iter().map(|(why, candidate)| Absent {
        candidate: candidate.name,
        why: why.unwrap_or_default(),
    });
    let candidates = candidates.into_iter().map(|(_, candidate)| candidate);
    plan.candidates = candidates.collect();
    (plan, absent.collect())
}

/// What was asked for, whoever is there.
fn asked(args: &Args) -> Plan {
    let peers = args.peers.iter().filter_map(|peer| peer.kind());
    let engines = args.engines.iter().filter_map(|engine| engine.kind());
    let mut works: Vec<Work> = args.work.clone();
    works.sort_by_key(|work| Work::ALL.iter().position(|each| each == work));
    works.dedup();
    Plan {
        candidates: named(std::iter::once(Kind::Direct).chain(peers).chain(engines)),
        works,
        offloads: match args.offload {
            Offloads::On => vec![Offload::On],
            Offloads::Off => vec![Offload::Off],
            Offloads::Both => vec![Offload::On, Offload::Off],
        },
        shape: args.shape,
        rounds: args.rounds,
        slices: args.slices,
        slice: args.slice,
        warmup: args.warmup,
        idle_sessions: args.idle_sessions,
        descriptors: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
        placement: args.cores,
        seed: args.seed,
    }
}

fn why_absent(candidate: &Candidate, shape: Shape) -> Option<String> {
    if let Some(why) = candidate.kind.unable(shape) {
        return Some(why.to_owned());
    }
    let missing = candidate.kind.missing()?;
    Some(format!(
        "{} is not installed: apt install {}",
        missing.what, missing.package
    ))
}

fn complain(comparison: &Comparison) {
    for failure in &comparison.failures {
        let Failure {
            candidate,
            offload,
            work,
            why,
        } = failure;
        let at = match work {
            Some(work) => work.to_string(),
            None => "start".to_owned(),
        };
        eprintln!("unmangle: {candidate} failed at {at} (offloads {offload}): {why}");
    }
}

/// A progress bar where there is a terminal to draw it on.
fn progress(length: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} of about {duration} {msg}");
    let bar = ProgressBar::new(length).with_style(style.expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..90 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

fn slice(text: &str) -> Result<Duration, String> {
    time(text, Duration::from_millis(100))
}

fn warmup(text: &str) -> Result<Duration, String> {
    time(text, Duration::ZERO)
}

/// A time from `least` to a minute.
fn time(text: &str, least: Duration) -> Result<Duration, String> {
    let most = Duration::from_secs(60);
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (least..=most).contains(&time) {
        return Ok(time);
    }
    let least = humantime::format_duration(least);
    Err(format!("it must be from {least} to 1m"))
}

// === impl PeerName, EngineName ===

impl PeerName {
    fn kind(self) -> Option<Kind> {
        match self {
            Self::Haproxy => Some(Kind::HAProxy),
            Self::Nginx => Some(Kind::Nginx),
            Self::Socat => Some(Kind::Socat),
            Self::None => None,
        }
    }
}

impl EngineName {
    fn kind(self) -> Option<Kind> {
        let engine = match self {
            Self::Splice => Engine::Splice,
            Self::TokioSplice => Engine::TokioSplice,
            Self::Copy => Engine::Copy,
            Self::None => return None,
        };
        Some(Kind::Unmangle(engine))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn read(arguments: &str) -> Args {
        let words = std::iter::once("compare").chain(arguments.split_whitespace());
        Line::try_parse_from(words).unwrap().args
    }

    #[test]
    fn a_quick_pass_takes_less_than_15_minutes_and_a_full_one_less_than_an_hour() {
        let estimate = |arguments| {
            let args = read(arguments);
            // With everybody there, whatever is installed here.
            let (mut plan, _) = plan(&args);
            plan.candidates = named(Kind::ALL);
            plan.estimate()
        };
        assert!(
            estimate("") < Duration::from_secs(15 * 60),
            "{:?}",
            estimate("")
        );
        let full = estimate("--rounds 10");
        assert!(full < Duration::from_secs(60 * 60), "{full:?}");
    }

    #[test]
    fn those_who_cannot_stand_as_a_gateway_are_told() {
        let (plan, absent) = plan(&read("--shape gateway --peers nginx,socat --engines copy"));
        let names = absent.iter().map(|absent| absent.candidate.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["nginx", "socat"]);
        let names = plan.candidates.iter().map(|each| each.name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["direct", "copy"]);
    }

    #[test]
    fn works_are_done_once_and_in_the_order_of_the_table() {
        let (plan, _) = plan(&read("--work mix,rr1,stream1,rr1 --peers none"));
        assert_eq!(plan.works, [Work::Stream1, Work::Rr1, Work::Mix]);
    }

    #[test]
    fn times_out_of_bounds_are_refused() {
        assert!(slice("99ms").is_err() && slice("61s").is_err() && slice("soon").is_err());
        assert_eq!(warmup("0s"), Ok(Duration::ZERO));
    }
}
