//! Sweeps of a modelled path, in virtual time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::came::{self, Came};
use super::judge::{Unanswered, judge};
use super::network::{Broken, Fate, Network};
use super::search::Between;
use super::seen::{Cliff, Harm, Open, Sack, Seen, Sizes, Target, Tcp};
use super::told::Id;
use crate::packet::craft::{Carried, Echo, Segment};
use crate::packet::{Flags, Ip, Tcp as TcpHeader};

const HOST: [u8; 4] = [10, 0, 0, 2];

/// A path, and the host at its end.
struct Model {
    now: Duration,
    dice: StdRng,
    under_way: Vec<(Duration, Vec<u8>)>,
    /// Of every flow, the range that its host holds.
    held: HashMap<u16, (u32, u32)>,
    sent: u64,
    ports: u16,
    round_trip: Duration,
    /// What is lost of everything.
    loss: f64,
    /// Above so many bytes this much is lost.
    cliff: (usize, f64),
    /// Sequence numbers are this much higher at the host.
    shift: u32,
    /// Only pings fall from the cliff.
    pings_alone: bool,
    port_is_open: bool,
    answers_pings: bool,
}

impl Model {
    fn of(seed: u64, cliff: (usize, f64)) -> Self {
        Self {
            now: Duration::ZERO,
            dice: StdRng::seed_from_u64(seed),
            under_way: Vec::new(),
            held: HashMap::new(),
            sent: 0,
            ports: 0,
            round_trip: Duration::from_millis(12),
            loss: 0.0,
            cliff,
            shift: 0,
            pings_alone: false,
            port_is_open: true,
            answers_pings: true,
        }
    }

    fn sweep(&mut self) -> Seen {
        let target = Target {
            own: [10, 0, 0, 1].into(),
            host: HOST.into(),
            port: 22,
            longest: 1500,
        };
        let seen = super::sweep(self, target, |_| {}).unwrap();
        assert!(seen.took < Duration::from_secs(60), "{:?}", seen.took);
        assert!(self.sent < 25_000_000, "{} bytes", self.sent);
        seen
    }

    fn answer(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let ip = Ip::parse(packet).unwrap();
        if ip.is_icmp() {
            let echo = Echo {
                source: ip.destination,
                destination: ip.source,
                carried: Carried::default(),
                reply: true,
                identifier: u16::from_be_bytes([packet[24], packet[25]]),
                sequence: u16::from_be_bytes([packet[26], packet[27]]),
                payload: packet[28..].to_vec(),
            };
            return self.answers_pings.then(|| echo.build());
        }
        let Some(Came::Segment(segment)) = came::read(packet) else {
            panic!("what else is sent?");
        };
        let tcp = TcpHeader::parse(&packet[ip.payload..]).unwrap();
        let mut reply = Segment {
            source: (ip.destination, segment.destination_port).into(),
            destination: (ip.source, segment.source_port).into(),
            carried: Carried::default(),
            sequence: 7001,
            acknowledgement: segment.sequence.wrapping_add(1),
            flags: Flags::ACK,
            window: 64_000,
            urgent: 0,
            options: Vec::new(),
            payload: Vec::new(),
        };
        if segment.flags.has(Flags::SYN) {
            if !self.port_is_open {
                reply.flags = Flags::RST | Flags::ACK;
                return Some(reply.build());
            }
            self.held.remove(&segment.source_port);
            reply.flags = Flags::SYN | Flags::ACK;
            reply.sequence = 7000;
            reply.options = vec![2, 4, 5, 180];
            if tcp.options().count() > 1 {
                reply.options.extend([4, 2, 1, 3, 3, 7, 1, 1]);
            }
            return Some(reply.build());
        }
        if segment.payload == 0 {
            return None;
        }
        reply.acknowledgement = segment.sequence.wrapping_sub(1);
        let end = segment.sequence.wrapping_add(segment.payload as u32);
        let held = self.held.entry(segment.source_port);
        let held = held.or_insert((segment.sequence, end));
        held.1 = held.1.max(end);
        reply.options = vec![1, 1, 5, 10];
        for edge in [held.0, held.1] {
            let edge = edge.wrapping_add(self.shift);
            reply.options.extend(edge.to_be_bytes());
        }
        Some(reply.build())
    }

    fn lost(&mut self, size: usize) -> bool {
        self.dice.random_bool(self.loss)
            || size > self.cliff.0 && self.dice.random_bool(self.cliff.1)
    }
}

impl Network for Model {
    fn now(&self) -> Duration {
        self.now
    }

    fn send(&mut self, packet: &[u8]) -> Result<Fate, Broken> {
        self.sent += packet.len() as u64;
        let is_spared = self.pings_alone && packet[9] == 6;
        if (is_spared || !self.lost(packet.len()))
            && let Some(answer) = self.answer(packet)
            && !self.lost(answer.len())
        {
            self.under_way.push((self.now + self.round_trip, answer));
        }
        Ok(Fate::Sent)
    }

    fn next(&mut self, until: Duration) -> Result<Option<Vec<u8>>, Broken> {
        match self.under_way.first() {
            Some((at, _)) if *at <= until => {
                let (at, packet) = self.under_way.remove(0);
                self.now = self.now.max(at);
                Ok(Some(packet))
            }
            _ => {
                self.now = self.now.max(until);
                Ok(None)
            }
        }
    }

    fn port(&mut self) -> Result<u16, Broken> {
        self.ports += 1;
        Ok(40_000 + self.ports)
    }
}

fn open(seen: &Seen) -> &Open {
    match &seen.tcp {
        Tcp::Open(open) => open,
        other => panic!("{other:?}"),
    }
}

fn cliff(sizes: &Sizes) -> (Between, Harm) {
    match sizes {
        Sizes::Cliff(cliff) => (cliff.between, cliff.harm),
        other => panic!("{other:?}"),
    }
}

fn exactly(passes: u16) -> Between {
    Between {
        passes,
        harmed: passes + 1,
    }
}

#[test]
fn a_cliff_beyond_which_all_is_lost_is_exact_for_pings_and_for_tcp() {
    for (seed, size) in [(1, 300), (2, 1020), (3, 1499), (4, 747)] {
        let mut model = Model::of(seed, (size.into(), 1.0));
        model.loss = 0.02;
        let seen = model.sweep();
        assert_eq!(cliff(&seen.echo).0, exactly(size));
        assert_eq!(cliff(&open(&seen).sizes).0, exactly(size));
        assert_eq!(judge(&seen).unwrap().profile.as_deref(), Some("blackhole"));
    }
}

#[test]
fn a_cliff_that_loses_two_percent_is_told_from_a_path_that_loses_half_of_one() {
    let mut exact = 0;
    for seed in 0..20 {
        let mut model = Model::of(seed, (1020, 0.02));
        model.loss = 0.003;
        let seen = model.sweep();
        let (between, harm) = cliff(&open(&seen).sizes);
        assert!(
            between.passes <= 1020 && 1020 < between.harmed,
            "{seed}: {between:?}"
        );
        assert!(matches!(harm, Harm::Lost(share, _) if (0.01..0.06).contains(&share)));
        exact += u32::from(between == exactly(1020));
    }
    assert!(exact >= 16, "{exact} of 20");
}

#[test]
fn a_path_that_loses_all_sizes_alike_has_no_cliff() {
    for (seed, loss) in [0.0, 0.003, 0.01, 0.03].into_iter().enumerate() {
        let mut model = Model::of(seed as u64, (9000, 0.0));
        model.loss = loss;
        let seen = model.sweep();
        assert_eq!(seen.echo, Sizes::Whole(1500));
        assert_eq!(open(&seen).sizes, Sizes::Whole(1500), "{loss}");
        assert_eq!(judge(&seen).unwrap().problems, 0);
    }
}

#[test]
fn a_long_way_with_little_loss_ends_in_time_and_says_no_more_than_it_knows() {
    for seed in 0..4 {
        let mut model = Model::of(seed, (1020, 0.02));
        model.loss = 0.003;
        model.round_trip = Duration::from_millis(700);
        let seen = model.sweep();
        match &open(&seen).sizes {
            Sizes::Cliff(cliff) => {
                assert!(
                    cliff.between.passes <= 1020 && 1020 < cliff.between.harmed,
                    "{cliff:?}"
                );
            }
            Sizes::Untold(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn sack_blocks_in_other_numbers_than_acknowledgements_are_the_fault_of_the_story() {
    let mut model = Model::of(1, (9000, 0.0));
    model.shift = 0x8000_1234;
    let seen = model.sweep();
    assert_eq!(open(&seen).sack, Sack::Shifted(0x8000_1234));
    assert_eq!(
        judge(&seen).unwrap().profile.as_deref(),
        Some("isn-rewrite")
    );
}

#[test]
fn a_host_that_does_not_answer_is_no_host_with_which_nothing_is_wrong() {
    let host: IpAddr = HOST.into();
    let cases = [
        (false, true, Unanswered::Closed(host, 22)),
        (false, false, Unanswered::Closed(host, 22)),
    ];
    for (port_is_open, answers_pings, expected) in cases {
        let mut model = Model::of(1, (9000, 0.0));
        (model.port_is_open, model.answers_pings) = (port_is_open, answers_pings);
        assert_eq!(judge(&model.sweep()), Err(expected));
    }
    let mut model = Model::of(1, (0, 1.0));
    assert_eq!(judge(&model.sweep()), Err(Unanswered::Silent(host, 22)));
    // A cliff of pings is told although the port is closed.
    let mut model = Model::of(1, (1020, 1.0));
    model.port_is_open = false;
    let report = judge(&model.sweep()).unwrap();
    assert_eq!((report.problems, report.untried.len()), (1, 1));
}

#[test]
fn loss_of_sizes_that_every_host_takes_is_no_limit_of_sizes() {
    let of = |passes: u16, share| {
        let mut seen = Model::of(1, (9000, 0.0)).sweep();
        if let Tcp::Open(open) = &mut seen.tcp {
            let between = Between {
                passes,
                harmed: passes + 1,
            };
            let harm = Harm::Lost(share, 0.02);
            open.sizes = Sizes::Cliff(Cliff { between, harm });
        }
        judge(&seen).unwrap()
    };
    let limited = of(321, 0.4);
    assert_eq!((limited.problems, &limited.profile), (0, &None));
    assert_eq!(limited.findings[0].id, Id::Bandwidth);
    for (passes, share) in [(1020, 0.4), (321, 1.0)] {
        assert_eq!(of(passes, share).problems, 1);
    }
}

#[test]
fn pings_alone_that_are_limited_are_no_harm_to_connections() {
    let mut model = Model::of(1, (1000, 1.0));
    model.pings_alone = true;
    let seen = model.sweep();
    let report = judge(&seen).unwrap();
    assert_eq!((report.problems, report.profile), (0, None));
    assert!(report.findings[0].sentence.contains("up to 1500 bytes"));
    assert!(!report.verdict.contains("harmed"), "{}", report.verdict);
    // The firewall of the story.
    model.shift = 77;
    let report = judge(&model.sweep()).unwrap();
    assert_eq!(report.profile.as_deref(), Some("cisco-pix"));
    assert_eq!(report.problems, 2);
}

#[test]
fn a_cliff_of_pings_is_a_suspicion_where_tcp_is_not_known() {
    let untold = |share| {
        let mut model = Model::of(1, (1000, 1.0));
        let mut seen = model.sweep();
        if let Tcp::Open(open) = &mut seen.tcp {
            open.sizes = Sizes::Untold("time was short".into());
        }
        if let Sizes::Cliff(cliff) = &mut seen.echo {
            cliff.harm = Harm::Lost(share, 0.0);
        }
        judge(&seen).unwrap()
    };
    let (all, some) = (untold(1.0), untold(0.3));
    assert_eq!((all.problems, &all.profile), (1, &None));
    assert!(
        all.verdict.contains("could not be looked at"),
        "{}",
        all.verdict
    );
    assert_eq!((some.problems, &some.profile), (0, &None));
    let sentence = &some.findings[0].sentence;
    assert!(
        sentence.contains("TCP could not be looked at: time was short"),
        "{sentence}"
    );
}

#[test]
fn what_a_host_does_not_ask_for_is_told_by_its_mss() {
    let mut seen = Model::of(1, (9000, 0.0)).sweep();
    if let Tcp::Open(open) = &mut seen.tcp {
        open.offered.mss = Some(536);
        open.sizes = Sizes::Whole(576);
    }
    let text = super::text::render(&judge(&seen).unwrap());
    assert!(
        text.contains("576 bytes; larger ones are not asked for by 10.0.0.2"),
        "{text}"
    );
}

#[test]
fn a_window_scale_that_is_not_answered_is_noted() {
    let has = |seen: &Seen| {
        let findings = judge(seen).unwrap().findings;
        findings.iter().any(|one| one.id == Id::NoWindowScale)
    };
    let mut seen = Model::of(1, (9000, 0.0)).sweep();
    assert!(!has(&seen));
    if let Tcp::Open(open) = &mut seen.tcp {
        open.offered.window_scale = None;
    }
    assert!(has(&seen));
}
