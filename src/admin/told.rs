//! How the relay stands, as the values that are told. Pure: the time is an argument.

use std::time::{Duration, Instant};

use humantime::format_rfc3339_seconds;
use rustix::process::{Resource, getrlimit};

use super::sessions::{Flow, Leg, LegName, Session, Sessions, Stuck, StuckSide, StuckWhy};
use super::source::About;
use super::standing::{Phase, Rules, Standing};
use super::status::{
    AddedLatency, Limits, ListenerTold, Pipes, RuleTold, RulesStanding, RulesTold, Status,
};
use crate::config::{Engine, Listener, Mode, Settings, Side};
use crate::diagnose::Summary;
use crate::metrics::{Direction, PerDirection, Recorded, Recorder};
use crate::relay::{LegView, Party, StuckView, View, Why};
use crate::rules::Part;

/// The status.
pub(super) fn status(
    about: &About,
    standing: &Standing,
    live: usize,
    recorded: &Recorded,
    conntrack: Summary,
    now: Instant,
) -> Status {
    let settings = &standing.settings;
    let process = &settings.process;
    let ready = standing.ready(now);
    let merged = recorded.merged();
    let listeners = settings.listeners.iter().enumerate();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: format_rfc3339_seconds(about.started).to_string(),
        uptime_seconds: now.saturating_duration_since(about.began).as_secs_f64(),
        ready: ready.is_ok(),
        not_ready: ready.err().map(|why| why.to_string()),
        draining: standing.phase == Phase::Draining,
        rules: rules(standing, now),
        workers: about.workers as u64,
        engine: process.engine.to_string(),
        sessions: live as u64,
        limits: Limits {
            max_connections: process.max_connections.map(|most| most as u64),
            max_descriptors: getrlimit(Resource::Nofile).current,
        },
        listeners: listeners
            .map(|(index, each)| {
                let sessions = recorded.gauges.sessions.get(index).copied();
                listener(each, about.ways.get(index), sessions.unwrap_or_default())
            })
            .collect(),
        reloads: merged.counters.reloads,
        reloads_refused: merged.counters.reloads_refused,
        pipes: Pipes {
            budget_bytes: recorded.gauges.pipe_budget,
            capacity_bytes: recorded.gauges.pipe_bytes,
            in_use: recorded.gauges.pipes_in_use,
            free: recorded.gauges.pipes_free,
        },
        added_latency: added(&merged).filter(|_| recorded.histograms),
        conntrack,
        settings: standing.text.to_string(),
    }
}

fn listener(listener: &Listener, way: Option<&String>, sessions: u64) -> ListenerTold {
    ListenerTold {
        name: listener.name.clone(),
        mode: mode(&listener.mode).to_owned(),
        way: way.cloned().unwrap_or_default(),
        profile: listener.mangled.name.clone(),
        clean_profile: listener.clean.name.clone(),
        sessions,
        max_connections: listener.admission.most.map(|most| most as u64),
    }
}

/// Of both directions together.
fn added(merged: &Recorder) -> Option<AddedLatency> {
    let mut added = merged.added.client_to_server.clone();
    added.add(&merged.added.server_to_client);
    (added.count() > 0).then(|| AddedLatency {
        p50_seconds: added.percentile(50.0).as_secs_f64(),
        p99_seconds: added.percentile(99.0).as_secs_f64(),
    })
}

/// Sessions that were found; one more than the limit says that there are more.
pub(super) fn sessions(
    mut found: Vec<View>,
    limit: usize,
    live: usize,
    settings: &Settings,
) -> Sessions {
    let more = found.len() > limit;
    found.truncate(limit);
    let sessions = found.into_iter().map(|view| session(view, settings));
    Sessions {
        live: live as u64,
        more,
        sessions: sessions.collect(),
    }
}

fn session(view: View, settings: &Settings) -> Session {
    let mut listeners = settings.listeners.iter();
    let listener = listeners.find(|listener| listener.name == view.listener);
    let flow = |direction| {
        let counts = view.engine != Engine::TokioSplice;
        let of = |both: &PerDirection<u64>| match direction {
            Direction::ClientToServer => both.client_to_server,
            Direction::ServerToClient => both.server_to_client,
        };
        Flow {
            bytes: counts.then(|| of(&view.bytes)),
            bytes_per_second: counts.then(|| of(&view.rate)),
        }
    };
    Session {
        id: format!("{}-{}", view.worker, view.number),
        mode: listener.map_or_else(String::new, |each| mode(&each.mode).to_owned()),
        mangled_leg: match view.side {
            Side::Mangled => LegName::Downstream,
            Side::Clean => LegName::Upstream,
        },
        client: view.client.to_string(),
        via: view.via.map(|via| via.to_string()),
        server: view.server.to_string(),
        age_seconds: view.age.as_secs_f64(),
        engine: view.engine.to_string(),
        client_to_server: flow(Direction::ClientToServer),
        server_to_client: flow(Direction::ServerToClient),
        client_offer: view.client_offer.map(|offer| offer.to_string()),
        stuck: view.stuck.iter().map(stuck).collect(),
        downstream: leg(view.legs.downstream),
        upstream: leg(view.legs.upstream),
        listener: view.listener,
    }
}

fn leg(view: LegView) -> Leg {
    // Nothing takes no time at all: nobody has measured it.
    let known = |time: &Duration| !time.is_zero();
    Leg {
        profile: view.profile,
        agreed: view.agreed.to_string(),
        rtt_seconds: Some(view.rtt).filter(known).map(|rtt| rtt.as_secs_f64()),
        min_rtt_seconds: view.min_rtt.filter(known).map(|rtt| rtt.as_secs_f64()),
        retransmits: view.retransmits.into(),
    }
}

fn stuck(view: &StuckView) -> Stuck {
    Stuck {
        direction: view.direction.name().to_owned(),
        side: match view.side {
            Party::Client => StuckSide::Client,
            Party::Server => StuckSide::Server,
            Party::Relay => StuckSide::Relay,
        },
        why: match view.why {
            Why::PeerWindowShut => StuckWhy::Window,
            Why::Unacknowledged => StuckWhy::Unacknowledged,
            Why::Pipe => StuckWhy::Pipe,
        },
        waiting_bytes: view.waiting,
        for_seconds: view.still.as_secs_f64(),
    }
}

/// As the key `mode` has it.
fn mode(mode: &Mode) -> &'static str {
    match mode {
        Mode::Gateway(_) => "gateway",
        Mode::ServerSidecar(_) => "server-sidecar",
        Mode::ClientSidecar(_) => "client-sidecar",
        Mode::Forward(_) => "forward",
    }
}

fn rules(told: &Standing, now: Instant) -> RulesTold {
    let lasted = |since: &Instant| Some(now.saturating_duration_since(*since).as_secs_f64());
    let (standing, since_seconds, why) = match &told.rules {
        Rules::NotNeeded => (RulesStanding::NotNeeded, None, None),
        Rules::SomebodyElses => (RulesStanding::SomebodyElses, None, None),
        Rules::InPlace { since } => (RulesStanding::InPlace, lasted(since), None),
        Rules::Missing { since, why } => (RulesStanding::Missing, lasted(since), Some(why.clone())),
    };
    RulesTold {
        standing,
        since_seconds,
        why,
        parts: told.parts.iter().map(rule).collect(),
    }
}

fn rule(part: &Part) -> RuleTold {
    RuleTold {
        rule: part.rule.clone(),
        in_place: part.in_place,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::{Contents, Keys};
    use crate::metrics::PerLeg;

    fn view(engine: Engine, side: Side) -> View {
        let address: SocketAddr = "192.0.2.7:4000".parse().unwrap();
        let leg = |rtt| LegView {
            rtt: Duration::from_micros(rtt),
            ..LegView::default()
        };
        View {
            worker: 1,
            number: 17,
            listener: "listener 1".to_owned(),
            side,
            client: address,
            via: None,
            server: address,
            engine,
            began: Instant::now(),
            age: Duration::from_millis(1500),
            bytes: PerDirection {
                client_to_server: 1,
                server_to_client: 2,
            },
            rate: PerDirection {
                client_to_server: 3,
                server_to_client: 4,
            },
            client_offer: None,
            legs: PerLeg {
                downstream: leg(0),
                upstream: leg(250),
            },
            stuck: vec![],
        }
    }

    fn told(views: Vec<View>, limit: usize) -> Sessions {
        let mut keys = Keys::default();
        keys.set_flag("listen", ["127.0.0.1:0"]);
        keys.set_flag("to", ["127.0.0.1:9"]);
        let settings = Settings::resolve(Contents::default(), Keys::default(), keys).unwrap();
        sessions(views, limit, 9, &settings)
    }

    #[test]
    fn a_view_is_told_in_base_units_and_what_nobody_knows_as_null() {
        let all = told(vec![view(Engine::Splice, Side::Mangled)], 1);
        assert_eq!((all.live, all.more), (9, false));
        let session = &all.sessions[0];
        assert_eq!(
            (session.id.as_str(), session.mode.as_str()),
            ("1-17", "forward")
        );
        assert_eq!(session.mangled_leg, LegName::Downstream);
        assert_eq!(session.age_seconds, 1.5);
        let flows = [session.client_to_server, session.server_to_client];
        assert_eq!(flows.map(|flow| flow.bytes), [Some(1), Some(2)]);
        assert_eq!(flows.map(|flow| flow.bytes_per_second), [Some(3), Some(4)]);
        assert_eq!(session.downstream.rtt_seconds, None);
        assert_eq!(session.upstream.rtt_seconds, Some(250e-6));
    }

    #[test]
    fn an_engine_that_tells_its_bytes_at_the_end_alone_has_not_moved_none() {
        let all = told(vec![view(Engine::TokioSplice, Side::Clean)], 1);
        let session = &all.sessions[0];
        assert_eq!(session.client_to_server, Flow::default());
        assert_eq!(session.mangled_leg, LegName::Upstream);
    }

    #[test]
    fn one_more_than_the_limit_says_that_there_are_more() {
        let two = || vec![view(Engine::Splice, Side::Clean); 2];
        assert!(!told(two(), 2).more);
        let one = told(two(), 1);
        assert_eq!((one.sessions.len(), one.more), (1, true));
    }
}
