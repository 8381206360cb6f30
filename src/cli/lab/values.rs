//! Sizes as people write them.

/// `30M` is 30,000,000 bytes and `30Mi` is 30 times 2^20.
pub(super) fn size(text: &str) -> Result<u64, String> {
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
    fn sizes_are_decimal_unless_they_say_otherwise() {
        assert_eq!(size("30M"), Ok(30_000_000));
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("1Mi"), Ok(1 << 20));
        for wrong in ["", "M", "0", "-1M", "30 M", "3T", "99999999999G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
