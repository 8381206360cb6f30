//! Whoever does not want to, cannot, or speaks otherwise is told so, and the old process goes on.

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use super::kills::{standing, takeover};
use super::model::{Newcomer, Old, Side, World, note};
use crate::relay::{Carrier, NotedHeld, Parcel};
use crate::takeover::line::Batches;
use crate::takeover::{
    Channel, End, Failure, Going, Hello, LONGEST, Line, Message, Patience, SESSIONS_VERSION, offer,
    take,
};

const LONG: Duration = Duration::from_secs(60);

fn pair() -> (Channel, Channel) {
    let (one, other) = UnixStream::pair().unwrap();
    (Channel::over(one.into()), Channel::over(other.into()))
}

/// What the old process answers to somebody, and what it thinks of it; it must not have been asked for anything.
fn answer(first: &[u8]) -> (String, String) {
    let (near, far) = pair();
    far.send_bytes(first, &[], LONG).unwrap();
    let (standing, descriptors) = standing(1);
    let failure = offer(near, Patience::default(), standing, descriptors).unwrap_err();
    let Ok((Message::Off(why), _)) = far.receive(LONG) else {
        panic!("it is not told");
    };
    (failure.to_string(), why)
}

#[test]
fn who_speaks_an_older_version_is_told_so_and_the_old_process_goes_on() {
    let mut hello = Message::Hello(Hello::of_this_process()).encode().unwrap();
    hello[4..6].copy_from_slice(&0_u16.to_be_bytes());
    let (failure, told) = answer(&hello);
    assert_eq!(failure, told);
    assert!(
        told.starts_with("the other process speaks version 0"),
        "{told}"
    );
}

#[test]
fn who_does_not_speak_of_takeovers_is_told_so() {
    let (_, told) = answer(b"GET / HTTP/1.1\r\n\r\n");
    assert!(
        told.starts_with("what came is no message of a takeover"),
        "{told}"
    );
    let (_, told) = answer(&Message::Ready.encode().unwrap());
    assert!(
        told.starts_with("`Ready` came instead of `Hello`"),
        "{told}"
    );
}

#[test]
fn a_newcomer_that_what_there_is_does_not_suit_says_so_and_the_old_process_goes_on() {
    let rounds = [vec![vec![1, 2]]];
    let ended = takeover(&rounds, None, [Patience::default(); 2], |new| {
        new.refuses = Some("the settings have no listener `ssh`");
    });
    let (old, end) = ended.old.end.unwrap();
    assert_eq!(
        end.unwrap_err().to_string(),
        "the other process says: the settings have no listener `ssh`"
    );
    assert_eq!(old.asked, [""; 0]);
    let (new, end) = ended.new.end.unwrap();
    assert!(matches!(end, Err(Failure::Own(_))), "{end:?}");
    assert!(!new.begun);
}

#[test]
fn a_newcomer_that_cannot_hold_a_session_gets_none() {
    let rounds = [vec![vec![1], vec![2, 3], vec![4]]];
    let ended = takeover(&rounds, None, [Patience::default(); 2], |new| {
        new.no_room_for = Some(3);
    });
    let (old, end) = ended.old.end.unwrap();
    let failure = end.unwrap_err().to_string();
    assert_eq!(failure, "the other process says: no room");
    assert_eq!(old.asked, ["stand still", "carry", "go on"]);
    assert!(!ended.new.end.unwrap().0.begun);
    ended.world.truth(|truth| {
        assert_eq!(truth.wrong, [""; 0]);
        let all_back = |state: &super::model::State| state.carried_by == Some(Side::Old);
        assert!(truth.sessions.values().all(all_back));
    });
}

#[test]
fn a_late_session_that_the_newcomer_cannot_hold_stays_and_the_others_are_over() {
    let rounds = [vec![vec![1]], vec![vec![2]]];
    let ended = takeover(&rounds, None, [Patience::default(); 2], |new| {
        new.no_room_for = Some(2);
    });
    assert!(ended.old.end.unwrap().1.is_err());
    let (_, end) = ended.new.end.unwrap();
    assert!(matches!(end, Ok(End::OldKeepsTheRest(_))), "{end:?}");
    ended.world.truth(|truth| {
        assert_eq!(truth.wrong, [""; 0]);
        assert_eq!(truth.sessions[&1].carried_by, Some(Side::New));
        assert_eq!(truth.sessions[&2].carried_by, Some(Side::Old));
    });
}

#[test]
fn to_a_newcomer_that_reads_other_sessions_everything_else_goes_over() {
    let (near, far) = pair();
    let old = thread::spawn(move || {
        let mut old = Old::new(World::default(), vec![]);
        let (standing, descriptors) = standing(1);
        let willing = offer(near, Patience::default(), standing, descriptors).unwrap();
        assert_eq!(willing.going(), Going::Nowhere);
        willing.hand_over(&mut old).unwrap().run(&mut old).unwrap();
        old.asked
    });
    let hello = Message::Hello(Hello {
        sessions_version: SESSIONS_VERSION + 1,
        ..Hello::of_this_process()
    });
    far.send(&hello, &[], LONG).unwrap();
    let next = || far.receive(LONG).unwrap().0;
    assert!(matches!(next(), Message::Hello(_)));
    assert!(matches!(next(), Message::Standing(_)));
    far.send(&Message::Ready, &[], LONG).unwrap();
    assert!(matches!(next(), Message::Yours(_)));
    far.send(&Message::Started, &[], LONG).unwrap();
    assert_eq!(next(), Message::Free);
    assert!(matches!(next(), Message::Bye(_)));
    assert_eq!(
        old.join().unwrap(),
        ["stand still", "let go", "close doors"]
    );
}

#[test]
fn more_listening_sockets_than_one_message_has_descriptors_go_over() {
    let (near, far) = pair();
    let (many, descriptors) = standing(254);
    let old = thread::spawn(move || {
        let mut old = Old::new(World::default(), vec![vec![]]);
        let willing = offer(near, Patience::default(), many, descriptors).unwrap();
        willing.hand_over(&mut old).unwrap().run(&mut old).unwrap();
    });
    let mut new = Newcomer::new(World::default());
    // It compares what came with what there is.
    let rest = take(far, Patience::default(), &mut new).unwrap();
    assert!(matches!(rest.run(&mut new), End::Complete));
    old.join().unwrap();
}

#[test]
fn sessions_that_hold_more_than_one_message_can_have_come_in_several() {
    let (near, far) = pair();
    let reader = thread::spawn(move || {
        let mut came = Vec::new();
        while came.iter().sum::<usize>() < 3 {
            let (Message::Sessions(notes), _) = far.receive(LONG).unwrap() else {
                panic!("no sessions");
            };
            came.push(notes.len());
            let have = Message::Have(notes.len() as u32);
            far.send(&have, &[], LONG).unwrap();
        }
        came
    });
    let nothing = std::fs::File::open("/dev/null").unwrap();
    let nothing = std::os::fd::AsFd::as_fd(&nothing);
    // As base64 each is a third longer.
    let full = || NotedHeld::Bytes(vec![7; LONGEST * 3 / 4 / 5 * 2]);
    let mut sessions = (1..4).map(|id| Parcel {
        note: note(id, 0, full()),
        descriptors: vec![nothing; 2],
    });
    let mut batches = Batches::over(near, Patience::default());
    batches.carry(&mut sessions).unwrap();
    assert_eq!(reader.join().unwrap(), [2, 1]);
}
