//! `unmangle doctor` finds what was planted, for real in a network namespace of the test's own, and nothing where
//! nothing is wrong; and it changes nothing.
//!
//! These tests need root, and without it are skipped except in CI. What cannot be planted in a namespace is in
//! tests/doctor_facts.rs.

#[path = "doctor/namespace.rs"]
mod namespace;
#[path = "doctor/rules.rs"]
mod rules;
#[path = "doctor/settings.rs"]
mod settings;
mod site;

use std::time::{Duration, Instant};

use namespace::{Expected, GATEWAY, Namespace, note, problem};

/// A rule that drops what conntrack calls INVALID.
const DROPS_INVALID: &str =
    "table inet strict { chain in { type filter hook input priority 0; ct state invalid drop; }; }";

/// Plants something in a sound namespace, and sees that it is found there, and was not before.
fn plant(script: &str, expected: Expected) {
    if let Some(namespace) = Namespace::sound() {
        namespace.plant(script, &expected);
    }
}

/// The same for a setting below /proc/sys/net, which the command that is told mends.
fn plant_setting(setting: &str, value: &str, expected: Expected) {
    plant(
        &format!("echo {value} > /proc/sys/net/{setting}"),
        expected.mended(),
    );
}

/// The same for rules of nftables.
fn plant_rules(rules: &str, expected: Expected) {
    plant(&format!("nft -f - <<'EOF'\n{rules}\nEOF"), expected);
}

// === a sound host ===

#[test]
fn a_sound_gateway_has_no_problem_and_is_soon_looked_at() {
    let Some(namespace) = Namespace::sound() else {
        return;
    };
    let begun = Instant::now();
    let told = namespace.doctor_by(&[], GATEWAY, "1");
    let took = begun.elapsed();
    println!("a whole look with --seconds 1 took {took:?}");
    assert_eq!(told.problems(), "");
    assert_eq!(told.exit, 0);
    assert_eq!(told.unseen(), Vec::<String>::new());
    assert!(took >= Duration::from_secs(1), "counters were not watched");
    // Nothing goes round and round; a busy machine is no failure.
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn a_sound_host_of_which_nobody_said_what_it_is_for_has_no_problem_either() {
    let Some(namespace) = Namespace::sound() else {
        return;
    };
    assert_eq!(namespace.doctor("").problems(), "");
}

// === links and limits ===

#[test]
fn a_route_with_a_largest_packet_of_its_own_is_noted() {
    let route = "ip route add 10.9.0.0/16 dev long0 mtu lock 1400";
    plant(route, note("route-mtu", &["1400 where long0 has 1500"]));
}

#[test]
fn an_interface_too_small_for_ipv6_is_mended_by_the_command_that_is_told() {
    plant(
        "ip link set long0 mtu 1000",
        problem("mtu", &["long0 hold 1000 bytes"]).mended(),
    );
}

#[test]
fn an_interface_that_is_named_and_is_not_there_is_found() {
    plant(
        "ip link del fw0",
        problem("interface", &["no interface \"fw0\"", "long0"]).with(GATEWAY),
    );
}

#[test]
fn few_ports_are_found() {
    plant_setting(
        "ipv4/ip_local_port_range",
        "'40000 40099'",
        problem("port-range", &["100 ports"]),
    );
}

#[test]
fn a_short_listen_queue_is_noted() {
    plant_setting(
        "core/somaxconn",
        "16",
        note("somaxconn", &["net.core.somaxconn is 16"]),
    );
}

#[test]
fn few_descriptors_are_found() {
    let Some(namespace) = Namespace::sound() else {
        return;
    };
    let told = namespace.doctor_by(&["prlimit", "--nofile=512:512", "--"], "", "0");
    told.expect(&note("descriptors", &["512 descriptors"]));
    let many = format!("max-connections = 100000\n{GATEWAY}");
    let told = namespace.doctor(&many);
    told.expect(&problem(
        "descriptors",
        &["8192 descriptors", "may need 400256"],
    ));
}

// === who asks ===

#[test]
fn without_root_what_was_not_seen_is_told_to_be_and_is_not_well() {
    let Some(namespace) = Namespace::sound() else {
        return;
    };
    namespace.shell(&format!("nft '{DROPS_INVALID}'"));
    let user = [
        "setpriv",
        "--reuid",
        "54301",
        "--regid",
        "54302",
        "--clear-groups",
    ];
    let told = namespace.doctor_by(&user, "", "0");
    for id in [
        "invalid-rules",
        "dnat",
        "notrack",
        "forward",
        "legacy-rules",
        "fail-closed",
        "capabilities",
    ] {
        assert!(
            told.unseen().contains(&id.to_owned()),
            "{id} in {:?}",
            told.unseen()
        );
        assert_eq!(
            told.findings(id, |_| true),
            Vec::<serde_json::Value>::new(),
            "{id}"
        );
    }
    for unseen in told.report["unseen"].as_array().unwrap() {
        let sentence = unseen["sentence"].as_str().unwrap();
        assert!(
            sentence.starts_with("not seen without root: "),
            "{sentence}"
        );
    }
    // What everybody may read is judged all the same.
    namespace.shell("echo 0 > /proc/sys/net/ipv4/tcp_sack");
    namespace
        .doctor_by(&user, "", "0")
        .expect(&problem("tcp-sack", &[]));
    let text = namespace.run(&user, "", &["--seconds", "0"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("not seen without root: rules of other programs"),
        "{text}"
    );
}

#[test]
fn a_container_that_may_never_change_rules_is_found() {
    let Some(namespace) = Namespace::sound() else {
        return;
    };
    let contained = [
        "setpriv",
        "--bounding-set=-net_admin",
        "--inh-caps=-net_admin",
    ];
    for (config, expected) in [("", note as fn(_, _) -> _), (GATEWAY, problem)] {
        let told = namespace.doctor_by(&contained, config, "0");
        told.expect(&expected("capabilities", &["Not even root"]));
    }
}

#[test]
fn a_configuration_that_is_wrong_is_no_finding_but_a_refusal() {
    let Some(namespace) = Namespace::sound() else {
        return;
    };
    let output = namespace.run(&[], "nonsense = 1\n", &["--json", "--seconds", "0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("unmangle: ") && said.contains("nonsense"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

// === nothing is changed ===

#[test]
fn nothing_of_the_host_is_changed() {
    let Some(namespace) = Namespace::sound() else {
        return;
    };
    namespace.shell(&format!(
        "nft '{DROPS_INVALID}'; ip rule add pref 500 from 10.9.0.0/16 lookup 77"
    ));
    let rules = "iptables-nft -A FORWARD -m conntrack --ctstate INVALID -j DROP";
    namespace.shell(rules);
    let look = || {
        namespace.shell(
            "nft -a list ruleset 2>/dev/null; cat /proc/net/ip_tables_names /proc/net/ip6_tables_names;
             for f in -4 -6; do ip $f rule; ip $f route show table all; done; ip -o link | sed 's/qlen.*//';
             cat /proc/modules 2>/dev/null | cut -d' ' -f1 || true;
             for each in $(find /proc/sys/net /proc/sys/fs/pipe* /proc/sys/kernel/mod* -type f); do
                 case $each in *nf_conntrack_count|*_key|*stable_secret) continue;; esac
                 echo $each $(cat $each 2>/dev/null | tr '\\0' ' ');
             done",
        )
    };
    // Interfaces that just came up get their last routes.
    let mut before = look();
    let until = Instant::now() + site::PATIENCE;
    loop {
        let again = look();
        if again == before {
            break;
        }
        assert!(
            Instant::now() < until,
            "the namespace does not come to rest"
        );
        before = again;
    }
    assert!(
        before.contains("ct state invalid drop") && before.contains("ipv4/tcp_sack 1"),
        "{before}"
    );
    for config in ["", GATEWAY] {
        namespace.doctor_by(&[], config, "0.2");
    }
    let after = look();
    for (before, after) in before.lines().zip(after.lines()) {
        assert_eq!(before, after);
    }
    assert_eq!(before, after);
}
