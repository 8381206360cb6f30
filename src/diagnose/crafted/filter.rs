//! What a tap is to show, as a program of the classic BPF: TCP from or to the other end, and all ICMP. Pure.
//!
//! The program sees a packet from its IP header on (`man 7 packet`, `SOCK_DGRAM`). What is tagged for a VLAN comes
//! again by the interface of that VLAN, and is left out here.

use std::net::IpAddr;

use socket2::SockFilter;

/// Operations (`linux/bpf_common.h`).
const LOAD_BYTE: u16 = 0x30;
const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const SHIFT_RIGHT: u16 = 0x74;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// `SKF_AD_OFF` + `SKF_AD_VLAN_TAG` (`linux/filter.h`).
const VLAN_TAG: u32 = 0xffff_f000 + 44;
const VLAN_ID: u32 = 0x0fff;

const ICMP: u32 = 1;
const TCP: u32 = 6;
/// A fragment of IPv6, of whatever it is.
const FRAGMENT: u32 = 44;
const ICMPV6: u32 = 58;

/// Where a jump of a program that is being written leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    Skip(u8),
    Accept,
    Drop,
}

/// One operation, its jumps not yet counted.
#[derive(Clone, Copy)]
struct Op {
    code: u16,
    operand: u32,
    then: To,
    otherwise: To,
}

/// Shows TCP from and to this address, and ICMP of its family from and to anybody: a router's complaints come from
/// everywhere.
#[must_use]
pub fn of(peer: IpAddr) -> Vec<SockFilter> {
    written(peer)
        .into_iter()
        .map(|(code, then, otherwise, operand)| SockFilter::new(code, then, otherwise, operand))
        .collect()
}

/// Drops everything: see [`Deaf`](super::deaf::Deaf).
#[must_use]
pub fn nothing() -> Vec<SockFilter> {
    vec![SockFilter::new(RETURN, 0, 0, 0)]
}

/// The program as plain numbers.
fn written(peer: IpAddr) -> Vec<(u16, u8, u8, u32)> {
    let mut ops = vec![
        op(LOAD_WORD, VLAN_TAG),
        op(AND, VLAN_ID),
        jump(0, To::Next, To::Drop),
        op(LOAD_BYTE, 0),
        op(SHIFT_RIGHT, 4),
    ];
    match peer {
        IpAddr::V4(v4) => {
            ops.extend([jump(4, To::Next, To::Drop), op(LOAD_BYTE, 9)]);
            ops.extend([
                jump(ICMP, To::Accept, To::Next),
                jump(TCP, To::Next, To::Drop),
            ]);
            ops.extend(one_of(&[u32::from(v4)], 12, 16));
        }
        IpAddr::V6(v6) => {
            ops.extend([jump(6, To::Next, To::Drop), op(LOAD_BYTE, 6)]);
            ops.extend([
                jump(ICMPV6, To::Accept, To::Next),
                jump(FRAGMENT, To::Skip(1), To::Next),
                jump(TCP, To::Next, To::Drop),
            ]);
            let octets = v6.octets();
            let words = octets.chunks_exact(4);
            let words: Vec<u32> = words
                .map(|word| word.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
                .collect();
            ops.extend(one_of(&words, 8, 24));
        }
    }
    resolved(&ops)
}

/// Accepts if these words stand at either place.
fn one_of(words: &[u32], source: u32, destination: u32) -> Vec<Op> {
    let mut ops = Vec::new();
    for (at, last) in [(source, false), (destination, true)] {
        for (number, word) in words.iter().enumerate() {
            let rest = words.len() - number - 1;
            ops.push(op(LOAD_WORD, at + 4 * number as u32));
            let then = if rest == 0 { To::Accept } else { To::Next };
            let otherwise = match last {
                true => To::Drop,
                // Two operations for each word that is not looked at any more.
                false => To::Skip(2 * rest as u8),
            };
            ops.push(jump(*word, then, otherwise));
        }
    }
    ops
}

fn op(code: u16, operand: u32) -> Op {
    let (then, otherwise) = (To::Next, To::Next);
    Op {
        code,
        operand,
        then,
        otherwise,
    }
}

fn jump(operand: u32, then: To, otherwise: To) -> Op {
    Op {
        code: JUMP_EQUAL,
        operand,
        then,
        otherwise,
    }
}

/// Counts the jumps, and puts both ends at the end: first that which accepts.
fn resolved(ops: &[Op]) -> Vec<(u16, u8, u8, u32)> {
    let distance = |from: usize, to: To| match to {
        To::Next => 0,
        To::Skip(operations) => operations,
        To::Accept => (ops.len() - from - 1) as u8,
        To::Drop => (ops.len() - from) as u8,
    };
    let counted = ops.iter().enumerate().map(|(at, op)| {
        let (then, otherwise) = (distance(at, op.then), distance(at, op.otherwise));
        (op.code, then, otherwise, op.operand)
    });
    let ends = [(RETURN, 0, 0, u32::MAX), (RETURN, 0, 0, 0)];
    counted.chain(ends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do, for the operations that are used.
    fn shows(program: &[(u16, u8, u8, u32)], vlan: u32, packet: &[u8]) -> bool {
        let (mut at, mut value) = (0, 0_u32);
        loop {
            let (code, then, otherwise, operand) = program[at];
            at += 1;
            let here = operand as usize;
            match code {
                LOAD_WORD if operand == VLAN_TAG => value = vlan,
                LOAD_WORD => match packet.get(here..here + 4) {
                    Some(word) => value = u32::from_be_bytes(word.try_into().unwrap()),
                    None => return false,
                },
                LOAD_BYTE => match packet.get(here) {
                    Some(byte) => value = u32::from(*byte),
                    None => return false,
                },
                AND => value &= operand,
                SHIFT_RIGHT => value >>= operand,
                JUMP_EQUAL => at += usize::from(if value == operand { then } else { otherwise }),
                RETURN => return operand != 0,
                other => panic!("operation {other:#x}"),
            }
        }
    }

    fn v4(protocol: u32, from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[9] = protocol as u8;
        packet[12..16].copy_from_slice(&from);
        packet[16..20].copy_from_slice(&to);
        packet
    }

    fn v6(next: u32, from: &str, to: &str) -> Vec<u8> {
        let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
        let mut packet = vec![0; 60];
        packet[0] = 0x60;
        packet[6] = next as u8;
        packet[8..24].copy_from_slice(&octets(from));
        packet[24..40].copy_from_slice(&octets(to));
        packet
    }

    const PEER: [u8; 4] = [192, 0, 2, 7];
    const OWN: [u8; 4] = [192, 0, 2, 1];
    const OTHER: [u8; 4] = [192, 0, 2, 8];

    #[test]
    fn of_ipv4_the_peers_tcp_and_everybodys_icmp_is_shown() {
        let program = written(PEER.into());
        let shown = |packet: &[u8]| shows(&program, 0, packet);
        assert!(shown(&v4(TCP, PEER, OWN)) && shown(&v4(TCP, OWN, PEER)));
        assert!(shown(&v4(ICMP, OTHER, OWN)));
        assert!(!shown(&v4(TCP, OTHER, OWN)) && !shown(&v4(TCP, OWN, OTHER)));
        assert!(!shown(&v4(17, PEER, OWN)));
        assert!(!shown(&v6(TCP, "::1", "::2")) && !shown(&[]));
    }

    #[test]
    fn of_ipv6_each_word_of_the_address_counts() {
        let peer = "2001:db8:1:2:3:4:5:6";
        let program = written(peer.parse().unwrap());
        let shown = |packet: &[u8]| shows(&program, 0, packet);
        let own = "2001:db8::1";
        for next in [TCP, FRAGMENT] {
            assert!(shown(&v6(next, peer, own)) && shown(&v6(next, own, peer)));
        }
        for other in [
            "2001:db9:1:2:3:4:5:6",
            "2001:db8:1:3:3:4:5:6",
            "2001:db8:1:2:3:5:5:6",
            "2001:db8:1:2:3:4:5:7",
        ] {
            assert!(!shown(&v6(TCP, other, own)), "{other}");
            assert!(!shown(&v6(TCP, own, other)), "{other}");
        }
        assert!(shown(&v6(ICMPV6, "2001:db8::99", own)));
        assert!(!shown(&v6(17, peer, own)));
        assert!(!shown(&v4(TCP, PEER, OWN)));
    }

    #[test]
    fn what_is_tagged_for_a_vlan_is_shown_by_the_interface_of_that_vlan_alone() {
        let program = written(PEER.into());
        let packet = v4(TCP, PEER, OWN);
        assert!(!shows(&program, 5, &packet));
        // A priority without a VLAN.
        assert!(shows(&program, 3 << 13, &packet));
    }
}
