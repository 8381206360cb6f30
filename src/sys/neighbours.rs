//! Hosts on this host's own links that do not answer when they are looked for (ARP, neighbour discovery).
//!
//! The kernel tells a socket that its peer's host is not there by an ICMP error to the socket's own address.
//! A leg that bears a client's address never sees it: the error goes to the client, who does not know the
//! leg. So this is learnt here. `linux/neighbour.h` has the numbers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use super::rtnetlink::{HEADER, attribute, number, short};

/// What the kernel tells of neighbours, from now on.
#[derive(Debug)]
pub struct Neighbours(OwnedFd);

/// RTMGRP_NEIGH.
const GROUP: u32 = 4;
const RTM_NEWNEIGH: u16 = 28;
const NUD_FAILED: u16 = 0x20;
const NDA_DST: u16 = 1;
const LONGEST: usize = 8192;
/// `struct ndmsg`, after the header.
const BODY: usize = 12;

// === impl Neighbours ===

impl Neighbours {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the kernel gives no socket.
    pub fn listen() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // No protocol is rtnetlink.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUP))?;
        Ok(Self(socket))
    }

    /// Hosts that did not answer, of which was not told before; none if the news are of others.
    ///
    /// # Errors
    /// `WouldBlock` if there are no news.
    pub fn lost(&self) -> io::Result<Vec<IpAddr>> {
        let mut buffer = [0; LONGEST];
        match recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, length)) => Ok(lost_in(&buffer[..length.min(LONGEST)])),
            // Some news were too many: who waits for them has a deadline.
            Err(Errno::NOBUFS | Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsRawFd for Neighbours {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

// === the messages, as bytes ===

fn lost_in(mut messages: &[u8]) -> Vec<IpAddr> {
    let mut lost = Vec::new();
    while let Some(length) = number(messages, 0).map(|length| length as usize)
        && (HEADER..=messages.len()).contains(&length)
    {
        lost.extend(lost_neighbour(&messages[..length]));
        messages = messages
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    lost
}

fn lost_neighbour(message: &[u8]) -> Option<IpAddr> {
    let state = short(message, HEADER + 8)?;
    if short(message, 4)? != RTM_NEWNEIGH || state & NUD_FAILED == 0 {
        return None;
    }
    address(attribute(message, BODY, NDA_DST)?)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(v6).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(state: u16, address: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + BODY];
        bytes[4..6].copy_from_slice(&RTM_NEWNEIGH.to_ne_bytes());
        bytes[24..26].copy_from_slice(&state.to_ne_bytes());
        // One attribute before the one that matters.
        for (kind, value) in [(2, &[1, 2, 3, 4, 5, 6][..]), (NDA_DST, address)] {
            bytes.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    #[test]
    fn neighbours_that_failed_are_told_from_those_that_are_there() {
        const REACHABLE: u16 = 2;
        let v6: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let news = [
            message(NUD_FAILED, &[192, 0, 2, 7]),
            message(REACHABLE, &[192, 0, 2, 8]),
            message(NUD_FAILED, &v6.octets()),
        ]
        .concat();
        let v4: IpAddr = [192, 0, 2, 7].into();
        assert_eq!(lost_in(&news), [v4, v6.into()]);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_taken_for_news(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), length in 0..120_u32) {
            if let Some(first) = bytes.get_mut(..6) {
                first[..4].copy_from_slice(&length.to_ne_bytes());
                first[4..].copy_from_slice(&RTM_NEWNEIGH.to_ne_bytes());
            }
            lost_in(&bytes);
        }
    }
}
