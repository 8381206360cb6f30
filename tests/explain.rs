//! `unmangle explain` on captures made for it: what it says, what it ends with, and what it does with bad ones.

mod captures;
mod checked_in;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use unmangle::diagnose::explain::Report;

use captures::{Segment, acknowledges, pcap, timed, upload};

const UNMANGLE: &str = env!("CARGO_BIN_EXE_unmangle");
const SCHEMA: &str = "docs/explain.schema.json";
/// Bare IP packets.
const RAW: u32 = 101;
/// The `any` device of Linux.
const COOKED: u32 = 276;

/// A directory with a capture in it.
struct Kept {
    _directory: TempDir,
    file: PathBuf,
}

fn kept(bytes: &[u8]) -> Kept {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("some.pcap");
    std::fs::write(&file, bytes).unwrap();
    Kept {
        _directory: directory,
        file,
    }
}

fn explain(file: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(UNMANGLE);
    command.arg("explain").arg(file).args(arguments);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The report, which fits its schema.
fn json(file: &Path, arguments: &[&str]) -> Value {
    let output = explain(file, &[arguments, &["--json"]].concat());
    let value: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let schema = serde_json::to_value(Report::schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let complaint = validator.validate(&value).err().map(|e| e.to_string());
    assert_eq!(complaint, None);
    value
}

/// Ten segments, the third acknowledged, and a SACK block for the fifth by numbers that are `offset` off.
fn with_sack(offset: u32) -> Vec<Segment> {
    let mut segments = upload(10);
    let begin = 5_001_u32.wrapping_add(offset);
    segments.push(acknowledges(4_001, &[(begin, begin.wrapping_add(1_000))]));
    segments
}

#[test]
fn a_sound_connection_has_nothing_invalid_and_ends_with_0() {
    let capture = kept(&pcap(RAW, 128, &timed(&with_sack(0))));
    let output = explain(&capture.file, &["--kernel", "6.12"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = text(&output);
    let flow = "flow 1: 192.0.2.2:40000 -> 198.51.100.2:22: nothing INVALID in 14 packets\n";
    assert!(said.ends_with(flow), "{said}");
    assert!(
        said.contains("judged by the rules of Linux 6.12, nf_conntrack_tcp_be_liberal=0\n"),
        "{said}"
    );
}

#[test]
fn a_sack_block_of_other_numbers_is_told_with_bound_numbers_and_cure() {
    let offset = 1_000_000_000;
    let capture = kept(&pcap(RAW, 128, &timed(&with_sack(offset))));
    let output = explain(&capture.file, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output);
    for part in [
        "1 of 14 packets INVALID",
        "packet 14 acknowledges by a SACK block data that was never sent: block 1 ends at 1000006001",
        "bound ack_over_seen: the SACK edge is 1000006001",
        "nf_conntrack_tcp_be_liberal=1 would let it pass",
        "--profile isn-rewrite",
    ] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    let report = json(&capture.file, &[]);
    let finding = &report["flows"][0]["findings"][0];
    assert_eq!(finding["bound"], "ack_over_seen");
    assert_eq!(finding["by"], "sack");
    assert_eq!(finding["packet"]["number"], 14);
    assert_eq!(finding["packet"]["at_s"], 0.013);
    assert_eq!(finding["seen"]["raw"], 6_001 + offset);
    assert_eq!(finding["allowed"]["raw"], 11_001);
    assert_eq!(finding["allowed"]["relative"], 10_001);
    assert_eq!(finding["out_by"], offset - 5_000);
    assert_eq!(finding["liberal_would_pass"], true);
    assert_eq!(report["flows"][0]["cure"]["profile"], "isn-rewrite");
    // Its place in the file is where its record is: 24 bytes, and 16 before each packet.
    let before: usize = timed(&with_sack(offset))[..13]
        .iter()
        .map(|(_, packet)| 16 + packet.len().min(128))
        .sum();
    assert_eq!(finding["packet"]["offset"], 24 + before);
    let liberal = explain(&capture.file, &["--liberal"]);
    assert_eq!(liberal.status.code(), Some(0), "{liberal:?}");
}

#[test]
fn what_comes_by_standard_input_is_told_alike() {
    let bytes = pcap(RAW, 128, &timed(&with_sack(1 << 30)));
    let capture = kept(&bytes);
    let by_file = text(&explain(&capture.file, &[]));
    let mut child = Command::new(UNMANGLE)
        .args(["explain", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let by_input = String::from_utf8(output.stdout).unwrap();
    let name = capture.file.display().to_string();
    assert_eq!(by_input, by_file.replace(&name, "standard input"));
}

#[test]
fn a_capture_cut_short_is_told_as_far_as_it_goes() {
    let mut bytes = pcap(RAW, 128, &timed(&with_sack(1 << 30)));
    let whole = bytes.len();
    bytes.extend([0; 20]);
    bytes.truncate(whole + 9);
    let capture = kept(&bytes);
    let output = explain(&capture.file, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output);
    let why = format!(
        "not read to its end: cut short at byte {}: the heading of a packet that begins at byte {whole}",
        whole + 9
    );
    assert!(said.contains(&why), "{said}");
    assert!(said.contains("1 of 14 packets INVALID"), "{said}");
}

#[test]
fn what_cannot_be_read_ends_with_2_and_one_line_that_names_the_byte() {
    let mut broken = pcap(RAW, 128, &timed(&upload(1)));
    broken[24 + 11] = 0x7f;
    let arp = [&[0xff; 12][..], &[8, 6], &[0; 28]].concat();
    let no_tcp = pcap(1, 128, &[(Duration::from_secs(1), arp)]);
    let cases: [(&[u8], &str); 5] = [
        (b"", "not a capture: it is empty"),
        (
            b"GET / HTTP/1.1",
            "not a capture: it begins with 47 45 54 20",
        ),
        (&broken, "byte 24: a packet of 2130706"),
        (&pcap(189, 128, &[]), "byte 20: link type 189 is not known"),
        (&no_tcp, "no TCP packet to look at: 1 not IP"),
    ];
    for (bytes, expected) in cases {
        let capture = kept(bytes);
        let output = explain(&capture.file, &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let name = capture.file.display();
        assert!(
            said.starts_with(&format!("unmangle: {name}: {expected}")),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let none = explain(Path::new("/nowhere/some.pcap"), &[]);
    assert_eq!(none.status.code(), Some(2));
    let said = String::from_utf8(none.stderr).unwrap();
    assert!(said.contains("/nowhere/some.pcap: No such file"), "{said}");
}

#[test]
fn a_kernel_that_is_not_known_is_refused_with_those_that_are() {
    let capture = kept(&pcap(RAW, 128, &timed(&upload(1))));
    let output = explain(&capture.file, &["--kernel", "2.4"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("5.10, 6.1, 6.12 or 6.18"), "{said}");
}

#[test]
fn data_acknowledged_long_ago_is_invalid_by_the_rules_of_5_10_alone() {
    let mut segments = upload(20);
    segments.push(acknowledges(21_001, &[]));
    // An old packet, a good deal older than the window.
    segments.push(Segment {
        flags: "PA",
        sequence: 1_001_u32.wrapping_sub(20_000_000),
        acknowledgement: 9_001,
        payload: 1_000,
        options: captures::stamped(300, 5, &[]),
        ..Segment::default()
    });
    let capture = kept(&pcap(RAW, 128, &timed(&segments)));
    let code = |kernel| explain(&capture.file, &["--kernel", kernel]).status.code();
    assert_eq!((code("5.10"), code("6.18")), (Some(1), Some(0)));
    let report = json(&capture.file, &["--kernel", "5.10"]);
    assert_eq!(
        report["flows"][0]["findings"][0]["bound"],
        "seq_under_window"
    );
    let report = json(&capture.file, &["--kernel", "6.18"]);
    assert_eq!(report["flows"][0]["ignored"], 1);
}

#[test]
fn one_connection_can_be_asked_for_by_number_or_address() {
    let capture = kept(&pcap(RAW, 128, &timed(&upload(1))));
    for asked in ["1", "192.0.2.2", "198.51.100.2:22"] {
        let report = json(&capture.file, &["--flow", asked]);
        assert_eq!(report["flows"].as_array().unwrap().len(), 1, "{asked}");
    }
    let output = explain(&capture.file, &["--flow", "192.0.2.3"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

/// As the `any` device shows it, on device `number`.
fn cooked(number: u8, packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![8, 0, 0, 0, 0, 0, 0, number, 0, 1, 0, 6];
    bytes.extend([0; 8]);
    bytes.extend(packet);
    bytes
}

#[test]
fn a_connection_on_two_devices_is_judged_on_each_for_itself() {
    let mut both = Vec::new();
    for (at, packet) in timed(&with_sack(1 << 30)) {
        both.push((at, cooked(2, &packet)));
        // On the second device every packet comes later, and the last never.
        both.push((at + Duration::from_micros(100), cooked(3, &packet)));
    }
    both.pop();
    let capture = kept(&pcap(COOKED, 148, &both));
    let report = json(&capture.file, &[]);
    let flows = report["flows"].as_array().unwrap();
    let found: Vec<_> = flows
        .iter()
        .map(|flow| {
            (
                flow["interface"].as_str().unwrap(),
                flow["invalid"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(found, [("device 2", 1), ("device 3", 0)]);
    assert!(
        flows[0]["notes"][0]
            .as_str()
            .unwrap()
            .contains("also seen on device 3")
    );
}

#[test]
fn a_chart_shows_the_fault_and_says_what_it_is() {
    let capture = kept(&pcap(RAW, 128, &timed(&with_sack(1 << 30))));
    let svg = capture.file.with_extension("svg");
    let output = explain(&capture.file, &["--svg", svg.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let drawn = std::fs::read_to_string(&svg).unwrap();
    let document = roxmltree::Document::parse(&drawn).unwrap();
    let texts: Vec<String> = document
        .descendants()
        .filter(|node| node.has_tag_name("text"))
        .filter_map(|node| node.text().map(|text| text.trim().to_owned()))
        .collect();
    let label = format!(
        "packet 14 INVALID: ack_over_seen, out by {} bytes",
        "1,073,736,824"
    );
    for text in [
        label.as_str(),
        "flow 1: 192.0.2.2:40000 -> 198.51.100.2:22",
        "acknowledged",
        "data",
    ] {
        assert!(
            texts.iter().any(|each| each == text),
            "{text} is not in {texts:?}"
        );
    }
    // Each of the ten segments is a line of the data's colour, and the legend's one.
    let blue = document
        .descendants()
        .filter(|node| node.attribute("stroke") == Some("#1F77B4"));
    assert_eq!(blue.count(), 11);
}

#[test]
fn what_was_left_out_is_counted_and_said() {
    let mut packets = timed(&upload(2));
    let mut fragment = packets[4].1.clone();
    fragment[6] = 0x20;
    packets.push((packets[4].0, fragment));
    let mut udp = packets[4].1.clone();
    udp[9] = 17;
    packets.push((packets[4].0, udp));
    let capture = kept(&pcap(RAW, 30, &packets));
    let report = json(&kept(&pcap(RAW, 200, &packets)).file, &[]);
    let said = report["source"]["skipped"].to_string();
    assert!(
        said.contains("not TCP") && said.contains("fragments"),
        "{said}"
    );
    // Thirty bytes hold no TCP header.
    let output = explain(&capture.file, &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("5 captured too short"), "{said}");
}

#[test]
fn a_connection_that_begins_in_the_middle_is_said_to() {
    let capture = kept(&pcap(RAW, 128, &timed(&upload(20)[5..])));
    let output = explain(&capture.file, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output).contains("begins in the middle: its window scale is not known"));
}

#[test]
fn a_capture_that_is_damaged_in_its_middle_is_told_up_to_there_and_ends_with_2() {
    let mut bytes = pcap(RAW, 128, &timed(&with_sack(0)));
    // The captured length in the head of the second record.
    let second = 24 + 16 + u32::from_le_bytes(bytes[32..36].try_into().unwrap()) as usize;
    bytes[second + 8..second + 12].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    let capture = kept(&bytes);
    let output = explain(&capture.file, &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("1 packets in") && said.contains("not read to its end"),
        "{said}"
    );
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert!(complaint.contains(&format!("byte {second}")), "{complaint}");
}

#[test]
fn a_picture_does_not_replace_the_capture() {
    let bytes = pcap(RAW, 128, &timed(&with_sack(1 << 30)));
    let capture = kept(&bytes);
    let name = capture.file.to_str().unwrap();
    let output = explain(&capture.file, &["--svg", name]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(std::fs::read(&capture.file).unwrap(), bytes);
}

#[test]
fn an_acknowledgement_that_is_out_as_well_is_not_said_to_fit() {
    let mut segments = with_sack(1 << 30);
    let last = segments.last_mut().unwrap();
    last.acknowledgement = last.acknowledgement.wrapping_add(1 << 29);
    let capture = kept(&pcap(RAW, 128, &timed(&segments)));
    let said = text(&explain(&capture.file, &["--kernel", "6.12"]));
    assert!(
        said.contains("is of nothing that was sent, either"),
        "{said}"
    );
    assert!(!said.contains("profile "), "{said}");
}

#[test]
fn live_capturing_for_no_time_or_for_ever_is_refused_and_an_interface_that_is_not_there_is_named() {
    let live = |arguments: &[&str]| {
        let mut command = Command::new(UNMANGLE);
        let output = command.arg("explain").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for seconds in ["0", "18446744073709551615"] {
        let said = live(&["-i", "lo", "--seconds", seconds]);
        assert!(said.contains("--seconds"), "{said}");
    }
    let said = live(&["some.pcap", "--seconds", "1"]);
    assert!(said.contains("--seconds"), "{said}");
    let said = live(&["-i", "nosuch0", "--seconds", "1"]);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!said.contains("not a capture"), "{said}");
}

/// Many connections, all of them INVALID many times.
#[test]
fn findings_take_no_more_memory_the_more_there_are() {
    const FLOWS: u16 = 30_000;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.pcap");
    let mut segment = upload(1).remove(0);
    segment.flags = "SF";
    let packet = segment.build();
    let bad = (0..20 * u32::from(FLOWS)).map(|number| {
        let mut packet = packet.clone();
        packet[20..22].copy_from_slice(&((number % u32::from(FLOWS)) as u16).to_be_bytes());
        (Duration::from_micros(number.into()), packet)
    });
    let bad: Vec<_> = bad.collect();
    std::fs::write(&file, pcap(RAW, 128, &bad)).unwrap();
    drop(bad);
    let mut child = Command::new(UNMANGLE)
        .args(["explain", "--json"])
        .arg(&file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let peak = status.ok().and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        });
        most = most.max(peak.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    println!("{most} kB");
    assert!(most > 1_000 && most < 200_000, "{most} kB");
}

#[test]
fn the_schema_that_is_checked_in_is_that_of_the_report() {
    let schema = serde_json::to_string_pretty(&Report::schema()).unwrap();
    checked_in::is_current(SCHEMA, &format!("{schema}\n"), "explain");
}
