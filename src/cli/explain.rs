//! `unmangle explain`: a capture through the connection tracker's rules.

use std::fs::File;
use std::io::{IsTerminal, Read, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::Usage;
use crate::cli::output::print;
use crate::diagnose::explain::{Examination, Report, render};
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
    /// Capture on this interface (`any` for all) by tcpdump, until --seconds are over or Ctrl-C.
    #[arg(short, long, value_name = "IFACE", conflicts_with = "file")]
    interface: Option<String>,
    /// How long to capture.
    #[arg(long, value_name = "N", requires = "interface")]
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
    /// Print the report in JSON (docs/explain.schema.json).
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub(super) fn main(args: Args) -> anyhow::Result<ExitCode> {
    let (kernel, rules) = rules(args.kernel)?;
    let settings = Settings {
        be_liberal: args.liberal,
        ..Settings::new(kernel)
    };
    let mut report = match (&args.interface, &args.file) {
        (Some(interface), _) => {
            let live = Live::start(interface, args.seconds)?;
            examine(live, interface, settings, ProgressBar::hidden())?
        }
        (None, Some(file)) if file.as_os_str() == "-" => examine(
            stdin().lock(),
            "standard input",
            settings,
            ProgressBar::hidden(),
        )?,
        (None, Some(file)) => {
            let name = file.display().to_string();
            let opened = open(file)?;
            let length = opened.metadata().map_or(0, |data| data.len());
            examine(opened, &name, settings, progress(length))?
        }
        (None, None) => return Err(Usage("name a capture, or an interface by -i".into()).into()),
    };
    let invalid = report.invalid;
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
        false => print(render(&report, &rules))?,
    }
    Ok(ExitCode::from(u8::from(invalid > 0)))
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

/// Opens a capture.
pub(super) fn open(file: &Path) -> Result<File, Usage> {
    let opened = File::open(file).map_err(|error| Usage(format!("{}: {error}", file.display())))?;
    Ok(opened)
}

/// Reads it all. What ends too early is reported, what cannot be read is an error.
fn examine(
    reader: impl Read,
    name: &str,
    settings: Settings,
    progress: ProgressBar,
) -> anyhow::Result<Report> {
    let mut examination = Examination::new(settings);
    let unreadable = |why: CaptureError| Usage(format!("{name}: {why}"));
    let mut capture = Capture::open(reader).map_err(unreadable)?;
    let mut cut_short = None;
    let mut since = 0_u32;
    loop {
        match capture.next_packet() {
            Ok(Some(packet)) => {
                examination.see(&packet);
            }
            Ok(None) => break,
            Err(why) if why.is_early_end() => {
                cut_short = Some(why.to_string());
                break;
            }
            // What was read before is as good as ever.
            Err(why) if examination.packets() > 0 => {
                cut_short = Some(why.to_string());
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
    Ok(report)
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

/// Writes a file that was asked for.
pub(super) fn write(file: &Path, text: &str, flag: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("{flag} {}", file.display()))
}
