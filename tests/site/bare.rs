//! TCP segments without a TCP: every header is the test's own.

use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// Sends segments of one family by the namespace it was made in.
pub struct Bare(Socket);

// === impl Bare ===

impl Bare {
    /// For segments to `server`.
    pub fn to(server: SocketAddr) -> Self {
        // IPPROTO_RAW: headers are ours.
        let protocol = Some(Protocol::from(255));
        Self(Socket::new(Domain::for_address(server), Type::RAW, protocol).unwrap())
    }

    /// A segment without bytes, with a window of 1000. Its way out may end at a rule.
    pub fn send(&self, from: SocketAddr, to: SocketAddr, flags: u8, seq: u32, ack: u32) {
        let mut tcp = Vec::new();
        tcp.extend(from.port().to_be_bytes());
        tcp.extend(to.port().to_be_bytes());
        tcp.extend(seq.to_be_bytes());
        tcp.extend(ack.to_be_bytes());
        tcp.extend([5 << 4, flags]);
        tcp.extend(1000_u16.to_be_bytes());
        // Conntrack looks at checksums of what arrives alone.
        tcp.extend([0; 4]);
        let length = tcp.len() as u16;
        let mut packet = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut header = vec![0x45, 0];
                header.extend((20 + length).to_be_bytes());
                header.extend([0, 0, 0, 0, 64, 6, 0, 0]);
                header.extend(from.octets());
                header.extend(to.octets());
                header
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut header = vec![0x60, 0, 0, 0];
                header.extend(length.to_be_bytes());
                header.extend([6, 64]);
                header.extend(from.octets());
                header.extend(to.octets());
                header
            }
            mixed => panic!("{mixed:?}"),
        };
        packet.extend(tcp);
        let to = SocketAddr::new(to.ip(), 0);
        match self.0.send_to(&packet, &to.into()) {
            Ok(sent) => assert_eq!(sent, packet.len()),
            // What a rule drops on its way out is told as an error.
            Err(error) => assert_eq!(error.raw_os_error(), Some(1), "{error}"),
        }
    }
}
