//! What each source has and has had: a table without a socket, with the time as an argument.
//!
//! It stays small whoever comes. A source that has connections is in it, and of connections there are no more
//! than there are descriptors. One that has none is remembered only for as long as it *owes*: until it could
//! open as many connections at once as a stranger. Of those no more than a fixed number is kept; the one that
//! would be forgiven first is forgotten first, so whoever floods pushes out other floods' first packets and
//! not its own debt.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::config::{PerSource, Rate, Source};

/// Sources that have connections, or owe.
#[derive(Debug)]
pub struct Table {
    remembered: usize,
    sources: HashMap<Source, Has>,
    /// Those without connections, by when they are forgiven.
    debtors: BTreeSet<(Instant, Source)>,
}

/// What a source has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Has {
    /// Connections, now.
    connections: u32,
    /// When nothing of what it has opened counts any more.
    owes_until: Instant,
}

/// What a source would have too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// Connections at a time; so many it has already.
    Connections(u32),
    /// Connections within a time.
    Rate(Rate),
}

// === impl Table ===

impl Table {
    /// One that remembers this many sources that have no connection.
    pub fn new(remembered: usize) -> Self {
        Self {
            remembered,
            sources: HashMap::new(),
            debtors: BTreeSet::new(),
        }
    }

    /// A source opens a connection, which is its own until it [leaves](Self::leave).
    ///
    /// # Errors
    /// What it would have too much of; nothing is changed then.
    pub fn enter(&mut self, source: Source, may: &PerSource, now: Instant) -> Result<(), Excess> {
        self.forgive(now);
        let had = self.sources.get(&source).copied();
        let mut has = had.unwrap_or(Has {
            connections: 0,
            owes_until: now,
        });
        if may.most.is_some_and(|most| has.connections >= most) {
            return Err(Excess::Connections(has.connections));
        }
        if let Some(rate) = may.rate {
            // What was owed at another rate is worth no more than all of this one.
            let owes_until = has.owes_until.clamp(now, now + rate.within);
            if owes_until - now > rate.within.saturating_sub(rate.interval()) {
                return Err(Excess::Rate(rate));
            }
            has.owes_until = owes_until + rate.interval();
        }
        if let Some(Has {
            connections: 0,
            owes_until,
        }) = had
        {
            self.debtors.remove(&(owes_until, source));
        }
        has.connections += 1;
        self.sources.insert(source, has);
        Ok(())
    }

    /// A connection of a source goes on that was opened elsewhere, and owes nothing here.
    pub fn enter_again(&mut self, source: Source, now: Instant) {
        let has = self.sources.entry(source).or_insert(Has {
            connections: 0,
            owes_until: now,
        });
        if has.connections == 0 {
            self.debtors.remove(&(has.owes_until, source));
        }
        has.connections += 1;
    }

    /// A connection of a source has ended.
    pub fn leave(&mut self, source: Source, now: Instant) {
        let Entry::Occupied(mut entry) = self.sources.entry(source) else {
            return;
        };
        let has = entry.get_mut();
        has.connections -= 1;
        if has.connections > 0 {
            return;
        }
        let owes_until = has.owes_until;
        if owes_until <= now {
            entry.remove();
            return;
        }
        self.debtors.insert((owes_until, source));
        if self.debtors.len() > self.remembered
            && let Some((_, forgotten)) = self.debtors.pop_first()
        {
            self.sources.remove(&forgotten);
        }
    }

    /// Who owes, and for how long yet.
    pub fn debts(&mut self, now: Instant) -> impl Iterator<Item = (Source, Duration)> {
        self.forgive(now);
        let owing = self.sources.iter();
        owing.filter_map(move |(source, has)| {
            let owes = has.owes_until.saturating_duration_since(now);
            (!owes.is_zero()).then_some((*source, owes))
        })
    }

    /// A source owes for so long, because of what it has opened elsewhere; what it owes here already counts, too, if that
    /// is more.
    pub fn owe(&mut self, source: Source, owes: Duration, now: Instant) {
        let Some(until) = now.checked_add(owes) else {
            return;
        };
        let has = self.sources.entry(source).or_insert(Has {
            connections: 0,
            owes_until: now,
        });
        let before = has.owes_until;
        has.owes_until = until.max(before);
        if has.connections == 0 {
            self.debtors.remove(&(before, source));
            self.debtors.insert((has.owes_until, source));
            if self.debtors.len() > self.remembered
                && let Some((_, forgotten)) = self.debtors.pop_first()
            {
                self.sources.remove(&forgotten);
            }
        }
    }

    /// Forgets those whose time has come.
    fn forgive(&mut self, now: Instant) {
        while let Some((owes_until, source)) = self.debtors.first().copied()
            && owes_until <= now
        {
            self.debtors.pop_first();
            self.sources.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::SourcePrefix;

    fn source(host: u8) -> Source {
        Source::of([192, 0, 2, host].into(), SourcePrefix::default())
    }

    fn may(most: Option<u32>, rate: Option<&str>) -> PerSource {
        PerSource {
            most,
            rate: rate.map(|rate| rate.parse().unwrap()),
            prefix: SourcePrefix::default(),
        }
    }

    /// How many of so many attempts are admitted, each of which leaves at once.
    fn admitted(table: &mut Table, may: &PerSource, attempts: usize, now: Instant) -> usize {
        let mut enters = |_: &usize| {
            let entered = table.enter(source(1), may, now).is_ok();
            if entered {
                table.leave(source(1), now);
            }
            entered
        };
        (0..attempts).filter(&mut enters).count()
    }

    #[test]
    fn a_source_has_no_more_connections_at_a_time_than_it_may_and_another_as_many() {
        let (mut table, now, may) = (Table::new(8), Instant::now(), may(Some(2), None));
        for host in [1, 2] {
            assert_eq!(table.enter(source(host), &may, now), Ok(()));
            assert_eq!(table.enter(source(host), &may, now), Ok(()));
            assert_eq!(
                table.enter(source(host), &may, now),
                Err(Excess::Connections(2))
            );
        }
        table.leave(source(1), now);
        assert_eq!(table.enter(source(1), &may, now), Ok(()));
    }

    #[test]
    fn a_rate_lets_in_so_many_at_once_and_then_one_by_one() {
        let (mut table, now, may) = (Table::new(8), Instant::now(), may(None, Some("10/s")));
        assert_eq!(admitted(&mut table, &may, 25, now), 10);
        let tenth = Duration::from_millis(100);
        assert_eq!(admitted(&mut table, &may, 5, now + tenth / 2), 0);
        assert_eq!(admitted(&mut table, &may, 5, now + tenth), 1);
        assert_eq!(admitted(&mut table, &may, 5, now + tenth * 4), 3);
        // As a stranger.
        assert_eq!(admitted(&mut table, &may, 25, now + tenth * 100), 10);
    }

    #[test]
    fn what_a_source_owes_elsewhere_it_owes_here_and_a_connection_that_goes_on_is_one_of_its_own() {
        let (now, may) = (Instant::now(), may(Some(2), Some("10/s")));
        let (mut there, mut here) = (Table::new(8), Table::new(8));
        assert_eq!(admitted(&mut there, &may, 7, now), 7);
        assert_eq!(there.enter(source(1), &may, now), Ok(()));
        let debts: Vec<_> = there.debts(now).collect();
        assert_eq!(debts, [(source(1), Duration::from_millis(800))]);
        for (source, owes) in debts {
            here.owe(source, owes, now);
        }
        here.enter_again(source(1), now);
        // Two of ten are left to it, and one of two at a time.
        assert_eq!(admitted(&mut here, &may, 5, now), 2);
        here.leave(source(1), now);
        assert_eq!(admitted(&mut here, &may, 5, now), 0);
        let later = now + Duration::from_secs(2);
        assert_eq!(here.debts(later).count(), 0);
        assert_eq!((here.sources.len(), here.debtors.len()), (0, 0));
    }

    #[test]
    fn a_refused_attempt_costs_a_source_nothing() {
        let (mut table, now, may) = (Table::new(8), Instant::now(), may(None, Some("1/s")));
        assert_eq!(admitted(&mut table, &may, 1000, now), 1);
        assert_eq!(
            admitted(&mut table, &may, 1, now + Duration::from_secs(1)),
            1
        );
    }

    #[test]
    fn nothing_is_kept_of_sources_that_have_gone_and_owe_nothing() {
        let (mut table, now) = (Table::new(8), Instant::now());
        let limits = [may(Some(2), None), may(None, Some("1/s"))];
        for (host, may) in (1..).zip(&limits) {
            assert_eq!(table.enter(source(host), may, now), Ok(()));
            table.leave(source(host), now);
        }
        assert_eq!(table.sources.len(), 1);
        let later = now + Duration::from_secs(1);
        assert_eq!(table.enter(source(9), &limits[0], later), Ok(()));
        assert_eq!((table.sources.len(), table.debtors.len()), (1, 0));
    }

    #[test]
    fn a_flood_of_sources_pushes_out_newcomers_and_not_the_one_that_owes_most() {
        let (mut table, now, may) = (Table::new(4), Instant::now(), may(None, Some("5/s")));
        assert_eq!(admitted(&mut table, &may, 5, now), 5);
        for host in 2..=255 {
            assert_eq!(table.enter(source(host), &may, now), Ok(()));
            table.leave(source(host), now);
        }
        assert_eq!(table.sources.len(), 4);
        assert!(table.enter(source(1), &may, now).is_err());
    }

    proptest! {
        /// Whatever comes: no source has more than it may, none opens more within a time than the rate and
        /// its burst, and the table holds no more than those with connections and those it remembers.
        #[test]
        fn the_bounds_hold(
            most in 1..4_u32,
            remembered in 0..4_usize,
            events in proptest::collection::vec((0..6_u8, 0..3_u8, 0..400_u64), 0..200),
        ) {
            let may = may(Some(most), Some("3/s"));
            let mut table = Table::new(remembered);
            let mut now = Instant::now();
            let mut open = [0_u32; 6];
            for (host, what, millis) in events {
                now += Duration::from_millis(millis);
                let count = &mut open[usize::from(host)];
                if what == 0 && *count > 0 {
                    table.leave(source(host), now);
                    *count -= 1;
                } else if what > 0 {
                    match table.enter(source(host), &may, now) {
                        Ok(()) => *count += 1,
                        Err(Excess::Connections(has)) => prop_assert_eq!((has, *count), (most, most)),
                        Err(Excess::Rate(_)) => prop_assert!(*count < most),
                    }
                }
                prop_assert!(*count <= most);
                let busy = open.iter().filter(|count| **count > 0).count();
                prop_assert!(table.sources.len() <= busy + remembered);
                prop_assert_eq!(table.debtors.len(), table.sources.len() - busy);
                for (host, count) in (0..).zip(open) {
                    let has = table.sources.get(&source(host)).map_or(0, |has| has.connections);
                    prop_assert_eq!(has, count);
                }
            }
        }
    }
}
