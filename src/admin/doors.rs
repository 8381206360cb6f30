//! Where the relay can be asked: sockets that are bound at the start, before root is left behind for good.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, open};
use socket2::{Domain, Protocol, Socket, Type};

use super::socket_file::{self, BACKLOG, SocketError, SocketFile};
use crate::config::{Admin, AdminAddress, Asked, ConfigError};
use crate::sys::passed::Passed;
use crate::sys::privileges::Account;

/// Sockets that listen.
#[derive(Debug, Default)]
pub struct Doors {
    pub(super) doors: Vec<Door>,
    /// Why there is none that nobody asked for.
    pub(super) missing: Option<String>,
    /// Files of sockets that were handed over and that nobody asks for any more.
    pub(super) unwanted: Vec<SocketFile>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Door {
    /// As it is bound.
    pub address: AdminAddress,
    pub listener: Listening,
    /// Gone once this is dropped.
    pub file: Option<SocketFile>,
    /// Whether the settings name it: then it can be handed over.
    pub asked_for: bool,
}

#[derive(Debug)]
pub(super) enum Listening {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Where sockets are that are named by their processes. It is root's; whom root becomes has a directory in it.
const DIRECTORY: &str = "/run/unmangle";

/// Where a socket that is named by this process may be: the first that it may write.
fn candidates() -> Vec<PathBuf> {
    let root = PathBuf::from(DIRECTORY);
    let own = own_directory(Account::current());
    [Some(root), own, of_the_session()]
        .into_iter()
        .flatten()
        .collect()
}

/// The directory of somebody whom root becomes.
fn own_directory(account: Account) -> Option<PathBuf> {
    let name = account.uid.to_string();
    (!account.is_root()).then(|| Path::new(DIRECTORY).join(name))
}

/// That of a user who has logged in.
fn of_the_session() -> Option<PathBuf> {
    let runtime = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
    runtime.is_absolute().then(|| runtime.join("unmangle"))
}

/// Where relays are looked for.
pub fn directories() -> Vec<PathBuf> {
    let roots = [Some(PathBuf::from(DIRECTORY)), of_the_session()];
    roots.into_iter().flatten().collect()
}

/// The sockets that are named by processes, and at which somebody answers, or would answer somebody else.
pub fn found() -> Vec<(u32, PathBuf)> {
    let of_users = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let of_users = of_users
        .map(|entry| entry.path())
        .filter(|path| is_number(path) && path.is_dir());
    let all = directories().into_iter().chain(of_users);
    let named = all.flat_map(|each| socket_file::by_process(&each));
    named
        .filter(|(_, path)| socket_file::answers(path).unwrap_or(true))
        .collect()
}

fn is_number(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.parse::<u32>().is_ok())
}

/// Makes the directory that whoever root becomes has its socket in, for it could not remove the socket from root's;
/// to be called as root. What cannot be done is told when the socket cannot be bound.
pub fn prepare(settings: &Admin, heir: Account) {
    let Some(own) = own_directory(heir) else {
        return;
    };
    let wants = match settings {
        Admin::ByProcess => true,
        Admin::Off => false,
        Admin::At(all) => all.iter().any(|asked| is_in(&own, &asked.address)),
    };
    if wants {
        let _ = make(Path::new(DIRECTORY))
            .and_then(|()| make(&own))
            .and_then(|()| hand_over(&own, heir));
    }
}

fn is_in(directory: &Path, address: &AdminAddress) -> bool {
    matches!(address, AdminAddress::Unix(path) if path.parent() == Some(directory))
}

fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn hand_over(directory: &Path, heir: Account) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = open(directory, flags, Mode::empty())?;
    let (user, group) = (Uid::from_raw(heir.uid), Gid::from_raw(heir.gid));
    Ok(fchown(&directory, Some(user), Some(group))?)
}

// === impl Doors ===

impl Doors {
    /// Binds what the settings name, unless a service manager has passed it in.
    ///
    /// # Errors
    /// If an address that was asked for cannot be had; names where it stood.
    pub fn bind(settings: &Admin, passed: &mut Passed) -> Result<Self, ConfigError> {
        let asked = match settings {
            Admin::Off => return Ok(Self::default()),
            Admin::ByProcess => return Ok(Self::by_process()),
            Admin::At(asked) => asked,
        };
        let each = asked.iter();
        let doors: Result<_, _> = each.map(|one| Door::asked_for(one, passed)).collect();
        Ok(Self {
            doors: doors?,
            ..Self::default()
        })
    }

    /// One that is named by this process, in the first directory where that can be.
    fn by_process() -> Self {
        let name = format!("{}.sock", std::process::id());
        let mut why = Vec::new();
        for directory in candidates() {
            let address = AdminAddress::Unix(directory.join(&name));
            let door = make(&directory)
                .map_err(SocketError::from)
                .and_then(|()| Door::bind(&address));
            match door {
                Ok(door) => {
                    socket_file::sweep(&directory);
                    return Self {
                        doors: vec![door],
                        ..Self::default()
                    };
                }
                Err(error) => why.push(format!("{}: {error}", directory.display())),
            }
        }
        Self {
            missing: Some(why.join("; ")),
            ..Self::default()
        }
    }

    /// The addresses that can be reached by TCP.
    pub fn ports(&self) -> Vec<SocketAddr> {
        let ports = self.doors.iter().filter_map(|door| match door.address {
            AdminAddress::Tcp(address) => Some(address),
            AdminAddress::Unix(_) => None,
        });
        ports.collect()
    }
}

impl Door {
    /// One that the settings name.
    pub fn asked_for(asked: &Asked, passed: &mut Passed) -> Result<Self, ConfigError> {
        let passed = match &asked.address {
            AdminAddress::Unix(path) => passed.unix(path),
            AdminAddress::Tcp(address) => passed.tcp(*address),
        };
        let door = match passed {
            Some(socket) => Self::passed(&asked.address, socket),
            None => Self::bind(&asked.address),
        };
        let door = door.map_err(|error| {
            let address = &asked.address;
            let hint = match (address, error.is_denied()) {
                (AdminAddress::Unix(_), true) => {
                    "; whoever the relay runs as must own its directory"
                }
                _ => "",
            };
            asked.origin.error(format!("{address}: {error}{hint}"))
        })?;
        Ok(Self {
            asked_for: true,
            ..door
        })
    }

    fn bind(address: &AdminAddress) -> Result<Self, SocketError> {
        match address {
            AdminAddress::Unix(path) => {
                if is_in(Path::new(DIRECTORY), address) {
                    make(Path::new(DIRECTORY))?;
                }
                let (listener, file) = socket_file::bind(path)?;
                Ok(Self {
                    address: AdminAddress::Unix(fs::canonicalize(path)?),
                    listener: Listening::Unix(listener),
                    file: Some(file),
                    asked_for: false,
                })
            }
            AdminAddress::Tcp(address) => {
                let domain = Domain::for_address(*address);
                let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                if address.is_ipv6() {
                    socket.set_only_v6(true)?;
                }
                socket.bind(&(*address).into())?;
                socket.listen(BACKLOG)?;
                socket.set_nonblocking(true)?;
                let listener = TcpListener::from(socket);
                Ok(Self {
                    address: AdminAddress::Tcp(listener.local_addr()?),
                    listener: Listening::Tcp(listener),
                    file: None,
                    asked_for: false,
                })
            }
        }
    }
}
