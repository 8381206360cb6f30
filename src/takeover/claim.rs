//! What tells a newcomer whether it may carry on without having been told `Yours`: two descriptors, which come with
//! `Standing`. Both tell the truth for ever, whatever became of the process that sent them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, getpid, pidfd_open};

/// The claim of the old process on all that it has lent.
#[derive(Debug)]
pub struct Claim {
    /// Readable when the old process is no more: a pidfd, because a process has another number in another namespace,
    /// and a socket names who called `listen`, which can have been a process before.
    life: OwnedFd,
    /// Readable when the old process has taken back what was not yet `Started`: an eventfd. A message could not say it
    /// for sure, where the newcomer stopped reading in the middle of one. Without it a newcomer that slept while the
    /// old process took back its sessions, relayed on, and ended, would carry on with what they were long ago.
    withdrawn: OwnedFd,
}

/// What has become of the old process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It lives: it has taken everything back, or is about to.
    Alive,
    /// It has taken everything back.
    Withdrew,
    /// It is no more, and has taken nothing back.
    Gone,
}

// === impl Claim ===

impl Claim {
    /// Of this process.
    ///
    /// # Errors
    /// If the kernel has no descriptors for it.
    pub fn of_this_process() -> io::Result<Self> {
        Self::of(pidfd_open(getpid(), PidfdFlags::empty())?)
    }

    /// Of who lives until `life` is readable.
    pub(super) fn of(life: OwnedFd) -> io::Result<Self> {
        let withdrawn = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { life, withdrawn })
    }

    /// As it was received.
    pub(super) fn from_parts(life: OwnedFd, withdrawn: OwnedFd) -> Self {
        Self { life, withdrawn }
    }

    /// As it is sent.
    pub(super) fn parts(&self) -> [BorrowedFd<'_>; 2] {
        [self.life.as_fd(), self.withdrawn.as_fd()]
    }

    /// Takes back what was not yet `Started`. To be called before anything of it is touched.
    pub(super) fn withdraw(&self) {
        // It holds any number but the largest.
        if let Err(error) = rustix::io::write(&self.withdrawn, &1_u64.to_ne_bytes()) {
            tracing::error!(%error, "the newcomer cannot be told that this process goes on");
        }
    }

    /// Waits until it is clear what has become of the old process, but not longer than `within`.
    ///
    /// # Errors
    /// If the kernel refuses to tell.
    pub(super) fn fate(&self, within: Duration) -> io::Result<Fate> {
        if readable(&[&self.withdrawn, &self.life], within)? == 0 {
            return Ok(Fate::Alive);
        }
        // It can have taken back everything and ended since one was looked at and before the other was: once it is gone
        // for sure, what it did before can be seen for sure.
        if readable(&[&self.withdrawn], Duration::ZERO)? > 0 {
            return Ok(Fate::Withdrew);
        }
        Ok(Fate::Gone)
    }
}

/// How many of them are readable, as soon as one is.
fn readable(which: &[&OwnedFd], within: Duration) -> io::Result<usize> {
    let until = std::time::Instant::now() + within;
    let mut asked: Vec<PollFd<'_>> = which
        .iter()
        .map(|descriptor| PollFd::new(*descriptor, PollFlags::IN))
        .collect();
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut asked, Some(&left)) {
            Err(Errno::INTR) => {}
            answer => return Ok(answer?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A life that ends when the second is dropped.
    fn life() -> (Claim, OwnedFd) {
        let (life, end) = rustix::pipe::pipe().unwrap();
        (Claim::of(life).unwrap(), end)
    }

    #[test]
    fn who_lives_and_has_said_nothing_is_alive() {
        let (claim, _end) = life();
        assert_eq!(claim.fate(Duration::ZERO).unwrap(), Fate::Alive);
        let own = Claim::of_this_process().unwrap();
        assert_eq!(own.fate(Duration::ZERO).unwrap(), Fate::Alive);
    }

    #[test]
    fn who_is_gone_is_gone_unless_it_took_everything_back_before() {
        let (claim, end) = life();
        drop(end);
        assert_eq!(claim.fate(Duration::from_secs(60)).unwrap(), Fate::Gone);
        let (claim, end) = life();
        claim.withdraw();
        assert_eq!(claim.fate(Duration::ZERO).unwrap(), Fate::Withdrew);
        drop(end);
        assert_eq!(claim.fate(Duration::ZERO).unwrap(), Fate::Withdrew);
    }

    #[test]
    fn a_process_that_ended_is_gone() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let claim = Claim::of(pidfd_open(pid, PidfdFlags::empty()).unwrap()).unwrap();
        assert_eq!(claim.fate(Duration::ZERO).unwrap(), Fate::Alive);
        drop(child.stdin.take());
        // It is not waited for: a process that nobody has waited for is gone, too.
        assert_eq!(claim.fate(Duration::from_secs(60)).unwrap(), Fate::Gone);
        child.wait().unwrap();
    }
}
