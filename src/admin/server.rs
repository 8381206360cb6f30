//! The thread that answers: one of its own, so that nothing slow in it delays signals, rules or sessions.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::doors::{Door, Doors, Listening};
use super::places::{Place, Places};
use super::routes::{self, Kind};
use super::socket_file::SocketFile;
use super::source::Source;
use crate::config::{AdminAddress, InvalidReasons};
use crate::diagnose::Conntrack;

/// Answers until it is dropped; then its sockets are gone.
#[derive(Debug)]
pub struct Server {
    thread: Option<JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
    _files: Vec<SocketFile>,
}

/// Connections at a time, of each kind of socket: those who reach a port keep nobody from the Unix socket.
const CONNECTIONS: usize = 8;
/// How long a request may be on its way, or the next one be waited for.
const HEADER_WITHIN: Duration = Duration::from_secs(10);
/// Nobody stays for longer, whatever they do: then the answer that is being written is the last, for so long.
const LONGEST: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(10);
/// Before somebody is accepted again, when that has failed.
const REST: Duration = Duration::from_millis(100);

// === impl Server ===

impl Server {
    /// Starts the thread, if there is any socket to answer at, and says where that is.
    ///
    /// # Errors
    /// If the system gives no thread or no epoll instance.
    pub fn start(doors: Doors, source: Source, reasons: InvalidReasons) -> io::Result<Self> {
        if let Some(why) = doors.missing {
            tracing::info!("nobody can ask how the relay does: {why}");
        }
        if doors.doors.is_empty() {
            return Ok(Self {
                thread: None,
                stop: None,
                _files: Vec::new(),
            });
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let source = Arc::new(source);
        let (unix, tcp) = (Places::new(CONNECTIONS), Places::new(CONNECTIONS));
        let mut files = Vec::new();
        let entered = runtime.enter();
        let conntrack = Arc::new(match reasons {
            InvalidReasons::On => Conntrack::start(),
            InvalidReasons::Off => Conntrack::without_reasons(),
        });
        let router = |kind| routes::router(source.clone(), conntrack.clone(), kind);
        for Door {
            address,
            listener,
            file,
        } in doors.doors
        {
            told(&address);
            files.extend(file);
            match listener {
                Listening::Unix(listener) => {
                    let listener = UnixListener::from_std(listener)?;
                    let accepting = Accepting::Unix(listener);
                    runtime.spawn(accept(accepting, router(Kind::Unix), unix.clone()));
                }
                Listening::Tcp(listener) => {
                    let listener = TcpListener::from_std(listener)?;
                    let accepting = Accepting::Tcp(listener);
                    runtime.spawn(accept(accepting, router(Kind::Tcp), tcp.clone()));
                }
            }
        }
        drop(entered);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                // Whoever is told or dropped: it is over.
                let _ = runtime.block_on(stopped);
            })?;
        Ok(Self {
            thread: Some(thread),
            stop: Some(stop),
            _files: files,
        })
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
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that has panicked has ended the process.
            let _ = thread.join();
        }
    }
}

enum Accepting {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A connection of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Accepting {
    async fn next(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
            Self::Tcp(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// Accepts for ever. At most one connection waits here for its place, the others do in the kernel.
async fn accept(listener: Accepting, router: Router, places: Places) {
    let mut fails = false;
    loop {
        match listener.next().await {
            Ok(stream) => {
                fails = false;
                let place = places.take().await;
                tokio::spawn(serve(stream, router.clone(), place));
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

/// Answers the requests of one connection.
async fn serve(stream: Box<dyn Stream>, router: Router, place: Place) {
    let router = TowerToHyperService::new(router);
    let keeps = place.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (answer, place) = (router.call(request), keeps.clone());
        async move { place.answering(answer).await }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // What goes wrong with a connection is for the other end to see.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = place.is_shown_out() => return,
        () = sleep(LONGEST) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = place.is_shown_out() => {}
        () = sleep(GRACE) => {}
    }
}
