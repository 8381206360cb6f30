//! What `tests/corpus/mangler.rs` says must hold, for bytes that libFuzzer makes up.
#![no_main]

#[path = "../../tests/corpus/mangler.rs"]
mod mangler;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mangler::run(bytes));
