//! The relay does not claim more than it costs: the latency that it says it added, both directions together, is at
//! most what a client measures from outside.
//!
//! `cargo bench --bench added` has the figures; here only the inequality is judged, over several turns, so
//! that one of them may be disturbed.

mod site;

use site::Relay;
use site::bench::{Serve, part, parts, run};
use site::series::Figures;
use site::web::get;

const TURNS: usize = 7;
/// Of what it can carry.
const PART: f64 = 0.3;

#[test]
fn what_the_relay_says_that_it_added_is_at_most_what_a_client_measures() {
    let serve = Serve::start_one("");
    let directory = tempfile::tempdir().unwrap();
    let to = serve.address();
    let relay = Relay::in_front_of(to, directory.path());
    let via = relay.listens_at();
    let closed = run(&format!(
        "--to {via} --mode rr --connections 8 --duration 500ms"
    ))
    .faultless();
    let saturation = part(&closed)["operations_per_s"].as_f64().unwrap();
    let rate = (saturation * PART).round();

    let admin = relay.admin();
    let figures = || Figures::read(&get(admin, "/metrics"));
    let mut unexplained: Vec<f64> = (0..TURNS)
        .map(|_| {
            let before = figures();
            let words = format!("--to {to} --via {via} --mode rr --connections 8 --rate {rate}");
            let report = run(&format!("{words} --duration 400ms --warmup 0s")).faultless();
            let after = figures();
            let [direct, via] = [0, 1]
                .map(|path| parts(&report)[path]["latency"]["mean_ns"].as_f64().unwrap() / 1e9);
            let added: f64 = ["client_to_server", "server_to_client"]
                .map(|direction| {
                    let labels = [("direction", direction)];
                    after.mean_since(&before, "unmangle_added_latency_seconds", &labels)
                })
                .iter()
                .sum();
            println!("{rate}/s: direct {direct:.6} s, via {via:.6} s, added {added:.6} s");
            assert!(added > 0.0);
            via - direct - added
        })
        .collect();
    unexplained.sort_by(f64::total_cmp);
    assert!(unexplained[TURNS / 2] >= 0.0, "{unexplained:?}");
}
