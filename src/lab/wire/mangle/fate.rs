//! Chance: what is lost, corrupted or doubled.

use rand::RngExt;

use super::Dice;
use crate::packet::ip::protocol;
use crate::packet::{Ip, Tcp};

/// Whether something of this probability happens now. Nothing is drawn for what never or always
/// happens, so that switching one fault on leaves the draws of the others alone.
pub fn happens(dice: &mut Dice, probability: f64) -> bool {
    probability >= 1.0 || (probability > 0.0 && dice.random::<f64>() < probability)
}

/// Flips one bit of the TCP or UDP payload and leaves the checksum. `false` if there is no payload.
pub fn corrupt(ip: &Ip, packet: &mut [u8], dice: &mut Dice) -> bool {
    let start = match ip.protocol {
        protocol::TCP if ip.has_tcp_header() => match Tcp::parse(&packet[ip.payload..ip.end]) {
            Ok(tcp) => ip.payload + tcp.header_len(),
            Err(_) => return false,
        },
        protocol::UDP => ip.payload + 8,
        _ => return false,
    };
    if start >= ip.end {
        return false;
    }
    let at = dice.random_range(start..ip.end);
    packet[at] ^= 1 << dice.random_range(0..8);
    true
}
