//! Which sessions are shown, and in which order: pure.

use std::cmp::Ordering;

use crate::admin::{Flow, Session};

/// What sessions are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum By {
    /// Bytes a second, both ways.
    #[default]
    Rate,
    /// Bytes so far, both ways.
    Bytes,
    /// How long ago it was accepted.
    Age,
    /// The longer of the two round-trip times.
    Rtt,
    /// Segments sent again, on both legs.
    Retransmits,
    /// Its address.
    Client,
    /// Its address.
    Server,
}

/// Which sessions are shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Part of client, server or listener.
    pub text: String,
    /// Only those that are stuck.
    pub stuck: bool,
}

// === impl By ===

impl By {
    /// All, in the order of the columns.
    pub const ALL: [Self; 7] = [
        Self::Client,
        Self::Server,
        Self::Rate,
        Self::Bytes,
        Self::Age,
        Self::Rtt,
        Self::Retransmits,
    ];

    /// The one in the column beside it.
    pub fn beside(self, steps: isize) -> Self {
        let all = Self::ALL.len() as isize;
        let at = Self::ALL.iter().position(|by| *by == self).unwrap_or(0) as isize;
        Self::ALL[(at + steps).rem_euclid(all) as usize]
    }

    /// Compares two; what is most of it comes first, texts from A on.
    fn compare(self, one: &Session, other: &Session) -> Ordering {
        match self {
            Self::Rate => rate(other).cmp(&rate(one)),
            Self::Bytes => bytes(other).cmp(&bytes(one)),
            Self::Age => other.age_seconds.total_cmp(&one.age_seconds),
            Self::Rtt => rtt(other).total_cmp(&rtt(one)),
            Self::Retransmits => retransmits(other).cmp(&retransmits(one)),
            Self::Client => one.client.cmp(&other.client),
            Self::Server => one.server.cmp(&other.server),
        }
    }
}

// === impl Filter ===

impl Filter {
    /// Whether a session is shown.
    pub fn shows(&self, session: &Session) -> bool {
        let text = self.text.to_lowercase();
        let of = [&session.client, &session.server, &session.listener];
        let names = of.iter().any(|name| name.to_lowercase().contains(&text));
        names && (!self.stuck || !session.stuck.is_empty())
    }
}

/// Those that are shown, in their order; equal ones stay where they were.
pub fn shown<'a>(
    sessions: &'a [Session],
    filter: &Filter,
    by: By,
    reversed: bool,
) -> Vec<&'a Session> {
    let mut shown: Vec<_> = sessions.iter().filter(|each| filter.shows(each)).collect();
    shown.sort_by(|one, other| {
        let order = by.compare(one, other);
        let order = if reversed { order.reverse() } else { order };
        order.then_with(|| one.id.cmp(&other.id))
    });
    shown
}

/// Bytes a second, both ways.
pub fn rate(session: &Session) -> u64 {
    both(session, |flow| flow.bytes_per_second)
}

/// Bytes so far, both ways.
pub fn bytes(session: &Session) -> u64 {
    both(session, |flow| flow.bytes)
}

/// The longer of the two round-trip times, in seconds.
pub fn rtt(session: &Session) -> f64 {
    let [down, up] = [&session.downstream, &session.upstream].map(|leg| leg.rtt_seconds);
    down.unwrap_or(0.0).max(up.unwrap_or(0.0))
}

/// Segments sent again, on both legs.
pub fn retransmits(session: &Session) -> u64 {
    session.downstream.retransmits + session.upstream.retransmits
}

fn both(session: &Session, of: impl Fn(&Flow) -> Option<u64>) -> u64 {
    of(&session.client_to_server).unwrap_or(0) + of(&session.server_to_client).unwrap_or(0)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::admin::{Leg, LegName, Stuck, StuckSide, StuckWhy};

    /// A session with this number, so many bytes and so many of them a second.
    pub fn session(id: u64, bytes: u64, rate: u64) -> Session {
        Session {
            id: format!("0-{id}"),
            listener: "ssh".to_owned(),
            mode: "gateway".to_owned(),
            mangled_leg: LegName::Downstream,
            client: format!("192.0.2.{id}:40000"),
            via: None,
            server: "198.51.100.2:22".to_owned(),
            age_seconds: id as f64,
            engine: "splice".to_owned(),
            client_to_server: Flow {
                bytes: Some(bytes),
                bytes_per_second: Some(rate),
            },
            server_to_client: Flow::default(),
            downstream: Leg {
                rtt_seconds: Some(0.001),
                ..Leg::default()
            },
            upstream: Leg::default(),
            client_offer: None,
            stuck: Vec::new(),
        }
    }

    fn ids(shown: &[&Session]) -> Vec<String> {
        shown.iter().map(|each| each.id.clone()).collect()
    }

    #[test]
    fn sessions_are_in_the_order_that_was_asked_for_and_equal_ones_in_that_of_their_numbers() {
        let all = [session(1, 10, 5), session(2, 30, 5), session(3, 20, 9)];
        let everybody = Filter::default();
        let order = |by, reversed| ids(&shown(&all, &everybody, by, reversed));
        assert_eq!(order(By::Rate, false), ["0-3", "0-1", "0-2"]);
        assert_eq!(order(By::Bytes, false), ["0-2", "0-3", "0-1"]);
        assert_eq!(order(By::Bytes, true), ["0-1", "0-3", "0-2"]);
        assert_eq!(order(By::Client, false), ["0-1", "0-2", "0-3"]);
        assert_eq!(order(By::Age, false), ["0-3", "0-2", "0-1"]);
    }

    #[test]
    fn a_filter_is_part_of_a_name_and_may_want_what_is_stuck() {
        let mut all = [session(1, 10, 5), session(2, 30, 5)];
        all[1].stuck.push(Stuck {
            direction: "client_to_server".to_owned(),
            side: StuckSide::Server,
            why: StuckWhy::Window,
            waiting_bytes: 1,
            for_seconds: 31.0,
        });
        let filter = |text: &str, stuck| Filter {
            text: text.to_owned(),
            stuck,
        };
        let which = |filter: &Filter| ids(&shown(&all, filter, By::Client, false));
        assert_eq!(which(&filter("2.1:", false)), ["0-1"]);
        assert_eq!(which(&filter("SSH", false)), ["0-1", "0-2"]);
        assert_eq!(which(&filter("", true)), ["0-2"]);
        assert_eq!(which(&filter("nobody", false)), [""; 0]);
    }

    #[test]
    fn columns_come_one_after_the_other_and_begin_anew() {
        let mut by = By::Client;
        for _ in 0..By::ALL.len() {
            by = by.beside(1);
        }
        assert_eq!(by, By::Client);
        assert_eq!(By::Client.beside(-1), By::Retransmits);
    }
}
