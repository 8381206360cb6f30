//! The units under a real systemd.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use site::Site;
use site::machine::Machine;
use unmangle::lab::Role;

#[test]
fn a_machine_boots_and_runs_the_relay() {
    let Some(site) = Site::put_up() else { return };
    let machine = Machine::boot(site.lab.host(Role::Relay));
    machine.install_unmangle();
    assert!(
        machine
            .run("unmangle", &["--version"])
            .starts_with("unmangle ")
    );
}
