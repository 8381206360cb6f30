//! INVALID packets by reason: what conntrack logs is read, classified and counted.
//!
//! Where the logger is nfnetlink_log, the texts come by NFLOG group 0, which one program at a time can read, and
//! which needs CAP_NET_ADMIN. Where it is the kernel's log, they are read from /dev/kmsg, if that can be opened.

use std::future::pending;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use tokio::io::unix::AsyncFd;

use super::conntrack::{errno, error_of};
use super::log_settings::{LogSettings, Logger, WhyNot};
use super::reason::{Reason, Said};
use crate::packet::nflog;
use crate::sys::watch::watch_descriptor;
use crate::sys::{netfilter, privileges};

/// What has been counted.
#[derive(Debug, Default)]
pub struct Tally {
    reasons: [AtomicU64; Reason::ALL.len()],
    passed: AtomicU64,
    lost: AtomicU64,
}

/// The open sources of conntrack's texts.
#[derive(Debug)]
pub struct InvalidWatch {
    /// What brings the texts of each family, IPv4 first, or why nothing does.
    pub sources: [Result<Logger, WhyNot>; 2],
    group: Option<AsyncFd<OwnedFd>>,
    kernel_log: Option<AsyncFd<OwnedFd>>,
}

/// The group to which the kernel logs what no rule has logged.
const GROUP: u16 = 0;
/// Nothing of the packet is wanted; 0 would be all of it.
const LEAST: u32 = 1;
/// What the kernel may keep while nobody reads.
const ROOM: usize = 1 << 20;
/// Longer than a record of the kernel's log.
const RECORD: usize = 1 << 14;
const KERNEL_LOG: &str = "/dev/kmsg";

// === impl Tally ===

impl Tally {
    /// How often a reason was given.
    pub fn of(&self, reason: Reason) -> u64 {
        self.reasons[reason as usize].load(Ordering::Relaxed)
    }

    /// Packets that were odd and not INVALID.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// How often the kernel had more than it could keep.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn add(&self, text: &str) {
        match Said::parse(text) {
            Some(Said::Invalid(reason)) => increment(&self.reasons[reason as usize]),
            Some(Said::Passed) => increment(&self.passed),
            Some(Said::More) | None => {}
        }
    }

    fn add_all(&self, datagram: &[u8]) {
        for text in nflog::prefixes(datagram) {
            self.add(&String::from_utf8_lossy(text));
        }
    }
}

fn increment(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

// === impl InvalidWatch ===

impl InvalidWatch {
    /// Opens what these settings name, on the runtime of the calling thread; what comes from now on is
    /// counted.
    pub fn open(settings: &LogSettings, tally: &Tally) -> Self {
        let mut sources = settings.sources();
        let group = opened(&mut sources, Logger::Group, || open_group(tally));
        let kernel_log = opened(&mut sources, Logger::KernelLog, open_kernel_log);
        Self {
            sources,
            group,
            kernel_log,
        }
    }

    /// Reads and counts until a source fails; may be given up and begun anew.
    pub async fn watch(&self, tally: &Tally) -> io::Error {
        let group = async {
            match &self.group {
                Some(socket) => read_group(socket, tally).await,
                None => pending().await,
            }
        };
        let kernel_log = async {
            match &self.kernel_log {
                Some(log) => read_kernel_log(log, tally).await,
                None => pending().await,
            }
        };
        tokio::select! {
            error = group => error,
            error = kernel_log => error,
        }
    }
}

/// Opens a source if one of the families needs it; if it cannot be, that is said of all that do.
fn opened(
    sources: &mut [Result<Logger, WhyNot>; 2],
    logger: Logger,
    open: impl FnOnce() -> Result<AsyncFd<OwnedFd>, WhyNot>,
) -> Option<AsyncFd<OwnedFd>> {
    let wanted = |source: &Result<Logger, WhyNot>| *source == Ok(logger);
    if !sources.iter().any(wanted) {
        return None;
    }
    match open() {
        Ok(source) => Some(source),
        Err(why) => {
            let blind = sources.iter_mut().filter(|source| wanted(source));
            blind.for_each(|source| *source = Err(why.clone()));
            None
        }
    }
}

// === NFLOG ===

fn open_group(tally: &Tally) -> Result<AsyncFd<OwnedFd>, WhyNot> {
    let failed = |error: io::Error| WhyNot::Group(errno(&error));
    let socket = netfilter::socket(ROOM).map_err(failed)?;
    netfilter::request(&socket, &nflog::bind(GROUP, LEAST)).map_err(failed)?;
    let mut buffer = netfilter::buffer();
    loop {
        let datagram = match netfilter::receive(&socket, &mut buffer) {
            Ok(datagram) => datagram,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(WhyNot::Group(error)),
        };
        match nflog::answer(datagram) {
            // A packet can come before the answer.
            None => tally.add_all(datagram),
            Some(0) => break,
            Some(code) => return Err(refusal(error_of(code))),
        }
    }
    watch_descriptor(socket).map_err(failed)
}

/// The kernel has one word for a group that somebody else reads and for one that this process may not read.
fn refusal(error: Errno) -> WhyNot {
    let privileged = privileges::held().contains(CapabilitySet::NET_ADMIN);
    match error {
        Errno::BUSY => WhyNot::Taken,
        Errno::PERM if privileged => WhyNot::Taken,
        Errno::PERM => WhyNot::NotAllowed,
        error => WhyNot::Group(error),
    }
}

async fn read_group(socket: &AsyncFd<OwnedFd>, tally: &Tally) -> io::Error {
    let mut buffer = netfilter::buffer();
    loop {
        let mut ready = match socket.readable().await {
            Ok(ready) => ready,
            Err(error) => return error,
        };
        match netfilter::receive(socket.get_ref(), &mut buffer) {
            Ok(datagram) => tally.add_all(datagram),
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::NOBUFS) => increment(&tally.lost),
            Err(Errno::INTR) => {}
            Err(error) => return error.into(),
        }
    }
}

// === the kernel's log ===

fn open_kernel_log() -> Result<AsyncFd<OwnedFd>, WhyNot> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let log = rustix::fs::open(KERNEL_LOG, flags, Mode::empty()).map_err(WhyNot::KernelLog)?;
    // What was logged before is not counted.
    rustix::fs::seek(&log, SeekFrom::End(0)).map_err(WhyNot::KernelLog)?;
    watch_descriptor(log).map_err(|error| WhyNot::KernelLog(errno(&error)))
}

async fn read_kernel_log(log: &AsyncFd<OwnedFd>, tally: &Tally) -> io::Error {
    let mut buffer = vec![0; RECORD];
    loop {
        let mut ready = match log.readable().await {
            Ok(ready) => ready,
            Err(error) => return error,
        };
        match rustix::io::read(log.get_ref(), &mut buffer[..]) {
            Ok(0) => return ErrorKind::UnexpectedEof.into(),
            Ok(length) => {
                if let Some(text) = kernel_text(&String::from_utf8_lossy(&buffer[..length])) {
                    tally.add(text);
                }
            }
            Err(Errno::AGAIN) => ready.clear_ready(),
            // Records were overwritten before they were read.
            Err(Errno::PIPE) => increment(&tally.lost),
            Err(Errno::INTR) => {}
            Err(error) => return error.into(),
        }
    }
}

/// What a packet was logged with, in a record as `5,1234,56789,-;nf_ct_proto_6: invalid rst IN=eth0 OUT= ...`.
/// What programs wrote into the log is left out: they cannot write as the kernel, facility 0.
fn kernel_text(record: &str) -> Option<&str> {
    let (head, text) = record.split_once(';')?;
    let priority: u32 = head.split(',').next()?.parse().ok()?;
    let (text, _) = text.lines().next()?.split_once("IN=")?;
    (priority >> 3 == 0).then_some(text)
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    const RECORDED: &str = "5,812,97531,-;nf_ct_proto_6: SEQ is over upper bound 1102 (over the window of the receiver) IN=eth1 OUT= MAC=ee SRC=192.0.2.2 DST=198.51.100.2 LEN=41\n SUBSYSTEM=x\n";

    #[test]
    fn the_kernels_own_records_about_packets_are_read_and_no_others() {
        let text = "nf_ct_proto_6: SEQ is over upper bound 1102 (over the window of the receiver) ";
        assert_eq!(kernel_text(RECORDED), Some(text));
        let forged = RECORDED.replacen("5,", "13,", 1);
        for other in [&forged, "", "5,1,2,-;hello\n", "x;IN=", "5,1,2,-"] {
            assert_eq!(kernel_text(other), None, "{other:?}");
        }
    }

    /// Read from a socket that keeps records apart, as the log does.
    #[test]
    fn records_are_counted_as_they_come_and_an_end_is_no_loop() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        let (kernel, log) = pair.unwrap();
        let tally = Tally::default();
        for record in [RECORDED, "5,813,1,-;nothing\n", RECORDED] {
            rustix::io::write(&kernel, record.as_bytes()).unwrap();
        }
        drop(kernel);
        let error = runtime.block_on(async {
            let log = watch_descriptor(log).unwrap();
            read_kernel_log(&log, &tally).await
        });
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(tally.of(Reason::SeqOverWindow), 2);
        assert_eq!((tally.passed(), tally.lost()), (0, 0));
    }

    #[test]
    fn a_source_that_cannot_be_opened_blinds_those_that_need_it_alone() {
        let mut sources = [Ok(Logger::KernelLog), Ok(Logger::Group)];
        let refused = || Err(WhyNot::Taken);
        assert!(opened(&mut sources, Logger::Group, refused).is_none());
        assert_eq!(sources, [Ok(Logger::KernelLog), Err(WhyNot::Taken)]);
        let never = || unreachable!("nobody needs it any more");
        assert!(opened(&mut sources, Logger::Group, never).is_none());
    }
}
