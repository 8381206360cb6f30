//! Which packet a tap has shown already, by another interface: pure.
//!
//! What comes by a port of a bridge, a bond or a team is shown at the port and again at the device above it, byte by byte
//! the same; what leaves likewise, the other way round. A packet that the network has doubled comes twice by the *same*
//! interface. So each interface may show each packet once, and what it shows again is another packet. Interfaces are not
//! chosen by routes or addresses instead, since answers may come by another one than the route's.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::sys::tap::Going;

/// A copy follows at once; so long and so many packets later at most, whatever else keeps this process busy.
const LATEST: Duration = Duration::from_millis(500);
const MOST: usize = 256;

/// The packets shown last.
#[derive(Debug, Default)]
pub struct Copies {
    packets: VecDeque<Shown>,
    hashing: RandomState,
}

#[derive(Debug)]
struct Shown {
    when: Duration,
    hash: u64,
    /// By which interfaces; the first one is where it was shown first.
    by: Vec<u32>,
}

// === impl Copies ===

impl Copies {
    /// Whether this is a packet that another interface has shown just before. Bytes are compared by a hash of 64 bits.
    pub fn is_copy(&mut self, now: Duration, going: Going, interface: u32, packet: &[u8]) -> bool {
        while self
            .packets
            .front()
            .is_some_and(|shown| shown.when + LATEST < now || self.packets.len() > MOST)
        {
            self.packets.pop_front();
        }
        let hash = self.hashing.hash_one((going == Going::In, packet));
        let original = self
            .packets
            .iter_mut()
            .find(|shown| shown.hash == hash && !shown.by.contains(&interface));
        if let Some(original) = original {
            original.by.push(interface);
            return true;
        }
        self.packets.push_back(Shown {
            when: now,
            hash,
            by: vec![interface],
        });
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(1);
    const PORT: u32 = 2;
    const BRIDGE: u32 = 3;

    /// How many packets are left of these sights.
    fn count(sights: &[(u32, &[u8])]) -> usize {
        let mut copies = Copies::default();
        let is_first = |(interface, packet): &&(u32, &[u8])| {
            !copies.is_copy(NOW, Going::In, *interface, packet)
        };
        sights.iter().filter(is_first).count()
    }

    #[test]
    fn what_a_port_and_its_bridge_show_is_one_packet() {
        assert_eq!(count(&[(PORT, b"a"), (BRIDGE, b"a")]), 1);
        assert_eq!(count(&[(PORT, b"a"), (BRIDGE, b"b")]), 2);
        // A VLAN on a bridge, say.
        assert_eq!(count(&[(PORT, b"a"), (BRIDGE, b"a"), (4, b"a")]), 1);
    }

    #[test]
    fn what_one_interface_shows_twice_are_two_packets() {
        assert_eq!(count(&[(PORT, b"a"), (PORT, b"a")]), 2);
    }

    #[test]
    fn a_packet_that_comes_twice_stays_two_behind_a_bridge_and_behind_a_bond() {
        for sights in [
            [(PORT, b"a"), (BRIDGE, b"a"), (PORT, b"a"), (BRIDGE, b"a")],
            [(PORT, b"a"), (PORT, b"a"), (BRIDGE, b"a"), (BRIDGE, b"a")],
        ] {
            assert_eq!(count(&sights.map(|(by, packet)| (by, &packet[..]))), 2);
        }
        // By one port of the bond each.
        let sights = [(PORT, b"a"), (BRIDGE, b"a"), (9, b"a"), (BRIDGE, b"a")];
        assert_eq!(count(&sights.map(|(by, packet)| (by, &packet[..]))), 2);
    }

    #[test]
    fn what_comes_again_later_by_another_interface_is_another_packet() {
        let mut copies = Copies::default();
        assert!(!copies.is_copy(NOW, Going::In, PORT, b"a"));
        let later = NOW + LATEST + Duration::from_millis(1);
        assert!(!copies.is_copy(later, Going::In, BRIDGE, b"a"));
    }

    #[test]
    fn what_leaves_by_loopback_and_comes_there_is_both() {
        let mut copies = Copies::default();
        assert!(!copies.is_copy(NOW, Going::Out, PORT, b"a"));
        assert!(!copies.is_copy(NOW, Going::In, BRIDGE, b"a"));
    }

    proptest! {
        #[test]
        fn behind_a_bridge_as_many_are_left_as_the_port_shows(packets in proptest::collection::vec(0u8..4, 0..40)) {
            let mut copies = Copies::default();
            let mut left = 0;
            for packet in &packets {
                for interface in [PORT, BRIDGE] {
                    left += usize::from(!copies.is_copy(NOW, Going::In, interface, &[*packet]));
                }
            }
            prop_assert_eq!(left, packets.len());
            prop_assert!(copies.packets.len() <= MOST + 1);
        }
    }
}
