//! What it costs to ask a relay that has thousands of sessions: how long `/metrics` and `/api/sessions` take, and
//! what the sessions notice of it.
//!
//! Most of the sessions are idle; beside them some do request and response, in an open loop. Turns with and without a
//! question of each kind every second follow each other in pairs.
//!
//! ```text
//! cargo bench --bench scrape -- [--sessions 9000] [--pairs 24] [--seconds 2] [--rate 4000]
//! ```

mod stand;

use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use stand::{PATIENCE, Relay, Stand, load, number, web};
use unmangle::bench::compare::paired::{ENOUGH, Turns, median, ratio};

#[derive(Parser)]
struct Args {
    /// How many sessions are idle.
    #[arg(long, default_value_t = 9000)]
    sessions: u32,
    /// How many pairs of turns, with questions and without.
    #[arg(long, default_value_t = 24)]
    pairs: usize,
    /// How long a turn is.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Requests a second.
    #[arg(long, default_value_t = 4000)]
    rate: u32,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is asked for.
const QUESTIONS: [&str; 2] = ["/metrics", "/api/sessions?limit=100"];
/// How often each is asked to tell how long it takes.
const TIMES: usize = 41;
/// What neither may take longer than, at its median.
const MOST: Duration = Duration::from_millis(50);
/// As often as Prometheus asks at its quickest.
const EVERY: Duration = Duration::from_secs(1);

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.pairs >= ENOUGH, "--pairs is at least {ENOUGH}");
    let stand = Stand::put_up()?;
    let relay = stand.relay("relay", &["--admin", "127.0.0.1:0"])?;
    let at = relay.admin()?;
    let mut within = time_questions(at, "no")?;
    let idle = stand.crowd(&relay, args.sessions)?;
    within &= time_questions(at, &args.sessions.to_string())?;
    beside(&relay, at, &args)?;
    idle.stop(PATIENCE)?;
    ensure!(within, "that is longer than {MOST:?}");
    Ok(())
}

/// Whether no question took longer than it may.
fn time_questions(at: SocketAddr, sessions: &str) -> anyhow::Result<bool> {
    let mut within = true;
    for question in QUESTIONS {
        let mut size = 0;
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let begun = Instant::now();
            let answer = web::ask(at, question)?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            ensure!(answer.status == 200, "{question}: {answer:?}");
            size = answer.body.len();
        }
        times.sort_by(f64::total_cmp);
        let middle = median(&times);
        println!(
            "{sessions:>5} idle sessions  {question:<24} {middle:6.2} ms ({:.2} to {:.2}), {} kB",
            times[0],
            times[TIMES - 1],
            size / 1000
        );
        within &= middle <= MOST.as_secs_f64() * 1e3;
    }
    Ok(within)
}

/// Latency of those that have something to say, while the relay is asked and while it is not.
fn beside(relay: &Relay, at: SocketAddr, args: &Args) -> anyhow::Result<()> {
    let words = format!(
        "--to {} --mode rr --connections 16 --threads 1 --rate {} --duration {}s --warmup 200ms",
        relay.door, args.rate, args.seconds
    );
    println!(
        "rr, 16 connections, {} requests a second, {} pairs of turns of {} s, a question of each kind every second or none",
        args.rate, args.pairs, args.seconds
    );
    const FIGURES: [&str; 3] = ["p50", "p99", "p999"];
    // By figure: turns with questions, turns without.
    let mut measured: [[Turns; 2]; FIGURES.len()] = Default::default();
    for pair in 0..args.pairs {
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            let report = match which {
                0 => while_asked(at, || load(&words))?,
                _ => load(&words)?,
            };
            for (name, turns) in FIGURES.iter().zip(&mut measured) {
                let at = format!("/paths/0/parts/0/latency/{name}_ns");
                turns[which].push(vec![Some(number(&report, &at)? / 1e3)]);
            }
        }
    }
    for (name, [asked, left]) in FIGURES.iter().zip(&measured) {
        let found = ratio(asked, left).context("nothing was measured")?;
        let interval = found.interval.context("too few pairs for an interval")?;
        let [asked, left] = [asked, left]
            .map(|turns| median(&turns.concat().into_iter().flatten().collect::<Vec<_>>()));
        println!(
            "{name:<5} asked {asked:7.0} us  not asked {left:7.0} us   ratio {:.3} [{:.3}, {:.3}]",
            found.ratio, interval.low, interval.high
        );
    }
    Ok(())
}

/// Asks once a second, at once first, until the load is over.
fn while_asked<T>(at: SocketAddr, load: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let (over, is_over) = channel::<()>();
    std::thread::scope(|scope| {
        let asking = scope.spawn(move || -> anyhow::Result<()> {
            loop {
                for question in QUESTIONS {
                    let answer = web::ask(at, question)?;
                    ensure!(answer.status == 200, "{question}: {answer:?}");
                }
                match is_over.recv_timeout(EVERY) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return Ok(()),
                }
            }
        });
        let loaded = load();
        drop(over);
        match asking.join() {
            Ok(asked) => asked?,
            Err(_) => bail!("asking failed"),
        }
        loaded
    })
}
