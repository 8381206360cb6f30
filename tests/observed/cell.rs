//! What can stand in a cell of the table, and in which words.

use std::fmt::{self, Debug};

use super::super::site::FAMILIES;
use unmangle::lab::Family;

/// One observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// There is nothing to be observed here.
    Senseless,

    // === whose it is ===
    TheClients,
    TheServers,
    TheRelays,
    TheProfiles,
    Another,
    Dialled,
    Loopback,
    ItsOwn,

    // === how a connection begins ===
    Refused,
    Unreachable,
    NoAnswer,
    AcceptedThenReset,

    // === how one ends, and what becomes of bytes ===
    AllAcknowledged,
    WhatHadArrived,
    AsSent,
    BothAtOnce,
    OutOfLine,
    InLine,
    FromTheServer,
    FromTheRelay,
    Works,
    Fails,

    // === what is in a header ===
    Kept,
    Frozen,
    Cleared,
    Offered(Offered),

    // === time ===
    WholePath,
    OneLeg,
    NoWire,
}

/// Which of the options that both ends must agree on an opening segment has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered {
    pub sack: bool,
    pub window_scale: bool,
    pub timestamps: bool,
}

// === impl Cell ===

impl Cell {
    /// The one that all observations of a cell come to; where they do not, one row cannot say it.
    pub fn agreed(what: &str, observed: &[(impl Debug, Cell)]) -> Self {
        let (_, first) = observed.first().expect("something is observed");
        let alike = observed.iter().all(|(_, cell)| cell == first);
        assert!(alike, "{what}: not one cell: {observed:?}");
        *first
    }

    /// The one that both families come to.
    pub fn of_families(what: &str, observe: impl Fn(Family) -> Self) -> Self {
        let observed = FAMILIES.map(|family| (family, observe(family)));
        Self::agreed(what, &observed)
    }

    /// The one that both families come to, whichever end does something.
    pub fn of_ends(what: &str, observe: impl Fn(Family, By) -> Self) -> Self {
        Self::of_families(what, |family| {
            let observed = [By::Client, By::Server].map(|by| (by, observe(family, by)));
            Self::agreed(what, &observed)
        })
    }
}

/// The end that does something, to be observed at the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Client,
    Server,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Senseless => "-",
            Self::TheClients => "the client's",
            Self::TheServers => "the server's",
            Self::TheRelays => "the relay's",
            Self::TheProfiles => "the profile's",
            Self::Another => "another",
            Self::Dialled => "as dialled",
            Self::Loopback => "loopback",
            Self::ItsOwn => "its own, not as dialled",
            Self::Refused => "RST in place of a SYN-ACK",
            Self::Unreachable => "ICMP in place of a SYN-ACK",
            Self::NoAnswer => "no answer",
            Self::AcceptedThenReset => "accepted, then RST",
            Self::AllAcknowledged => "all that was acknowledged, then RST",
            Self::WhatHadArrived => "what had come to its host, then RST",
            Self::AsSent => "as sent",
            Self::BothAtOnce => "both ways at once",
            Self::OutOfLine => "out of line",
            Self::InLine => "in its place in the stream",
            Self::FromTheServer => "the server",
            Self::FromTheRelay => "the relay",
            Self::Works => "works",
            Self::Fails => "fails",
            Self::Kept => "as sent, and follows",
            Self::Frozen => "as first sent",
            Self::Cleared => "0",
            Self::Offered(offered) => return fmt::Display::fmt(offered, f),
            Self::WholePath => "whole path",
            Self::OneLeg => "one leg",
            Self::NoWire => "inside the host",
        })
    }
}

impl fmt::Display for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.sack, "SACK"),
            (self.window_scale, "window scale"),
            (self.timestamps, "timestamps"),
        ];
        let names = names.into_iter().filter(|(there, _)| *there);
        let names: Vec<_> = names.map(|(_, name)| name).collect();
        f.write_str(&if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        })
    }
}
