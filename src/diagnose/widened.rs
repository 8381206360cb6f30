//! Conntrack's counters of 32 bits as such of 64: who sees only sums would take it for a new beginning when one CPU's
//! is full and begins at 0 again. Pure.

use super::conntrack::{Counter, Counters, PerCpu};

/// What the counters have come to, over all that was read of them.
#[derive(Debug, Clone, Default)]
pub struct Widened {
    last: Vec<PerCpu>,
    sums: [Option<u64>; Counter::ALL.len()],
}

/// A counter that is less than before and has not grown by less than this is a new one.
const HALF: u32 = 1 << 31;

// === impl Widened ===

impl Widened {
    /// Takes in what was read now, after all that was read before.
    pub fn add(&mut self, now: &Counters) {
        for (nth, cpu) in now.cpus().iter().enumerate() {
            let last = self.last.get(nth).copied().unwrap_or_default();
            for ((sum, now), last) in self.sums.iter_mut().zip(cpu).zip(last) {
                if let Some(now) = *now {
                    *sum.get_or_insert(0) += u64::from(growth(last, now));
                }
            }
        }
        self.last = now.cpus().to_vec();
    }

    /// What all CPUs have counted together; none if this kernel does not have the counter.
    pub fn of(&self, counter: Counter) -> Option<u64> {
        self.sums[counter as usize]
    }
}

/// What a counter has counted since it was read last. One that is less was full, or begins anew because conntrack was
/// loaded again.
fn growth(last: Option<u32>, now: u32) -> u32 {
    let Some(last) = last else { return now };
    let growth = now.wrapping_sub(last);
    match growth < HALF || last <= now {
        true => growth,
        false => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum after readings of the counter of INVALID packets, CPU by CPU.
    fn sums(readings: &[&[u32]]) -> Vec<u64> {
        let mut widened = Widened::default();
        let read = readings.iter().map(|cpus| {
            let lines: String = cpus.iter().map(|cpu| format!("{cpu:08x}\n")).collect();
            widened.add(&Counters::parse(&format!("invalid\n{lines}")).unwrap());
            assert_eq!(widened.of(Counter::Drops), None);
            widened.of(Counter::Invalid).unwrap()
        });
        read.collect()
    }

    #[test]
    fn a_cpu_whose_counter_is_full_takes_nothing_from_the_sum() {
        let full = u32::MAX;
        let all = u64::from(full);
        assert_eq!(
            sums(&[&[full - 1, 7], &[full, 7], &[0, 8], &[4, 9]]),
            [all + 6, all + 7, all + 9, all + 14]
        );
        // Twice, and both at a time.
        let twice = sums(&[&[full, full], &[1 << 30, 0], &[full / 4 * 3, 0], &[3, 0]]);
        assert_eq!(twice.last(), Some(&(3 * all + 6)));
    }

    #[test]
    fn what_was_counted_before_the_first_reading_is_in_the_sum() {
        assert_eq!(sums(&[&[5, 6]]), [11]);
        assert_eq!(sums(&[&[0, 0], &[u32::MAX, 0]]), [0, u64::from(u32::MAX)]);
    }

    #[test]
    fn counters_that_begin_anew_go_on_where_the_former_ones_ended() {
        assert_eq!(sums(&[&[1000, 20], &[3, 0], &[5, 1]]), [1020, 1023, 1026]);
    }
}
