//! `TCP_WINDOW_CLAMP`: how far the receive window may be opened.

use std::io;
use std::os::fd::AsFd;

use super::socket_option::set_integer;

/// Holds the receive window of a socket at or below `bytes`. Before connect or listen, up to 65535
/// also makes the socket announce a window scale of 0 (tcp_select_initial_window in
/// net/ipv4/tcp_output.c). The kernel keeps it above half of its smallest receive buffer.
///
/// # Errors
/// Whatever `setsockopt` says.
pub fn set_window_clamp(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    set_integer(socket, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tcp_info::tcp_info;
    use socket2::{Domain, SockAddr, Socket, Type};
    use std::net::TcpListener;

    #[test]
    fn a_clamp_of_64_kib_announces_a_window_scale_of_0() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        set_window_clamp(&socket, 65535).unwrap();
        socket
            .connect(&SockAddr::from(listener.local_addr().unwrap()))
            .unwrap();
        let scale = tcp_info(&socket).unwrap().window_scale;
        // Both ends scale, unless the host has tcp_window_scaling=0.
        assert_eq!(scale.expect("a negotiated window scale").own, 0);
    }
}
