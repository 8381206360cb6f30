//! What recording costs: a relay with `--histograms on` beside one with `off`, 64 connections of request and
//! response through each in turn.
//!
//! Both stand all the time; turns are short and taken as A B, B A, so that what else happens on the machine happens to
//! both. Of each pair of turns there is a ratio, and of the ratios the Hodges-Lehmann estimate with Wilcoxon's
//! interval; a rate that is lower by more than [`MOST`] is a failure. Processor time for each request is the relay's own; the rate has what the ends need in it, too.
//!
//! ```text
//! cargo bench --bench recording -- [--pairs 40] [--millis 1000] [--same]
//! ```

mod stand;

use anyhow::{Context, ensure};
use clap::Parser;
use stand::{Relay, Stand, load, number};
use unmangle::bench::compare::cost::Meter;
use unmangle::bench::compare::paired::{ENOUGH, Turns, median, ratio};

/// What recording may cost.
const MOST: f64 = 0.02;

#[derive(Parser)]
struct Args {
    /// How many pairs of turns.
    #[arg(long, default_value_t = 40)]
    pairs: usize,
    /// How long a turn is.
    #[arg(long, default_value_t = 1000)]
    millis: u32,
    /// Two relays that are the same, with recording off: what the machine makes of no difference.
    #[arg(long)]
    same: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What turns of one relay came to; each turn is a round of its own.
#[derive(Default)]
struct Measured {
    /// Requests a second.
    rates: Turns,
    /// Microseconds of the relay's processor time for each request.
    costs: Turns,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.pairs >= ENOUGH, "--pairs is at least {ENOUGH}");
    let stand = Stand::put_up()?;
    let on = if args.same { "off" } else { "on" };
    let relays = [
        stand.relay("on", &["--log-level", "warn", "--histograms", on])?,
        stand.relay("off", &["--log-level", "warn", "--histograms", "off"])?,
    ];
    let mut measured: [Measured; 2] = Default::default();
    for pair in 0..args.pairs {
        // A B B A: whoever comes second has no advantage.
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            let (rate, cost) = turn(&relays[which], args.millis)?;
            measured[which].rates.push(vec![Some(rate)]);
            measured[which].costs.push(vec![Some(cost)]);
        }
    }
    println!(
        "rr, 64 connections, {} pairs of turns of {} ms; recording {on} to off",
        args.pairs, args.millis
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

/// Prints both, and their ratio, which is returned.
fn tell(what: &str, on: &Turns, off: &Turns) -> anyhow::Result<f64> {
    let found = ratio(on, off).context("nothing was measured")?;
    let interval = found.interval.context("too few pairs for an interval")?;
    let [on, off] =
        [on, off].map(|turns| median(&turns.concat().into_iter().flatten().collect::<Vec<_>>()));
    println!(
        "{what:<36} {on:>10.2} {off:>10.2}   ratio {:.4} [{:.4}, {:.4}]",
        found.ratio, interval.low, interval.high
    );
    Ok(found.ratio)
}
