//! Which sessions are asked for: the query of `/api/sessions`.

use std::net::IpAddr;
use std::time::Duration;

use crate::relay::{Order, Query};

/// What is wrong with a query, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongQuery {
    /// No such parameter.
    #[error(
        "there is no parameter {0:?}; there are: limit, order, listener, client, server, stuck, older_than"
    )]
    Unknown(String),
    /// It means two things.
    #[error("{0} is there twice")]
    Twice(String),
    /// A value that it cannot have.
    #[error("{name}={value:?}: {right}")]
    Value {
        /// The parameter.
        name: String,
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

/// Reads what stands behind the question mark.
///
/// # Errors
/// The first parameter that there is not, or that is wrong.
pub(super) fn read(text: &str) -> Result<Query, WrongQuery> {
    let mut query = Query {
        limit: USUAL,
        ..Query::default()
    };
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        if seen.iter().any(|other| *other == *name) {
            return Err(WrongQuery::Twice(name.into_owned()));
        }
        let wrong = |right| WrongQuery::Value {
            name: name.to_string(),
            value: value.to_string(),
            right,
        };
        match &*name {
            "limit" => {
                let limit = value.parse().ok();
                let limit = limit.filter(|limit| (1..=MOST).contains(limit));
                query.limit = limit.ok_or_else(|| wrong("give a number from 1 to 10000"))?;
            }
            "order" => {
                let order = order(&value);
                query.order = order.ok_or_else(|| wrong("give oldest, newest, bytes or rate"))?;
            }
            "listener" => query.listener = Some(value.to_string()),
            "client" => query.client = Some(address(&value).ok_or_else(|| wrong(ADDRESS))?),
            "server" => query.server = Some(address(&value).ok_or_else(|| wrong(ADDRESS))?),
            "stuck" => {
                let stuck = value.parse().ok();
                query.stuck = Some(stuck.ok_or_else(|| wrong("give true or false"))?);
            }
            "older_than" => {
                let age = time(&value).ok_or_else(|| wrong("give a time, such as 90s or 2h"))?;
                query.older_than = Some(age);
            }
            _ => return Err(WrongQuery::Unknown(name.into_owned())),
        }
        seen.push(name.into_owned());
    }
    Ok(query)
}

const ADDRESS: &str = "give an address without a port, such as 192.0.2.7 or 2001:db8::1";

fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.parse().ok()?;
    Some(address.to_canonical())
}

fn order(text: &str) -> Option<Order> {
    Some(match text {
        "oldest" => Order::Oldest,
        "newest" => Order::Newest,
        "bytes" => Order::Bytes,
        "rate" => Order::Rate,
        _ => return None,
    })
}

fn time(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_means_all() {
        let query = read("").unwrap();
        assert_eq!((query.limit, query.order), (100, Order::Oldest));
        assert!(query.listener.is_none() && query.client.is_none() && query.server.is_none());
        assert!(query.stuck.is_none() && query.older_than.is_none());
    }

    #[test]
    fn every_parameter_is_read_and_decoded() {
        let query = read(
            "limit=7&listener=a%20b+c&client=::ffff:192.0.2.7&server=2001%3Adb8::1&stuck=true&order=rate&older_than=2m",
        )
        .unwrap();
        assert_eq!((query.limit, query.stuck), (7, Some(true)));
        assert_eq!(query.listener.as_deref(), Some("a b c"));
        assert_eq!(query.client, Some("192.0.2.7".parse().unwrap()));
        assert_eq!(query.server, Some("2001:db8::1".parse().unwrap()));
        assert_eq!(query.order, Order::Rate);
        assert_eq!(query.older_than, Some(Duration::from_secs(120)));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (text, message) in [
            (
                "limits=1",
                "there is no parameter \"limits\"; there are: limit, order, listener, client, server, stuck, older_than",
            ),
            ("limit=0", "limit=\"0\": give a number from 1 to 10000"),
            (
                "limit=10001",
                "limit=\"10001\": give a number from 1 to 10000",
            ),
            ("limit=", "limit=\"\": give a number from 1 to 10000"),
            ("stuck=yes", "stuck=\"yes\": give true or false"),
            (
                "order=age",
                "order=\"age\": give oldest, newest, bytes or rate",
            ),
            (
                "older_than=1",
                "older_than=\"1\": give a time, such as 90s or 2h",
            ),
            ("stuck=true&stuck=true", "stuck is there twice"),
            (
                "client=192.0.2.1:5",
                "client=\"192.0.2.1:5\": give an address without a port, such as 192.0.2.7 or 2001:db8::1",
            ),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), message);
        }
        assert_eq!(read("limit=10000").unwrap().limit, 10_000);
    }
}
