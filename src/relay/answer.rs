//! How a client is answered whose server was dialled first, and was not to be had.

use rustix::io::Errno;

use super::dial::DialError;

/// How a client is answered whose server was not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// By a reset.
    Refused,
    /// By ICMP, as are the next.
    HostUnreachable,
    /// The same, of the whole network.
    NetworkUnreachable,
    /// It was not the server's fault: accept it, and dial again.
    AtOnce,
}

// === impl Answer ===

impl Answer {
    /// What a router, or the server itself, would have told the client.
    pub fn to(error: &DialError) -> Self {
        let error = match error {
            DialError::Timeout { .. } => return Answer::HostUnreachable,
            DialError::Refused { .. } => return Answer::Refused,
            DialError::Failed { error, .. } | DialError::Unknown { error, .. } => error,
        };
        let Some(code) = error.raw_os_error() else {
            return Answer::AtOnce;
        };
        match Errno::from_raw_os_error(code) {
            Errno::CONNREFUSED | Errno::CONNRESET => Answer::Refused,
            // EACCES: ICMPv6 says that it is prohibited.
            Errno::TIMEDOUT
            | Errno::HOSTUNREACH
            | Errno::HOSTDOWN
            | Errno::NOPROTOOPT
            | Errno::ACCESS => Answer::HostUnreachable,
            Errno::NETUNREACH | Errno::NONET => Answer::NetworkUnreachable,
            _ => Answer::AtOnce,
        }
    }

    /// The name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "reset",
            Self::HostUnreachable => "host unreachable",
            Self::NetworkUnreachable => "network unreachable",
            Self::AtOnce => "none: it is accepted, and dialled again",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::addr::{ClientAddr, Destination, OriginalDst};

    fn failed(errno: Errno) -> DialError {
        DialError::Failed {
            server: Destination::Original(OriginalDst(([192, 0, 2, 1], 22).into())),
            client: ClientAddr(([192, 0, 2, 2], 40_000).into()),
            error: errno.into(),
        }
    }

    #[test]
    fn the_client_is_told_what_the_server_or_the_path_to_it_has_said() {
        for (errno, answer) in [
            (Errno::CONNREFUSED, Answer::Refused),
            (Errno::HOSTUNREACH, Answer::HostUnreachable),
            (Errno::TIMEDOUT, Answer::HostUnreachable),
            (Errno::NETUNREACH, Answer::NetworkUnreachable),
        ] {
            assert_eq!(Answer::to(&failed(errno)), answer, "{errno}");
        }
    }

    #[test]
    fn what_is_the_relays_own_trouble_is_not_blamed_on_the_server() {
        for errno in [Errno::MFILE, Errno::NOMEM, Errno::PERM, Errno::ADDRINUSE] {
            assert_eq!(Answer::to(&failed(errno)), Answer::AtOnce, "{errno}");
        }
    }
}
