//! Rules that go over to another process: what it is told of them, and what it must find as it was told.
//!
//! [`HandedNote`] is part of the format that docs/takeover.md describes: a field more, or one that means something
//! else, is another version of it.

use std::fmt::Display;
use std::io;

use serde::{Deserialize, Serialize};

use super::nft::TABLE;
use super::plan::{Capture, Plan, Queueing, Tracking};
use super::routes;
use crate::config::Mark;

/// Rules as another process can take them on. `F` holds a descriptor: borrowed by who gives it, owned by who has
/// received it.
#[derive(Debug)]
pub struct Handed<F> {
    /// What is known of them.
    pub note: HandedNote,
    /// The socket that is the lock.
    pub lock: F,
    /// What is written to the `nft` that owns the table: it lives for as long as anybody holds this.
    pub stdin: F,
    /// What it says when it refuses.
    pub stderr: F,
}

/// What is known of rules that go over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandedNote {
    /// The process that owns the table.
    pub nft_pid: u32,
    /// How often the table was changed: each change has a sign of its own.
    pub changes: u64,
    /// Whether no new connection is taken.
    pub draining: bool,
    /// Whether the table that fails closed is there.
    pub fail_closed: bool,
    /// How long the clients of each interception say nothing at most, in milliseconds, where that matters.
    pub silence_ms: Vec<Option<u64>>,
    /// What may not change.
    pub lasting: Lasting,
}

/// What running sessions rest on: whoever takes the rules on wants the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lasting {
    /// The bits that lead a packet to the relay.
    pub mark: u32,
    /// The bits by which a sidecar's own dials are known, if there is one.
    pub dial_mark: Option<u32>,
    /// How legs are kept apart.
    pub tracking: Tracking,
    /// How opening packets are held, if they are.
    pub hold: Option<LastingHold>,
    /// Rules of `ip rule` and routes, as commands.
    pub routes: Vec<String>,
}

/// How opening packets are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastingHold {
    /// The bits that say what becomes of them.
    pub mark: u32,
    /// The packet queue that they wait in.
    pub queue: u16,
    /// What puts them there: found out once, when the first relay started.
    pub by: Queueing,
}

/// Why rules cannot go over. Nothing was changed, and they are still whose they were.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    /// They are lost, or about to change.
    #[error("the rules are not in place: hand them over when they are")]
    NotInPlace,
    /// Not the socket that was promised.
    #[error("the socket that was handed over is not the lock of a relay's rules")]
    Lock,
    /// Not the pipes that were promised.
    #[error("what was handed over is not stdin and stderr of nft: {0}")]
    Pipe(io::Error),
    /// It cannot be seen whose pipes they are.
    #[error("nobody sees whether process {pid} is the nft that owns the rules: {error}")]
    Unseen {
        /// Its number.
        pid: u32,
        /// Why not.
        error: io::Error,
    },
    /// Another process has that number.
    #[error("process {0} is not the nft that owns the rules: its stdin is not the one handed over")]
    Stranger(u32),
    /// It is no more.
    #[error("nft, process {0}, has ended, and its table with it")]
    Ended(u32),
    /// Not the table that was promised.
    #[error("the table inet {TABLE} is not there, or leads elsewhere than to these listeners")]
    Table,
    /// Who takes them on wants others.
    #[error("{what} cannot change while sessions run, from {before} to {now}; restart instead")]
    Differs {
        /// What of them.
        what: &'static str,
        /// What it is.
        before: String,
        /// What it would be.
        now: String,
    },
}

// === impl Handed ===

impl<F> Handed<F> {
    /// What was received, with the descriptors in the order of [`Handed::into_parts`].
    pub fn from_parts(note: HandedNote, [lock, stdin, stderr]: [F; 3]) -> Self {
        Self {
            note,
            lock,
            stdin,
            stderr,
        }
    }

    /// What is to be sent: lock, stdin, stderr.
    pub fn into_parts(self) -> (HandedNote, [F; 3]) {
        (self.note, [self.lock, self.stdin, self.stderr])
    }
}

// === impl Lasting ===

impl Lasting {
    /// That of a plan.
    pub fn of(plan: &Plan) -> Self {
        Self {
            mark: plan.mark.0,
            dial_mark: plan.has_sidecars().then_some(plan.dial_mark.0),
            tracking: plan.tracking,
            hold: plan.hold.map(|holding| LastingHold {
                mark: holding.mark.all(),
                queue: holding.queue,
                by: holding.by,
            }),
            routes: routes::commands(plan).lines().map(str::to_owned).collect(),
        }
    }

    /// Whether `now` is the same.
    ///
    /// # Errors
    /// [`Misfit::Differs`] names the first thing that is not.
    pub fn is_kept_by(&self, now: &Self) -> Result<(), Misfit> {
        for ((what, before), (_, now)) in self.told().into_iter().zip(now.told()) {
            same(what, &before, &now)?;
        }
        Ok(())
    }

    /// All of it, by the key that it comes from.
    fn told(&self) -> [(&'static str, String); 5] {
        let Self {
            mark,
            dial_mark,
            tracking,
            hold,
            routes,
        } = self;
        let none = || "none".to_owned();
        let tracking = match tracking {
            Tracking::Zones(zones) => format!("zones {}, {}", zones.mangled, zones.clean),
            Tracking::Notrack => "notrack".to_owned(),
        };
        let hold = hold.map(|LastingHold { mark, queue, by }| {
            let by = match by {
                Queueing::Nft => "nft",
                Queueing::Iptables => "iptables",
            };
            format!("queue {queue} by {by} with answer-mark {}", Mark(mark))
        });
        [
            ("mark", Mark(*mark).to_string()),
            (
                "dial-mark",
                dial_mark.map_or_else(none, |mark| Mark(mark).to_string()),
            ),
            ("track", tracking),
            ("answer", hold.unwrap_or_else(none)),
            (
                "what leads packets here",
                format!("{:?}", routes.join("; ")),
            ),
        ]
    }
}

/// Whether something is what it was.
pub(super) fn same<T: Display + PartialEq>(
    what: &'static str,
    before: &T,
    now: &T,
) -> Result<(), Misfit> {
    if before == now {
        return Ok(());
    }
    Err(Misfit::Differs {
        what,
        before: before.to_string(),
        now: now.to_string(),
    })
}

// === silence ===

/// How long the clients of each interception say nothing at most, where that matters.
pub(super) fn silences(plan: &Plan) -> Vec<Option<u64>> {
    let of = |capture: &Capture| match capture {
        Capture::Service { silence, .. } => {
            Some(u64::try_from(silence.as_millis()).unwrap_or(u64::MAX))
        }
        Capture::Gateway | Capture::Own(_) => None,
    };
    plan.interceptions
        .iter()
        .map(|each| of(&each.capture))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::sidecar::OwnAddresses;
    use crate::config::{Hold, ServiceLeg};
    use crate::rules::plan::tests::plan;
    use crate::rules::plan::{Holding, Zones};

    fn holding(queue: u16) -> Option<Holding> {
        Some(Holding {
            mark: Hold::default().mark,
            queue,
            by: Queueing::Nft,
        })
    }

    #[test]
    fn a_note_is_read_as_it_was_written_and_one_with_more_in_it_is_refused() {
        let mut plan = plan();
        plan.hold = holding(7);
        let note = HandedNote {
            nft_pid: 4711,
            changes: 3,
            draining: false,
            fail_closed: true,
            silence_ms: silences(&plan),
            lasting: Lasting::of(&plan),
        };
        let text = serde_json::to_string(&note).unwrap();
        assert_eq!(serde_json::from_str::<HandedNote>(&text).unwrap(), note);
        let more = text.replacen('{', "{\"news\":1,", 1);
        let error = serde_json::from_str::<HandedNote>(&more).unwrap_err();
        assert!(error.to_string().contains("news"), "{error}");
    }

    #[test]
    fn what_sessions_rest_on_may_not_change_and_is_named() {
        let before = Lasting::of(&plan());
        let refusal = |change: &dyn Fn(&mut Plan)| {
            let mut now = plan();
            change(&mut now);
            let fits = before.is_kept_by(&Lasting::of(&now));
            fits.unwrap_err().to_string()
        };
        let error = refusal(&|plan| plan.mark = Mark(0x0100_0000));
        assert_eq!(
            error,
            "mark cannot change while sessions run, from 0x02000000 to 0x01000000; restart instead"
        );
        let notrack = refusal(&|plan| plan.tracking = Tracking::Notrack);
        assert!(
            notrack
                .starts_with("track cannot change while sessions run, from zones 21837, 21838 to"),
            "{notrack}"
        );
        let zones = Zones {
            mangled: 1,
            clean: 2,
        };
        let zones = refusal(&|plan| plan.tracking = Tracking::Zones(zones));
        assert!(zones.contains("to zones 1, 2;"), "{zones}");
        let held = refusal(&|plan| plan.hold = holding(7));
        assert!(held.contains("from none to queue 7 by nft"), "{held}");
        let priority = refusal(&|plan| plan.priority += 1);
        assert!(priority.contains("pref 21070"), "{priority}");
        let table = refusal(&|plan| plan.table += 1);
        assert!(table.contains("lookup 21838"), "{table}");
    }

    #[test]
    fn sessions_that_go_over_are_remembered_for_as_long_as_they_may_be_silent() {
        let served = |seconds| {
            let mut plan = plan();
            plan.interceptions[0].capture = Capture::Service {
                leg: ServiceLeg::OwnAddress,
                own: OwnAddresses::default(),
                silence: Duration::from_secs(seconds),
            };
            plan
        };
        let before = silences(&served(60));
        assert_eq!(before, [Some(60_000)]);
        assert_eq!(served(10).remembering(&before), served(60));
        assert_eq!(served(90).remembering(&before), served(90));
        assert_eq!(silences(&plan()), [None]);
    }

    #[test]
    fn what_may_change_is_no_misfit() {
        let mut now = plan();
        now.interceptions[0].strip.window_scale = true;
        now.interceptions[0].mss = Some(1200);
        // Nobody dials with this one.
        now.dial_mark = Mark(0x0100_0000);
        let before = Lasting::of(&plan());
        before.is_kept_by(&Lasting::of(&now)).unwrap();
    }
}
