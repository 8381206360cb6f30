//! Sockets that a service manager listens at and passes to a service when that starts: the protocol of
//! `sd_listen_fds(3)`. Who connects while there is no process waits in them.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockRef, Type};

/// Those that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Passed(Vec<PassedSocket>);

/// One that listens for streams.
#[derive(Debug)]
struct PassedSocket {
    /// As the manager calls it: its unit, unless that says otherwise.
    name: String,
    at: At,
    socket: OwnedFd,
}

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// At a port.
    Tcp(SocketAddr),
    /// In the file system.
    Unix(PathBuf),
}

/// What was passed is of no use, or the environment makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// A variable is wrong.
    #[error("{name}={value:?} of the environment is {wanted}")]
    Variable {
        /// Which.
        name: &'static str,
        /// What it says.
        value: OsString,
        /// What it should be.
        wanted: &'static str,
    },
    /// It is of another kind.
    #[error("{name} was passed in, and is {what}; in a socket unit, write {instead}")]
    Kind {
        /// As the manager calls it.
        name: String,
        /// What it is, and where.
        what: String,
        /// What would be right.
        instead: &'static str,
    },
    /// It cannot be looked at.
    #[error("descriptor {number} ({name}) was to be passed in: {error}")]
    Descriptor {
        /// Which.
        number: RawFd,
        /// As the manager calls it.
        name: String,
        /// What the kernel says.
        error: io::Error,
    },
}

/// The first descriptor that is passed.
const FIRST: RawFd = 3;
/// More than any manager passes.
const MOST: u64 = 1024;
const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
const STREAM: &str = "ListenStream=, and Accept=no";

// === impl Passed ===

impl Passed {
    /// Those that this process was passed; from now on no child gets them, or hears of them.
    ///
    /// To be called once, before there is a second thread and before anything else is opened.
    ///
    /// # Errors
    /// If one of them is no socket that listens for streams.
    pub fn take() -> Result<Self, PassedError> {
        let names = names(std::process::id(), env::var_os);
        for name in VARIABLES {
            // SAFETY: there is no other thread yet that could read the environment.
            #[allow(unsafe_code)]
            unsafe {
                env::remove_var(name);
            }
        }
        let each = names?.into_iter().zip(FIRST..);
        let sockets: Result<_, _> = each
            .map(|(name, number)| match taken(number) {
                Ok(socket) => PassedSocket::read(name, socket),
                Err(error) => Err(PassedError::Descriptor {
                    number,
                    name,
                    error,
                }),
            })
            .collect();
        sockets.map(Self)
    }

    /// The one that listens at this port.
    pub fn tcp(&mut self, address: SocketAddr) -> Option<OwnedFd> {
        self.find(|at| *at == At::Tcp(address))
    }

    /// The one that has this file, by whatever name.
    pub fn unix(&mut self, path: &Path) -> Option<OwnedFd> {
        self.find(|at| at.is_file(path))
    }

    fn find(&mut self, is: impl Fn(&At) -> bool) -> Option<OwnedFd> {
        let found = self.0.iter().position(|each| is(&each.at))?;
        Some(self.0.remove(found).socket)
    }

    /// Each with the manager's name for it.
    pub fn each(&self) -> impl Iterator<Item = (&str, &At)> {
        self.0.iter().map(|each| (each.name.as_str(), &each.at))
    }
}

/// A descriptor that was passed, kept from children from now on.
fn taken(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointer, and fails for what is no descriptor.
    #[allow(unsafe_code)]
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and the manager says that it is for this process: nobody else here has it.
    #[allow(unsafe_code)]
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The names of what was passed to the process with this number, by what the environment says.
fn names(
    own: u32,
    variable: impl Fn(&'static str) -> Option<OsString>,
) -> Result<Vec<String>, PassedError> {
    let wrong = |name, value, wanted| PassedError::Variable {
        name,
        value,
        wanted,
    };
    let number = |name, wanted| match variable(name) {
        None => Ok(None),
        Some(value) => match value.to_str().and_then(|text| text.parse::<u64>().ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(name, value, wanted)),
        },
    };
    // What is for another process is not this one's to judge.
    if number("LISTEN_PID", "no process")? != Some(own.into()) {
        return Ok(vec![]);
    }
    let count = number("LISTEN_FDS", "no number of descriptors")?.unwrap_or(0);
    if count > MOST {
        let value = OsString::from(count.to_string());
        return Err(wrong(
            "LISTEN_FDS",
            value,
            "more descriptors than there are",
        ));
    }
    let names = match variable("LISTEN_FDNAMES") {
        None => (0..count).map(|_| "unknown".to_owned()).collect(),
        Some(value) => {
            let text = value.to_string_lossy();
            let each = text.split(':').filter(|_| !text.is_empty());
            let names: Vec<String> = each.map(str::to_owned).collect();
            if names.len() as u64 != count {
                return Err(wrong("LISTEN_FDNAMES", value, "not a name for each"));
            }
            names
        }
    };
    Ok(names)
}

// === impl PassedSocket ===

impl PassedSocket {
    /// Sees what it is.
    fn read(name: String, socket: OwnedFd) -> Result<Self, PassedError> {
        let number = socket.as_raw_fd();
        match Self::judge(&socket) {
            Ok(Ok(at)) => Ok(Self { name, at, socket }),
            Ok(Err((what, instead))) => Err(PassedError::Kind {
                name,
                what,
                instead,
            }),
            Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => Err(PassedError::Kind {
                name,
                what: "no socket".to_owned(),
                instead: STREAM,
            }),
            Err(error) => Err(PassedError::Descriptor {
                number,
                name,
                error,
            }),
        }
    }

    /// Where it listens; or what it is instead, and what would be right.
    fn judge(socket: &OwnedFd) -> io::Result<Result<At, (String, &'static str)>> {
        let socket = SockRef::from(socket);
        let (domain, kind) = (socket.domain()?, socket.r#type()?);
        let address = socket.local_addr()?;
        let path = address.as_pathname().map(Path::to_owned);
        let at = match (address.as_socket(), path) {
            (Some(address), _) => At::Tcp(address),
            (None, Some(path)) => At::Unix(path),
            (None, None) => {
                let what = "a socket without an address of IP and without a path".to_owned();
                return Ok(Err((what, "ListenStream=ADDRESS:PORT or a path")));
            }
        };
        let is_tcp = domain == Domain::UNIX || socket.protocol()? == Some(Protocol::TCP);
        if kind != Type::STREAM || !is_tcp {
            return Ok(Err((format!("no stream socket, at {at}"), STREAM)));
        }
        if !socket.is_listener()? {
            return Ok(Err((
                format!("a socket at {at} that does not listen"),
                STREAM,
            )));
        }
        // It would take clients of IPv4 as well, by addresses that are neither.
        let takes_both = matches!(&at, At::Tcp(at) if at.is_ipv6() && at.ip().is_unspecified());
        if takes_both && !socket.only_v6()? {
            let what = format!("a socket of IPv6 at {at} that takes IPv4, too");
            return Ok(Err((what, "BindIPv6Only=ipv6-only, and 0.0.0.0 by itself")));
        }
        Ok(Ok(at))
    }
}

// === impl At ===

impl At {
    /// Whether it is the socket with this file, by whatever name.
    pub fn is_file(&self, path: &Path) -> bool {
        let Self::Unix(own) = self else { return false };
        own == path
            || matches!((fs::canonicalize(own), fs::canonicalize(path)), (Ok(one), Ok(other)) if one == other)
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn said(pid: &str, fds: Option<&str>, fdnames: Option<&str>) -> Result<Vec<String>, String> {
        let told = |name| match name {
            "LISTEN_PID" => Some(pid.into()),
            "LISTEN_FDS" => fds.map(OsString::from),
            _ => fdnames.map(OsString::from),
        };
        names(4711, told).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_passed_to_this_process_is_taken_and_what_is_for_another_is_not() {
        assert_eq!(
            said("4711", Some("2"), Some("ssh:web")).unwrap(),
            ["ssh", "web"]
        );
        assert_eq!(said("4711", Some("1"), None).unwrap(), ["unknown"]);
        for none in [
            said("4712", Some("2"), Some("ssh:web")),
            said("4711", None, None),
            said("4711", Some("0"), Some("")),
        ] {
            assert_eq!(none, Ok(vec![]));
        }
        assert!(names(4711, |_| None).unwrap().is_empty());
    }

    #[test]
    fn an_environment_that_makes_no_sense_is_refused_by_the_name_of_the_variable() {
        for (wrong, why) in [
            (said("me", Some("1"), None), "LISTEN_PID=\"me\""),
            (said("4711", Some("-1"), None), "LISTEN_FDS=\"-1\""),
            (said("4711", Some("99999"), None), "LISTEN_FDS=\"99999\""),
            (
                said("4711", Some("2"), Some("ssh")),
                "LISTEN_FDNAMES=\"ssh\"",
            ),
        ] {
            let error = wrong.unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }

    fn read(socket: impl Into<OwnedFd>) -> Result<At, String> {
        let read = PassedSocket::read("x.socket".to_owned(), socket.into());
        read.map(|read| read.at).map_err(|error| error.to_string())
    }

    #[test]
    fn a_socket_that_listens_is_known_by_its_address() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        assert_eq!(read(tcp), Ok(At::Tcp(address)));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let unix = UnixListener::bind(&path).unwrap();
        let at = read(unix).unwrap();
        assert_eq!(at, At::Unix(path));
        assert!(at.is_file(&directory.path().join("./x.sock")));
        assert!(!at.is_file(&directory.path().join("y.sock")));
    }

    #[test]
    fn what_does_not_listen_for_streams_is_refused() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = read(udp).unwrap_err();
        assert!(
            error.starts_with("x.socket was passed in, and is no stream socket, at 127.0.0.1:")
        );
        assert!(
            error.ends_with("write ListenStream=, and Accept=no"),
            "{error}"
        );
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        assert!(read(stream).unwrap_err().contains("that does not listen"));
        let (unix, _other) = UnixStream::pair().unwrap();
        assert!(read(unix).unwrap_err().contains("without a path"));
        let file = tempfile::tempfile().unwrap();
        assert!(read(file).unwrap_err().contains("is no socket"));
    }

    #[test]
    fn a_socket_for_both_families_is_refused() {
        let socket = socket2::Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        socket.set_only_v6(false).unwrap();
        let any: SocketAddr = "[::]:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(1).unwrap();
        let error = read(socket).unwrap_err();
        assert!(error.contains("BindIPv6Only=ipv6-only"), "{error}");
    }
}
