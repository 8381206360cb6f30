//! What a direction needs of a socket. [`Half`](super::half::Half) is written against this trait, so that
//! it can be run against a socket that misbehaves on purpose.

use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll};

use rustix::io::{Errno, ioctl_fionread};
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::pipes::Pipe;

/// One leg, as seen by the directions that read from it and write to it.
///
/// The calls that move bytes never wait: they fail with `WouldBlock`, and the next `poll_*` then
/// arranges for a wake-up.
pub trait Leg {
    /// Ready when there is something to read, an end or an error included.
    fn poll_readable(&self, cx: &mut Context) -> Poll<io::Result<()>>;
    /// Ready when something can be written, or when that can only fail.
    fn poll_writable(&self, cx: &mut Context) -> Poll<io::Result<()>>;
    /// Reads into `buffer`; 0 is the end.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes from `bytes`.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Moves bytes from the leg into an *empty* pipe; 0 is the end, nothing at all says that what comes next
    /// can only be read.
    fn try_splice_in(&self, pipe: &mut Pipe) -> io::Result<Option<usize>>;
    /// Moves bytes from the pipe to the leg.
    fn try_splice_out(&self, pipe: &mut Pipe) -> io::Result<usize>;
    /// Tells the peer that no more bytes come (FIN).
    fn finish(&self) -> io::Result<()>;
}

/// A socket as a [`Leg`].
#[derive(Debug, Clone, Copy)]
pub struct TcpLeg<'a> {
    /// The socket.
    pub stream: &'a TcpStream,
    /// Whether an urgent byte may come: reading and splicing stop before it although it is there.
    pub may_be_urgent: bool,
}

impl TcpLeg<'_> {
    /// Whether something is there that a call has left, because it is urgent.
    fn is_stuck(&self) -> bool {
        self.may_be_urgent && ioctl_fionread(self.stream).is_ok_and(|unread| unread > 0)
    }
}

impl Leg for TcpLeg<'_> {
    fn poll_readable(&self, cx: &mut Context) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(cx)
    }

    fn poll_writable(&self, cx: &mut Context) -> Poll<io::Result<()>> {
        self.stream.poll_write_ready(cx)
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.try_read(buffer)?;
        if 0 < read && read < buffer.len() && !self.is_stuck() {
            // The socket is empty now. Saying so to the runtime saves the read that would find out; a
            // later byte raises a new event, and an end that was seen is not forgotten by this.
            let _ = self
                .stream
                .try_io(Interest::READABLE, || -> io::Result<()> {
                    Err(io::ErrorKind::WouldBlock.into())
                });
        }
        Ok(read)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.try_write(bytes)
    }

    fn try_splice_in(&self, pipe: &mut Pipe) -> io::Result<Option<usize>> {
        let room = pipe.capacity();
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        self.stream.try_io(Interest::READABLE, || {
            // splice stops before an urgent byte for good, as if nothing was there or all was over
            // (tcp_splice_read in net/ipv4/tcp.c). Reading goes past it.
            match splice(
                self.stream.as_fd(),
                None,
                pipe.write_end(),
                None,
                room,
                flags,
            ) {
                Ok(0) | Err(Errno::AGAIN) if self.is_stuck() => Ok(None),
                Ok(moved) => {
                    pipe.filled += moved;
                    Ok(Some(moved))
                }
                Err(error) => Err(error.into()),
            }
        })
    }

    fn try_splice_out(&self, pipe: &mut Pipe) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        self.stream.try_io(Interest::WRITABLE, || {
            let moved = splice(
                pipe.read_end(),
                None,
                self.stream.as_fd(),
                None,
                pipe.filled,
                flags,
            )?;
            pipe.filled -= moved;
            Ok(moved)
        })
    }

    fn finish(&self) -> io::Result<()> {
        finish(self.stream)
    }
}

/// Tells the peer that no more bytes come (FIN).
pub fn finish(leg: &TcpStream) -> io::Result<()> {
    match rustix::net::shutdown(leg, rustix::net::Shutdown::Write) {
        // The peer has reset meanwhile: the other direction will read that.
        Err(Errno::NOTCONN) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
