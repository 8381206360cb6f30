//! `IP_BIND_ADDRESS_NO_PORT`: an address now, a port when it is known where to.

use std::io;
use std::os::fd::AsFd;

use super::socket_option::set_integer;

/// Has a bind to port 0 leave the port to connect, of either family. A port that is chosen by bind is
/// nobody else's, whomever they connect to; one that is chosen by connect can serve for many servers.
///
/// # Errors
/// Whatever `setsockopt` says.
pub fn choose_port_at_connect(socket: impl AsFd) -> io::Result<()> {
    set_integer(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, SockAddr, Socket, Type};
    use std::net::{SocketAddr, TcpListener};

    #[test]
    fn a_bound_socket_has_no_port_until_it_is_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        choose_port_at_connect(&socket).unwrap();
        let port = |socket: &Socket| socket.local_addr().unwrap().as_socket().unwrap().port();
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        assert_eq!(port(&socket), 0);
        socket
            .connect(&SockAddr::from(listener.local_addr().unwrap()))
            .unwrap();
        assert_ne!(port(&socket), 0);
    }

    #[test]
    fn ipv6_has_it_too() {
        match Socket::new(Domain::IPV6, Type::STREAM, None) {
            Ok(socket) => choose_port_at_connect(&socket).unwrap(),
            Err(error) => println!("skipped: {error}"),
        }
    }
}
