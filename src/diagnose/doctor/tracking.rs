//! The connection tracker: its settings, its table, and what it calls INVALID.

use super::facts::{Counted, Facts, Settings};
use super::finding::Findings;
use super::id::Id;

/// How many parts of a hundred may be used before it is told, and before it is a problem.
const FULL: u64 = 80;
const OVERFULL: u64 = 95;

pub(super) fn judge(facts: &Facts, found: &mut Findings) {
    settings(&facts.settings, found);
    fill(facts, found);
    let counts = match &facts.conntrack.counts {
        Ok(counts) => counts,
        Err(why) => {
            for id in [Id::ConntrackInvalid, Id::ConntrackDrops] {
                found.unseen(id, format!("conntrack's counters: {why}"));
            }
            return;
        }
    };
    drops(facts, counts.drops, counts.early_drops, found);
    invalid(facts, counts.invalid, found);
}

fn settings(settings: &Settings, found: &mut Findings) {
    let liberal = "net.netfilter.nf_conntrack_tcp_be_liberal";
    let loose = "net.netfilter.nf_conntrack_tcp_loose";
    let checksum = "net.netfilter.nf_conntrack_checksum";
    match settings.of(liberal) {
        Some("0") => well(
            found,
            Id::ConntrackLiberal,
            "Packets outside of the window are INVALID, as they should be (be_liberal is 0).",
        ),
        Some(_) => {
            let sentence = format!(
                "{liberal} is 1: packets outside of the window are let through and not counted as INVALID, so a mangling firewall shows as stalls and slow transfers instead."
            );
            found
                .note(Id::ConntrackLiberal, sentence)
                .sysctl(liberal, "0");
        }
        None => found.unseen(Id::ConntrackLiberal, missing(liberal)),
    }
    match settings.of(loose) {
        Some("0") => {
            let sentence = format!(
                "{loose} is 0: connections that conntrack did not see from their first packet are INVALID, such as all that run when it is loaded, flushed or taken over."
            );
            found.note(Id::ConntrackLoose, sentence).sysctl(loose, "1");
        }
        Some(_) => well(
            found,
            Id::ConntrackLoose,
            "Connections that began before conntrack looked are taken on (loose).",
        ),
        None => found.unseen(Id::ConntrackLoose, missing(loose)),
    }
    match settings.of(checksum) {
        Some("0") => {
            let sentence = format!(
                "{checksum} is 0: packets with a wrong checksum are tracked as if they were right, and can move a window."
            );
            found
                .note(Id::ConntrackChecksum, sentence)
                .sysctl(checksum, "1");
        }
        Some(_) => well(
            found,
            Id::ConntrackChecksum,
            "Packets with a wrong checksum are INVALID, as they should be.",
        ),
        None => found.unseen(Id::ConntrackChecksum, missing(checksum)),
    }
}

fn well(found: &mut Findings, id: Id, sentence: &str) {
    found.ok(id, sentence);
}

fn missing(name: &str) -> String {
    format!("there is no setting {name}: connection tracking is not loaded (nf_conntrack)")
}

fn fill(facts: &Facts, found: &mut Findings) {
    let id = Id::ConntrackFill;
    let Some(entries) = facts.conntrack.entries else {
        return found.unseen(
            id,
            "how full conntrack's table is: it is not loaded, or does not say",
        );
    };
    // No limit.
    if entries.limit == 0 {
        found.ok(
            id,
            format!(
                "Conntrack's table has {} entries and no limit.",
                entries.now
            ),
        );
        return;
    }
    let percent = entries.now.saturating_mul(100) / entries.limit;
    let sentence = format!(
        "Conntrack's table has {} of {} entries, {percent} %",
        entries.now, entries.limit
    );
    let more = (entries.limit.saturating_mul(2)).to_string();
    let name = "net.netfilter.nf_conntrack_max";
    match percent {
        OVERFULL.. => found
            .problem(
                id,
                format!("{sentence}: new connections are about to be dropped."),
            )
            .sysctl(name, &more),
        FULL.. => found.note(id, format!("{sentence}.")).sysctl(name, &more),
        _ => found.ok(id, format!("{sentence}.")),
    };
}

fn drops(facts: &Facts, drops: Counted, early: Counted, found: &mut Findings) {
    let id = Id::ConntrackDrops;
    let (total, more) = (drops.total + early.total, drops.more + early.more);
    let seconds = facts.seconds;
    match (total, more) {
        (0, _) => found.ok(id, "Conntrack has dropped nothing for want of room."),
        (_, 0) => found.note(
            id,
            format!(
                "Conntrack has dropped {} packets and {} entries for want of room since it was loaded, none within {seconds} seconds.",
                drops.total, early.total
            ),
        ),
        _ => found.problem(
            id,
            format!("Conntrack drops for want of room: {more} packets or entries within {seconds} seconds."),
        ),
    };
}

fn invalid(facts: &Facts, invalid: Counted, found: &mut Findings) {
    let id = Id::ConntrackInvalid;
    let Counted { total, more } = invalid;
    let seconds = facts.seconds;
    let reasons = match &facts.conntrack.reasons {
        Ok(reasons) => reasons
            .iter()
            .map(|(reason, count)| format!("{} {count}", reason.name()))
            .collect::<Vec<_>>()
            .join(", "),
        Err(_) => String::new(),
    };
    let by_reason = match reasons.is_empty() {
        true => String::new(),
        false => format!(" ({reasons})"),
    };
    match (total, more) {
        (0, _) => found.ok(id, "Conntrack has called no packet INVALID since it was loaded."),
        (_, 0) => found.note(
            id,
            format!("Conntrack has called {total} packets INVALID since it was loaded, none within {seconds} seconds."),
        ),
        _ => found
            .problem(
                id,
                format!(
                    "Conntrack calls packets INVALID now: {more} within {seconds} seconds{by_reason}, {total} since it was loaded."
                ),
            )
            .now("unmangle explain -i INTERFACE"),
    };
    match (&facts.conntrack.reasons, total) {
        (Ok(_), _) => well(
            found,
            Id::ConntrackReasons,
            "Conntrack says why it calls a packet INVALID, and doctor can read it.",
        ),
        (Err(why), 0) => well(
            found,
            Id::ConntrackReasons,
            &format!("Nobody needs to know yet why packets are INVALID: {why}."),
        ),
        (Err(why), _) => {
            let name = "net.netfilter.nf_conntrack_log_invalid";
            found
                .note(
                    Id::ConntrackReasons,
                    format!("Why packets are INVALID is not known: {why}."),
                )
                .sysctl(name, "6");
        }
    }
}
