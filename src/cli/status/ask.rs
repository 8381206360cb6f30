//! One request over a Unix socket or TCP.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;

use crate::config::AdminAddress;

/// The relay gives up after 10 s itself.
const WITHIN: Duration = Duration::from_secs(15);
/// Ten thousand sessions are some 8 MB.
const LARGEST: usize = 64 << 20;

/// Asks for a path, and returns what is answered.
///
/// # Errors
/// If nobody answers there, or what is answered is no HTTP.
pub(super) fn get(address: &AdminAddress, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    runtime()?.block_on(async {
        match address {
            AdminAddress::Unix(file) => {
                within(WITHIN, over(UnixStream::connect(file), Method::GET, path)).await
            }
            AdminAddress::Tcp(tcp) => {
                within(WITHIN, over(TcpStream::connect(tcp), Method::GET, path)).await
            }
        }
    })
}

/// Asks, over a Unix socket, for something to be done, and returns what is answered.
///
/// # Errors
/// As for [`get`].
pub(in crate::cli) fn post(
    socket: &Path,
    path: &str,
    patience: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    runtime()?.block_on(within(
        patience,
        over(UnixStream::connect(socket), Method::POST, path),
    ))
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let answer = tokio::time::timeout(patience, answer).await;
    answer.with_context(|| format!("no answer within {} s", patience.as_secs()))?
}

async fn over<S>(
    stream: impl Future<Output = io::Result<S>>,
    method: Method,
    path: &str,
) -> anyhow::Result<(StatusCode, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stream = stream.await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It may end with the last byte of what is answered.
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}
