//! A forward relay on this host's own loopback addresses, between a server and clients of a test: no
//! namespace and no privilege is needed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::{PATIENCE, Pair, Relay};

/// A relay, and what it leads to.
pub struct Here {
    pub relay: Relay,
    pub server: TcpListener,
    pub door: SocketAddr,
    _directory: TempDir,
}

impl Here {
    /// A relay for a server of its own.
    pub fn with(more: &[&str]) -> Self {
        Self::started_by(&[], more)
    }

    /// The same, started by another program.
    pub fn started_by(starter: &[&str], more: &[&str]) -> Self {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = server.local_addr().unwrap().to_string();
        Self::before(server, starter, &[&["--to", &to], more].concat())
    }

    /// A relay for this server, which `more` has to lead to.
    pub fn before(server: TcpListener, starter: &[&str], more: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let arguments = [&["--listen", "127.0.0.1:0"], more].concat();
        let relay = Relay::start_here(directory.path(), starter, &arguments);
        Self {
            door: relay.listens_at(),
            relay,
            server,
            _directory: directory,
        }
    }

    /// A connection from 127.0.0.`host`; all of them are this host's.
    pub fn dial(&self, host: u8) -> TcpStream {
        self.try_dial(host).unwrap()
    }

    fn try_dial(&self, host: u8) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
        socket.bind(&from.into())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.connect_timeout(&self.door.into(), PATIENCE)?;
        Ok(socket.into())
    }

    /// The same, with the other end.
    pub fn connect(&self, host: u8) -> Pair {
        let client = self.dial(host);
        let server = super::accept(&self.server);
        Pair { client, server }
    }

    /// Sees that a client is reset; one whose reset came before it looked is, too.
    pub fn expect_refused(&self, host: u8) {
        super::expect_no_session(self.try_dial(host));
    }

    /// What was counted.
    pub fn count(&self, name: &str) -> u64 {
        self.relay.table()[name]
    }
}
