//! Messages over a Unix socket, with their descriptors: a thin shell around `sendmsg` and `recvmsg`.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, recvmsg, sendmsg, shutdown, sockopt,
};
use rustix::process::geteuid;

use super::frame::{FormatError, HEAD, Head};
use super::line::Line;
use super::message::Message;
use crate::relay::MOST;

/// A connected Unix stream socket. Clones are the same socket; one thread at a time may send, and one receive.
#[derive(Debug, Clone)]
pub struct Channel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: OwnedFd,
    /// Whether a message was sent in part, or received in part: what would follow is none.
    torn_out: AtomicBool,
    torn_in: AtomicBool,
}

/// Who is at the other end, as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The user.
    pub uid: u32,
    /// The process. Of a listening socket's side it is the process that called `listen`, which can be another one.
    pub pid: i32,
}

/// A message could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other end is closed.
    #[error("the other process has closed the socket")]
    Closed,
    /// It takes too long.
    #[error("the other process took longer than {0:?}")]
    Late(Duration),
    /// An earlier message was cut short.
    #[error("an earlier message was cut short")]
    Torn,
    /// Not all descriptors could be had.
    #[error("no room for the descriptors that came: raise the limit (`LimitNOFILE=`, `ulimit -n`)")]
    NoRoom,
    /// Not those that were announced.
    #[error("{came} descriptors came with a message that has {said}")]
    Descriptors {
        /// As announced.
        said: usize,
        /// As received.
        came: usize,
    },
    /// What came is no message, or what was to be sent is too much for one.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The kernel refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Room for the descriptors of one message.
const SPACE: usize = rustix::cmsg_space!(ScmRights(MOST));

// === impl Channel ===

impl Channel {
    /// Over a connected Unix stream socket.
    pub fn over(socket: OwnedFd) -> Self {
        Self(Arc::new(Inner {
            socket,
            torn_out: AtomicBool::new(false),
            torn_in: AtomicBool::new(false),
        }))
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn peer(&self) -> io::Result<Peer> {
        let credentials = sockopt::socket_peercred(&self.0.socket)?;
        Ok(Peer {
            uid: credentials.uid.as_raw(),
            pid: credentials.pid.as_raw_nonzero().get(),
        })
    }

    /// Sends bytes, the descriptors with the first of them.
    pub(super) fn send_bytes(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
        within: Duration,
    ) -> Result<(), ChannelError> {
        let deadline = Deadline::after(within);
        let mut sent = 0;
        while sent < bytes.len() {
            let mut space = [MaybeUninit::uninit(); SPACE];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if sent == 0
                && !descriptors.is_empty()
                && !control.push(SendAncillaryMessage::ScmRights(descriptors))
            {
                let descriptors = descriptors.len();
                return Err(FormatError::TooManyDescriptors { descriptors }.into());
            }
            let rest = [IoSlice::new(&bytes[sent..])];
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(&self.0.socket, &rest, &mut control, flags) {
                Ok(more) => {
                    sent += more;
                    let torn = sent < bytes.len();
                    self.0.torn_out.store(torn, Ordering::Relaxed);
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, &deadline)?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(ChannelError::Closed),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Ok(())
    }

    /// Receives exactly as many bytes as there is room for, and the descriptors that come with them.
    fn fill(
        &self,
        room: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
        deadline: &Deadline,
    ) -> Result<(), ChannelError> {
        let mut filled = 0;
        while filled < room.len() {
            let mut space = [MaybeUninit::uninit(); SPACE];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut rest = [IoSliceMut::new(&mut room[filled..])];
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            match recvmsg(&self.0.socket, &mut rest, &mut control, flags) {
                Ok(received) => {
                    if received.bytes > 0 {
                        self.0.torn_in.store(true, Ordering::Relaxed);
                    }
                    for message in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(more) = message {
                            descriptors.extend(more);
                        }
                    }
                    if received.flags.contains(ReturnFlags::CTRUNC) {
                        return Err(ChannelError::NoRoom);
                    }
                    if received.bytes == 0 {
                        return Err(ChannelError::Closed);
                    }
                    filled += received.bytes;
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, deadline)?,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Err(ChannelError::Closed),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Ok(())
    }

    fn wait(&self, until: PollFlags, deadline: &Deadline) -> Result<(), ChannelError> {
        let left = match deadline.at {
            None => None,
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(ChannelError::Late(deadline.within));
                }
                Some(Timespec::try_from(left).map_err(io::Error::other)?)
            }
        };
        let mut asked = [PollFd::new(&self.0.socket, until)];
        match poll(&mut asked, left.as_ref()) {
            // Time is looked at by the next turn, when there is still nothing.
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// No more of it, in this direction or both. It fails where the other end is closed, which is as good.
    fn shut(&self, which: Shutdown) {
        let _ = shutdown(&self.0.socket, which);
    }
}

impl Line for Channel {
    fn send(
        &self,
        message: &Message,
        descriptors: &[BorrowedFd<'_>],
        within: Duration,
    ) -> Result<(), ChannelError> {
        if descriptors.len() != message.descriptors() {
            return Err(ChannelError::Descriptors {
                said: message.descriptors(),
                came: descriptors.len(),
            });
        }
        let bytes = message.encode()?;
        if self.0.torn_out.load(Ordering::Relaxed) {
            return Err(ChannelError::Torn);
        }
        self.send_bytes(&bytes, descriptors, within)
    }

    fn receive(&self, within: Duration) -> Result<(Message, Vec<OwnedFd>), ChannelError> {
        if self.0.torn_in.load(Ordering::Relaxed) {
            return Err(ChannelError::Torn);
        }
        let deadline = Deadline::after(within);
        let mut descriptors = Vec::new();
        let mut head = [0; HEAD];
        self.fill(&mut head, &mut descriptors, &deadline)?;
        let head = Head::parse(&head)?;
        let mut payload = vec![0; head.length];
        self.fill(&mut payload, &mut descriptors, &deadline)?;
        self.0.torn_in.store(false, Ordering::Relaxed);
        let message = Message::from_parts(head, &payload)?;
        if descriptors.len() != head.descriptors {
            return Err(ChannelError::Descriptors {
                said: head.descriptors,
                came: descriptors.len(),
            });
        }
        Ok((message, descriptors))
    }

    fn deafen(&self) {
        self.shut(Shutdown::Read);
    }

    fn hang_up(&self) {
        self.shut(Shutdown::Both);
    }
}

// === impl Peer ===

impl Peer {
    /// Whether it may have what this process has: it is the same user, or root.
    pub fn may_take_over(self) -> bool {
        self.uid == 0 || self.uid == geteuid().as_raw()
    }
}

/// When it is too late.
#[derive(Debug)]
struct Deadline {
    within: Duration,
    /// Never if `None`.
    at: Option<Instant>,
}

impl Deadline {
    fn after(within: Duration) -> Self {
        Self {
            within,
            at: Instant::now().checked_add(within),
        }
    }
}

#[cfg(test)]
mod tests;
