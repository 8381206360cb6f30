//! An `nft -i` that owns a table: when its stdin closes, it ends, and the kernel removes the table.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::nft;
use super::own::OwnError;
use super::tool::{self, ToolError};
use crate::sys::privileges::lending;

/// The `nft -i` that owns a table.
#[derive(Debug)]
pub(super) struct Owner {
    table: &'static str,
    child: Child,
    stdin: ChildStdin,
    /// Whether the table was last seen to be as it is wanted. False while it is being changed: whoever
    /// gives up in between finds it lost.
    whole: bool,
}

/// How long the kernel may take to show a table that was sent to it, and `nft` to end.
const WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Owner {
    /// Starts one that owns nothing yet.
    pub fn start(table: &'static str) -> Result<Self, OwnError> {
        let started = lending(|| {
            Command::new("nft")
                .arg("-i")
                // It keeps a history of what it is told, in a file there, which cannot be.
                .env("HOME", "/dev/null")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                // Ctrl-C on a terminal is for the relay, which still needs the table while it drains.
                .process_group(0)
                .kill_on_drop(true)
                .spawn()
        });
        let mut child =
            started.map_err(|error| ToolError::Start("nft", error, tool::package("nft")))?;
        let stdin = child.stdin.take().expect("stdin is piped");
        Ok(Self {
            table,
            child,
            stdin,
            whole: false,
        })
    }

    /// Loads the table's text and sees that every chain of it is there, and is this process's.
    ///
    /// A table of that name that is another's cannot be mistaken for it: the kernel refuses to make it
    /// owned, or to let two processes own it, and its listeners are others.
    pub async fn load(&mut self, text: &str) -> Result<(), OwnError> {
        let ours = |table: &str| {
            table.contains("flags owner") && destinations(text).all(|to| table.contains(to))
        };
        self.replace(&nft::one_line(text), text, ours).await
    }

    /// Loads it anew after it was lost. What is left of the one before goes first.
    pub async fn reload(&mut self, text: &str) -> Result<(), OwnError> {
        self.whole = false;
        self.kill().await;
        *self = Self::start(self.table)?;
        self.load(text).await
    }

    /// Has it carry out a line that makes the table anew, which is whole once every chain of the text was seen.
    pub async fn replace(
        &mut self,
        line: &str,
        text: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), OwnError> {
        let listing = self.change(line, wanted).await?;
        self.whole = false;
        verify(self.table, text, &listing)?;
        self.whole = true;
        Ok(())
    }

    /// Has it carry out one line, and waits until the kernel shows the table as it is wanted.
    pub async fn change(
        &mut self,
        line: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String, OwnError> {
        self.whole = false;
        let changed = async {
            self.send(line).await?;
            self.await_listing(wanted).await
        };
        let listing = timeout(WITHIN, changed)
            .await
            .map_err(|_| OwnError::Refused(format!("nft did not answer within {WITHIN:?}")))??;
        self.whole = true;
        Ok(listing)
    }

    async fn await_listing(&mut self, wanted: impl Fn(&str) -> bool) -> Result<String, OwnError> {
        loop {
            if let Some(table) = tool::if_there(tool::ask("nft", &list(self.table)).await)?
                && wanted(&table)
            {
                return Ok(table);
            }
            tokio::select! {
                complaint = complaint(&mut self.child) => return Err(OwnError::Refused(complaint)),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn send(&mut self, line: &str) -> Result<(), OwnError> {
        let refused = |error: std::io::Error| OwnError::Refused(error.to_string());
        self.stdin
            .write_all(line.as_bytes())
            .await
            .map_err(refused)?;
        self.stdin.write_all(b"\n").await.map_err(refused)?;
        self.stdin.flush().await.map_err(refused)
    }

    /// Waits until the table is lost: its owner has ended, or a change of it was given up.
    pub async fn lost(&mut self) {
        if self.whole {
            let _ = self.child.wait().await;
        }
    }

    /// Whether it is, by now.
    pub fn is_lost(&mut self) -> bool {
        !self.whole || !matches!(self.child.try_wait(), Ok(None))
    }

    async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// Lets it go and waits until it has ended, and its table with it. One that does not end is killed.
    pub async fn release(self) {
        let Self {
            mut child,
            stdin,
            whole,
            ..
        } = self;
        drop(stdin);
        // One that did not answer will not hear either.
        let patience = if whole { WITHIN } else { LOOK_EVERY };
        let ended = match timeout(patience, child.wait()).await {
            Ok(ended) => ended.map(drop),
            Err(_) => {
                tracing::warn!("nft did not end, and is killed");
                child.kill().await
            }
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "nft did not end");
        }
    }
}

/// Waits until `nft` writes something to stderr, which it does to refuse; or until it ends.
async fn complaint(nft: &mut Child) -> String {
    let mut text = vec![0; 1024];
    let stderr = nft.stderr.as_mut().expect("stderr is piped");
    let read = stderr.read(&mut text).await.unwrap_or(0);
    let said = String::from_utf8_lossy(&text[..read]);
    match said.lines().next() {
        Some(line) => line.to_owned(),
        None => "nft ended".to_owned(),
    }
}

fn list(table: &str) -> [&str; 4] {
    ["list", "table", "inet", table]
}

/// The table as `nft` lists it; nothing if there is none.
pub(super) fn listed(table: &str) -> Result<Option<String>, ToolError> {
    tool::if_there(tool::run("nft", &list(table)))
}

/// The listeners that a table's text names.
fn destinations(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().filter(|word| {
        let redirect = |word: &str| {
            let port = word.strip_prefix(':');
            port.is_some_and(|port| port.parse::<u16>().is_ok())
        };
        word.starts_with("127.0.0.1:") || word.starts_with("[::1]:") || redirect(word)
    })
}

/// Each chain of `text` must be in `listing`.
pub(super) fn verify(table: &str, text: &str, listing: &str) -> Result<(), OwnError> {
    for chain in chains(text) {
        if !chains(listing).any(|listed| listed == chain) {
            return Err(OwnError::Unverified {
                what: format!("chain {chain}"),
            });
        }
        tracing::info!(chain = format!("inet {table} {chain}"), "rule verified");
    }
    Ok(())
}

/// The names of the chains in a table's text.
fn chains(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim().strip_prefix("chain ")?;
        line.strip_suffix(" {")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_is_missing_from_the_listing_is_named() {
        let text = "table inet t {\n\tchain a {\n\t}\n\tchain b {\n\t}\n}\n";
        let listing = "table inet t {\n\tchain a {\n\t}\n}\n";
        assert!(verify("t", text, text).is_ok());
        let error = verify("t", text, listing).unwrap_err().to_string();
        assert!(error.starts_with("chain b"), "{error}");
    }

    #[test]
    fn a_table_is_known_by_its_listeners() {
        let text = "tproxy ip to 127.0.0.1:5002 accept\ntproxy ip6 to [::1]:5002 accept\n";
        assert_eq!(
            destinations(text).collect::<Vec<_>>(),
            ["127.0.0.1:5002", "[::1]:5002"]
        );
    }
}
