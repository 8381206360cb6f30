//! `unmangle doctor`: what of this host is sound for a relay, and what is not.
//!
//! The one place that knows both the host's settings (`diagnose`) and its rules (`rules`): what `rules` says that they
//! do becomes facts, and the doctor judges all facts alike.

mod print;
mod seen;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::{Usage, listener, output, settings};
use crate::config::{HostTuning, Intercept, Keys, Mode, RulesMode, Settings};
use crate::diagnose::doctor::facts::{Needs, Routed, Wanted};
use crate::diagnose::doctor::gather::Root;
use crate::diagnose::doctor::{self, Facts, Report};
use crate::rules::Plan;

/// Look at this host: what is sound for a relay, what is not, and what would mend it.
///
/// Nothing is changed and no module is loaded. Exit code 0 if there is no problem, 1 if there is one, 2 if the host
/// could not be looked at. Without root a part is not seen, and is told to be.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Judge what this configuration would need and intercept.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// For how many seconds counters are watched: 0 to 3600.
    #[arg(long, value_name = "N", default_value = "2", value_parser = seconds)]
    seconds: Duration,

    /// Print what is found in JSON, as docs/doctor.schema.json describes.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  unmangle doctor
  unmangle doctor --config /etc/unmangle/unmangle.toml
  unmangle doctor --json | jq '.findings[] | select(.status == \"problem\")'";

/// Runs the subcommand.
pub fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = args
        .config
        .as_deref()
        .map(|path| settings::read(Some(path), Keys::default(), &listener::Flags::default()));
    let settings = settings.transpose()?;
    let report = doctor::judge(&look(args.seconds, settings.as_ref())?);
    let text = match args.json {
        true => serde_json::to_string_pretty(&report)? + "\n",
        false => print::text(&report),
    };
    output::print(text).map_err(|error| Usage(format!("cannot print what was found: {error}")))?;
    Ok(verdict(&report))
}

fn verdict(report: &Report) -> ExitCode {
    ExitCode::from(u8::from(report.problems > 0))
}

/// Everything that can be known. The counters are watched while the rest is looked at.
fn look(seconds: Duration, settings: Option<&Settings>) -> anyhow::Result<Facts> {
    let root = Root::default();
    let kernel = root
        .kernel()
        .map_err(|error| Usage(format!("this host cannot be looked at: {error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let watch = {
        let _inside = runtime.enter();
        root.watch()
    };
    let plan = settings.and_then(settings::plan_somewhere);
    let wanted = match settings {
        None => Wanted::Unknown,
        Some(settings) => Wanted::Configured(needs(settings, plan.as_ref())),
    };
    // What somebody else puts in place is theirs to judge.
    let own = settings.filter(|settings| settings.process.rules == RulesMode::Own);
    let seen = seen::all(&root, &kernel, own.zip(plan.as_ref()));
    let (settings, process) = (root.settings(), root.process());
    let watched = runtime.block_on(watch.until(&root, seconds));
    Ok(Facts {
        release: kernel.release,
        features: kernel.features,
        iptables_queue: kernel.iptables_queue,
        tools: seen.tools,
        settings,
        conntrack: watched.conntrack,
        reverse_path_drops: watched.reverse_path_drops,
        rules: seen.rules,
        links: seen.links,
        process,
        seconds: watched.seconds,
        wanted,
    })
}

/// What these settings need of a host.
pub(super) fn needs(settings: &Settings, plan: Option<&Plan>) -> Needs {
    let gateways: Vec<&Intercept> = settings
        .listeners
        .iter()
        .filter_map(|listener| match &listener.mode {
            Mode::Gateway(intercept) => Some(intercept),
            Mode::ServerSidecar(_) | Mode::ClientSidecar(_) | Mode::Forward(_) => None,
        })
        .collect();
    let interceptions = plan.map_or(&[][..], |plan| &plan.interceptions);
    let sides = plan.map(Plan::mangled_sides).unwrap_or_default();
    Needs {
        routed: routed(&gateways),
        led: plan.is_some(),
        without_sack: interceptions.iter().any(|each| each.strip.sack_permitted),
        tuned: settings.process.host_tuning == HostTuning::Apply,
        held: plan.is_some_and(|plan| plan.hold.is_some()),
        interfaces: sides.iter().map(|side| side.as_str().to_owned()).collect(),
        connections: settings.process.max_connections.map(|most| most as u64),
        pipe_budget: settings.process.pipe_budget as u64,
    }
}

fn routed(gateways: &[&Intercept]) -> Routed {
    let networks = || gateways.iter().flat_map(|each| [&each.from, &each.to]);
    let v4 = networks().any(|named| !named.is_everywhere() && named.v4().next().is_some());
    let v6 = networks().any(|named| !named.is_everywhere() && named.v6().next().is_some());
    match (gateways.is_empty(), v4, v6) {
        (true, ..) => Routed::Nothing,
        (_, false, false) => Routed::Whatever,
        (_, true, false) => Routed::V4,
        (_, false, true) => Routed::V6,
        (_, true, true) => Routed::Both,
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok();
    seconds
        .filter(|seconds| (0.0..=3600.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("{text:?} is no number of seconds from 0 to 3600"))
}
