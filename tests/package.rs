//! The Debian package on a Debian that boots: installed, configured, upgraded under a session, removed and purged.
//!
//! It holds this test's own program. These tests need root, and without it are skipped except in CI.

mod site;

use site::machine::Machine;
use site::package::{Package, dpkg, install, said};
use site::{FAMILIES, PATIENCE, Site, talk, until};
use std::collections::BTreeSet;
use unmangle::lab::{OpenedFrom, Role};

const UNIT: &str = "unmangle.service";
const CONFIG: &str = "/etc/unmangle/unmangle.toml";
const DROP_INS: &str = "/etc/systemd/system/unmangle.service.d";
const GATEWAY: &str =
    "[[listener]]\nmangled-side = \"fw0\"\nintercept = [22]\nprofile = \"cisco-pix\"\n";

/// A machine on the relay's host that filters nothing.
fn boot(site: &Site) -> Machine {
    let machine = Machine::boot(site.lab.host(Role::Relay));
    machine.run("systemctl", &["disable", "--now", "firewalld", "ufw"]);
    machine
}

#[track_caller]
fn start(machine: &Machine) {
    let started = machine.output("systemctl", &["start", "unmangle"]);
    assert!(started.status.success(), "{}", machine.journal(UNIT));
}

/// What a package could leave behind.
fn traces(machine: &Machine) -> String {
    const LOOK: &str = "find / -xdev \\( -path /var/lib/dpkg -o -path /var/cache -o -path /var/log/journal -o -path /tmp \
                        -o -path /proc -o -path /mnt \\) -prune -o -print | grep -v '^/etc/.*-$' | sort; \
                        find /run -name '*unmangle*'; getent passwd; getent group; nft list tables; ip rule; \
                        systemctl list-unit-files --no-legend 'unmangle*' || true";
    machine.run("sh", &["-c", LOOK])
}

#[test]
fn a_package_is_installed_configured_upgraded_under_a_session_and_purged() {
    let Some(site) = Site::put_up() else { return };
    let package = Package::make();
    let machine = boot(&site);
    let before = traces(&machine);

    // Installed, it does nothing.
    let told = install(&machine, &package.first);
    assert!(told.contains("systemctl enable --now unmangle"), "{told}");
    assert_eq!(machine.property(UNIT, "ActiveState"), "inactive");
    assert_eq!(machine.property(UNIT, "UnitFileState"), "disabled");
    assert!(
        !machine
            .output("systemctl", &["start", "unmangle"])
            .status
            .success()
    );
    let journal = machine.journal(UNIT);
    assert!(journal.contains("nothing is configured yet"), "{journal}");
    machine.run("systemctl", &["stop", "unmangle"]);

    // Configured, it relays.
    machine.write(CONFIG, GATEWAY);
    machine.run("systemctl", &["enable", "unmangle"]);
    start(&machine);
    let pair = site.connect(OpenedFrom::Client, FAMILIES[0]);
    talk(&pair);

    // Upgraded, its sessions go over, and what the user has written stays.
    let old = machine.property(UNIT, "MainPID");
    let told = install(&machine, &package.later("0.1.0-2", ":"));
    assert!(told.contains("moved 1 session to process "), "{told}");
    until("the unit has another main process", PATIENCE, || {
        machine.property(UNIT, "MainPID") != old
    });
    assert_eq!(machine.property(UNIT, "ActiveState"), "active");
    assert_eq!(machine.property(UNIT, "NRestarts"), "0");
    talk(&pair);
    let changed = package.later("0.1.0-3", "echo '# new' >> etc/unmangle/unmangle.toml");
    install(&machine, &changed);
    assert_eq!(machine.run("cat", &[CONFIG]), GATEWAY);
    talk(&pair);
    drop(pair);

    // Removed, it is stopped, and its settings are kept; installed again, it is as it was.
    said(&dpkg(&machine, &["-r", "unmangle"]));
    let tables = machine.run("nft", &["list", "tables"]);
    assert!(!tables.contains("unmangle"), "{tables}");
    assert_eq!(machine.run("cat", &[CONFIG]), GATEWAY);
    install(&machine, &changed);
    start(&machine);
    talk(&site.connect(OpenedFrom::Server, FAMILIES[1]));

    // Who was let in to ask the relay, a drop-in and a log do not keep it from being purged.
    machine.run("adduser", &["--quiet", "nobody", "unmangle"]);
    machine.run("mkdir", &["-p", DROP_INS, "/var/log/unmangle"]);
    machine.write(&format!("{DROP_INS}/own.conf"), "[Service]\n");
    machine.write("/var/log/unmangle/latency.hlog", "");
    said(&dpkg(&machine, &["-P", "unmangle"]));
    let after = traces(&machine);
    let before: BTreeSet<_> = before.lines().collect();
    let new: Vec<_> = after
        .lines()
        .filter(|line| !before.contains(line))
        .collect();
    assert!(new.is_empty(), "{new:#?}");
}

#[test]
fn a_relay_that_cannot_be_handed_over_goes_on_and_that_is_said() {
    let Some(site) = Site::put_up() else { return };
    let package = Package::make();
    let machine = boot(&site);
    install(&machine, &package.first);
    machine.write(CONFIG, &format!("{GATEWAY}answer = \"after-connect\"\n"));
    start(&machine);
    let pair = site.connect(OpenedFrom::Client, FAMILIES[0]);
    talk(&pair);
    let old = machine.property(UNIT, "MainPID");
    let told = install(&machine, &package.later("0.1.0-2", ":"));
    assert!(
        told.contains("goes on as the version that it was"),
        "{told}"
    );
    assert_eq!(machine.property(UNIT, "MainPID"), old);
    talk(&pair);
}
