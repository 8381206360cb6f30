//! What is told of the host's conntrack: as the kernel counts it, in a namespace of the test's own.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use site::bare::Bare;
use site::web::get;
use site::{Here, PATIENCE, Site, inside};
use unmangle::diagnose::conntrack::{Counter, Counters, NoCounters, Proc};
use unmangle::diagnose::invalid::{InvalidWatch, Tally};
use unmangle::diagnose::log_settings::{LogSettings, WhyNot};
use unmangle::diagnose::{Conntrack, Summary};
use unmangle::lab::Host;
use unmangle::metrics::{Family, Value};

const LOG_INVALID: &str = "net/netfilter/nf_conntrack_log_invalid";
const LOGGERS: [&str; 2] = ["net/netfilter/nf_log/2", "net/netfilter/nf_log/10"];
/// Soon enough for a test that waits for it.
const OFTEN: Duration = Duration::from_millis(20);

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// What no TCP sends: FIN, SYN, RST, PSH, ACK and URG at once.
const ALL: u8 = 0x3f;

// === a host whose conntrack sees connections that are not there ===

/// What is sent to these networks passes conntrack on its way out, and is dropped where it comes in again.
fn set_up(host: &Host) {
    let links = "set -e
        ip link add away type veth peer name back
        ip link set away arp off
        ip link set away up
        ip link set back up
        ip -4 route add 10.9.0.0/16 dev away
        ip -6 route add fd00:9::/64 dev away";
    host.feed("sh", &[], links).unwrap();
    let rules = "table inet test {
        chain arrived { type filter hook prerouting priority -400; iifname back drop; }
        chain sent { type filter hook output priority 0; ct state invalid counter drop; }
    }";
    host.feed("nft", &["-f", "-"], rules).unwrap();
}

fn log_to_group(host: &Host) {
    let [v4, v6] = LOGGERS.map(|logger| (logger, "nfnetlink_log"));
    host.set(&[v4, v6, (LOG_INVALID, "255")]).unwrap();
}

/// A connection that exists in the packets of this test alone.
struct Flow {
    bare: Bare,
    client: SocketAddr,
    server: SocketAddr,
}

// === impl Flow ===

impl Flow {
    /// Opened: the client's next byte is 101, the server's 501; each may send 1000 bytes.
    fn open(client: &str, server: &str) -> Self {
        let [client, server]: [SocketAddr; 2] = [client, server].map(|one| one.parse().unwrap());
        let flow = Self {
            bare: Bare::to(server),
            client,
            server,
        };
        flow.send(SYN, 100, 0);
        flow.answer(SYN | ACK, 500, 101);
        flow.send(ACK, 101, 501);
        flow
    }

    fn send(&self, flags: u8, seq: u32, ack: u32) {
        self.bare.send(self.client, self.server, flags, seq, ack);
    }

    fn answer(&self, flags: u8, seq: u32, ack: u32) {
        self.bare.send(self.server, self.client, flags, seq, ack);
    }

    /// One INVALID packet for each of [`REASONS`].
    fn misbehave(&self) {
        self.send(ACK, 1_000_000, 501);
        self.send(ACK, 101, 1_000_000);
        self.send(ALL, 101, 501);
        self.send(RST, 5, 0);
    }
}

const REASONS: [&str; 4] = ["ack_over_seen", "flags", "reset", "seq_over_window"];

fn both_families() -> [Flow; 2] {
    [
        Flow::open("10.9.0.1:1000", "10.9.0.2:22"),
        Flow::open("[fd00:9::1]:1000", "[fd00:9::2]:22"),
    ]
}

// === asking ===

/// Does something on a host with rules that these tests need, if there can be one.
fn on_a_host(act: impl AsyncFnOnce(&Host) + Send) {
    let Some(site) = Site::put_up() else { return };
    let host = site.lab.relay();
    set_up(host);
    inside(host, || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(act(host));
    });
}

/// Asks until it is so.
async fn wait_until(conntrack: &Conntrack, is_so: impl Fn(&Summary) -> bool) -> Summary {
    let begun = Instant::now();
    loop {
        let summary = conntrack.summary();
        if is_so(&summary) {
            return summary;
        }
        assert!(begun.elapsed() < PATIENCE, "{summary:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn counted(summary: &Summary) -> u64 {
    summary.reasons.iter().flat_map(BTreeMap::values).sum()
}

/// The sum over all CPUs, as conntrack's own tool prints it.
fn by_the_tool(host: &Host, name: &str) -> u64 {
    let text = host.run("conntrack", &["-S"]).unwrap();
    let values = text.split_whitespace().filter_map(|word| {
        let (key, value) = word.split_once('=')?;
        (key == name).then(|| value.parse::<u64>().unwrap())
    });
    values.sum()
}

fn family<'a>(families: &'a [Family], name: &str) -> Option<&'a Family> {
    families.iter().find(|one| one.definition.name == name)
}

fn value(families: &[Family], name: &str) -> Option<Value> {
    Some(family(families, name)?.samples[0].value.clone())
}

// === the tests ===

#[test]
fn invalid_packets_are_told_as_the_kernel_counts_them_and_by_the_reasons_that_it_logs() {
    on_a_host(async |host| {
        log_to_group(host);
        let conntrack = Conntrack::start();
        let before = conntrack.summary();
        assert_eq!(before.reasons_unknown, [""; 0]);
        let flows = both_families();
        flows.iter().for_each(Flow::misbehave);
        // Odd, and since Linux 6.1 not INVALID.
        flows[0].answer(ACK, 4_000_000_000, 101);
        let invalid = by_the_tool(host, "invalid");
        let rise = invalid - before.invalid.unwrap();
        assert!(rise >= 8, "{rise}");
        let summary = wait_until(&conntrack, |summary| counted(summary) == rise).await;
        assert_eq!(summary.invalid, Some(invalid));
        assert_eq!(summary.entries, Some(2));
        let reasons = summary.reasons.unwrap();
        for reason in REASONS {
            assert_eq!(reasons.get(reason), Some(&2), "{reason}: {reasons:?}");
        }

        let families = conntrack.families();
        let count = |name| value(&families, name);
        assert_eq!(
            count("unmangle_conntrack_invalid"),
            Some(Value::Count(invalid))
        );
        assert_eq!(count("unmangle_conntrack_entries"), Some(Value::Level(2.0)));
        assert_eq!(
            count("unmangle_conntrack_insert_failed"),
            Some(Value::Count(by_the_tool(host, "insert_failed")))
        );
        assert_eq!(
            count("unmangle_conntrack_reasons_lost"),
            Some(Value::Count(0))
        );
        let by_reason = family(&families, "unmangle_conntrack_invalid_reason").unwrap();
        for sample in &by_reason.samples {
            let expected = reasons.get(&sample.labels[0]).copied().unwrap_or(0);
            assert_eq!(sample.value, Value::Count(expected), "{sample:?}");
        }
        assert_eq!(
            by_reason.samples.len(),
            unmangle::diagnose::reason::Reason::ALL.len()
        );
    });
}

#[test]
fn where_nothing_is_logged_there_are_counters_and_no_reasons_and_no_error() {
    on_a_host(async |host| {
        let conntrack = Conntrack::start();
        both_families().iter().for_each(Flow::misbehave);
        let summary = conntrack.summary();
        assert_eq!(summary.invalid, Some(by_the_tool(host, "invalid")));
        assert!(summary.invalid >= Some(8), "{summary:?}");
        assert_eq!(summary.invalid_unknown, None);
        assert_eq!(summary.reasons, None);
        let [why] = &summary.reasons_unknown[..] else {
            panic!("{summary:?}");
        };
        assert!(why.contains("nf_conntrack_log_invalid is 0"), "{why}");
        let families = conntrack.families();
        assert!(family(&families, "unmangle_conntrack_invalid").is_some());
        assert_eq!(family(&families, "unmangle_conntrack_invalid_reason"), None);
        assert_eq!(family(&families, "unmangle_conntrack_reasons_lost"), None);
    });
}

#[test]
fn reasons_are_counted_from_when_the_host_logs_them_and_stay_when_it_ceases() {
    on_a_host(async |host| {
        let conntrack = Conntrack::looking_every(OFTEN);
        let flow = &both_families()[0];
        flow.misbehave();
        log_to_group(host);
        wait_until(&conntrack, |summary| summary.reasons_unknown.is_empty()).await;
        flow.misbehave();
        wait_until(&conntrack, |summary| counted(summary) == 4).await;
        host.set(&[(LOG_INVALID, "0")]).unwrap();
        let summary = wait_until(&conntrack, |summary| !summary.reasons_unknown.is_empty()).await;
        assert_eq!(counted(&summary), 4);
        let families = conntrack.families();
        assert!(family(&families, "unmangle_conntrack_invalid_reason").is_some());
    });
}

#[test]
fn a_group_that_another_program_reads_is_told_and_is_taken_when_it_is_free() {
    on_a_host(async |host| {
        log_to_group(host);
        let first = Conntrack::start();
        let second = Conntrack::looking_every(OFTEN);
        assert_eq!(first.summary().reasons_unknown, [""; 0]);
        let [why] = &second.summary().reasons_unknown[..] else {
            panic!("{:?}", second.summary());
        };
        assert!(why.contains("another program"), "{why}");
        assert_eq!(second.summary().reasons, None);
        drop(first);
        wait_until(&second, |summary| summary.reasons_unknown.is_empty()).await;
        both_families()[0].misbehave();
        wait_until(&second, |summary| counted(summary) == 4).await;
    });
}

#[test]
fn who_is_told_not_to_look_for_reasons_leaves_the_group_to_others_and_tells_the_counters() {
    on_a_host(async |host| {
        log_to_group(host);
        let relay = Conntrack::without_reasons();
        let other = Conntrack::start();
        assert_eq!(other.summary().reasons_unknown, [""; 0]);
        both_families()[0].misbehave();
        wait_until(&other, |summary| counted(summary) == 4).await;
        let summary = relay.summary();
        assert_eq!(summary.invalid, Some(by_the_tool(host, "invalid")));
        assert_eq!(summary.reasons, None);
        assert_eq!(
            summary.reasons_unknown,
            ["INVALID packets are not counted by reason: invalid-reasons is off"]
        );
    });
}

#[test]
fn a_relay_looks_for_reasons_unless_it_is_told_not_to() {
    for (more, is_off) in [(&[][..], false), (&["--invalid-reasons", "off"], true)] {
        let here = Here::with(&[&["--admin", "127.0.0.1:0"], more].concat());
        let status: serde_json::Value =
            serde_json::from_str(&get(here.relay.admin(), "/api/status")).unwrap();
        let why = status["conntrack"]["reasons_unknown"].to_string();
        assert_eq!(why.contains("invalid-reasons is off"), is_off, "{status:#}");
    }
}

#[test]
fn a_flood_that_was_not_read_in_time_is_told_as_lost_and_reading_goes_on() {
    on_a_host(async |host| {
        log_to_group(host);
        let conntrack = Conntrack::start();
        let flow = &both_families()[0];
        let before = by_the_tool(host, "invalid");
        // Nobody reads meanwhile: this is the runtime's one thread.
        for _ in 0..5_000 {
            flow.misbehave();
        }
        let sent = by_the_tool(host, "invalid") - before;
        assert_eq!(sent, 20_000);
        let lost = || match value(&conntrack.families(), "unmangle_conntrack_reasons_lost") {
            Some(Value::Count(lost)) => lost,
            other => panic!("{other:?}"),
        };
        wait_until(&conntrack, |_| lost() > 0).await;
        // What was kept is read to its end before what comes now.
        let kept = wait_until(&conntrack, |summary| counted(summary) > 100).await;
        assert!(counted(&kept) < sent);
        let flow = Flow::open("10.9.0.1:1001", "10.9.0.2:22");
        let flags = |summary: &Summary| summary.reasons.as_ref().unwrap().get("flags").copied();
        let before = flags(&conntrack.summary());
        flow.send(ALL, 101, 501);
        wait_until(&conntrack, |summary| flags(summary) > before).await;
    });
}

#[test]
fn netlink_says_the_same_as_proc_and_only_to_the_privileged() {
    on_a_host(async |host| {
        both_families().iter().for_each(Flow::misbehave);
        let by_proc = Counters::read(&Proc::default()).unwrap();
        assert_eq!(
            by_proc.of(Counter::Invalid),
            Some(by_the_tool(host, "invalid"))
        );
        assert_eq!(Counters::from_netlink(), Ok(by_proc.clone()));

        log_to_group(host);
        let settings = LogSettings::read(&Proc::default());
        give_up_everything();
        assert_eq!(Counters::read(&Proc::default()), Ok(by_proc));
        assert_eq!(Counters::from_netlink(), Err(NoCounters::NotAllowed));
        let watch = InvalidWatch::open(&settings, &Tally::default());
        assert_eq!(watch.sources, [const { Err(WhyNot::NotAllowed) }; 2]);
    });
}

/// This thread has no capability any more.
fn give_up_everything() {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).unwrap();
    assert_eq!(capabilities(None).unwrap(), none);
}
