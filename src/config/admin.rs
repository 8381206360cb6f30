//! Where the relay answers those who ask how it does.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::keys::{ConfigError, Keys, Origin};

/// Where it answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Admin {
    /// At a Unix socket that is named by the process. Nobody asked for it: where it cannot be had, the relay runs
    /// without.
    #[default]
    ByProcess,
    /// Nowhere.
    Off,
    /// Where it was told to; each of these must be had.
    At(Vec<Asked>),
}

/// An address that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The address.
    pub address: AdminAddress,
    /// Where it stood, for an error that names it.
    pub origin: Origin,
}

/// An address to answer at, or to ask at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AdminAddress {
    /// A socket in the file system: who may open it may ask.
    Unix(PathBuf),
    /// A port: whoever reaches it may ask.
    Tcp(SocketAddr),
}

/// Neither a path nor an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAdminAddress {
    /// It could be either, and is neither.
    #[error(
        "{0:?} is neither the path of a socket nor ADDRESS:PORT; write /run/unmangle/admin.sock or 127.0.0.1:9184"
    )]
    Neither(String),
    /// The kernel has room for no more.
    #[error("the path of a socket has at most {MOST} bytes, and {0:?} has {1}")]
    TooLong(PathBuf, usize),
}

/// The bytes of a socket's path that the kernel has room for, without the zero at the end.
const MOST: usize = 107;

// === impl Admin ===

impl Admin {
    /// Checks what was given.
    ///
    /// # Errors
    /// The first value that is wrong, where it stood and what would be right.
    pub(super) fn read(keys: &Keys) -> Result<Self, ConfigError> {
        let Some(given) = keys.given("admin") else {
            return Ok(Self::ByProcess);
        };
        let wrong = |message: String| given.origin.error(message);
        if given.texts.iter().any(|text| text == "off") {
            return match given.texts.len() {
                1 => Ok(Self::Off),
                _ => Err(wrong(
                    "off stands alone; leave it out, or the addresses".to_owned(),
                )),
            };
        }
        let mut all: Vec<Asked> = Vec::new();
        for text in &given.texts {
            let address: AdminAddress = text
                .parse()
                .map_err(|error: NoAdminAddress| wrong(error.to_string()))?;
            // The kernel chooses another port each time.
            let is_one = !matches!(address, AdminAddress::Tcp(tcp) if tcp.port() == 0);
            if is_one && all.iter().any(|other| other.address == address) {
                return Err(wrong(format!("{address} is there twice")));
            }
            let origin = given.origin.clone();
            all.push(Asked { address, origin });
        }
        Ok(Self::At(all))
    }
}

// === impl AdminAddress ===

impl FromStr for AdminAddress {
    type Err = NoAdminAddress;

    fn from_str(text: &str) -> Result<Self, NoAdminAddress> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        let is_path = text.contains('/') && !text.ends_with('/');
        if !is_path || text.contains(char::is_control) {
            return Err(NoAdminAddress::Neither(text.to_owned()));
        }
        let path = PathBuf::from(text);
        match text.len() {
            ..=MOST => Ok(Self::Unix(path)),
            bytes => Err(NoAdminAddress::TooLong(path, bytes)),
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Admin, String> {
        let mut keys = Keys::default();
        keys.set_flag("admin", texts);
        Admin::read(&keys).map_err(|error| error.to_string())
    }

    fn addresses(texts: &[&str]) -> Vec<String> {
        let Ok(Admin::At(all)) = read(texts) else {
            panic!("{texts:?}");
        };
        all.iter().map(|asked| asked.address.to_string()).collect()
    }

    #[test]
    fn a_slash_makes_a_path_and_digits_an_address() {
        let texts = ["/run/x.sock", "./x.sock", "127.0.0.1:0", "[::1]:9184"];
        assert_eq!(addresses(&texts), texts);
        assert_eq!(read(&[]), Ok(Admin::ByProcess));
        assert_eq!(read(&["off"]), Ok(Admin::Off));
    }

    #[test]
    fn what_is_neither_is_told_what_would_be_right() {
        for text in [
            "",
            "admin.sock",
            "localhost:80",
            "9184",
            "/run/",
            "/a\nb",
            "/a\0",
        ] {
            let error = read(&[text]).unwrap_err();
            assert!(
                error.ends_with("write /run/unmangle/admin.sock or 127.0.0.1:9184"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_path_is_as_long_as_the_kernel_has_room_for() {
        let path = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
        assert!(read(&[&path(107)]).is_ok());
        let error = read(&[&path(108)]).unwrap_err();
        assert!(error.contains("at most 107 bytes"), "{error}");
    }

    #[test]
    fn off_stands_alone_and_an_address_stands_once() {
        let error = read(&["off", "/x"]).unwrap_err();
        assert_eq!(
            error,
            "--admin: off stands alone; leave it out, or the addresses"
        );
        let error = read(&["/x", "/x"]).unwrap_err();
        assert_eq!(error, "--admin: /x is there twice");
        assert_eq!(addresses(&["127.0.0.1:0", "127.0.0.1:0"]).len(), 2);
    }
}
