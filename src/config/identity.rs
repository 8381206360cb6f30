//! Who a forwarded client is said to be: from whom that is believed, and how the server is told.

use std::net::IpAddr;
use std::time::Duration;

use super::choice::DialFrom;
use super::intercept::Networks;
use super::keys::{ConfigError, Keys};
use super::settings::duration;
use crate::packet::proxy_header::Version;

/// What is believed and told of a client's address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// From whom a PROXY header is expected; nobody's if `None`.
    pub accept: Option<AcceptProxy>,
    /// The PROXY header that the server gets before the first byte.
    pub send: Option<Version>,
    /// Whose address the server sees.
    pub dial_from: DialFrom,
}

/// Where a PROXY header is expected and believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptProxy {
    /// The addresses of the proxies. What comes from elsewhere is a client's, its first bytes too.
    pub from: Networks,
    /// How long a proxy may take to send it.
    pub within: Duration,
}

/// Long enough for a segment that was lost to be sent again, twice.
const WITHIN: Duration = Duration::from_secs(5);

/// The keys of this file.
pub const KEYS: [&str; 4] = ["accept-proxy", "proxy-timeout", "send-proxy", "dial-from"];

// === impl Identity ===

impl Identity {
    /// Checks what was given.
    ///
    /// # Errors
    /// The first value that is wrong, where it stood and what would be right.
    pub fn read(keys: &Keys) -> Result<Self, ConfigError> {
        let within = keys.parse("proxy-timeout", duration)?;
        let accept = match keys.given("accept-proxy") {
            Some(given) => Some(AcceptProxy {
                from: Networks::parse(given.text().split(',').map(str::trim))
                    .map_err(|error| given.origin.error(error))?,
                within: within.unwrap_or(WITHIN),
            }),
            None => None,
        };
        if let (None, Some(given)) = (&accept, keys.given("proxy-timeout")) {
            let without = "this is of no use without accept-proxy, the networks of the proxies";
            return Err(given.origin.error(without));
        }
        Ok(Self {
            accept,
            send: keys.parse("send-proxy", str::parse)?,
            dial_from: keys.parse("dial-from", str::parse)?.unwrap_or_default(),
        })
    }

    /// How long whoever is at this address may take to send a PROXY header; `None` if it is no proxy.
    #[must_use]
    pub fn expected_from(&self, address: IpAddr) -> Option<Duration> {
        let accept = self.accept.as_ref()?;
        accept.from.contains(address).then_some(accept.within)
    }
}
