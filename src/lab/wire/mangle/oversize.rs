//! Packets above a size.

use std::time::Duration;

use super::{Dice, fate};
use crate::lab::wire::spec::{Oversize, OversizeAction, Protocol};
use crate::packet::{Ip, ip::protocol};

/// What becomes of a packet because of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Nothing.
    Fits,
    /// Lost in silence.
    Drop,
    /// Lost, and its sender is told.
    TooBig {
        /// The size that would have passed.
        limit: u16,
    },
    /// It comes late, and others overtake it.
    HoldBack(Duration),
    /// It is cut.
    Truncate {
        /// To this size.
        limit: u16,
    },
}

/// Applies the first rule that matches; the dice decide about that one only.
pub fn judge(rules: &[Oversize], ip: &Ip, size: usize, dice: &mut Dice) -> Size {
    let matches = |rule: &&Oversize| size > usize::from(rule.above) && concerns(rule.protocol, ip);
    let Some(rule) = rules.iter().find(matches) else {
        return Size::Fits;
    };
    if !fate::happens(dice, rule.probability) {
        return Size::Fits;
    }
    let limit = rule.above;
    match rule.action {
        OversizeAction::Drop => Size::Drop,
        OversizeAction::TooBig => Size::TooBig { limit },
        OversizeAction::Delay(time) => Size::HoldBack(time),
        OversizeAction::Truncate => Size::Truncate { limit },
    }
}

fn concerns(protocol: Protocol, ip: &Ip) -> bool {
    match protocol {
        Protocol::Any => true,
        Protocol::Tcp => ip.protocol == protocol::TCP,
        Protocol::Icmp => ip.is_icmp(),
    }
}
