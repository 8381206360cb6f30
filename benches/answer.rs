//! What `--answer after-connect` costs a connection, beside `at-once` and beside no relay, in one run.
//!
//! One relay stands on the gateway with two listeners, one of each kind; a third port is not intercepted.
//! Two of the three ports are measured in turn by `unmangle bench run --via`: connect, request, response,
//! close. What is printed are medians over the rounds, and the least and the greatest of them.
//!
//! ```text
//! cargo bench --bench answer -- [--rounds 7] [--seconds 2]
//! ```

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use unmangle::lab::{Joined, Lab, Process};

const UNMANGLE: &str = env!("CARGO_BIN_EXE_unmangle");
const SERVER: &str = "198.51.100.2";
const PATIENCE: Duration = Duration::from_secs(10);
const RELAY: &str = r#"
[[listener]]
name = "at-once"
intercept = [7001]
mangled-side = "fw0"
profile = "clean"

[[listener]]
name = "after-connect"
intercept = [7002]
mangled-side = "fw0"
profile = "clean"
answer = "after-connect"
"#;

#[derive(Parser)]
struct Args {
    /// How often every pair is measured.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long each of the two is measured, each time.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A port of the server, by the way that leads to it.
#[derive(Debug, Clone, Copy)]
enum Way {
    Direct,
    AtOnce,
    AfterConnect,
}

/// One round of a pair.
struct Round {
    /// Connections per second, of the second way beside the first.
    rate: f64,
    /// Microseconds by which the median connection takes longer by the second way.
    added_p50: f64,
    /// The same of the 99th percentile.
    added_p99: f64,
}

const PAIRS: [(Way, Way); 3] = [
    (Way::Direct, Way::AtOnce),
    (Way::Direct, Way::AfterConnect),
    (Way::AtOnce, Way::AfterConnect),
];

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(
        args.rounds > 0 && args.seconds > 0,
        "--rounds and --seconds are at least 1"
    );
    let veth = || Joined::Veth { offloads: true };
    let lab = Lab::builder()
        .firewall(veth())
        .long_leg(veth())
        .unmangle(UNMANGLE)
        .start()?;
    for host in [lab.client(), lab.relay()] {
        // Or what is measured is the kernel's search for a free port.
        let ports = ("net/ipv4/ip_local_port_range", "1024 65535");
        host.set(&[ports, ("net/ipv4/tcp_tw_reuse", "1")])?;
    }
    let mut serve = lab.server().command(UNMANGLE);
    serve.args(["bench", "serve"]);
    for way in [Way::Direct, Way::AtOnce, Way::AfterConnect] {
        serve.args(["--listen", &way.to()]);
    }
    let server = Process::start(
        "bench serve",
        &mut serve,
        &lab.directory().join("serve.log"),
    )?;
    let file = lab.directory().join("relay.toml");
    std::fs::write(&file, RELAY)?;
    let mut relay = lab.unmangle();
    relay.arg("run").arg("--config").arg(&file);
    let log = lab.directory().join("unmangle.log");
    let mut relay = Process::start("unmangle", &mut relay, &log)?;
    relay.ready("relaying", PATIENCE)?;
    println!(
        "connect, request, response, close: {} rounds of {} s, medians (least to greatest)",
        args.rounds, args.seconds
    );
    for connections in [1, 64] {
        let mut rounds: [Vec<Round>; PAIRS.len()] = Default::default();
        for _ in 0..args.rounds {
            for (pair, rounds) in PAIRS.into_iter().zip(&mut rounds) {
                let round = measure(&lab, pair, connections, args.seconds);
                rounds.push(round.with_context(|| format!("{pair:?}"))?);
            }
        }
        for ((first, second), rounds) in PAIRS.into_iter().zip(rounds) {
            let [slowest, rate, fastest] = spread(&rounds, |round| round.rate);
            let [p50_least, p50, p50_most] = spread(&rounds, |round| round.added_p50);
            let [p99_least, p99, p99_most] = spread(&rounds, |round| round.added_p99);
            println!(
                "{connections:>2} at a time  {:<13} beside {:<7}  rate x {rate:.2} ({slowest:.2} to {fastest:.2})  \
                 p50 {p50:+.0} us ({p50_least:+.0} to {p50_most:+.0})  \
                 p99 {p99:+.0} us ({p99_least:+.0} to {p99_most:+.0})",
                second.name(),
                first.name(),
            );
        }
    }
    relay.stop(PATIENCE)?;
    server.stop(PATIENCE)?;
    Ok(())
}

/// One round: both ways in turn.
fn measure(
    lab: &Lab,
    (first, second): (Way, Way),
    connections: u32,
    seconds: u32,
) -> anyhow::Result<Round> {
    let output = lab
        .client()
        .command(UNMANGLE)
        .args(["bench", "run", "--mode", "crr", "--json"])
        .args(["--to", &first.to(), "--via", &second.to()])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s")])
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let part = &report["difference"]["parts"][0];
    let number = |key: &str| {
        part[key]
            .as_f64()
            .with_context(|| format!("the report has no {key}"))
    };
    Ok(Round {
        rate: number("throughput_ratio")?,
        added_p50: number("added_p50_ns")? / 1e3,
        added_p99: number("added_p99_ns")? / 1e3,
    })
}

/// The least, the median and the greatest.
fn spread(rounds: &[Round], value: impl Fn(&Round) -> f64) -> [f64; 3] {
    let mut values: Vec<_> = rounds.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    [
        values[0],
        values[values.len() / 2],
        values[values.len() - 1],
    ]
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::AtOnce => "at-once",
            Self::AfterConnect => "after-connect",
        }
    }

    /// The server's address by this way.
    fn to(self) -> String {
        let port = match self {
            Self::Direct => 7000,
            Self::AtOnce => 7001,
            Self::AfterConnect => 7002,
        };
        format!("{SERVER}:{port}")
    }
}
