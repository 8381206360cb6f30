//! What a direction needs of a socket. [`Half`](super::half::Half) is written against this trait, so that
//! it can be run against a socket that misbehaves on purpose.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{RecvFlags, Shutdown};
use rustix::pipe::{SpliceFlags, splice};
use socket2::{SockAddr, SockRef};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::pacing::{Unpaced, Verdict};
use super::pipes::Pipe;
use crate::config::Profile;
use crate::sys::tcp_info::tcp_info;
use crate::sys::watch::watch_connection;

/// One leg, as seen by the directions that read from it and write to it.
///
/// The calls that move bytes never wait: they fail with `WouldBlock`, and the next `poll_*` then
/// arranges for a wake-up.
pub trait Leg {
    /// Ready when there is something to read, an end or an error included.
    fn poll_readable(&self, cx: &mut Context) -> Poll<io::Result<()>>;
    /// Whether there may be something to read, as far as the runtime knows.
    fn is_readable(&self) -> bool;
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
    /// It carries bulk, or cannot take what it is given: time to see whether it is set as it should be.
    fn look(&self);
    /// Tells the peer that no more bytes come (FIN).
    fn finish(&self) -> io::Result<()>;
}

/// A socket as a [`Leg`], registered with the runtime of its worker.
///
/// It is no `tokio::net::TcpStream` because it wants to know of urgent bytes, too: reading and splicing stop before
/// one although it is there, and to ask after each read whether that was the reason is a call more for each message.
#[derive(Debug)]
pub struct TcpLeg {
    socket: AsyncFd<OwnedFd>,
    /// Nothing if it is as the host, or its profile, has it.
    unpaced: RefCell<Option<Unpaced>>,
}

// === impl TcpLeg ===

impl TcpLeg {
    /// Registers a socket that does not block, and has the options of this profile.
    ///
    /// # Errors
    /// If the kernel's epoll does not take it.
    pub fn new(socket: OwnedFd, profile: &Profile) -> io::Result<Self> {
        Ok(Self {
            socket: watch_connection(socket)?,
            unpaced: RefCell::new(Unpaced::of(profile)),
        })
    }

    /// The same for a leg that has been sent without pacing up to now, or not.
    ///
    /// # Errors
    /// As for [`TcpLeg::new`].
    pub fn carried_on(socket: OwnedFd, profile: &Profile, is_unpaced: bool) -> io::Result<Self> {
        let leg = Self::new(socket, profile)?;
        if !is_unpaced {
            leg.unpaced.take();
        }
        Ok(leg)
    }

    /// Whether it is sent without pacing, and looked at.
    pub fn is_unpaced(&self) -> bool {
        self.unpaced.borrow().is_some()
    }

    /// Ready once a socket that was told to connect has done so.
    ///
    /// # Errors
    /// Why it could not.
    pub async fn connected(&self) -> io::Result<()> {
        self.writable().await?;
        // What came with it says whether there is an error to ask for.
        match self.try_io(Interest::ERROR, || Ok(())) {
            Ok(()) => self.take_error()?.map_or(Ok(()), Err),
            Err(_) => Ok(()),
        }
    }

    /// Takes it from its runtime, for another thread to have.
    pub fn into_socket(self) -> OwnedFd {
        self.socket.into_inner()
    }

    /// Ready when one of these has come; a state that is seen stays.
    ///
    /// # Errors
    /// If the runtime ends.
    pub async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.socket.ready(interest).await.map(|_| ())
    }

    /// Ready when something can be written, or when that can only fail.
    ///
    /// # Errors
    /// If the runtime ends.
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::WRITABLE).await
    }

    /// Waits for something to read, and looks at it without taking it; 0 is the end.
    ///
    /// # Errors
    /// Whatever `recv` says.
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.ready(Interest::READABLE).await?;
            match self.try_io(Interest::READABLE, || self.receive(buffer, RecvFlags::PEEK)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    /// Tries something that needs one of these, and takes note if it has to wait for it.
    ///
    /// # Errors
    /// Those of the attempt; `WouldBlock` at once if none of these has come.
    pub fn try_io<R>(
        &self,
        interest: Interest,
        attempt: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        self.socket.try_io(interest, |_| attempt())
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// If nobody is any more.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        of_ip(SockRef::from(self).peer_addr()?)
    }

    /// The address of this end.
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        of_ip(SockRef::from(self).local_addr()?)
    }

    /// What went wrong on it, if anything did that nobody was told of yet.
    ///
    /// # Errors
    /// If even that cannot be had.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        SockRef::from(self).take_error()
    }

    fn receive(&self, buffer: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        Ok(rustix::net::recv(self, buffer, flags)?.0)
    }

    /// Whether something is there that a call has left, because it is urgent. Where the runtime knows of no urgent
    /// byte, one may still have come: then an event is under way, too.
    fn is_stuck(&self) -> bool {
        let is_urgent = self.try_io(Interest::PRIORITY, || Ok(())).is_ok();
        if is_urgent && !self.has_unread() {
            self.forget(Interest::PRIORITY);
            return false;
        }
        is_urgent
    }

    fn has_unread(&self) -> bool {
        ioctl_fionread(self).is_ok_and(|unread| unread > 0)
    }

    /// Has the runtime wait for the next event.
    fn forget(&self, interest: Interest) {
        let _ = self.try_io(interest, || -> io::Result<()> {
            Err(io::ErrorKind::WouldBlock.into())
        });
    }
}

fn of_ip(address: SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| Errno::AFNOSUPPORT.into())
}

impl AsFd for TcpLeg {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

impl Leg for TcpLeg {
    fn poll_readable(&self, cx: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(ready!(self.socket.poll_read_ready(cx)).map(|_| ()))
    }

    fn is_readable(&self) -> bool {
        self.try_io(Interest::READABLE, || Ok(())).is_ok()
    }

    fn poll_writable(&self, cx: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(ready!(self.socket.poll_write_ready(cx)).map(|_| ()))
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.try_io(Interest::READABLE, || {
            self.receive(buffer, RecvFlags::empty())
        })?;
        if 0 < read && read < buffer.len() && !self.is_stuck() {
            // The socket is empty now. Saying so to the runtime saves the read that would find out; a
            // later byte raises a new event, and an end that was seen is not forgotten by this.
            self.forget(Interest::READABLE);
        }
        Ok(read)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_io(Interest::WRITABLE, || {
            SockRef::from(self).send_with_flags(bytes, libc::MSG_NOSIGNAL)
        })
    }

    fn try_splice_in(&self, pipe: &mut Pipe) -> io::Result<Option<usize>> {
        let room = pipe.capacity();
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        self.try_io(Interest::READABLE, || {
            // splice stops before an urgent byte for good, as if nothing was there or all was over
            // (tcp_splice_read in net/ipv4/tcp.c). Reading goes past it.
            match splice(self, None, pipe.write_end(), None, room, flags) {
                Ok(0) if self.has_unread() => Ok(None),
                Err(Errno::AGAIN) if self.is_stuck() => Ok(None),
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
        self.try_io(Interest::WRITABLE, || {
            let moved = splice(pipe.read_end(), None, self, None, pipe.filled, flags)?;
            pipe.filled -= moved;
            Ok(moved)
        })
    }

    fn look(&self) {
        let mut unpaced = self.unpaced.borrow_mut();
        let Some(leg) = &mut *unpaced else { return };
        let looked = tcp_info(self).and_then(|info| {
            let verdict = leg.judge(&info);
            leg.apply(&SockRef::from(self), verdict)?;
            Ok(verdict)
        });
        match looked {
            Ok(Verdict::Short | Verdict::AsBefore) => {}
            Ok(Verdict::AsHost) => *unpaced = None,
            Err(error) => {
                tracing::debug!(%error, "a leg is sent on as before");
                *unpaced = None;
            }
        }
    }

    fn finish(&self) -> io::Result<()> {
        match rustix::net::shutdown(self, Shutdown::Write) {
            // The peer has reset meanwhile: the other direction will read that.
            Err(Errno::NOTCONN) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
