//! How sessions are shared out among the workers. No test here needs a privilege: the relay forwards on this host's own
//! loopback addresses.

mod site;

use serde_json::Value;

use site::asked::Asked;
use site::{Pair, carry, pattern};

/// How many flows there are.
const FLOWS: usize = 8;
/// What each carries: more than fits into the relay's buffer for short messages.
const BULK: usize = 256 << 10;
/// The kernel deals connections out at random, and such a deal is even about every second time: so often it is not.
const RELAYS: usize = 4;

/// How many sessions each worker has: a session's name is its worker's number and its own.
fn shares(relay: &Asked, workers: usize) -> Vec<usize> {
    let answer = relay.ask("GET /api/sessions");
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    let mut shares = vec![0; workers];
    for session in told["sessions"].as_array().unwrap() {
        let name = session["id"].as_str().unwrap();
        let (worker, _) = name.split_once('-').unwrap();
        shares[worker.parse::<usize>().unwrap()] += 1;
    }
    assert_eq!(told["more"], Value::Bool(false));
    shares
}

#[test]
fn eight_bulk_flows_land_evenly_on_the_workers() {
    for workers in [2, 4] {
        for _ in 0..RELAYS {
            let relay = Asked::with(&["--workers", &workers.to_string()]);
            let flows: Vec<Pair> = (0..FLOWS).map(|_| relay.here.connect(1)).collect();
            for (seed, flow) in flows.iter().enumerate() {
                carry(&flow.server, &flow.client, &pattern(seed as u64, BULK));
            }
            let shares = shares(&relay, workers);
            assert_eq!(shares.iter().sum::<usize>(), FLOWS, "{shares:?}");
            let most = FLOWS / workers + 1;
            assert!(shares.iter().all(|share| *share <= most), "{shares:?}");
        }
    }
}

/// The processors that each worker of a relay may use.
fn processors(relay: &Asked) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", relay.here.relay.id())).unwrap();
    let statuses = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")));
    let workers = statuses
        .map(Result::unwrap)
        .filter(|status| status.starts_with("Name:\tworker-"));
    let told = |status: String| {
        let line = status.split("Cpus_allowed_list:\t").nth(1).unwrap();
        line.lines().next().unwrap().to_owned()
    };
    let mut processors: Vec<String> = workers.map(told).collect();
    processors.sort();
    processors
}

#[test]
fn each_worker_stays_on_a_processor_of_its_own_where_there_are_as_many() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    let relay = Asked::with(&["--workers", &cpus.to_string()]);
    let mut own = processors(&relay);
    assert!(
        own.iter().all(|list| list.parse::<usize>().is_ok()),
        "{own:?}"
    );
    own.dedup();
    assert_eq!(own.len(), cpus);
    let not_so: [&[&str]; 2] = [
        &["--workers", &(cpus + 1).to_string()],
        &["--workers", &cpus.to_string(), "--pin-workers", "off"],
    ];
    for arguments in not_so {
        let mut left = processors(&Asked::with(arguments));
        left.dedup();
        assert_eq!(left.len(), 1, "{arguments:?}: {left:?}");
    }
}
