//! Who the client of a connection is, where a proxy says it: the PROXY header before the first byte, read
//! from a downstream leg and written to an upstream one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::addr::ClientAddr;
use super::leg::{Leg, TcpLeg};
use crate::config::Listener;
use crate::packet::proxy_header::{BadHeader, Frame, Header, Version, frame};

/// Who the client is, and how that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Introduced {
    /// The client.
    pub client: ClientAddr,
    /// Where it had connected to.
    pub destination: SocketAddr,
    /// The proxy that said so; the client came itself if `None`.
    pub via: Option<SocketAddr>,
}

/// Why the client of a connection is not known: it must not go on.
#[derive(Debug, thiserror::Error)]
pub enum NotIntroduced {
    /// What came is no header.
    #[error("the proxy {proxy} sent {fault}")]
    Bad {
        /// Who is at the other end.
        proxy: SocketAddr,
        /// What it sent.
        fault: BadHeader,
    },
    /// Not in time.
    #[error("the proxy {proxy} sent no whole PROXY header within {within:?}")]
    Late {
        /// Who is at the other end.
        proxy: SocketAddr,
        /// How long it was waited.
        within: Duration,
    },
    /// It names a client that nobody can be.
    #[error("the proxy {proxy} named {named} as its client: no connection comes from there")]
    NoClient {
        /// Who is at the other end.
        proxy: SocketAddr,
        /// Whom it named.
        named: SocketAddr,
    },
    /// The connection ended before.
    #[error("the proxy {proxy} left before its PROXY header was whole")]
    Left {
        /// Who is at the other end.
        proxy: SocketAddr,
    },
    /// The connection broke.
    #[error("the proxy {proxy} sent no PROXY header: {error}")]
    Broken {
        /// Who is at the other end.
        proxy: SocketAddr,
        /// How.
        error: io::Error,
    },
}

/// Finds out who the client of an accepted connection is; waits only where a header is expected.
///
/// # Errors
/// [`NotIntroduced`] where one is expected and none that is valid comes.
pub async fn introduce(
    leg: &TcpLeg,
    peer: SocketAddr,
    local: SocketAddr,
    settings: &Listener,
) -> Result<Introduced, NotIntroduced> {
    let direct = Introduced {
        client: ClientAddr(peer),
        destination: local,
        via: None,
    };
    let Some(within) = expected_within(settings, peer.ip()) else {
        return Ok(direct);
    };
    let header = tokio::time::timeout(within, read(leg, peer))
        .await
        .map_err(|_| NotIntroduced::Late {
            proxy: peer,
            within,
        })??;
    match header {
        // The kernel would choose a port, or an address, in its place.
        Header::Proxied { source, .. } if !can_connect(source) => Err(NotIntroduced::NoClient {
            proxy: peer,
            named: source,
        }),
        Header::Proxied {
            source,
            destination,
        } => Ok(Introduced {
            client: ClientAddr(source),
            destination,
            via: Some(peer),
        }),
        Header::Local => Ok(direct),
    }
}

/// Whether a connection can come from an address.
fn can_connect(source: SocketAddr) -> bool {
    let nobody = match source.ip() {
        IpAddr::V4(ip) => ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
    };
    source.port() != 0 && !nobody
}

fn expected_within(settings: &Listener, peer: IpAddr) -> Option<Duration> {
    settings.identity()?.expected_from(peer)
}

/// Reads a header, and not a byte of what follows: that is left to the engines.
async fn read(leg: &TcpLeg, proxy: SocketAddr) -> Result<Header, NotIntroduced> {
    let bad = |fault| NotIntroduced::Bad { proxy, fault };
    let broken = |error| NotIntroduced::Broken { proxy, error };
    let mut header = Vec::with_capacity(128);
    let mut peeked = [0; 512];
    loop {
        let seen = leg.peek(&mut peeked).await.map_err(broken)?;
        if seen == 0 {
            return Err(NotIntroduced::Left { proxy });
        }
        let before = header.len();
        header.extend_from_slice(&peeked[..seen]);
        let whole = frame(&header).map_err(bad)?;
        if let Frame::Whole(length) = whole {
            header.truncate(length);
        }
        // What was peeked at is there, so this takes as much as it is told to.
        let own = &mut peeked[..header.len() - before];
        let taken = leg.try_read(own).map_err(broken)?;
        if taken != own.len() {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        if let Frame::Whole(_) = whole {
            return Header::decode(&header).map_err(bad);
        }
    }
}

impl Introduced {
    /// Writes it to a server that expects a header before everything else.
    ///
    /// # Errors
    /// Whatever writing says.
    pub async fn pass_on(&self, leg: &TcpLeg, version: Version) -> io::Result<()> {
        let header = Header::Proxied {
            source: self.client.0,
            destination: self.destination,
        };
        let bytes = header.encode(version);
        let mut sent = 0;
        while sent < bytes.len() {
            leg.writable().await?;
            match leg.try_write(&bytes[sent..]) {
                Ok(taken) => sent += taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
