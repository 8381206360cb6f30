//! The largest size that passes, by bisection.

/// What is known of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// It passes.
    Passes,
    /// It is harmed.
    Harmed,
    /// Nobody knows: too little time is left.
    Unknown,
}

/// Between which sizes the harm begins, in bytes of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Between {
    /// The largest that is known to pass.
    pub passes: u16,
    /// The smallest that is known not to.
    pub harmed: u16,
}

/// Narrows a range until its ends are neighbours, or until a size cannot be told.
///
/// # Errors
/// Whatever a trial says.
pub fn bisect<E>(
    mut between: Between,
    mut trial: impl FnMut(u16) -> Result<Tried, E>,
) -> Result<Between, E> {
    while between.harmed - between.passes > 1 {
        let middle = between.passes + (between.harmed - between.passes) / 2;
        match trial(middle)? {
            Tried::Passes => between.passes = middle,
            Tried::Harmed => between.harmed = middle,
            Tried::Unknown => break,
        }
    }
    Ok(between)
}

// === impl Between ===

impl Between {
    /// Whether the sizes are neighbours.
    #[must_use]
    pub fn is_exact(self) -> bool {
        self.harmed - self.passes == 1
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn search(cliff: u16, trials: u32) -> (Between, u32) {
        let mut count = 0;
        let range = Between {
            passes: 64,
            harmed: 9000,
        };
        let found = bisect(range, |size| {
            count += 1;
            Ok::<_, Infallible>(match size {
                _ if count > trials => Tried::Unknown,
                size if size <= cliff => Tried::Passes,
                _ => Tried::Harmed,
            })
        });
        (found.unwrap(), count)
    }

    proptest! {
        #[test]
        fn every_cliff_is_found_exactly_in_fourteen_trials(cliff in 64_u16..9000) {
            let (found, trials) = search(cliff, u32::MAX);
            prop_assert_eq!(found, Between { passes: cliff, harmed: cliff + 1 });
            prop_assert!(found.is_exact() && trials <= 14);
        }

        #[test]
        fn a_search_that_is_cut_off_leaves_a_range_with_the_cliff_in_it(cliff in 64_u16..9000, trials in 0_u32..14) {
            let (found, _) = search(cliff, trials);
            prop_assert!(found.passes <= cliff && cliff < found.harmed);
        }
    }
}
