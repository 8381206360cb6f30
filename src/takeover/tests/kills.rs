//! Wherever one of the two is killed or falls asleep, each session is carried on by one that lives, and never by two;
//! but those that only the killed one had.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::model::{Newcomer, Old, Side, World, recorded};
use super::mortal::{Blow, Ended, Fault, Mortal};
use crate::takeover::claim::Claim;
use crate::takeover::give::offer_with;
use crate::takeover::{
    Channel, End, Failure, ListenerSockets, NotedWayIn, Patience, SocketNote, Standing, take,
};

/// Longer than any test lasts.
const LONG: Patience = Patience {
    ready: Duration::from_secs(60),
    answer: Duration::from_secs(60),
    gone: Duration::from_secs(60),
};
/// Who sleeps is not waited for.
const SHORT: Patience = Patience {
    ready: Duration::from_millis(30),
    answer: Duration::from_millis(30),
    gone: Duration::from_millis(30),
};

/// What a takeover came to.
pub struct Takeover {
    pub world: World,
    rounds: Vec<Vec<Vec<u16>>>,
    fault: Option<Fault>,
    pub old: Ended<(Old, Result<(), Failure>)>,
    pub new: Ended<(Newcomer, Result<End, Failure>)>,
}

/// One takeover with these sessions, each process with its own patience.
pub fn takeover(
    rounds: &[Vec<Vec<u16>>],
    fault: Option<Fault>,
    [old_waits, new_waits]: [Patience; 2],
    with: impl FnOnce(&mut Newcomer),
) -> Takeover {
    let world = World::default();
    let mut old = Old::new(world.clone(), rounds.to_vec());
    let mut new = Newcomer::new(world.clone());
    with(&mut new);
    let (near, far) = UnixStream::pair().unwrap();
    let (life, old_lives) = rustix::pipe::pipe().unwrap();
    let (_, new_lives) = rustix::pipe::pipe().unwrap();
    let mortal = |side, socket: UnixStream, life| {
        let channel = Channel::over(socket.into());
        Mortal::new(side, &world, fault, channel, life)
    };
    let near = mortal(Side::Old, near, old_lives);
    let far = mortal(Side::New, far, new_lives);
    let claim = Claim::of(life).unwrap();
    let (standing, descriptors) = standing(3);
    let old = thread::spawn(move || {
        near.lives(|line| {
            let end = offer_with(line, old_waits, claim, standing, descriptors)
                .and_then(|willing| willing.hand_over(&mut old))
                .and_then(|rest| rest.run(&mut old));
            (old, end)
        })
    });
    let new = thread::spawn(move || {
        far.lives(|line| {
            let end = take(line, new_waits, &mut new).map(|rest| rest.run(&mut new));
            (new, end)
        })
    });
    let mut old = old.join().unwrap();
    if fault.is_some_and(|fault| fault.blow == Blow::SleepsLong) {
        old.life = None;
        world.dies(Side::Old);
    }
    let new = new.join().unwrap();
    Takeover {
        world,
        rounds: rounds.to_vec(),
        fault,
        old,
        new,
    }
}

/// A listener with so many sockets, and a door.
pub fn standing(sockets: usize) -> (Standing, Vec<OwnedFd>) {
    let standing = Standing {
        listeners: vec![ListenerSockets {
            name: "ssh".to_owned(),
            way_in: NotedWayIn::Listening(([127, 0, 0, 1], 22).into()),
            sockets: vec![
                SocketNote {
                    worker: 0,
                    mangled_side: false
                };
                sockets
            ],
        }],
        rules: None,
        doors: vec!["/run/unmangle/relay.sock".to_owned()],
        lasting_doors: vec![],
        witness: false,
        workers: 1,
    };
    let nothing = std::fs::File::open("/dev/null").unwrap();
    let copy = || nothing.try_clone().unwrap().into();
    let descriptors = (0..standing.descriptors()).map(|_| copy()).collect();
    (standing, descriptors)
}

impl Takeover {
    /// What must be true now, whatever happened.
    fn check(&self) {
        let of = format!("{:?}, {:?}", self.fault, self.rounds);
        let new = self.new.end.as_ref();
        self.world.truth(|truth| {
            assert_eq!(truth.wrong, [""; 0], "{of}");
            let lives = |side| !truth.dead.contains(&side);
            for (round, ids) in self.rounds.iter().enumerate() {
                let over = round < truth.started;
                for id in ids.iter().flatten() {
                    let expected = match (lives(Side::Old), lives(Side::New)) {
                        (true, true) if over => Some(Side::New),
                        (true, _) if !over => Some(Side::Old),
                        // It slept, and what it held has been the old one's again.
                        (false, true) if self.slept_long() => over.then_some(Side::New),
                        (false, true) => truth.kept.contains(id).then_some(Side::New),
                        // Only the killed one had it.
                        _ => None,
                    };
                    assert_eq!(truth.sessions[id].carried_by, expected, "{id}: {of}");
                }
            }
            let accepts = match (lives(Side::Old), lives(Side::New)) {
                (true, _) if truth.started == 0 => vec![Side::Old],
                (_, true) if new.is_some_and(|(_, end)| end.is_ok()) => vec![Side::New],
                _ => vec![],
            };
            assert_eq!(truth.accepting, accepts, "{of}");
        });
        if let Some((new, end)) = new {
            assert_eq!(new.begun, end.is_ok(), "{of}");
            assert_eq!(new.doors_free, usize::from(end.is_ok()), "{of}");
        }
        if let Some((old, _)) = &self.old.end {
            let gave = self.world.truth(|truth| truth.started > 0);
            assert_eq!(old.doors_closed, gave, "{of}");
        }
    }

    fn slept_long(&self) -> bool {
        self.fault
            .is_some_and(|fault| fault.blow == Blow::SleepsLong)
    }
}

/// Two batches, then one that comes later, and another.
fn rounds() -> Vec<Vec<Vec<u16>>> {
    vec![
        vec![vec![1, 2, 3], vec![4]],
        vec![vec![5, 6]],
        vec![vec![7]],
    ]
}

fn undisturbed() -> Takeover {
    takeover(&rounds(), None, [LONG; 2], |_| {})
}

#[test]
fn undisturbed_everything_goes_over_and_both_know_it() {
    let over = undisturbed();
    over.check();
    let (old, end) = over.old.end.as_ref().unwrap();
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(
        old.asked,
        [
            "stand still",
            "carry",
            "let go",
            "close doors",
            "carry",
            "let go",
            "carry",
            "let go"
        ]
    );
    let (new, end) = over.new.end.as_ref().unwrap();
    assert!(matches!(end, Ok(End::Complete)), "{end:?}");
    // One for each round, and what came after.
    assert_eq!(new.totals, [recorded(), recorded(), recorded(), recorded()]);
    over.world
        .truth(|truth| assert_eq!(truth.kept, [1, 2, 3, 4, 5, 6, 7]));
}

#[test]
fn wherever_either_is_killed_each_session_is_carried_on_once() {
    let whole = undisturbed();
    let blows = [Blow::KilledBefore, Blow::KilledAmid, Blow::KilledAfter];
    for (side, steps) in [(Side::Old, whole.old.steps), (Side::New, whole.new.steps)] {
        assert!(steps > 15, "{steps}");
        for step in 0..steps {
            for blow in blows {
                let fault = Some(Fault { side, step, blow });
                let ended = takeover(&rounds(), fault, [LONG; 2], |_| {});
                let dead = ended.world.truth(|truth| truth.dead.clone());
                assert_eq!(dead, [side], "{fault:?}");
                ended.check();
            }
        }
    }
}

#[test]
fn a_newcomer_that_sleeps_is_not_waited_for_and_touches_nothing_when_it_wakes() {
    for blow in [Blow::Sleeps, Blow::SleepsLong] {
        for step in 0..undisturbed().new.steps {
            let side = Side::New;
            let fault = Some(Fault { side, step, blow });
            takeover(&rounds(), fault, [SHORT, LONG], |_| {}).check();
        }
    }
}

#[test]
fn an_old_process_that_sleeps_before_it_is_done_wakes_with_everything() {
    // Until it has said `Yours`: its hello and the other's, what there is, that the other is ready, two batches.
    let until_yours = 4 + 2 * 2;
    for step in 0..=until_yours {
        let fault = Some(Fault {
            side: Side::Old,
            step,
            blow: Blow::Sleeps,
        });
        let ended = takeover(&rounds(), fault, [LONG, SHORT], |_| {});
        ended.check();
        ended.world.truth(|truth| assert_eq!(truth.started, 0));
    }
}

#[test]
fn what_was_begun_in_the_moment_when_it_was_given_up_is_not_taken_back() {
    let fault = Some(Fault {
        side: Side::Old,
        step: 4 + 2 * 2 + 1,
        blow: Blow::GivesUp,
    });
    let ended = takeover(&rounds()[..1], fault, [LONG; 2], |_| {});
    ended.check();
    ended.world.truth(|truth| assert_eq!(truth.started, 1));
}

#[test]
fn what_was_given_up_cannot_be_begun_any_more() {
    // Its hello and the other's, what there is, that it is ready, two batches, and that they are its own.
    let fault = Some(Fault {
        side: Side::New,
        step: 4 + 2 * 2 + 1,
        blow: Blow::BeginsTooLate,
    });
    let ended = takeover(&rounds()[..1], fault, [LONG; 2], |_| {});
    ended.check();
    ended
        .world
        .truth(|truth| assert_eq!((truth.tried, truth.started), (true, 0)));
}

fn shape() -> impl Strategy<Value = Vec<Vec<Vec<u16>>>> {
    let round = |batches| proptest::collection::vec(1..70_u16, batches);
    (round(0..4), proptest::collection::vec(round(0..3), 0..3)).prop_map(|(first, later)| {
        let mut id = 0;
        let mut next = || {
            id += 1;
            id
        };
        let mut ids = |round: Vec<u16>| -> Vec<Vec<u16>> {
            let batch = |size| (0..size).map(|_| next()).collect();
            round.into_iter().map(batch).collect()
        };
        std::iter::once(first).chain(later).map(&mut ids).collect()
    })
}

proptest! {
    #[test]
    fn wherever_the_kill_lands_each_session_is_carried_on_once(
        rounds in shape(),
        side in prop_oneof![Just(Side::Old), Just(Side::New)],
        step in 0..24_usize,
        blow in prop_oneof![
            Just(Blow::KilledBefore),
            Just(Blow::KilledAmid),
            Just(Blow::KilledAfter)
        ],
    ) {
        takeover(&rounds, Some(Fault { side, step, blow }), [LONG; 2], |_| {}).check();
    }
}
