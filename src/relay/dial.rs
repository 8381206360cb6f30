//! The other leg: to the original destination, from the client's own address and port.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::addr::{ClientAddr, OriginalDst};
use crate::config::{Profile, Sessions, Side};
use crate::sys::window_clamp::set_window_clamp;

/// A leg that is connected.
#[derive(Debug)]
pub struct Dialled {
    /// The upstream leg.
    pub leg: TcpStream,
    /// Which port the server sees.
    pub port: SourcePort,
}

/// Which port the server sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourcePort {
    /// The client's own.
    Kept,
    /// Another, because the client's could not be bound.
    Fallback,
}

/// Why the server was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No answer in time.
    #[error("dialling {server} for {client}: no answer within {within:?}")]
    Timeout {
        /// Where to.
        server: OriginalDst,
        /// On whose behalf.
        client: ClientAddr,
        /// How long it was waited.
        within: Duration,
    },
    /// The kernel or the server refused.
    #[error("dialling {server} for {client}: {error}")]
    Failed {
        /// Where to.
        server: OriginalDst,
        /// On whose behalf.
        client: ClientAddr,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Dials the original destination; `side` is where the server lies.
///
/// # Errors
/// [`DialError`] says which server was dialled for whom.
pub async fn dial(
    client: ClientAddr,
    server: OriginalDst,
    side: Side,
    settings: &Sessions,
) -> Result<Dialled, DialError> {
    let profile = settings.profile(side);
    let both = async {
        match connect(client.0, server.0, settings, profile).await {
            // The port is bound, its last connection to this server is in TIME_WAIT, or it is a
            // privileged one and this process is not.
            Err(error) if is_taken(&error) => {
                let anywhere = SocketAddr::new(client.0.ip(), 0);
                let leg = connect(anywhere, server.0, settings, profile).await?;
                Ok(Dialled {
                    leg,
                    port: SourcePort::Fallback,
                })
            }
            other => other.map(|leg| Dialled {
                leg,
                port: SourcePort::Kept,
            }),
        }
    };
    match tokio::time::timeout(settings.connect_timeout, both).await {
        Ok(result) => result.map_err(|error| DialError::Failed {
            server,
            client,
            error,
        }),
        Err(_) => Err(DialError::Timeout {
            server,
            client,
            within: settings.connect_timeout,
        }),
    }
}

async fn connect(
    from: SocketAddr,
    to: SocketAddr,
    settings: &Sessions,
    profile: &Profile,
) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(to),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    make_transparent(&socket, to)?;
    socket.set_reuse_address(true)?;
    set_options(&socket, settings, profile)?;
    socket.bind(&SockAddr::from(from))?;
    TcpSocket::from_std_stream(socket.into()).connect(to).await
}

/// Lets a socket bear an address that is not this host's.
pub fn make_transparent(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
    }
}

/// Sets what both legs of a session have, and what the profile asks of this one. Before connect or
/// listen, because the MSS goes out with the SYN.
pub fn set_options(socket: &Socket, settings: &Sessions, profile: &Profile) -> io::Result<()> {
    let keepalive = profile.keepalive.unwrap_or(settings.keepalive);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.probes),
    )?;
    // Until its orderly end a session is reset by whatever ends it, a killed relay included: a FIN
    // would make a truncated transfer look complete.
    socket.set_linger(Some(Duration::ZERO))?;
    if let Some(mss) = profile.mss {
        socket.set_tcp_mss(mss.into())?;
    }
    if let Some(bytes) = profile.window_clamp {
        set_window_clamp(socket, bytes)?;
    }
    if let Some(name) = &profile.congestion_control {
        socket.set_tcp_congestion(name.as_bytes())?;
    }
    if profile.user_timeout.is_some() {
        socket.set_tcp_user_timeout(profile.user_timeout)?;
    }
    if let Some(bytes) = profile.notsent_lowat {
        socket.set_tcp_notsent_lowat(bytes)?;
    }
    Ok(())
}

fn is_taken(error: &io::Error) -> bool {
    [Errno::ADDRINUSE, Errno::ADDRNOTAVAIL, Errno::ACCESS]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
