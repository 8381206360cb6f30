//! The loops of a worker that accept connections: begun, given up and begun again.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{SockRef, Socket};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::admission::Seat;
use super::dial;
use super::listen::{Accepted, Bound, CameBefore, Served};
use super::shortage::Shortage;
use super::worker::{Order, REST, Worker};
use crate::config::Side;
use crate::sys::watch::watch_socket;

/// Where the connections of a worker arrive.
pub struct Accepting {
    doors: Vec<Door>,
    /// What can be said to every worker, by number.
    peers: Vec<mpsc::UnboundedSender<Order>>,
}

struct Door {
    listener: Rc<Registered>,
    /// Clients know its address: no rule leads them here, and none keeps them away.
    is_known: bool,
    /// Whoever accepts, if somebody does.
    task: Option<JoinHandle<()>>,
}

/// A [`Bound`] that is registered with a worker's runtime.
struct Registered {
    socket: AsyncFd<Socket>,
    side: Side,
    served: Served,
    came_before: Cell<CameBefore>,
}

// === impl Accepting ===

impl Accepting {
    /// Registers listeners with the runtime of the calling worker; nobody is accepted yet.
    ///
    /// # Errors
    /// If the kernel's epoll does not take one.
    pub fn register(
        listeners: Vec<Bound>,
        peers: Vec<mpsc::UnboundedSender<Order>>,
    ) -> io::Result<Self> {
        let door = |bound: Bound| {
            let is_known = bound.is_known();
            let Bound {
                socket,
                side,
                served,
                came_before,
            } = bound;
            let socket = watch_socket(socket)?;
            Ok(Door {
                listener: Rc::new(Registered {
                    socket,
                    side,
                    served,
                    came_before: Cell::new(came_before),
                }),
                is_known,
                task: None,
            })
        };
        let doors = listeners.into_iter().map(door).collect::<io::Result<_>>()?;
        Ok(Self { doors, peers })
    }

    /// Accepts from now on.
    pub fn open(&mut self, worker: &Rc<Worker>) {
        for Door { listener, task, .. } in &mut self.doors {
            let accepting = || {
                let accepting = accept_loop(listener.clone(), worker.clone(), self.peers.clone());
                tokio::task::spawn_local(accepting)
            };
            task.get_or_insert_with(accepting);
        }
    }

    /// Accepts nobody for now; who comes waits in the kernel.
    pub fn shut(&mut self) {
        self.doors.iter_mut().for_each(Door::shut);
    }

    /// Closes the listeners that clients know.
    pub fn close_known(&mut self) {
        for door in self.doors.iter_mut().filter(|door| door.is_known) {
            door.shut();
        }
        self.doors.retain(|door| !door.is_known);
    }

    /// Closes all.
    pub fn close(&mut self) {
        self.shut();
        self.doors.clear();
    }
}

impl Door {
    fn shut(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// Accepts until it is given up; a connection goes to the worker with the fewest sessions. It is never given up
/// between an accept and the beginning of its session: there is nothing to wait for.
async fn accept_loop(
    listener: Rc<Registered>,
    worker: Rc<Worker>,
    peers: Vec<mpsc::UnboundedSender<Order>>,
) {
    loop {
        match listener.accept(&worker).await {
            Ok((socket, peer, seat)) => {
                worker.counters(listener.served.id).accepted += 1;
                let accepted = Accepted {
                    socket,
                    peer,
                    side: listener.side,
                    id: listener.served.id,
                    settings: listener.served.settings.now(),
                    gate: listener.served.gate.clone(),
                    seat,
                    at: Instant::now(),
                };
                let chosen = worker.place();
                if chosen == worker.index() {
                    worker.clone().begin(accepted);
                } else if peers[chosen].send(Order::Serve(accepted)).is_err() {
                    worker.unplace(chosen);
                    tracing::error!(
                        worker = chosen,
                        "a worker is gone: its connection was reset"
                    );
                }
            }
            Err(error) if concerns_one_connection(error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                listener.cannot_accept(&worker, error);
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// Whether the error is that of the connection that was to be accepted, which Linux passes on from the
/// network; accept(2) says to go on as after EAGAIN.
fn concerns_one_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::INTR
            | Errno::NETDOWN
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
    )
}

// === impl Registered ===

impl Registered {
    /// Accepts one connection, once there is one and a seat for it. Until then it waits in the kernel.
    async fn accept(&self, worker: &Worker) -> Result<(OwnedFd, SocketAddr, Seat), Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            let mut ready = self.socket.readable().await.map_err(|_| Errno::BADF)?;
            let seat = match self.served.gate.try_seat() {
                Some(seat) => seat,
                // Nobody waits because of what was there before.
                None if !self.is_visited()? => {
                    ready.clear_ready();
                    continue;
                }
                None => {
                    self.is_full(worker);
                    self.served.gate.seat().await
                }
            };
            match acceptfrom_with(self.socket.get_ref(), flags) {
                Err(Errno::AGAIN) => {
                    self.came_before.set(CameBefore::None);
                    ready.clear_ready();
                }
                Ok((socket, peer)) => {
                    self.catch_up(&socket)?;
                    // A socket of TCP over IP has no other.
                    let peer = peer.and_then(|peer| peer.try_into().ok());
                    return Ok((socket, peer.ok_or(Errno::AFNOSUPPORT)?, seat));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives a connection the options that others inherit, if it may have come before they were set.
    fn catch_up(&self, socket: &OwnedFd) -> Result<(), Errno> {
        if self.came_before.get() == CameBefore::None {
            return Ok(());
        }
        let settings = self.served.settings.now();
        let (socket, profile) = (SockRef::from(socket), settings.profile(self.side));
        dial::set_options(&socket, profile)
            .and_then(|()| dial::keep_alive(&socket, &settings, profile))
            // Without them it would not be what the settings say: it is given up alone.
            .map_err(|_| Errno::CONNABORTED)
    }

    /// Whether a connection waits to be accepted.
    fn is_visited(&self) -> Result<bool, Errno> {
        let mut looked_at = [PollFd::new(self.socket.get_ref(), PollFlags::IN)];
        let at_once = Timespec::default();
        poll(&mut looked_at, Some(&at_once)).map(|ready| ready > 0)
    }

    fn is_full(&self, worker: &Worker) {
        let mut counters = worker.counters(self.served.id);
        counters.accept_waits += 1;
        match self.served.gate.troubles().next(std::time::Instant::now()) {
            Some(left_out) => tracing::warn!(
                listener = self.served.settings.now().name,
                left_out,
                "max-connections is reached: connections wait to be accepted"
            ),
            None => counters.lines_left_out += 1,
        }
    }

    fn cannot_accept(&self, worker: &Worker, error: Errno) {
        let mut counters = worker.counters(self.served.id);
        counters.accept_pauses += 1;
        if let Some(shortage) = Shortage::of(error) {
            shortage.count(&mut counters);
        }
        match self.served.gate.troubles().next(std::time::Instant::now()) {
            Some(left_out) => {
                let pause_ms = REST.as_millis() as u64;
                tracing::warn!(%error, pause_ms, left_out, "cannot accept, resting");
            }
            None => counters.lines_left_out += 1,
        }
    }
}
