//! What firewalls do, one thing each, and what `unmangle probe` is to say of it.

use std::collections::BTreeSet;
use std::time::Duration;

use unmangle::lab::scenario::Between;
use unmangle::lab::wire::{
    Direction, Isn, Oversize, OversizeAction, Protocol, UnknownOptions, WindowScale,
};

/// What is found: the name that stays, and which way.
pub type Found = BTreeSet<(String, String)>;

/// One thing that a firewall does.
pub struct Habit {
    /// What it is called in a failure.
    pub name: &'static str,
    /// Adds it to what the firewall does.
    pub add: fn(&mut Between),
    /// What is to be found, and which way: `->`, `<-`, both `<>` or none.
    pub found: &'static [(&'static str, &'static str)],
    /// Habits with which it makes something else than the two of them alone.
    pub clashes: &'static [&'static str],
}

/// Does it in both directions.
fn both(between: &mut Between, habit: impl Fn(&mut Direction)) {
    habit(&mut between.client_to_server);
    habit(&mut between.server_to_client);
}

fn oversize(between: &mut Between, protocol: Protocol, action: OversizeAction, probability: f64) {
    let rule = Oversize {
        protocol,
        above: 1020,
        action,
        probability,
    };
    both(between, |way| way.oversize.push(rule));
}

const fn isn(translate_sack: bool) -> Option<Isn> {
    Some(Isn { translate_sack })
}

/// Sizes: two of them at a time are one.
const SIZES: &[&str] = &[
    "pix-sizes",
    "black-hole",
    "path-mtu",
    "cut",
    "late",
    "icmp-cliff",
];
/// What takes away what another would be seen by.
const SACK: &[&str] = &["isn", "isn-and-sack", "no-sack-permitted", "no-sack-blocks"];
const SCALES: &[&str] = &["scale-half", "scale-gone", "scale-set"];
const TIMES: &[&str] = &["timestamps-gone", "timestamps-shifted"];
const UNKNOWN: &[&str] = &["unknown-stripped", "unknown-dropped"];

/// Every habit that is seen without waiting for long.
pub const HABITS: &[Habit] = &[
    Habit {
        name: "isn",
        add: |firewall| both(firewall, |way| way.isn = isn(false)),
        found: &[
            ("sequence-numbers-rewritten", "<>"),
            ("sack-not-translated", "<>"),
        ],
        clashes: SACK,
    },
    Habit {
        name: "isn-and-sack",
        add: |firewall| both(firewall, |way| way.isn = isn(true)),
        found: &[
            ("sequence-numbers-rewritten", "<>"),
            ("sack-translated", "<>"),
        ],
        clashes: SACK,
    },
    Habit {
        name: "no-sack-permitted",
        add: |firewall| both(firewall, |way| way.strip_sack_permitted = true),
        found: &[("sack-permitted-removed", "<>")],
        clashes: SACK,
    },
    Habit {
        name: "no-sack-blocks",
        add: |firewall| both(firewall, |way| way.strip_sack = true),
        found: &[("sack-blocks-removed", "<>")],
        clashes: SACK,
    },
    Habit {
        name: "scale-half",
        add: |firewall| {
            firewall.server_to_client.window_scale = WindowScale::StripFromSynAck;
        },
        found: &[("window-scale-removed", "<-")],
        clashes: SCALES,
    },
    Habit {
        name: "scale-gone",
        add: |firewall| both(firewall, |way| way.window_scale = WindowScale::Strip),
        found: &[("window-scale-removed", "<>")],
        clashes: SCALES,
    },
    Habit {
        name: "scale-set",
        add: |firewall| firewall.client_to_server.window_scale = WindowScale::Set(2),
        found: &[("window-scale-changed", "->")],
        clashes: SCALES,
    },
    Habit {
        name: "mss",
        add: |firewall| both(firewall, |way| way.mss = Some(1000)),
        found: &[("mss-lowered", "<>")],
        clashes: &[],
    },
    Habit {
        name: "timestamps-gone",
        add: |firewall| both(firewall, |way| way.strip_timestamps = true),
        found: &[("timestamps-removed", "<>")],
        clashes: TIMES,
    },
    Habit {
        name: "timestamps-shifted",
        add: |firewall| firewall.client_to_server.timestamp_offset = Some(77_777),
        found: &[("timestamps-rewritten", "->")],
        clashes: TIMES,
    },
    Habit {
        name: "unknown-stripped",
        add: |firewall| both(firewall, |way| way.unknown_options = UnknownOptions::Strip),
        found: &[("unknown-options-removed", "<>")],
        clashes: UNKNOWN,
    },
    Habit {
        name: "unknown-dropped",
        add: |firewall| {
            firewall.client_to_server.unknown_options = UnknownOptions::DropSyn;
        },
        found: &[("unknown-options-dropped", "->")],
        clashes: UNKNOWN,
    },
    Habit {
        name: "ecn-refused",
        add: |firewall| both(firewall, |way| way.refuse_ecn = true),
        found: &[("ecn-offer-removed", "<>")],
        clashes: &[],
    },
    Habit {
        name: "ecn-bleached",
        add: |firewall| both(firewall, |way| way.bleach_ecn = true),
        found: &[("ecn-bleached", "<>")],
        clashes: &[],
    },
    Habit {
        name: "dscp",
        add: |firewall| both(firewall, |way| way.dscp = Some(0)),
        found: &[("dscp-changed", "<>")],
        clashes: &[],
    },
    Habit {
        name: "urgent",
        add: |firewall| both(firewall, |way| way.clear_urgent = true),
        found: &[("urgent-cleared", "<>")],
        clashes: &[],
    },
    Habit {
        name: "window",
        add: |firewall| firewall.server_to_client.window = Some(4000),
        found: &[("window-changed", "<-")],
        clashes: &[],
    },
    Habit {
        name: "pix-sizes",
        add: |firewall| {
            oversize(firewall, Protocol::Icmp, OversizeAction::Drop, 1.0);
            oversize(firewall, Protocol::Tcp, OversizeAction::Drop, 0.02);
        },
        found: &[("icmp-size-cliff", "<>"), ("tcp-size-cliff", "<>")],
        clashes: SIZES,
    },
    Habit {
        name: "icmp-cliff",
        add: |firewall| oversize(firewall, Protocol::Icmp, OversizeAction::Drop, 1.0),
        found: &[("icmp-size-cliff", "<>")],
        clashes: SIZES,
    },
    Habit {
        name: "black-hole",
        add: |firewall| oversize(firewall, Protocol::Any, OversizeAction::Drop, 1.0),
        found: &[("icmp-size-cliff", "<>"), ("path-mtu-black-hole", "<>")],
        clashes: SIZES,
    },
    Habit {
        name: "path-mtu",
        add: |firewall| oversize(firewall, Protocol::Any, OversizeAction::TooBig, 1.0),
        found: &[("path-mtu", "<>")],
        clashes: SIZES,
    },
    Habit {
        name: "cut",
        add: |firewall| oversize(firewall, Protocol::Tcp, OversizeAction::Truncate, 1.0),
        found: &[("tcp-size-cliff", "<>")],
        clashes: SIZES,
    },
    Habit {
        name: "late",
        add: |firewall| {
            let late = OversizeAction::Delay(Duration::from_millis(60));
            oversize(firewall, Protocol::Tcp, late, 1.0);
        },
        found: &[("tcp-size-cliff", "<>")],
        clashes: SIZES,
    },
    Habit {
        name: "loss",
        add: |firewall| firewall.client_to_server.loss = 0.004,
        found: &[("loss", "->")],
        clashes: &[],
    },
    Habit {
        name: "reordering",
        add: |firewall| {
            firewall.server_to_client.reorder = 0.03;
            firewall.server_to_client.reorder_by = Duration::from_millis(5);
        },
        found: &[("reordering", "<-")],
        clashes: &[],
    },
    Habit {
        name: "duplication",
        add: |firewall| firewall.client_to_server.duplicate = 0.01,
        found: &[("duplication", "->")],
        clashes: &[],
    },
    Habit {
        name: "corruption",
        add: |firewall| firewall.server_to_client.corrupt = 0.01,
        found: &[("corruption", "<-")],
        clashes: &[],
    },
    Habit {
        name: "slow",
        add: |firewall| firewall.client_to_server.rate_bits_per_s = Some(1_000_000),
        // Nothing is lost, and that it is slow is no mangling.
        found: &[],
        // What is looked for with many packets is not looked for there.
        clashes: &[
            "pix-sizes",
            "icmp-cliff",
            "black-hole",
            "path-mtu",
            "cut",
            "late",
            "loss",
            "reordering",
            "duplication",
            "corruption",
        ],
    },
    Habit {
        name: "blocked-port",
        add: |firewall| firewall.client_to_server.drop_ports = vec![443],
        found: &[("port-blocked", "")],
        clashes: &[],
    },
];

/// The habit that is called this.
pub fn habit(name: &str) -> &'static Habit {
    HABITS
        .iter()
        .find(|habit| habit.name == name)
        .unwrap_or_else(|| panic!("no habit is called {name}"))
}

/// Whether both together are what they are alone.
pub fn agree(one: &Habit, other: &Habit) -> bool {
    one.name != other.name
        && !one.clashes.contains(&other.name)
        && !other.clashes.contains(&one.name)
}

/// A firewall with these habits.
pub fn firewall(habits: &[&Habit]) -> Between {
    let mut firewall = Between::default();
    for habit in habits {
        (habit.add)(&mut firewall);
    }
    firewall
}

/// What is to be found of them.
pub fn expected(habits: &[&Habit]) -> Found {
    let all = habits.iter().flat_map(|habit| habit.found);
    all.map(|&(name, way)| (name.to_owned(), way.to_owned()))
        .collect()
}

/// The way of a finding, as it is written here.
pub fn way(direction: Option<&str>) -> String {
    match direction {
        Some("client_to_server") => "->",
        Some("server_to_client") => "<-",
        Some("both_ways") => "<>",
        Some(other) => panic!("no direction: {other}"),
        None => "",
    }
    .to_owned()
}
