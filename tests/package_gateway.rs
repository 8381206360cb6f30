//! The Debian package as a gateway: by its own unit and its own configuration file it carries what a PIX breaks, and a
//! newer package takes its place while bytes are on their way.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use unmangle::lab::matrix::{Case, Strict};
use unmangle::lab::scenario::Between;
use unmangle::lab::{Family, Invalid, Joined, Lab, OpenedFrom, Role, scenario, wire};

use site::machine::Machine;
use site::package::{Package, install};
use site::{PATIENCE, Site, Way, asked, inside, possible, talk, until, web};

/// The port of the strict hosts' filters that is not sshd's.
const EXCHANGES: u16 = 873;
/// What is in the file that the package brings, once somebody has filled it in.
const CONFIG: &str = r#"
admin = ["/run/unmangle/admin.sock", "127.0.0.1:9184"]

[[listener]]
name = "backups"
intercept = [22, 873]
mangled-side = "fw0"
profile = "cisco-pix"
"#;
/// Counts what goes by the relay: TCP that is forwarded.
const WATCH: &str = "table inet watch { chain forward { type filter hook forward priority -190; \
                     meta l4proto tcp counter comment \"unrelayed\"; }; }";

/// A lab whose relay host is a machine of its own, with the package installed, configured and started.
struct Gateway {
    machine: Machine,
    site: Site,
    package: Package,
}

// === impl Gateway ===

impl Gateway {
    /// `rate` is what the long leg carries, in bit/s.
    fn put_up(payload: u64, rate: Option<u64>) -> Option<Self> {
        if !possible() {
            return None;
        }
        let long_leg = wire::Direction {
            rate_bits_per_s: rate,
            ..wire::Direction::default()
        };
        let lab = Lab::builder()
            .unmangle(site::UNMANGLE)
            .firewall(Joined::wire(
                scenario::find("pix").unwrap().firewall.clone(),
            ))
            .long_leg(Joined::wire(Between::both(long_leg)))
            .strict(Strict::Both)
            .sshd_on(Role::Server)
            .payload(payload)
            .start()
            .unwrap();
        lab.relay().feed("nft", &["-f", "-"], WATCH).unwrap();
        let machine = Machine::boot(lab.relay());
        machine.run("systemctl", &["disable", "--now", "firewalld", "ufw"]);
        let package = Package::make();
        install(&machine, &package.first);
        machine.write("/etc/unmangle/unmangle.toml", CONFIG);
        machine.run("systemctl", &["enable", "--now", "unmangle"]);
        let way = Way::splice();
        Some(Self {
            machine,
            site: Site { lab, way },
            package,
        })
    }

    /// Sees that the payload has arrived, that nothing was INVALID, and that nothing went by the relay.
    fn has_carried(&self) {
        let lab = &self.site.lab;
        let payload = lab.payload().unwrap();
        assert!(payload.equals(&lab.received()), "the file differs");
        assert_eq!(lab.invalid().unwrap(), Invalid::default());
        let watched = lab.relay().run("nft", &["list", "table", "inet", "watch"]);
        let watched = watched.unwrap();
        assert!(watched.contains("packets 0 bytes 0"), "{watched}");
    }

    /// The process of the unit.
    fn pid(&self) -> u32 {
        let pid = self.machine.property("unmangle", "MainPID");
        pid.parse().unwrap()
    }

    /// How many connections were accepted, by all processes that relayed.
    fn accepted(&self) -> u64 {
        let admin = (Ipv4Addr::LOCALHOST, 9184).into();
        let stream = inside(self.site.lab.relay(), || web::tcp(admin)).unwrap();
        let metrics = asked::ask(stream, "GET /metrics", "").body;
        let accepted = |line: &str| {
            let count =
                line.strip_prefix("unmangle_connections_accepted_total{listener=\"backups\"} ")?;
            count.parse().ok()
        };
        metrics.lines().find_map(accepted).unwrap()
    }
}

fn ended(scp: &mut std::process::Child, within: Duration) {
    let mut status = None;
    until("scp ends", within, || {
        status = scp.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success(), "{status:?}");
}

#[test]
fn the_package_carries_a_pix_by_its_own_unit_and_file() {
    let Some(gateway) = Gateway::put_up(30_000_000, None) else {
        return;
    };
    let pix = scenario::find("pix").unwrap();
    let mut scp = gateway
        .site
        .lab
        .errand(&Case::relayed(pix))
        .spawn()
        .unwrap();
    ended(&mut scp, Duration::from_secs(60));
    gateway.has_carried();
    assert_eq!(gateway.machine.property("unmangle", "User"), "unmangle");
    gateway.machine.run("systemctl", &["stop", "unmangle"]);
    assert!(!gateway.site.has_table());
}

#[test]
fn a_newer_package_takes_over_a_running_scp_and_a_loop_of_exchanges() {
    // Some seconds of it.
    let Some(gateway) = Gateway::put_up(60_000_000, Some(100_000_000)) else {
        return;
    };
    let (site, machine) = (&gateway.site, &gateway.machine);
    let newer = ["0.1.0-2", "0.1.0-3"].map(|version| gateway.package.later(version, ":"));
    let server = (Role::Server.address(Family::V4), EXCHANGES).into();
    let listener = site.listen_at(Role::Server, server);
    let pix = scenario::find("pix").unwrap();
    let mut scp = site.lab.errand(&Case::relayed(pix)).spawn().unwrap();
    let arrived = || std::fs::metadata(site.lab.received()).map_or(0, |file| file.len());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let exchanges = scope.spawn(|| {
            let mut done = 0_u64;
            while !over.load(Ordering::Relaxed) {
                talk(&site.connect_to(&listener, OpenedFrom::Client));
                done += 1;
            }
            done
        });
        until("bytes arrive", PATIENCE, || arrived() > 1_000_000);
        for package in &newer {
            let before = gateway.pid();
            install(machine, package);
            let after = gateway.pid();
            assert_ne!(before, after, "{}", machine.journal("unmangle"));
            let then = arrived();
            until("bytes go on", PATIENCE, || arrived() > then);
            assert!(scp.try_wait().unwrap().is_none(), "scp was too quick");
        }
        ended(&mut scp, Duration::from_secs(60));
        over.store(true, Ordering::Relaxed);
        let exchanges = exchanges.join().unwrap();
        assert!(exchanges > 20, "{exchanges} exchanges");
        // The scp, and each exchange, was a session.
        assert_eq!(gateway.accepted(), exchanges + 1);
    });
    gateway.has_carried();
    assert_eq!(machine.property("unmangle", "ActiveState"), "active");
    assert_eq!(machine.property("unmangle", "NRestarts"), "0");
}
