//! What two captures together tell, for people.

use std::fmt::Write;

use super::told::{Change, PairTold, PathTold, Travelled};
use crate::diagnose::explain::words::grouped;

/// The part of a report about the path between two captures.
#[must_use]
pub fn render(path: &PathTold) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "\ncompared with {}: {} packets, {} of them INVALID there",
        path.other.name,
        grouped(path.other.packets),
        grouped(path.other_invalid)
    );
    if let Some(why) = &path.other.cut_short {
        let _ = writeln!(text, "it was not read to its end: {why}");
    }
    for flow in &path.flows {
        pair(&mut text, flow);
    }
    for note in &path.notes {
        let _ = writeln!(text, "{note}");
    }
    text
}

fn pair(text: &mut String, flow: &PairTold) {
    let _ = writeln!(
        text,
        "\n{} -> {}, in both captures",
        flow.opener, flow.answerer
    );
    let (Some(nearer), Some(ahead), Some(travelled)) =
        (&flow.nearer_to_opener, flow.clock_ahead_s, &flow.travelled)
    else {
        let why =
            "ended and begun anew between the two, by a relay or proxy: fields are not compared";
        let _ = writeln!(text, "  {why}");
        return;
    };
    let _ = writeln!(
        text,
        "  the {nearer} capture is nearer to the opener; the second one's clock is {ahead:.6} s ahead"
    );
    let ways = ["from the opener", "to the opener"];
    for (way, travelled) in ways.iter().zip(travelled) {
        let Travelled {
            sent,
            lost,
            resegmented,
            ..
        } = travelled;
        let portions = match resegmented {
            0 => String::new(),
            some => format!(", {} arrived in other portions (offload)", grouped(*some)),
        };
        let _ = writeln!(
            text,
            "  {way}: {} packets, {} lost{portions}, {:.3} ms under way (median)",
            grouped(*sent),
            grouped(*lost),
            travelled.median_delay_s * 1e3
        );
    }
    if flow.changes.is_empty() {
        let _ = writeln!(text, "  every packet arrives as it was sent");
    }
    for each in &flow.changes {
        change(text, each);
    }
    if let Some(cure) = &flow.cure
        && let Some(profile) = &cure.profile
    {
        let _ = writeln!(text, "  profile {profile}: {}", cure.why);
        for command in &cure.commands {
            let _ = writeln!(text, "    {command}");
        }
    }
}

fn change(text: &mut String, change: &Change) {
    let way = match change.from_opener {
        true => "from the opener",
        false => "to the opener",
    };
    let counted = match change.of {
        0 => String::new(),
        of => format!(" ({} of {} packets)", grouped(change.packets), grouped(of)),
    };
    let _ = writeln!(text, "  {way}: {}{counted}", change.what);
    if let Some(example) = &change.example {
        let arrived = match example.arrived {
            Some(number) => format!("packet {number} there"),
            None => "not there".to_owned(),
        };
        let _ = match example.sent {
            0 => writeln!(text, "    for example {arrived}: {}", example.after),
            sent => writeln!(
                text,
                "    for example packet {sent} as sent, {arrived}: {}, then {}",
                example.before, example.after
            ),
        };
    }
}
