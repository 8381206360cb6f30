//! What `tests/corpus/packets.rs` says must hold, for bytes that libFuzzer makes up.
#![no_main]

#[path = "../../tests/corpus/packets.rs"]
mod packets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| packets::run(bytes));
