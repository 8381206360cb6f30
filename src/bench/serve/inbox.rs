//! Which thread serves a new connection: the one that has the fewest.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// Where the other threads put connections for one thread.
#[derive(Debug)]
pub(super) struct Inbox {
    bell: OwnedFd,
    waiting: Mutex<Vec<TcpStream>>,
    /// How many connections the thread has, those in the inbox included.
    load: AtomicUsize,
}

/// Those of all threads.
#[derive(Debug)]
pub(super) struct Inboxes(Vec<Inbox>);

// === impl Inboxes ===

impl Inboxes {
    pub fn new(threads: usize) -> io::Result<Self> {
        let inbox = |_| {
            Ok(Inbox {
                bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
                waiting: Mutex::default(),
                load: AtomicUsize::new(0),
            })
        };
        (0..threads).map(inbox).collect::<io::Result<_>>().map(Self)
    }

    pub fn of(&self, thread: usize) -> &Inbox {
        &self.0[thread]
    }

    /// Finds a thread for a connection that `own` has accepted; returns it if that is `own` itself.
    pub fn place(&self, connection: TcpStream, own: usize) -> Option<TcpStream> {
        let loads = self
            .0
            .iter()
            .map(|inbox| inbox.load.load(Ordering::Relaxed));
        let (least, load) = loads
            .enumerate()
            .min_by_key(|(_, load)| *load)
            .expect("there is a thread");
        let to = match load < self.0[own].load.load(Ordering::Relaxed) {
            true => &self.0[least],
            false => &self.0[own],
        };
        to.load.fetch_add(1, Ordering::Relaxed);
        if std::ptr::eq(to, &self.0[own]) {
            return Some(connection);
        }
        let mut waiting = to.waiting.lock().expect("nobody panics with the lock");
        waiting.push(connection);
        // A bell that cannot ring any louder has been heard.
        let _ = rustix::io::write(&to.bell, &1_u64.to_ne_bytes());
        None
    }
}

// === impl Inbox ===

impl Inbox {
    /// Takes what the others have put in.
    pub fn take(&self) -> Vec<TcpStream> {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        std::mem::take(&mut *self.waiting.lock().expect("nobody panics with the lock"))
    }

    /// A connection is over.
    pub fn is_over(&self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn connections_are_spread_evenly_whoever_accepts_them() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inboxes = Inboxes::new(2).unwrap();
        let mut own = 0;
        for _ in 0..8 {
            let connection = TcpStream::connect(address).unwrap();
            own += usize::from(inboxes.place(connection, 0).is_some());
        }
        assert_eq!(own, 4);
        assert_eq!(inboxes.of(1).take().len(), 4);
        assert!(inboxes.of(1).take().is_empty());
    }
}
