//! Is the load generator itself the limit? `unmangle bench run` against bare servers, beside iperf3
//! (streams) and sockperf (TCP ping-pong), in turn, in one run, on loopback.
//!
//! ```text
//! cargo bench --bench generator -- [--rounds 5] [--seconds 2]
//! ```
//!
//! The bare servers are threads that block: one reads and throws away, one sends back what it read.
//!
//! With a single connection both ends of the ping-pong are on one core, ours and sockperf's: left to the
//! scheduler they wake each other now on one core and now across two, 200,000 or 14,000 times a second, and
//! that luck is all that one would see.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use rustix::thread::{sched_getaffinity, sched_setaffinity};
use unmangle::bench::compare::cores::last_of;
use unmangle::bench::report::Report;

const UNMANGLE: &str = env!("CARGO_BIN_EXE_unmangle");
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Args {
    /// How often everything is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A server process that is ended with this program.
struct Server(Child);

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(
        args.rounds > 0 && args.seconds > 0,
        "--rounds and --seconds are at least 1"
    );
    for (program, argument) in [("iperf3", "-v"), ("sockperf", "--version")] {
        let there = Command::new(program).arg(argument).output().is_ok();
        ensure!(there, "{program} is missing: install the package {program}");
    }
    let discard = bare(discard)?;
    let seconds = args.seconds;
    println!("loopback, {} rounds of {seconds} s, medians", args.rounds);
    let mut enough = true;
    for flows in [1, 8] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..args.rounds {
            ours.push(stream(discard, flows, seconds)?);
            theirs.push(iperf3(flows, seconds)?);
        }
        let what = format!("stream, {flows} flows, Gbit/s");
        enough &= tell(&what, ours, "iperf3", theirs);
    }
    let everywhere = sched_getaffinity(None)?;
    sched_setaffinity(None, &last_of(&everywhere))?;
    let lonely_echo = bare(echo)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        ours.push(ping_pong(lonely_echo, 1, seconds)?.0);
        theirs.push(sockperf(seconds)?);
    }
    let what = "ping-pong, 1 connection, 64 bytes, on one core, requests/s";
    enough &= tell(what, ours, "sockperf", theirs);
    sched_setaffinity(None, &everywhere)?;
    let echo = bare(echo)?;
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        let (rate, cost) = ping_pong(echo, 64, seconds)?;
        rates.push(rate);
        costs.push(cost);
    }
    println!(
        "ping-pong, 64 connections, 64 bytes: {:.0} requests/s, own CPU {:.2} us a request",
        median(rates),
        median(costs)
    );
    ensure!(enough, "the generator itself is the limit");
    Ok(())
}

/// Tells it, and whether ours reached at least as much: less in every single round is a miss, less by the luck of
/// some rounds is not.
fn tell(what: &str, ours: Vec<f64>, peer: &str, theirs: Vec<f64>) -> bool {
    let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| a / b).collect();
    let most = ratios.iter().copied().fold(0.0, f64::max);
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{what}: unmangle {:.2}  {peer} {:.2}  ratio {:.2} ({least:.2} to {most:.2}){}",
        median(ours),
        median(theirs),
        median(ratios),
        if most < 1.0 { "  MISSED" } else { "" }
    );
    most >= 1.0
}

/// Gbit/s that the other end acknowledged.
fn stream(to: SocketAddr, flows: u32, seconds: u32) -> anyhow::Result<f64> {
    let report = run(to, "stream", flows, seconds)?;
    Ok(report.paths[0].parts[0].bits_per_s_up / 1e9)
}

/// Requests a second, and microseconds of the generator's own CPU for each.
fn ping_pong(to: SocketAddr, connections: u32, seconds: u32) -> anyhow::Result<(f64, f64)> {
    let report = run(to, "rr", connections, seconds)?;
    let path = &report.paths[0];
    let part = &path.parts[0];
    let cost = path.generator_cpu_s * 1e6 / part.operations as f64;
    Ok((part.operations_per_s, cost))
}

fn run(to: SocketAddr, mode: &str, connections: u32, seconds: u32) -> anyhow::Result<Report> {
    let output = Command::new(UNMANGLE)
        .args(["bench", "run", "--bare", "--json", "--mode", mode])
        .args(["--to", &to.to_string()])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s")])
        .output()?;
    ensure!(
        output.status.success(),
        "unmangle bench run: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn iperf3(flows: u32, seconds: u32) -> anyhow::Result<f64> {
    let port = free_port()?.to_string();
    let _server = Server::start(
        "iperf3",
        &["-s", "-1", "-B", "127.0.0.1", "-p", &port],
        &port,
    )?;
    let flows = flows.to_string();
    let seconds = seconds.to_string();
    let output = Command::new("iperf3")
        .args(["-J", "-c", "127.0.0.1", "-p", &port, "-P", &flows])
        .args(["-O", "1", "-t", &seconds])
        .output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3: {error}");
    }
    let bits = report["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(bits.context("iperf3 reported no rate")? / 1e9)
}

/// Round trips a second; sockperf itself tells messages sent in a run time.
fn sockperf(seconds: u32) -> anyhow::Result<f64> {
    let port = free_port()?.to_string();
    let address = ["--tcp", "-i", "127.0.0.1", "-p", &port];
    let _server = Server::start("sockperf", &[&["server"][..], &address].concat(), &port)?;
    let output = Command::new("sockperf")
        .arg("ping-pong")
        .args(address)
        .args(["-t", &seconds.to_string(), "-m", "64"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // "[Total Run] RunTime=2.000 sec; Warm up time=400 msec; SentMessages=123; ReceivedMessages=122"
    let line = text
        .lines()
        .find(|line| line.contains("[Valid Duration]"))
        .with_context(|| format!("sockperf reported no rate: {text}"))?;
    let number = |key: &str| {
        let rest = &line[line.find(key)? + key.len()..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        rest[..end.unwrap_or(rest.len())].parse::<f64>().ok()
    };
    let rate = number("ReceivedMessages=").zip(number("RunTime="));
    let (messages, time) = rate.with_context(|| format!("sockperf: {line}"))?;
    Ok(messages / time)
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Serves every connection in a thread of its own, for as long as this program lives.
fn bare(serve: fn(TcpStream) -> std::io::Result<()>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || serve(connection));
        }
    });
    Ok(address)
}

fn discard(mut connection: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 128 << 10];
    while connection.read(&mut buffer)? > 0 {}
    Ok(())
}

fn echo(mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let got = connection.read(&mut buffer)?;
        if got == 0 {
            return Ok(());
        }
        connection.write_all(&buffer[..got])?;
    }
}

// === impl Server ===

impl Server {
    /// Starts one and waits until something listens on its port.
    fn start(program: &str, arguments: &[&str], port: &str) -> anyhow::Result<Self> {
        let child = Command::new(program)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| program.to_owned())?;
        let mut server = Self(child);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let filter = ["-Hltn", "sport", "=", &format!(":{port}")].map(str::to_owned);
            if !Command::new("ss").args(filter).output()?.stdout.is_empty() {
                return Ok(server);
            }
            let ended = server.0.try_wait()?.is_some();
            ensure!(
                !ended && Instant::now() < deadline,
                "{program} does not listen"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
