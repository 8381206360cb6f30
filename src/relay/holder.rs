//! The thread that holds opening packets: it dials the server for each, and answers the client as the
//! server answered.
//!
//! Connections that came about wait in [`Held`] until a worker has accepted the client's own.

use std::cell::{Cell, RefCell, RefMut};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

use super::addr::Destination;
use super::admission::Admitted;
use super::answer::Answer;
use super::dial::{self, DialError, Dialled};
use super::held::{Arrival, Flow, Settled, Syn};
use super::listen::Served;
use super::refusal::Refused;
use super::waiting::{Held, Packet, Upstream};
use super::worker::Told;
use crate::config::{Hold, Mode, Process, Side};
use crate::metrics::{Counters, Gauges, ListenerId, Recorders};
use crate::sys::neighbours::Neighbours;
use crate::sys::packet_queue::{PacketQueue, Queued, Verdict};
use crate::sys::watch::{watch_neighbours, watch_queue};

/// The packet queue, bound and not yet read.
#[derive(Debug)]
pub struct Queue {
    queue: PacketQueue,
    hold: Hold,
    /// The bits that lead a packet to the relay.
    mark: u32,
    /// Those that hold.
    listeners: Vec<Served>,
    /// How many there are in all.
    served: usize,
}

/// The packet queue cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "packet queue {number} cannot be had: {error}; it needs CAP_NET_ADMIN, and a number that no other \
     program uses, see --queue"
)]
pub struct QueueError {
    number: u16,
    error: io::Error,
}

/// What can be said to the thread.
#[derive(Debug)]
pub enum Order {
    /// Say that it is here.
    Answer(oneshot::Sender<()>),
    /// Say what was recorded since the last time, in exchange for empty ones to record into.
    Tell(Box<Recorders>, oneshot::Sender<Told>),
    /// Hold no more packets: what waits, and what comes, flows unrelayed.
    Close,
    /// End.
    Stop,
}

/// What the thread works with.
struct Holder {
    queue: AsyncFd<PacketQueue>,
    neighbours: AsyncFd<Neighbours>,
    /// Neighbours that did not answer.
    lost: broadcast::Sender<IpAddr>,
    hold: Hold,
    mark: u32,
    listeners: Vec<Served>,
    held: Arc<Held>,
    recorders: RefCell<Recorders>,
    closed: Cell<bool>,
    /// Told when it is closed.
    closing: Notify,
}

/// Packets that the kernel keeps beyond those that are held, until they are read.
const UNREAD: u32 = 1024;
/// Neighbours that may be lost before the dials have heard of it.
const NEWS: usize = 64;
/// Packets that are read before others have their turn.
const AT_A_TIME: usize = 64;

// === impl Queue ===

impl Queue {
    /// Binds the queue, if a listener holds opening packets.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or if another program has the queue.
    pub fn open(process: &Process, served: &[Served]) -> Result<Option<Self>, QueueError> {
        let holding = served.iter().filter(|served| served.settings.now().holds());
        let listeners: Vec<_> = holding.cloned().collect();
        if listeners.is_empty() {
            return Ok(None);
        }
        let mut hold = process.hold;
        hold.most = within_descriptors(hold.most);
        let most = UNREAD + hold.most as u32;
        let queue = PacketQueue::open(hold.queue, most).map_err(|error| QueueError {
            number: hold.queue,
            error,
        })?;
        Ok(Some(Self {
            queue,
            hold,
            mark: process.numbers.mark.0,
            listeners,
            served: served.len(),
        }))
    }

    /// How many flows are held at a time.
    pub fn most(&self) -> usize {
        self.hold.most
    }

    /// Where the servers will wait.
    pub fn held(&self) -> Arc<Held> {
        Arc::new(Held::new(self.hold.most))
    }

    /// Reads it until it is told to stop; the body of a thread.
    ///
    /// # Errors
    /// If the kernel gives no epoll instance or the queue fails. Packets pass unheld from then on.
    pub fn serve(
        self,
        held: Arc<Held>,
        orders: mpsc::UnboundedReceiver<Order>,
        ready: &std::sync::mpsc::Sender<()>,
    ) -> io::Result<()> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build_local(LocalOptions::default())?;
        runtime.block_on(async {
            let holder = Rc::new(Holder {
                queue: watch_queue(self.queue)?,
                neighbours: watch_neighbours(Neighbours::listen()?)?,
                lost: broadcast::channel(NEWS).0,
                hold: self.hold,
                mark: self.mark,
                listeners: self.listeners,
                held,
                recorders: RefCell::new(Recorders::new(self.served)),
                closed: Cell::new(false),
                closing: Notify::new(),
            });
            // Whoever waits for it may have given up because a worker failed.
            let _ = ready.send(());
            holder.run(orders).await
        })
    }
}

/// Each flow that is held has a descriptor; most of those that there are belong to sessions.
fn within_descriptors(most: usize) -> usize {
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return most;
    };
    let share = usize::try_from(limit / 4).unwrap_or(usize::MAX).max(1);
    if most > share {
        tracing::warn!(
            held_max = share,
            "fewer opening packets are held than --held-max says: the limit of open descriptors is {limit}"
        );
    }
    most.min(share)
}

// === impl Holder ===

impl Holder {
    async fn run(self: Rc<Self>, mut orders: mpsc::UnboundedReceiver<Order>) -> io::Result<()> {
        loop {
            let next_end = self.held.table().next_end();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Answer(answer)) => drop(answer.send(())),
                    Some(Order::Tell(mut given, answer)) => {
                        std::mem::swap(&mut *self.recorders.borrow_mut(), &mut given);
                        drop(answer.send(Told {
                            recorders: given,
                            gauges: Gauges {
                                held: self.held.table().flows() as u64,
                                held_limit: self.hold.most as u64,
                                ..Gauges::default()
                            },
                        }));
                    }
                    Some(Order::Close) => self.close(),
                    Some(Order::Stop) | None => return Ok(()),
                },
                ready = self.queue.readable() => {
                    let mut ready = ready?;
                    if self.read()? {
                        ready.clear_ready();
                    }
                }
                news = self.neighbours.readable() => {
                    let mut news = news?;
                    match self.neighbours.get_ref().lost() {
                        // Nobody may be dialling.
                        Ok(lost) => lost.into_iter().for_each(|host| drop(self.lost.send(host))),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => news.clear_ready(),
                        Err(error) => return Err(error),
                    }
                }
                () = until(next_end) => self.give_up(),
            }
        }
    }

    /// Takes what is there, up to a limit; whether that was all.
    fn read(self: &Rc<Self>) -> io::Result<bool> {
        for _ in 0..AT_A_TIME {
            match self.queue.get_ref().receive() {
                Ok(queued) => self.take(&queued),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn take(self: &Rc<Self>, queued: &Queued) {
        let packet = Packet {
            id: queued.id,
            mark: queued.mark,
        };
        if self.closed.get() {
            return self.let_pass_by(packet);
        }
        let meant = Syn::parse(&queued.bytes).and_then(|syn| {
            let (served, side) = self.meant(&syn.flow, queued.interface)?;
            // It would wait to be accepted, and its server for it.
            (!served.gate.is_full()).then(|| (syn, served.clone(), side))
        });
        let Some((syn, served, side)) = meant else {
            return self.fall_back(packet);
        };
        let arrival = self.held.table().arrived(&syn, packet);
        let mut counters = self.counters(served.id);
        match arrival {
            Arrival::Dial => {
                let Flow { client, server } = syn.flow;
                match served.gate.admit(client, Some(server.0), Instant::now()) {
                    Ok(admitted) => {
                        counters.held += 1;
                        let dialling = self.clone().dial(syn, served, admitted, side);
                        tokio::task::spawn_local(dialling);
                    }
                    Err(refusal) => {
                        let refused = Refused {
                            listener: &served.settings.now().name,
                            client,
                            via: None,
                            server: Some(server.0),
                        };
                        refusal.tell(refused, served.gate.refusals(), &mut counters);
                        drop(counters);
                        self.turn_away(syn.flow);
                    }
                }
            }
            Arrival::Repeated(packet) | Arrival::Renewed(packet) => {
                counters.held_repeats += 1;
                self.decide(packet, Verdict::Drop);
            }
            Arrival::Known(packet) => {
                counters.held_repeats += 1;
                self.answer(packet, 0);
            }
            Arrival::Full(packet) => {
                drop(counters);
                self.fall_back(packet);
            }
        }
    }

    /// Which listener a flow is for, and from which side it was opened.
    fn meant(&self, flow: &Flow, interface: u32) -> Option<(&Served, Side)> {
        let came_by = self.queue.get_ref().interface(interface).ok()?;
        self.listeners.iter().find_map(|served| {
            let settings = served.settings.now();
            let Mode::Gateway(intercept) = &settings.mode else {
                return None;
            };
            let side = if intercept.mangled_side.as_str() == came_by {
                Side::Mangled
            } else {
                Side::Clean
            };
            intercept
                .wants(flow.client.0.ip(), flow.server.0)
                .then_some((served, side))
        })
    }

    /// A client that is not let in is told at once; nobody is dialled.
    fn turn_away(&self, flow: Flow) {
        let settled = self.held.table().dialled(flow, None, Instant::now());
        if let Settled::Failed(packet) = settled {
            self.answer(packet, self.hold.mark.refused());
        }
    }

    async fn dial(self: Rc<Self>, syn: Syn, served: Served, admitted: Admitted, side: Side) {
        let began = Instant::now();
        let (id, settings, gate) = (served.id, served.settings.now(), served.gate);
        let Flow { client, server } = syn.flow;
        let destination = Destination::Original(server);
        let dialling = dial::dial(
            client,
            &destination,
            side.other(),
            &settings,
            &gate,
            began.into(),
        );
        let dialled = tokio::select! {
            dialled = dialling => dialled,
            () = is_lost(self.lost.subscribe(), server.0.ip()) => Err(DialError::Failed {
                server: destination.clone(),
                client,
                error: Errno::HOSTUNREACH.into(),
            }),
            // The client's own SYN goes there now.
            () = self.closing() => return,
        };
        let now = Instant::now();
        let (upstream, failure) = match dialled.map(Dialled::into_parts) {
            Ok((stream, server, port)) => {
                let upstream = Upstream {
                    stream,
                    server,
                    port,
                    connect_time: now - began,
                    asked: syn.asked,
                    admitted,
                };
                (Some(upstream), None)
            }
            Err(error) => {
                let mut counters = self.counters(id);
                if let Some(shortage) = error.shortage() {
                    shortage.count(&mut counters);
                }
                error.count(&mut counters);
                drop(counters);
                (None, Some((Answer::to(&error), error.to_string())))
            }
        };
        let settled = self.held.table().dialled(syn.flow, upstream, now);
        match (settled, failure) {
            (Settled::Ready(packet), _) => {
                self.counters(id).held_released += 1;
                self.answer(packet, 0);
            }
            (Settled::Failed(packet), Some((answer, error))) => {
                let answer_name = answer.name();
                // Nobody has verified who sent the packet, and anybody can send many.
                match gate.troubles().next(now) {
                    Some(left_out) => tracing::warn!(
                        target: "unmangle::session",
                        listener = settings.name,
                        error,
                        answer = answer_name,
                        left_out,
                        "session failed"
                    ),
                    None => self.counters(id).lines_left_out += 1,
                }
                self.refuse(id, packet, answer);
            }
            (Settled::Failed(packet), None) => self.fall_back(packet),
            // Dropped, it is reset.
            (Settled::Gone(upstream), _) => drop(upstream),
        }
    }

    fn counters(&self, listener: ListenerId) -> RefMut<'_, Counters> {
        RefMut::map(self.recorders.borrow_mut(), |recorders| {
            &mut recorders.of(listener).counters
        })
    }

    fn refuse(&self, id: ListenerId, packet: Packet, answer: Answer) {
        let mark = self.hold.mark;
        let mut counters = self.counters(id);
        let (counter, bits) = match answer {
            Answer::Refused => (&mut counters.held_refused, mark.refused()),
            Answer::HostUnreachable => (&mut counters.held_unreachable, mark.host_unreachable()),
            Answer::NetworkUnreachable => {
                (&mut counters.held_unreachable, mark.network_unreachable())
            }
            Answer::AtOnce => (&mut counters.held_fell_back, 0),
        };
        *counter += 1;
        drop(counters);
        self.answer(packet, bits);
    }

    /// Lets a packet through that is not held: it is accepted first, and the server dialled afterwards.
    fn fall_back(&self, packet: Packet) {
        self.recorders.borrow_mut().process.held_fell_back += 1;
        self.answer(packet, 0);
    }

    /// Lets a packet through to the chain that answers it as `bits` say, or to the listener.
    fn answer(&self, packet: Packet, bits: u32) {
        let mark = packet.mark & !self.hold.mark.all() | bits;
        self.decide(packet, Verdict::Accept { mark });
    }

    /// Takes a packet out of the relay's hands.
    fn let_pass_by(&self, packet: Packet) {
        let mark = packet.mark & !self.hold.mark.all() & !self.mark;
        self.decide(packet, Verdict::Accept { mark });
    }

    fn decide(&self, packet: Packet, verdict: Verdict) {
        if let Err(error) = self.queue.get_ref().decide(packet.id, verdict) {
            tracing::warn!(%error, "an opening packet is held for good");
        }
    }

    async fn closing(&self) {
        let told = self.closing.notified();
        if !self.closed.get() {
            told.await;
        }
    }

    fn close(&self) {
        self.closed.set(true);
        self.closing.notify_waiters();
        let waiting = self.held.table().let_go();
        for packet in waiting {
            self.let_pass_by(packet);
        }
    }

    fn give_up(&self) {
        let stale = self.held.table().give_up(Instant::now());
        self.recorders.borrow_mut().process.held_stale += stale.len() as u64;
    }
}

/// Waits until this host is lost, as a neighbour.
async fn is_lost(mut news: broadcast::Receiver<IpAddr>, host: IpAddr) {
    use broadcast::error::RecvError;
    loop {
        match news.recv().await {
            Ok(lost) if lost == host => return,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
