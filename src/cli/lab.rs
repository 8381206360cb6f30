//! `unmangle lab`: the place where it is proven.

mod shell;
mod summary;
mod table;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output::print;
use crate::cli::values;
use crate::cli::{Usage, logging};
use crate::config::{Log, LogFormat};
use crate::lab::matrix::label;
use crate::lab::runner::Terms;
use crate::lab::{
    Case, Error, Family, FlowDirection, HostTuning, Interrupt, Matrix, OpenedFrom, Outcome, Path,
    Report, Row, Runner, Scenario, Shape, Strict, Tool, ground, require, requirements, rootless,
    scenario, verdict, wire,
};

/// Prove it: hosts in network namespaces around an emulated firewall.
#[derive(clap::Args)]
pub struct Args {
    /// What is logged on stderr: error, warn, info, debug or trace, or a filter.
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        default_value = "warn",
        env = "UNMANGLE_LOG"
    )]
    log: String,

    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Run(RunArgs),
    /// Tell what the scenarios are.
    ///
    /// What labs that were killed left behind is swept away first, as by every `unmangle lab` command:
    /// for root namespaces, files and processes, for other users their own processes.
    List,
    Shell(shell::Args),
    /// One wire of the lab; started by the lab itself.
    #[command(hide = true)]
    Wire {
        /// A JSON file that holds the wire's specification.
        #[arg(long)]
        spec: PathBuf,
    },
}

/// Make real transfers and print what became of them.
///
/// Exit code 1 when a transfer by `relay` is not `ok` or has packets INVALID, when one in `clean` is
/// not `ok` on any path, when a `direct` upload in another scenario is `ok` with a tool that its
/// fault should harm, or when one ends as `error` anywhere. In faulty scenarios a `reset` or `stall`
/// by `split`, `liberal` or `normalise` is a finding and no failure. Ctrl-C takes the lab down and
/// ends with 130; a second one ends at once.
#[derive(clap::Args)]
struct RunArgs {
    /// Scenarios by name, or `all`; one that is named twice is run once [default: the four that tell the
    /// story; with --shape all].
    scenario: Vec<String>,
    /// What stands in between [default: direct,liberal,split,relay; with --shape relay].
    #[arg(long, value_delimiter = ',')]
    path: Vec<Path>,
    /// How the relay is deployed [default: gateway].
    #[arg(long, value_delimiter = ',')]
    shape: Vec<Shape>,
    /// What carries the bytes [default: scp; ssh-idle in idle-drop].
    #[arg(long, value_delimiter = ',')]
    tool: Vec<Tool>,
    /// Who sends: `upload` is the host that opens the connection.
    #[arg(long, default_value = "upload")]
    direction: Directions,
    /// The version of IP.
    #[arg(long, default_value = "4")]
    family: Families,
    /// Who opens the connection; sshd runs on the other host.
    #[arg(long, default_value = "client")]
    opened_from: OpenedFrom,
    /// Which hosts filter by connection tracking and answer the rest by a TCP reset.
    #[arg(long, default_value = "both")]
    strict: Strict,
    /// Round-trip time of the long leg, up to 10s.
    #[arg(long, default_value = "0ms", value_parser = values::long_rtt, value_name = "TIME")]
    long_rtt: Duration,
    /// Whether the hosts are tuned for a leg without SACK: tcp_no_metrics_save=1, tcp_max_reordering=3.
    #[arg(long, default_value = "none")]
    host_tuning: HostTuning,
    /// How much to carry; it must fit into memory twice.
    #[arg(long, default_value = "30M", value_parser = values::size, value_name = "BYTES")]
    size: u64,
    /// When a transfer is given up as stalled, from 1s to 1day.
    #[arg(long, default_value = "40s", value_parser = values::timeout, value_name = "TIME")]
    timeout: Duration,
    /// How long ssh-idle is silent, from 1s to 1h; the firewall of idle-drop forgets a flow after half
    /// of it [default: 40s there, 5s elsewhere].
    #[arg(long, value_parser = values::idle, value_name = "TIME")]
    idle: Option<Duration>,
    /// How often to repeat each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// What the wires draw their chances from: the same seed loses the same packets.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Keep a page to look at (index.html), rows, logs and captures of every host there; it must be empty, or not
    /// exist.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Print an array of rows in JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Directions {
    Upload,
    Download,
    Both,
}

#[derive(Clone, Copy, ValueEnum)]
enum Families {
    #[value(name = "4")]
    V4,
    #[value(name = "6")]
    V6,
    Both,
}

/// Runs the subcommand.
pub fn main(args: Args) -> anyhow::Result<ExitCode> {
    // First of all: a process that has threads may not.
    if let Command::Run(_) | Command::Shell(_) = args.command {
        rootless::enter().map_err(|error| usage(error.into()))?;
    }
    logging::start(&Log {
        format: LogFormat::Human,
        filter: args.log.clone(),
        file: None,
    })?;
    let result = match args.command {
        Command::Run(args) => run(args),
        Command::List => list(),
        Command::Shell(args) => shell::main(args),
        Command::Wire { spec } => {
            let spec: wire::WireSpec = serde_json::from_slice(&std::fs::read(spec)?)?;
            wire::run(&spec)?;
            Ok(ExitCode::SUCCESS)
        }
    };
    match result {
        Err(error) => ended(error),
        done => done,
    }
}

/// An interrupt ends with the exit code that shells give a signal; nobody has to be told of it.
fn ended(error: anyhow::Error) -> anyhow::Result<ExitCode> {
    match error.downcast_ref::<Error>() {
        Some(Error::Interrupted { signal }) => {
            tracing::info!("interrupted");
            Ok(ExitCode::from(128 + signal))
        }
        _ => Err(usage(error)),
    }
}

/// What was asked for and cannot be done here ends with exit code 2.
fn usage(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Error>() {
        Some(lab) if lab.is_usage() => Usage(lab.to_string()).into(),
        _ => error,
    }
}

fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let scenarios = scenarios(&args.scenario, !args.shape.is_empty(), args.idle)?;
    require()?;
    ground::sweep()?;
    ground::require_room(args.size)?;
    let matrix = Matrix {
        scenarios,
        paths: paths(args.path, &args.shape),
        shapes: match args.shape.is_empty() {
            true => vec![Shape::Gateway],
            false => args.shape,
        },
        tools: args.tool,
        directions: args.direction.list(),
        families: args.family.list(),
        opened_from: args.opened_from,
        strict: args.strict,
        runs: args.runs,
    };
    let terms = Terms {
        bytes: args.size,
        timeout: args.timeout,
        long_rtt: args.long_rtt,
        seed: args.seed,
        unmangle: None,
    };
    let title = format!(
        "{} MB, opened from the {}, strict: {}, long leg {} ms{}",
        args.size as f64 / 1e6,
        label(args.opened_from),
        label(args.strict),
        args.long_rtt.as_secs_f64() * 1e3,
        match args.host_tuning {
            HostTuning::None => "",
            HostTuning::Apply => ", hosts tuned",
        }
    );
    let cases = matrix.cases();
    for case in &cases {
        case.tool.require()?;
    }
    let mut runner = Runner::new(terms, Interrupt::watch()?).host_tuning(args.host_tuning);
    if let Some(directory) = &args.report {
        runner = runner.report_to(Report::new(directory, &title)?);
    }
    let rows = transfer(&cases, runner)?;

    if args.json {
        print(format!("{}\n", serde_json::to_string_pretty(&rows)?))?;
    } else {
        print(format!("{title}\n\n{}\n", table::render(&rows)))?;
        if args.runs > 1 {
            print(format!("\n{}\n", summary::render(&rows)))?;
        }
    }
    let complaints = verdict::complaints(&rows);
    for complaint in &complaints {
        eprintln!("unmangle: {complaint}");
    }
    Ok(ExitCode::from(u8::from(!complaints.is_empty())))
}

/// The paths asked for. Whoever names a shape asks for the relay; else there is something to compare with.
fn paths(given: Vec<Path>, shapes: &[Shape]) -> Vec<Path> {
    match (given.as_slice(), shapes) {
        ([], []) => vec![Path::Direct, Path::Liberal, Path::Split, Path::Relay],
        ([], _) => vec![Path::Relay],
        _ => given,
    }
}

/// The scenarios asked for; none is the story, or all of them for somebody who names a shape.
fn scenarios(
    names: &[String],
    shaped: bool,
    idle: Option<Duration>,
) -> Result<Vec<Scenario>, Error> {
    let scenarios = match names {
        [] if shaped => scenario::all(),
        [] => scenario::story(),
        [all] if all == "all" => scenario::all(),
        names => names
            .iter()
            .map(|name| scenario::find(name))
            .collect::<Result<_, _>>()?,
    };
    Ok(scenarios
        .into_iter()
        .map(|scenario| match idle {
            Some(silence) => scenario.with_silence(silence),
            None => scenario,
        })
        .collect())
}

/// Makes every transfer, and says on stderr why one ended in an error.
fn transfer(cases: &[Case], mut runner: Runner) -> anyhow::Result<Vec<Row>> {
    let progress = progress(cases.len());
    let mut rows = Vec::new();
    for case in cases {
        progress.set_message(case.to_string());
        let (row, evidence) = runner.run(case)?;
        if row.outcome == Outcome::Error {
            progress.suspend(|| eprintln!("unmangle: {case}: {}", evidence.tool.trim()));
        }
        tracing::debug!(%case, ?row, ?evidence, "transfer over");
        rows.push(row);
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(rows)
}

/// A progress bar where there is a terminal to draw it on.
fn progress(length: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}");
    let bar = ProgressBar::new(length as u64).with_style(style.expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn list() -> anyhow::Result<ExitCode> {
    if requirements::is_root() {
        ground::sweep()?;
    } else {
        rootless::sweep();
    }
    for scenario in scenario::all() {
        print(format!(
            "{:<22} {} Cured by the profile {}.\n",
            scenario.name, scenario.story, scenario.profile
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

// === impl Directions, Families ===

impl Directions {
    fn list(self) -> Vec<FlowDirection> {
        match self {
            Self::Upload => vec![FlowDirection::Upload],
            Self::Download => vec![FlowDirection::Download],
            Self::Both => vec![FlowDirection::Upload, FlowDirection::Download],
        }
    }
}

impl Families {
    fn list(self) -> Vec<Family> {
        match self {
            Self::V4 => vec![Family::V4],
            Self::V6 => vec![Family::V6],
            Self::Both => vec![Family::V4, Family::V6],
        }
    }
}
