//! The kernel's release as two numbers, and what came with which.

use std::fmt;

/// The first two numbers of a release, as `uname -r` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelRelease(pub u32, pub u32);

/// Tables of nftables that belong to a process (`flags owner`).
pub const OWNER_TABLES: KernelRelease = KernelRelease(5, 12);
/// Rules of nftables that strip a TCP option.
pub const OPTION_RESET: KernelRelease = KernelRelease(5, 18);

// === impl KernelRelease ===

impl KernelRelease {
    /// Reads `6.1.0-25-amd64`; a number that is not there counts as 0, so what is not understood is old.
    #[must_use]
    pub fn parse(release: &str) -> Self {
        let mut numbers = release
            .split(['.', '-', '+'])
            .map_while(|part| part.trim().parse::<u32>().ok());
        Self(numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }
}

impl fmt::Display for KernelRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers_and_nonsense_is_old() {
        assert!(KernelRelease::parse("5.10.0-30-amd64") < OWNER_TABLES);
        assert!(KernelRelease::parse("5.17.15") < OPTION_RESET);
        assert!(KernelRelease::parse("7.0.0-rc1") > OPTION_RESET);
        assert_eq!(KernelRelease::parse("6.18+"), KernelRelease(6, 18));
        assert_eq!(KernelRelease::parse("next"), KernelRelease(0, 0));
    }
}
