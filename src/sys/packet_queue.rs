//! A packet queue of netfilter (NFQUEUE): packets that a rule hands over wait in the kernel until they are
//! let through, with another mark perhaps, or dropped. `linux/netfilter/nfnetlink_queue.h` has the numbers.
//!
//! When the process ends, however it ends, the queue is gone: what waits in it is dropped, and a rule with
//! `bypass` lets pass what comes later. The socket is not inherited by children, which would keep it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netdevice, recv, sendto,
    socket_with, sockopt,
};

/// A queue that this process has bound.
#[derive(Debug)]
pub struct PacketQueue {
    socket: OwnedFd,
    number: u16,
}

/// A packet that waits for its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// By which its verdict is given.
    pub id: u32,
    /// Its mark.
    pub mark: u32,
    /// The index of the interface that it came by; 0 if there is none.
    pub interface: u32,
    /// The packet from its IP header on, as far as it is copied.
    pub bytes: Vec<u8>,
}

/// What is to become of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on to the next hook, with this mark.
    Accept {
        /// Every bit of it.
        mark: u32,
    },
    /// It is forgotten.
    Drop,
}

/// As much of each packet as is copied: every header there may be, and no payload to speak of.
const COPIED: u32 = 256;
/// Longer than a message with that much of a packet.
const LONGEST: usize = 4096;
/// Room for a burst; what finds none is let pass by the kernel.
const RECEIVE_BUFFER: usize = 4 << 20;

const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);
const HEADER: usize = 20;
const NLMSG_ERROR: u16 = 2;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
/// NFNL_SUBSYS_QUEUE.
const SUBSYSTEM: u16 = 3 << 8;

mod message {
    pub const PACKET: u16 = 0;
    pub const VERDICT: u16 = 1;
    pub const CONFIG: u16 = 2;
}

mod attribute {
    pub const PACKET_HEADER: u16 = 1;
    pub const VERDICT_HEADER: u16 = 2;
    pub const MARK: u16 = 3;
    pub const INTERFACE: u16 = 5;
    pub const PAYLOAD: u16 = 10;

    pub const COMMAND: u16 = 1;
    pub const PARAMETERS: u16 = 2;
    pub const MOST: u16 = 3;
    pub const MASK: u16 = 4;
    pub const FLAGS: u16 = 5;
}

// === impl PacketQueue ===

impl PacketQueue {
    /// Binds queue `number`, in which at most `most` packets wait; the kernel lets further ones pass.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, and if somebody else has it, `EPERM`.
    pub fn open(number: u16, most: u32) -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::NETFILTER),
        )?;
        bind(&socket, &KERNEL)?;
        // A smaller one does, too.
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER);
        let queue = Self { socket, number };
        queue.send(&configuration(number, most))?;
        let mut answer = vec![0; LONGEST];
        loop {
            let (_, length) = recv(&queue.socket, &mut answer[..], RecvFlags::empty())?;
            let answer = &answer[..length.min(LONGEST)];
            match (error_in(answer), Queued::parse(answer)) {
                (Some(0), _) => return Ok(queue),
                (Some(code), _) => return Err(io::Error::from_raw_os_error(code)),
                // Where the rules stand already a packet can come before the answer; as before, it goes on.
                (None, Some(Queued { id, mark, .. })) => {
                    queue.decide(id, Verdict::Accept { mark })?;
                }
                (None, None) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// The next packet, without waiting for one.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn receive(&self) -> io::Result<Queued> {
        let mut buffer = [0; LONGEST];
        loop {
            match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, length)) => {
                    if let Some(queued) = Queued::parse(&buffer[..length.min(LONGEST)]) {
                        return Ok(queued);
                    }
                }
                // Packets that found no room were let pass by the kernel.
                Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Says what is to become of a packet.
    ///
    /// # Errors
    /// What `sendto` says.
    pub fn decide(&self, id: u32, verdict: Verdict) -> io::Result<()> {
        self.send(&decision(self.number, id, verdict))
    }

    /// The name of an interface by its index.
    ///
    /// # Errors
    /// If there is no such interface any more.
    pub fn interface(&self, index: u32) -> io::Result<String> {
        Ok(netdevice::index_to_name(&self.socket, index)?)
    }

    fn send(&self, message: &[u8]) -> io::Result<()> {
        sendto(&self.socket, message, SendFlags::empty(), &KERNEL)?;
        Ok(())
    }
}

impl AsFd for PacketQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for PacketQueue {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

// === the messages, as bytes ===

/// A message that grows by its attributes. Lengths and types are in the machine's byte order, what
/// netfilter puts into them is in the network's.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, queue: u16) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&(SUBSYSTEM | kind).to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[18..20].copy_from_slice(&queue.to_be_bytes());
        Self(bytes)
    }

    fn with(mut self, attribute: u16, value: &[u8]) -> Self {
        let length = (4 + value.len()) as u16;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&attribute.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let length = (self.0.len() as u32).to_ne_bytes();
        self.0[..4].copy_from_slice(&length);
        self.0
    }
}

/// Binds the queue: so much of each packet, so many of them, and none dropped for want of room.
fn configuration(number: u16, most: u32) -> Vec<u8> {
    const BIND: [u8; 4] = [1, 0, 0, 0];
    const COPY_PACKET: u8 = 2;
    const FAIL_OPEN: u32 = 1;
    let mut parameters = COPIED.to_be_bytes().to_vec();
    parameters.push(COPY_PACKET);
    Message::new(message::CONFIG, REQUEST | ACK, number)
        .with(attribute::COMMAND, &BIND)
        .with(attribute::PARAMETERS, &parameters)
        .with(attribute::MOST, &most.to_be_bytes())
        .with(attribute::MASK, &FAIL_OPEN.to_be_bytes())
        .with(attribute::FLAGS, &FAIL_OPEN.to_be_bytes())
        .finish()
}

fn decision(number: u16, id: u32, verdict: Verdict) -> Vec<u8> {
    const DROP: u32 = 0;
    const ACCEPT: u32 = 1;
    let header = |verdict: u32| [verdict.to_be_bytes(), id.to_be_bytes()].concat();
    let message = Message::new(message::VERDICT, REQUEST, number);
    match verdict {
        Verdict::Accept { mark } => message
            .with(attribute::VERDICT_HEADER, &header(ACCEPT))
            .with(attribute::MARK, &mark.to_be_bytes()),
        Verdict::Drop => message.with(attribute::VERDICT_HEADER, &header(DROP)),
    }
    .finish()
}

/// The code of an error message, 0 for one that says that all is well; `None` for other messages.
fn error_in(message: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    let code = i32::from_ne_bytes(message.get(16..20)?.try_into().ok()?);
    (kind == NLMSG_ERROR).then_some(-code)
}

impl Queued {
    /// The packet in a message of the kernel, if there is one.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<Self> {
        let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
        if kind != SUBSYSTEM | message::PACKET {
            return None;
        }
        let (mut id, mut mark, mut interface, mut bytes) = (None, 0, 0, Vec::new());
        let mut rest = message.get(HEADER..)?;
        while let Some((kind, value)) = attribute_in(&mut rest) {
            let number = || Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?));
            match kind {
                attribute::PACKET_HEADER => id = number(),
                attribute::MARK => mark = number()?,
                attribute::INTERFACE => interface = number()?,
                attribute::PAYLOAD => bytes = value.to_vec(),
                _ => {}
            }
        }
        Some(Self {
            id: id?,
            mark,
            interface,
            bytes,
        })
    }
}

/// Takes the next attribute off `rest`: its kind and its value.
fn attribute_in<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    /// Without the bits for nesting and byte order.
    const KIND: u16 = 0x3fff;
    let all = *rest;
    let length = usize::from(u16::from_ne_bytes(all.get(..2)?.try_into().ok()?));
    let kind = u16::from_ne_bytes(all.get(2..4)?.try_into().ok()?) & KIND;
    let value = all.get(4..length)?;
    *rest = all.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_is_read_with_its_mark_and_interface() {
        let message = Message::new(message::PACKET, 0, 7)
            .with(attribute::PACKET_HEADER, &[0, 0, 0, 9, 8, 0, 0])
            .with(attribute::MARK, &0x1600_0000_u32.to_be_bytes())
            .with(attribute::INTERFACE, &3_u32.to_be_bytes())
            .with(attribute::PAYLOAD, &[0x45, 0, 0])
            .finish();
        assert_eq!(
            Queued::parse(&message),
            Some(Queued {
                id: 9,
                mark: 0x1600_0000,
                interface: 3,
                bytes: vec![0x45, 0, 0],
            })
        );
    }

    #[test]
    fn a_verdict_names_queue_packet_and_mark_in_network_order() {
        let message = decision(0x0102, 9, Verdict::Accept { mark: 0x0a0b_0c0d });
        assert_eq!(message.len(), 40);
        assert_eq!(message[..4], 40_u32.to_ne_bytes());
        assert_eq!(message[18..20], [1, 2]);
        assert_eq!(message[24..32], [0, 0, 0, 1, 0, 0, 0, 9]);
        assert_eq!(message[36..], [0x0a, 0x0b, 0x0c, 0x0d]);
        let dropped = decision(0x0102, 9, Verdict::Drop);
        assert_eq!(dropped[24..], [0, 0, 0, 0, 0, 0, 0, 9]);
    }

    #[test]
    fn an_error_is_told_by_its_code_and_an_acknowledgement_by_zero() {
        let mut message = vec![0; 36];
        message[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        assert_eq!(error_in(&message), Some(0));
        message[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        assert_eq!(error_in(&message), Some(1));
        assert_eq!(error_in(&message[..10]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_taken_for_a_message(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), ours: bool) {
            if ours && bytes.len() >= 6 {
                bytes[4..6].copy_from_slice(&SUBSYSTEM.to_ne_bytes());
            }
            let _ = Queued::parse(&bytes);
            error_in(&bytes);
        }
    }
}
