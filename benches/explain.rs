//! How fast `unmangle explain` reads a capture of a gigabyte, of whole packets and of headers alone, and in how much
//! memory; more than is allowed is an error.
//!
//! ```text
//! cargo bench --bench explain [-- --bytes 1073741824]
//! ```

#[path = "../tests/captures/mod.rs"]
mod captures;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;
use captures::{acknowledges, pcap, upload};
use clap::Parser;

/// Connections that are open at the same time.
const CONNECTIONS: u16 = 500;
/// What a capture of any length may take of memory.
const MOST_MEMORY_KB: u64 = 200 << 10;

#[derive(Parser)]
struct Args {
    /// Bytes of each capture.
    #[arg(long, default_value_t = 1 << 30)]
    bytes: u64,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    for snap in [65_535, 128] {
        explain(args.bytes, snap)?;
    }
    Ok(())
}

/// Makes a capture and has it explained.
fn explain(bytes: u64, snap: usize) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("large.pcap");
    let packets = fill(&file, snap, bytes)?;
    let length = std::fs::metadata(&file)?.len() as f64 / 1e6;
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_unmangle"))
        .arg("explain")
        .arg(&file)
        .stdout(Stdio::null())
        .spawn()?;
    let mut memory = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        memory = most_memory(child.id()).unwrap_or(0).max(memory);
        std::thread::sleep(Duration::from_millis(5));
    };
    let seconds = begun.elapsed().as_secs_f64();
    let speed = length / seconds;
    println!(
        "snaplen {snap}: {length:.0} MB, {packets} packets, {seconds:.2} s, {speed:.0} MB/s, {memory} kB of memory"
    );
    ensure!(matches!(status.code(), Some(0 | 1)), "{status}");
    ensure!(memory > 0 && memory < MOST_MEMORY_KB, "{memory} kB");
    Ok(())
}

/// Fills a file with uploads by many clients at once, each packet cut to `snap` bytes. How many packets it has.
fn fill(file: &Path, snap: usize, bytes: u64) -> std::io::Result<u64> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file)?);
    out.write_all(&pcap(101, snap, &[]))?;
    let mut segments = upload(30);
    segments.extend((1..=30).map(|n| acknowledges(1_001 + n * 1_000, &[])));
    let packets: Vec<Vec<u8>> = segments.iter().map(captures::Segment::build).collect();
    let (mut written, mut count) = (24_u64, 0_u64);
    let mut round = 0_u16;
    while written < bytes {
        for packet in &packets {
            for client in 0..CONNECTIONS {
                let port = 1_024 + (round % 100) * CONNECTIONS + client;
                let kept = &packet[..packet.len().min(snap)];
                let at = Duration::from_micros(count);
                let heading = [
                    at.as_secs() as u32,
                    at.subsec_nanos(),
                    kept.len() as u32,
                    packet.len() as u32,
                ];
                for number in heading {
                    out.write_all(&number.to_le_bytes())?;
                }
                // The client's port is where it is sent from, or to.
                let place = if packet[20..22] == [0, 22] { 22 } else { 20 };
                out.write_all(&kept[..place])?;
                out.write_all(&port.to_be_bytes())?;
                out.write_all(&kept[place + 2..])?;
                written += 16 + kept.len() as u64;
                count += 1;
            }
        }
        round += 1;
    }
    out.flush()?;
    Ok(count)
}

/// The most memory that a process had so far, in kilobytes.
fn most_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
