//! What `unmangle doctor` makes of facts that cannot be planted in a network namespace; its schema and its document.

mod checked_in;

use std::collections::BTreeSet;

use serde_json::Value;
use unmangle::admin;
use unmangle::diagnose::conntrack::Entries;
use unmangle::diagnose::doctor::facts::{
    Collision, Counted, Counts, Doing, Ending, Facts, Link, Links, Needs, OwnTables, Process,
    Routed, Rules, Settings, Survey, Tools, Tracked, Tried, Wanted,
};
use unmangle::diagnose::doctor::features::{MODULES, Presence};
use unmangle::diagnose::doctor::{Finding, Id, Report, Status, judge, warnings};
use unmangle::sys::offloads::Offloads;

const DOCUMENT: &str = include_str!("../docs/diagnosis.md");

/// A host with which all is well.
fn sound() -> Facts {
    let settings = [
        ("fs.pipe-max-size", "1048576"),
        ("fs.pipe-user-pages-soft", "16384"),
        ("net.core.somaxconn", "4096"),
        ("net.ipv4.conf.all.rp_filter", "0"),
        ("net.ipv4.conf.all.src_valid_mark", "0"),
        ("net.ipv4.conf.eth0.rp_filter", "0"),
        ("net.ipv4.conf.eth0.src_valid_mark", "0"),
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.ip_local_port_range", "32768 60999"),
        ("net.ipv4.tcp_fwmark_accept", "0"),
        ("net.ipv4.tcp_max_reordering", "3"),
        ("net.ipv4.tcp_no_metrics_save", "1"),
        ("net.ipv4.tcp_sack", "1"),
        ("net.ipv4.tcp_timestamps", "1"),
        ("net.ipv4.tcp_window_scaling", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
        ("net.netfilter.nf_conntrack_checksum", "1"),
        ("net.netfilter.nf_conntrack_tcp_be_liberal", "0"),
        ("net.netfilter.nf_conntrack_tcp_loose", "1"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Facts {
        release: "6.12.0".to_owned(),
        features: MODULES
            .iter()
            .map(|(id, _)| (*id, Presence::Present))
            .collect(),
        iptables_queue: Presence::Present,
        tools: Tools {
            nft: Ok("nftables v1.0.6 (Lester Gooch #5)".to_owned()),
            ip: Ok("ip utility, iproute2-6.1.0".to_owned()),
            iptables: Ok("iptables v1.8.9 (nf_tables)".to_owned()),
        },
        settings: Settings::new(settings, vec!["eth0".to_owned()]),
        conntrack: Tracked {
            counts: Ok(Counts::default()),
            entries: Some(Entries {
                now: 10,
                limit: 1000,
            }),
            reasons: Ok(Vec::new()),
        },
        reverse_path_drops: Ok(0),
        rules: Rules {
            nft: Ok(Doing::default()),
            legacy: None,
            own: Ok(OwnTables::default()),
            in_place: Ok(Vec::new()),
            policy: Ok(Vec::new()),
            collisions: Ok(Vec::new()),
            survey: Some(Ok(Survey::default())),
            plan: Some(Tried::Taken),
        },
        links: Ok(Links {
            interfaces: vec![Link {
                name: "eth0".to_owned(),
                mtu: 1500,
                offloads: Some(Offloads::default()),
            }],
            routes: Vec::new(),
        }),
        process: Process {
            net_admin: true,
            net_admin_within_reach: true,
            page: 4096,
            descriptors: Some(1 << 20),
        },
        seconds: 2.0,
        wanted: Wanted::Configured(gateway()),
    }
}

fn gateway() -> Needs {
    Needs {
        routed: Routed::Whatever,
        led: true,
        without_sack: true,
        tuned: false,
        held: false,
        interfaces: vec!["eth0".to_owned()],
        connections: None,
        pipe_budget: 48 << 20,
    }
}

fn forward() -> Needs {
    Needs {
        routed: Routed::Nothing,
        led: false,
        without_sack: false,
        interfaces: Vec::new(),
        ..gateway()
    }
}

/// What is found once something was planted, and is not found without it.
#[track_caller]
fn plant(id: Id, plant: impl FnOnce(&mut Facts)) -> Finding {
    let ill = |report: &Report| {
        let is_ill = |one: &&Finding| one.id == id && one.status != Status::Ok;
        report.findings.iter().find(is_ill).cloned()
    };
    let mut facts = sound();
    assert_eq!(ill(&judge(&facts)), None, "before it was planted");
    plant(&mut facts);
    ill(&judge(&facts)).unwrap_or_else(|| panic!("{} is not found", id.name()))
}

#[track_caller]
fn expect(finding: &Finding, status: Status, words: &[&str]) {
    assert_eq!(finding.status, status, "{finding:?}");
    for word in words {
        assert!(finding.sentence.contains(word), "{word:?}: {finding:?}");
    }
}

#[test]
fn nothing_is_wrong_with_a_sound_host_and_everything_of_it_was_seen() {
    let report = judge(&sound());
    let ill: Vec<_> = report
        .findings
        .iter()
        .filter(|one| one.status != Status::Ok)
        .collect();
    assert_eq!(ill, Vec::<&Finding>::new());
    assert_eq!(report.unseen, []);
    assert_eq!((report.problems, report.notes), (0, 0));
    let seen: BTreeSet<Id> = report.findings.iter().map(|one| one.id).collect();
    assert_eq!(
        seen,
        Id::ALL.iter().copied().collect(),
        "every id is looked at"
    );
}

#[test]
fn an_old_kernel_is_found_by_what_it_lacks() {
    let old = plant(Id::KernelRelease, |facts| {
        facts.release = "5.10.0-30-amd64".to_owned()
    });
    expect(
        &old,
        Status::Problem,
        &["5.10.0-30-amd64", "belong to a process (5.12)"],
    );
    let newer = plant(Id::KernelRelease, |facts| {
        facts.release = "5.17.1".to_owned()
    });
    expect(&newer, Status::Problem, &["5.17.1", "5.18 is needed"]);
    assert_eq!(
        newer.now.as_deref(),
        Some("unmangle rules --format iptables ...")
    );
}

#[test]
fn a_kernel_without_a_feature_is_found_and_one_that_would_load_it_is_well() {
    let of = |presence| {
        move |facts: &mut Facts| {
            facts.features.insert(Id::NftTproxy, presence);
        }
    };
    let absent = plant(Id::NftTproxy, of(Presence::Absent));
    expect(&absent, Status::Problem, &["no nft_tproxy"]);
    let unknown = plant(Id::NftTproxy, of(Presence::Unknown));
    expect(&unknown, Status::Note, &["only loading it would tell"]);
    assert_eq!(unknown.now.as_deref(), Some("modprobe nft_tproxy"));
    let mut facts = sound();
    of(Presence::Loadable)(&mut facts);
    assert_eq!(judge(&facts).notes, 0);
}

#[test]
fn a_kernel_without_queues_is_a_problem_where_packets_are_held() {
    let without = |facts: &mut Facts| {
        facts.features.insert(Id::Queue, Presence::Absent);
        facts.iptables_queue = Presence::Absent;
    };
    expect(
        &plant(Id::Queue, without),
        Status::Note,
        &["only --answer after-connect needs"],
    );
    let needed = plant(Id::Queue, |facts| {
        without(facts);
        facts.wanted = Wanted::Configured(Needs {
            held: true,
            ..gateway()
        });
    });
    expect(&needed, Status::Problem, &["not possible"]);
    // Either way will do.
    let mut facts = sound();
    facts.features.insert(Id::Queue, Presence::Absent);
    assert_eq!(judge(&facts).notes, 0);
}

#[test]
fn a_tool_that_is_not_there_is_found_with_the_package_that_has_it() {
    let nft = plant(Id::Nft, |facts| {
        facts.tools.nft = Err("No such file or directory".to_owned())
    });
    expect(&nft, Status::Problem, &["nft cannot be run"]);
    assert_eq!(nft.now.as_deref(), Some("apt-get install nftables"));
    let ip = plant(Id::Iproute2, |facts| {
        facts.tools.ip = Err("No such file or directory".to_owned())
    });
    expect(&ip, Status::Problem, &["ip cannot be run"]);
    let old = plant(Id::Nft, |facts| {
        facts.tools.nft = Ok("nftables v0.9.8 (E.D.S.)".to_owned())
    });
    expect(&old, Status::Note, &["v0.9.8", "older"]);
}

#[test]
fn forward_mode_misses_nothing_of_what_only_rules_need() {
    let mut facts = sound();
    facts.wanted = Wanted::Configured(forward());
    facts.rules.survey = None;
    facts.release = "4.19.0".to_owned();
    for presence in facts.features.values_mut() {
        *presence = Presence::Absent;
    }
    facts.tools.nft = Err("No such file or directory".to_owned());
    facts.settings.set("net.ipv4.ip_forward", "0");
    facts.settings.set("net.ipv4.conf.all.src_valid_mark", "1");
    facts.rules.collisions = Ok(vec![Collision {
        id: Id::Mark,
        sentence: "taken".to_owned(),
        cure: "another".to_owned(),
    }]);
    facts.process.net_admin = false;
    facts.process.net_admin_within_reach = false;
    assert_eq!(judge(&facts).problems, 0, "{:?}", judge(&facts));
}

#[test]
fn a_table_that_is_almost_full_is_found_before_connections_are_dropped() {
    let filled = |now| {
        plant(Id::ConntrackFill, |facts| {
            facts.conntrack.entries = Some(Entries { now, limit: 1000 });
        })
    };
    expect(&filled(850), Status::Note, &["850 of 1000", "85 %"]);
    let full = filled(990);
    expect(&full, Status::Problem, &["about to be dropped"]);
    assert_eq!(
        full.now.as_deref(),
        Some("sysctl -w net.netfilter.nf_conntrack_max=2000")
    );
}

#[test]
fn drops_for_want_of_room_are_noted_and_are_a_problem_while_they_rise() {
    let dropped = |total, more| {
        plant(Id::ConntrackDrops, |facts| {
            facts.conntrack.counts = Ok(Counts {
                drops: Counted { total, more },
                ..Counts::default()
            });
        })
    };
    expect(&dropped(7, 0), Status::Note, &["7 packets"]);
    expect(
        &dropped(7, 3),
        Status::Problem,
        &["3 packets or entries within 2 seconds"],
    );
}

#[test]
fn packets_that_the_check_of_the_way_back_drops_now_are_found() {
    let found = plant(Id::RpFilter, |facts| facts.reverse_path_drops = Ok(12));
    expect(&found, Status::Problem, &["dropped 12 packets"]);
}

#[test]
fn pipes_that_hold_too_little_are_found() {
    let few = plant(Id::PipePages, |facts| {
        facts.settings.set("fs.pipe-user-pages-soft", "1024")
    });
    expect(&few, Status::Problem, &["4 MiB", "48 MiB"]);
    assert_eq!(
        few.now.as_deref(),
        Some("sysctl -w fs.pipe-user-pages-soft=16384")
    );
    // Larger pages hold more.
    let mut facts = sound();
    facts.settings.set("fs.pipe-user-pages-soft", "1024");
    facts.process.page = 65536;
    assert_eq!(judge(&facts).problems, 0);
    let small = plant(Id::PipeSize, |facts| {
        facts.settings.set("fs.pipe-max-size", "65536")
    });
    expect(&small, Status::Note, &["65536"]);
}

#[test]
fn an_interface_that_merges_segments_for_good_is_found() {
    let found = plant(Id::Offloads, |facts| {
        facts.links.as_mut().unwrap().interfaces[0].offloads = Some(Offloads {
            large_receive: true,
            ..Offloads::default()
        });
    });
    expect(&found, Status::Problem, &["eth0", "LRO"]);
    assert_eq!(found.now.as_deref(), Some("ethtool -K eth0 lro off"));
}

#[test]
fn bridged_frames_that_pass_rules_are_noted() {
    let name = "net.bridge.bridge-nf-call-iptables";
    let found = plant(Id::BridgeNetfilter, |facts| facts.settings.set(name, "1"));
    expect(&found, Status::Note, &[name]);
}

#[test]
fn rules_that_the_kernel_refuses_are_found() {
    let found = plant(Id::Plan, |facts| {
        facts.rules.plan = Some(Tried::Refused("no such thing".to_owned()))
    });
    expect(&found, Status::Problem, &["no such thing"]);
}

#[test]
fn a_rule_that_ends_invalid_packets_is_a_problem_only_while_there_are_some() {
    let ending = |facts: &mut Facts| {
        facts.rules.nft = Ok(Doing {
            invalid: vec![Ending {
                rule: "inet filter input, rule handle 7".to_owned(),
                resets: true,
            }],
            ..Doing::default()
        });
    };
    expect(
        &plant(Id::InvalidRules, ending),
        Status::Note,
        &["resets", "handle 7"],
    );
    let rising = plant(Id::InvalidRules, |facts| {
        ending(facts);
        let invalid = Counted { total: 9, more: 2 };
        facts.conntrack.counts = Ok(Counts {
            invalid,
            ..Counts::default()
        });
    });
    expect(&rising, Status::Problem, &["handle 7"]);
}

#[test]
fn what_is_not_known_is_neither_well_nor_ill() {
    let mut facts = sound();
    let why = || "Operation not permitted".to_owned();
    facts.rules.nft = Err(why());
    facts.rules.own = Err(why());
    facts.rules.legacy = Some(Err(why()));
    facts.rules.policy = Err(why());
    facts.rules.collisions = Err(why());
    facts.rules.survey = Some(Err(why()));
    facts.conntrack.counts = Err(why());
    facts.conntrack.entries = None;
    facts.reverse_path_drops = Err(why());
    facts.links = Err(why());
    facts.settings = Settings::default();
    facts.process.net_admin = false;
    let report = judge(&facts);
    let unseen: BTreeSet<Id> = report.unseen.iter().map(|one| one.id).collect();
    let seen: BTreeSet<Id> = report.findings.iter().map(|one| one.id).collect();
    // A host without IPv4 or bridges has no such setting, and that is known.
    let known = [
        Id::IpForward,
        Id::IpForwardV6,
        Id::BridgeNetfilter,
        Id::Dnat,
        Id::Notrack,
        Id::Forward,
    ];
    let both: Vec<_> = unseen
        .intersection(&seen)
        .filter(|id| !known.contains(id))
        .collect();
    assert_eq!(both, Vec::<&Id>::new());
    for id in [
        Id::InvalidRules,
        Id::Dnat,
        Id::Mark,
        Id::FailClosed,
        Id::Leftovers,
        Id::ConntrackInvalid,
        Id::Mtu,
        Id::TcpSack,
        Id::RpFilter,
        Id::PipePages,
        Id::Capabilities,
        Id::Input,
    ] {
        assert!(unseen.contains(&id), "{id:?} in {unseen:?}");
        assert!(!seen.contains(&id), "{id:?} in {seen:?}");
    }
    assert!(
        report
            .unseen
            .iter()
            .all(|one| one.sentence.starts_with("not seen without root: "))
    );
}

#[test]
fn a_relay_that_starts_warns_of_what_the_doctor_finds_and_of_nothing_else() {
    assert_eq!(warnings(&sound().settings, gateway()), [""; 0]);
    for (setting, value) in [
        ("net.ipv4.ip_forward", "0"),
        ("net.ipv6.conf.all.forwarding", "0"),
        ("net.ipv4.conf.all.src_valid_mark", "1"),
        ("net.ipv4.tcp_fwmark_accept", "1"),
        ("net.ipv4.tcp_window_scaling", "0"),
    ] {
        let mut settings = sound().settings;
        settings.set(setting, value);
        let told = warnings(&settings, gateway());
        assert_eq!(told.len(), 1, "{setting}: {told:?}");
        assert!(
            told[0].starts_with(&format!("{setting} is {value}: ")),
            "{told:?}"
        );
        assert!(told[0].contains("sysctl -w"), "{told:?}");
    }
}

// === schema and document ===

#[test]
fn the_schema_that_is_checked_in_is_that_of_what_is_printed() {
    let schema = admin::schema::<Report>();
    let current = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    checked_in::is_current("docs/doctor.schema.json", &current, "doctor_facts");
    let schema: Value = serde_json::from_str(&current).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut ill = sound();
    ill.settings.set("net.ipv4.tcp_sack", "0");
    ill.links = Err("no ip".to_owned());
    for facts in [sound(), ill] {
        let report = serde_json::to_value(judge(&facts)).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&report)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(errors, [""; 0], "{report}");
    }
    let mut strange = serde_json::to_value(judge(&sound())).unwrap();
    strange["findings"][0]["id"] = "no-such-id".into();
    assert!(!validator.is_valid(&strange), "an id that is none passes");
}

#[test]
fn the_document_has_a_row_for_every_finding_and_for_no_other() {
    let part = DOCUMENT
        .split("\n### Every finding\n")
        .nth(1)
        .expect("the heading");
    let part = part.split("\n## ").next().unwrap();
    let rows: Vec<&str> = part
        .lines()
        .filter_map(|row| row.strip_prefix("| `"))
        .collect();
    let names: BTreeSet<&str> = rows
        .iter()
        .map(|row| row.split('`').next().unwrap())
        .collect();
    let known: BTreeSet<&str> = Id::ALL.iter().map(|id| id.name()).collect();
    assert_eq!(names, known);
    assert_eq!(rows.len(), known.len(), "each stands once");
    for row in rows {
        let cells: Vec<_> = row.trim_end_matches('|').split(" | ").collect();
        assert_eq!(cells.len(), 3, "name, meaning and remedy: {row}");
        assert!(cells.iter().all(|cell| cell.trim().len() > 2), "{row}");
    }
}
