//! `--host-tuning apply`: the settings are on every host, and gone again where they are not wanted.

mod site;

use site::{UNMANGLE, possible};
use unmangle::lab::{HostTuning, Lab, Role};

/// tcp_no_metrics_save and tcp_max_reordering of every host.
fn settings(lab: &Lab) -> [String; 3] {
    Role::ALL.map(|role| {
        let keys = [
            "/proc/sys/net/ipv4/tcp_no_metrics_save",
            "/proc/sys/net/ipv4/tcp_max_reordering",
        ];
        lab.host(role).run("cat", &keys).unwrap()
    })
}

#[test]
fn hosts_are_tuned_as_long_as_they_should_be_and_are_then_what_they_were() {
    if !possible() {
        return;
    }
    let mut lab = Lab::builder().unmangle(UNMANGLE).start().unwrap();
    let before = settings(&lab);
    assert!(before.iter().all(|host| host != "1\n3\n"), "{before:?}");
    for _ in 0..2 {
        lab.tune(HostTuning::Apply).unwrap();
        assert!(settings(&lab).iter().all(|host| host == "1\n3\n"));
    }
    for _ in 0..2 {
        lab.tune(HostTuning::None).unwrap();
        assert_eq!(settings(&lab), before);
    }
}
