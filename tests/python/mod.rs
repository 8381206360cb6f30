//! What programs in Python say, which share no code with ours. `deploy/install-packages.sh python` brings what they need.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use serde::de::DeserializeOwned;

/// Runs a program of `tests`, and reads each line that it prints as JSON.
pub fn lines<T: DeserializeOwned>(program: &str, words: &[&OsStr]) -> Vec<T> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/python/bin/python");
    assert!(
        python.exists(),
        "{} is not there: deploy/install-packages.sh python makes it",
        python.display()
    );
    let ended = Command::new(python)
        .arg(root.join("tests").join(program))
        .args(words)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success(),
        "{words:?}: deploy/install-packages.sh python may mend it: {stderr}"
    );
    let stdout = String::from_utf8(ended.stdout).unwrap();
    let lines = stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
