//! A setting that is wrong is refused in one line: where it stands, what is wrong, what would be right.
//!
//! The settings are read before anything else is looked at, so this needs no root.

use std::process::{Command, Output};

const GATEWAY: &str = "[[listener]]
intercept = 22
mangled-side = \"eth1\"
profile = \"cisco-pix\"
";
const FORWARD: &str = "[[listener]]
listen = \"127.0.0.1:2222\"
to = \"backup.example:22\"
";

/// Starts the relay where `unmangle.toml` holds these parts; without any there is no such file.
fn run(parts: &[&str], flags: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    if !parts.is_empty() {
        std::fs::write(directory.path().join("unmangle.toml"), parts.concat()).unwrap();
    }
    Command::new(env!("CARGO_BIN_EXE_unmangle"))
        .args(["run", "--config", "unmangle.toml"])
        .args(flags)
        .current_dir(directory.path())
        .output()
        .unwrap()
}

/// The one line on stderr with which a start is refused, after the program's name.
fn refusal(parts: &[&str], flags: &[&str]) -> String {
    let output = run(parts, flags);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(output.stdout.is_empty());
    let line = told.strip_prefix("unmangle: ").unwrap().trim_end();
    assert!(!line.contains('\n'), "{told}");
    line.to_owned()
}

/// What `--check` prints.
fn checked(parts: &[&str], flags: &[&str]) -> String {
    let output = run(parts, &[&["--check"], flags].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_key_that_there_is_not_is_answered_with_those_there_are() {
    assert_eq!(
        refusal(&["drian = \"1m\"\n", GATEWAY], &[]),
        "unmangle.toml:1: drian: there is no such key; there are: workers, pin-workers, pipe-budget, drain, connect-timeout, close-timeout, keepalive, idle-timeout, stall-after, stall-action, max-connections, max-per-source, rate-per-source, source-prefix, engine, fail, rules, track, strangers, host-tuning, override-forward, mark, dial-mark, table, priority, zones, held-max, queue, answer-mark, log, log-format, log-file, admin, invalid-reasons, histograms, hdr-log, hdr-log-interval, hdr-log-size, hdr-log-keep, run-as, and the tables listener, profile"
    );
    assert_eq!(
        refusal(&[GATEWAY, "port = 22\n"], &[]),
        "unmangle.toml:5: listener 1: port: there is no such key; there are: name, mode, intercept, service-leg, user, cgroup, mangled-side, from, to, listen, mangled-leg, accept-proxy, proxy-timeout, send-proxy, dial-from, mangled-port, clean-port, answer, allow, deny, profile, clean-profile, connect-timeout, close-timeout, keepalive, idle-timeout, stall-after, stall-action, max-connections, max-per-source, rate-per-source, source-prefix"
    );
    assert_eq!(
        refusal(
            &[GATEWAY, "\n[profile.narrow]\nbase = \"asa\"\nmtu = 900\n"],
            &[]
        ),
        "unmangle.toml:8: profile.narrow: mtu: there is no such key; there are: base, summary, sack, window-scale, timestamps, ecn, mss, window-clamp, congestion-control, keepalive, user-timeout, notsent-lowat"
    );
}

#[test]
fn an_empty_list_is_not_taken_for_everything() {
    assert_eq!(
        refusal(&[GATEWAY, "from = []\n"], &[]),
        "unmangle.toml:5: listener 1: from: this list is empty; give it a value, or leave the key out"
    );
}

#[test]
fn what_is_quoted_from_a_file_does_not_end_the_line() {
    let told = refusal(&["\"a\\nb\\u001b[2J\" = 1\n", GATEWAY], &[]);
    let begins = "unmangle.toml:1: a\\nb\\u{1b}[2J: there is no such key; there are: workers";
    assert!(told.starts_with(begins), "{told}");
}

#[test]
fn what_check_prints_is_read_again_whatever_the_names() {
    let named = r#"log = "unmangle[{a=\"b\"}]=debug"
[[listener]]
name = "a\u007F\"\\\n"
listen = "127.0.0.1:2222"
to = "backup.example:22"
mangled-leg = "upstream"
profile = "x\u0001'y\""
[profile."x\u0001'y\""]
summary = "\u001b[31m"
"#;
    let printed = checked(&[named], &[]);
    assert_eq!(checked(&[&printed], &[]), printed);
    assert!(
        printed.contains(r#"name = "a\u007F\"\\\u000A""#),
        "{printed}"
    );
}

#[test]
fn strangers_are_met_by_a_gateway_alone_whose_probes_have_a_mark_of_their_own() {
    assert_eq!(
        refusal(
            &[
                "strangers = \"reset\"\n[[listener]]\nlisten = \"127.0.0.1:2222\"\nto = \"192.0.2.1:22\"\n"
            ],
            &[]
        ),
        "unmangle.toml:1: strangers: only a gateway meets segments that another one has relayed; leave it out, or give \
         a listener --intercept PORTS --mangled-side IFACE"
    );
    assert_eq!(
        refusal(
            &[GATEWAY],
            &["--strangers", "reset", "--mark", "0x04000000"]
        ),
        "--mark: mark 0x04000000 and dial-mark 0x04000000 share bits"
    );
    assert_eq!(
        refusal(&["strangers = \"drop\"\n", GATEWAY], &[]),
        r#"unmangle.toml:1: strangers: "drop" is none of: forward, reset"#
    );
}

#[test]
fn a_port_that_is_none_is_named() {
    assert_eq!(
        refusal(
            &[
                "[[listener]]\nintercept = [22, 0]\nmangled-side = \"eth1\"\nprofile = \"cisco-pix\"\n"
            ],
            &[]
        ),
        r#"unmangle.toml:2: listener 1: intercept: "22,0" is not a port to intercept; give numbers from 1 to 65535, such as 22 or 22,873"#
    );
    assert_eq!(
        refusal(
            &[
                "[[listener]]\nintercept = \"ssh\"\nmangled-side = \"eth1\"\nprofile = \"cisco-pix\"\n"
            ],
            &[]
        ),
        r#"unmangle.toml:2: listener 1: intercept: "ssh" is not a port to intercept; give numbers from 1 to 65535, such as 22 or 22,873"#
    );
    assert_eq!(
        refusal(&[GATEWAY], &["--intercept", "65536"]),
        r#"--intercept: "65536" is not a port to intercept; give numbers from 1 to 65535, such as 22 or 22,873"#
    );
}

#[test]
fn a_network_that_is_none_is_named() {
    assert_eq!(
        refusal(
            &[GATEWAY, "from = [\"10.0.0.0/8\", \"10.0.0.0/33\"]\n"],
            &[]
        ),
        r#"unmangle.toml:5: listener 1: from: "10.0.0.0/33" is not a network; give an address or a prefix, such as 10.0.0.0/8 or 2001:db8::/32"#
    );
    assert_eq!(
        refusal(&[GATEWAY, "to = \"backup.example\"\n"], &[]),
        r#"unmangle.toml:5: listener 1: to: "backup.example" is not a network; give an address or a prefix, such as 10.0.0.0/8 or 2001:db8::/32"#
    );
}

#[test]
fn an_interface_that_cannot_be_one_is_named() {
    assert_eq!(
        refusal(
            &[
                "[[listener]]\nintercept = 22\nmangled-side = \"a very long interface\"\nprofile = \"cisco-pix\"\n"
            ],
            &[]
        ),
        r#"unmangle.toml:3: listener 1: mangled-side: "a very long interface" cannot be an interface's name: 1 to 15 letters, digits or any of . _ - @ are needed"#
    );
}

#[test]
fn a_time_that_is_none_is_named() {
    assert_eq!(
        refusal(&["drain = \"soon\"\n", GATEWAY], &[]),
        r#"unmangle.toml:1: drain: "soon" is not a time; give one such as 500ms, 30s or 2m"#
    );
    assert_eq!(
        refusal(&["connect-timeout = 30\n", GATEWAY], &[]),
        r#"unmangle.toml:1: connect-timeout: "30" is not a time; give one such as 500ms, 30s or 2m"#
    );
    assert_eq!(
        refusal(&["drain = \"0s\"\n", GATEWAY], &[]),
        "unmangle.toml:1: drain: the time must be above zero"
    );
    assert_eq!(
        refusal(&[GATEWAY], &["--connect-timeout", "1 fortnight"]),
        r#"--connect-timeout: "1 fortnight" is not a time; give one such as 500ms, 30s or 2m"#
    );
    assert_eq!(
        refusal(&[GATEWAY, "idle-timeout = 30\n"], &[]),
        r#"unmangle.toml:5: listener 1: idle-timeout: "30" is not a time; give one such as 500ms, 30s or 2m; or off"#
    );
    assert_eq!(
        refusal(&[GATEWAY], &["--stall-after", "0s"]),
        "--stall-after: the time must be above zero; or off"
    );
    assert_eq!(
        refusal(&["stall-action = \"kill\"\n", GATEWAY], &[]),
        r#"unmangle.toml:1: stall-action: "kill" is none of: log, reset"#
    );
}

#[test]
fn a_keepalive_that_the_kernel_cannot_keep_is_named() {
    assert_eq!(
        refusal(&[GATEWAY, "keepalive = \"500ms\"\n"], &[]),
        r#"unmangle.toml:5: listener 1: keepalive: "500ms" is not a whole number of seconds, 1s to 32767s"#
    );
    assert_eq!(
        refusal(&["keepalive = \"1500ms\"\n", GATEWAY], &[]),
        r#"unmangle.toml:1: keepalive: "1500ms" is not a whole number of seconds, 1s to 32767s"#
    );
    assert_eq!(
        refusal(
            &[
                FORWARD,
                "profile = \"chatty\"\nmangled-leg = \"upstream\"\n[profile.chatty]\nkeepalive = \"500ms\"\n"
            ],
            &[]
        ),
        r#"unmangle.toml:7: profile.chatty: keepalive: "500ms" is not a whole number of seconds, 1s to 32767s"#
    );
}

#[test]
fn a_number_out_of_its_bounds_is_named_with_them() {
    assert_eq!(
        refusal(&["workers = 0\n", GATEWAY], &[]),
        r#"unmangle.toml:1: workers: "0" is not a number from 1 to 1024"#
    );
    assert_eq!(
        refusal(&["pipe-budget = 65537\n", GATEWAY], &[]),
        r#"unmangle.toml:1: pipe-budget: "65537" is not a number from 0 to 65536"#
    );
    assert_eq!(
        refusal(&["mark = \"fwmark\"\n", GATEWAY], &[]),
        r#"unmangle.toml:1: mark: "fwmark" is not a number from 1 to 4294967295"#
    );
    assert_eq!(
        refusal(&["table = 255\n", GATEWAY], &[]),
        r#"unmangle.toml:1: table: "255" is not a number from 256 to 4294967295"#
    );
    assert_eq!(
        refusal(&["priority = 32766\n", GATEWAY], &[]),
        r#"unmangle.toml:1: priority: "32766" is not a number from 1 to 32765"#
    );
    assert_eq!(
        refusal(&[GATEWAY, "[profile.narrow]\nmss = 87\n"], &[]),
        r#"unmangle.toml:6: profile.narrow: mss: "87" is not a number from 88 to 32767"#
    );
    assert_eq!(
        refusal(&[GATEWAY, "[profile.narrow]\nwindow-clamp = 1024\n"], &[]),
        r#"unmangle.toml:6: profile.narrow: window-clamp: "1024" is not a number from 2048 to 1073741824"#
    );
    assert_eq!(
        refusal(&[GATEWAY, "[profile.narrow]\nnotsent-lowat = -1\n"], &[]),
        r#"unmangle.toml:6: profile.narrow: notsent-lowat: "-1" is not a number from 1 to 1073741824"#
    );
}

#[test]
fn a_word_that_is_none_of_a_few_is_answered_with_them() {
    assert_eq!(
        refusal(&["engine = \"warp\"\n", GATEWAY], &[]),
        r#"unmangle.toml:1: engine: "warp" is none of: splice, tokio-splice, copy"#
    );
    assert_eq!(
        refusal(&["fail = \"ajar\"\n", GATEWAY], &[]),
        r#"unmangle.toml:1: fail: "ajar" is none of: open, closed"#
    );
    assert_eq!(
        refusal(&["rules = \"ask\"\n", GATEWAY], &[]),
        r#"unmangle.toml:1: rules: "ask" is none of: own, print, none"#
    );
    assert_eq!(
        refusal(&["track = \"marks\"\n", GATEWAY], &[]),
        r#"unmangle.toml:1: track: "marks" is none of: zones, notrack"#
    );
    assert_eq!(
        refusal(&["host-tuning = \"maybe\"\n", GATEWAY], &[]),
        r#"unmangle.toml:1: host-tuning: "maybe" is none of: none, print, apply"#
    );
    assert_eq!(
        refusal(&["invalid-reasons = \"some\"\n", GATEWAY], &[]),
        r#"unmangle.toml:1: invalid-reasons: "some" is none of: on, off"#
    );
    assert_eq!(
        refusal(&["log-format = \"xml\"\n", GATEWAY], &[]),
        r#"unmangle.toml:1: log-format: "xml" is none of: human, json"#
    );
    assert_eq!(
        refusal(&["override-forward = \"yes\"\n", GATEWAY], &[]),
        r#"unmangle.toml:1: override-forward: "yes" is neither true nor false"#
    );
    assert_eq!(
        refusal(&[GATEWAY, "mode = \"bridge\"\n"], &[]),
        r#"unmangle.toml:5: listener 1: mode: "bridge" is none of: gateway, server-sidecar, client-sidecar, forward"#
    );
    assert_eq!(
        refusal(
            &[FORWARD, "profile = \"blackhole\"\nmangled-leg = \"left\"\n"],
            &[]
        ),
        r#"unmangle.toml:5: listener 1: mangled-leg: "left" is not a leg; give downstream (the client's) or upstream (the server's)"#
    );
    assert_eq!(
        refusal(&[GATEWAY, "[profile.narrow]\nsack = \"off\"\n"], &[]),
        r#"unmangle.toml:6: profile.narrow: sack: "off" is neither true nor false"#
    );
}

#[test]
fn a_target_or_an_address_to_listen_at_that_is_none_is_named() {
    assert_eq!(
        refusal(
            &["[[listener]]\nlisten = \"127.0.0.1:2222\"\nto = \"backup.example\"\n"],
            &[]
        ),
        r#"unmangle.toml:3: listener 1: to: "backup.example" is not a target; give HOST:PORT such as backup.example:22, 192.0.2.7:22 or [2001:db8::1]:22"#
    );
    assert_eq!(
        refusal(
            &[
                "[[listener]]\nlisten = \"127.0.0.1:2222\"\nto = [\"a.example:22\", \"b.example:22\"]\n"
            ],
            &[]
        ),
        r#"unmangle.toml:3: listener 1: to: "a.example:22,b.example:22" is not a target; give HOST:PORT such as backup.example:22, 192.0.2.7:22 or [2001:db8::1]:22"#
    );
    assert_eq!(
        refusal(
            &["[[listener]]\nlisten = \"2222\"\nto = \"backup.example:22\"\n"],
            &[]
        ),
        r#"unmangle.toml:2: listener 1: listen: "2222" is not an address to listen at; give one such as 127.0.0.1:2222, 0.0.0.0:2222 or [::]:2222"#
    );
}

#[test]
fn zones_that_are_no_two_numbers_are_named() {
    assert_eq!(
        refusal(&["zones = [7, 7]\n", GATEWAY], &[]),
        r#"unmangle.toml:1: zones: "7,7" are no zones; give two different numbers from 1 to 65535"#
    );
    assert_eq!(
        refusal(&["zones = 7\n", GATEWAY], &[]),
        r#"unmangle.toml:1: zones: "7" are no zones; give two different numbers from 1 to 65535"#
    );
    assert_eq!(
        refusal(&["zones = [0, 7]\n", GATEWAY], &[]),
        r#"unmangle.toml:1: zones: "0,7" are no zones; give two different numbers from 1 to 65535"#
    );
    assert_eq!(
        refusal(&["zones = [1, 2, \"x\"]\n", GATEWAY], &[]),
        r#"unmangle.toml:1: zones: "1,2,x" are no zones; give two different numbers from 1 to 65535"#
    );
}

#[test]
fn a_key_that_is_missing_is_named() {
    assert_eq!(
        refusal(
            &["[[listener]]\nmangled-side = \"eth1\"\nprofile = \"asa\"\n"],
            &[]
        ),
        "unmangle.toml:2: listener 1: intercept is missing: which destination ports? 22, for ssh"
    );
    assert_eq!(
        refusal(
            &["# a comment\n\n[[listener]]\nintercept = 22\nprofile = \"asa\"\n"],
            &[]
        ),
        "unmangle.toml:4: listener 1: mangled-side is missing: which interface faces the firewall?"
    );
    assert_eq!(
        refusal(
            &["[[listener]]\nintercept = 22\nmangled-side = \"eth1\"\n"],
            &[]
        ),
        "unmangle.toml:2: listener 1: profile is missing: which firewall is it? `clean` changes nothing"
    );
    assert_eq!(
        refusal(
            &["[[listener]]\nmode = \"forward\"\nto = \"backup.example:22\"\n"],
            &[]
        ),
        "unmangle.toml:2: listener 1: listen is missing: where do clients connect to?"
    );
    assert_eq!(
        refusal(&["[[listener]]\nlisten = \"127.0.0.1:2222\"\n"], &[]),
        "unmangle.toml:2: listener 1: to is missing: where do their connections go? HOST:PORT"
    );
    assert_eq!(
        refusal(&[FORWARD, "profile = \"blackhole\"\n"], &[]),
        "unmangle.toml:2: listener 1: mangled-leg is missing: is the profile for the downstream or the upstream leg?"
    );
    assert_eq!(
        refusal(&[""], &["--intercept", "22", "--profile", "asa"]),
        "the command line: mangled-side is missing: which interface faces the firewall?"
    );
}

#[test]
fn a_key_of_the_other_mode_is_refused() {
    assert_eq!(
        refusal(&[FORWARD, "intercept = 22\n"], &[]),
        "unmangle.toml:4: listener 1: intercept: this is of no use to a forward listener"
    );
    assert_eq!(
        refusal(&[FORWARD, "mangled-side = \"eth1\"\n"], &[]),
        "unmangle.toml:4: listener 1: mangled-side: this is of no use to a forward listener"
    );
    assert_eq!(
        refusal(&[FORWARD, "from = \"10.0.0.0/8\"\n"], &[]),
        "unmangle.toml:4: listener 1: from: this is of no use to a forward listener"
    );
    assert_eq!(
        refusal(&[GATEWAY, "mangled-leg = \"upstream\"\n"], &[]),
        "unmangle.toml:5: listener 1: mangled-leg: this is of no use to a gateway listener"
    );
    assert_eq!(
        refusal(
            &[GATEWAY, "mode = \"gateway\"\nlisten = \"127.0.0.1:2222\"\n"],
            &[]
        ),
        "unmangle.toml:6: listener 1: listen: this is of no use to a gateway listener"
    );
}

#[test]
fn text_that_is_no_toml_is_refused_with_its_line() {
    assert_eq!(
        refusal(&[GATEWAY, "to = \n"], &[]),
        "unmangle.toml:5: string values must be quoted, expected literal string"
    );
    assert_eq!(
        refusal(&["drain = \"1m\n"], &[]),
        r#"unmangle.toml:1: invalid basic string, expected `"`"#
    );
    assert_eq!(
        refusal(&["drain = \"1m\"\ndrain = \"2m\"\n", GATEWAY], &[]),
        "unmangle.toml:2: duplicate key"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    assert_eq!(
        refusal(&["drain = { seconds = 30 }\n", GATEWAY], &[]),
        "unmangle.toml:1: drain: this must be a string, a number, true or false, or a list of them"
    );
    assert_eq!(
        refusal(&["workers = 1.5\n", GATEWAY], &[]),
        "unmangle.toml:1: workers: this must be a string, a number, true or false, or a list of them"
    );
    assert_eq!(
        refusal(&["listener = \"eth1\"\n"], &[]),
        "unmangle.toml:1: listener: write [[listener]], once for each listener"
    );
    assert_eq!(
        refusal(&["listener = [\"eth1\"]\n"], &[]),
        "unmangle.toml:1: listener 1: this must be a table of keys"
    );
    assert_eq!(
        refusal(&["[listener]\nintercept = 22\n"], &[]),
        "unmangle.toml:1: listener: write [[listener]], once for each listener"
    );
    assert_eq!(
        refusal(&["profile = \"asa\"\n", GATEWAY], &[]),
        "unmangle.toml:1: profile: write [profile.NAME], once for each profile"
    );
    assert_eq!(
        refusal(&["[profile]\nnarrow = \"asa\"\n"], &[]),
        "unmangle.toml:2: profile.narrow: this must be a table of keys"
    );
}

#[test]
fn an_unknown_profile_is_answered_with_those_there_are_the_users_own_among_them() {
    assert_eq!(
        refusal(
            &[
                "[[listener]]\nintercept = 22\nmangled-side = \"eth1\"\nprofile = \"narow\"\n[profile.narrow]\nbase = \"asa\"\n"
            ],
            &[]
        ),
        r#"unmangle.toml:4: listener 1: profile: no profile is called "narow"; there are: clean, isn-rewrite, cisco-pix, wscale-strip, blackhole, idle-drop, asa, narrow"#
    );
    assert_eq!(
        refusal(&[GATEWAY, "clean-profile = \"pix\"\n"], &[]),
        r#"unmangle.toml:5: listener 1: clean-profile: no profile is called "pix"; there are: clean, isn-rewrite, cisco-pix, wscale-strip, blackhole, idle-drop, asa"#
    );
    assert_eq!(
        refusal(&[GATEWAY, "[profile.narrow]\nbase = \"pixie\"\n"], &[]),
        r#"unmangle.toml:6: profile.narrow: base: no profile is called "pixie"; there are: clean, isn-rewrite, cisco-pix, wscale-strip, blackhole, idle-drop, asa"#
    );
}

#[test]
fn a_profile_of_the_users_own_cannot_take_the_name_of_a_preset_even_when_it_is_empty() {
    assert_eq!(
        refusal(&[GATEWAY, "[profile.cisco-pix]\nmss = 900\n"], &[]),
        r#"unmangle.toml:5: profile.cisco-pix: cisco-pix is the name of a preset: choose another, and give base = "cisco-pix""#
    );
    assert_eq!(
        refusal(&[GATEWAY, "[profile.cisco-pix]\n"], &[]),
        r#"unmangle.toml:5: profile.cisco-pix: cisco-pix is the name of a preset: choose another, and give base = "cisco-pix""#
    );
}

#[test]
fn a_profile_that_needs_the_wire_is_refused_where_no_rule_strips() {
    assert_eq!(
        refusal(
            &[
                FORWARD,
                "mangled-leg = \"upstream\"\nprofile = \"cisco-pix\"\n"
            ],
            &[]
        ),
        "unmangle.toml:5: listener 1: profile: cisco-pix strips SACK, window scale from the wire, which no socket can; choose a profile that a socket can carry (such as blackhole), or run `unmangle normalise --profile cisco-pix --mangled-side IFACE` beside 127.0.0.1:2222"
    );
    assert_eq!(
        refusal(&[GATEWAY, "clean-profile = \"isn-rewrite\"\n"], &[]),
        "unmangle.toml:5: listener 1: clean-profile: isn-rewrite strips SACK, and the rules strip on the mangled side only"
    );
}

#[test]
fn two_listeners_of_one_name_are_refused() {
    assert_eq!(
        refusal(
            &[GATEWAY, "name = \"ssh\"\n", FORWARD, "name = \"ssh\"\n"],
            &[]
        ),
        "unmangle.toml:7: listener 2: ssh collides with ssh: two listeners need two names"
    );
}

#[test]
fn gateway_listeners_that_could_mean_the_same_connection_are_refused() {
    assert_eq!(
        refusal(
            &[
                GATEWAY,
                "\n[[listener]]\nintercept = [22, 873]\nmangled-side = \"eth1\"\nprofile = \"cisco-pix\"\n"
            ],
            &[]
        ),
        "unmangle.toml:7: listener 2: listener 2 collides with listener 1: on one interface a port belongs to one of them; tell them apart by port, from or to"
    );
    assert_eq!(
        refusal(
            &[
                GATEWAY,
                "from = \"10.0.0.0/8\"\n",
                GATEWAY,
                "from = \"10.1.0.0/16\"\n"
            ],
            &[]
        ),
        "unmangle.toml:7: listener 2: listener 2 collides with listener 1: on one interface a port belongs to one of them; tell them apart by port, from or to"
    );
}

#[test]
fn listeners_that_hold_must_be_told_apart_by_the_packet_alone() {
    let other = GATEWAY.replace("eth1", "eth2");
    let hold = "answer = \"after-connect\"\n";
    assert_eq!(
        refusal(&[GATEWAY, hold, &other, hold], &[]),
        "unmangle.toml:7: listener 2: listener 2 collides with listener 1: a packet that is held does not tell by which interface it would leave; tell them apart by port, from or to, or give one of them answer = \"at-once\""
    );
    checked(&[GATEWAY, hold, &other], &[]);
}

#[test]
fn forward_mode_has_no_packet_to_hold() {
    let forward =
        "[[listener]]\nlisten = \"[::]:2222\"\nto = \"a:22\"\nanswer = \"after-connect\"\n";
    assert_eq!(
        refusal(&[forward], &[]),
        "unmangle.toml:4: listener 1: answer: after-connect holds packets that pass through a router, and clients connect to [::]:2222 itself; it is for a gateway"
    );
}

#[test]
fn bits_of_a_mark_that_have_two_meanings_are_refused() {
    let holding = "answer = \"after-connect\"\n";
    assert_eq!(
        refusal(&["answer-mark = 0x07000000\n", GATEWAY, holding], &[]),
        "unmangle.toml:1: answer-mark: mark 0x02000000 and answer-mark 0x07000000 have a bit in common; give them bits of their own"
    );
    assert_eq!(
        refusal(&["answer-mark = 3\n", GATEWAY], &[]),
        "unmangle.toml:1: answer-mark: \"3\" has not three bits; give a number such as 0x38000000"
    );
    // Who holds nothing marks nothing with them.
    checked(&["mark = 0x08000000\n", FORWARD], &[]);
}

#[test]
fn two_listeners_at_one_address_are_refused() {
    assert_eq!(
        refusal(&[FORWARD, FORWARD], &[]),
        "unmangle.toml:5: listener 2: listener 2 collides with listener 1: both listen at the same address"
    );
    let at = |address: &str| format!("[[listener]]\nlisten = \"{address}\"\nto = \"a:22\"\n");
    let both = |one: &str, other: &str| [at(one), at(other)].concat();
    assert!(
        refusal(&[&both("0.0.0.0:2222", "127.0.0.1:2222")], &[])
            .ends_with("both listen at the same address")
    );
    // Each family has sockets of its own.
    checked(&[&both("0.0.0.0:2222", "[::]:2222")], &[]);
}

#[test]
fn flags_beside_a_file_with_several_listeners_are_refused() {
    assert_eq!(
        refusal(&[GATEWAY, FORWARD], &["--profile", "asa"]),
        "--profile: the file has 2 listeners: say in the file which one is meant"
    );
}

#[test]
fn a_start_without_a_listener_says_what_would_make_one() {
    assert_eq!(
        refusal(&["drain = \"1m\"\n"], &[]),
        "unmangle.toml: nothing is configured yet: write a [[listener]], or take the # away from the lines of an example that is there"
    );
    assert_eq!(
        refusal(&["[[listener]]\n"], &[]),
        "unmangle.toml:1: listener 1: this is empty; give intercept, mangled-side and profile, or listen and to"
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    assert_eq!(
        refusal(&[], &[]),
        "--config unmangle.toml: No such file or directory (os error 2)"
    );
}

#[test]
fn what_check_prints_is_a_file_that_says_the_same() {
    let files = [
        vec![GATEWAY],
        vec![FORWARD],
        vec![EVERYTHING],
        vec![GATEWAY, FORWARD],
    ];
    for file in files {
        let printed = checked(&file, &[]);
        assert_eq!(checked(&[&printed], &[]), printed, "{file:?}");
    }
}

#[test]
fn check_prints_every_setting_that_was_given() {
    let printed = checked(&[EVERYTHING], &[]);
    for line in EVERYTHING.lines().filter(|line| !line.is_empty()) {
        let said = printed.lines().any(|other| other == line);
        assert!(said, "{line} is not in:\n{printed}");
    }
}

#[test]
fn somebody_elses_rules_find_the_relay_at_fixed_ports_and_cannot_fail_closed() {
    let printed = checked(&["rules = \"print\"\n", GATEWAY], &[]);
    for line in [
        "rules = \"print\"",
        "mangled-port = 21069",
        "clean-port = 21070",
    ] {
        assert!(
            printed.lines().any(|other| other == line),
            "{line} is not in:\n{printed}"
        );
    }
    assert_eq!(checked(&[&printed], &[]), printed);
    assert_eq!(
        refusal(&["rules = \"none\"\nfail = \"closed\"\n", GATEWAY], &[]),
        "unmangle.toml:2: fail: somebody else's rules cannot fail closed by themselves; give rules = \"own\""
    );
    assert_eq!(
        refusal(&[GATEWAY], &["--mangled-port", "4000"]),
        "--mangled-port: the relay's own rules find its ports; this is for rules = \"none\""
    );
}

#[test]
fn networks_without_a_family_in_common_and_lo_are_refused() {
    let told = refusal(
        &[GATEWAY],
        &["--from", "10.0.0.0/8", "--to", "2001:db8::/32"],
    );
    let why = "from and to have no address family in common: nothing would be taken";
    assert!(
        told.starts_with("unmangle.toml:") && told.ends_with(why),
        "{told}"
    );
    assert_eq!(
        refusal(&[GATEWAY], &["--mangled-side", "lo"]),
        "--mangled-side: lo is this host's own interface; give the one that faces the firewall"
    );
}

/// Each value is another than the default where it can be, and stands as `--check` writes it.
const EVERYTHING: &str = r#"
workers = 3
pin-workers = "off"
pipe-budget = 7
max-connections = 5000
drain = "1m"
engine = "copy"
fail = "closed"
rules = "own"
track = "notrack"
host-tuning = "print"
override-forward = true
mark = 0x01000000
table = 300
priority = 77
zones = [5, 6]
held-max = 99
queue = 5
answer-mark = 0x70000000
log = "debug"
log-format = "json"
invalid-reasons = "off"
histograms = "on"
hdr-log = "relay.hlog"
hdr-log-interval = "1m"
hdr-log-size = 3
hdr-log-keep = 9

[[listener]]
name = "backups"
mode = "gateway"
intercept = [22, 873]
mangled-side = "eth1"
from = ["10.0.0.0/8", "2001:db8::/32"]
to = ["192.0.2.7/32"]
answer = "after-connect"
allow = ["10.0.0.0/8 -> any:22", "2001:db8::/32 -> [2001:db8:1::/48]:22,8000-8099"]
deny = ["10.9.0.0/16"]
profile = "narrow"
clean-profile = "patient"
connect-timeout = "5s"
keepalive = "20s"
idle-timeout = "1h"
stall-after = "off"
max-connections = 500
max-per-source = 40
rate-per-source = "10/1s"
source-prefix = [24, 56]

[[listener]]
name = "alone"
mode = "forward"
listen = "[::1]:2222"
to = "[2001:db8::1]:22"
mangled-leg = "upstream"
profile = "patient"
clean-profile = "clean"
connect-timeout = "5s"
keepalive = "20s"
stall-after = "2m"
stall-action = "reset"

[profile."narrow"]
summary = "as narrow as can be"
sack = false
window-scale = false
timestamps = false
ecn = false
mss = 900

[profile."patient"]
summary = "of your own"
sack = true
window-clamp = 65535
congestion-control = "reno"
keepalive = "9s"
user-timeout = "2m"
notsent-lowat = 16384
"#;

#[test]
fn flags_win_over_the_file() {
    let file = "drain = \"1m\"\nengine = \"copy\"\nworkers = 3\n";
    let flags = [
        "--drain",
        "2s",
        "--engine",
        "splice",
        "--intercept",
        "873",
        "--profile",
        "asa",
        "--connect-timeout",
        "7s",
    ];
    let printed = checked(&[file, GATEWAY], &flags);
    for line in [
        "drain = \"2s\"",
        "engine = \"splice\"",
        "intercept = [873]",
        "profile = \"asa\"",
        "connect-timeout = \"7s\"",
        // Not given by flag.
        "workers = 3",
        "mangled-side = \"eth1\"",
    ] {
        let said = printed.lines().any(|other| other == line);
        assert!(said, "{line} is not in:\n{printed}");
    }
}

#[test]
fn who_is_believed_and_told_is_checked_and_shown() {
    for (key, wrong) in [
        (
            "accept-proxy = [\"192.0.2.9\", \"proxy\"]\n",
            r#"accept-proxy: "proxy" is not a network; give an address or a prefix, such as 10.0.0.0/8 or 2001:db8::/32"#,
        ),
        (
            "accept-proxy = []\n",
            "accept-proxy: this list is empty; give it a value, or leave the key out",
        ),
        (
            "proxy-timeout = \"1s\"\n",
            "proxy-timeout: this is of no use without accept-proxy, the networks of the proxies",
        ),
        (
            "send-proxy = \"v3\"\n",
            r#"send-proxy: "v3" is none of: v1, v2"#,
        ),
        (
            "dial-from = \"me\"\n",
            r#"dial-from: "me" is none of: relay, client"#,
        ),
    ] {
        let expected = format!("unmangle.toml:4: listener 1: {wrong}");
        assert_eq!(refusal(&[FORWARD, key], &[]), expected);
    }
    assert_eq!(
        refusal(&[GATEWAY, "send-proxy = \"v2\"\n"], &[]),
        "unmangle.toml:5: listener 1: send-proxy: this is of no use to a gateway listener"
    );
    let settings = checked(
        &[FORWARD],
        &[
            "--accept-proxy",
            "192.0.2.9,2001:db8::/64",
            "--send-proxy",
            "v1",
        ],
    );
    for line in [
        "accept-proxy = [\"192.0.2.9/32\", \"2001:db8::/64\"]\n",
        "proxy-timeout = \"5s\"\n",
        "send-proxy = \"v1\"\n",
        "dial-from = \"relay\"\n",
        "close-timeout = \"2m\"\n",
        "idle-timeout = \"off\"\n",
        "stall-after = \"30s\"\n",
        "stall-action = \"log\"\n",
    ] {
        assert!(settings.contains(line), "{line:?} is not in: {settings}");
    }
}

#[test]
fn entries_of_a_list_that_are_none_are_named() {
    let grammar = "is no entry; give SOURCE or SOURCE -> DESTINATION:PORTS, such as 10.0.0.0/8, any -> 192.0.2.7:22,873 or 2001:db8::/32 -> [2001:db8:1::/48]:8000-8099";
    for (key, wrong) in [
        (
            "allow = [\"10.0.0.0/8\", \"10.0.0.1 -> backup:22\"]\n",
            "allow: \"10.0.0.1 -> backup:22\"",
        ),
        ("deny = \"192.0.2.7:22\"\n", "deny: \"192.0.2.7:22\""),
    ] {
        let expected = format!("unmangle.toml:4: listener 1: {wrong} {grammar}");
        assert_eq!(refusal(&[FORWARD, key], &[]), expected);
    }
    assert_eq!(
        refusal(&[FORWARD], &["--allow", "any", "--deny", "somebody"]),
        format!("--deny: \"somebody\" {grammar}")
    );
    assert_eq!(
        refusal(&[FORWARD, "allow = []\n"], &[]),
        "unmangle.toml:4: listener 1: allow: this list is empty; give it a value, or leave the key out"
    );
}

#[test]
fn limits_that_are_none_are_refused_with_what_would_be_right() {
    for (key, wrong) in [
        (
            "max-connections = 0\n",
            "max-connections: \"0\" is not a number from 1 to 10000000",
        ),
        (
            "max-per-source = -1\n",
            "max-per-source: \"-1\" is not a number from 1 to 10000000",
        ),
        (
            "rate-per-source = 10\n",
            "rate-per-source: \"10\" is not a rate; give connections and a time from 100ms to 1day, such as 10/s or 600/5m",
        ),
        (
            "source-prefix = 64\n",
            "source-prefix: \"64\" are no prefixes; give two lengths, of IPv4 and IPv6, such as 32,64",
        ),
    ] {
        assert_eq!(
            refusal(&[key, FORWARD], &[]),
            format!("unmangle.toml:1: {wrong}")
        );
        assert_eq!(
            refusal(&[FORWARD, key], &[]),
            format!("unmangle.toml:4: listener 1: {wrong}")
        );
    }
}

#[test]
fn what_a_source_may_have_is_the_processes_unless_the_listener_says_otherwise() {
    let process = [
        "max-connections = 9\nmax-per-source = 4\nrate-per-source = \"7/s\"\n",
        FORWARD,
        "max-per-source = 2\n",
    ];
    let printed = checked(&process, &["--source-prefix", "24,48"]);
    let (all, listener) = printed.split_once("[[listener]]").unwrap();
    assert!(all.contains("max-connections = 9\n"), "{printed}");
    for line in [
        "max-per-source = 2\n",
        "rate-per-source = \"7/1s\"\n",
        "source-prefix = [24, 48]\n",
    ] {
        assert!(listener.contains(line), "{line:?} is not in: {printed}");
    }
    assert!(!listener.contains("\nmax-connections"), "{printed}");
}

#[test]
fn whom_to_run_as_is_a_user_and_perhaps_a_group() {
    for wrong in ["", ":", "unmangle:", ":daemon", "a:b:c", "two words"] {
        assert_eq!(
            refusal(&[&format!("run-as = {wrong:?}\n"), GATEWAY], &[]),
            format!(
                "unmangle.toml:1: run-as: {wrong:?} is neither USER nor USER:GROUP; give names or numbers, such as \
                 unmangle or nobody:nogroup"
            )
        );
    }
    for right in ["unmangle", "54301:54302"] {
        let told = checked(&[&format!("run-as = {right:?}\n"), GATEWAY], &[]);
        assert!(told.contains(&format!("run-as = {right:?}\n")), "{told}");
    }
    let told = checked(&[GATEWAY], &["--run-as", "unmangle"]);
    assert_eq!(checked(&[&told], &[]), told);
}

#[test]
fn an_admin_address_is_a_path_or_an_address_or_off() {
    let right = "write /run/unmangle/admin.sock or 127.0.0.1:9184";
    for wrong in ["", "admin.sock", "localhost:9184", "9184", "/run/"] {
        assert_eq!(
            refusal(&[&format!("admin = {wrong:?}\n"), GATEWAY], &[]),
            format!(
                "unmangle.toml:1: admin: {wrong:?} is neither the path of a socket nor ADDRESS:PORT; {right}"
            )
        );
    }
    let long = format!("/{}", "x".repeat(107));
    assert_eq!(
        refusal(&[FORWARD], &["--admin", &long]),
        format!("--admin: the path of a socket has at most 107 bytes, and {long:?} has 108")
    );
    assert_eq!(
        refusal(&["admin = [\"off\", \"/x\"]\n", FORWARD], &[]),
        "unmangle.toml:1: admin: off stands alone; leave it out, or the addresses"
    );
    assert_eq!(
        refusal(&[FORWARD], &["--admin", "/x", "--admin", "/x"]),
        "--admin: /x is there twice"
    );
    let told = checked(&[FORWARD], &["--admin", "./a b.sock", "--admin", "[::1]:0"]);
    assert!(
        told.contains("admin = [\"./a b.sock\", \"[::1]:0\"]\n"),
        "{told}"
    );
    assert!(checked(&["admin = \"off\"\n", FORWARD], &[]).contains("admin = \"off\"\n"));
    assert!(checked(&[FORWARD], &[]).contains("# admin: a Unix socket named by the process id\n"));
}

#[test]
fn a_log_file_that_cannot_be_written_is_named() {
    assert_eq!(
        refusal(&["log-file = \"\"\n", GATEWAY], &[]),
        "unmangle.toml:1: log-file: \"\" is not a file's name"
    );
    assert_eq!(
        refusal(&[FORWARD], &["--log-file", "no/such/directory/relay.log"]),
        "--log-file no/such/directory/relay.log: No such file or directory (os error 2)"
    );
    // Nothing that could block whoever opens it.
    assert_eq!(
        refusal(&[FORWARD], &["--log-file", "/dev/null"]),
        "--log-file /dev/null: this is not a regular file"
    );
    let told = checked(&[FORWARD], &["--log-file", "relay \"1\".log"]);
    assert!(
        told.contains("log-file = \"relay \\\"1\\\".log\"\n"),
        "{told}"
    );
    assert_eq!(checked(&[&told], &[]), told);
}

#[test]
fn a_log_of_histograms_that_cannot_be_is_named() {
    for (settings, wrong) in [
        (
            "hdr-log = \"\"\n",
            r#"unmangle.toml:1: hdr-log: "" is not a file's name"#,
        ),
        (
            "log-file = \"x\"\nhdr-log = \"x\"\n",
            "unmangle.toml:2: hdr-log: this is log-file, too; give it a file of its own",
        ),
        (
            "hdr-log = \"x\"\nhdr-log-interval = \"500ms\"\n",
            r#"unmangle.toml:2: hdr-log-interval: "500ms" is not a time from 1s to 1day"#,
        ),
        (
            "hdr-log = \"x\"\nhdr-log-size = 0\n",
            r#"unmangle.toml:2: hdr-log-size: "0" is not a number from 1 to 1048576"#,
        ),
        (
            "hdr-log = \"x\"\nhdr-log-keep = 0\n",
            r#"unmangle.toml:2: hdr-log-keep: "0" is not a number from 1 to 10000"#,
        ),
        (
            "hdr-log = \"x\"\nhistograms = \"off\"\n",
            "unmangle.toml:1: hdr-log: histograms = \"off\" leaves nothing to log",
        ),
        (
            "hdr-log-keep = 3\n",
            "unmangle.toml:1: hdr-log-keep: this is of no use without hdr-log, the file",
        ),
    ] {
        assert_eq!(refusal(&[settings, FORWARD], &[]), wrong);
    }
    for (path, wrong) in [
        (
            "no/such/relay.hlog",
            "No such file or directory (os error 2)",
        ),
        ("/dev/null", "this is not a regular file"),
    ] {
        let told = refusal(&[FORWARD], &["--hdr-log", path]);
        assert_eq!(told, format!("--hdr-log {path}: {wrong}"));
    }
    let told = checked(&[FORWARD], &["--hdr-log", "relay \"1\".hlog"]);
    for line in [
        "hdr-log = \"relay \\\"1\\\".hlog\"\n",
        "hdr-log-interval = \"10s\"\n",
        "hdr-log-size = 64\n",
        "hdr-log-keep = 7\n",
    ] {
        assert!(told.contains(line), "{line:?} is not in: {told}");
    }
    assert_eq!(checked(&[&told], &[]), told);
}

#[test]
fn a_flag_wins_over_the_file_where_the_listener_says_otherwise_too() {
    let listener = [
        FORWARD,
        "connect-timeout = \"7s\"\nidle-timeout = \"2h\"\nmax-per-source = 9\n",
    ];
    let flags = [
        "--connect-timeout",
        "9s",
        "--idle-timeout",
        "5m",
        "--max-per-source",
        "5",
    ];
    let printed = checked(&listener, &flags);
    for line in [
        "connect-timeout = \"9s\"\n",
        "idle-timeout = \"5m\"\n",
        "max-per-source = 5\n",
    ] {
        assert!(printed.contains(line), "{line:?} is not in: {printed}");
    }
    // In a file the listener's own counts.
    let printed = checked(
        &["connect-timeout = \"9s\"\n", listener[0], listener[1]],
        &[],
    );
    assert!(printed.contains("connect-timeout = \"7s\"\n"), "{printed}");
}
