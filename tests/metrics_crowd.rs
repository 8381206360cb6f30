//! Asking a relay how it does costs about the same whether it has a hundred sessions or thousands.
//!
//! `cargo bench --bench scrape` has the times; here it is their ratio that is judged.

mod site;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use site::bench::{Running, Serve, bench};
use site::series::Figures;
use site::web::get;
use site::{PATIENCE, Relay, until};

/// As many as an answer holds.
const FEW: u64 = 100;
const MANY: u64 = 9_000;
const TIMES: usize = 15;
/// What is asked, and how much longer an answer may take with many than with few, of which there are a ninetieth: going
/// through thousands costs something. Kernels before 6.2 do not say how many descriptors are open, so for `/metrics`
/// they are counted there.
const QUESTIONS: [(&str, f64); 2] = [("/metrics", 30.0), ("/api/sessions?limit=100", 10.0)];

#[test]
fn thousands_of_sessions_do_not_make_an_answer_long() {
    // The relay needs two descriptors a session.
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let many = MANY.min((limit - 500) / 2);
    assert!(many >= 10 * FEW, "only {limit} descriptors may be open");
    let [few, many] = [FEW, many].map(|sessions| {
        let serve = Serve::start_one("");
        let directory = tempfile::tempdir().unwrap();
        let relay = Relay::in_front_of(serve.address(), directory.path());
        let via = relay.listens_at();
        let idle = format!("run --to {via} --mode idle --connections {sessions} --duration 1h");
        let _idle = Running::start(bench(&idle));
        let admin = relay.admin();
        until("all sessions are there", PATIENCE, || {
            let figures = Figures::read(&get(admin, "/metrics"));
            figures.sum("unmangle_sessions_active", &[]) == Some(sessions as f64)
        });
        let told: serde_json::Value = serde_json::from_str(&get(admin, QUESTIONS[1].0)).unwrap();
        assert_eq!(
            told["sessions"].as_array().unwrap().len() as u64,
            FEW,
            "{told}"
        );
        QUESTIONS.map(|(question, _)| middle(admin, question))
    });
    for (((question, factor), few), many) in QUESTIONS.into_iter().zip(few).zip(many) {
        let ratio = many.as_secs_f64() / few.as_secs_f64();
        println!("{question}: {few:?} with few, {many:?} with many: {ratio:.1} times as long");
        assert!(
            ratio < factor,
            "{question}: {few:?} with few, {many:?} with many"
        );
    }
}

/// How long the middle one of several answers takes.
fn middle(admin: SocketAddr, question: &str) -> Duration {
    let mut times: Vec<Duration> = (0..TIMES)
        .map(|_| {
            let begun = Instant::now();
            get(admin, question);
            begun.elapsed()
        })
        .collect();
    times.sort();
    times[TIMES / 2]
}
