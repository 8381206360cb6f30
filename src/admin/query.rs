//! Which sessions are asked for: the query of `/api/sessions`.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Which sessions are asked for; whatever is not given means all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// At most so many.
    pub limit: usize,
    /// The name of their listener.
    pub listener: Option<String>,
    /// Where their client is.
    pub client: Option<Peer>,
    /// Where their server is.
    pub server: Option<Peer>,
    /// Whether they are stuck.
    pub stuck: Option<bool>,
}

/// Some addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Of one network, whatever the port.
    Net(IpNet),
    /// One address and port.
    One(SocketAddr),
}

/// What is wrong with a query, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongQuery {
    /// No such parameter.
    #[error("there is no parameter {0:?}; there are: limit, listener, client, server, stuck")]
    Unknown(String),
    /// It means two things.
    #[error("{0} is there twice")]
    Twice(String),
    /// A value that it cannot have.
    #[error("{name}={value:?}: {right}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it was given.
        value: String,
        /// What would be right.
        right: &'static str,
    },
}

/// Sessions that are told unless more are asked for.
const USUAL: usize = 100;
/// And never more than so many.
const MOST: usize = 10_000;

impl Default for Query {
    fn default() -> Self {
        Self {
            limit: USUAL,
            listener: None,
            client: None,
            server: None,
            stuck: None,
        }
    }
}

// === impl Query ===

impl Query {
    /// Reads what stands behind the question mark.
    ///
    /// # Errors
    /// The first parameter that there is not, or that is wrong.
    pub fn read(text: &str) -> Result<Self, WrongQuery> {
        let mut query = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if seen.iter().any(|other| *other == *name) {
                return Err(WrongQuery::Twice(name.into_owned()));
            }
            let wrong = |name, right| WrongQuery::Value {
                name,
                value: value.to_string(),
                right,
            };
            match &*name {
                "limit" => {
                    let limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=MOST).contains(limit));
                    query.limit =
                        limit.ok_or_else(|| wrong("limit", "give a number from 1 to 10000"))?;
                }
                "listener" => query.listener = Some(value.to_string()),
                "client" => {
                    let peer = Peer::read(&value);
                    query.client = Some(peer.ok_or_else(|| wrong("client", PEER))?);
                }
                "server" => {
                    let peer = Peer::read(&value);
                    query.server = Some(peer.ok_or_else(|| wrong("server", PEER))?);
                }
                "stuck" => {
                    let stuck = value.parse();
                    let stuck = stuck.map_err(|_| wrong("stuck", "give true or false"))?;
                    query.stuck = Some(stuck);
                }
                _ => return Err(WrongQuery::Unknown(name.into_owned())),
            }
            seen.push(name.into_owned());
        }
        Ok(query)
    }
}

const PEER: &str = "give an address, with a port or a prefix if you like: 192.0.2.7, 192.0.2.0/24, [2001:db8::1]:22";

// === impl Peer ===

impl Peer {
    fn read(text: &str) -> Option<Self> {
        if let Ok(one) = text.parse() {
            return Some(Self::One(one));
        }
        let net = text.parse::<IpNet>().ok();
        let host = || text.parse::<IpAddr>().ok().map(IpNet::from);
        net.or_else(host).map(Self::Net)
    }

    /// Whether an address is meant.
    pub fn means(&self, address: SocketAddr) -> bool {
        match self {
            Self::Net(net) => net.contains(&address.ip()),
            Self::One(one) => (one.ip(), one.port()) == (address.ip(), address.port()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_means_all() {
        assert_eq!(Query::read(""), Ok(Query::default()));
        assert_eq!(Query::default().limit, 100);
    }

    #[test]
    fn every_parameter_is_read_and_decoded() {
        let text =
            "limit=7&listener=a%20b+c&client=192.0.2.0/24&server=%5B2001:db8::1%5D:22&stuck=true";
        let query = Query::read(text).unwrap();
        assert_eq!((query.limit, query.stuck), (7, Some(true)));
        assert_eq!(query.listener.as_deref(), Some("a b c"));
        assert!(query.client.unwrap().means("192.0.2.9:5".parse().unwrap()));
        assert!(!query.client.unwrap().means("192.0.3.9:5".parse().unwrap()));
        let server = query.server.unwrap();
        assert!(server.means("[2001:db8::1]:22".parse().unwrap()));
        assert!(!server.means("[2001:db8::1]:23".parse().unwrap()));
        let host = Query::read("client=192.0.2.1").unwrap().client.unwrap();
        assert!(host.means("192.0.2.1:1".parse().unwrap()));
        assert!(!host.means("192.0.2.2:1".parse().unwrap()));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (text, message) in [
            (
                "limits=1",
                "there is no parameter \"limits\"; there are: limit, listener, client, server, stuck",
            ),
            ("limit=0", "limit=\"0\": give a number from 1 to 10000"),
            (
                "limit=10001",
                "limit=\"10001\": give a number from 1 to 10000",
            ),
            ("limit=", "limit=\"\": give a number from 1 to 10000"),
            ("stuck=yes", "stuck=\"yes\": give true or false"),
            ("stuck=true&stuck=true", "stuck is there twice"),
        ] {
            assert_eq!(Query::read(text).unwrap_err().to_string(), message);
        }
        for text in ["client=x", "server=192.0.2.1:x", "client=192.0.2.1/33"] {
            let message = Query::read(text).unwrap_err().to_string();
            assert!(message.contains(": give an address"), "{message}");
        }
        assert!(Query::read("limit=10000").is_ok());
    }
}
