//! Real sockets: packets are sent past this host's TCP, and seen before any rule sees them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
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

/// The sockets.
pub struct Here {
    began: Instant,
    own: IpAddr,
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
    /// Opens them towards a host.
    ///
    /// # Errors
    /// If there is no route to it, or a privilege is missing.
    pub fn towards(host: IpAddr) -> Result<Self, Unable> {
        let no_route = |error| crafted::Unable::Route(host, error);
        let own = own_address(host).map_err(no_route)?;
        if own == host {
            return Err(Unable::Own(host));
        }
        let interface = Interface::towards(host).map_err(no_route)?;
        let (shortest, longest) = LENGTHS;
        Ok(Self {
            began: Instant::now(),
            own,
            host,
            longest: interface.mtu.clamp(shortest, longest) as u16,
            raw: Raw::towards((host, 0).into())?,
            tapped: Tapped::towards(host)?,
            deaf: Vec::new(),
        })
    }

    /// This host's address towards the other.
    #[must_use]
    pub fn own(&self) -> IpAddr {
        self.own
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
        self.raw.send(packet).map_err(unsent)
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
        let deaf = Deaf::hold((self.own, 0).into())
            .map_err(|error| Broken(format!("no port can be had: {error}")))?;
        let port = deaf.port();
        self.deaf.push(deaf);
        Ok(port)
    }
}

/// The address that the kernel would send from.
fn own_address(host: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match host {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    // Nothing is sent: the port only has to be one.
    socket.connect((host, 7))?;
    Ok(socket.local_addr()?.ip())
}
