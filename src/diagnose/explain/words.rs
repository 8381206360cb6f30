//! Findings in words: what is wrong with a packet, and what helps.

use std::time::Duration;

use super::story::{FAR, Story, ack_is_right};
use super::told::{Cure, Finding, PacketTold, SackTold, SideTold};
use super::{Number, Sighting};
use crate::diagnose::tracking::{
    Bound, By, Invalid, Kernel, Kind, Liberal, Measured, Segment, Side, Way,
};
use crate::packet::Flags;

/// One INVALID packet, told.
pub(super) fn finding(
    story: &Story,
    sighting: &Sighting<'_>,
    way: Way,
    invalid: &Invalid,
    begin: Duration,
    kernel: Kernel,
) -> Finding {
    let segment = &sighting.segment;
    let measured = invalid.measured;
    // What is acknowledged was sent by the other side, and counts from where that began.
    let space = |by| match by {
        By::Seq | By::End => way,
        By::Ack | By::Sack(_) => way.other(),
    };
    let number = |pick: fn(&Measured) -> u32| {
        measured.map(|measured| story.number(space(measured.by), pick(&measured)))
    };
    let sack = measured.and_then(|measured| match measured.by {
        By::Sack(block) => Some(SackTold {
            block: block.index + 1,
            left: story.number(way.other(), block.left),
            right: story.number(way.other(), block.right),
        }),
        _ => None,
    });
    let side = |way: Way, side: &Side| SideTold {
        end: story.number(way, side.end),
        max_end: story.number(way, side.max_end),
        max_window: side.max_window,
        scale: side.scale,
        scale_offered: side.scale_offered,
    };
    Finding {
        packet: packet(story, sighting, way, begin),
        bound: invalid.bound.name().to_owned(),
        by: measured.map(|measured| name_of(measured.by).to_owned()),
        sack,
        seen: number(|measured| measured.seen),
        allowed: number(|measured| measured.allowed),
        out_by: measured.map(|measured| measured.out_by),
        liberal_would_pass: invalid.liberal == Liberal::Pass,
        state: invalid.moment.state.name().to_owned(),
        sender: side(way, &invalid.moment.sender),
        receiver: side(way.other(), &invalid.moment.receiver),
        kernel_says: invalid.logged(kernel),
        sentence: sentence(sighting.number, segment, invalid, sack),
    }
}

fn packet(story: &Story, sighting: &Sighting<'_>, way: Way, begin: Duration) -> PacketTold {
    let segment = &sighting.segment;
    PacketTold {
        number: sighting.number,
        at_s: sighting.at.saturating_sub(begin).as_secs_f64(),
        offset: sighting.offset,
        from: segment.source.to_string(),
        flags: flags(segment.flags),
        sequence: story.number(way, segment.sequence),
        acknowledgement: story.number(way.other(), segment.acknowledgement),
        window: segment.window,
        payload: segment.payload,
    }
}

/// Flags as tcpdump's users know them, in words.
pub(super) fn flags(flags: Flags) -> String {
    const NAMES: [(u8, &str); 8] = [
        (0x02, "SYN"),
        (0x01, "FIN"),
        (0x04, "RST"),
        (0x08, "PSH"),
        (0x10, "ACK"),
        (0x20, "URG"),
        (0x40, "ECE"),
        (0x80, "CWR"),
    ];
    let set: Vec<&str> = NAMES
        .iter()
        .filter(|(bit, _)| flags.0 & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    match set.is_empty() {
        true => "no flags".to_owned(),
        false => set.join(" "),
    }
}

fn name_of(by: By) -> &'static str {
    match by {
        By::Seq => "seq",
        By::End => "end",
        By::Ack => "ack",
        By::Sack(_) => "sack",
    }
}

/// What is wrong, for somebody who does not know the kernel's source.
fn sentence(number: u64, segment: &Segment, invalid: &Invalid, sack: Option<SackTold>) -> String {
    let out = invalid.measured.map_or(0, |measured| measured.out_by);
    let bytes = grouped(out.into());
    let moment = &invalid.moment;
    let what = kind(moment.kind);
    match (invalid.bound, sack) {
        (Bound::AckOverSeen, Some(block)) => {
            let why = match (out > FAR, ack_is_right(segment, invalid)) {
                (true, true) => {
                    "The acknowledgement number fits and the SACK block does not: something between changes \
                     sequence numbers, and not those in the SACK option"
                }
                (true, false) => {
                    "The acknowledgement number is of nothing that was sent, either: something between changes \
                     acknowledgement numbers, or packets went another way"
                }
                (false, _) => {
                    "It is not far: the capture may have missed packets, or they went another way"
                }
            };
            format!(
                "packet {number} acknowledges by a SACK block data that was never sent: block {} ends at {}, \
                 {bytes} bytes beyond the last that the other side was seen to send. {why}.",
                block.block,
                place(block.right),
            )
        }
        (Bound::AckOverSeen, None) => format!(
            "packet {number} acknowledges data that was never sent: {bytes} bytes beyond the last that the other \
             side was seen to send. Packets went another way or were missed, or something between changes \
             acknowledgement numbers."
        ),
        (Bound::SeqOverWindow, _) => {
            let (sender, receiver) = (&moment.sender, &moment.receiver);
            let why = match (sender.scale_offered, receiver.scale_offered) {
                (true, false) | (false, true) => {
                    " Only one side is seen to offer window scale, so windows count as they stand there: \
                     something between takes the option away, and the sender does not know it."
                }
                _ => "",
            };
            format!(
                "packet {number} carries {} bytes of data that end {bytes} bytes beyond the window its receiver \
                 has opened.{why}",
                segment.payload
            )
        }
        (Bound::SeqUnderWindow, _) => format!(
            "packet {number} begins {bytes} bytes before what its receiver has acknowledged long ago: it comes \
             much too late, or something between changes sequence numbers."
        ),
        (Bound::AckUnderWindow, _) => format!(
            "packet {number} acknowledges {bytes} bytes less than any packet still under way could: it comes much \
             too late, or something between changes acknowledgement numbers."
        ),
        (Bound::State, _) => format!(
            "packet {number} is {what}, which cannot come in a connection in state {}.",
            moment.state.name()
        ),
        (Bound::New, _) => format!(
            "packet {number} is {what} and belongs to no connection that was seen to begin: the capture begins in \
             its middle, the tracker forgot it, or its other direction went another way."
        ),
        (Bound::Reset, _) => format!(
            "packet {number} is a reset {bytes} bytes before what its receiver has acknowledged: it comes too \
             late, or is forged, or something between changes sequence numbers."
        ),
        (Bound::Flags, _) => format!(
            "packet {number} has flags that do not go together: {}.",
            flags(segment.flags)
        ),
        (Bound::Checksum, _) => format!("packet {number} has a wrong TCP checksum."),
        (Bound::Malformed, _) => {
            format!(
                "packet {number} ends before its TCP header does, or the header contradicts itself."
            )
        }
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Syn => "a SYN",
        Kind::SynAck => "a SYN-ACK",
        Kind::Fin => "a FIN",
        Kind::Ack => "an ACK",
        Kind::Rst => "a reset",
        Kind::Bare => "a segment without flags",
    }
}

/// A number with its relative value, if there is one.
pub(super) fn place(number: Number) -> String {
    match number.relative {
        Some(relative) => format!("{} (relative {})", number.raw, grouped(relative.into())),
        None => number.raw.to_string(),
    }
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What else is to be known of a connection.
pub(super) fn notes(story: &Story) -> Vec<String> {
    let mut notes = Vec::new();
    if story.isn == [None, None] {
        notes.push(
            "begins in the middle: its window scale is not known, so its numbers are taken as they come"
                .to_owned(),
        );
    } else if story.isn.contains(&None) && story.packets > 3 {
        notes.push(
            "only one of SYN and SYN-ACK was captured: what the other end offers is not known"
                .to_owned(),
        );
    }
    if !story.scale_agrees() {
        let [opener, _] = story.offers;
        let who = match opener.is_some_and(|offer| offer.window_scale.is_some()) {
            true => "the opener offers window scale and the answer has none",
            false => "the answer offers window scale and the opener did not",
        };
        notes.push(format!(
            "{who}: if the other host has it switched on, something between strips it from one side"
        ));
    }
    if story.oversized > 0 {
        notes.push(format!(
            "{} segments are longer than 1500 bytes, because the network card cuts or joins them \
             (offload); conntrack sees them like this, too",
            grouped(story.oversized)
        ));
    }
    if story.cut_options > 0 {
        notes.push(format!(
            "of {} segments the capture ends within the TCP options, so a SACK block may be missed: capture \
             128 bytes or more (tcpdump -s 128)",
            grouped(story.cut_options)
        ));
    }
    notes
}

/// What helps, if that can be told from what was seen.
pub(super) fn cure(story: &Story) -> Option<Cure> {
    let causes = &story.causes;
    if causes.foreign_sack > 0 {
        let mss = |at: usize| story.offers[at].and_then(|offer| offer.mss);
        // What Cisco's ASA writes into every SYN unless told otherwise.
        let asa = [0, 1].iter().any(|at| mss(*at) == Some(1380));
        let (profile, more) = match asa {
            true => ("asa", "; an MSS of 1380 is what an ASA sets"),
            false => (
                "isn-rewrite",
                "; if large packets are lost there, too (ping -s 992 passes, -s 993 does not), take cisco-pix",
            ),
        };
        return Some(with(
            profile,
            format!(
                "sequence numbers are changed between the hosts, those in SACK blocks are not{more}"
            ),
        ));
    }
    if causes.over_unscaled_window > 0 {
        let why = "window scale is stripped from one side of the handshake, so the hosts disagree about windows";
        return Some(with("wscale-strip", why.to_owned()));
    }
    (causes.unseen_ack > 0).then(|| Cure {
        profile: None,
        why: "data is acknowledged that was not seen here: look whether one direction takes another route, and \
              capture on both sides of the firewall (--other-side)"
            .to_owned(),
        commands: Vec::new(),
    })
}

/// The commands for a profile.
pub(super) fn with(profile: &str, why: String) -> Cure {
    Cure {
        profile: Some(profile.to_owned()),
        why,
        commands: vec![
            format!("unmangle run --intercept PORT --mangled-side IFACE --profile {profile}"),
            format!("unmangle normalise --mangled-side IFACE --profile {profile}"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (4_294_967_295, "4,294,967,295"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn flags_are_named_in_the_order_people_say_them() {
        assert_eq!(flags(Flags::ACK | Flags::SYN), "SYN ACK");
        assert_eq!(flags(Flags(0)), "no flags");
        assert_eq!(flags(Flags(0xff)), "SYN FIN RST PSH ACK URG ECE CWR");
    }
}
