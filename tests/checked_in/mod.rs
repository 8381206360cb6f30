//! Files of the repository that are made from the code, and must not lag behind it.

use std::fs;
use std::path::Path;

/// Sees that a file of the repository has this text; with UNMANGLE_BLESS=1 it gets it. `test` is who asks.
pub fn is_current(file: &str, text: &str, test: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UNMANGLE_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, text).unwrap();
        return;
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == text,
        "{file} is stale; `UNMANGLE_BLESS=1 cargo test --test {test}` writes it"
    );
}
