//! What recording costs: a relay with `--histograms on` beside one with `off`, 64 connections of request and
//! response through each in turn.
//!
//! In each round both are started anew, because two processes of one program differ by luck: where their memory lies,
//! where their threads are put. Turns are short and taken as A B, B A, so that what else happens on the machine
//! happens to both. The ratio is the Hodges-Lehmann estimate over pairs of turns and then over rounds, with Wilcoxon's
//! interval over the rounds; a rate whose interval reaches below 1 - [`MOST`] is a failure. Processor time for each request
//! is the relay's own; the rate has what the ends need in it, too. With `--one-core` all share one core, and the
//! luck of the scheduler is left out.
//!
//! ```text
//! cargo bench --bench recording -- [--rounds 12] [--pairs 10] [--millis 300] [--one-core] [--same]
//! ```

mod stand;

use anyhow::{Context, ensure};
use clap::Parser;
use rustix::thread::{sched_getaffinity, sched_setaffinity};
use stand::{Relay, Stand, load, number};
use unmangle::bench::compare::cores::last_of;
use unmangle::bench::compare::cost::Meter;
use unmangle::bench::compare::paired::{ENOUGH, Turns, median, ratio};

/// What recording may cost.
const MOST: f64 = 0.02;

#[derive(Parser)]
struct Args {
    /// How often both relays are started.
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// How many pairs of turns in each round.
    #[arg(long, default_value_t = 10)]
    pairs: usize,
    /// How long a turn is.
    #[arg(long, default_value_t = 300)]
    millis: u32,
    /// Relay and ends share one core.
    #[arg(long)]
    one_core: bool,
    /// Two relays that are the same, with recording off: what the machine makes of no difference.
    #[arg(long)]
    same: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What turns of one kind of relay came to.
#[derive(Default)]
struct Measured {
    /// Requests a second.
    rates: Turns,
    /// Microseconds of the relay's processor time for each request.
    costs: Turns,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(
        args.rounds >= ENOUGH && args.pairs > 0,
        "--rounds is at least {ENOUGH} and --pairs 1"
    );
    if args.one_core {
        sched_setaffinity(None, &last_of(&sched_getaffinity(None)?))?;
    }
    let stand = Stand::put_up()?;
    let on = if args.same { "off" } else { "on" };
    let mut measured: [Measured; 2] = Default::default();
    for _ in 0..args.rounds {
        let relays = [
            stand.relay("on", &["--histograms", on])?,
            stand.relay("off", &["--histograms", "off"])?,
        ];
        for each in &mut measured {
            each.rates.push(Vec::new());
            each.costs.push(Vec::new());
        }
        for pair in 0..args.pairs {
            // Whoever comes second has no advantage.
            let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
            for which in order {
                let (rate, cost) = turn(&relays[which], args.millis)?;
                measured[which]
                    .rates
                    .last_mut()
                    .context("a round")?
                    .push(Some(rate));
                measured[which]
                    .costs
                    .last_mut()
                    .context("a round")?
                    .push(Some(cost));
            }
        }
    }
    println!(
        "rr, 64 connections{}, {} rounds of {} pairs of turns of {} ms; recording {on} to off",
        if args.one_core { " on one core" } else { "" },
        args.rounds,
        args.pairs,
        args.millis
    );
    let [on, off] = &measured;
    tell("processor us of the relay a request", &on.costs, &off.costs)?;
    let rates = tell("requests a second", &on.rates, &off.rates)?;
    ensure!(
        rates >= 1.0 - MOST,
        "recording costs more than {:.0} %",
        MOST * 100.0
    );
    Ok(())
}

/// Requests a second through a relay, and its processor time for each, in microseconds.
fn turn(relay: &Relay, millis: u32) -> anyhow::Result<(f64, f64)> {
    let meter = Meter::new(Some(relay.id()));
    let spent = || meter.spent().context("this kernel tells no processor time");
    let before = spent()?;
    let report = load(&format!(
        "--to {} --mode rr --connections 64 --duration {millis}ms --warmup 0s",
        relay.door
    ))?;
    let after = spent()?;
    let answered = number(&report, "/paths/0/parts/0/operations")?;
    let rate = number(&report, "/paths/0/parts/0/operations_per_s")?;
    Ok((rate, (after.candidate - before.candidate) * 1e6 / answered))
}

/// Prints both, and their ratio, of which the lower end is returned.
fn tell(what: &str, on: &Turns, off: &Turns) -> anyhow::Result<f64> {
    let found = ratio(on, off).context("nothing was measured")?;
    let interval = found.interval.context("too few pairs for an interval")?;
    let [on, off] =
        [on, off].map(|turns| median(&turns.concat().into_iter().flatten().collect::<Vec<_>>()));
    println!(
        "{what:<36} {on:>10.2} {off:>10.2}   ratio {:.4} [{:.4}, {:.4}]",
        found.ratio, interval.low, interval.high
    );
    Ok(interval.low)
}
