//! Any text as a configuration file, with flags before it: one clear line, or settings that `--check` prints
//! so that they are read again as the same.
//!
//! Lines at the top that begin with two dashes are flags: `--drain 5s`. Those of a listener are known by
//! their key.

use std::path::Path;

use unmangle::cli::effective::Effective;
use unmangle::config::{ConfigError, Contents, Keys, Settings, file};

/// What must hold for any text.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (process, listener, text) = flags(text);
    let settings = match read(text, process, listener) {
        Ok(settings) => settings,
        Err(error) => return assert_one_line(&error),
    };
    let printed = Effective(&settings).to_string();
    let again = read(&printed, Keys::default(), Keys::default())
        .unwrap_or_else(|error| panic!("--check prints what is refused: {error}\n{printed}"));
    assert_eq!(settings.process, again.process, "\n{printed}");
    assert_eq!(settings.listeners, again.listeners, "\n{printed}");
    assert_eq!(printed, Effective(&again).to_string());
}

fn read(text: &str, process: Keys, listener: Keys) -> Result<Settings, ConfigError> {
    let contents: Contents = file::parse(Path::new("unmangle.toml"), text)?;
    Settings::resolve(contents, process, listener)
}

/// What is wrong is said in one line, which a terminal shows as it is.
fn assert_one_line(error: &ConfigError) {
    let line = error.to_string();
    assert!(!line.chars().any(char::is_control), "{line:?}");
    assert!(!error.message.is_empty());
}

/// The flags of the process, those of a listener, and the rest of the text.
fn flags(mut text: &str) -> (Keys, Keys, &str) {
    let (mut process, mut listener) = (Keys::default(), Keys::default());
    while let Some(flag) = text.strip_prefix("--") {
        let (flag, rest) = flag.split_once('\n').unwrap_or((flag, ""));
        let (key, value) = flag.split_once(' ').unwrap_or((flag, "true"));
        if file::LISTENER.contains(&key) {
            listener.set_flag(key, [value]);
        } else if file::PROCESS.contains(&key) {
            process.set_flag(key, [value]);
        }
        text = rest;
    }
    (process, listener, text)
}
