//! The wire between two real namespaces: what only a kernel can say. These need root.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::counters::Counters;
use super::*;

/// Two hosts with a wire between them, which is carried by a thread until the hosts are dropped.
struct Hosts {
    a: Namespace,
    b: Namespace,
    stop: OwnedFd,
    carrier: Option<thread::JoinHandle<PerHeading<Counters>>>,
}

/// A network namespace that is deleted when dropped.
struct Namespace(String);

impl Hosts {
    /// `None` without root, which is an error where tests are automated.
    fn connect(test: &str, a_to_b: Direction, b_to_a: Direction) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "this test needs root");
            eprintln!("skipped: this test needs root");
            return None;
        }
        let [a, b] = ["a", "b"].map(|end| Namespace::add(test, end));
        let end = |namespace: &Namespace| End {
            netns: namespace.0.clone(),
            device: "wire".into(),
            mtu: 1500,
        };
        let spec = WireSpec {
            seed: 1,
            a: end(&a),
            b: end(&b),
            a_to_b,
            b_to_a,
        };
        let mut wire = Wire::open(&spec).unwrap();
        a.add_addresses(1);
        b.add_addresses(2);
        let stop = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let stop_carrier = stop.try_clone().unwrap();
        let carrier = thread::spawn(move || {
            wire.carry(stop_carrier.as_fd()).unwrap();
            wire.counters().unwrap()
        });
        Some(Self {
            a,
            b,
            stop,
            carrier: Some(carrier),
        })
    }

    /// Whether a ping from `a` to `b` with this much payload is answered.
    fn ping(&self, to: &str, size: u32) -> bool {
        let command = format!("ping -n -c 1 -W 1 -M do -s {size} {to}");
        let output = self.a.command(&command).output().unwrap();
        output.status.success()
    }

    /// Takes the wire down and reports.
    fn stop(&mut self) -> PerHeading<Counters> {
        rustix::io::write(&self.stop, &1u64.to_ne_bytes()).unwrap();
        self.carrier.take().unwrap().join().unwrap()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if self.carrier.is_some() {
            self.stop();
        }
    }
}

impl Namespace {
    fn add(test: &str, end: &str) -> Self {
        let name = format!("um-wire-{}-{test}-{end}", std::process::id());
        ip(&format!("netns add {name}"));
        Self(name)
    }

    fn add_addresses(&self, host: u8) {
        ip(&format!(
            "-n {} addr add 10.99.0.{host}/24 dev wire",
            self.0
        ));
        ip(&format!(
            "-n {} addr add fd99::{host}/64 dev wire nodad",
            self.0
        ));
    }

    fn command(&self, command: &str) -> Command {
        let mut words = command.split(' ');
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.0]).args(&mut words);
        inside
    }

    /// Runs `f` on a thread inside.
    fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let namespace = std::fs::File::open(format!("/run/netns/{}", self.0)).unwrap();
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .unwrap();
                f()
            });
            inside.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.0));
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split(' '))
        .status()
        .unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Sends bytes from `a` to `b`, half-closes, and returns what came back: their sum and count.
fn upload(hosts: &Hosts, to: &str, bytes: usize) -> (u64, usize) {
    let address: IpAddr = to.parse().unwrap();
    let listener = hosts.b.inside(|| TcpListener::bind((address, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    let mut client = hosts
        .a
        .inside(|| TcpStream::connect((address, port)).unwrap());
    // A stalled transfer fails the test instead of hanging it.
    let patience = Some(Duration::from_secs(20));
    client.set_read_timeout(patience).unwrap();
    client.set_write_timeout(patience).unwrap();
    let server = thread::spawn(move || {
        let mut received = Vec::new();
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(patience).unwrap();
        stream.read_to_end(&mut received).unwrap();
        let sum: u64 = received.iter().map(|byte| u64::from(*byte)).sum();
        stream.write_all(&sum.to_be_bytes()).unwrap();
        received.len()
    });
    let data: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
    client.write_all(&data).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = [0; 8];
    client.read_exact(&mut answer).unwrap();
    (u64::from_be_bytes(answer), server.join().unwrap())
}

#[test]
fn hosts_reach_each_other_over_both_families_and_nothing_is_lost() {
    let Some(mut hosts) = Hosts::connect("plain", Direction::default(), Direction::default())
    else {
        return;
    };
    for to in ["10.99.0.2", "fd99::2"] {
        assert!(hosts.ping(to, 56), "{to}");
        assert_eq!(upload(&hosts, to, 8 << 20).1, 8 << 20);
    }
    let counters = hosts.stop();
    for heading in Heading::BOTH {
        let counters = counters[heading];
        assert_eq!(
            (counters.lost.total(), counters.overrun),
            (0, Default::default()),
            "{counters:?}"
        );
        assert_eq!(counters.packets, counters.delivered);
    }
}

#[test]
fn a_transfer_survives_randomised_sequence_numbers_and_a_lossy_slow_wire() {
    let faulty = Direction {
        isn: Some(Isn {
            translate_sack: true,
        }),
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(1),
        loss: 0.003,
        duplicate: 0.01,
        corrupt: 0.003,
        reorder: 0.01,
        reorder_by: Duration::from_millis(1),
        rate_bits_per_s: Some(400_000_000),
        ..Direction::default()
    };
    let Some(mut hosts) = Hosts::connect("faulty", faulty.clone(), faulty) else {
        return;
    };
    let expected: u64 = (0..2u64 << 20).map(|i| i % 251).sum();
    for to in ["10.99.0.2", "fd99::2"] {
        assert_eq!(upload(&hosts, to, 2 << 20), (expected, 2 << 20));
    }
    let counters = hosts.stop();
    assert_eq!(counters.a_to_b.overrun, Default::default());
    assert!(counters.a_to_b.duplicated > 0 && counters.a_to_b.corrupted > 0);
}

#[test]
fn a_transfer_survives_everything_that_a_firewall_rewrites() {
    let meddling = Direction {
        isn: Some(Isn {
            translate_sack: true,
        }),
        window_scale: WindowScale::Strip,
        mss: Some(536),
        strip_sack_permitted: true,
        strip_sack: true,
        strip_timestamps: true,
        unknown_options: UnknownOptions::Strip,
        refuse_ecn: true,
        clear_urgent: true,
        window: Some(8_000),
        dscp: Some(46),
        bleach_ecn: true,
        ..Direction::default()
    };
    let Some(mut hosts) = Hosts::connect("meddle", meddling.clone(), meddling) else {
        return;
    };
    let expected: u64 = (0..2u64 << 20).map(|i| i % 251).sum();
    for to in ["10.99.0.2", "fd99::2"] {
        assert_eq!(upload(&hosts, to, 2 << 20), (expected, 2 << 20));
    }
    let counters = hosts.stop().a_to_b;
    assert_eq!(
        (counters.lost.total(), counters.overrun),
        (0, Default::default())
    );
    // Had the MSS passed, there would be a third of them.
    assert!(counters.packets > 2 * (2 << 20) / 536, "{counters:?}");
}

#[test]
fn a_real_ping_of_993_bytes_is_lost_and_992_passes() {
    let pix = Direction {
        oversize: vec![Oversize {
            protocol: Protocol::Icmp,
            above: 1020,
            action: OversizeAction::Drop,
            probability: 1.0,
        }],
        ..Direction::default()
    };
    let Some(hosts) = Hosts::connect("pix", pix.clone(), pix) else {
        return;
    };
    assert!(hosts.ping("10.99.0.2", 992));
    assert!(!hosts.ping("10.99.0.2", 993));
}

#[test]
fn a_sender_told_that_packets_are_too_big_sends_smaller_ones() {
    let narrow = Direction {
        isn: Some(Isn {
            translate_sack: false,
        }),
        oversize: vec![Oversize {
            protocol: Protocol::Tcp,
            above: 1300,
            action: OversizeAction::TooBig,
            probability: 1.0,
        }],
        ..Direction::default()
    };
    let Some(mut hosts) = Hosts::connect("mtu", narrow, Direction::default()) else {
        return;
    };
    for to in ["10.99.0.2", "fd99::2"] {
        assert_eq!(upload(&hosts, to, 1 << 20).1, 1 << 20);
    }
    assert!(hosts.stop().a_to_b.answered_too_big > 0);
}

#[test]
fn an_icmp_error_from_beyond_the_firewall_reaches_the_sender_who_believes_it() {
    let isn = Direction {
        isn: Some(Isn {
            translate_sack: false,
        }),
        ..Direction::default()
    };
    let Some(mut hosts) = Hosts::connect("beyond", isn.clone(), isn) else {
        return;
    };
    // The far host routes to a third address over a narrow link; that address is its own, on a
    // second device, and the packets are too big for the way there.
    let far = &hosts.b;
    let inner = Namespace::add("beyond", "c");
    ip(&format!(
        "-n {} link add far type veth peer name far netns {}",
        far.0, inner.0
    ));
    for (namespace, host) in [(far, 1), (&inner, 2)] {
        ip(&format!(
            "-n {} addr add 10.98.0.{host}/24 dev far",
            namespace.0
        ));
        ip(&format!(
            "-n {} addr add fd98::{host}/64 dev far nodad",
            namespace.0
        ));
        ip(&format!("-n {} link set far up", namespace.0));
    }
    ip(&format!("-n {} link set far mtu 1400", far.0));
    assert!(
        far.command("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
            .status()
            .unwrap()
            .success()
    );
    for (route, via) in [("10.98.0.0/24", "10.99.0.2"), ("fd98::/64", "fd99::2")] {
        ip(&format!(
            "-n {} route add {route} via {via} dev wire",
            hosts.a.0
        ));
    }
    for (route, via) in [("10.99.0.0/24", "10.98.0.1"), ("fd99::/64", "fd98::1")] {
        ip(&format!(
            "-n {} route add {route} via {via} dev far",
            inner.0
        ));
    }
    let beyond = std::mem::replace(&mut hosts.b, inner);
    for to in ["10.98.0.2", "fd98::2"] {
        assert_eq!(upload(&hosts, to, 1 << 20).1, 1 << 20, "{to}");
    }
    let learnt = hosts.a.command("ip route get 10.98.0.2").output().unwrap();
    assert!(String::from_utf8_lossy(&learnt.stdout).contains("mtu 1400"));
    drop(beyond);
}
