//! Real sockets: packets are sent past this host's TCP, and seen before any rule sees them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::network::{Broken, Fate, Network};
use crate::diagnose::crafted;
use crate::diagnose::crafted::deaf::Deaf;
use crate::diagnose::crafted::raw::Raw;
use crate::diagnose::crafted::tapped::Tapped;
use crate::sys::route::Interface;
use crate::sys::tap::Going;

/// Shorter packets are taken by every interface (RFC 791), and longer ones are not tried.
const LENGTHS: (u32, u32) = (576, 9000);
/// So long a full interface is waited for.
const ROOM: Duration = Duration::from_secs(5);

/// The sockets.
pub struct Here {
    began: Instant,
    /// With the scope of a link-local address.
    own: SocketAddr,
    host: IpAddr,
    longest: u16,
    raw: Raw,
    tapped: Tapped,
    deaf: Vec<Deaf>,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum Unable {
    /// The host cannot craft packets, or not to there.
    #[error(transparent)]
    Crafted(#[from] crafted::Unable),
    /// It is one of this host's own addresses.
    #[error("{0} is this host: there is no path to look at")]
    Own(IpAddr),
}

// === impl Here ===

impl Here {
    /// Opens them towards a host; the port does not matter.
    ///
    /// # Errors
    /// If there is no route to it, or a privilege is missing.
    pub fn towards(peer: SocketAddr) -> Result<Self, Unable> {
        let host = peer.ip();
        crafted::permitted()?;
        let no_route = |error| crafted::Unable::Route(host, error);
        let own = own_address(peer).map_err(no_route)?;
        if own.ip() == host {
            return Err(Unable::Own(host));
        }
        let interface = Interface::towards(peer).map_err(no_route)?;
        let (shortest, longest) = LENGTHS;
        Ok(Self {
            began: Instant::now(),
            own,
            host,
            longest: interface.mtu.clamp(shortest, longest) as u16,
            raw: Raw::towards(peer)?,
            tapped: Tapped::towards(host)?,
            deaf: Vec::new(),
        })
    }

    /// This host's address towards the other.
    #[must_use]
    pub fn own(&self) -> IpAddr {
        self.own.ip()
    }

    /// The longest packet that the interface takes, at most 9000 bytes.
    #[must_use]
    pub fn longest(&self) -> u16 {
        self.longest
    }
}

impl Network for Here {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn send(&mut self, packet: &[u8]) -> Result<Fate, Broken> {
        let unsent = |error| Broken(format!("{}: a packet cannot be sent: {error}", self.host));
        let until = Instant::now() + ROOM;
        loop {
            match self.raw.send(packet) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent.map_err(unsent),
            }
            if Instant::now() >= until {
                return Err(Broken(format!(
                    "{}: the interface takes no packets",
                    self.host
                )));
            }
            let again = Timespec {
                tv_sec: 0,
                tv_nsec: 20_000_000,
            };
            let mut raw = [PollFd::new(&self.raw, PollFlags::OUT)];
            match poll(&mut raw, Some(&again)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(unsent(error.into())),
            }
        }
    }

    fn next(&mut self, until: Duration) -> Result<Option<Vec<u8>>, Broken> {
        let unseen = |error: io::Error| Broken(format!("packets cannot be read: {error}"));
        loop {
            match self.tapped.read().map_err(unseen)? {
                Some((Going::In, packet)) => return Ok(Some(packet.to_vec())),
                Some((Going::Out, _)) => continue,
                None => {}
            }
            let Some(left) = until.checked_sub(self.now()).filter(|left| !left.is_zero()) else {
                return Ok(None);
            };
            let timeout = Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut tapped = [PollFd::new(&self.tapped, PollFlags::IN)];
            match poll(&mut tapped, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(Broken(format!("packets cannot be awaited: {error}"))),
            }
        }
    }

    fn port(&mut self) -> Result<u16, Broken> {
        let deaf =
            Deaf::hold(self.own).map_err(|error| Broken(format!("no port can be had: {error}")))?;
        let port = deaf.port();
        self.deaf.push(deaf);
        Ok(port)
    }
}

/// The address that the kernel would send from.
fn own_address(mut host: SocketAddr) -> io::Result<SocketAddr> {
    let any: IpAddr = match host.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    // Nothing is sent: the port only has to be one.
    host.set_port(7);
    socket.connect(host)?;
    let mut own = socket.local_addr()?;
    own.set_port(0);
    Ok(own)
}
