//! What `tests/corpus/tracking.rs` says must hold, for bytes that libFuzzer makes up.
#![no_main]

#[path = "../../tests/corpus/tracking.rs"]
mod tracking;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tracking::run(bytes));
