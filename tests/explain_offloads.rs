//! Connection tracking sees segments longer than any packet on a wire, because cards and kernels cut and join
//! them; the model judges them as the kernel does.
//!
//! These tests need root, and without it are skipped except in CI.

mod site;

use std::thread;
use std::time::Duration;

use unmangle::diagnose::tracking::{Segment, Table};
use unmangle::lab::{Family, OpenedFrom, Role};

use site::tracked::{Ear, Told, modelled, running};
use site::{FAMILIES, Site, carry, pattern, talk, until};

/// Bytes each way.
const BYTES: usize = 24 << 20;
/// The MTU of both wires.
const MTU: usize = 1500;

#[test]
fn segments_over_the_mtu_are_judged_as_by_the_kernel() {
    let Some(site) = Site::put_up() else { return };
    for role in [Role::Client, Role::Server] {
        let mut ear = Ear::at(site.lab.host(role), &["prerouting", "output"]);
        for family in FAMILIES {
            let told = transfer(&site, family, &mut ear);
            judge(&told, &format!("{role} {family:?}"));
        }
    }
}

/// Carries bytes to and fro, and hears what the host says of every packet, in its own order.
fn transfer(site: &Site, family: Family, ear: &mut Ear) -> Vec<Told> {
    let mut told = Vec::new();
    thread::scope(|scope| {
        let talks = scope.spawn(|| {
            let pair = site.connect(OpenedFrom::Client, family);
            let bytes = pattern(1, BYTES);
            carry(&pair.client, &pair.server, &bytes);
            carry(&pair.server, &pair.client, &bytes);
            talk(&pair);
        });
        while !talks.is_finished() {
            told.extend(ear.hear());
            thread::sleep(Duration::from_micros(100));
        }
        talks.join().unwrap();
    });
    // Both have closed; four FINs and ACKs are on their way.
    let closes = |told: &Told| Segment::parse(&told.packet, 0).unwrap().flags.0 & 1 != 0;
    until("both ends close", site::PATIENCE, || {
        told.extend(ear.hear());
        told.iter().filter(|told| closes(told)).count() >= 2
    });
    told
}

/// The model says of every packet what the kernel has said.
fn judge(told: &[Told], what: &str) {
    let settings = running();
    let kernel = settings.kernel;
    let mut table = Table::new(settings);
    let mut long = 0;
    for (nth, Told { word, packet }) in told.iter().enumerate() {
        let segment = Segment::parse(packet, packet.len()).unwrap();
        long += usize::from(segment.payload as usize > MTU);
        let seen = table.see(Duration::ZERO, &segment);
        let of_model = modelled(&seen.verdict, seen.way, kernel);
        assert_eq!(*word, of_model, "{what}: packet {nth}: {seen:?}");
        assert!(word.way.is_some(), "{what}: packet {nth}: {seen:?}");
    }
    println!("{what}: {} packets, {long} over the MTU", told.len());
    assert!(long > 100, "{what}: {long} of {} over the MTU", told.len());
}
