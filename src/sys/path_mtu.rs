//! What a socket does about the path MTU that the host has learnt. ip(7), ipv6(7)

use std::io;
use std::os::fd::AsFd;

use socket2::Domain;

use super::socket_option::set_integer;

/// Has a socket send packets as long as the device's MTU, whatever the host has been told of the path: a probe has to
/// send what does not get through.
///
/// # Errors
/// Whatever `setsockopt` says.
pub fn send_beyond(socket: impl AsFd, family: Domain) -> io::Result<()> {
    let (level, name, value) = match family {
        Domain::IPV6 => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_PROBE,
        ),
        _ => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_PROBE,
        ),
    };
    set_integer(socket, level, name, value)
}
