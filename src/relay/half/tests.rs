//! A direction against legs that do their worst: any size of read and write, pauses anywhere, pipes that
//! are refused or taken away.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::Waker;

use proptest::prelude::*;

use super::super::pipes::{PipeBudget, PipePool};
use super::super::stall::Counted;
use super::*;
use crate::metrics::Recorders;
use crate::relay::wake::Wake;

/// What a sending leg does at its next turn.
#[derive(Debug, Clone)]
enum Send {
    Bytes(usize),
    Pause,
}

/// A leg that gives what a script says, and takes what another says; scripts that have run out let
/// everything pass.
#[derive(Debug, Default)]
struct Scripted {
    sends: RefCell<VecDeque<Send>>,
    takes: RefCell<VecDeque<usize>>,
    given: Cell<u64>,
    received: RefCell<Vec<u8>>,
    ended: Cell<bool>,
    finished: Cell<bool>,
    /// Its window is shut.
    stalled: Cell<bool>,
    /// It shuts its window once it has received so much.
    shuts_after: Cell<Option<usize>>,
    breaks_on_write: bool,
    /// It takes so much and then calls itself a broken pipe.
    broken_after: Option<usize>,
    /// What comes next can only be read.
    is_urgent: Cell<bool>,
}

/// Byte `n` of every stream.
fn byte(n: u64) -> u8 {
    (n.wrapping_mul(2_654_435_761) >> 13) as u8
}

fn stream(length: u64) -> Vec<u8> {
    (0..length).map(byte).collect()
}

impl Scripted {
    fn sending(script: Vec<Send>) -> Self {
        Self {
            sends: RefCell::new(script.into()),
            ..Self::default()
        }
    }

    fn taking(script: Vec<usize>) -> Self {
        Self {
            takes: RefCell::new(script.into()),
            ..Self::default()
        }
    }

    /// The next bytes to give, at most `room`; none at the end.
    fn give(&self, room: usize) -> io::Result<Vec<u8>> {
        let mut sends = self.sends.borrow_mut();
        match sends.pop_front() {
            Some(Send::Pause) => Err(io::ErrorKind::WouldBlock.into()),
            Some(Send::Bytes(wanted)) => {
                let now = wanted.min(room);
                if now < wanted {
                    sends.push_front(Send::Bytes(wanted - now));
                }
                let from = self.given.get();
                self.given.set(from + now as u64);
                Ok((from..from + now as u64).map(byte).collect())
            }
            None => {
                self.ended.set(true);
                Ok(Vec::new())
            }
        }
    }

    /// How much of `offered` bytes is taken now.
    fn room(&self, offered: usize) -> io::Result<usize> {
        if self.breaks_on_write {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        assert!(!self.finished.get(), "bytes after the end was passed on");
        if let Some(most) = self.broken_after {
            return match most - self.received.borrow().len() {
                0 => Err(io::ErrorKind::BrokenPipe.into()),
                left => Ok(left.min(offered)),
            };
        }
        if self.shuts_after.get() == Some(self.received.borrow().len()) {
            self.shuts_after.set(None);
            self.stalled.set(true);
        }
        let next = if self.stalled.get() {
            Some(0)
        } else {
            self.takes.borrow_mut().pop_front()
        };
        match next {
            Some(0) => Err(io::ErrorKind::WouldBlock.into()),
            Some(most) => Ok(most.min(offered)),
            None => Ok(offered),
        }
    }
}

impl Leg for Scripted {
    fn look(&self) {}

    fn poll_readable(&self, _: &mut Context) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn is_readable(&self) -> bool {
        true
    }

    fn poll_writable(&self, _: &mut Context) -> Poll<io::Result<()>> {
        // A pause in the script ends at the next poll: readiness that proves wrong is allowed.
        if self.stalled.get() {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.is_urgent.set(false);
        let bytes = self.give(buffer.len())?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room(bytes.len())?;
        self.received.borrow_mut().extend_from_slice(&bytes[..room]);
        Ok(room)
    }

    fn try_splice_in(&self, pipe: &mut Pipe) -> io::Result<Option<usize>> {
        if self.is_urgent.get() {
            return Ok(None);
        }
        let bytes = self.give(pipe.capacity())?;
        pipe.pour(&bytes)?;
        Ok(Some(bytes.len()))
    }

    fn try_splice_out(&self, pipe: &mut Pipe) -> io::Result<usize> {
        let bytes = pipe.draw(self.room(pipe.filled)?)?;
        self.received.borrow_mut().extend_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn finish(&self) -> io::Result<()> {
        assert!(!self.finished.replace(true), "the end is passed on once");
        Ok(())
    }
}

fn resources(pipe_budget: usize) -> Resources {
    Resources {
        buffer: vec![0; 16 << 10],
        pipes: PipePool::new(PipeBudget::new(pipe_budget)),
        recorders: Recorders::new(1),
        wake: Some(Wake::default()),
    }
}

/// A direction of a session that was accepted just now.
fn half(direction: Direction) -> Half {
    Half::new(ListenerId(0), direction, Rc::default(), Instant::now())
}

fn poll(
    half: &mut Half,
    from: &Scripted,
    to: &Scripted,
    resources: &mut Resources,
) -> Poll<Result<(), HalfError>> {
    half.poll(&mut Context::from_waker(Waker::noop()), from, to, resources)
}

/// Polls until the end was passed on; every poll makes progress or uses up a pause.
fn run(
    half: &mut Half,
    from: &Scripted,
    to: &Scripted,
    resources: &mut Resources,
) -> Result<(), HalfError> {
    for _ in 0..1_000_000 {
        if let Poll::Ready(result) = poll(half, from, to, resources) {
            return result;
        }
    }
    panic!("the direction makes no progress: {half:?}");
}

fn send() -> impl Strategy<Value = Send> {
    prop_oneof![
        3 => (1_usize..200).prop_map(Send::Bytes),
        3 => (1_usize..300_000).prop_map(Send::Bytes),
        1 => Just(Send::Pause),
    ]
}

fn take() -> impl Strategy<Value = usize> {
    prop_oneof![2 => 1_usize..100, 3 => 1_usize..100_000, 2 => Just(0)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_arrives_is_what_was_sent_whatever_the_legs_do(
        sends in prop::collection::vec(send(), 0..40),
        takes in prop::collection::vec(take(), 0..80),
        budget in prop_oneof![Just(0_usize), Just(64 << 10), Just(8 << 20)],
    ) {
        let (from, to) = (Scripted::sending(sends), Scripted::taking(takes));
        let mut resources = resources(budget);
        let mut half = half(Direction::ClientToServer);
        run(&mut half, &from, &to, &mut resources).unwrap();
        let sent = from.given.get();
        prop_assert!(to.finished.get());
        let all = Counted { read: sent, passed: sent };
        prop_assert_eq!(half.flow.counted(), all);
        prop_assert!(*to.received.borrow() == stream(sent));
    }
}

#[test]
fn an_end_waits_for_the_bytes_before_it() {
    let from = Scripted::sending(vec![Send::Bytes(100)]);
    let to = Scripted::taking(vec![40, 0, 0, 0, 60]);
    let mut half = half(Direction::ServerToClient);
    run(&mut half, &from, &to, &mut resources(0)).unwrap();
    assert_eq!(*to.received.borrow(), stream(100));
    assert!(half.is_done());
}

#[test]
fn an_end_that_came_before_its_sender_broke_is_passed_on() {
    let from = Scripted::sending(vec![Send::Bytes(100)]);
    let to = Scripted::taking(vec![40, 0, 0, 0, 60]);
    let mut half = half(Direction::ServerToClient);
    half.end = End::Read;
    half.sever();
    run(&mut half, &from, &to, &mut resources(0)).unwrap();
    assert!(to.finished.get());
}

#[test]
fn bulk_goes_through_a_pipe_and_short_messages_do_not() {
    let from = Scripted::sending(vec![Send::Bytes(64), Send::Pause, Send::Bytes(10_000_000)]);
    let mut resources = resources(8 << 20);
    let to = Scripted::default();
    run(
        &mut half(Direction::ClientToServer),
        &from,
        &to,
        &mut resources,
    )
    .unwrap();
    assert_eq!(to.received.borrow().len(), 10_000_064);
    let counters = resources.recorders.merged().counters;
    assert!(counters.splices_client_to_server > 0, "{counters:?}");
    assert_eq!(counters.bytes_client_to_server, 10_000_064);
    assert_eq!(
        counters.copies_client_to_server, 2,
        "the message, and the read that filled the buffer"
    );
}

#[test]
fn what_cannot_be_spliced_is_read() {
    let from = Scripted::sending(vec![
        Send::Bytes(20_000_000),
        Send::Pause,
        Send::Bytes(1_000_000),
    ]);
    let mut resources = resources(8 << 20);
    let to = Scripted::default();
    let mut half = half(Direction::ClientToServer);
    assert!(poll(&mut half, &from, &to, &mut resources).is_pending());
    assert!(half.pace != Pace::Short);
    let copies = resources
        .recorders
        .merged()
        .counters
        .copies_client_to_server;
    from.is_urgent.set(true);
    run(&mut half, &from, &to, &mut resources).unwrap();
    assert!(
        resources
            .recorders
            .merged()
            .counters
            .copies_client_to_server
            > copies
    );
    assert_eq!(*to.received.borrow(), stream(21_000_000));
}

/// A direction whose receiver shut its window just after bulk had begun.
fn stalled(resources: &mut Resources) -> (Half, Scripted, Scripted) {
    let from = Scripted::sending(vec![Send::Bytes(1_000_000)]);
    let to = Scripted {
        shuts_after: Cell::new(Some(16 << 10)),
        ..Scripted::default()
    };
    let mut half = half(Direction::ClientToServer);
    assert!(poll(&mut half, &from, &to, resources).is_pending());
    assert!(matches!(half.held, Held::Parked(_)) && !half.reads());
    (half, from, to)
}

#[test]
fn a_stalled_direction_does_not_read_and_its_pipe_can_be_evicted() {
    let mut resources = resources(64 << 10);
    let (mut half, from, to) = stalled(&mut resources);
    let given = from.given.get();
    std::thread::sleep(Duration::from_millis(250));
    assert!(poll(&mut half, &from, &to, &mut resources).is_pending());
    assert_eq!(
        from.given.get(),
        given,
        "nothing more is read while bytes are held"
    );
    let other = resources.pipes.take();
    assert!(other.is_some(), "the only pipe there may be");
    to.stalled.set(false);
    run(&mut half, &from, &to, &mut resources).unwrap();
    assert_eq!(*to.received.borrow(), stream(1_000_000));
}

#[test]
fn what_a_broken_sender_had_sent_is_passed_on_and_its_end_is_not() {
    let mut resources = resources(8 << 20);
    let (mut half, from, to) = stalled(&mut resources);
    half.sever();
    to.stalled.set(false);
    run(&mut half, &from, &to, &mut resources).unwrap();
    assert_eq!(*to.received.borrow(), stream(1_000_000));
    assert!(!to.finished.get() && !half.is_done());
}

#[test]
fn a_leg_that_breaks_is_named_by_what_was_done_to_it() {
    let from = Scripted::sending(vec![Send::Bytes(10)]);
    let to = Scripted {
        breaks_on_write: true,
        ..Scripted::default()
    };
    let broken = run(
        &mut half(Direction::ClientToServer),
        &from,
        &to,
        &mut resources(0),
    );
    assert!(matches!(broken, Err(HalfError::Write(_))), "{broken:?}");
}

#[test]
fn a_direction_that_is_abandoned_gives_its_pipe_back() {
    let budget = PipeBudget::new(64 << 10);
    let mut resources = Resources {
        pipes: PipePool::new(budget.clone()),
        ..resources(0)
    };
    let (mut half, ..) = stalled(&mut resources);
    assert!(budget.used() > 0);
    half.abandon(&mut resources);
    assert_eq!(
        budget.used(),
        0,
        "its bytes are lost, and the pipe with them"
    );
}

#[test]
fn a_reset_that_a_splice_met_half_way_is_no_end_of_the_peer() {
    // The first 16 KiB are written, what comes then is spliced.
    for (more, expected) in [
        (0, io::ErrorKind::BrokenPipe),
        (10_000, io::ErrorKind::ConnectionReset),
    ] {
        let from = Scripted::sending(vec![Send::Bytes(1_000_000)]);
        let to = Scripted {
            broken_after: Some((16 << 10) + more),
            ..Scripted::default()
        };
        let mut half = half(Direction::ClientToServer);
        let broken = run(&mut half, &from, &to, &mut resources(8 << 20));
        assert!(
            matches!(&broken, Err(HalfError::Write(error)) if error.kind() == expected),
            "{more}: {broken:?}"
        );
    }
}
