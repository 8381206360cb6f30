//! Addresses, sizes and times of a load as people write them.

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::Context;

use crate::bench::serve::Stall;
use crate::cli::values;

/// An address as it was given, and what it is.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub told: String,
    pub address: SocketAddr,
}

/// `HOST:PORT`; of several addresses the first is taken.
pub(super) fn target(text: &str) -> anyhow::Result<Target> {
    let address = text
        .to_socket_addrs()
        .with_context(|| format!("{text}: no address; write for example 198.51.100.2:7000"))?
        .next()
        .with_context(|| format!("{text} has no address"))?;
    Ok(Target {
        told: text.to_owned(),
        address,
    })
}

/// Bytes of a request or response: 1 B to 4 GB.
pub(super) fn size(text: &str) -> Result<NonZeroU32, String> {
    let bytes = values::size(text)?;
    u32::try_from(bytes)
        .ok()
        .and_then(NonZeroU32::new)
        .ok_or_else(|| "it must be less than 4 GiB".to_owned())
}

/// Requests a second, such as `5000`, `20k` or `0.5`.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let (number, factor) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1e3),
        None => match text.strip_suffix('M') {
            Some(number) => (number, 1e6),
            None => (text, 1.0),
        },
    };
    let rate: f64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no rate: write for example 500, 20k or 0.5"))?;
    let rate = rate * factor;
    (rate.is_finite() && (1e-3..=1e9).contains(&rate))
        .then_some(rate)
        .ok_or_else(|| "it must be from 0.001 to 1000M requests a second".to_owned())
}

/// How long is measured.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    values::time(text, "100ms", "1day")
}

/// How long something may take, or none of it.
pub(super) fn patience(text: &str) -> Result<Duration, String> {
    values::time(text, "0s", "1h")
}

/// `200ms/1s`: stand still for 200 ms in every second.
pub(super) fn stall(text: &str) -> Result<Stall, String> {
    let wrong =
        || format!("{text:?}: write for example 200ms/1s, still for 200 ms in every second");
    let (length, every) = text.split_once('/').ok_or_else(wrong)?;
    let [length, every] = [length, every].map(|time| values::time(time, "1ms", "1h"));
    let (length, every) = (length?, every?);
    (length < every)
        .then_some(Stall { length, every })
        .ok_or_else(|| "a stall must be shorter than the time from one to the next".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_their_unit_and_within_bounds() {
        assert_eq!(rate("20k"), Ok(20_000.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "NaN", "inf", "k", "2G", "1e12", ""] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_stall_is_shorter_than_its_distance() {
        let stall = stall("200ms/1s").unwrap();
        assert_eq!(stall.length, Duration::from_millis(200));
        for wrong in ["200ms", "1s/1s", "2s/1s", "0s/1s"] {
            assert!(super::stall(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_size_fits_into_the_hello() {
        assert_eq!(size("64").map(NonZeroU32::get), Ok(64));
        assert!(size("4Gi").is_err() && size("0").is_err());
    }
}
