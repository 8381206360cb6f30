//! A connection around its first INVALID packet, as a time-sequence chart: what was sent, what was acknowledged, by
//! ACK and by SACK, and how far the sender was allowed to go.

use std::collections::VecDeque;
use std::time::Duration;

use super::words::grouped;
use super::{FlowTold, Judged};
use crate::diagnose::tracking::{Bound, Way};
use crate::packet::{Flags, Ip, Tcp};

mod draw;

pub use draw::{DrawError, draw};

/// Packets of all connections that are kept, in case one of them becomes the one that is drawn.
const KEPT: usize = 50_000;
/// Packets of it that are drawn from before its first INVALID one, and from after.
const BEFORE: usize = 300;
const AFTER: usize = 150;

/// Gathers what is drawn, while a capture is read.
pub struct Gathered {
    asked: Option<usize>,
    recent: VecDeque<Point>,
    chosen: Option<usize>,
    points: Vec<Point>,
    fault: Option<usize>,
    /// Where each way's sequence numbers begin, and the shift of its windows, of the chosen one.
    begins: [Option<(u32, u8)>; 2],
    /// Handshakes, by connection, as long as none is chosen: the newest.
    opened: VecDeque<(usize, usize, u32, Option<u8>)>,
}

/// A packet, as far as it is drawn.
#[derive(Clone)]
struct Point {
    story: usize,
    number: u64,
    at: Duration,
    way: Way,
    sequence: u32,
    end: u32,
    payload: u32,
    acknowledgement: Option<u32>,
    window: u16,
    flags: Flags,
    sack: Vec<(u32, u32)>,
    /// Why it is INVALID: the bound, and whose numbers broke it.
    invalid: Option<(Bound, Option<u32>)>,
}

/// What is drawn, in seconds since the begin of the capture and in bytes since the begin of the connection.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Chart {
    /// Segments: when, and from where to where.
    pub data: Vec<(f64, f64, f64)>,
    /// What was acknowledged, when.
    pub acknowledged: Vec<(f64, f64)>,
    /// How far the receiver's window reached, when.
    pub allowed: Vec<(f64, f64)>,
    /// SACK blocks that are within what is drawn.
    pub sack: Vec<(f64, f64, f64)>,
    /// INVALID packets: when, where, and what is said of the first.
    pub invalid: Vec<(f64, f64)>,
    pub label: String,
}

// === impl Gathered ===

impl Gathered {
    /// `asked` is the number of a connection in the report; otherwise it is the first with an INVALID packet.
    #[must_use]
    pub fn new(asked: Option<usize>) -> Self {
        Self {
            asked: asked.map(|number| number.saturating_sub(1)),
            recent: VecDeque::new(),
            chosen: None,
            points: Vec::new(),
            fault: None,
            begins: [None; 2],
            opened: VecDeque::new(),
        }
    }

    /// Takes a packet that was judged.
    pub fn take(&mut self, judged: &Judged<'_>) {
        let Some(story) = judged.story else { return };
        let wanted = |known: usize| known == story;
        if self.chosen.is_some_and(|chosen| !wanted(chosen)) || self.is_full() {
            return;
        }
        if self.chosen.is_none() && self.asked.is_some_and(|asked| !wanted(asked)) {
            return;
        }
        let point = Point::of(judged, story);
        if point.flags.has(Flags::SYN) {
            let scale = judged.sighting.segment.options.scale;
            self.opened
                .push_back((story, point.way as usize, point.sequence, scale));
            if self.opened.len() > KEPT {
                self.opened.pop_front();
            }
        }
        let broke = point.invalid.is_some();
        if self.chosen.is_some() {
            self.points.push(point);
            return;
        }
        self.recent.push_back(point);
        if self.recent.len() > KEPT {
            self.recent.pop_front();
        }
        if broke {
            self.choose(story);
        }
    }

    fn is_full(&self) -> bool {
        self.fault
            .is_some_and(|fault| self.points.len() > fault + AFTER)
    }

    fn choose(&mut self, story: usize) {
        self.chosen = Some(story);
        let mut points: Vec<Point> = self.recent.drain(..).filter(|p| p.story == story).collect();
        let surplus = points.len().saturating_sub(BEFORE);
        points.drain(..surplus);
        self.fault = Some(points.len().saturating_sub(1));
        self.points = points;
        let mut scales = [None; 2];
        for (_, way, isn, scale) in self.opened.drain(..).filter(|opened| opened.0 == story) {
            self.begins[way] = Some((isn, 0));
            scales[way] = scale;
        }
        // A window is scaled only if both ends offered it.
        if let [Some(one), Some(other)] = scales {
            for (begin, scale) in self.begins.iter_mut().zip([one, other]) {
                if let Some((_, shift)) = begin {
                    *shift = scale.min(14);
                }
            }
        }
    }

    /// The connection that is drawn, counted from 0; the one asked for, if nothing of it is INVALID.
    fn settle(&mut self) -> Option<usize> {
        if self.chosen.is_none() {
            let story = self
                .asked
                .or(self.recent.front().map(|point| point.story))?;
            self.choose(story);
            self.fault = None;
        }
        self.chosen
    }

    /// What is drawn, and of which connection; none where there is nothing to draw. Times count from `begin`.
    fn chart(mut self, begin: Duration) -> Option<(usize, Chart)> {
        let story = self.settle()?;
        let space = self.space();
        let from = self.begins[space as usize].map(|(isn, _)| isn);
        // Of one that begins in the middle the first packet need not be the lowest.
        let mine = self.points.iter().filter(|point| point.way == space);
        let lowest = mine.map(|point| point.sequence).reduce(|lowest, one| {
            match (one.wrapping_sub(lowest) as i32) < 0 {
                true => one,
                false => lowest,
            }
        });
        let from = from.or(lowest)?;
        let shift = self.begins[space.other() as usize].map_or(0, |(_, shift)| shift);
        let mut chart = Chart::default();
        let mut highest = 0.0_f64;
        for point in &self.points {
            let at = point.at.saturating_sub(begin).as_secs_f64();
            let place = |number: u32| f64::from(number.wrapping_sub(from));
            if point.way == space {
                if point.payload > 0 && point.invalid.is_none() {
                    chart
                        .data
                        .push((at, place(point.sequence), place(point.end)));
                    highest = highest.max(place(point.end));
                }
            } else if let Some(number) = point.acknowledgement
                && !point.flags.has(Flags::SYN)
            {
                let acknowledged = place(number);
                chart.acknowledged.push((at, acknowledged));
                let window = f64::from(point.window) * f64::from(1_u32 << shift);
                chart.allowed.push((at, acknowledged + window));
                highest = highest.max(acknowledged);
            }
        }
        // SACK blocks of other numbers are not on the chart: the mark says where they are.
        for point in self.points.iter().filter(|point| point.way != space) {
            let at = point.at.saturating_sub(begin).as_secs_f64();
            for (left, right) in &point.sack {
                let [left, right] = [left, right].map(|edge| f64::from(edge.wrapping_sub(from)));
                if right <= highest {
                    chart.sack.push((at, left, right));
                }
            }
        }
        for point in self.points.iter().filter(|point| point.invalid.is_some()) {
            let at = point.at.saturating_sub(begin).as_secs_f64();
            let number = match point.way == space {
                true => point.end,
                false => point.acknowledgement.unwrap_or(point.end),
            };
            chart
                .invalid
                .push((at, f64::from(number.wrapping_sub(from))));
        }
        chart.label = self
            .fault
            .map(|fault| label(&self.points[fault]))
            .unwrap_or_default();
        Some((story, chart))
    }

    /// Whose sequence numbers are drawn: those that the fault is about, or those of who sends more.
    fn space(&self) -> Way {
        let broke = self.fault.map(|fault| &self.points[fault]);
        match broke.and_then(|point| point.invalid.map(|(bound, _)| (point.way, bound))) {
            Some((way, Bound::AckOverSeen | Bound::AckUnderWindow)) => way.other(),
            Some((way, Bound::SeqOverWindow | Bound::SeqUnderWindow)) => way,
            _ => {
                let sum = |way| -> u64 {
                    let points = self.points.iter().filter(|point| point.way == way);
                    points.map(|point| u64::from(point.payload)).sum()
                };
                match sum(Way::Original) >= sum(Way::Reply) {
                    true => Way::Original,
                    false => Way::Reply,
                }
            }
        }
    }
}

fn label(point: &Point) -> String {
    let Some((bound, out)) = point.invalid else {
        return String::new();
    };
    let out = out.map_or(String::new(), |out| {
        format!(", out by {} bytes", grouped(out.into()))
    });
    format!("packet {} INVALID: {}{out}", point.number, bound.name())
}

// === impl Point ===

impl Point {
    fn of(judged: &Judged<'_>, story: usize) -> Self {
        let sighting = &judged.sighting;
        let segment = &sighting.segment;
        let invalid = judged.seen.verdict.invalid();
        Self {
            story,
            number: sighting.number,
            at: sighting.at,
            way: judged.seen.way,
            sequence: segment.sequence,
            end: segment.end(),
            payload: segment.payload,
            acknowledgement: segment
                .flags
                .has(Flags::ACK)
                .then_some(segment.acknowledgement),
            window: segment.window,
            flags: segment.flags,
            sack: match segment.options.sack {
                Some(_) => blocks(sighting.bytes).unwrap_or_default(),
                None => Vec::new(),
            },
            invalid: invalid.map(|why| (why.bound, why.measured.map(|measured| measured.out_by))),
        }
    }
}

fn blocks(packet: &[u8]) -> Option<Vec<(u32, u32)>> {
    let ip = Ip::parse_quoted(packet).ok()?;
    let segment = Tcp::parse(packet.get(ip.payload..ip.end)?).ok()?;
    Some(
        segment
            .options()
            .flat_map(|option| option.sack_blocks())
            .collect(),
    )
}

/// Whom the chart is of.
fn title(flow: Option<&FlowTold>) -> String {
    flow.map_or_else(String::new, |flow| {
        format!("flow {}: {} -> {}", flow.flow, flow.opener, flow.answerer)
    })
}
