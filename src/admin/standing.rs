//! How the relay stands: what its main thread says, and whether that makes it ready.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::config::Settings;
use crate::rules::Part;

/// How the relay stands now.
#[derive(Debug, Clone)]
pub struct Standing {
    /// How far it is.
    pub phase: Phase,
    /// Its rules.
    pub rules: Rules,
    /// How often something of them was lost.
    pub rules_lost: u64,
    /// What they consist of, if they are the relay's own.
    pub parts: Vec<Part>,
    /// As of the last reload.
    pub settings: Arc<Settings>,
    /// The same as a file that says it, as `--check` prints it.
    pub text: Arc<str>,
}

/// How far the relay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It listens, and its rules are not there yet.
    Starting,
    /// It relays.
    Running,
    /// It takes no new connection, and ends with the last one.
    Draining,
}

/// How the rules stand that lead connections to the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rules {
    /// It needs none.
    NotNeeded,
    /// They are somebody else's, and nobody looks.
    SomebodyElses,
    /// They were put in place and verified, and are watched.
    InPlace {
        /// Since when.
        since: Instant,
    },
    /// Something is missing, and being put back.
    Missing {
        /// Since when.
        since: Instant,
        /// What became of them.
        why: String,
    },
}

/// Why the relay is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotReady {
    /// It has only begun.
    Starting,
    /// What leads connections to it is not there: why, and for how long.
    Rules(String, std::time::Duration),
    /// It is about to end.
    Draining,
}

// === impl Standing ===

impl Standing {
    /// Whether new connections are relayed.
    ///
    /// # Errors
    /// Why they are not.
    pub fn ready(&self, now: Instant) -> Result<(), NotReady> {
        match (self.phase, &self.rules) {
            (Phase::Starting, _) => Err(NotReady::Starting),
            (Phase::Draining, _) => Err(NotReady::Draining),
            (Phase::Running, Rules::Missing { since, why }) => {
                let lasted = now.saturating_duration_since(*since);
                Err(NotReady::Rules(why.clone(), lasted))
            }
            (Phase::Running, _) => Ok(()),
        }
    }

    /// Something of its rules is gone, for the first time or still.
    pub fn lost_rules(&mut self, why: String, parts: Vec<Part>) {
        if !matches!(self.rules, Rules::Missing { .. }) {
            self.rules_lost += 1;
        }
        self.rules.are_missing(why);
        self.parts = parts;
    }

    /// All of them are there again.
    pub fn restored_rules(&mut self) {
        self.rules = Rules::InPlace {
            since: Instant::now(),
        };
        for part in &mut self.parts {
            part.in_place = true;
        }
    }
}

impl Rules {
    /// Something of them is gone; the moment when that began stays.
    fn are_missing(&mut self, why: String) {
        let since = match self {
            Self::Missing { since, .. } => *since,
            _ => Instant::now(),
        };
        *self = Self::Missing { since, why };
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting: the rules are not in place yet"),
            Self::Rules(why, lasted) => {
                let seconds = lasted.as_secs();
                write!(f, "the rules are missing for {seconds} s: {why}")
            }
            Self::Draining => f.write_str("draining: new connections are not taken"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Contents, Keys};

    fn standing(phase: Phase, rules: Rules) -> Standing {
        let mut keys = Keys::default();
        keys.set_flag("listen", ["127.0.0.1:0"]);
        keys.set_flag("to", ["127.0.0.1:9"]);
        let settings = Settings::resolve(Contents::default(), Keys::default(), keys).unwrap();
        Standing {
            phase,
            rules,
            rules_lost: 0,
            parts: vec![],
            settings: Arc::new(settings),
            text: "".into(),
        }
    }

    #[test]
    fn it_is_ready_while_it_relays_and_no_rule_of_its_own_is_missing() {
        let now = Instant::now();
        let since = now;
        for rules in [
            Rules::NotNeeded,
            Rules::SomebodyElses,
            Rules::InPlace { since },
        ] {
            let why = |phase| standing(phase, rules.clone()).ready(now);
            assert_eq!(why(Phase::Running), Ok(()));
            assert_eq!(why(Phase::Starting), Err(NotReady::Starting));
            assert_eq!(why(Phase::Draining), Err(NotReady::Draining));
        }
        let why = "nft ended".to_owned();
        let missing = standing(Phase::Running, Rules::Missing { since, why });
        let later = now + Duration::from_secs(7);
        let reason = missing.ready(later).unwrap_err().to_string();
        assert_eq!(reason, "the rules are missing for 7 s: nft ended");
    }

    #[test]
    fn rules_are_missing_from_the_first_moment_on() {
        let since = Instant::now();
        let mut standing = standing(Phase::Running, Rules::InPlace { since });
        standing.lost_rules("one".to_owned(), vec![]);
        let first = standing.rules.clone();
        standing.lost_rules("two".to_owned(), vec![]);
        let (Rules::Missing { since: one, .. }, Rules::Missing { since: two, why }) =
            (first, &standing.rules)
        else {
            panic!("{standing:?}");
        };
        assert_eq!((one, why.as_str()), (*two, "two"));
        standing.restored_rules();
        assert!(matches!(standing.rules, Rules::InPlace { .. }));
        assert_eq!(standing.rules_lost, 1);
        standing.lost_rules("again".to_owned(), vec![]);
        assert_eq!(standing.rules_lost, 2);
    }
}
