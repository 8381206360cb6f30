//! Real sockets: a raw one that sends whole packets, a tap that shows those that come before any rule sees them, and
//! listeners that are deaf, so that this host's TCP answers nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::network::{Broken, Network, Sent};
use crate::packet::craft::{Carried, Echo};
use crate::packet::ip::protocol;
use crate::sys::path_mtu;
use crate::sys::tap::{Going, Tap};

/// Longer packets are not tried.
const LONGEST: u16 = 9000;

/// The sockets.
pub struct Here {
    began: Instant,
    own: IpAddr,
    host: IpAddr,
    raw: Socket,
    tap: Tap,
    deaf: Vec<Socket>,
    buffer: Vec<u8>,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum Unable {
    /// CAP_NET_RAW is missing.
    #[error(
        "crafted packets need CAP_NET_RAW: run it as root, or by setcap cap_net_raw+ep on the program"
    )]
    Privilege,
    /// There is no way to the host.
    #[error("{0}: there is no route to it: {1}")]
    NoRoute(IpAddr, io::Error),
    /// It is one of this host's own addresses.
    #[error("{0} is this host: there is no path to look at")]
    Own(IpAddr),
    /// Anything else.
    #[error("{0}: {1}")]
    Other(&'static str, io::Error),
}

// === impl Here ===

impl Here {
    /// Opens them towards a host.
    ///
    /// # Errors
    /// If there is no route to it, or a privilege is missing.
    pub fn towards(host: IpAddr) -> Result<Self, Unable> {
        let own = own_address(host).map_err(|error| Unable::NoRoute(host, error))?;
        if own == host {
            return Err(Unable::Own(host));
        }
        let domain = Domain::for_address((host, 0).into());
        // IPPROTO_RAW: the IP header is ours.
        let raw = Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))
            .map_err(|error| privileged("raw socket", error))?;
        path_mtu::send_beyond(&raw, domain).map_err(|error| Unable::Other("raw socket", error))?;
        let tap = Tap::open(&filter(host)).map_err(|error| privileged("packet socket", error))?;
        Ok(Self {
            began: Instant::now(),
            own,
            host,
            raw,
            tap,
            deaf: Vec::new(),
            buffer: vec![0; 1 << 16],
        })
    }

    /// This host's address towards the other.
    #[must_use]
    pub fn own(&self) -> IpAddr {
        self.own
    }

    /// The longest packet that the interface takes, at most 9000 bytes: found by sending, since the kernel refuses longer
    /// ones. They are echo replies that nobody waits for.
    ///
    /// # Errors
    /// If nothing can be sent.
    pub fn longest(&mut self) -> Result<u16, Broken> {
        let smallest = 576;
        let between = super::search::Between {
            passes: smallest,
            harmed: LONGEST + 1,
        };
        let found = super::search::bisect(between, |size| {
            let header = crate::packet::craft::ip_header(self.host) + 8;
            let echo = Echo {
                source: self.own,
                destination: self.host,
                carried: Carried {
                    hops: 1,
                    ..Carried::default()
                },
                reply: true,
                identifier: 0,
                sequence: 0,
                payload: vec![0; usize::from(size) - header],
            };
            Ok(match self.send(&echo.build())? {
                Sent::TooLong => super::search::Tried::Harmed,
                Sent::Left | Sent::Forbidden => super::search::Tried::Passes,
            })
        })?;
        Ok(found.passes)
    }
}

impl Network for Here {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn send(&mut self, packet: &[u8]) -> Result<Sent, Broken> {
        let to = SocketAddr::new(self.host, 0).into();
        loop {
            let Err(error) = self.raw.send_to(packet, &to) else {
                return Ok(Sent::Left);
            };
            return match Errno::from_io_error(&error) {
                Some(Errno::MSGSIZE) => Ok(Sent::TooLong),
                Some(Errno::PERM) => Ok(Sent::Forbidden),
                Some(Errno::INTR) => continue,
                // A queue that is full, a link that is down for a moment: as if it were lost.
                Some(Errno::NOBUFS | Errno::AGAIN) => Ok(Sent::Left),
                _ => Err(Broken(format!(
                    "{}: a packet cannot be sent: {error}",
                    self.host
                ))),
            };
        }
    }

    fn next(&mut self, until: Duration) -> Result<Option<Vec<u8>>, Broken> {
        loop {
            match self.tap.read(&mut self.buffer) {
                Ok(Some((length, Going::In))) => return Ok(Some(self.buffer[..length].to_vec())),
                Ok(Some((_, Going::Out))) => continue,
                Ok(None) => {}
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NETDOWN) => {
                    return Err(Broken("an interface went down during the sweep".into()));
                }
                Err(error) => return Err(Broken(format!("packets cannot be read: {error}"))),
            }
            let Some(left) = until.checked_sub(self.now()).filter(|left| !left.is_zero()) else {
                return Ok(None);
            };
            let timeout = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut tap = [PollFd::new(&self.tap, PollFlags::IN)];
            match poll(&mut tap, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(Broken(format!("packets cannot be awaited: {error}"))),
            }
        }
    }

    fn port(&mut self) -> Result<u16, Broken> {
        let deaf = || {
            let socket = Socket::new(
                Domain::for_address((self.own, 0).into()),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            // Everything is discarded before TCP looks at it: neither SYN-ACK nor reset is sent.
            socket.attach_filter(&[statement(RETURN, 0)])?;
            socket.bind(&SocketAddr::new(self.own, 0).into())?;
            socket.listen(1)?;
            let port = socket.local_addr()?.as_socket().map(|own| own.port());
            Ok::<_, io::Error>((socket, port.unwrap_or_default()))
        };
        let (socket, port) =
            deaf().map_err(|error| Broken(format!("no port can be had: {error}")))?;
        self.deaf.push(socket);
        Ok(port)
    }
}

fn privileged(what: &'static str, error: io::Error) -> Unable {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Unable::Privilege,
        _ => Unable::Other(what, error),
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

// === the filter of the tap: TCP from the host, and ICMP from anybody (bpf(4)) ===

const LOAD_BYTE: u16 = 0x30;
const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const IS: u16 = 0x15;
const RETURN: u16 = 0x06;

fn statement(code: u16, k: u32) -> SockFilter {
    SockFilter::new(code, 0, 0, k)
}

fn filter(host: IpAddr) -> Vec<SockFilter> {
    let (version, at, icmp, source) = match host {
        IpAddr::V4(host) => (0x40, 9, protocol::ICMP, vec![(12, u32::from(host))]),
        IpAddr::V6(host) => {
            let octets = host.octets();
            let words = octets.chunks_exact(4).zip([8, 12, 16, 20]);
            let word = |(b, at): (&[u8], u32)| (at, u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
            (0x60, 6, protocol::ICMPV6, words.map(word).collect())
        }
    };
    // Everything that is not so jumps to the end, which is at this statement's number.
    let pass = 6 + 2 * source.len() as u8;
    let drop = pass + 1;
    let mut program = vec![
        statement(LOAD_BYTE, 0),
        statement(AND, 0xf0),
        SockFilter::new(IS, 0, drop - 3, version),
        statement(LOAD_BYTE, at),
        SockFilter::new(IS, pass - 5, 0, icmp.into()),
        SockFilter::new(IS, 0, drop - 6, protocol::TCP.into()),
    ];
    for (at, word) in source {
        program.push(statement(LOAD_WORD, at));
        let here = program.len() as u8 + 1;
        program.push(SockFilter::new(IS, 0, drop - here, word));
    }
    program.push(statement(RETURN, u32::MAX));
    program.push(statement(RETURN, 0));
    program
}
