//! What a service manager is told: the protocol of `sd_notify(3)`, a datagram to the socket that `NOTIFY_SOCKET` names.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How this service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has started, or what it was doing to its settings is done.
    Ready,
    /// It does what it is for; to be said again and again, if there is a [`watchdog`].
    Alive,
    /// It takes on other settings; [`State::Ready`] follows.
    Reloading,
    /// Another process of the service, which is ready, is the one that matters from now on.
    MainPid(u32),
    /// The service is about to end; not for a process to say whose place another one has taken.
    Stopping,
}

/// The service manager wants something of the watchdog that makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{name}={value:?} of the environment is {wanted}")]
pub struct WatchdogError {
    name: &'static str,
    value: OsString,
    wanted: &'static str,
}

/// How long the service manager waits for [`State::Alive`] before it ends the service; nothing if it does not, or waits
/// for another process to say it.
///
/// # Errors
/// If what the environment says makes no sense.
pub fn watchdog() -> Result<Option<Duration>, WatchdogError> {
    interval(std::process::id(), env::var_os)
}

fn interval(
    own: u32,
    variable: impl Fn(&'static str) -> Option<OsString>,
) -> Result<Option<Duration>, WatchdogError> {
    let number = |name, wanted| match variable(name) {
        None => Ok(None),
        Some(value) => match value.to_str().and_then(|text| text.parse::<u64>().ok()) {
            Some(number) if number > 0 => Ok(Some(number)),
            _ => Err(WatchdogError {
                name,
                value,
                wanted,
            }),
        },
    };
    let pid = number("WATCHDOG_PID", "no process")?;
    let micros = number("WATCHDOG_USEC", "no time in microseconds")?;
    let is_for_us = pid.is_none_or(|pid| pid == u64::from(own));
    Ok(micros.filter(|_| is_for_us).map(Duration::from_micros))
}

/// Tells the service manager, if there is one that wants to know.
///
/// # Errors
/// If it wants to know, and cannot be told.
pub fn announce(state: State) -> io::Result<()> {
    match env::var_os("NOTIFY_SOCKET") {
        Some(socket) if !socket.is_empty() => send(&socket, &state.text()),
        _ => Ok(()),
    }
}

fn send(socket: &OsStr, text: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        // An abstract socket: there is no file.
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(socket)?,
        _ => {
            let why = format!("NOTIFY_SOCKET={} is no Unix socket", socket.display());
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address)?;
    Ok(())
}

// === impl State ===

impl State {
    fn text(self) -> String {
        match self {
            Self::Ready => "READY=1\n".to_owned(),
            Self::Alive => "WATCHDOG=1\n".to_owned(),
            Self::Reloading => {
                // By this it knows which of two reloads is over.
                let now = clock_gettime(ClockId::Monotonic);
                let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
                format!("RELOADING=1\nMONOTONIC_USEC={micros}\n")
            }
            Self::MainPid(pid) => format!("MAINPID={pid}\nREADY=1\n"),
            Self::Stopping => "STOPPING=1\n".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(manager: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let count = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_with_a_file_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        for (state, text) in [
            (State::Ready, "READY=1\n"),
            (State::Alive, "WATCHDOG=1\n"),
            (State::MainPid(4711), "MAINPID=4711\nREADY=1\n"),
            (State::Stopping, "STOPPING=1\n"),
        ] {
            send(path.as_os_str(), &state.text()).unwrap();
            assert_eq!(received(&manager), text);
        }
    }

    #[test]
    fn a_manager_without_a_file_is_told() {
        let name = format!("unmangle-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&format!("@{name}")), &State::Ready.text()).unwrap();
        assert_eq!(received(&manager), "READY=1\n");
    }

    #[test]
    fn a_watchdog_waits_for_the_process_that_it_names_or_for_any() {
        let waits = |pid: Option<&str>, micros: Option<&str>| {
            let told = |name| match name {
                "WATCHDOG_PID" => pid.map(OsString::from),
                _ => micros.map(OsString::from),
            };
            interval(4711, told).map_err(|error| error.to_string())
        };
        let second = Ok(Some(Duration::from_secs(1)));
        assert_eq!(waits(Some("4711"), Some("1000000")), second);
        assert_eq!(waits(None, Some("1000000")), second);
        assert_eq!(waits(Some("4712"), Some("1000000")), Ok(None));
        assert_eq!(waits(Some("4711"), None), Ok(None));
        assert_eq!(waits(None, None), Ok(None));
        assert_eq!(
            waits(None, Some("soon")).unwrap_err(),
            "WATCHDOG_USEC=\"soon\" of the environment is no time in microseconds"
        );
        assert!(waits(None, Some("0")).is_err() && waits(Some("-1"), None).is_err());
    }

    #[test]
    fn two_reloads_are_told_apart_by_their_times() {
        let time = || -> u64 {
            let text = State::Reloading.text();
            let time = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            time.trim_end().parse().unwrap()
        };
        let first = time();
        assert!(first > 0 && time() >= first);
    }

    #[test]
    fn a_manager_that_cannot_be_told_is_an_error_that_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let gone = directory.path().join("gone");
        let error = send(gone.as_os_str(), "READY=1\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = send(OsStr::new("vsock:2:1234"), "READY=1\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "NOTIFY_SOCKET=vsock:2:1234 is no Unix socket"
        );
    }
}
