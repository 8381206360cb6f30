//! One figure of speed: bulk over one flow, direct against HAProxy against the relay, in one run.
//!
//! Client, gateway and server are hosts of a lab, joined by veth pairs. Each round measures every path
//! in turn with iperf3, so that what else happens on the machine happens to all; what is printed are
//! medians, and ratios of them.
//!
//! ```text
//! cargo bench --bench bulk -- [--rounds 5] [--seconds 3] [--offloads on|off|both]
//! ```

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use unmangle::lab::{Joined, Lab, Process};

const UNMANGLE: &str = env!("CARGO_BIN_EXE_unmangle");
const HAPROXY: &str = include_str!("peers/haproxy.cfg");
/// iperf3's port, which is intercepted.
const PORT: &str = "5201";
const SERVER: &str = "198.51.100.2";
/// Where the printed rules deliver to unless told otherwise.
const MANGLED_PORT: &str = "21069";
const CLEAN_PORT: &str = "21070";
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Args {
    /// How often every path is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Whether packets may be larger than the MTU inside the machine.
    #[arg(long, default_value = "both", value_parser = ["on", "off", "both"])]
    offloads: String,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy)]
enum Path {
    Direct,
    HAProxy,
    Unmangle,
}

const PATHS: [Path; 3] = [Path::Direct, Path::HAProxy, Path::Unmangle];

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(
        args.rounds > 0 && args.seconds > 0,
        "--rounds and --seconds are at least 1"
    );
    for (program, package) in [("iperf3", "iperf3"), ("haproxy", "haproxy")] {
        let there = Command::new(program).arg("-v").output().is_ok();
        ensure!(there, "{program} is missing: install the package {package}");
    }
    println!(
        "bulk, one flow, {} rounds of {} s, medians, in Gbit/s",
        args.rounds, args.seconds
    );
    for (word, offloads) in [("on", true), ("off", false)] {
        if args.offloads == word || args.offloads == "both" {
            measure(&args, offloads).with_context(|| format!("with offloads {word}"))?;
        }
    }
    Ok(())
}

fn measure(args: &Args, offloads: bool) -> anyhow::Result<()> {
    let veth = || Joined::Veth { offloads };
    let lab = Lab::builder()
        .firewall(veth())
        .long_leg(veth())
        .unmangle(UNMANGLE)
        .start()?;
    let mut rates: [Vec<f64>; PATHS.len()] = Default::default();
    for _ in 0..args.rounds {
        for (path, rates) in PATHS.into_iter().zip(&mut rates) {
            rates.push(
                path.rate(&lab, args.seconds)
                    .with_context(|| format!("{path:?}"))?,
            );
        }
    }
    let [direct, haproxy, unmangle] = rates.map(median);
    println!(
        "offloads {:<3}  direct {direct:5.2}  HAProxy {haproxy:5.2}  unmangle {unmangle:5.2}   \
         unmangle/HAProxy {:.2}  unmangle/direct {:.2}",
        if offloads { "on" } else { "off" },
        unmangle / haproxy,
        unmangle / direct,
    );
    Ok(())
}

impl Path {
    /// Gbit/s that arrive at the server.
    fn rate(self, lab: &Lab, seconds: u32) -> anyhow::Result<f64> {
        match self {
            Path::Direct => load(lab, seconds),
            Path::HAProxy => {
                let proxy = start_haproxy(lab)?;
                let rate = load(lab, seconds);
                proxy.stop(PATIENCE)?;
                clear_rules(lab)?;
                rate
            }
            Path::Unmangle => {
                let mut command = lab.unmangle();
                command.args(["run", "--intercept", PORT, "--mangled-side", "fw0"]);
                command.args(["--profile", "clean"]);
                let log = lab.directory().join("unmangle.log");
                let mut relay = Process::start("unmangle", &mut command, &log)?;
                relay.ready("relaying", PATIENCE)?;
                let rate = load(lab, seconds);
                relay.stop(PATIENCE)?;
                rate
            }
        }
    }
}

/// HAProxy behind the same rules, as `unmangle rules` prints them.
fn start_haproxy(lab: &Lab) -> anyhow::Result<Process> {
    let mut rules = lab.unmangle();
    rules.args([
        "rules",
        "--intercept",
        PORT,
        "--mangled-side",
        "fw0",
        "--profile",
        "clean",
    ]);
    rules.args(["--mangled-port", MANGLED_PORT, "--clean-port", CLEAN_PORT]);
    let printed = rules.output()?;
    ensure!(printed.status.success(), "unmangle rules failed");
    let printed = String::from_utf8(printed.stdout)?;
    lab.relay().feed("nft", &["-f", "-"], &printed)?;
    for line in printed
        .lines()
        .take_while(|line| *line != "# Taken away:")
        .filter_map(|line| line.strip_prefix("#   ip "))
    {
        lab.relay()
            .run("ip", &line.split(' ').collect::<Vec<_>>())?;
    }
    let config = lab.directory().join("haproxy.cfg");
    let text = HAPROXY
        .replace("@MANGLED@", MANGLED_PORT)
        .replace("@SESSIONS@", "100")
        .replace("@CLEAN@", CLEAN_PORT);
    std::fs::write(&config, text)?;
    let mut command = lab.relay().command("haproxy");
    command.arg("-db").arg("-f").arg(&config);
    let log = lab.directory().join("haproxy.log");
    let mut proxy = Process::start("haproxy", &mut command, &log)?;
    let listening = || {
        lab.relay()
            .run("ss", &["-Hltn", "sport", "=", MANGLED_PORT])
    };
    let deadline = std::time::Instant::now() + PATIENCE;
    while listening()?.is_empty() {
        if proxy.ended()?.is_some() || std::time::Instant::now() > deadline {
            bail!("haproxy does not listen: {}", proxy.log());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(proxy)
}

fn clear_rules(lab: &Lab) -> anyhow::Result<()> {
    lab.relay()
        .run("nft", &["delete", "table", "inet", "unmangle"])?;
    for family in ["-4", "-6"] {
        lab.relay()
            .run("ip", &[family, "rule", "del", "pref", "21069"])?;
    }
    Ok(())
}

/// Sends for so many seconds from client to server.
fn load(lab: &Lab, seconds: u32) -> anyhow::Result<f64> {
    let log = lab.directory().join("iperf3.log");
    let mut serve = lab.server().command("iperf3");
    serve.args(["-s", "-1", "--forceflush"]);
    let mut server = Process::start("iperf3 -s", &mut serve, &log)?;
    server.ready("Server listening", PATIENCE)?;
    let seconds = seconds.to_string();
    let output = lab
        .client()
        .command("iperf3")
        .args(["-J", "-c", SERVER, "-O", "1", "-t", &seconds])
        .output()?;
    server.stop(PATIENCE)?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3: {error}");
    }
    let bits = report["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(bits.context("iperf3 reported no rate")? / 1e9)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}
