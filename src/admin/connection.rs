//! One connection: whose it is, and its requests until it ends, or becomes something else.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::places::Place;

/// Whose requests come by a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// By a Unix socket: the user that the process had when it connected, if the kernel tells.
    Unix(Option<u32>),
    /// By a port: anybody's.
    Tcp,
}

/// A connection of either kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// The socket itself, which does not block.
    fn into_descriptor(self: Box<Self>) -> io::Result<OwnedFd>;
}

/// Where connections come from.
pub(super) enum Accepting {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// How long a request may be on its way, or the next one be waited for.
const HEADER_WITHIN: Duration = Duration::from_secs(10);
/// Nobody stays for longer, whatever they do: then the answer that is being made is the last, and may take so long
/// to be written.
const LONGEST: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(10);

// === impl Stream ===

impl Stream for UnixStream {
    fn into_descriptor(self: Box<Self>) -> io::Result<OwnedFd> {
        self.into_std().map(OwnedFd::from)
    }
}

impl Stream for TcpStream {
    fn into_descriptor(self: Box<Self>) -> io::Result<OwnedFd> {
        self.into_std().map(OwnedFd::from)
    }
}

// === impl Accepting ===

impl Accepting {
    pub async fn next(&self) -> io::Result<(Box<dyn Stream>, Asker)> {
        match self {
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred().map(|peer| peer.uid()).ok();
                Ok((Box::new(stream), Asker::Unix(uid)))
            }
            Self::Tcp(listener) => Ok((Box::new(listener.accept().await?.0), Asker::Tcp)),
        }
    }
}

/// Answers the requests of one connection, and none that has not begun when `closing` turns true.
pub(super) async fn serve(
    (stream, asker): (Box<dyn Stream>, Asker),
    router: Router,
    place: Place,
    mut closing: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let keeps = place.clone();
    let (answering, mut answered) = watch::channel(false);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(asker);
        let (answer, place) = (router.call(request), keeps.clone());
        let answering = answering.clone();
        async move {
            answering.send_replace(true);
            let answer = place.answering(answer).await;
            answering.send_replace(false);
            answer
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN);
    let connection = http
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    // What goes wrong with a connection is for the other end to see.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = place.is_shown_out() => return,
        () = sleep(LONGEST) => {}
        () = async { drop(closing.wait_for(|closing| *closing).await) } => {}
    }
    connection.as_mut().graceful_shutdown();
    let over = async {
        // One answer takes as long as a successor needs to come up.
        drop(answered.wait_for(|answering| !answering).await);
        sleep(GRACE).await;
    };
    tokio::select! {
        _ = connection => {}
        () = place.is_shown_out() => {}
        () = over => {}
    }
}
