//! Sockets that another process has listened at, and hands over: nobody who connects meanwhile is refused.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use socket2::{Domain, SockRef};

use super::doors::{Door, Doors, Listening};
use super::socket_file::{SocketError, SocketFile};
use crate::config::{Admin, AdminAddress, ConfigError};
use crate::sys::passed::Passed;

/// A socket that another process has answered at.
#[derive(Debug)]
pub struct HandedDoor {
    /// Where that is, as `--admin` has it.
    pub address: String,
    /// Whether its file stays when whoever answers there ends: a service manager made it.
    pub lasts: bool,
    /// The socket.
    pub socket: OwnedFd,
}

/// What was handed over and nobody has taken yet.
struct Handed(Vec<(AdminAddress, HandedDoor)>);

// === impl Doors ===

impl Doors {
    /// Takes what the settings name out of what [`Server::doors`](super::Server::doors) of another process was, and binds
    /// the rest.
    ///
    /// What was handed over stays the other's until [`Server::start`](super::Server::start): dropped before, this
    /// removes no file of it, and the other can go on answering. A port that the kernel is to choose is the one that
    /// the other had at that address.
    ///
    /// # Errors
    /// If an address that was asked for cannot be had; names where it stood.
    pub fn adopt(settings: &Admin, handed: Vec<HandedDoor>) -> Result<Self, ConfigError> {
        let mut handed = Handed::read(handed);
        let mut doors = Self::default();
        if let Admin::At(asked) = settings {
            // An address that is named is nobody's who leaves it to the kernel.
            let exact: Vec<_> = asked.iter().map(|one| handed.take(&one.address)).collect();
            for (asked, exact) in asked.iter().zip(exact) {
                let door = match exact.or_else(|| handed.take_any_port(&asked.address)) {
                    Some((address, handed)) => Door::handed(address, handed).map_err(|error| {
                        let address = &asked.address;
                        asked
                            .origin
                            .error(format!("{address}: handed over: {error}"))
                    })?,
                    None => Door::asked_for(asked, &mut Passed::default())?,
                };
                doors.doors.push(door);
            }
        } else {
            doors = Self::bind(settings, &mut Passed::default())?;
        }
        doors.unwanted = handed.files();
        Ok(doors)
    }
}

// === impl Door ===

impl Door {
    /// One at an address that the settings name, which a service manager has passed in.
    pub(super) fn passed(address: &AdminAddress, socket: OwnedFd) -> Result<Self, SocketError> {
        let address = match address {
            AdminAddress::Unix(path) => AdminAddress::Unix(fs::canonicalize(path)?),
            AdminAddress::Tcp(_) => address.clone(),
        };
        let lasts = true;
        let handed = HandedDoor {
            address: address.to_string(),
            lasts,
            socket,
        };
        Self::handed(address, handed)
    }

    fn handed(address: AdminAddress, handed: HandedDoor) -> Result<Self, SocketError> {
        let HandedDoor { lasts, socket, .. } = handed;
        let sock = SockRef::from(&socket);
        if !sock.is_listener()? {
            return Err(SocketError::NotListening);
        }
        let (listener, file) = match &address {
            AdminAddress::Unix(path) if sock.domain()? == Domain::UNIX => {
                let file = match lasts {
                    true => SocketFile::of_a_manager(path)?,
                    false => SocketFile::of_another(path)?,
                };
                (Listening::Unix(UnixListener::from(socket)), Some(file))
            }
            AdminAddress::Tcp(at) if sock.local_addr()?.as_socket() == Some(*at) => {
                (Listening::Tcp(TcpListener::from(socket)), None)
            }
            AdminAddress::Unix(_) | AdminAddress::Tcp(_) => return Err(SocketError::NotListening),
        };
        match &listener {
            Listening::Unix(listener) => listener.set_nonblocking(true)?,
            Listening::Tcp(listener) => listener.set_nonblocking(true)?,
        }
        Ok(Self {
            address,
            listener,
            file,
            asked_for: true,
        })
    }
}

// === impl Handed ===

impl Handed {
    fn read(handed: Vec<HandedDoor>) -> Self {
        let each = handed.into_iter();
        let known = each.filter_map(|door| match door.address.parse::<AdminAddress>() {
            Ok(address) => Some((address, door)),
            Err(error) => {
                tracing::warn!("an admin socket was handed over that is not understood: {error}");
                None
            }
        });
        Self(known.collect())
    }

    /// The one at this address, by whatever name.
    fn take(&mut self, asked: &AdminAddress) -> Option<(AdminAddress, HandedDoor)> {
        let asked = match asked {
            AdminAddress::Unix(path) => AdminAddress::Unix(fs::canonicalize(path).ok()?),
            AdminAddress::Tcp(_) => asked.clone(),
        };
        self.find(|address| *address == asked)
    }

    /// One at whatever port, if any port will do.
    fn take_any_port(&mut self, asked: &AdminAddress) -> Option<(AdminAddress, HandedDoor)> {
        let AdminAddress::Tcp(asked) = asked else {
            return None;
        };
        self.find(|address| {
            matches!(address, AdminAddress::Tcp(tcp) if asked.port() == 0 && tcp.ip() == asked.ip())
        })
    }

    fn find(&mut self, is: impl Fn(&AdminAddress) -> bool) -> Option<(AdminAddress, HandedDoor)> {
        let at = self.0.iter().position(|(address, _)| is(address))?;
        Some(self.0.remove(at))
    }

    /// The files of what nobody has taken.
    fn files(self) -> Vec<SocketFile> {
        let paths = self
            .0
            .into_iter()
            .filter_map(|(address, door)| match address {
                AdminAddress::Unix(path) if !door.lasts => Some(path),
                AdminAddress::Unix(_) | AdminAddress::Tcp(_) => None,
            });
        // One that is not there need not be removed.
        paths
            .filter_map(|path| SocketFile::of_another(&path).ok())
            .collect()
    }
}
