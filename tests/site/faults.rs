//! Faults that tests inject, and the rows of the README's table: what is said of each stands here, what it came to is
//! written by the test that saw it.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One fault, and what its test sees to.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub name: &'static str,
    /// What was done.
    pub done: &'static str,
    /// Of the bytes that the test sent.
    pub lost: &'static str,
    /// What the peers saw, and what came after.
    pub seen: &'static str,
    /// File below `tests` and name of the test that writes the row.
    pub test: (&'static str, &'static str),
}

/// What a test measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    pub fault: String,
    pub done: String,
    pub carried: String,
    pub lost: String,
    pub seen: String,
    pub measured: String,
}

pub const LOSS: Fault = Fault {
    name: "loss",
    done: "0.5 % of the packets, both ways, on either leg",
    lost: "nothing",
    seen: "every byte and the end, both ways at once",
    test: (
        "faults_wire",
        "half_a_percent_of_loss_on_either_leg_loses_no_byte",
    ),
};
pub const REORDERING: Fault = Fault {
    name: "reordering",
    done: "1 % of the packets held back by up to 5 ms, both ways, on either leg",
    lost: "nothing",
    seen: "every byte and the end, both ways at once",
    test: (
        "faults_wire",
        "packets_out_of_order_on_either_leg_lose_no_byte",
    ),
};
pub const DUPLICATION: Fault = Fault {
    name: "duplication",
    done: "0.5 % of the packets twice, both ways, on either leg",
    lost: "nothing",
    seen: "every byte once, and the end, both ways at once",
    test: (
        "faults_wire",
        "packets_that_arrive_twice_on_either_leg_deliver_no_byte_twice",
    ),
};
pub const CORRUPTION: Fault = Fault {
    name: "corruption",
    done: "a flipped bit and so a wrong checksum in 0.5 % of the packets, both ways, on either leg",
    lost: "nothing",
    seen: "every byte as it was sent, and the end, both ways at once",
    test: (
        "faults_wire",
        "packets_with_wrong_checksums_on_either_leg_change_no_byte",
    ),
};
pub const STOP: Fault = Fault {
    name: "a wire that stops",
    done: "dead for 20 s in mid-transfer, both ways, either leg",
    lost: "nothing",
    seen: "silence, and then every byte and the end",
    test: (
        "faults_wire",
        "a_wire_that_stops_for_20_seconds_loses_no_byte",
    ),
};
pub const REBOOT: Fault = Fault {
    name: "server reboot",
    done: "its sockets gone without a word, a reset for all that still comes",
    lost: "what the server had not read",
    seen: "a reset, whether the client sends, receives or idles (keepalive 1 s); new connections are served",
    test: (
        "faults_host",
        "a_server_that_reboots_is_told_to_its_clients_as_a_reset",
    ),
};
pub const KILL: Fault = Fault {
    name: "SIGKILL of the relay",
    done: "in the middle of an rsync, up over IPv4 and down over IPv6",
    lost: "that run of rsync",
    seen: "an error at once, no file; the next run by the next relay: SHA-256 equal",
    test: (
        "faults_host",
        "an_rsync_whose_relay_is_killed_fails_at_once_and_arrives_when_run_again",
    ),
};
pub const PIPE_PAGES: Fault = Fault {
    name: "no pipe pages",
    done: "a process of the relay's user holds all of `fs.pipe-user-pages-soft`",
    lost: "nothing",
    seen: "nothing: bytes are copied, and counted; spliced again once there are pages",
    test: (
        "faults_kernel",
        "without_pipe_pages_bytes_are_copied_and_spliced_again_once_there_are_some",
    ),
};
pub const DESCRIPTORS: Fault = Fault {
    name: "no descriptors",
    done: "the relay may open 80, 100 clients come at once",
    lost: "nothing",
    seen: "served now, served later, or reset: nobody hangs; running sessions go on; then all are served",
    test: (
        "faults_kernel",
        "a_relay_out_of_descriptors_keeps_its_sessions_and_its_listener",
    ),
};
pub const CONNTRACK: Fault = Fault {
    name: "conntrack full",
    done: "every new entry refused on the relay's host, then only those of its dials",
    lost: "nothing",
    seen: "running sessions go on; a new one gets no answer, or a reset after `--connect-timeout`; then all are served",
    test: (
        "faults_kernel",
        "running_sessions_go_on_while_conntrack_takes_no_new_ones",
    ),
};
pub const CLOCK: Fault = Fault {
    name: "wall clock jumps",
    done: "by 400 days, forwards and back, for the relay alone",
    lost: "nothing",
    seen: "nothing: dials time out when they should, a drain waits, durations are true",
    test: (
        "faults_kernel",
        "a_wall_clock_that_jumps_ends_nothing_early_and_hangs_nothing",
    ),
};
pub const NINE_THOUSAND: Fault = Fault {
    name: "9,000 connections at once",
    done: "half of them IPv6, bytes both ways on each",
    lost: "nothing",
    seen: "every byte and the end on each",
    test: (
        "faults_load",
        "nine_thousand_connections_at_once_each_get_their_own_bytes",
    ),
};
pub const SLOW_CROWD: Fault = Fault {
    name: "slow readers",
    done: "1,000 of them at 1 kB/s, and a client in a hurry",
    lost: "nothing",
    seen: "each its own bytes; the one in a hurry is served at speed; memory stays bounded",
    test: (
        "faults_load",
        "a_crowd_of_slow_readers_holds_up_nobody_and_takes_bounded_memory",
    ),
};
pub const FLOOD: Fault = Fault {
    name: "connect flood",
    done: "5,000 connections a second for 30 s from 8 addresses, each reset after 200 ms",
    lost: "nothing",
    seen: "a session beside it loses nothing; no descriptor stays; new connections are served",
    test: (
        "faults_load",
        "a_flood_of_connections_for_30_seconds_harms_nobody_else",
    ),
};

/// All of them, as the table has them.
pub const ALL: [&Fault; 14] = [
    &LOSS,
    &REORDERING,
    &DUPLICATION,
    &CORRUPTION,
    &STOP,
    &REBOOT,
    &KILL,
    &NINE_THOUSAND,
    &SLOW_CROWD,
    &FLOOD,
    &PIPE_PAGES,
    &DESCRIPTORS,
    &CONNTRACK,
    &CLOCK,
];

// === impl Fault ===

impl Fault {
    /// Says what a test saw: a line for people, and a file from which the table is made.
    pub fn record(&self, carried: impl Into<String>, measured: impl Into<String>) {
        let row = Row {
            fault: self.name.to_owned(),
            done: self.done.to_owned(),
            carried: carried.into(),
            lost: self.lost.to_owned(),
            seen: self.seen.to_owned(),
            measured: measured.into(),
        };
        let line = serde_json::to_string(&row).unwrap();
        println!("{line}");
        let file = self.file();
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, line + "\n").unwrap();
    }

    /// What its test saw when it ran last.
    pub fn recorded(&self) -> Option<Row> {
        let line = fs::read_to_string(self.file()).ok()?;
        Some(serde_json::from_str(&line).unwrap())
    }

    fn file(&self) -> PathBuf {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults");
        directory.join(format!("{}.json", self.test.1))
    }

    /// The cells of the table that a test does not measure.
    pub fn said(&self) -> [String; 5] {
        let Self {
            name,
            done,
            lost,
            seen,
            test: (file, _),
        } = self;
        [*name, *done, *lost, *seen, &format!("`tests/{file}.rs`")].map(str::to_owned)
    }
}

/// Bytes as people say them.
pub fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
