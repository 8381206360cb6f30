//! What `tests/corpus/capture.rs` says must hold, for bytes that libFuzzer makes up.
#![no_main]

#[path = "../../tests/corpus/capture.rs"]
mod capture;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| capture::run(bytes));
