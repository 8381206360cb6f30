//! The end of a session: what a peer still has to get, and for how long it is waited for.
//!
//! - Both ends were passed on: until the last bytes are acknowledged the session needs its rules, and a killed
//!   relay must reset it ([`Legs::deliver`]).
//! - One leg broke: what its peer had sent before, and the relay had accepted, is delivered before the other
//!   leg is reset, as long as somebody reads there ([`Legs::hand_over`]). Without a relay it would lie in that
//!   host's own queue by now.
//!
//! Neither lasts for ever: a peer that takes nothing for the close timeout is reset.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

use super::leg::TcpLeg;
use super::legs::{Close, Infos, Legs, Party};
use crate::sys::tcp_info::{TcpInfo, tcp_info, unacknowledged};

/// The first and the longest pause before a leg is looked at again whose last bytes are under way.
const LOOK_AGAIN: Range<Duration> = Duration::from_millis(1)..Duration::from_millis(100);
/// A session of which one stream has ended may go on for days: it is looked at no more often than this.
const LOOK_AFTER_AN_END: Duration = Duration::from_secs(1);
/// A window that stays shut for this long after the other leg broke: nobody reads, and the reset must not
/// come late.
const SHUT: Duration = Duration::from_millis(500);

/// What is under way to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct UnderWay {
    /// Bytes that it has not acknowledged, sent or not; an end counts as one.
    unacknowledged: u32,
    /// Segments that were sent and not acknowledged.
    in_flight: u32,
    /// Bytes that it has acknowledged so far.
    acknowledged: u64,
}

/// Whether a peer goes on taking what is under way to it; time is an argument.
#[derive(Debug)]
struct Patience {
    acknowledged: u64,
    /// When something was acknowledged last.
    taken: Instant,
    /// Since when nothing is sent, because the peer's window is shut.
    shut: Option<Instant>,
}

/// How a peer that has bytes under way to it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It takes them, or may yet.
    Taking,
    /// Its window is shut.
    NotReading,
    /// It has taken nothing for longer than is allowed.
    Stuck,
}

// === impl UnderWay ===

impl UnderWay {
    /// What is under way on a leg of which the kernel says this; nothing is on one that is closed.
    fn on(leg: &TcpLeg, info: &io::Result<TcpInfo>) -> Option<Self> {
        let info = info.as_ref().ok().filter(|info| !info.closed)?;
        Some(Self {
            unacknowledged: unacknowledged(leg).ok()?,
            in_flight: info.in_flight,
            acknowledged: info.acknowledged,
        })
    }
}

// === impl Patience ===

impl Patience {
    fn new(now: Instant) -> Self {
        Self {
            acknowledged: 0,
            taken: now,
            shut: None,
        }
    }

    fn judge(&mut self, now: Instant, way: UnderWay, close_timeout: Duration) -> Manner {
        let moves = way.acknowledged != self.acknowledged || way.unacknowledged == 0;
        self.acknowledged = way.acknowledged;
        if moves {
            self.taken = now;
        }
        if moves || way.in_flight > 0 {
            self.shut = None;
        } else {
            self.shut.get_or_insert(now);
        }
        if now - self.taken >= close_timeout {
            Manner::Stuck
        } else if self.shut.is_some_and(|since| now - since >= SHUT) {
            Manner::NotReading
        } else {
            Manner::Taking
        }
    }
}

/// Looks at a leg until what is under way is `done`, or nothing is because it is closed: then this is what the kernel
/// said of it last. Or until its peer behaves so that it is given up.
async fn watch(
    leg: &TcpLeg,
    close_timeout: Duration,
    done: impl Fn(UnderWay) -> bool,
    is_given_up: impl Fn(Manner) -> bool,
) -> Option<io::Result<TcpInfo>> {
    let mut info = tcp_info(leg);
    if UnderWay::on(leg, &info).is_none_or(&done) {
        return Some(info);
    }
    let mut patience = Patience::new(Instant::now());
    let mut pause = LOOK_AGAIN.start;
    while let Some(way) = UnderWay::on(leg, &info).filter(|way| !done(*way)) {
        if is_given_up(patience.judge(Instant::now(), way, close_timeout)) {
            return None;
        }
        tokio::time::sleep(pause).await;
        pause = LOOK_AGAIN.end.min(2 * pause);
        info = tcp_info(leg);
    }
    Some(info)
}

// === impl Legs ===

impl Legs {
    /// After an orderly end: waits until both peers have taken the last bytes; what the kernel says of both legs then.
    ///
    /// # Errors
    /// How the session ended instead: a peer took nothing for the close timeout, or the relay had to end it.
    pub async fn deliver(
        &self,
        told_to_end: impl Future<Output = Close>,
        close_timeout: Duration,
    ) -> Result<Infos, Close> {
        let taken = async |party| {
            // The end itself is not waited for.
            let done = |way: UnderWay| way.unacknowledged <= 1;
            let stuck = |manner| manner == Manner::Stuck;
            watch(self.leg(party), close_timeout, done, stuck).await
        };
        // That one of them is stuck must not cost the other its last bytes.
        let both = async { tokio::join!(taken(Party::Client), taken(Party::Server)) };
        let (client, server) = tokio::select! {
            both = both => both,
            close = told_to_end => return Err(close),
        };
        let stuck = match (client, server) {
            (Some(downstream), Some(upstream)) => return Ok((downstream, upstream)),
            (None, _) => Party::Client,
            (Some(_), None) => Party::Server,
        };
        let error = io::ErrorKind::TimedOut.into();
        Err(Close::Broken { by: stuck, error })
    }

    /// After the end of one stream was passed on: waits until the other's sender has ended, too, while its
    /// receiver takes nothing for the close timeout. Nobody may ever come to read what is left.
    pub async fn overdue(&self, to: Party, close_timeout: Duration) {
        let has_ended = |party| tcp_info(self.leg(party)).is_ok_and(|info| info.peer_ended);
        let mut patience = Patience::new(Instant::now());
        loop {
            tokio::time::sleep(LOOK_AFTER_AN_END.min(close_timeout / 4)).await;
            let leg = self.leg(to);
            let way = UnderWay::on(leg, &tcp_info(leg)).filter(|_| has_ended(to.other()));
            let Some(way) = way else {
                patience = Patience::new(Instant::now());
                continue;
            };
            if patience.judge(Instant::now(), way, close_timeout) == Manner::Stuck {
                return;
            }
        }
    }

    /// After the other leg broke: lets `rest` pass on what was read from there, and waits until it is taken,
    /// as long as anybody takes it.
    pub async fn hand_over(
        &self,
        to: Party,
        rest: impl Future<Output = ()>,
        told_to_end: impl Future<Output = Close>,
        close_timeout: Duration,
    ) {
        let leg = self.leg(to);
        let whatever = |manner| manner != Manner::Taking;
        let handed_over = async {
            rest.await;
            watch(leg, close_timeout, |way| way.unacknowledged == 0, whatever).await
        };
        tokio::select! {
            biased;
            _ = told_to_end => {}
            _ = handed_over => {}
            _ = watch(leg, close_timeout, |_| false, whatever) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSE_TIMEOUT: Duration = Duration::from_secs(120);

    fn way(unacknowledged: u32, in_flight: u32, acknowledged: u64) -> UnderWay {
        UnderWay {
            unacknowledged,
            in_flight,
            acknowledged,
        }
    }

    /// What is thought of a peer after each look, one every 100 ms.
    fn judged(looks: impl IntoIterator<Item = UnderWay>) -> Vec<Manner> {
        let begun = Instant::now();
        let mut patience = Patience::new(begun);
        let looks = looks.into_iter().enumerate();
        looks
            .map(|(nth, way)| {
                let now = begun + nth as u32 * Duration::from_millis(100);
                patience.judge(now, way, CLOSE_TIMEOUT)
            })
            .collect()
    }

    #[test]
    fn a_peer_that_takes_bytes_now_and_then_is_waited_for() {
        // A window that opens for a moment every 400 ms.
        let slow = (0..5000).map(|nth| way(100_000, 0, nth / 4));
        assert!(judged(slow).iter().all(|manner| *manner == Manner::Taking));
    }

    #[test]
    fn a_shut_window_is_not_waited_for() {
        let judged = judged((0..10).map(|_| way(100_000, 0, 7)));
        let patient = judged
            .iter()
            .take_while(|manner| **manner == Manner::Taking);
        // The first look sees something acknowledged that was not known before.
        assert_eq!(patient.count(), 6);
        assert_eq!(judged[6], Manner::NotReading);
    }

    #[test]
    fn losses_are_no_shut_window_and_are_waited_for_until_the_close_timeout() {
        let judged = judged((0..1300).map(|_| way(100_000, 10, 7)));
        assert_eq!(judged[1199], Manner::Taking);
        assert_eq!(judged[1200], Manner::Stuck);
    }

    #[test]
    fn a_peer_to_which_nothing_is_under_way_is_not_stuck() {
        let judged = judged((0..2000).map(|_| way(0, 0, 7)));
        assert!(judged.iter().all(|manner| *manner == Manner::Taking));
    }
}
