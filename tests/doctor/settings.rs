//! Settings of the network namespace, and what conntrack counts in it.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::namespace::{Expected, GATEWAY, Namespace, note, problem};
use super::{DROPS_INVALID, plant, plant_setting};

// === routing ===

#[test]
fn a_gateway_that_routes_no_ipv4_is_found() {
    let expected = problem("ip-forward", &["net.ipv4.ip_forward is 0"]).with(GATEWAY);
    plant_setting("ipv4/ip_forward", "0", expected);
}

#[test]
fn a_gateway_that_routes_no_ipv6_is_found_where_ipv6_is_named() {
    const V6: &str = "[[listener]]\nintercept = [22]\nmangled-side = \"fw0\"\nprofile = \"clean\"\nto = [\"fd00:1::/64\"]\n";
    let expected = problem("ip-forward-v6", &["net.ipv6.conf.all.forwarding is 0"]).with(V6);
    plant_setting("ipv6/conf/all/forwarding", "0", expected);
}

#[test]
fn a_host_that_does_not_route_is_noted_where_nobody_wants_a_gateway() {
    plant_setting(
        "ipv4/ip_forward",
        "0",
        note("ip-forward", &["a sidecar and forward mode do not"]),
    );
}

#[test]
fn a_strict_check_of_the_way_back_is_found_at_its_interface() {
    let expected = note("rp-filter", &["strictly at fw0"]);
    plant_setting("ipv4/conf/fw0/rp_filter", "1", expected);
}

#[test]
fn a_strict_check_at_all_interfaces_is_in_force_at_each() {
    // Its own value is 0, and the larger one counts.
    let Some(namespace) = Namespace::sound() else {
        return;
    };
    namespace.shell("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter");
    let told = namespace.doctor("");
    told.expect(&note("rp-filter", &["strictly at fw0"]));
    told.expect(&note("rp-filter", &["strictly at long0"]));
    namespace.shell("echo 2 > /proc/sys/net/ipv4/conf/fw0/rp_filter");
    let told = namespace.doctor("");
    let strict = told.findings("rp-filter", |status| status == "note");
    let at: Vec<_> = strict.iter().map(|one| &one["about"]).collect();
    assert_eq!(at, ["fw1", "long0", "long1"]);
}

#[test]
fn marks_that_checks_of_the_way_back_see_are_found_at_all_and_at_one_interface() {
    let expected =
        problem("src-valid-mark", &["net.ipv4.conf.all.src_valid_mark is 1"]).with(GATEWAY);
    plant_setting("ipv4/conf/all/src_valid_mark", "1", expected);
    let expected = problem(
        "src-valid-mark",
        &["net.ipv4.conf.long0.src_valid_mark is 1"],
    )
    .with(GATEWAY);
    plant_setting("ipv4/conf/long0/src_valid_mark", "1", expected);
}

#[test]
fn a_setting_of_an_interface_with_a_dot_is_mended_by_the_command_that_is_told() {
    let Some(namespace) = Namespace::sound() else {
        return;
    };
    namespace.shell("ip link add fw0.10 type veth peer name fw1.10");
    let script = "echo 1 > /proc/sys/net/ipv4/conf/fw0.10/src_valid_mark";
    let expected = problem("src-valid-mark", &["conf/fw0.10/src_valid_mark is 1"]).with(GATEWAY);
    namespace.plant(script, &expected.mended());
}

#[test]
fn connections_that_would_bear_the_mark_are_found() {
    plant_setting(
        "ipv4/tcp_fwmark_accept",
        "1",
        problem("fwmark-accept", &["come back to it"]).with(GATEWAY),
    );
}

#[test]
fn policy_routes_are_noted() {
    let rule = "ip rule add pref 500 from 10.9.0.0/16 lookup 77";
    plant(
        rule,
        note("policy-routes", &["500: from 10.9.0.0/16 lookup 77"]),
    );
}

// === TCP ===

#[test]
fn tcp_without_sack_is_found() {
    plant_setting(
        "ipv4/tcp_sack",
        "0",
        problem("tcp-sack", &["net.ipv4.tcp_sack is 0"]),
    );
}

#[test]
fn tcp_without_window_scaling_is_found() {
    let expected = problem("tcp-window-scaling", &["windows above 64 KiB"]);
    plant_setting("ipv4/tcp_window_scaling", "0", expected);
}

#[test]
fn tcp_without_timestamps_is_noted() {
    plant_setting(
        "ipv4/tcp_timestamps",
        "0",
        note("tcp-timestamps", &["tcp_timestamps is 0"]),
    );
}

/// Plants a setting that the kernel comes with, where it was as a leg without SACK needs it; a host that lets it be has
/// no problem for that alone.
fn plant_usual(setting: &str, needed: &str, usual: &str, expected: Expected) {
    for config in ["", GATEWAY] {
        let Some(namespace) = Namespace::sound() else {
            return;
        };
        let path = format!("/proc/sys/net/{setting}");
        namespace.shell(&format!("echo {needed} > {path}"));
        let expected = expected.with(config).mended();
        namespace.plant(&format!("echo {usual} > {path}"), &expected);
    }
}

#[test]
fn a_host_that_remembers_reordering_is_noted() {
    let expected = note("tcp-metrics", &["tcp_no_metrics_save is 0"]);
    plant_usual("ipv4/tcp_no_metrics_save", "1", "0", expected);
}

#[test]
fn a_host_that_believes_in_much_reordering_is_noted() {
    let expected = note("tcp-reordering", &["tcp_max_reordering is 300"]);
    plant_usual("ipv4/tcp_max_reordering", "3", "300", expected);
}

#[test]
fn a_host_that_the_relay_tunes_by_itself_is_well_whatever_it_remembers() {
    let Some(namespace) = Namespace::sound() else {
        return;
    };
    namespace.shell("echo 0 > /proc/sys/net/ipv4/tcp_no_metrics_save");
    let told = namespace.doctor(&format!("host-tuning = \"apply\"\n{GATEWAY}"));
    for id in ["tcp-metrics", "tcp-reordering"] {
        let ill = told.findings(id, |status| status != "ok");
        assert_eq!(ill, Vec::<serde_json::Value>::new());
    }
}

// === conntrack ===

#[test]
fn a_liberal_conntrack_is_noted() {
    let setting = "netfilter/nf_conntrack_tcp_be_liberal";
    plant_setting(
        setting,
        "1",
        note("conntrack-liberal", &["not counted as INVALID"]),
    );
}

#[test]
fn a_conntrack_that_takes_on_no_running_connection_is_noted() {
    let setting = "netfilter/nf_conntrack_tcp_loose";
    plant_setting(
        setting,
        "0",
        note("conntrack-loose", &["from their first packet"]),
    );
}

#[test]
fn a_conntrack_that_looks_at_no_checksum_is_noted() {
    let setting = "netfilter/nf_conntrack_checksum";
    plant_setting(
        setting,
        "0",
        note("conntrack-checksum", &["wrong checksum"]),
    );
}

/// Every flag of TCP at once, from and to the loopback address: conntrack calls it INVALID.
fn odd_packet() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    packet.extend(Ipv4Addr::LOCALHOST.octets());
    packet.extend(Ipv4Addr::LOCALHOST.octets());
    packet.extend(1000_u16.to_be_bytes());
    packet.extend(1001_u16.to_be_bytes());
    packet.extend([0; 8]);
    packet.extend([5 << 4, 0x3f]);
    packet.extend([0; 6]);
    packet
}

/// Sends such packets for as long as something is done.
pub fn amid_odd_packets<T: Send>(namespace: &Namespace, act: impl FnOnce() -> T + Send) -> T {
    let raw = namespace.inside(|| {
        // IPPROTO_RAW: headers are ours.
        Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap()
    });
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let to = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            while !done.load(Ordering::Relaxed) {
                // What a rule drops on its way out is told as an error.
                let _ = raw.send_to(&odd_packet(), &to.into());
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let value = act();
        done.store(true, Ordering::Relaxed);
        value
    })
}

#[test]
fn packets_that_are_called_invalid_now_are_a_problem_and_so_is_the_rule_that_ends_them() {
    let Some(namespace) = Namespace::sound() else {
        return;
    };
    namespace.shell(&format!("nft '{DROPS_INVALID}'"));
    assert_eq!(namespace.doctor("").problems(), "");
    let told = amid_odd_packets(&namespace, || namespace.doctor_by(&[], "", "0.5"));
    let found = told.expect(&problem("conntrack-invalid", &["INVALID now: "]));
    assert!(
        found["sentence"]
            .as_str()
            .unwrap()
            .contains("within 0.5 seconds"),
        "{found}"
    );
    told.expect(&problem(
        "invalid-rules",
        &[
            "inet strict in",
            "ct state invalid drop",
            "mend the packets",
        ],
    ));
    // They stay counted, and nobody is ill any more.
    let after = namespace.doctor("");
    after.expect(&note("conntrack-invalid", &["none within"]));
    assert_eq!(after.problems(), "");
}

#[test]
fn why_packets_are_invalid_is_told_where_conntrack_says_it() {
    let Some(namespace) = Namespace::sound() else {
        return;
    };
    namespace.shell(&format!(
        "nft '{DROPS_INVALID}'; cd /proc/sys/net/netfilter; echo 6 > nf_conntrack_log_invalid;
         echo nfnetlink_log > nf_log/2; echo nfnetlink_log > nf_log/10"
    ));
    let told = amid_odd_packets(&namespace, || namespace.doctor_by(&[], "", "0.5"));
    told.expect(&problem("conntrack-invalid", &["(flags "]));
    assert_eq!(
        told.findings("conntrack-reasons", |status| status != "ok")
            .len(),
        0
    );
}
