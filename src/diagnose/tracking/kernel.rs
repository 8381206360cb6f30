//! The kernels whose rules differ.

use std::fmt;
use std::str::FromStr;

/// Whose rules are followed. A kernel between two of them has the rules of the older one, but for
/// what its distribution has taken back from newer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kernel {
    /// Linux 5.10: the lower bounds make a packet INVALID, and a few bytes over the window do.
    V5_10,
    /// Linux 6.1: lower bounds and small overshoots are let pass.
    V6_1,
    /// Linux 6.12: as 6.1, with another timeout after a reset, and with a word about what begins no
    /// connection.
    V6_12,
    /// Linux 6.18: as 6.12, with the timeout of 6.1.
    V6_18,
}

/// Not one of the kernels known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kernel {0:?} is not known: 5.10, 6.1, 6.12 or 6.18")]
pub struct NotAKernel(String);

/// The kernel whose rules come nearest to those of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Whose rules.
    pub kernel: Kernel,
    /// Whether it is this very series, so that nothing was guessed.
    pub exact: bool,
}

// === impl Kernel ===

impl Kernel {
    /// All of them, the oldest first.
    pub const ALL: [Self; 4] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::V6_18];

    /// The newest.
    pub const NEWEST: Self = Self::V6_18;

    fn series(self) -> (u32, u32) {
        match self {
            Self::V5_10 => (5, 10),
            Self::V6_1 => (6, 1),
            Self::V6_12 => (6, 12),
            Self::V6_18 => (6, 18),
        }
    }

    /// The kernel of a release as `uname -r` prints it, or the next older one that is known; none if
    /// it is no release.
    #[must_use]
    pub fn running(release: &str) -> Option<Running> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let mut number = || numbers.next()?.parse().ok();
        let series: (u32, u32) = (number()?, number()?);
        let kernel = Self::ALL
            .into_iter()
            .rev()
            .find(|kernel| kernel.series() <= series)
            .unwrap_or(Self::V5_10);
        Some(Running {
            kernel,
            exact: kernel.series() == series,
        })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.series();
        write!(f, "{major}.{minor}")
    }
}

impl FromStr for Kernel {
    type Err = NotAKernel;

    fn from_str(text: &str) -> Result<Self, NotAKernel> {
        Self::ALL
            .into_iter()
            .find(|kernel| kernel.to_string() == text)
            .ok_or_else(|| NotAKernel(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read_again() {
        for kernel in Kernel::ALL {
            assert_eq!(kernel.to_string().parse(), Ok(kernel));
        }
        let error = "6.2".parse::<Kernel>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "kernel \"6.2\" is not known: 5.10, 6.1, 6.12 or 6.18"
        );
    }

    #[test]
    fn a_release_has_the_rules_of_the_next_older_kernel_that_is_known() {
        for (release, kernel, exact) in [
            ("6.18.44-x", Kernel::V6_18, true),
            ("6.19.0", Kernel::V6_18, false),
            ("6.12.48+deb13-amd64", Kernel::V6_12, true),
            ("6.8.0-31-generic", Kernel::V6_1, false),
            ("5.15.0", Kernel::V5_10, false),
            ("4.19.0", Kernel::V5_10, false),
        ] {
            assert_eq!(
                Kernel::running(release),
                Some(Running { kernel, exact }),
                "{release}"
            );
        }
        for text in ["", "six", "6", "-6.1"] {
            assert_eq!(Kernel::running(text), None, "{text:?}");
        }
    }
}
