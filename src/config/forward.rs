//! An explicit listener: what comes to it is passed on to a fixed target.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use super::identity::Identity;

/// An explicit listener and where its connections go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Where clients connect to.
    pub listen: SocketAddr,
    /// Where their connections go.
    pub to: Target,
    /// Which of the two legs crosses the firewall.
    pub mangled: MangledLeg,
    /// What is believed and told of a client's address.
    pub identity: Identity,
}

/// A host and a port; the name is looked up at each dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: Arc<str>,
    port: u16,
    address: Option<IpAddr>,
}

/// Which leg of a forwarded session crosses the firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MangledLeg {
    /// The client's.
    Downstream,
    /// The server's.
    Upstream,
}

/// Why a value for [`Forward`] is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ForwardError {
    /// Not an address to listen at.
    #[error(
        "{0:?} is not an address to listen at; give one such as 127.0.0.1:2222, 0.0.0.0:2222 or [::]:2222"
    )]
    Listen(String),
    /// Not a target.
    #[error(
        "{0:?} is not a target; give HOST:PORT such as backup.example:22, 192.0.2.7:22 or [2001:db8::1]:22"
    )]
    Target(String),
    /// Not a leg.
    #[error("{0:?} is not a leg; give downstream (the client's) or upstream (the server's)")]
    Leg(String),
}

impl Forward {
    /// Reads the address to listen at.
    ///
    /// # Errors
    /// [`ForwardError::Listen`].
    pub fn parse_listen(text: &str) -> Result<SocketAddr, ForwardError> {
        text.parse()
            .map_err(|_| ForwardError::Listen(text.to_owned()))
    }
}

impl Target {
    /// The host, as an address or a name, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, if it is one and no name.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl FromStr for Target {
    type Err = ForwardError;

    fn from_str(text: &str) -> Result<Self, ForwardError> {
        let refuse = || ForwardError::Target(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(refuse)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let fits = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            }
        };
        let host = bracketed.unwrap_or(host);
        if fits {
            Ok(Self {
                host: host.into(),
                port,
                address: host.parse().ok(),
            })
        } else {
            Err(refuse())
        }
    }
}

impl FromStr for MangledLeg {
    type Err = ForwardError;

    fn from_str(text: &str) -> Result<Self, ForwardError> {
        match text {
            "downstream" => Ok(Self::Downstream),
            "upstream" => Ok(Self::Upstream),
            _ => Err(ForwardError::Leg(text.to_owned())),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for MangledLeg {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_name_or_an_address_of_either_family() {
        for text in ["backup.example:22", "192.0.2.7:873", "[2001:db8::1]:22"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_target_is_refused_by_name() {
        for text in [
            "",
            "host",
            "host:0",
            "host:ssh",
            ":22",
            "2001:db8::1:22",
            "[host]:22",
            "a b:22",
        ] {
            assert_eq!(
                text.parse::<Target>(),
                Err(ForwardError::Target(text.to_owned()))
            );
        }
    }
}
