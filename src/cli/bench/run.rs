//! `unmangle bench run`: one load, and its report.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use super::values::{self, Target};
use super::{merge, say, table};
use crate::bench::failure::Kind;
use crate::bench::hdr_log::HdrLog;
use crate::bench::paths::{DIRECT, Findings, Path, VIA, measure};
use crate::bench::tally::Interval;
use crate::bench::work::{Direction, Load, Mode, Pace, Payload, Peer};
use crate::cli::descriptors::raise_limit;
use crate::cli::output::{print, spinner};
use crate::cli::{Usage, interrupts};
use crate::metrics::human;
use anyhow::Context;

/// Load `unmangle bench serve`, and report what it took.
///
/// Without --rate the loop is closed: a request is sent when the last one was answered, and a stall of
/// the other end holds requests back. With --rate it is open: requests have their times, and latency
/// counts from the time at which one was to be sent, so a stall shows as what it is to users.
///
/// With --via the direct path and the other one take turns (A B A B), and the report says what the other
/// one costs.
///
/// Exit code 0 if nothing went wrong, 1 if anything was counted as an error, 2 if the request itself
/// makes no sense. Ctrl-C ends the load early, with its report, and 130; SIGTERM does the same, and 143.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The server, HOST:PORT.
    #[arg(long, value_name = "ADDR")]
    to: String,
    /// The same server by another way, such as a relay's listener: measured in turn with --to.
    #[arg(long, value_name = "ADDR")]
    via: Option<String>,
    /// What the connections do.
    #[arg(long, value_name = "MODE")]
    mode: Mode,
    /// How many connections at a time [default: 1; 8 in a mix]
    #[arg(long, value_name = "N", value_parser = values::connections)]
    connections: Option<NonZeroU32>,
    /// How long each path is measured, from 100ms.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = values::duration)]
    duration: Duration,
    /// How long the load runs before that, unmeasured [default: a tenth of the duration, 1s at most]
    #[arg(long, value_name = "TIME", value_parser = values::patience)]
    warmup: Option<Duration>,
    /// Open loop: requests a second over all connections, such as 500 or 20k; for rr, crr and mix.
    #[arg(long, value_name = "R", value_parser = values::rate)]
    rate: Option<f64>,
    /// Bytes of a request.
    #[arg(long, default_value = "64", value_name = "BYTES", value_parser = values::size)]
    request: NonZeroU32,
    /// Bytes of a response.
    #[arg(long, default_value = "64", value_name = "BYTES", value_parser = values::size)]
    response: NonZeroU32,
    /// Who sends in a stream.
    #[arg(long, default_value = "upload")]
    direction: Direction,
    /// The other end is no `unmangle bench serve`, but a plain server: one that echoes for rr and crr, one
    /// that discards for a stream.
    #[arg(long)]
    bare: bool,
    /// Read what arrives into memory, as a real receiver does. Otherwise the kernel discards streams and responses, so
    /// that the ends cost little.
    #[arg(long, conflicts_with = "verify")]
    read: bool,
    /// Compare every byte that arrives with what was to arrive.
    #[arg(long)]
    verify: bool,
    /// How often each of two paths has its turn.
    #[arg(long, default_value = "2", value_name = "N", requires = "via")]
    turns: Option<NonZeroU32>,
    /// How long one point of the series and of the log is [default: a twentieth of the duration, 100ms to
    /// 1s]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    interval: Option<Duration>,
    /// Threads [default: one for each core, and no more than connections]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroU32>,
    /// How long a connection may take to be made.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = values::duration)]
    connect_timeout: Duration,
    /// How long the last responses are waited for once the time is over.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = values::patience)]
    grace: Duration,
    /// Print the report in JSON (docs/bench-report.schema.json).
    #[arg(long)]
    json: bool,
    /// Write the latencies of every interval there: a HdrHistogram V2 log.
    #[arg(long, value_name = "FILE")]
    hdr_log: Option<PathBuf>,
    /// Draw latency by percentile and throughput over time there: an SVG.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// How long each path's turn is at least, as `--duration` is.
const SHORTEST_TURN: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  unmangle bench run --to 198.51.100.2:7000 --mode stream --duration 30s
  unmangle bench run --to 198.51.100.2:7000 --mode rr --connections 64 --rate 20k
  unmangle bench run --to 198.51.100.2:7000 --via 192.0.2.1:7000 --mode crr --connections 64
  unmangle bench run --to 127.0.0.1:7 --mode rr --bare";

/// Runs the load and prints its report.
pub(super) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let load = args.load()?;
    let paths = args.paths()?;
    let turns = args.turns()?;
    raise_limit();
    let mut log = args.log()?;
    if let Some(file) = &args.plot {
        File::create(file).map_err(|error| Usage(format!("--plot {}: {error}", file.display())))?;
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    let asked = interrupts::set(&interrupted)?;
    let progress = spinner();
    let findings = measure(
        &load,
        &paths,
        turns,
        &interrupted,
        &mut |path, began, interval| {
            let now = now(path, interval);
            tracing::info!("{now}");
            progress.set_message(now);
            log.write(path, began, interval);
        },
    )?;
    progress.finish_and_clear();

    let report = &findings.report;
    let is_measured = report.paths.iter().any(|path| !path.windows.is_empty());
    if args.json {
        print(format!("{}\n", serde_json::to_string_pretty(report)?))?;
    } else if is_measured {
        print(table::render(report))?;
    }
    // The report first: what cannot be written must not take it along.
    let went_wrong = tell(&findings, &load);
    log.finish()?;
    if let Some(file) = args.plot.as_ref().filter(|_| is_measured) {
        merge::draw(report, file)?;
    }
    let code = ExitCode::from(u8::from(went_wrong));
    Ok(asked.exit_code().unwrap_or(code))
}

/// Says on stderr what went wrong, a line each kind; whether anything did.
fn tell(findings: &Findings, load: &Load) -> bool {
    let mut any = false;
    for (path, failures) in &findings.failures {
        for (kind, times, what) in failures.iter() {
            any = true;
            let advice = kind
                .advice()
                .map_or(String::new(), |advice| format!("; {advice}"));
            let often = match (kind, times) {
                (Kind::Unsent, _) => format!("{times} requests"),
                (_, 1) => "once".to_owned(),
                _ => format!("{times} times"),
            };
            say(format_args!("{path}: {kind}, {often}: {what}{advice}"));
        }
    }
    if let Pace::PerSecond(wanted) = load.pace
        && findings
            .failures
            .iter()
            .any(|(_, failures)| failures.iter().any(|(kind, ..)| kind == Kind::Unsent))
    {
        for path in &findings.report.paths {
            let reached: f64 = path.parts.iter().map(|part| part.operations_per_s).sum();
            say(format_args!(
                "{}: {wanted:.0} requests a second were asked for, {reached:.0} were answered",
                path.name
            ));
        }
    }
    any
}

/// The log of intervals, if one is wanted. What could not be written is told at the end.
struct Log<'a> {
    path: Option<&'a std::path::Path>,
    log: Option<io::Result<HdrLog<BufWriter<File>>>>,
}

// === impl Log ===

impl Log<'_> {
    fn write(&mut self, path: &str, began: SystemTime, interval: &Interval) {
        if let Some(Ok(log)) = &mut self.log
            && let Err(error) = log.interval(path, began, interval)
        {
            self.log = Some(Err(error));
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        let Some((path, log)) = self.path.zip(self.log) else {
            return Ok(());
        };
        log.and_then(HdrLog::finish)
            .and_then(|mut out| out.flush())
            .with_context(|| format!("--hdr-log {}", path.display()))
    }
}

// === impl Args ===

impl Args {
    fn load(&self) -> Result<Load, Usage> {
        let asks = matches!(self.mode, Mode::Rr | Mode::Crr | Mode::Mix);
        let pace = match self.rate {
            Some(_) if !asks => {
                let what = format!("--rate is requests a second, and {} has none", self.mode);
                return Err(Usage(format!("{what}; it is for rr, crr and mix")));
            }
            Some(rate) => Pace::PerSecond(rate),
            None => Pace::AsAnswered,
        };
        if self.bare {
            self.require_plain()?;
        }
        if self.via.is_some() && self.mode == Mode::Idle {
            tracing::debug!("idle connections are asked once a turn");
        }
        let connections = self.connections.unwrap_or_else(|| {
            let default = if self.mode == Mode::Mix { 8 } else { 1 };
            NonZeroU32::new(default).expect("not zero")
        });
        if self.mode == Mode::Mix && connections.get() < 8 {
            let what = "--mode mix needs --connections 8 at least: one in eight does crr";
            return Err(Usage(what.to_owned()));
        }
        let tenth = (self.duration / 10).min(Duration::from_secs(1));
        let point = (self.duration / 20).clamp(Duration::from_millis(100), Duration::from_secs(1));
        Ok(Load {
            mode: self.mode,
            pace,
            connections,
            threads: self.threads.unwrap_or_else(cores),
            duration: self.duration,
            warmup: self.warmup.unwrap_or(tenth),
            interval: self.interval.unwrap_or(point),
            request: self.request,
            response: self.response,
            direction: self.direction,
            peer: if self.bare { Peer::Bare } else { Peer::Serve },
            payload: match (self.read, self.verify) {
                (_, true) => Payload::Verified,
                (true, false) => Payload::Read,
                (false, false) => Payload::Discarded,
            },
            connect_timeout: self.connect_timeout,
            grace: self.grace,
        })
    }

    /// The file is made before anything is measured.
    fn log(&self) -> Result<Log<'_>, Usage> {
        let log = match &self.hdr_log {
            None => None,
            Some(path) => {
                let wrong = |error| Usage(format!("--hdr-log {}: {error}", path.display()));
                let file = File::create(path).map_err(wrong)?;
                Some(HdrLog::new(BufWriter::new(file), SystemTime::now()))
            }
        };
        Ok(Log {
            path: self.hdr_log.as_deref(),
            log,
        })
    }

    /// What a server that only echoes or discards can do.
    fn require_plain(&self) -> Result<(), Usage> {
        let wrong = match self.mode {
            Mode::Mix => "--bare: no plain server both echoes and discards, so there is no mix",
            Mode::Stream if self.direction != Direction::Upload => {
                "--bare: a plain server only discards; --direction upload is what it can take"
            }
            Mode::Rr | Mode::Crr | Mode::Idle if self.request != self.response => {
                "--bare: an echo is as long as the request; make --request and --response equal"
            }
            _ => return Ok(()),
        };
        Err(Usage(wrong.to_owned()))
    }

    /// How often each path has its turn: not so often that hardly anything is measured in one.
    fn turns(&self) -> Result<u32, Usage> {
        let turns = self.turns.map_or(1, NonZeroU32::get);
        if self.via.is_some() && self.duration / turns < SHORTEST_TURN {
            let what = format!("--turns {turns}: each would be shorter than 100ms");
            return Err(Usage(format!("{what}; raise --duration")));
        }
        Ok(turns)
    }

    fn paths(&self) -> Result<Vec<Path>, Usage> {
        let path = |name, flag: &str, text: &str| {
            let Target { told, address } =
                values::target(text).map_err(|error| Usage(format!("{flag} {error:#}")))?;
            Ok(Path {
                name,
                told,
                to: address,
            })
        };
        let mut paths = vec![path(DIRECT, "--to", &self.to)?];
        if let Some(via) = &self.via {
            paths.push(path(VIA, "--via", via)?);
        }
        Ok(paths)
    }
}

fn cores() -> NonZeroU32 {
    std::thread::available_parallelism()
        .ok()
        .and_then(|cores| u32::try_from(cores.get()).ok())
        .and_then(NonZeroU32::new)
        .unwrap_or(NonZeroU32::MIN)
}

/// What an interval was like, in a few words.
fn now(path: &str, interval: &Interval) -> String {
    let seconds = interval.length.as_secs_f64();
    let parts = interval.tallies.iter().map(|(mode, tally)| match mode {
        Mode::Stream => {
            let bits = (tally.up + tally.down) as f64 * 8.0;
            format!("{mode} {:.2} Gbit/s", bits / seconds / 1e9)
        }
        _ => format!(
            "{mode} {:.0}/s, p99 {}",
            tally.operations as f64 / seconds,
            human(tally.latency.percentile(99.0))
        ),
    });
    format!("{path}: {}", parts.collect::<Vec<_>>().join("; "))
}
