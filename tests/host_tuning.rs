//! Host tuning never drifts: whatever ends the relay, the host's own values come back.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use unmangle::config::Strip;
use unmangle::rules::tuning;

use site::{Site, UNMANGLE, inside};

const SAVE: &str = "net/ipv4/tcp_no_metrics_save";
const REORDERING: &str = "net/ipv4/tcp_max_reordering";

fn values(site: &Site) -> [String; 2] {
    [SAVE, REORDERING].map(|name| {
        let path = format!("/proc/sys/{name}");
        site.lab
            .relay()
            .run("cat", &[&path])
            .unwrap()
            .trim()
            .to_owned()
    })
}

fn apply(site: &Site) -> tuning::Tuned {
    let without_sack = Strip {
        sack_permitted: true,
        ..Strip::default()
    };
    let tuned = inside(site.lab.relay(), || {
        tuning::apply(tuning::plan(&[without_sack]))
    });
    let tuned = tuned.unwrap();
    assert!(tuned.refused.is_empty(), "{tuned:?}");
    tuned
}

#[test]
fn the_hosts_own_values_come_back_after_an_orderly_end() {
    let Some(site) = Site::put_up() else { return };
    site.lab
        .relay()
        .set(&[(SAVE, "0"), (REORDERING, "127")])
        .unwrap();
    let tuned = apply(&site);
    assert_eq!(values(&site), ["1", "3"]);
    inside(site.lab.relay(), || tuned.restore());
    assert_eq!(values(&site), ["0", "127"]);
}

#[test]
fn the_hosts_own_values_come_back_after_any_number_of_crashes() {
    let Some(site) = Site::put_up() else { return };
    site.lab
        .relay()
        .set(&[(SAVE, "0"), (REORDERING, "127")])
        .unwrap();
    for _ in 0..3 {
        // Whoever was killed restored nothing.
        drop(apply(&site));
        assert_eq!(values(&site), ["1", "3"]);
    }
    let tuned = apply(&site);
    inside(site.lab.relay(), || tuned.restore());
    assert_eq!(values(&site), ["0", "127"]);
}

#[test]
fn what_a_crash_left_is_restored_by_hand_too() {
    let Some(site) = Site::put_up() else { return };
    site.lab
        .relay()
        .set(&[(SAVE, "0"), (REORDERING, "127")])
        .unwrap();
    drop(apply(&site));
    let said = site
        .lab
        .relay()
        .run(UNMANGLE, &["rules", "--remove"])
        .unwrap();
    assert!(
        said.contains("net.ipv4.tcp_max_reordering = 3 (now 127)"),
        "{said}"
    );
    assert_eq!(values(&site), ["0", "127"]);
}

#[test]
fn a_value_that_somebody_else_has_changed_since_is_left_alone() {
    let Some(site) = Site::put_up() else { return };
    site.lab
        .relay()
        .set(&[(SAVE, "0"), (REORDERING, "127")])
        .unwrap();
    let tuned = apply(&site);
    site.lab.relay().set(&[(REORDERING, "50")]).unwrap();
    inside(site.lab.relay(), || tuned.restore());
    assert_eq!(values(&site), ["0", "50"]);
}
