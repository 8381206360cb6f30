//! How much of what a relay costs it knows of: the mean of the latency that it says it added, beside the difference
//! that `unmangle bench run --via` measures from outside.
//!
//! Open loop, at a part of what the relay can carry. The relay counts from its worker's wake-up for a readable
//! socket to the moment at which the other one has taken the bytes; the kernel's queues before that, the
//! second loopback and the waking of the processes at either end are outside. What lies between the two
//! figures is printed as unexplained; that the relay knows of more than there is, is a failure.
//!
//! ```text
//! cargo bench --bench added -- [--rounds 7] [--seconds 4] [--part 0.3] [--connections 64]
//! ```

mod stand;

use anyhow::ensure;
use clap::Parser;
use stand::{Relay, Stand, load, number};
use unmangle::bench::compare::paired::median;

#[derive(Parser)]
struct Args {
    /// How often both paths are measured.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long each path is measured, each time.
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// Which part of the rate at saturation is asked for.
    #[arg(long, default_value_t = 0.3)]
    part: f64,
    /// How many connections.
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Means of one round, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// A round trip on the direct path.
    direct: f64,
    /// A round trip through the relay.
    via: f64,
    /// What the relay says it added, from client to server and back.
    added: [f64; 2],
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(
        args.rounds > 0 && args.seconds > 0,
        "--rounds and --seconds are at least 1"
    );
    let stand = Stand::put_up()?;
    let relay = stand.relay("relay", &["--admin", "127.0.0.1:0"])?;
    let connections = args.connections;
    let closed = load(&format!(
        "--to {} --mode rr --connections {connections} --duration 3s",
        relay.door
    ))?;
    let saturation = number(&closed, "/paths/0/parts/0/operations_per_s")?;
    let rate = (saturation * args.part).round();
    println!(
        "rr, {connections} connections, {rate} requests a second: {:.0} % of {saturation:.0}; {} rounds of {} s each path",
        args.part * 100.0,
        args.rounds,
        args.seconds
    );
    let words = format!(
        "--to {} --via {} --mode rr --connections {connections} --rate {rate} --duration {}s --warmup 0s --turns 8",
        stand.to, relay.door, args.seconds
    );
    let rounds: Vec<Round> = (0..args.rounds)
        .map(|_| measure(&relay, &words))
        .collect::<anyhow::Result<_>>()?;
    let middle = |of: fn(&Round) -> f64| median(&rounds.iter().map(of).collect::<Vec<_>>());
    println!(
        "mean round trip, us           direct {:.1}  via {:.1}  difference {:.1}",
        middle(|r| r.direct),
        middle(|r| r.via),
        middle(Round::difference)
    );
    println!(
        "added by the relay's figures  there {:.1}  back {:.1}  together {:.1}",
        middle(|r| r.added[0]),
        middle(|r| r.added[1]),
        middle(Round::told)
    );
    let (least, most) = rounds
        .iter()
        .map(Round::unexplained)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), rest| {
            (least.min(rest), most.max(rest))
        });
    let rest = middle(Round::unexplained);
    println!(
        "unexplained                   {rest:.1} ({least:.1} to {most:.1}), {:.0} % of the difference",
        100.0 * middle(|r| r.unexplained() / r.difference())
    );
    ensure!(
        rest >= 0.0,
        "the relay says that it added more than there is"
    );
    Ok(())
}

fn measure(relay: &Relay, words: &str) -> anyhow::Result<Round> {
    let before = relay.figures()?;
    let report = load(words)?;
    let after = relay.figures()?;
    let mean = |path: u8| number(&report, &format!("/paths/{path}/parts/0/latency/mean_ns"));
    let added = ["client_to_server", "server_to_client"].map(|direction| {
        let labels = [("direction", direction)];
        after.mean_since(&before, "unmangle_added_latency_seconds", &labels) * 1e6
    });
    let [direct, via] = [mean(0)? / 1e3, mean(1)? / 1e3];
    Ok(Round { direct, via, added })
}

// === impl Round ===

impl Round {
    /// What the relay costs, seen from outside.
    fn difference(&self) -> f64 {
        self.via - self.direct
    }

    /// What the relay says of it.
    fn told(&self) -> f64 {
        self.added.iter().sum()
    }

    fn unexplained(&self) -> f64 {
        self.difference() - self.told()
    }
}
