//! What `tests/corpus/config.rs` says must hold, for bytes that libFuzzer makes up.
#![no_main]

#[path = "../../tests/corpus/config.rs"]
mod config;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| config::run(bytes));
