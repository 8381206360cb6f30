//! What `/api/figures` answers: what counts on, for those who draw it. `docs/api-figures.schema.json` describes it for
//! others. Pure: the time is an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metrics::{Recorded, Times};

/// What the relay has counted and timed since its start, all listeners together; after an upgrade it counts on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "What unmangle answers to GET /api/figures")]
pub struct Figures {
    /// When this was so: seconds since 1970.
    pub at_seconds: f64,
    /// Bytes passed on: as they pass with the engine splice, at the end of their session with the others.
    pub passed_bytes: Both<u64>,
    /// Connections accepted, those included that the lists and limits reset.
    pub accepted: u64,
    /// Sessions that both sides closed in order.
    pub closed: u64,
    /// Sessions ended by a reset, a timeout or the relay.
    pub aborted: u64,
    /// Dials that failed after the client had been accepted.
    pub dial_failures: u64,
    /// Directions of sessions that are stuck now.
    pub stuck: u64,
    /// Threads that did not answer in time: what they have recorded lately is missing.
    pub threads_silent: u64,
    /// What the relay added; null before the first byte, and where times are not recorded.
    pub added: Both<Option<Percentiles>>,
    /// How long dials took; null before the first, and where times are not recorded.
    pub connect: Option<Percentiles>,
    /// The two legs.
    pub legs: Legs,
}

/// One value for each direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Both<T> {
    /// From the client to the server.
    pub client_to_server: T,
    /// From the server to the client.
    pub server_to_client: T,
}

/// How the two legs do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Legs {
    /// That to the client.
    pub downstream: LegFigures,
    /// That to the server.
    pub upstream: LegFigures,
}

/// How one leg does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LegFigures {
    /// Its round-trip times, as the kernel tells them every ten seconds and at a session's end; null before the first.
    pub rtt: Option<Percentiles>,
    /// Segments that were sent again.
    pub retransmits: u64,
}

/// Times, by how many of them took no longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Percentiles {
    /// How many there are.
    pub count: u64,
    /// From the shortest to the longest.
    pub points: Vec<Point>,
}

/// So many took no longer than that.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// How many of 100: 0 is the shortest, 100 the longest.
    pub percent: f64,
    /// Than that.
    pub seconds: f64,
}

/// Between the shortest and the longest, nine by nine.
const BETWEEN: [f64; 9] = [25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99];

/// What was recorded, as it is told.
pub(super) fn figures(recorded: &Recorded, now: SystemTime) -> Figures {
    let merged = recorded.merged();
    let counted = &merged.counters;
    let times = |times: &Times| Some(percentiles(times)?).filter(|_| recorded.histograms);
    let stuck = &recorded.gauges.stuck;
    let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Figures {
        at_seconds: since_1970.as_secs_f64(),
        passed_bytes: Both {
            client_to_server: counted.bytes_client_to_server,
            server_to_client: counted.bytes_server_to_client,
        },
        accepted: counted.accepted,
        closed: counted.sessions_closed,
        aborted: counted.sessions_aborted,
        dial_failures: counted.dial_failures,
        stuck: stuck.client + stuck.server + stuck.relay,
        threads_silent: recorded.gauges.silent,
        added: Both {
            client_to_server: times(&merged.added.client_to_server),
            server_to_client: times(&merged.added.server_to_client),
        },
        connect: times(&merged.connect),
        legs: Legs {
            downstream: LegFigures {
                rtt: times(&merged.rtt.downstream),
                retransmits: counted.retransmits_downstream,
            },
            upstream: LegFigures {
                rtt: times(&merged.rtt.upstream),
                retransmits: counted.retransmits_upstream,
            },
        },
    }
}

fn percentiles(times: &Times) -> Option<Percentiles> {
    let between = BETWEEN.map(|percent| (percent, times.percentile(percent)));
    let all = [(0.0, times.min())].into_iter().chain(between);
    let points = all.chain([(100.0, times.max())]);
    (times.count() > 0).then(|| Percentiles {
        count: times.count(),
        points: points
            .map(|(percent, time)| Point {
                percent,
                seconds: time.as_secs_f64(),
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Recorders;

    #[test]
    fn what_nobody_has_timed_is_null_and_the_rest_ends_with_its_longest() {
        let mut recorded = Recorded {
            recorders: Recorders::new(1),
            histograms: true,
            ..Recorded::default()
        };
        let now = UNIX_EPOCH + Duration::from_millis(1500);
        let before = figures(&recorded, now);
        assert_eq!((before.at_seconds, before.connect), (1.5, None));

        let of = recorded.recorders.of(crate::metrics::ListenerId(0));
        of.counters.bytes_client_to_server = 7;
        for milliseconds in 1..=100 {
            of.connect.record(Duration::from_millis(milliseconds));
        }
        let after = figures(&recorded, now);
        assert_eq!(after.passed_bytes.client_to_server, 7);
        assert_eq!(after.added.client_to_server, None);
        let connect = after.connect.unwrap();
        assert_eq!(connect.count, 100);
        let last = connect.points.last().unwrap();
        assert_eq!(last.percent, 100.0);
        assert!((0.1..0.102).contains(&last.seconds), "{last:?}");
        let rises = |pair: &[Point]| pair[0].seconds <= pair[1].seconds;
        assert!(connect.points.windows(2).all(rises), "{connect:?}");

        recorded.histograms = false;
        assert_eq!(figures(&recorded, now).connect, None);
    }
}
