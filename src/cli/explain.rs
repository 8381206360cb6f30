//! `unmangle explain`: a capture through the connection tracker's rules.

use std::fs::File;
use std::io::{IsTerminal, Read, stdin};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::Usage;
use crate::cli::output::print;
use crate::diagnose::explain::chart::{self, Gathered};
use crate::diagnose::explain::sides::{self, Trace};
use crate::diagnose::explain::{Examination, Judged, Report, render};
use crate::diagnose::tracking::{Kernel, Settings};
use crate::packet::capture::{Capture, CaptureError};

mod live;

use live::Live;

/// Show why conntrack calls packets INVALID, from a capture.
///
/// Every connection of the capture goes through the rules by which Linux conntrack judges TCP. What it would call
/// INVALID is told packet by packet: which bound, by how much, what `nf_conntrack_tcp_be_liberal` would have
/// said, and which profile helps. Captures of any size are read as a stream (pcap or pcapng).
///
/// Exit code 0 if nothing is INVALID, 1 if something is, 2 if the capture cannot be read.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The capture, by `tcpdump -s 128 -w FILE` or Wireshark; `-` is standard input.
    #[arg(value_name = "FILE", required_unless_present = "interface")]
    file: Option<PathBuf>,
    /// A capture of the same time from the other side of the firewall: tells which fields are changed between.
    #[arg(long, value_name = "FILE2")]
    other_side: Option<PathBuf>,
    /// Capture on this interface (`any` for all) by tcpdump, until --seconds are over or Ctrl-C.
    #[arg(short, long, value_name = "IFACE", conflicts_with = "file")]
    interface: Option<String>,
    /// How long to capture.
    #[arg(
        long,
        value_name = "N",
        requires = "interface",
        conflicts_with = "file"
    )]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=A_YEAR))]
    seconds: Option<u64>,
    /// Whose rules: 5.10, 6.1, 6.12 or 6.18. Default: those of this host's kernel, or of the nearest one known.
    #[arg(long)]
    kernel: Option<Kernel>,
    /// Judge as a host with `nf_conntrack_tcp_be_liberal=1` does.
    #[arg(long)]
    liberal: bool,
    /// Only this connection: its number in the report, or an address of either end, with or without port.
    #[arg(long, value_name = "N|ADDR")]
    flow: Option<String>,
    /// Draw the connection around its first INVALID packet (that of --flow N, if one is named).
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
    /// Print the report in JSON (docs/explain.schema.json).
    #[arg(long)]
    json: bool,
}

/// In seconds: nobody captures for longer.
const A_YEAR: u64 = 365 * 86_400;

/// What is kept of the packets, beside what is told of them.
struct Kept<'a> {
    trace: Option<&'a mut Trace>,
    gathered: Option<&'a mut Gathered>,
}

/// Runs the subcommand.
pub(super) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let (kernel, rules) = rules(args.kernel)?;
    check(&args)?;
    let settings = Settings {
        be_liberal: args.liberal,
        ..Settings::new(kernel)
    };
    let mut trace = args.other_side.is_some().then(Trace::default);
    let again = settings.clone();
    let asked = args.flow.as_ref().and_then(|flow| flow.parse().ok());
    let mut gathered = args.svg.is_some().then(|| Gathered::new(asked));
    let kept = Kept {
        trace: trace.as_mut(),
        gathered: gathered.as_mut(),
    };
    let (mut report, mut damaged) = match (&args.interface, &args.file) {
        (Some(interface), _) => {
            let mut live = Live::start(interface, args.seconds)?;
            let examined = examine(&mut live, interface, settings, ProgressBar::hidden(), kept);
            live.end(interface)?;
            examined?
        }
        (None, Some(file)) if file.as_os_str() == "-" => examine(
            stdin().lock(),
            "standard input",
            settings,
            ProgressBar::hidden(),
            kept,
        )?,
        (None, Some(file)) => examine_file(file, settings, kept)?,
        (None, None) => return Err(Usage("name a capture, or an interface by -i".into()).into()),
    };
    let mut invalid = report.invalid;
    if let (Some(file), Some(trace)) = (&args.other_side, trace) {
        let mut there = Trace::default();
        let kept = Kept {
            trace: Some(&mut there),
            gathered: None,
        };
        let (other, damage) = examine_file(file, again, kept)?;
        damaged = damaged.or(damage);
        invalid += other.invalid;
        report.path = Some(sides::compare(&trace, &there, other.source, other.invalid));
    }
    let chart = gathered.map(|gathered| {
        let begin = Duration::try_from_secs_f64(report.source.begins_s).unwrap_or_default();
        chart::draw(gathered, &report, begin)
    });
    if let Some(asked) = &args.flow {
        report.retain(asked);
        if report.flows.is_empty() {
            let why = format!(
                "--flow {asked}: no such connection in {}",
                report.source.name
            );
            return Err(Usage(why).into());
        }
    }
    match args.json {
        true => print(format!("{}\n", serde_json::to_string_pretty(&report)?))?,
        false => {
            let path = report.path.as_ref().map(sides::render);
            print(render(&report, &rules) + &path.unwrap_or_default())?;
        }
    }
    // Last: a picture that cannot be drawn must not take the report along.
    if let (Some(file), Some(chart)) = (&args.svg, chart) {
        let name = file.display();
        let chart = chart.map_err(|error| Usage(format!("--svg {name}: {error}")))?;
        std::fs::write(file, chart).map_err(|error| Usage(format!("--svg {name}: {error}")))?;
    }
    match damaged {
        Some(why) => Err(Usage(format!("{why}; only what stands before it was judged")).into()),
        None => Ok(ExitCode::from(u8::from(invalid > 0))),
    }
}

/// What no look at a capture would show to be wrong.
fn check(args: &Args) -> Result<(), Usage> {
    if args
        .other_side
        .as_ref()
        .is_some_and(|file| file.as_os_str() == "-")
    {
        return Err(Usage(
            "--other-side is a file: only FILE can be standard input".into(),
        ));
    }
    let Some(svg) = &args.svg else { return Ok(()) };
    if args
        .flow
        .as_ref()
        .is_some_and(|flow| flow.parse::<u64>().is_err())
    {
        return Err(Usage(
            "--svg draws one connection: name it by its number in the report".into(),
        ));
    }
    let same = |file: &&PathBuf| match (svg.metadata(), file.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    };
    match args.file.iter().chain(&args.other_side).find(same) {
        Some(file) => Err(Usage(format!(
            "--svg {}: it would replace the capture",
            file.display()
        ))),
        None => Ok(()),
    }
}

/// The kernel asked for, or this host's; and how that is told.
fn rules(asked: Option<Kernel>) -> anyhow::Result<(Kernel, String)> {
    if let Some(kernel) = asked {
        return Ok((kernel, format!("the rules of Linux {kernel}")));
    }
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let running = Kernel::running(&release).ok_or_else(|| {
        Usage(format!(
            "this host's kernel calls itself {release:?}; say which by --kernel"
        ))
    })?;
    let kernel = running.kernel;
    let told = match running.exact {
        true => format!("the rules of Linux {kernel}, which runs here"),
        false => {
            format!("the rules of Linux {kernel}, the nearest known to {release}, which runs here")
        }
    };
    Ok((kernel, told))
}

/// Reads a file, with a progress bar.
fn examine_file(file: &Path, settings: Settings, kept: Kept<'_>) -> anyhow::Result<Examined> {
    let name = file.display().to_string();
    let opened = File::open(file).map_err(|error| Usage(format!("{name}: {error}")))?;
    let length = opened.metadata().map_or(0, |data| data.len());
    examine(opened, &name, settings, progress(length), kept)
}

/// A report, and why the rest of the capture could not be read although it goes on.
type Examined = (Report, Option<String>);

/// Reads it all. What ends too early is reported, what cannot be read is an error.
fn examine(
    reader: impl Read,
    name: &str,
    settings: Settings,
    progress: ProgressBar,
    mut kept: Kept<'_>,
) -> anyhow::Result<Examined> {
    let mut examination = Examination::new(settings);
    let unreadable = |why: CaptureError| Usage(format!("{name}: {why}"));
    let mut capture = Capture::open(reader).map_err(unreadable)?;
    let mut cut_short = None;
    let mut damaged = None;
    let mut since = 0_u32;
    loop {
        match capture.next_packet() {
            Ok(Some(packet)) => {
                let judged = examination.see(&packet);
                if let Some(judged) = judged {
                    kept.take(&judged);
                }
            }
            Ok(None) => break,
            Err(why) if why.is_early_end() => {
                cut_short = Some(why.to_string());
                break;
            }
            // What was read before is as good as ever.
            Err(why) if examination.packets() > 0 => {
                cut_short = Some(why.to_string());
                damaged = Some(format!("{name}: {why}"));
                break;
            }
            Err(why) => return Err(unreadable(why).into()),
        }
        since += 1;
        if since == 1 << 14 {
            since = 0;
            progress.set_position(capture.position());
        }
    }
    progress.finish_and_clear();
    if let (Some(why), 0) = (&cut_short, examination.packets()) {
        return Err(Usage(format!("{name}: {why}")).into());
    }
    let named = |interface| capture.interface_name(interface).map(str::to_owned);
    let report = examination.report(name, named, cut_short);
    let unknown = report.source.segments == 0 && report.source.packets > 0;
    if unknown {
        let why: Vec<String> = report
            .source
            .skipped
            .iter()
            .map(|skipped| format!("{} {}", skipped.packets, skipped.why))
            .collect();
        let why = format!("{name}: no TCP packet to look at: {}", why.join(", "));
        return Err(Usage(why).into());
    }
    Ok((report, damaged))
}

/// A progress bar where there is a terminal to draw it on.
fn progress(length: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = ProgressBar::new(length).with_style(style.expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

// === impl Kept ===

impl Kept<'_> {
    fn take(&mut self, judged: &Judged<'_>) {
        if let Some(trace) = &mut self.trace {
            trace.take(&judged.sighting);
        }
        if let Some(gathered) = &mut self.gathered {
            gathered.take(judged);
        }
    }
}
