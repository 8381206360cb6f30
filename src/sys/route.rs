//! By which interface packets to an address leave, and how long they may be there: rtnetlink(7), asked by who needs
//! no privilege. `linux/rtnetlink.h` and `linux/if_link.h` have the numbers.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, recv, sendto,
    socket_with,
};

use super::rtnetlink::{HEADER, attribute, number, short};

/// An interface of this network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Bytes of the longest packet, IP header included.
    pub mtu: u32,
}

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const IFLA_MTU: u16 = 4;
/// What follows the header: `struct rtmsg`, `struct ifinfomsg`.
const ROUTE: usize = 12;
const LINK: usize = 16;
const LONGEST: usize = 32 << 10;

// === impl Interface ===

impl Interface {
    /// The one by which packets to this address leave (its port does not matter, the scope of a link-local one does);
    /// the MTU is its own, whatever is known of the path.
    ///
    /// # Errors
    /// `ENETUNREACH` and the like if there is no route.
    pub fn towards(address: SocketAddr) -> io::Result<Self> {
        // No protocol is rtnetlink.
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let patience = Some(std::time::Duration::from_secs(5));
        set_socket_timeout(&socket, Timeout::Recv, patience)?;
        let route = ask(&socket, &route_to(address), RTM_NEWROUTE)?;
        let index = number_of(&route, ROUTE, RTA_OIF)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NetworkUnreachable))?;
        let link = ask(&socket, &link_of(index), RTM_NEWLINK)?;
        let mtu = number_of(&link, LINK, IFLA_MTU)
            .ok_or_else(|| io::Error::other("the kernel tells no MTU of the interface"))?;
        Ok(Self { index, mtu })
    }

    /// Its name.
    ///
    /// # Errors
    /// If it is gone.
    pub fn name(&self) -> io::Result<String> {
        Ok(netdevice::index_to_name(&any_socket()?, self.index)?)
    }
}

/// The index of the interface that is called this.
///
/// # Errors
/// `ENODEV` if none is.
pub fn index_of(name: &str) -> io::Result<u32> {
    Ok(netdevice::name_to_index(&any_socket()?, name)?)
}

/// Interfaces are named by requests of a socket, whichever it is: netdevice(7).
fn any_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        flags,
        None,
    )?)
}

/// The answer to a request, if it is of this kind.
fn ask(socket: &OwnedFd, request: &[u8], kind: u16) -> io::Result<Vec<u8>> {
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(socket, request, SendFlags::empty(), &kernel)?;
    let mut answer = vec![0; LONGEST];
    let (_, length) = recv(socket, answer.as_mut_slice(), RecvFlags::empty())?;
    answer.truncate(length);
    match short(&answer, 4) {
        Some(told) if told == kind => Ok(answer),
        Some(NLMSG_ERROR) => {
            let error = number(&answer, HEADER).unwrap_or_default() as i32;
            Err(io::Error::from_raw_os_error(-error))
        }
        _ => Err(io::Error::other(
            "the kernel answers something else than was asked",
        )),
    }
}

// === the messages, as bytes ===

fn route_to(address: SocketAddr) -> Vec<u8> {
    let (family, bytes, scope) = match address {
        SocketAddr::V4(v4) => (AddressFamily::INET, v4.ip().octets().to_vec(), 0),
        SocketAddr::V6(v6) => {
            let bytes = v6.ip().octets().to_vec();
            (AddressFamily::INET6, bytes, v6.scope_id())
        }
    };
    let mut body = [0; ROUTE];
    body[0] = family.as_raw() as u8;
    // The whole address.
    body[1] = bytes.len() as u8 * 8;
    let mut message = request(RTM_GETROUTE, &body);
    message.extend((4 + bytes.len() as u16).to_ne_bytes());
    message.extend(RTA_DST.to_ne_bytes());
    message.extend(bytes);
    if scope != 0 {
        message.extend(8_u16.to_ne_bytes());
        message.extend(RTA_OIF.to_ne_bytes());
        message.extend(scope.to_ne_bytes());
    }
    whole(message)
}

fn link_of(index: u32) -> Vec<u8> {
    let mut body = [0; LINK];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    whole(request(RTM_GETLINK, &body))
}

fn request(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0; HEADER];
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message.extend(body);
    message
}

fn whole(mut message: Vec<u8>) -> Vec<u8> {
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

/// An attribute that is a number.
fn number_of(message: &[u8], body: usize, kind: u16) -> Option<u32> {
    number(attribute(message, body, kind)?, 0)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_way_to_this_host_itself_is_the_loopback_interface() {
        let of_kernel = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
        let found = Interface::towards((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        assert_eq!(found.mtu.to_string(), of_kernel.trim());
        assert_eq!(found.index, 1);
        assert_eq!(found.name().unwrap(), "lo");
        assert_eq!(index_of("lo").unwrap(), 1);
        assert!(index_of("no-such-dev").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_taken_for_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = number_of(&bytes, LINK, IFLA_MTU);
            let _ = number_of(&bytes, ROUTE, RTA_OIF);
        }
    }
}
