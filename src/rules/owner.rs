//! An `nft -i` that owns a table: when its stdin closes, it ends, and the kernel removes the table.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::Command;
use tokio::time::timeout;

use super::hand::Misfit;
use super::nft;
use super::nft_process::NftProcess;
use super::own::OwnError;
use super::tool::{self, ToolError};
use crate::sys::privileges::lending;

/// The `nft -i` that owns a table.
#[derive(Debug)]
pub(super) struct Owner {
    table: &'static str,
    nft: NftProcess,
    stdin: Sender,
    stderr: Receiver,
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
                .spawn()
        });
        // As pipes of their own, which can go over to another process.
        let piped = started.and_then(|mut child| {
            let stdin = child.stdin.take().expect("stdin is piped");
            let stderr = child.stderr.take().expect("stderr is piped");
            Ok(Self {
                table,
                nft: NftProcess::child(child),
                stdin: Sender::from_owned_fd(stdin.into_owned_fd()?)?,
                stderr: Receiver::from_owned_fd(stderr.into_owned_fd()?)?,
                whole: false,
            })
        });
        Ok(piped.map_err(|error| ToolError::Start("nft", error, tool::package("nft")))?)
    }

    /// Takes on one that another process has started, and whose table is as it is wanted. Nothing is sent to it.
    pub async fn take_on(
        table: &'static str,
        pid: u32,
        (stdin, stderr): (OwnedFd, OwnedFd),
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Self, OwnError> {
        let nft = NftProcess::take_on(pid, stdin.as_fd(), stderr.as_fd())?;
        let stdin = Sender::from_owned_fd(stdin).map_err(Misfit::Pipe)?;
        let stderr = Receiver::from_owned_fd(stderr).map_err(Misfit::Pipe)?;
        let listing = tool::if_there(tool::ask("nft", &list(table)).await)?.unwrap_or_default();
        if !is_owned(&listing) || !wanted(&listing) {
            return Err(Misfit::Table.into());
        }
        Ok(Self {
            table,
            nft,
            stdin,
            stderr,
            whole: true,
        })
    }

    /// What another process needs to take it on: the process, its stdin and its stderr.
    pub fn hand(&self) -> Result<(u32, BorrowedFd<'_>, BorrowedFd<'_>), Misfit> {
        let pid = self.nft.pid().filter(|_| self.whole);
        let pid = pid.ok_or(Misfit::NotInPlace)?;
        Ok((pid, self.stdin.as_fd(), self.stderr.as_fd()))
    }

    /// Lets it go without a word: it lives for as long as another process holds its stdin.
    pub fn forget(mut self) {
        self.nft.let_go();
    }

    /// Loads the table's text and sees that every chain of it is there, and is this process's.
    ///
    /// A table of that name that is another's cannot be mistaken for it: the kernel refuses to make it
    /// owned, or to let two processes own it, and its listeners are others.
    pub async fn load(&mut self, text: &str) -> Result<(), OwnError> {
        let ours = |table: &str| is_owned(table) && leads_to_listeners(table, text);
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
                complaint = complaint(&mut self.stderr) => return Err(OwnError::Refused(complaint)),
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
            let _ = self.nft.ended().await;
        }
    }

    /// Whether it is, by now.
    pub fn is_lost(&mut self) -> bool {
        !self.whole || self.nft.has_ended()
    }

    async fn kill(&mut self) {
        let _ = self.nft.kill().await;
    }

    /// Lets it go and waits until it has ended, and its table with it. One that does not end is killed.
    pub async fn release(self) {
        let Self {
            mut nft,
            stdin,
            stderr: _open,
            whole,
            table: _,
        } = self;
        drop(stdin);
        // One that did not answer will not hear either.
        let patience = if whole { WITHIN } else { LOOK_EVERY };
        let ended = match timeout(patience, nft.ended()).await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::warn!("nft did not end, and is killed");
                nft.kill().await
            }
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "nft did not end");
        }
    }
}

/// Waits until `nft` writes something to stderr, which it does to refuse; or until it ends.
async fn complaint(stderr: &mut Receiver) -> String {
    let mut text = vec![0; 1024];
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

/// Whether the table, as it is listed, belongs to a process.
pub(super) fn is_owned(table: &str) -> bool {
    table.contains("flags owner")
}

/// Whether every listener that the text names is in the table, as it is listed.
pub(super) fn leads_to_listeners(table: &str, text: &str) -> bool {
    destinations(text).all(|to| table.contains(to))
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
pub(super) fn chains(text: &str) -> impl Iterator<Item = &str> {
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
