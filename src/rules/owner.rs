//! An `nft -i` that owns a table: when its stdin closes, it ends, and the kernel removes the table.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;

use super::nft;
use super::own::OwnError;
use super::tool::{self, ToolError};

/// The `nft -i` that owns a table.
#[derive(Debug)]
pub(super) struct Owner {
    table: &'static str,
    child: Child,
    stdin: ChildStdin,
}

/// How long the kernel may take to show a table that was sent to it.
const APPLY_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Owner {
    /// Starts one that owns nothing yet.
    pub fn start(table: &'static str) -> Result<Self, OwnError> {
        let mut child = Command::new("nft")
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
            .map_err(|error| ToolError::Start("nft", error, tool::package("nft")))?;
        let stdin = child.stdin.take().expect("stdin is piped");
        Ok(Self {
            table,
            child,
            stdin,
        })
    }

    /// Loads the table's text and sees that every chain of it is there.
    pub async fn load(&mut self, text: &str) -> Result<(), OwnError> {
        self.send(&nft::one_line(text)).await?;
        let listing = self.await_listing(|_| true).await?;
        verify(self.table, text, &listing)
    }

    /// Waits until the kernel shows the table as it is wanted.
    pub async fn await_listing(
        &mut self,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String, OwnError> {
        let deadline = Instant::now() + APPLY_WITHIN;
        loop {
            let listing = listed(self.table);
            // Without its owner a table is gone for good.
            let ended = matches!(self.child.try_wait(), Ok(Some(_)));
            match listing {
                Ok(table) if wanted(&table) => return Ok(table),
                _ if ended || Instant::now() > deadline => {
                    let otherwise = match listing {
                        Ok(_) => "the table did not change".to_owned(),
                        Err(error) => error.to_string(),
                    };
                    return Err(OwnError::Refused(
                        self.complaint().await.unwrap_or(otherwise),
                    ));
                }
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Has it carry out one line.
    pub async fn send(&mut self, line: &str) -> Result<(), OwnError> {
        let refused = |error: std::io::Error| OwnError::Refused(error.to_string());
        self.stdin
            .write_all(line.as_bytes())
            .await
            .map_err(refused)?;
        self.stdin.write_all(b"\n").await.map_err(refused)?;
        self.stdin.flush().await.map_err(refused)
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) {
        let _ = self.child.wait().await;
    }

    /// Ends it at once; one that is gone needs no killing.
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// Lets it go and waits until it has ended, and its table with it.
    pub async fn release(self) {
        let Self {
            mut child, stdin, ..
        } = self;
        drop(stdin);
        if let Err(error) = child.wait().await {
            tracing::warn!(%error, "nft did not end");
        }
    }

    /// What `nft` has written to stderr, if anything.
    async fn complaint(&mut self) -> Option<String> {
        let mut text = vec![0; 1024];
        let stderr = self.child.stderr.as_mut()?;
        let read = tokio::time::timeout(LOOK_EVERY, stderr.read(&mut text))
            .await
            .ok()?
            .ok()?;
        String::from_utf8_lossy(&text[..read])
            .lines()
            .next()
            .map(str::to_owned)
    }
}

/// The table as `nft` lists it; an error if there is none.
pub(super) fn listed(table: &str) -> Result<String, ToolError> {
    tool::run("nft", &["list", "table", "inet", table])
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
}
