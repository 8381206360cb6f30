//! The targets of `fuzz/` on the inputs that are kept in `tests/corpus`: each of them showed something once,
//! or is the smallest that comes far.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

#[path = "corpus/capture.rs"]
mod capture;
#[path = "corpus/config.rs"]
mod config;
#[path = "corpus/mangler.rs"]
mod mangler;
#[path = "corpus/packets.rs"]
mod packets;
#[path = "corpus/proxy_header.rs"]
mod proxy_header;
#[path = "corpus/ruleset.rs"]
mod ruleset;
#[path = "corpus/tracking.rs"]
mod tracking;

/// Runs a target on every input that is kept for it, and names those that fail.
fn run_all(target: &str, run: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(target);
    let mut inputs: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 10, "{} inputs for {target}", inputs.len());
    let failed: Vec<_> = inputs
        .iter()
        .filter(|input| {
            let bytes = fs::read(input).unwrap();
            catch_unwind(|| run(&bytes)).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn any_bytes_of_the_corpus_are_taken_for_a_proxy_header() {
    run_all("proxy_header", proxy_header::run);
}

#[test]
fn any_bytes_of_the_corpus_are_taken_for_a_packet() {
    run_all("packets", packets::run);
}

#[test]
fn any_packets_of_the_corpus_go_through_the_mangler() {
    run_all("mangler", mangler::run);
}

#[test]
fn any_text_of_the_corpus_is_a_configuration_or_is_refused_in_one_line() {
    run_all("config", config::run);
}

#[test]
fn any_text_of_the_corpus_is_asked_as_a_ruleset() {
    run_all("ruleset", ruleset::run);
}

#[test]
fn any_bytes_of_the_corpus_are_read_as_a_capture() {
    run_all("capture", capture::run);
}

#[test]
fn any_segments_of_the_corpus_are_tracked() {
    run_all("tracking", tracking::run);
}
