//! What open sessions cost the others: two relays side by side, one with a few idle sessions and one with thousands, and
//! the processor time of each for a request (64 connections) and for a GB (one download) that goes through it in turn.
//!
//! In each round both are started anew, because two processes of one program differ by luck. Turns are taken as A B, B
//! A, so that what else happens on the machine happens to both. The ratio is the Hodges-Lehmann estimate over pairs of
//! turns and then over rounds, with Wilcoxon's interval over the rounds. An interval that lies above [`MOST`] as a whole
//! is a failure; of one that only reaches above it is said that it settles nothing.
//!
//! What a relay does for its sessions now and then (it looks whether they are stuck) is in few of the turns. So it is
//! told, too, what a relay uses while the other has its turn and nobody says anything to this one.
//!
//! ```text
//! cargo bench --bench crowd -- [--rounds 8] [--pairs 3] [--millis 1000] [--few 10] [--sessions 8000]
//! ```

mod stand;

use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Parser;
use stand::{PATIENCE, Relay, Stand, load, number};
use unmangle::bench::compare::cost::Meter;
use unmangle::bench::compare::paired::{ENOUGH, Interval, Turns, median, ratio};

/// How much dearer thousands of sessions may make it.
const MOST: f64 = 1.15;

#[derive(Parser)]
struct Args {
    /// How often both relays are started.
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// How many pairs of turns of each load in each round.
    #[arg(long, default_value_t = 3)]
    pairs: usize,
    /// How long a turn is.
    #[arg(long, default_value_t = 1000)]
    millis: u32,
    /// Idle sessions of the one relay.
    #[arg(long, default_value_t = 10)]
    few: u32,
    /// Idle sessions of the other.
    #[arg(long, default_value_t = 8000)]
    sessions: u32,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What goes through both in turn.
struct Kind {
    words: &'static str,
    /// Where its report tells how much was done, and how much makes one of what a cost is told for.
    done: (&'static str, f64),
    cost: &'static str,
    /// Where its report tells how fast, and how much of that makes one.
    fast: (&'static str, f64),
    rate: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind {
        words: "--mode rr --connections 64",
        done: ("/paths/0/parts/0/operations", 1e6),
        cost: "rr64: processor us of the relay a request",
        fast: ("/paths/0/parts/0/operations_per_s", 1.0),
        rate: "rr64: requests a second",
    },
    Kind {
        words: "--mode stream --direction download --connections 1",
        done: ("/paths/0/parts/0/bytes_down", 1e9),
        cost: "stream1: processor s of the relay a GB",
        fast: ("/paths/0/parts/0/bits_per_s_down", 1e9),
        rate: "stream1: Gbit/s",
    },
];

/// What turns through one of the relays came to.
#[derive(Default)]
struct Measured {
    costs: Turns,
    rates: Turns,
}

/// Processor seconds of a relay to which nobody says anything, and in how many seconds.
#[derive(Default, Clone, Copy)]
struct Silent {
    spent: f64,
    lasted: f64,
}

/// What was found: by load, then turns beside many sessions and turns beside few; and both while they were silent.
#[derive(Default)]
struct Found {
    turns: [[Measured; 2]; KINDS.len()],
    silent: [Silent; 2],
}

/// What an interval says.
enum Verdict {
    Within,
    Unsettled,
    Dearer,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(
        args.rounds >= ENOUGH && args.pairs > 0,
        "--rounds is at least {ENOUGH} and --pairs 1"
    );
    let stand = Stand::put_up()?;
    let mut found = Found::default();
    for _ in 0..args.rounds {
        round(&stand, &args, &mut found)?;
    }
    println!(
        "{} rounds of {} pairs of turns of {} ms",
        args.rounds, args.pairs, args.millis
    );
    println!(
        "{:<44} {:>10} {:>10}   ratio",
        "idle sessions", args.sessions, args.few
    );
    let mut is_dearer = false;
    for (kind, [many, few]) in KINDS.iter().zip(&found.turns) {
        let cost = tell(kind.cost, &many.costs, &few.costs)?;
        let verdict = Verdict::of(cost);
        println!("{}", verdict.told());
        tell(kind.rate, &many.rates, &few.rates)?;
        println!();
        is_dearer |= matches!(verdict, Verdict::Dearer);
    }
    let [many, few] = found
        .silent
        .map(|silent| silent.spent * 1e3 / silent.lasted);
    let what = "silent: processor ms of the relay a second";
    println!("{what:<44} {many:>10.3} {few:>10.3}");
    ensure!(!is_dearer, "open sessions make the others dearer than that");
    Ok(())
}

/// Starts both relays, fills them, and takes their turns.
fn round(stand: &Stand, args: &Args, found: &mut Found) -> anyhow::Result<()> {
    let admin = ["--admin", "127.0.0.1:0"];
    let relays = [stand.relay("many", &admin)?, stand.relay("few", &admin)?];
    let crowds = [
        stand.crowd(&relays[0], args.sessions)?,
        stand.crowd(&relays[1], args.few)?,
    ];
    for (kind, measured) in KINDS.iter().zip(&mut found.turns) {
        // What is done for the first time is done outside of what is measured.
        for relay in &relays {
            turn(relay, kind, 200)?;
        }
        for each in measured.iter_mut() {
            each.costs.push(Vec::new());
            each.rates.push(Vec::new());
        }
        for pair in 0..args.pairs {
            // Whoever comes second has no advantage.
            let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
            for which in order {
                let other = 1 - which;
                let meter = Meter::new(Some(relays[other].id()));
                let (before, began) = (spent(meter)?, Instant::now());
                let (cost, rate) = turn(&relays[which], kind, args.millis)?;
                let silent = &mut found.silent[other];
                silent.spent += spent(meter)? - before;
                silent.lasted += began.elapsed().as_secs_f64();
                let Measured { costs, rates } = &mut measured[which];
                costs.last_mut().context("a round")?.push(Some(cost));
                rates.last_mut().context("a round")?.push(Some(rate));
            }
        }
    }
    for (relay, sessions) in relays.iter().zip([args.sessions, args.few]) {
        let live = relay.figures()?.sum("unmangle_sessions_active", &[]);
        ensure!(
            live >= Some(f64::from(sessions)),
            "of {sessions} idle sessions {live:?} were left"
        );
    }
    for crowd in crowds {
        crowd.stop(PATIENCE)?;
    }
    Ok(())
}

/// Processor seconds up to now.
fn spent(meter: Meter) -> anyhow::Result<f64> {
    let spent = meter
        .spent()
        .context("this kernel tells no processor time")?;
    Ok(spent.candidate)
}

/// The relay's processor time for what it carried, and how fast it was.
fn turn(relay: &Relay, kind: &Kind, millis: u32) -> anyhow::Result<(f64, f64)> {
    let meter = Meter::new(Some(relay.id()));
    let before = spent(meter)?;
    let report = load(&format!(
        "--to {} {} --duration {millis}ms --warmup 0s",
        relay.door, kind.words
    ))?;
    let after = spent(meter)?;
    let figure = |(at, one): (&str, f64)| Ok::<_, anyhow::Error>(number(&report, at)? / one);
    let cost = (after - before) / figure(kind.done)?;
    Ok((cost, figure(kind.fast)?))
}

/// Prints both medians and their ratio, of which the interval is returned.
fn tell(what: &str, many: &Turns, few: &Turns) -> anyhow::Result<Interval> {
    let found = ratio(many, few).context("nothing was measured")?;
    let interval = found.interval.context("too few rounds for an interval")?;
    let [many, few] =
        [many, few].map(|turns| median(&turns.concat().into_iter().flatten().collect::<Vec<_>>()));
    println!(
        "{what:<44} {many:>10.3} {few:>10.3}   {:.3} [{:.3}, {:.3}]",
        found.ratio, interval.low, interval.high
    );
    Ok(interval)
}

// === impl Verdict ===

impl Verdict {
    fn of(cost: Interval) -> Self {
        match cost {
            Interval { low, .. } if low > MOST => Self::Dearer,
            Interval { high, .. } if high > MOST => Self::Unsettled,
            _ => Self::Within,
        }
    }

    fn told(&self) -> String {
        let most = format!("{MOST:.2} times as much");
        match self {
            Self::Within => format!("  is at most {most}"),
            Self::Unsettled => format!("  may be more than {most}, or not: more rounds would tell"),
            Self::Dearer => format!("  is MORE than {most}"),
        }
    }
}
