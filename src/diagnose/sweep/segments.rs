//! TCP segments of all sizes to an open port: what SACK blocks say of them, and which are lost.
//!
//! Two flows are used. On the first SACK is agreed upon: its blocks name what arrived, byte by byte. On the second it is
//! not, since Linux then answers each segment that leaves a hole, while with SACK it puts answers together
//! (`tcp_comp_sack_delay_ns`); so answers can be counted.

use std::time::Duration;

use super::background;
use super::flow::{Flow, Offer, Opened};
use super::line::Line;
use super::network::{Broken, Fate};
use super::search::{Between, Tried, bisect};
use super::seen::{Cliff, Harm, Open, Sack, Sizes, Target, Tcp};
use crate::diagnose::sequential::{Sequential, Verdict};

/// Data of the first segment, whose SACK block is compared with it.
const FIRST: u16 = 64;
/// How often one segment is sent until it is answered.
const TRIES: u32 = 8;
/// How many small segments show what the path loses anyway.
const BACKGROUND: u32 = 2000;
/// Between two segments: some 12 Mbit/s of the longest, and a quarter of that when it has to be seen whether it is
/// only too fast for the path.
const GAP: Duration = Duration::from_millis(1);
const SLOW_GAP: Duration = Duration::from_millis(4);
/// After the last one of a volley at least so long.
const LAST: Duration = Duration::from_millis(60);
/// How often a flow that was reset is opened anew.
const REOPENED: u32 = 3;

/// Both flows, one after the other.
pub struct Segments {
    target: Target,
    until: Duration,
}

/// Counts what is answered, on a flow without SACK.
struct Counting<'t> {
    target: &'t Target,
    flow: Option<Box<Flow>>,
    opened: u32,
    until: Duration,
    /// Sent and lost, of the size that was tried last.
    share: (u32, u32),
}

/// How segments follow one another.
#[derive(Clone, Copy)]
struct Pace(Duration);

/// Why there is no answer.
enum Stopped {
    Broken(Broken),
    NoFlow,
    OutOfTime,
}

// === impl Segments ===

impl Segments {
    /// Segments to a host, until this time.
    #[must_use]
    pub fn to(target: Target, until: Duration) -> Self {
        Self { target, until }
    }

    /// Finds out.
    ///
    /// # Errors
    /// If the network is gone.
    pub fn sweep(&self, line: &mut Line<'_>) -> Result<Tcp, Broken> {
        let mut flow = match Flow::open(line, &self.target, Offer::Everything)? {
            Opened::Flow(flow) => flow,
            Opened::Closed => return Ok(Tcp::Closed),
            Opened::Silent => return Ok(Tcp::Silent),
            Opened::Unreachable(by) => return Ok(Tcp::Unreachable(by)),
            Opened::Forbidden => return Ok(Tcp::Forbidden),
        };
        let sack = first(line, &mut flow)?;
        let longest = self.target.longest.min(flow.longest());
        let cut = match sack {
            Sack::Right | Sack::Shifted(_) => cut(line, &mut flow, sack, longest, self.until)?,
            Sack::Missing | Sack::NotAgreed | Sack::Unanswered => None,
        };
        let (round_trip, echoed, offered) = (flow.round_trip, flow.echoed(), flow.offered.clone());
        flow.close(line)?;
        let sizes = match (cut, sack) {
            (Some(cliff), _) => Sizes::Cliff(cliff),
            (None, Sack::Unanswered) => Sizes::Untold(
                "data that leaves a gap was not acknowledged; something on the way may hold it back"
                    .into(),
            ),
            (None, _) => self.lost(line, longest)?,
        };
        Ok(Tcp::Open(Box::new(Open {
            round_trip,
            offered,
            echoed,
            sack,
            sizes,
        })))
    }

    fn lost(&self, line: &mut Line<'_>, longest: u16) -> Result<Sizes, Broken> {
        let mut counting = Counting {
            target: &self.target,
            flow: None,
            opened: 0,
            until: self.until,
            share: (0, 0),
        };
        let sizes = counting.sweep(line, longest);
        if let Some(flow) = counting.flow {
            flow.close(line)?;
        }
        match sizes {
            Ok(sizes) => Ok(sizes),
            Err(Stopped::Broken(broken)) => Err(broken),
            Err(Stopped::NoFlow) => Ok(Sizes::Untold(
                "the connection was ended again and again while segments were counted".into(),
            )),
            Err(Stopped::OutOfTime) => Ok(Sizes::Untold(
                "too few answers came in the time that a sweep may take".into(),
            )),
        }
    }
}

/// What the SACK block says of the first segment that leaves a hole.
fn first(line: &mut Line<'_>, flow: &mut Flow) -> Result<Sack, Broken> {
    let begin = flow.hole_end();
    for _ in 0..TRIES {
        flow.send(line, flow.headers() + FIRST)?;
        let until = line.now() + patience(flow);
        if let Some(answer) = flow.answer(line, until)? {
            if !flow.offered.sack_permitted {
                return Ok(Sack::NotAgreed);
            }
            let blocks = answer.options.blocks;
            let Some((left, right)) = blocks.first().copied() else {
                return Ok(Sack::Missing);
            };
            let by = left.wrapping_sub(begin);
            let is_whole = right.wrapping_sub(left) == u32::from(FIRST);
            return Ok(match (by, is_whole) {
                (0, _) => Sack::Right,
                (by, true) => Sack::Shifted(by),
                // A block of something else.
                (_, false) => Sack::Missing,
            });
        }
        if flow.is_reset() {
            break;
        }
    }
    Ok(Sack::Unanswered)
}

/// Where segments are cut, by the edges of SACK blocks; `None` if the longest arrives whole, or not at all.
fn cut(
    line: &mut Line<'_>,
    flow: &mut Flow,
    sack: Sack,
    longest: u16,
    until: Duration,
) -> Result<Option<Cliff>, Broken> {
    let by = if let Sack::Shifted(by) = sack { by } else { 0 };
    let small = flow.headers() + FIRST;
    let Some(mut to) = arrived(line, flow, by, longest, small)? else {
        return Ok(None);
    };
    if to >= longest {
        return Ok(None);
    }
    let range = Between {
        passes: small,
        harmed: longest,
    };
    let between = bisect(range, |size| {
        if line.now() >= until {
            return Ok(Tried::Unknown);
        }
        Ok(match arrived(line, flow, by, size, small)? {
            Some(whole) if whole >= size => Tried::Passes,
            Some(cut) => {
                to = cut;
                Tried::Harmed
            }
            None => Tried::Unknown,
        })
    })?;
    let harm = Harm::Cut(to);
    Ok(Some(Cliff { between, harm }))
}

/// How many bytes of a packet arrived, by the block that begins where its data does; more than are `held` since a packet of
/// that size came.
fn arrived(
    line: &mut Line<'_>,
    flow: &mut Flow,
    by: u32,
    size: u16,
    held: u16,
) -> Result<Option<u16>, Broken> {
    let begin = flow.hole_end().wrapping_add(by);
    for _ in 0..TRIES {
        if flow.send(line, size)? != Fate::Sent {
            return Ok(None);
        }
        let until = line.now() + patience(flow);
        let mut most = None;
        // An answer to an earlier, shorter one may come late: only one that names all of it is taken at once.
        while let Some(answer) = flow.answer(line, until)? {
            // A repetition is told first (RFC 2883), and the block that holds it second.
            let blocks = answer.options.blocks.iter();
            let bytes = blocks
                .filter(|(left, _)| *left == begin)
                .filter_map(|(left, right)| u16::try_from(right.wrapping_sub(*left)).ok())
                .map(|bytes| bytes.saturating_add(flow.headers()).min(size))
                .max();
            most = most.max(bytes);
            if most == Some(size) {
                return Ok(most);
            }
        }
        // Something of it, after all that was held before.
        if most > Some(held) {
            return Ok(most);
        }
        if flow.is_reset() {
            break;
        }
    }
    Ok(None)
}

fn patience(flow: &Flow) -> Duration {
    (flow.round_trip * 3).max(Duration::from_millis(100))
}

// === impl Counting ===

impl Counting<'_> {
    fn sweep(&mut self, line: &mut Line<'_>, longest: u16) -> Result<Sizes, Stopped> {
        let small = self.headers(line)? + FIRST;
        let mut pace = Pace(GAP);
        let (sent, lost) = self.volley(line, small, BACKGROUND, pace)?;
        if lost == sent {
            return Ok(Sizes::Silent);
        }
        let Some(test) = background::against(sent, lost) else {
            return Ok(Sizes::Untold(format!(
                "{lost} of {sent} small segments were lost: too many to tell sizes apart"
            )));
        };
        let below = share(sent, lost);
        let mut top = self.trial(line, longest, test, pace)?;
        if top == Tried::Harmed && self.share.1 < self.share.0 {
            // Some arrive. What is only too fast for the path arrives when it comes more slowly.
            let harmed = self.share;
            top = self.trial(line, longest, test, Pace(SLOW_GAP))?;
            match top {
                Tried::Passes => pace = Pace(SLOW_GAP),
                Tried::Harmed | Tried::Unknown => self.share = harmed,
            }
        }
        match top {
            Tried::Passes => return Ok(Sizes::Whole(longest)),
            Tried::Unknown => return Err(Stopped::OutOfTime),
            Tried::Harmed => {}
        }
        let mut harmed = self.share;
        let range = Between {
            passes: small,
            harmed: longest,
        };
        let between = bisect(range, |size| {
            let tried = match self.trial(line, size, test, pace) {
                Err(Stopped::OutOfTime) => return Ok(Tried::Unknown),
                tried => tried?,
            };
            if tried == Tried::Harmed {
                harmed = (harmed.0 + self.share.0, harmed.1 + self.share.1);
            }
            Ok(tried)
        })?;
        let told = self.flow.as_ref().and_then(|flow| flow.too_big);
        let harm = match told {
            Some((by, mtu)) => Harm::TooBig(by, mtu),
            None => Harm::Lost(share(harmed.0, harmed.1), below),
        };
        Ok(Sizes::Cliff(Cliff { between, harm }))
    }

    /// Sends of one size until it is known whether they are harmed.
    fn trial(
        &mut self,
        line: &mut Line<'_>,
        size: u16,
        mut test: Sequential,
        pace: Pace,
    ) -> Result<Tried, Stopped> {
        self.share = (0, 0);
        let mut count = 16;
        loop {
            if line.now() >= self.until || !line.affords(u64::from(size) * u64::from(count)) {
                return Ok(Tried::Unknown);
            }
            let (sent, lost) = self.volley(line, size, count, pace)?;
            test.observe(sent, lost);
            self.share = (self.share.0 + sent, self.share.1 + lost);
            match test.verdict() {
                Verdict::Harmed => return Ok(Tried::Harmed),
                Verdict::AsBackground => return Ok(Tried::Passes),
                Verdict::Open => count = self.batch(pace),
            }
        }
    }

    /// As many as keep the path busy while answers are under way.
    fn batch(&self, pace: Pace) -> u32 {
        let round_trip = self.flow.as_ref().map_or(Duration::ZERO, |f| f.round_trip);
        let count = (3 * round_trip).as_micros() / pace.0.as_micros().max(1);
        u32::try_from(count).unwrap_or(u32::MAX).clamp(256, 512)
    }

    /// How many were sent, and how many of them were not answered. A volley that a reset ends is sent anew.
    fn volley(
        &mut self,
        line: &mut Line<'_>,
        size: u16,
        count: u32,
        pace: Pace,
    ) -> Result<(u32, u32), Stopped> {
        loop {
            let mut flow = match self.flow.take() {
                Some(flow) => flow,
                None => self.open(line)?,
            };
            let answers = volley(line, &mut flow, size, count, pace).map_err(Stopped::Broken)?;
            if !flow.is_reset() {
                self.flow = Some(flow);
                return Ok((count, count - answers.min(count)));
            }
        }
    }

    fn open(&mut self, line: &mut Line<'_>) -> Result<Box<Flow>, Stopped> {
        if line.now() >= self.until {
            return Err(Stopped::OutOfTime);
        }
        self.opened += 1;
        let may_be_opened = self.opened <= 1 + REOPENED;
        let opened = may_be_opened.then(|| Flow::open(line, self.target, Offer::MssAlone));
        match opened.transpose().map_err(Stopped::Broken)? {
            Some(Opened::Flow(flow)) => Ok(flow),
            _ => Err(Stopped::NoFlow),
        }
    }

    fn headers(&mut self, line: &mut Line<'_>) -> Result<u16, Stopped> {
        let flow = match self.flow.take() {
            Some(flow) => flow,
            None => self.open(line)?,
        };
        let headers = flow.headers();
        self.flow = Some(flow);
        Ok(headers)
    }
}

/// How many answers came.
fn volley(
    line: &mut Line<'_>,
    flow: &mut Flow,
    size: u16,
    count: u32,
    pace: Pace,
) -> Result<u32, Broken> {
    let mut answers = 0;
    for _ in 0..count {
        flow.send(line, size)?;
        let until = line.now() + pace.0;
        while flow.answer(line, until)?.is_some() {
            answers += 1;
        }
        if flow.is_reset() {
            return Ok(answers);
        }
    }
    let until = line.now() + (flow.round_trip * 2).max(LAST);
    while answers < count && flow.answer(line, until)?.is_some() {
        answers += 1;
    }
    Ok(answers)
}

fn share(sent: u32, lost: u32) -> f64 {
    f64::from(lost) / f64::from(sent.max(1))
}
