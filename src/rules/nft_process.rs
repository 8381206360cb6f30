//! The process of an `nft -i`: a child of this one, or one that was taken on from the process that started it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::process::Child;

use super::hand::Misfit;
use crate::sys::watch::watch_descriptor;

/// The process of an `nft -i`.
#[derive(Debug)]
pub(super) enum NftProcess {
    /// A child.
    Child(Bound),
    /// The child of another process, or of nobody by now.
    TakenOn(TakenOn),
}

/// A child that is killed when this is dropped, unless it was let go.
#[derive(Debug)]
pub(super) struct Bound {
    child: Child,
    let_go: bool,
}

/// A process that lives on when this is dropped.
#[derive(Debug)]
pub(super) struct TakenOn {
    pid: u32,
    /// Readable when it has ended.
    pidfd: AsyncFd<OwnedFd>,
}

// === impl NftProcess ===

impl NftProcess {
    /// One that was just started.
    pub fn child(child: Child) -> Self {
        Self::Child(Bound {
            child,
            let_go: false,
        })
    }

    /// One that another process has started, after a look whether it is the one that has these as its stdin and
    /// stderr.
    pub fn take_on(
        pid: u32,
        stdin: BorrowedFd<'_>,
        stderr: BorrowedFd<'_>,
    ) -> Result<Self, Misfit> {
        let unseen = |error: io::Error| Misfit::Unseen { pid, error };
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.ok_or(Misfit::Ended(pid))?;
        let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Err(Misfit::Ended(pid)),
            opened => opened.map_err(|error| unseen(error.into()))?,
        };
        for (which, pipe) in [(0, stdin), (2, stderr)] {
            let theirs = match fs::metadata(format!("/proc/{pid}/fd/{which}")) {
                // One that has ended has none.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(Misfit::Ended(pid));
                }
                looked => looked.map_err(unseen)?,
            };
            let ours = pipe.try_clone_to_owned().map(File::from);
            let ours = ours
                .and_then(|pipe| pipe.metadata())
                .map_err(Misfit::Pipe)?;
            // Both ends of a pipe are one inode.
            if (theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino()) {
                return Err(Misfit::Stranger(pid));
            }
        }
        // Its number was nobody else's meanwhile, because it has not ended yet.
        if is_readable(pidfd.as_fd()) {
            return Err(Misfit::Ended(pid));
        }
        let pidfd = watch_descriptor(pidfd).map_err(unseen)?;
        Ok(Self::TakenOn(TakenOn { pid, pidfd }))
    }

    /// Its number, for as long as it has one.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Child(Bound { child, .. }) => child.id(),
            Self::TakenOn(TakenOn { pid, .. }) => Some(*pid),
        }
    }

    /// Waits until it has ended. May be given up and begun anew.
    pub async fn ended(&mut self) -> io::Result<()> {
        match self {
            Self::Child(Bound { child, .. }) => child.wait().await.map(drop),
            Self::TakenOn(TakenOn { pidfd, .. }) => pidfd.readable().await.map(drop),
        }
    }

    /// Whether it has, by now.
    pub fn has_ended(&mut self) -> bool {
        match self {
            Self::Child(Bound { child, .. }) => !matches!(child.try_wait(), Ok(None)),
            Self::TakenOn(TakenOn { pidfd, .. }) => is_readable(pidfd.get_ref().as_fd()),
        }
    }

    /// Kills it and waits until it has ended.
    pub async fn kill(&mut self) -> io::Result<()> {
        match self {
            Self::Child(Bound { child, .. }) => child.kill().await,
            Self::TakenOn(TakenOn { pidfd, .. }) => {
                match pidfd_send_signal(pidfd.get_ref(), Signal::KILL) {
                    Ok(()) | Err(Errno::SRCH) => pidfd.readable().await.map(drop),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// Does nothing more about it, however this ends.
    pub fn let_go(&mut self) {
        match self {
            Self::Child(bound) => bound.let_go = true,
            Self::TakenOn(_) => {}
        }
    }
}

/// Whether the process has ended that this refers to. What cannot be looked at counts as ended: then it is seen to.
fn is_readable(pidfd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    !matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
}

// === impl Bound ===

impl Drop for Bound {
    fn drop(&mut self) {
        if !self.let_go {
            // One that has ended cannot be killed, and need not be.
            let _ = self.child.start_kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::process::{ChildStdout, Command};
    use tokio::time::timeout;

    use super::*;

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A `cat`, which ends as `nft -i` does: when nobody holds its stdin any more.
    struct Cat {
        process: NftProcess,
        stdin: OwnedFd,
        stdout: ChildStdout,
        stderr: OwnedFd,
    }

    impl Cat {
        fn start() -> Self {
            let mut child = Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            Self {
                stdin: child.stdin.take().unwrap().into_owned_fd().unwrap(),
                stdout: child.stdout.take().unwrap(),
                stderr: child.stderr.take().unwrap().into_owned_fd().unwrap(),
                process: NftProcess::child(child),
            }
        }

        fn taken_on(&self) -> Result<NftProcess, Misfit> {
            take_on(&self.process, &self.stdin, &self.stderr)
        }
    }

    fn take_on(of: &NftProcess, stdin: &OwnedFd, stderr: &OwnedFd) -> Result<NftProcess, Misfit> {
        NftProcess::take_on(of.pid().unwrap(), stdin.as_fd(), stderr.as_fd())
    }

    async fn is_seen_to_end(process: &mut NftProcess) {
        timeout(PATIENCE, process.ended()).await.unwrap().unwrap();
        assert!(process.has_ended());
    }

    #[tokio::test]
    async fn one_that_is_taken_on_is_seen_to_end_with_its_stdin_by_whoever_looks() {
        let mut cat = Cat::start();
        let mut taken = cat.taken_on().unwrap();
        assert!(!taken.has_ended());
        drop(cat.stdin);
        is_seen_to_end(&mut taken).await;
        is_seen_to_end(&mut taken).await;
        is_seen_to_end(&mut cat.process).await;
    }

    #[tokio::test]
    async fn one_that_is_taken_on_can_be_killed_and_killed_again() {
        let cat = Cat::start();
        let mut taken = cat.taken_on().unwrap();
        for _ in 0..2 {
            timeout(PATIENCE, taken.kill()).await.unwrap().unwrap();
            assert!(taken.has_ended());
        }
    }

    #[tokio::test]
    async fn a_child_is_killed_with_its_value() {
        let cat = Cat::start();
        let mut taken = cat.taken_on().unwrap();
        drop(cat.process);
        is_seen_to_end(&mut taken).await;
    }

    #[tokio::test]
    async fn a_child_that_was_let_go_and_one_that_was_taken_on_outlive_their_values() {
        let mut cat = Cat::start();
        let mut witness = cat.taken_on().unwrap();
        drop(cat.taken_on().unwrap());
        cat.process.let_go();
        drop(cat.process);
        // One that was killed would not repeat it.
        rustix::io::write(&cat.stdin, b"x").unwrap();
        let mut said = [0];
        timeout(PATIENCE, cat.stdout.read_exact(&mut said))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&said, b"x");
        drop(cat.stdin);
        is_seen_to_end(&mut witness).await;
    }

    #[tokio::test]
    async fn a_process_with_another_stdin_or_stderr_is_a_stranger() {
        let (cat, other) = (Cat::start(), Cat::start());
        for refused in [
            take_on(&cat.process, &other.stdin, &cat.stderr),
            take_on(&cat.process, &cat.stdin, &other.stderr),
        ] {
            let error = refused.unwrap_err();
            assert!(matches!(error, Misfit::Stranger(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn one_that_has_ended_is_not_taken_on_whether_or_not_its_parent_knows() {
        let mut cat = Cat::start();
        let pid = cat.process.pid().unwrap();
        let again = |cat: &Cat| NftProcess::take_on(pid, cat.stdin.as_fd(), cat.stderr.as_fd());
        cat.taken_on().unwrap().kill().await.unwrap();
        for _ in 0..2 {
            let error = again(&cat).unwrap_err();
            assert!(matches!(error, Misfit::Ended(_)), "{error}");
            cat.process.ended().await.unwrap();
        }
    }
}
