//! IPv4, IPv6, TCP and ICMP as bytes: views, in-place rewriting, checksums. Pure, no I/O; only a capture is read from what it
//! is given.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `ip` | where the headers of an IPv4 or IPv6 packet end, who sent it, what it carries |
//! | `tcp` | the fields of a TCP header, read and overwritten with the checksum kept right |
//! | `options` | a walk over TCP options, of good segments and of broken ones |
//! | `nflog` | segments that a rule has logged, as the kernel hands them out |
//! | `ctnetlink` | conntrack's counters, as the kernel hands them out |
//! | `offer` | what a SYN offers |
//! | `proxy_header` | what a proxy says of a connection before its first byte |
//! | `icmp` | errors: built for a packet that was too big, and the packet quoted inside one |
//! | `craft` | segments and echoes, made to order |
//! | `capture` | pcap and pcapng, packet by packet |
//! | `link` | the IP packet in a captured frame |
//! | `checksum` | the Internet checksum, computed anew (RFC 1071) or adjusted (RFC 1624) |
//!
//! Everything here takes bytes from strangers: a malformed packet is an error, never a panic.

pub mod capture;
pub mod checksum;
pub mod craft;
pub mod ctnetlink;
pub mod icmp;
pub mod ip;
pub mod link;
pub mod nflog;
pub mod offer;
pub mod options;
pub mod proxy_header;
pub mod tcp;

#[cfg(test)]
pub(crate) mod samples;

pub use ip::{Fragment, Ip};
pub use offer::Offer;
pub use options::{OptionKind, OptionSpan, Options, TcpOption};
pub use tcp::{Flags, Tcp};

/// Why bytes are not the packet they were taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end before the header, or the packet, does.
    #[error("cut short: {needed} bytes needed, {present} present")]
    CutShort {
        /// How many bytes there would have to be.
        needed: usize,
        /// How many there are.
        present: usize,
    },
    /// Neither version 4 nor version 6.
    #[error("IP version {0}, neither 4 nor 6")]
    Version(u8),
    /// A header claims to be shorter than the smallest there is, or longer than its packet.
    #[error("a header length of {0} bytes is impossible")]
    HeaderLength(usize),
    /// More IPv6 extension headers than anybody sends.
    #[error("more than {} IPv6 extension headers", ip::MAX_EXTENSION_HEADERS)]
    TooManyExtensions,
}

/// Fails unless `bytes` holds at least `needed` bytes.
fn require(bytes: &[u8], needed: usize) -> Result<(), Malformed> {
    let present = bytes.len();
    if present < needed {
        return Err(Malformed::CutShort { needed, present });
    }
    Ok(())
}

/// The big-endian 16-bit word at `at`; the caller has checked the length.
fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The big-endian 32-bit word at `at`; the caller has checked the length.
fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
