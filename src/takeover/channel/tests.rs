use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::io::{FdFlags, fcntl_getfd};

use super::*;
use crate::takeover::frame::LONGEST;
use crate::takeover::line::borrowed;

/// Longer than any test lasts.
const LONG: Duration = Duration::from_secs(60);

fn pair() -> (Channel, Channel) {
    let (one, other) = UnixStream::pair().unwrap();
    (Channel::over(one.into()), Channel::over(other.into()))
}

fn refused<T>(answer: Result<T, ChannelError>) -> bool {
    matches!(answer, Err(ChannelError::Descriptors { .. }))
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe().unwrap()
}

#[test]
fn descriptors_come_with_their_message_and_are_closed_in_children() {
    let (one, other) = pair();
    let (read, write) = pipe();
    one.send(&Message::Ready, &[], LONG).unwrap();
    one.send(&Message::Further(2), &[read.as_fd(), write.as_fd()], LONG)
        .unwrap();
    one.send(&Message::Free, &[], LONG).unwrap();
    drop((read, write));
    // Each message is received by itself: descriptors of the next do not come with the one before.
    let (message, none) = other.receive(LONG).unwrap();
    assert_eq!((message, none.len()), (Message::Ready, 0));
    let (message, both) = other.receive(LONG).unwrap();
    assert_eq!((message, both.len()), (Message::Further(2), 2));
    let (message, none) = other.receive(LONG).unwrap();
    assert_eq!((message, none.len()), (Message::Free, 0));
    for descriptor in &both {
        assert_eq!(fcntl_getfd(descriptor).unwrap(), FdFlags::CLOEXEC);
    }
    let [read, write] = <[OwnedFd; 2]>::try_from(both).unwrap();
    std::fs::File::from(write)
        .write_all(b"it is the same")
        .unwrap();
    let mut text = String::new();
    std::fs::File::from(read).read_to_string(&mut text).unwrap();
    assert_eq!(text, "it is the same");
}

#[test]
fn a_message_that_the_socket_does_not_hold_at_once_arrives_with_as_many_descriptors_as_may_be() {
    let (one, other) = pair();
    let (read, _write) = pipe();
    let off = Message::Off("x".repeat(LONGEST - 2));
    let far = thread::spawn(move || {
        let many = vec![read.as_fd(); MOST];
        one.send(&Message::Further(MOST as u16), &many, LONG)
            .unwrap();
        one.send(&off, &[], LONG).unwrap();
        off
    });
    assert_eq!(other.receive(LONG).unwrap().1.len(), MOST);
    let (message, _) = other.receive(LONG).unwrap();
    assert!(message == far.join().unwrap());
}

#[test]
fn who_says_nothing_or_too_little_is_not_waited_for_longer() {
    let (one, other) = pair();
    let short = Duration::from_millis(5);
    let answer = other.receive(short);
    assert!(matches!(answer, Err(ChannelError::Late(_))), "{answer:?}");
    // Nothing of it was received: the next one can be.
    one.send(&Message::Ready, &[], LONG).unwrap();
    assert_eq!(other.receive(Duration::ZERO).unwrap().0, Message::Ready);
    let bytes = Message::Have(1000).encode().unwrap();
    one.send_bytes(&bytes[..HEAD + 1], &[], LONG).unwrap();
    let answer = other.receive(short);
    assert!(matches!(answer, Err(ChannelError::Late(_))), "{answer:?}");
    // What comes now is the rest of a message, and is not taken for one.
    one.send(&Message::Ready, &[], LONG).unwrap();
    let answer = other.receive(short);
    assert!(matches!(answer, Err(ChannelError::Torn)), "{answer:?}");
}

#[test]
fn who_reads_nothing_is_not_waited_for_longer_and_gets_nothing_after_half_a_message() {
    let (one, _other) = pair();
    let long = Message::Off("x".repeat(LONGEST - 2));
    let answer = one.send(&long, &[], Duration::from_millis(5));
    assert!(matches!(answer, Err(ChannelError::Late(_))), "{answer:?}");
    let answer = one.send(&Message::Started, &[], Duration::ZERO);
    assert!(matches!(answer, Err(ChannelError::Torn)), "{answer:?}");
}

#[test]
fn what_was_said_before_the_end_is_heard_and_then_the_end() {
    let (one, other) = pair();
    // One message is never read.
    other.send(&Message::Ready, &[], LONG).unwrap();
    one.send(&Message::Started, &[], LONG).unwrap();
    drop(one);
    assert_eq!(other.receive(LONG).unwrap().0, Message::Started);
    let answer = other.receive(LONG);
    assert!(matches!(answer, Err(ChannelError::Closed)), "{answer:?}");
    let answer = other.send(&Message::Started, &[], LONG);
    assert!(matches!(answer, Err(ChannelError::Closed)), "{answer:?}");
}

#[test]
fn who_is_deaf_hears_what_was_said_before_and_nobody_can_say_more() {
    let (one, other) = pair();
    one.send(&Message::Started, &[], LONG).unwrap();
    other.deafen();
    let answer = one.send(&Message::Started, &[], LONG);
    assert!(matches!(answer, Err(ChannelError::Closed)), "{answer:?}");
    assert_eq!(other.receive(Duration::ZERO).unwrap().0, Message::Started);
    assert!(other.receive(Duration::ZERO).is_err());
    // The deaf can still speak.
    other.send(&Message::Off(String::new()), &[], LONG).unwrap();
    other.hang_up();
    assert_eq!(one.receive(LONG).unwrap().0, Message::Off(String::new()));
    assert!(matches!(one.receive(LONG), Err(ChannelError::Closed)));
}

#[test]
fn descriptors_that_were_not_announced_are_refused() {
    let (read, _write) = pipe();
    let (one, other) = pair();
    assert!(refused(one.send(&Message::Ready, &[read.as_fd()], LONG)));
    // With the first byte of a message that has none; with its last byte; too few.
    let bytes = Message::Have(7).encode().unwrap();
    one.send_bytes(&bytes, &[read.as_fd()], LONG).unwrap();
    assert!(refused(other.receive(LONG)));
    one.send_bytes(&bytes[..HEAD], &[], LONG).unwrap();
    one.send_bytes(&bytes[HEAD..], &[read.as_fd()], LONG)
        .unwrap();
    assert!(refused(other.receive(LONG)));
    let bytes = Message::Further(2).encode().unwrap();
    one.send_bytes(&bytes, &borrowed(&[read]), LONG).unwrap();
    assert!(refused(other.receive(LONG)));
}

#[test]
fn the_peer_of_a_process_that_talks_to_itself_is_this_process() {
    let (one, _other) = pair();
    let peer = one.peer().unwrap();
    assert_eq!(peer.uid, geteuid().as_raw());
    assert_eq!(peer.pid, std::process::id() as i32);
    assert!(peer.may_take_over());
    let stranger = Peer {
        uid: peer.uid + 1,
        ..peer
    };
    assert!(!stranger.may_take_over());
}
