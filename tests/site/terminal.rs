//! A terminal that nobody sits at: tmux's.

use std::process::{Command, Output, Stdio};

use super::{PATIENCE, until};

/// A terminal, with a server of tmux's of its own; dropped, it is gone.
pub struct Terminal {
    name: String,
}

impl Terminal {
    /// Runs something in it; nothing without tmux, which CI must have.
    pub fn run(command: &str, width: u16, height: u16) -> Option<Self> {
        let has = Command::new("tmux")
            .arg("-V")
            .stdout(Stdio::null())
            .status();
        if has.is_err() {
            assert!(std::env::var_os("CI").is_none(), "CI has tmux");
            eprintln!("skipped: there is no tmux");
            return None;
        }
        let name = format!("unmangle-test-{:08x}", rand::random::<u32>());
        let terminal = Self { name };
        let (width, height) = (width.to_string(), height.to_string());
        let size = ["-x", &width, "-y", &height];
        // What is left on the screen is read when the program has ended.
        let line = format!("{command}; echo ended with $?; sleep 60");
        let started =
            terminal.tmux(&[&["new-session", "-d"], &size[..], &["sh", "-c", &line]].concat());
        assert!(started.status.success(), "{started:?}");
        Some(terminal)
    }

    pub fn tmux(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.name, "-f", "/dev/null"]);
        command.args(arguments).output().unwrap()
    }

    pub fn shows(&self) -> String {
        let shown = self.tmux(&["capture-pane", "-p"]);
        String::from_utf8(shown.stdout).unwrap()
    }

    /// The same with its colours, as the escapes that a terminal knows.
    pub fn shows_in_colour(&self) -> String {
        let shown = self.tmux(&["capture-pane", "-e", "-p"]);
        String::from_utf8(shown.stdout).unwrap()
    }

    pub fn until_it_shows(&self, what: &str) -> String {
        let mut shown = String::new();
        until(what, PATIENCE, || {
            shown = self.shows();
            shown.contains(what)
        });
        shown
    }

    pub fn press(&self, key: &str) {
        assert!(self.tmux(&["send-keys", key]).status.success());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended by itself is gone already.
        let _ = self.tmux(&["kill-server"]);
    }
}
