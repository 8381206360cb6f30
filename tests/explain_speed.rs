//! `unmangle explain` on a capture of a gigabyte: in bounded memory, as fast as it is read. It takes a while and
//! wants a release build: `cargo test --release --test explain_speed -- --ignored --nocapture`.

mod captures;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use captures::{acknowledges, pcap, upload};

const GIGABYTE: u64 = 1 << 30;
/// Connections that are open at the same time.
const CONNECTIONS: u16 = 500;
const MOST_MEMORY_KB: u64 = 200 << 10;
const LEAST_MB_PER_S: f64 = 200.0;

/// Fills a file with uploads by many clients at once, each packet cut to `snap` bytes. How many packets it has.
fn fill(file: &Path, snap: usize) -> u64 {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file).unwrap());
    out.write_all(&pcap(101, snap, &[])).unwrap();
    let mut segments = upload(30);
    segments.extend((1..=30).map(|n| acknowledges(1_001 + n * 1_000, &[])));
    let packets: Vec<Vec<u8>> = segments.iter().map(captures::Segment::build).collect();
    let (mut written, mut count) = (24_u64, 0_u64);
    let mut round = 0_u16;
    while written < GIGABYTE {
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
                    out.write_all(&number.to_le_bytes()).unwrap();
                }
                // The client's port is where it is sent from, or to.
                let place = if packet[20..22] == [0, 22] { 22 } else { 20 };
                out.write_all(&kept[..place]).unwrap();
                out.write_all(&port.to_be_bytes()).unwrap();
                out.write_all(&kept[place + 2..]).unwrap();
                written += 16 + kept.len() as u64;
                count += 1;
            }
        }
        round += 1;
    }
    out.flush().unwrap();
    count
}

/// The most memory that a process had so far, in kilobytes.
fn most_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
#[ignore = "writes a gigabyte twice, and wants a release build"]
fn a_gigabyte_is_explained_in_bounded_memory_and_fast() {
    // Another build of it may be measured by the tests of this one.
    let unmangle = std::env::var("UNMANGLE").unwrap_or(env!("CARGO_BIN_EXE_unmangle").to_owned());
    for snap in [65_535, 128] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("large.pcap");
        let packets = fill(&file, snap);
        let length = std::fs::metadata(&file).unwrap().len() as f64 / 1e6;
        let begun = Instant::now();
        let mut child = Command::new(&unmangle)
            .arg("explain")
            .arg(&file)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut memory = 0;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            memory = most_memory(child.id()).unwrap_or(0).max(memory);
            std::thread::sleep(Duration::from_millis(5));
        };
        let seconds = begun.elapsed().as_secs_f64();
        let speed = length / seconds;
        println!(
            "snaplen {snap}: {length:.0} MB, {packets} packets, {seconds:.2} s, {speed:.0} MB/s, {memory} kB"
        );
        assert!(matches!(status.code(), Some(0 | 1)), "{status}");
        assert!(memory > 0 && memory < MOST_MEMORY_KB, "{memory} kB");
        assert!(speed >= LEAST_MB_PER_S, "{speed} MB/s");
    }
}
