//! What `tests/corpus/ruleset.rs` says must hold, for bytes that libFuzzer makes up.
#![no_main]

#[path = "../../tests/corpus/ruleset.rs"]
mod ruleset;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ruleset::run(bytes));
