//! The other leg: to the original destination, from the client's own address and port; or to a fixed
//! target, from this host unless told otherwise.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use tokio::time::{Instant, timeout_at};

use super::addr::{ClientAddr, ClientPort, Destination};
use super::admission::Gate;
use super::leg::TcpLeg;
use super::pacing::{self, pacing_host};
use super::refusal::Refusal;
use super::shortage::Shortage;
use crate::config::{CongestionControl, Listener, Profile, Side, Target};
use crate::metrics::Counters;
use crate::sys::late_port::choose_port_at_connect;
use crate::sys::window_clamp::set_window_clamp;

/// A leg that is connected.
#[derive(Debug)]
pub struct Dialled {
    /// The upstream leg.
    pub leg: TcpLeg,
    /// Which of the destination's addresses answered.
    pub server: SocketAddr,
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
    /// One of this host's, as for a forwarded session unless told otherwise and where the client's cannot be had.
    OfThisHost,
}

/// Why the server was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No answer in time.
    #[error("dialling {server} for {client}: no answer within {within:?}")]
    Timeout {
        /// Where to.
        server: Destination,
        /// On whose behalf.
        client: ClientAddr,
        /// How long it was waited.
        within: Duration,
    },
    /// The kernel or the server refused.
    #[error("dialling {server} for {client}: {error}")]
    Failed {
        /// Where to.
        server: Destination,
        /// On whose behalf.
        client: ClientAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// It must not be dialled.
    #[error("{server} is not dialled for {client}: {refusal}")]
    Refused {
        /// Where to.
        server: Destination,
        /// On whose behalf.
        client: ClientAddr,
        /// Why.
        refusal: Refusal,
    },
    /// The target's name leads nowhere.
    #[error("looking up {server} for {client}: {error}")]
    Unknown {
        /// The name.
        server: Destination,
        /// On whose behalf.
        client: ClientAddr,
        /// What the resolver said.
        error: io::Error,
    },
}

impl Dialled {
    /// Takes it from its runtime, for another thread to have.
    pub fn into_parts(self) -> (OwnedFd, SocketAddr, SourcePort) {
        (self.leg.into_socket(), self.server, self.port)
    }
}

impl DialError {
    /// What this host has run out of, if that is why.
    pub fn shortage(&self) -> Option<Shortage> {
        match self {
            Self::Failed { error, .. } | Self::Unknown { error, .. } => Shortage::of_io(error),
            Self::Timeout { .. } | Self::Refused { .. } => None,
        }
    }

    /// Counts it, by what went wrong.
    pub fn count(&self, counters: &mut Counters) {
        let counter = match self {
            Self::Refused { refusal, .. } => return refusal.count(counters),
            Self::Timeout { .. } => &mut counters.dials_timed_out,
            Self::Unknown { .. } => &mut counters.dials_unknown,
            Self::Failed { error, .. } => match error.kind() {
                io::ErrorKind::ConnectionRefused => &mut counters.dials_refused,
                io::ErrorKind::TimedOut => &mut counters.dials_timed_out,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    &mut counters.dials_unreachable
                }
                _ => &mut counters.dials_otherwise_failed,
            },
        };
        *counter += 1;
    }
}

/// Dials a destination that the client was admitted to; `side` is where the server lies. The gate judges what
/// a name leads to, and that nothing leads back here.
///
/// # Errors
/// [`DialError`] says which server was dialled for whom.
pub async fn dial(
    client: ClientAddr,
    destination: &Destination,
    side: Side,
    settings: &Listener,
    gate: &Gate,
    began: Instant,
) -> Result<Dialled, DialError> {
    let within = settings.connect_timeout;
    let deadline = began + within;
    let server = || destination.clone();
    let refused = |refusal| DialError::Refused {
        server: server(),
        client,
        refusal,
    };
    if let Some(known) = destination.address() {
        gate.leads_elsewhere(known).map_err(refused)?;
    }
    let profile = settings.profile(side);
    let result = match destination {
        Destination::Original(original) => {
            timeout_at(deadline, as_client(client, original.0, settings, profile)).await
        }
        Destination::Service {
            at,
            port: ClientPort::Wanted,
        } => timeout_at(deadline, as_client(client, *at, settings, profile)).await,
        Destination::Service {
            at,
            port: ClientPort::Impossible,
        } => {
            let anywhere = SocketAddr::new(client.0.ip(), 0);
            let dialled = at_once(anywhere, *at, settings, profile);
            timeout_at(deadline, dialled).await
        }
        Destination::Meant(meant) => {
            // The program's own choice of this host's addresses.
            let own = SocketAddr::new(client.0.ip(), 0);
            timeout_at(deadline, at_once(own, meant.0, settings, profile)).await
        }
        Destination::Fixed(target) => {
            let found = match target.address() {
                Some(address) => vec![address],
                None => match timeout_at(deadline, look_up(target)).await {
                    Ok(found) => found.map_err(|error| DialError::Unknown {
                        server: server(),
                        client,
                        error,
                    })?,
                    Err(_) => {
                        return Err(DialError::Timeout {
                            server: server(),
                            client,
                            within,
                        });
                    }
                },
            };
            let addresses = permitted(found, client, gate).map_err(refused)?;
            let from = settings.dials_from_client().then_some(client);
            let trying = first_of(addresses, from, deadline, settings, profile);
            timeout_at(deadline, trying).await
        }
    };
    match result {
        Ok(result) => result.map_err(|error| DialError::Failed {
            server: server(),
            client,
            error,
        }),
        Err(_) => Err(DialError::Timeout {
            server: server(),
            client,
            within,
        }),
    }
}

/// Dials with the client's own address, and its port if that can be had.
async fn as_client(
    client: ClientAddr,
    server: SocketAddr,
    settings: &Listener,
    profile: &Profile,
) -> io::Result<Dialled> {
    match connect(Some(client.0), server, settings, profile).await {
        // The port is bound, its last connection to this server is in TIME_WAIT, or it is a privileged
        // one and this process is not.
        Err(error) if is_taken(&error) => {
            let anywhere = SocketAddr::new(client.0.ip(), 0);
            let leg = connect(Some(anywhere), server, settings, profile).await?;
            Ok(Dialled {
                leg,
                server,
                port: SourcePort::Fallback,
            })
        }
        other => other.map(|leg| Dialled {
            leg,
            server,
            port: SourcePort::Kept,
        }),
    }
}

/// Dials from an address, with a port of the kernel's choice.
async fn at_once(
    from: SocketAddr,
    server: SocketAddr,
    settings: &Listener,
    profile: &Profile,
) -> io::Result<Dialled> {
    Ok(Dialled {
        leg: connect(Some(from), server, settings, profile).await?,
        server,
        port: SourcePort::OfThisHost,
    })
}

/// The addresses of a target, in the resolver's order.
async fn look_up(target: &Target) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<_> = tokio::net::lookup_host((target.host(), target.port()))
        .await?
        .collect();
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        ));
    }
    Ok(found)
}

/// Those that this client may be passed on to.
///
/// # Errors
/// Why it may not, if there is none.
fn permitted(
    mut addresses: Vec<SocketAddr>,
    client: ClientAddr,
    gate: &Gate,
) -> Result<Vec<SocketAddr>, Refusal> {
    let mut refusal = None;
    addresses.retain(|server| {
        let judged = gate.judge(client, *server);
        let judged = judged.and_then(|()| gate.leads_elsewhere(*server));
        judged.map_err(|why| refusal = Some(why)).is_ok()
    });
    match refusal {
        Some(refusal) if addresses.is_empty() => Err(refusal),
        _ => Ok(addresses),
    }
}

/// Tries one address after the other, from this host or from the client's address; each gets its share of
/// the time that is left, so that one that is silent does not use it all up.
async fn first_of(
    mut addresses: Vec<SocketAddr>,
    from: Option<ClientAddr>,
    deadline: Instant,
    settings: &Listener,
    profile: &Profile,
) -> io::Result<Dialled> {
    addresses.retain(|server| {
        from.is_none_or(|ClientAddr(client)| client.is_ipv4() == server.is_ipv4())
    });
    let mut last = io::Error::new(
        io::ErrorKind::NotFound,
        "it has no address of the client's family, IPv4 or IPv6, and is to see the client's",
    );
    for (tried, server) in addresses.iter().enumerate() {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / (addresses.len() - tried) as u32;
        let attempt = async {
            match from {
                Some(client) => as_client(client, *server, settings, profile).await,
                None => Ok(Dialled {
                    leg: connect(None, *server, settings, profile).await?,
                    server: *server,
                    port: SourcePort::OfThisHost,
                }),
            }
        };
        let attempted = if tried + 1 == addresses.len() {
            // Whoever waits for it knows the deadline.
            Ok(attempt.await)
        } else {
            timeout_at(now + share, attempt).await
        };
        match attempted {
            Ok(Ok(dialled)) => return Ok(dialled),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

async fn connect(
    from: Option<SocketAddr>,
    to: SocketAddr,
    settings: &Listener,
    profile: &Profile,
) -> io::Result<TcpLeg> {
    let socket = Socket::new(
        Domain::for_address(to),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    set_options(&socket, profile)?;
    if let Some(mark) = settings.mode.dial_mark() {
        socket.set_mark(mark.0)?;
    }
    if let Some(from) = from {
        make_transparent(&socket, to)?;
        socket.set_reuse_address(true)?;
        if from.port() == 0 {
            choose_port_at_connect(&socket)?;
        }
        socket.bind(&SockAddr::from(from))?;
    }
    match socket.connect(&SockAddr::from(to)) {
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        other => other?,
    }
    let leg = TcpLeg::new(socket.into(), profile)?;
    leg.connected().await?;
    Ok(leg)
}

/// Lets a socket bear an address that is not this host's.
pub fn make_transparent(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
    }
}

/// Has a silent peer probed and given up. No part of [`set_options`]: most sessions are over long before it matters, and
/// it is four calls.
///
/// # Errors
/// Whatever `setsockopt` says.
pub fn keep_alive(socket: &Socket, settings: &Listener, profile: &Profile) -> io::Result<()> {
    let keepalive = settings.keepalive_of(profile);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(keepalive.probes),
    )
}

/// Sets what both legs of a session have, and what the profile asks of this one. Before connect or
/// listen, because the MSS goes out with the SYN.
pub fn set_options(socket: &Socket, profile: &Profile) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    // An urgent byte stays in its place in the stream; out of line it would be lost here.
    socket.set_out_of_band_inline(true)?;
    // Until its orderly end a session is reset by whatever ends it, a killed relay included: a FIN
    // would make a truncated transfer look complete.
    socket.set_linger(Some(Duration::ZERO))?;
    if let Some(mss) = profile.mss {
        socket.set_tcp_mss(mss.into())?;
    }
    if let Some(bytes) = profile.window_clamp {
        set_window_clamp(socket, bytes)?;
    }
    let chosen = match &profile.congestion_control {
        CongestionControl::Fitting => pacing_host().map(|_| pacing::UNPACED),
        CongestionControl::Host => None,
        CongestionControl::Named(name) => Some(name.as_str()),
    };
    if let Some(name) = chosen {
        let refused = |error| no_congestion_control(&profile.name, name, error);
        socket
            .set_tcp_congestion(name.as_bytes())
            .map_err(refused)?;
    }
    if profile.user_timeout.is_some() {
        socket.set_tcp_user_timeout(profile.user_timeout)?;
    }
    if let Some(bytes) = profile.notsent_lowat {
        socket.set_tcp_notsent_lowat(bytes)?;
    }
    Ok(())
}

/// What a window clamp that was never set comes to (tcp_select_initial_window in net/ipv4/tcp_output.c): on a
/// socket that listens it cannot be unset.
const NO_CLAMP: u32 = 65_535 << 14;

/// Sets the same on a socket that listens with the options of another profile, and takes back what that one has
/// set and this one leaves alone; `usual` is the host's congestion control.
pub fn change_options(socket: &Socket, profile: &Profile, usual: &str) -> io::Result<()> {
    if profile.mss.is_none() {
        socket.set_tcp_mss(0)?;
    }
    if profile.window_clamp.is_none() {
        set_window_clamp(socket, NO_CLAMP)?;
    }
    if profile.congestion_control.named().is_none() {
        socket.set_tcp_congestion(usual.as_bytes())?;
    }
    if profile.user_timeout.is_none() {
        socket.set_tcp_user_timeout(None)?;
    }
    if profile.notsent_lowat.is_none() {
        socket.set_tcp_notsent_lowat(0)?;
    }
    set_options(socket, profile)
}

fn no_congestion_control(profile: &str, name: &str, error: io::Error) -> io::Error {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "the kernel does not know it",
        io::ErrorKind::PermissionDenied => {
            "net.ipv4.tcp_allowed_congestion_control does not allow it without CAP_NET_ADMIN"
        }
        _ => return error,
    };
    io::Error::other(format!(
        "profile {profile}, congestion control {name}: {why}"
    ))
}

fn is_taken(error: &io::Error) -> bool {
    [Errno::ADDRINUSE, Errno::ADDRNOTAVAIL, Errno::ACCESS]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
