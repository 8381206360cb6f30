//! One request over a Unix socket or TCP.

use std::io;
use std::time::Duration;

use anyhow::Context;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let answer = async {
            match address {
                AdminAddress::Unix(file) => over(UnixStream::connect(file).await, path).await,
                AdminAddress::Tcp(tcp) => over(TcpStream::connect(tcp).await, path).await,
            }
        };
        let answer = tokio::time::timeout(WITHIN, answer).await;
        answer.with_context(|| format!("no answer within {} s", WITHIN.as_secs()))?
    })
}

async fn over<S>(stream: io::Result<S>, path: &str) -> anyhow::Result<(StatusCode, Bytes)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stream = stream?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
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
