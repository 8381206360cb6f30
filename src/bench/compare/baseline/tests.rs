use super::*;
use crate::bench::compare::candidate::named;
use crate::bench::compare::gathered::Gathered;
use crate::bench::compare::order::tests::at;
use crate::bench::compare::plan::tests::plan;
use crate::bench::compare::result::tests::terms;

/// So many rounds; ours has these figures in each, haproxy half as many requests and the same p99.
fn comparison(rounds: u32, requests: f64, p99: f64) -> Comparison {
    let candidates = named(["direct", "haproxy", "unmangle"].map(|name| name.parse().unwrap()));
    let mut gathered = Gathered::default();
    for round in 0..rounds {
        // A machine that is slower each round: no ratio shows it.
        let speed = 1.0 / f64::from(round + 1);
        for (candidate, [requests, p99]) in [[4.0, 0.5], [1.0, 1.0], [requests, p99]]
            .into_iter()
            .enumerate()
        {
            let figures = [
                (Measure::Requests, requests * speed),
                (Measure::P99, p99 / speed),
            ];
            gathered.keep(Work::Rr64, candidate, at(round, 0), figures);
        }
    }
    Comparison {
        format: crate::bench::compare::result::FORMAT,
        terms: terms(rounds),
        absent: Vec::new(),
        settings: vec![gathered.told(Offload::On, &[Work::Rr64], &candidates)],
        idle: Vec::new(),
        failures: Vec::new(),
    }
}

fn asked() -> Plan {
    Plan {
        works: vec![Work::Rr64],
        offloads: vec![Offload::On],
        ..plan(&["direct", "haproxy", "unmangle"])
    }
}

fn baseline() -> Baseline {
    Baseline::of(&comparison(6, 2.0, 1.0), &asked(), 0.05).unwrap()
}

fn subject(measure: Measure, to: &str) -> Subject {
    Subject {
        offload: Offload::On,
        work: Work::Rr64,
        measure,
        to: to.to_owned(),
    }
}

/// The verdicts on requests and p99, to haproxy.
fn verdicts(now: &Comparison) -> [Verdict; 2] {
    let judged = baseline().judge(now).unwrap();
    [Measure::Requests, Measure::P99].map(|measure| {
        let of = subject(measure, "haproxy");
        let mut judged = judged.iter();
        judged.find(|judged| judged.of == of).unwrap().verdict
    })
}

#[test]
fn it_has_a_ratio_to_everybody_of_every_measure() {
    let baseline = baseline();
    let of: Vec<String> = baseline
        .entries
        .iter()
        .map(|entry| entry.of.to_string())
        .collect();
    assert_eq!(
        of,
        [
            "unmangle to direct, rr64, requests, offloads on",
            "unmangle to haproxy, rr64, requests, offloads on",
            "unmangle to direct, rr64, p99, offloads on",
            "unmangle to haproxy, rr64, p99, offloads on",
        ]
    );
    let ratios: Vec<f64> = baseline
        .entries
        .iter()
        .map(|entry| entry.found.ratio)
        .collect();
    assert_eq!(ratios, [0.5, 2.0, 2.0, 1.0]);
}

#[test]
fn fewer_requests_and_longer_latencies_are_worse() {
    assert_eq!(verdicts(&comparison(6, 2.0, 1.0)), [Verdict::Same; 2]);
    assert_eq!(
        verdicts(&comparison(6, 1.8, 1.0)),
        [Verdict::Worse, Verdict::Same]
    );
    assert_eq!(
        verdicts(&comparison(6, 2.0, 1.1)),
        [Verdict::Same, Verdict::Worse]
    );
    assert_eq!(verdicts(&comparison(6, 2.2, 0.9)), [Verdict::Better; 2]);
}

#[test]
fn what_is_within_the_allowance_is_the_same() {
    assert_eq!(verdicts(&comparison(6, 1.92, 1.04)), [Verdict::Same; 2]);
}

#[test]
fn an_interval_that_reaches_back_to_what_was_is_forgiven() {
    let baseline = baseline();
    let then = Found {
        ratio: 1.0,
        low: 0.99,
        high: 1.01,
    };
    for (better, noisy, clear) in [
        (Better::Higher, [0.5, 0.96], [0.5, 0.94]),
        (Better::Lower, [1.04, 1.5], [1.06, 1.5]),
    ] {
        let verdict = |[low, high]: [f64; 2]| {
            let ratio = (low + high) / 2.0;
            baseline.verdict(better, then, Found { ratio, low, high })
        };
        assert_eq!(verdict(noisy), Verdict::Same, "{better:?}");
        assert_eq!(verdict(clear), Verdict::Worse, "{better:?}");
    }
}

#[test]
fn what_was_not_measured_is_no_pass_and_what_is_new_is_told() {
    let mut now = comparison(6, 2.0, 1.0);
    now.settings[0]
        .compared
        .retain(|compared| compared.measure == Measure::P99);
    assert_eq!(verdicts(&now), [Verdict::NotMeasured, Verdict::Same]);
    assert!(Verdict::NotMeasured.is_bad() && Verdict::Worse.is_bad());

    let mut small = baseline();
    small.entries.truncate(1);
    let judged = small.judge(&comparison(6, 2.0, 1.0)).unwrap();
    let verdicts: Vec<Verdict> = judged.iter().map(|judged| judged.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::Same, Verdict::New, Verdict::New, Verdict::New]
    );
    assert!(!Verdict::New.is_bad());
}

#[test]
fn a_plan_that_leaves_something_out_does_not_fit() {
    baseline().fits(&asked()).unwrap();
    let refused = |plan: Plan| baseline().fits(&plan).unwrap_err().to_string();
    let nobody = Plan {
        candidates: named(["direct", "haproxy"].map(|name| name.parse().unwrap())),
        ..asked()
    };
    assert_eq!(
        refused(nobody),
        "not measured: unmangle to direct, rr64, requests, offloads on; \
         unmangle to haproxy, rr64, requests, offloads on; and 2 more"
    );
    let one = Plan {
        rounds: 1,
        ..asked()
    };
    assert!(refused(one).contains("--rounds 2"));
    let gateway = Plan {
        shape: Shape::Gateway,
        ..asked()
    };
    assert_eq!(
        refused(gateway),
        "made with --shape forward, --cores work; this run has --shape gateway, --cores work"
    );
}

#[test]
fn a_run_without_what_was_asked_for_makes_none() {
    let refused = |comparison, asked: &Plan| {
        let refused = Baseline::of(&comparison, asked, 0.05).unwrap_err();
        refused.to_string()
    };
    let more = Plan {
        candidates: named(["direct", "nginx", "unmangle"].map(|name| name.parse().unwrap())),
        ..asked()
    };
    let told = refused(comparison(6, 2.0, 1.0), &more);
    assert_eq!(
        told,
        "not measured: unmangle to nginx, rr64, requests, offloads on"
    );
    assert!(refused(comparison(1, 2.0, 1.0), &asked()).contains("--rounds 2"));
    let nobody = Plan {
        candidates: named(["direct", "haproxy"].map(|name| name.parse().unwrap())),
        ..asked()
    };
    let told = "there are no ratios of unmangle";
    assert_eq!(refused(comparison(6, 2.0, 1.0), &nobody), told);
    assert_eq!(Baseline::can_be_of(&nobody).unwrap_err().to_string(), told);
    Baseline::can_be_of(&more).unwrap();
}

#[test]
fn what_is_written_is_read_again() {
    let baseline = baseline();
    let read = Baseline::parse(baseline.text().unwrap().as_bytes()).unwrap();
    assert_eq!(read.entries, baseline.entries);
    assert_eq!(read.allowance, baseline.allowance);
}

#[test]
fn what_is_no_baseline_is_refused_in_one_line() {
    let text = baseline().text().unwrap();
    for (text, word) in [
        (String::new(), "--write-baseline"),
        ("{}".to_owned(), "format"),
        (text.replace("\"format\": 1", "\"format\": 2"), "format 2"),
        (
            text.replace("\"allowance\": 0.05", "\"allowance\": 1.5"),
            "1.5",
        ),
        (text.replacen("\"low\":0.5", "\"low\":0.6", 1), "interval"),
        (
            text.replace("\"to\":\"haproxy\"", "\"to\":\"direct\""),
            "twice",
        ),
        (text.replace("\"ratio\"", "\"factor\""), "factor"),
    ] {
        let refused = Baseline::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(
            refused.contains(word) && !refused.contains('\n'),
            "{refused}"
        );
    }
}
