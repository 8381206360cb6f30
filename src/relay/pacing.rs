//! Which legs are paced on a host whose congestion control paces, and how much lies unsent in one that is not.
//!
//! BBR spaces what it sends by a timer and by the rate that it has measured. On a long or lossy way that is what makes
//! it fast. Inside a data centre it makes a relay slow: a timer for each 64 KB and less, and a rate that is measured
//! while the relay waits for its turn (docs/performance.md has the figures). So where the host paces, and a profile
//! does not say how, a leg begins with Reno, which needs no timer, and is looked at once it carries bulk: if its way
//! is long, or loses segments, it goes over to the host's congestion control. The other way round is not to be had: a
//! socket that was paced once stays so ([`tcp_set_congestion_control`] leaves `sk_pacing_status` as it is).
//!
//! Where the host does not pace, a leg is sent by the host's congestion control. In both cases little is written to a
//! short leg before it can be sent.
//!
//! [`tcp_set_congestion_control`]: https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_cong.c

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use socket2::Socket;

use crate::config::{CongestionControl, Profile};
use crate::sys::congestion_control;
use crate::sys::tcp_info::TcpInfo;

/// What a leg begins with that is not to be paced, where the host paces. Every kernel has it.
pub const UNPACED: &str = "reno";
/// Most bytes that are written to such a leg before they can be sent. Where nothing is paced, all that the congestion
/// window allows goes out at once, and a queue on the way may not have room for the megabyte that a socket holds.
pub const UNSENT: u32 = 128 << 10;
/// So many bytes are carried between one look and the next.
pub const LOOK_EVERY: usize = 1 << 20;

/// A way that is not shorter is long: a round trip through the largest site is less.
const LONG: Duration = Duration::from_millis(1);
/// A look that finds one segment in so many sent again finds a way that loses.
const LOSSY: u32 = 200;
/// So many in a row are no burst that was too much for a queue.
const LOSSY_LOOKS: u8 = 3;

/// A leg that began without pacing, as far as it is known.
#[derive(Debug)]
pub struct Unpaced {
    /// The host's congestion control, if it paces.
    pacing: Option<&'static str>,
    /// Whether the profile leaves it open how much may be written before it can be sent.
    may_bound: bool,
    sent: u32,
    retransmits: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has carried no bulk.
    Untried,
    /// It has; so many looks in a row found losses.
    Tried { lossy: u8 },
}

/// What a look has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The way is short, which was not known before.
    Short,
    /// Nothing new.
    AsBefore,
    /// The way is long, or loses: the leg is to be as the host has it, and is not looked at again.
    AsHost,
}

/// The host's congestion control when it was first asked for, if it paces and anybody may choose another.
pub fn pacing_host() -> Option<&'static str> {
    static HOST: OnceLock<Option<String>> = OnceLock::new();
    let ask = || {
        let usual = congestion_control::usual().ok()?;
        if !paces(&usual) {
            return None;
        }
        // Who sets it at a later dial may be less privileged than who asks now.
        let allowed = congestion_control::allowed().ok()?;
        if allowed.split_whitespace().any(|name| name == UNPACED) {
            return Some(usual);
        }
        tracing::warn!(
            "short legs are paced by {usual}: net.ipv4.tcp_allowed_congestion_control has no {UNPACED}"
        );
        None
    };
    HOST.get_or_init(ask).as_deref()
}

fn paces(congestion_control: &str) -> bool {
    congestion_control.starts_with("bbr")
}

// === impl Unpaced ===

impl Unpaced {
    /// A leg of this profile, before it is connected; nothing if it is left to the host or to the profile.
    pub fn of(profile: &Profile) -> Option<Self> {
        match profile.congestion_control {
            CongestionControl::Fitting => Self::new(pacing_host(), profile.notsent_lowat.is_none()),
            CongestionControl::Host | CongestionControl::Named(_) => None,
        }
    }

    fn new(pacing: Option<&'static str>, may_bound: bool) -> Option<Self> {
        (pacing.is_some() || may_bound).then_some(Self {
            pacing,
            may_bound,
            sent: 0,
            retransmits: 0,
            state: State::Untried,
        })
    }

    /// Sets on its socket what a look has come to.
    ///
    /// # Errors
    /// Whatever `setsockopt` says.
    pub fn apply(&mut self, socket: &Socket, verdict: Verdict) -> io::Result<()> {
        let bound = |bytes| match self.may_bound {
            true => socket.set_tcp_notsent_lowat(bytes),
            false => Ok(()),
        };
        match verdict {
            Verdict::AsBefore => Ok(()),
            Verdict::Short => bound(UNSENT),
            Verdict::AsHost => {
                // 0 is the host's own.
                bound(0)?;
                let pace = |name: &str| socket.set_tcp_congestion(name.as_bytes());
                self.pacing.map_or(Ok(()), pace)
            }
        }
    }

    /// What to do with a leg that carries bulk, by what the kernel knows of it now.
    pub fn judge(&mut self, info: &TcpInfo) -> Verdict {
        let sent = info.segments_sent.wrapping_sub(self.sent);
        let again = info.retransmits.wrapping_sub(self.retransmits);
        (self.sent, self.retransmits) = (info.segments_sent, info.retransmits);
        match &mut self.state {
            State::Untried if again > 0 || info.min_rtt.unwrap_or(info.rtt) >= LONG => {
                Verdict::AsHost
            }
            State::Untried => {
                self.state = State::Tried { lossy: 0 };
                Verdict::Short
            }
            State::Tried { lossy } => {
                let is_lossy = again > 0 && again >= sent / LOSSY;
                *lossy = if is_lossy { *lossy + 1 } else { 0 };
                match *lossy == LOSSY_LOOKS {
                    true => Verdict::AsHost,
                    false => Verdict::AsBefore,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(micros: u64, segments_sent: u32, retransmits: u32) -> TcpInfo {
        TcpInfo {
            rtt: Duration::from_millis(5),
            min_rtt: Some(Duration::from_micros(micros)),
            segments_sent,
            retransmits,
            ..TcpInfo::default()
        }
    }

    fn unpaced() -> Unpaced {
        Unpaced::new(Some("bbr"), true).unwrap()
    }

    #[test]
    fn a_leg_that_nothing_can_be_set_on_is_not_looked_at() {
        assert!(Unpaced::new(None, false).is_none());
        assert!(Unpaced::new(None, true).is_some() && Unpaced::new(Some("bbr"), false).is_some());
    }

    #[test]
    fn a_long_way_is_paced_once_it_carries_bulk() {
        let mut leg = unpaced();
        assert_eq!(leg.judge(&info(1000, 12, 0)), Verdict::AsHost);
        let mut leg = unpaced();
        assert_eq!(leg.judge(&info(999, 12, 0)), Verdict::Short);
        assert_eq!(leg.judge(&info(999, 800, 0)), Verdict::AsBefore);
    }

    #[test]
    fn a_way_that_was_never_measured_goes_by_what_the_kernel_expects_of_it() {
        let mut leg = unpaced();
        let unmeasured = TcpInfo {
            min_rtt: None,
            ..info(0, 12, 0)
        };
        assert_eq!(leg.judge(&unmeasured), Verdict::AsHost);
    }

    #[test]
    fn a_short_way_that_loses_before_it_carries_much_is_paced() {
        let mut leg = unpaced();
        assert_eq!(leg.judge(&info(50, 12, 1)), Verdict::AsHost);
    }

    #[test]
    fn a_short_way_that_goes_on_losing_is_paced_and_one_burst_is_forgiven() {
        let mut leg = unpaced();
        let mut look = |sent, again| leg.judge(&info(50, sent, again));
        assert_eq!(look(12, 0), Verdict::Short);
        // A burst: a third of a look, and the rest of it in the next.
        assert_eq!(look(712, 250), Verdict::AsBefore);
        assert_eq!(look(1412, 300), Verdict::AsBefore);
        assert_eq!(look(2112, 300), Verdict::AsBefore);
        // One in a hundred, look after look.
        assert_eq!(look(2812, 307), Verdict::AsBefore);
        assert_eq!(look(3512, 314), Verdict::AsBefore);
        assert_eq!(look(4212, 321), Verdict::AsHost);
    }

    #[test]
    fn a_loss_now_and_then_is_forgiven() {
        let mut leg = unpaced();
        leg.judge(&info(50, 12, 0));
        for look in 1..100 {
            let verdict = leg.judge(&info(50, 12 + 700 * look, 2 * look));
            assert_eq!(verdict, Verdict::AsBefore);
        }
    }

    #[test]
    fn only_bbr_paces() {
        assert!(paces("bbr") && paces("bbr2") && paces("bbr3"));
        assert!(!paces("cubic") && !paces("reno") && !paces("dctcp"));
    }
}
