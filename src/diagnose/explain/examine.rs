//! Every connection of a capture through the tracker's model. Each interface is judged for itself, as the host
//! that it belongs to would; memory is bounded whatever the capture holds.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use super::story::Story;
use super::told::{FORMAT, Report, Skipped, Source};
use super::{Intake, LeftOut, Place, Sighting};
use crate::diagnose::tracking::{FlowId, Seen, Settings, Table, Verdict, Way};
use crate::packet::capture::Packet;

/// Connections without findings that are told one by one; of more than these only the number is.
const TOLD: usize = 25_000;
/// Findings that are kept in words; of more than these only the number is.
const IN_WORDS: usize = 10_000;
/// Interfaces that are told apart; what else a capture names is no host's.
const PLACES: usize = 256;
/// Connections that the first interface's tracker remembers at once; the next ones' remember less.
const AT_ONCE: usize = 100_000;

/// Packets on their way to a report.
pub struct Examination {
    settings: Settings,
    intake: Intake,
    views: Vec<View>,
    by_place: HashMap<Place, usize>,
    /// How many more findings may be kept in words.
    room: usize,
    /// Where the last packet's view is: mostly the next one's, too.
    last_view: usize,
    stories: Vec<Story>,
    by_flow: HashMap<(usize, FlowId), usize>,
    /// INVALID packets of no connection, by sender and receiver.
    strays: HashMap<(usize, SocketAddr, SocketAddr), usize>,
    /// Connections beyond those that are told.
    more: u64,
    left_out: BTreeMap<LeftOut, u64>,
    segments: u64,
    invalid: u64,
    first: Option<Duration>,
    last: Duration,
}

/// One interface, and what its tracker knows.
struct View {
    place: Place,
    table: Table,
    /// The connection of the last packet, and its story.
    recent: Option<(FlowId, usize)>,
}

/// A packet that was judged.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// The packet.
    pub sighting: Sighting<'a>,
    /// The verdict.
    pub seen: Seen,
    /// The story of its connection, counted from 0 in the order in which they begin; none if there are too many.
    pub story: Option<usize>,
}

// === impl Examination ===

impl Examination {
    /// By these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings: Settings {
                capacity: AT_ONCE,
                ..settings
            },
            intake: Intake::default(),
            views: Vec::new(),
            by_place: HashMap::new(),
            room: IN_WORDS,
            last_view: 0,
            stories: Vec::new(),
            by_flow: HashMap::new(),
            strays: HashMap::new(),
            more: 0,
            left_out: BTreeMap::new(),
            segments: 0,
            invalid: 0,
            first: None,
            last: Duration::ZERO,
        }
    }

    /// Judges the next packet of the capture; none if it is left out.
    pub fn see<'a>(&mut self, packet: &Packet<'a>) -> Option<Judged<'a>> {
        self.first.get_or_insert(packet.at);
        self.last = self.last.max(packet.at);
        let sighting = match self.intake.take(packet) {
            Ok(sighting) => sighting,
            Err(why) => {
                *self.left_out.entry(why).or_default() += 1;
                return None;
            }
        };
        let Some(view) = self.view(sighting.place) else {
            *self.left_out.entry(LeftOut::Place).or_default() += 1;
            return None;
        };
        self.segments += 1;
        let seen = self.views[view].table.see(sighting.at, &sighting.segment);
        self.invalid += u64::from(seen.verdict.invalid().is_some());
        let story = self.story(view, &sighting, &seen);
        let begin = self.first.unwrap_or_default();
        if let Some(story) = story {
            let kernel = self.settings.kernel;
            let told = self.stories[story].note(
                &sighting,
                seen.way,
                &seen.verdict,
                (begin, kernel),
                self.room > 0,
            );
            self.room -= usize::from(told);
        }
        Some(Judged {
            sighting,
            seen,
            story,
        })
    }

    /// Packets so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.intake.packets()
    }

    /// What is known at a place; none if there are too many of them.
    fn view(&mut self, place: Place) -> Option<usize> {
        if let Some(view) = self.views.get(self.last_view)
            && view.place == place
        {
            return Some(self.last_view);
        }
        if let Some(known) = self.by_place.get(&place) {
            self.last_view = *known;
            return Some(*known);
        }
        let number = self.views.len();
        if number == PLACES {
            return None;
        }
        let settings = Settings {
            capacity: AT_ONCE / (number + 1),
            ..self.settings.clone()
        };
        self.views.push(View {
            place,
            table: Table::new(settings),
            recent: None,
        });
        self.by_place.insert(place, number);
        self.last_view = number;
        Some(number)
    }

    /// The story of a packet's connection.
    fn story(&mut self, view: usize, sighting: &Sighting<'_>, seen: &Seen) -> Option<usize> {
        let Some(flow) = seen.flow else {
            let segment = &sighting.segment;
            let key = (view, segment.source, segment.destination);
            if let Some(story) = self.strays.get(&key) {
                return Some(*story);
            }
            let story = self.begin(view, sighting, Way::Original, true)?;
            self.strays.insert(key, story);
            return Some(story);
        };
        if let Some((recent, story)) = self.views[view].recent
            && recent == flow
        {
            return Some(story);
        }
        let known = self.by_flow.get(&(view, flow)).copied();
        let is_new = matches!(seen.verdict, Verdict::New(_));
        let story = match known {
            Some(story) => story,
            // One that was left out for want of room is told from its first finding on.
            None => {
                let matters = seen.verdict.invalid().is_some();
                if !is_new && !matters {
                    return None;
                }
                let story = self.begin(view, sighting, seen.way, matters)?;
                self.by_flow.insert((view, flow), story);
                story
            }
        };
        self.views[view].recent = Some((flow, story));
        Some(story)
    }

    /// A new story, if there is room: for those with findings there is twice as much.
    fn begin(
        &mut self,
        view: usize,
        sighting: &Sighting<'_>,
        way: Way,
        matters: bool,
    ) -> Option<usize> {
        let room = if matters { 2 * TOLD } else { TOLD };
        if self.stories.len() >= room {
            self.more += 1;
            return None;
        }
        self.stories.push(Story::new(view, sighting, way));
        Some(self.stories.len() - 1)
    }

    /// What it comes to. `name` is the capture's, `interface_name` tells what its interfaces are called, and
    /// `cut_short` why it was not read to its end.
    #[must_use]
    pub fn report(
        self,
        name: &str,
        interface_name: impl Fn(usize) -> Option<String>,
        cut_short: Option<String>,
    ) -> Report {
        let begin = self.first.unwrap_or_default();
        let connections = self.stories.len() as u64 + self.more;
        let several = self.views.len() > 1;
        let places: Vec<Place> = self.views.iter().map(|view| view.place).collect();
        let mut twice: HashMap<(SocketAddr, SocketAddr), Vec<usize>> = HashMap::new();
        for story in &self.stories {
            let ends = (
                story.opener.min(story.answerer),
                story.opener.max(story.answerer),
            );
            let places = twice.entry(ends).or_default();
            if !places.contains(&story.place) {
                places.push(story.place);
            }
        }
        let title = |place: usize| place_title(places[place], &interface_name);
        let mut flows: Vec<_> = self
            .stories
            .into_iter()
            .enumerate()
            .map(|(at, story)| {
                let ends = (
                    story.opener.min(story.answerer),
                    story.opener.max(story.answerer),
                );
                let mine = story.place;
                let mut flow = story.told(at as u64 + 1, several.then(|| title(mine)), begin);
                let others = twice.get(&ends).into_iter().flatten();
                let others: Vec<_> = others
                    .filter(|place| **place != mine)
                    .map(|p| title(*p))
                    .collect();
                if !others.is_empty() {
                    flow.notes.push(format!(
                        "also seen on {}; each interface is judged for itself",
                        others.join(", ")
                    ));
                }
                flow
            })
            .collect();
        flows.sort_by_key(|flow| flow.invalid == 0);
        Report {
            format: FORMAT,
            source: Source {
                name: name.to_owned(),
                packets: self.intake.packets(),
                segments: self.segments,
                begins_s: begin.as_secs_f64(),
                lasts_s: self.last.saturating_sub(begin).as_secs_f64(),
                skipped: self.left_out.iter().map(skipped).collect(),
                cut_short,
            },
            kernel: self.settings.kernel.to_string(),
            liberal: self.settings.be_liberal,
            invalid: self.invalid,
            connections,
            forgotten: self.views.iter().map(|view| view.table.evicted()).sum(),
            flows,
            path: None,
        }
    }
}

/// What an interface is called.
pub(super) fn place_title(
    place: Place,
    interface_name: impl Fn(usize) -> Option<String>,
) -> String {
    match (place.device, interface_name(place.interface)) {
        (Some(device), _) => format!("device {device}"),
        (None, Some(name)) => name,
        (None, None) => format!("interface {}", place.interface),
    }
}

fn skipped((why, packets): (&LeftOut, &u64)) -> Skipped {
    let why = match why {
        LeftOut::NotIp => "not IP".to_owned(),
        LeftOut::Place => format!("of more than {PLACES} interfaces"),
        LeftOut::UnknownLink(number) => format!("of link type {number}, which is not known"),
        LeftOut::NotTcp => "not TCP".to_owned(),
        LeftOut::Fragment => {
            "fragments, which conntrack puts together before it looks; their connections are judged without them"
                .to_owned()
        }
        LeftOut::Cut => "captured too short to hold a TCP header".to_owned(),
        LeftOut::Malformed => "without a sound IP header".to_owned(),
        LeftOut::Copy => {
            "seen twice, before and after a router or switch; the second was left out".to_owned()
        }
    };
    Skipped {
        packets: *packets,
        why,
    }
}
