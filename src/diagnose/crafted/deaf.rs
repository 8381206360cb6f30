//! Ports on which this host neither answers nor resets, so that crafted segments have them for themselves.
//!
//! A socket listens there, with a filter that drops every segment (`tcp_filter` in net/ipv4/tcp_ipv4.c): the kernel
//! finds it, and so sends no reset; and it shows it nothing, so that it sends no SYN-ACK. A tap sees all of it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use socket2::{Domain, Protocol, Socket, Type};

use super::{Unable, filter};

/// A port that is held so, for as long as this lives.
#[derive(Debug)]
pub struct Deaf {
    port: u16,
    _socket: Socket,
}

/// Deaf ports of this host that several sessions share: each is bound once.
#[derive(Debug, Default)]
pub struct Shared(Mutex<HashMap<(IpAddr, u16), Weak<Deaf>>>);

/// Sees that this process may hold one: some kernels let only CAP_NET_ADMIN filter a TCP socket.
pub(super) fn permitted() -> Result<(), Unable> {
    let cannot = |error| Unable::Kernel("a socket that is silent", error);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).map_err(cannot)?;
    match socket.attach_filter(&filter::nothing()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Unable::Filter),
        attached => attached.map_err(cannot),
    }
}

// === impl Deaf ===

impl Deaf {
    /// Holds a port of this address; of every one of its family if that is unspecified. Port 0 takes a free one.
    ///
    /// # Errors
    /// `EADDRINUSE` if a service has the port, `EACCES` if it needs CAP_NET_BIND_SERVICE, `EPERM` where the kernel
    /// wants CAP_NET_ADMIN for the filter.
    pub fn hold(address: SocketAddr) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(true)?;
        }
        // What a former flow has left in TIME-WAIT is no service.
        socket.set_reuse_address(true)?;
        socket.attach_filter(&filter::nothing())?;
        socket.bind(&address.into())?;
        socket.listen(1)?;
        let bound = socket.local_addr()?.as_socket();
        let port = bound.map_or(0, |address| address.port());
        Ok(Self {
            port,
            _socket: socket,
        })
    }

    /// Which port it is.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

// === impl Shared ===

impl Shared {
    /// Holds a port for every address of this one's family.
    ///
    /// # Errors
    /// As for [`Deaf::hold`].
    pub fn hold(&self, family: IpAddr, port: u16) -> io::Result<Arc<Deaf>> {
        let everywhere: IpAddr = match family {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let key = (everywhere, port);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(deaf) = held.get(&key).and_then(Weak::upgrade) {
            return Ok(deaf);
        }
        let deaf = Arc::new(Deaf::hold(key.into())?);
        held.insert(key, Arc::downgrade(&deaf));
        Ok(deaf)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_is_held_once_for_all_and_given_back_by_the_last() {
        let shared = Shared::default();
        let free = Deaf::hold((Ipv4Addr::UNSPECIFIED, 0).into())
            .unwrap()
            .port();
        let v4 = Ipv4Addr::LOCALHOST.into();
        let first = shared.hold(v4, free).unwrap();
        let second = shared.hold(v4, free).unwrap();
        assert_eq!((first.port(), second.port()), (free, free));
        drop(first);
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, free));
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(second);
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, free)).unwrap();
    }

    #[test]
    fn the_port_of_a_service_is_not_taken_from_it() {
        let service = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = service.local_addr().unwrap().port();
        let error = Shared::default()
            .hold(Ipv4Addr::LOCALHOST.into(), port)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
