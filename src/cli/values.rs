//! Sizes and times as people write them, within bounds that make sense.

use std::time::Duration;

/// `30M` is 30,000,000 bytes and `30Mi` is 30 times 2^20.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size: write for example 500k, 30M or 1Gi");
    let (number, unit) = split(text);
    let factor: u64 = match unit {
        "" | "B" => 1,
        "k" | "K" | "kB" => 1_000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        "Ki" | "KiB" => 1 << 10,
        "Mi" | "MiB" => 1 << 20,
        "Gi" | "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(factor)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(wrong)
}

/// A transfer that may not take a second proves nothing, and nobody waits for more than a day.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    time(text, "1s", "1day")
}

/// `sleep` and the wire can tell seconds apart, and a lab does not stand for days.
pub(crate) fn idle(text: &str) -> Result<Duration, String> {
    time(text, "1s", "1h")
}

/// Beyond that TCP's first packets would be sent again before they can be answered.
pub(crate) fn long_rtt(text: &str) -> Result<Duration, String> {
    time(text, "0s", "10s")
}

/// A time from `least` to `most`.
pub(crate) fn time(text: &str, least: &str, most: &str) -> Result<Duration, String> {
    let read = |text: &str| humantime::parse_duration(text).map_err(|error| error.to_string());
    let time = read(text)?;
    if (read(least)?..=read(most)?).contains(&time) {
        return Ok(time);
    }
    Err(format!("it must be from {least} to {most}"))
}

fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_within_their_bounds() {
        assert_eq!(timeout("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(timeout("0s"), Err("it must be from 1s to 1day".to_owned()));
        for wrong in ["999ms", "2days", "584542046090years", "soon"] {
            assert!(timeout(wrong).is_err(), "{wrong}");
        }
        assert_eq!(idle("60s"), Ok(Duration::from_secs(60)));
        assert!(idle("0s").is_err() && idle("2h").is_err());
        assert_eq!(long_rtt("0ms"), Ok(Duration::ZERO));
        assert!(long_rtt("10s").is_ok() && long_rtt("10001ms").is_err());
    }

    #[test]
    fn sizes_are_decimal_unless_they_say_otherwise() {
        assert_eq!(size("30M"), Ok(30_000_000));
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("1Mi"), Ok(1 << 20));
        for wrong in ["", "M", "0", "-1M", "30 M", "3T", "99999999999G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
