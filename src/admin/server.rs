//! The thread that answers: one of its own, so that nothing slow in it delays signals, rules or sessions.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connection::{self, Accepting};
use super::doors::{Door, Doors, Listening};
use super::places::Places;
use super::routes;
use super::socket_file::SocketFile;
use super::source::Source;
use crate::config::{AdminAddress, InvalidReasons};
use crate::diagnose::Conntrack;

/// Answers until it is dropped; then its sockets are gone.
#[derive(Debug)]
pub struct Server {
    thread: Option<JoinHandle<()>>,
    stop: Option<oneshot::Sender<Stop>>,
    /// What can be handed over: the addresses that were asked for.
    doors: Vec<(AdminAddress, OwnedFd)>,
    /// All of them, but those that were not asked for go with this process.
    files: Vec<(AdminAddress, SocketFile)>,
}

/// How it stops answering.
#[derive(Debug)]
enum Stop {
    /// At once.
    Now,
    /// Once what has been asked for is answered; says so.
    Answered(oneshot::Sender<()>),
}

/// What accepts.
struct Accepts {
    listeners: Vec<(Accepting, Places)>,
    router: Router,
}

/// Connections at a time, of each kind of socket: those who reach a port keep nobody from the Unix socket.
const CONNECTIONS: usize = 8;
/// For so long one that lets go waits for answers that are being made and read.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Before somebody is accepted again, when that has failed.
const REST: Duration = Duration::from_millis(100);

// === impl Server ===

impl Server {
    /// Starts the thread, if there is any socket to answer at, and says where that is. From here on what was handed over
    /// is this process's: its files go with it, and what was handed over and is not wanted goes now.
    ///
    /// # Errors
    /// If the system gives no thread or no epoll instance.
    pub fn start(doors: Doors, source: Source, reasons: InvalidReasons) -> io::Result<Self> {
        if let Some(why) = doors.missing {
            tracing::info!("nobody can ask how the relay does: {why}");
        }
        for file in doors.unwanted {
            drop(file.own());
        }
        let mut server = Self {
            thread: None,
            stop: None,
            doors: Vec::new(),
            files: Vec::new(),
        };
        if doors.doors.is_empty() {
            return Ok(server);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let (unix, tcp) = (Places::new(CONNECTIONS), Places::new(CONNECTIONS));
        let entered = runtime.enter();
        let conntrack = match reasons {
            InvalidReasons::On => Conntrack::start(),
            InvalidReasons::Off => Conntrack::without_reasons(),
        };
        let mut listeners = Vec::new();
        for Door {
            address,
            listener,
            file,
            asked_for,
        } in doors.doors
        {
            told(&address);
            if asked_for {
                let copy = match &listener {
                    Listening::Unix(listener) => OwnedFd::from(listener.try_clone()?),
                    Listening::Tcp(listener) => OwnedFd::from(listener.try_clone()?),
                };
                server.doors.push((address.clone(), copy));
            }
            server.files.extend(file.map(|file| (address, file.own())));
            listeners.push(match listener {
                Listening::Unix(listener) => {
                    let listener = UnixListener::from_std(listener)?;
                    (Accepting::Unix(listener), unix.clone())
                }
                Listening::Tcp(listener) => {
                    let listener = TcpListener::from_std(listener)?;
                    (Accepting::Tcp(listener), tcp.clone())
                }
            });
        }
        drop(entered);
        let accepts = Accepts {
            listeners,
            router: routes::router(source, conntrack),
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || accepts.until(stopped, runtime))?;
        server.thread = Some(thread);
        server.stop = Some(stop);
        Ok(server)
    }

    /// A Unix socket at which it answers, if there is one.
    pub fn unix(&self) -> Option<&Path> {
        self.files.iter().find_map(|(address, _)| match address {
            AdminAddress::Unix(path) => Some(path.as_path()),
            AdminAddress::Tcp(_) => None,
        })
    }

    /// The sockets that listen at addresses that were asked for, each with its address and whether its file
    /// [lasts](super::HandedDoor::lasts).
    pub fn doors(&self) -> Vec<(String, BorrowedFd<'_>, bool)> {
        let lasts = |address| {
            let mut files = self.files.iter();
            files.any(|(at, file)| at == address && file.lasts())
        };
        let each = self.doors.iter();
        each.map(|(address, socket)| (address.to_string(), socket.as_fd(), lasts(address)))
            .collect()
    }

    /// Stops answering, because another process has got [`Self::doors`]: their files stay. Who has asked still gets
    /// an answer, if there is one within two seconds; whoever comes now waits for the other process.
    pub async fn let_go(mut self) {
        for (address, file) in std::mem::take(&mut self.files) {
            if self.doors.iter().any(|(handed, _)| *handed == address) {
                file.leave();
            }
        }
        let (told, answered) = oneshot::channel();
        if let Some(stop) = self.stop.take()
            && stop.send(Stop::Answered(told)).is_ok()
        {
            // A thread that has ended has nobody left to answer.
            let _ = answered.await;
        }
    }
}

fn told(address: &AdminAddress) {
    tracing::info!(admin = %address, "answering");
    if matches!(address, AdminAddress::Tcp(tcp) if !tcp.ip().is_loopback()) {
        tracing::warn!(admin = %address, "whoever reaches this port can read who is connected to whom");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // One that is gone already need not be told.
            let _ = stop.send(Stop::Now);
        }
        if let Some(thread) = self.thread.take() {
            // One that has panicked has ended the process.
            let _ = thread.join();
        }
    }
}

// === impl Accepts ===

impl Accepts {
    /// Answers until it is told to stop.
    fn until(self, stopped: oneshot::Receiver<Stop>, runtime: Runtime) {
        runtime.block_on(async move {
            let (closing, closes) = watch::channel(false);
            let (open, mut all_closed) = mpsc::channel(1);
            let mut accepting = JoinSet::new();
            for (listener, places) in self.listeners {
                let router = self.router.clone();
                accepting.spawn(accept(
                    listener,
                    router,
                    places,
                    closes.clone(),
                    open.clone(),
                ));
            }
            drop(open);
            if let Ok(Stop::Answered(told)) = stopped.await {
                accepting.shutdown().await;
                closing.send_replace(true);
                // Nothing is sent: it ends with the last connection.
                let _ = timeout(LAST_ANSWERS, all_closed.recv()).await;
                let _ = told.send(());
            }
        });
    }
}

/// Accepts for ever. At most one connection waits here for its place, the others do in the kernel. Each keeps `open`
/// until it ends.
async fn accept(
    listener: Accepting,
    router: Router,
    places: Places,
    closing: watch::Receiver<bool>,
    open: mpsc::Sender<()>,
) {
    let mut fails = false;
    loop {
        match listener.next().await {
            Ok(connected) => {
                fails = false;
                let place = places.take().await;
                let serve = connection::serve(connected, router.clone(), place, closing.clone());
                let open = open.clone();
                tokio::spawn(async move {
                    serve.await;
                    drop(open);
                });
            }
            Err(error) => {
                if !fails {
                    tracing::warn!(%error, "who asks how the relay does has to wait");
                }
                fails = true;
                sleep(REST).await;
            }
        }
    }
}
