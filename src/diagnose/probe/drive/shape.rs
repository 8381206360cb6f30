//! The segments and options that are sent.

use crate::diagnose::probe::evidence::What;
use crate::metrics::Direction;
use crate::packet::{Flags, Ip, Tcp, TcpOption};

/// A segment that is to be sent, but for its numbers.
#[derive(Debug, Clone)]
pub struct Shape {
    pub what: What,
    pub direction: Direction,
    pub flags: Flags,
    pub payload: u16,
    pub options: Vec<u8>,
    pub window: u16,
    pub urgent: u16,
    pub traffic_class: u8,
    /// So many bytes before it are left out.
    pub hole: u32,
}

/// What a SYN or SYN-ACK offers.
#[derive(Debug, Clone)]
pub struct Offered {
    pub mss: u16,
    pub window_scale: u8,
}

/// A header that was sent or that came, read.
#[derive(Debug, Clone, Copy)]
pub struct Read<'a> {
    pub tcp: Tcp<&'a [u8]>,
    /// Bytes of both headers.
    pub headers: usize,
}

/// MSS alone (RFC 9293).
pub fn mss(mss: u16) -> Vec<u8> {
    let [high, low] = mss.to_be_bytes();
    vec![2, 4, high, low]
}

/// As Linux opens a flow: MSS, SACK-permitted, timestamps, NOP, window scale.
pub fn as_linux(offered: &Offered, value: u32, echo: u32) -> Vec<u8> {
    let mut options = mss(offered.mss);
    options.extend([4, 2, 8, 10]);
    options.extend(value.to_be_bytes());
    options.extend(echo.to_be_bytes());
    options.extend([1, 3, 3, offered.window_scale]);
    options
}

/// NOP, NOP, timestamps (RFC 7323, appendix A).
pub fn timestamps(value: u32, echo: u32) -> Vec<u8> {
    let mut options = vec![1, 1, 8, 10];
    options.extend(value.to_be_bytes());
    options.extend(echo.to_be_bytes());
    options
}

/// NOP, NOP, one SACK block (RFC 2018).
pub fn sack(left: u32, right: u32) -> Vec<u8> {
    let mut options = vec![1, 1, 5, 10];
    options.extend(left.to_be_bytes());
    options.extend(right.to_be_bytes());
    options
}

/// An option for experiments (RFC 4727) with a name that nobody has (RFC 6994).
pub fn unknown() -> Vec<u8> {
    vec![253, 8, 0x75, 0x6d, 0x6e, 0x67, 0x6c, 0x65]
}

impl Shape {
    /// An acknowledgement, of which something else can be made.
    pub fn new(what: What, direction: Direction) -> Self {
        Self {
            what,
            direction,
            flags: Flags::ACK,
            payload: 0,
            options: Vec::new(),
            window: 0xfff0,
            urgent: 0,
            traffic_class: 0,
            hole: 0,
        }
    }

    /// With so many bytes of data.
    pub fn with_data(mut self, payload: u16) -> Self {
        self.payload = payload;
        self.flags = self.flags | Flags::PSH;
        self
    }
}

impl<'a> Read<'a> {
    /// Reads IP and TCP header, without what follows.
    pub fn new(header: &'a [u8]) -> Option<Self> {
        let ip = Ip::parse_quoted(header).ok()?;
        if !ip.has_tcp_header() {
            return None;
        }
        let tcp = Tcp::parse(header.get(ip.payload..)?).ok()?;
        Some(Self {
            headers: ip.payload + tcp.header_len(),
            tcp,
        })
    }

    /// What the timestamps option says first.
    pub fn timestamp(&self) -> Option<u32> {
        self.tcp.options().find_map(|option| match option {
            TcpOption::Timestamps { value, .. } => Some(value),
            _ => None,
        })
    }

    /// Whether SACK blocks may be sent.
    pub fn permits_sack(&self) -> bool {
        self.tcp
            .options()
            .any(|option| option == TcpOption::SackPermitted)
    }
}
