//! Whether rows show what they should. Pure; one function a requirement.

use unmangle::lab::matrix::label;
use unmangle::lab::{Family, FlowDirection, Outcome, Path, Row, Tool, scenario};

/// What a judge found.
#[derive(Default)]
pub struct Judged {
    /// Numbers worth knowing, whatever the verdict.
    pub reported: Vec<String>,
    /// One for each thing that is not as required; none means that it is met.
    pub complaints: Vec<String>,
}

/// `direct` uploads: `reset` in isn-rewrite and pix; `reset` or `stall` in wscale-strip.
pub fn faults_kill(rows: &[Row]) -> Judged {
    Judged {
        complaints: complaints(rows, |row| match row.scenario.as_str() {
            "wscale-strip" => was_killed(row),
            _ => row.outcome == Outcome::Reset,
        }),
        reported: vec![tally(rows)],
    }
}

/// `split` uploads: `reset` or `stall`; in isn-rewrite it may pass and is reported.
pub fn splitting_is_not_enough(rows: &[Row]) -> Judged {
    let required: Vec<Row> = rows
        .iter()
        .filter(|row| row.scenario != "isn-rewrite")
        .cloned()
        .collect();
    Judged {
        complaints: complaints(&required, was_killed),
        reported: ["pix", "wscale-strip", "isn-rewrite"]
            .map(|scenario| format!("{scenario}: {}", tally(&of(rows, scenario, Path::Split))))
            .into(),
    }
}

/// `relay`: `ok`, bytes equal, nothing INVALID anywhere. `direct` uploads prove that the faults are
/// there.
pub fn all_arrives(rows: &[Row]) -> Judged {
    let relayed = |path: Path| path == Path::Relay;
    Judged {
        complaints: complaints(rows, |row| match row.path {
            path if relayed(path) => {
                row.outcome == Outcome::Ok && row.sha256_ok && row.conntrack_invalid.sum() == 0
            }
            _ if row.scenario == "clean" => row.outcome == Outcome::Ok,
            _ => row.direction != FlowDirection::Upload || row.outcome != Outcome::Ok,
        }),
        reported: vec![format!(
            "{} transfers through the relay: {}",
            rows.iter().filter(|row| relayed(row.path)).count(),
            tally(
                &rows
                    .iter()
                    .filter(|row| relayed(row.path))
                    .cloned()
                    .collect::<Vec<_>>()
            )
        )],
    }
}

/// Medians: relay at least 10 times as fast as liberal. A liberal transfer that did not complete
/// counts with the time after which it was given up.
pub fn ten_times_liberal(rows: &[Row]) -> Judged {
    let mut judged = Judged {
        complaints: complaints(rows, |row| {
            row.path != Path::Relay || row.outcome == Outcome::Ok
        }),
        ..Judged::default()
    };
    for scenario in ["pix", "isn-rewrite"] {
        let liberal = median(&of(rows, scenario, Path::Liberal));
        let relay = median(&of(rows, scenario, Path::Relay));
        let times = liberal / relay;
        let told = format!(
            "{scenario}: liberal {liberal:.2} s, relay {relay:.2} s, {times:.1} times as fast"
        );
        // Not a number fails, too: there was nothing to compare.
        if times.is_nan() || times < 10.0 {
            judged.complaints.push(told.clone());
        }
        judged.reported.push(told);
    }
    judged
}

/// Against the median of clean, relayed: pix by its median, isn-rewrite in every run.
pub fn at_most_twice_clean(rows: &[Row]) -> Judged {
    let clean = median(&of(rows, "clean", Path::Relay));
    let pix = median(&of(rows, "pix", Path::Relay));
    let isn_rewrite = of(rows, "isn-rewrite", Path::Relay);
    let slowest = isn_rewrite
        .iter()
        .map(|row| row.seconds)
        .fold(0.0, f64::max);
    let mut judged = Judged {
        complaints: complaints(rows, |row| row.outcome == Outcome::Ok),
        reported: vec![format!(
            "clean {clean:.2} s; pix {pix:.2} s; isn-rewrite {:.2} s, slowest of {} {slowest:.2} s",
            median(&isn_rewrite),
            isn_rewrite.len()
        )],
    };
    for (what, seconds) in [("pix", pix), ("isn-rewrite, slowest", slowest)] {
        let times = seconds / clean;
        if times.is_nan() || times > 2.0 {
            judged
                .complaints
                .push(format!("{what}: {times:.2} times clean"));
        }
    }
    judged
}

/// Every transfer completes; times are reported.
pub fn both_complete(rows: &[Row]) -> Judged {
    Judged {
        complaints: complaints(rows, |row| row.outcome == Outcome::Ok),
        reported: rows.iter().map(line).collect(),
    }
}

/// `relay`: every scenario by every tool that carries a file, both ways, in both families.
pub fn every_tool_arrives(rows: &[Row]) -> Judged {
    let scenarios = scenario::all();
    let mut judged = Judged {
        complaints: complaints(rows, is_cured),
        reported: scenarios
            .iter()
            .map(|scenario| {
                let rows = of(rows, scenario.name, Path::Relay);
                format!("{}: {}", scenario.name, times(&rows))
            })
            .collect(),
    };
    for scenario in &scenarios {
        for tool in BULK {
            let rows = of(rows, scenario.name, Path::Relay);
            let of_tool = rows.into_iter().filter(|row| row.tool == tool).collect();
            judged.complaints.extend(missing_ways(
                &format!("{} {}", scenario.name, label(tool)),
                of_tool,
            ));
        }
    }
    judged
}

/// `idle-drop`, by a session that is silent: `direct` fails, `relay` survives.
pub fn silence_is_survived(rows: &[Row]) -> Judged {
    let silent = |row: &Row| row.tool == Tool::SshIdle;
    let direct = of(rows, "idle-drop", Path::Direct);
    let relay = of(rows, "idle-drop", Path::Relay);
    let mut judged = Judged {
        complaints: complaints(rows, |row| match row.path {
            Path::Direct => silent(row) && was_killed(row),
            _ => silent(row) && is_cured(row),
        }),
        reported: vec![
            format!("direct: {}", tally(&direct)),
            format!("relay: {}", times(&relay)),
        ],
    };
    if direct.is_empty() {
        judged.complaints.push("direct was not measured".to_owned());
    }
    judged.complaints.extend(missing_ways("relay", relay));
    judged
}

/// `split`: not one transfer arrives in isn-rewrite-lossy-lan and blackhole. Where a blackhole takes the
/// server's very first segment, ssh gives up by itself after 10 s: an error for the lab, a stall in truth.
pub fn splitting_fails(rows: &[Row]) -> Judged {
    let gave_up = |row: &Row| {
        row.scenario == "blackhole" && row.outcome == Outcome::Error && row.seconds >= 9.5
    };
    let mut judged = Judged {
        complaints: complaints(rows, |row| was_killed(row) || gave_up(row)),
        ..Judged::default()
    };
    for scenario in ["isn-rewrite-lossy-lan", "blackhole"] {
        let split = of(rows, scenario, Path::Split);
        if split.is_empty() {
            judged
                .complaints
                .push(format!("{scenario} was not measured"));
        }
        judged
            .reported
            .push(format!("{scenario}: {}", tally(&split)));
    }
    judged
}

/// `relay`: each of 20 runs arrives, however slowly; the times are reported.
pub fn twenty_arrive(rows: &[Row]) -> Judged {
    let mut judged = Judged {
        complaints: complaints(rows, is_cured),
        reported: vec![times(rows)],
    };
    if rows.len() < 20 {
        judged
            .complaints
            .push(format!("{} runs are not 20", rows.len()));
    }
    judged
}

/// Medians: relay at least 3 times as fast as normalise; both arrive.
pub fn three_times_normalise(rows: &[Row]) -> Judged {
    let normalise = median(&of(rows, "pix", Path::Normalise));
    let relay = median(&of(rows, "pix", Path::Relay));
    let times = normalise / relay;
    let told =
        format!("pix: normalise {normalise:.2} s, relay {relay:.2} s, {times:.1} times as fast");
    let mut judged = Judged {
        complaints: complaints(rows, is_cured),
        reported: vec![told.clone()],
    };
    // Not a number fails, too: there was nothing to compare.
    if times.is_nan() || times < 3.0 {
        judged.complaints.push(told);
    }
    judged
}

/// `normalise`: what rules can cure arrives, with nothing INVALID; the others are reported.
pub fn rules_cure(rows: &[Row]) -> Judged {
    let curable = |row: &Row| CURED_BY_RULES.contains(&row.scenario.as_str());
    let (cured, others): (Vec<Row>, Vec<Row>) = rows.iter().cloned().partition(curable);
    let mut judged = Judged {
        complaints: complaints(&cured, is_cured),
        ..Judged::default()
    };
    for scenario in CURED_BY_RULES {
        let rows = of(rows, scenario, Path::Normalise);
        judged
            .reported
            .push(format!("{scenario}: {}", times(&rows)));
        judged.complaints.extend(missing_ways(scenario, rows));
    }
    judged.reported.extend(
        others
            .iter()
            .map(|row| format!("not required: {}", line(row))),
    );
    judged
}

/// `clean` arrives either way; `pix` is killed without the relay and arrives with it.
pub fn fault_and_cure(rows: &[Row]) -> Judged {
    let mut judged = Judged {
        complaints: complaints(rows, |row| match (row.scenario.as_str(), row.path) {
            ("pix", Path::Direct) => was_killed(row),
            _ => is_cured(row),
        }),
        reported: rows.iter().map(line).collect(),
    };
    for scenario in ["clean", "pix"] {
        for path in [Path::Direct, Path::Relay] {
            if of(rows, scenario, path).is_empty() {
                judged
                    .complaints
                    .push(format!("{scenario} {path:?} was not measured"));
            }
        }
    }
    judged
}

// === parts ===

/// The tools that carry a file.
const BULK: [Tool; 4] = [Tool::Scp, Tool::Sftp, Tool::RsyncSsh, Tool::RsyncDaemon];

/// What stripping and clamping can cure. `clean` has nothing to cure, and `idle-drop` nothing that
/// rules could do.
const CURED_BY_RULES: [&str; 7] = [
    "isn-rewrite",
    "pix",
    "wscale-strip",
    "isn-rewrite-lossy-lan",
    "blackhole",
    "reorder",
    "asa",
];

/// Arrived as it was sent, with nothing INVALID anywhere.
fn is_cured(row: &Row) -> bool {
    row.outcome == Outcome::Ok && row.sha256_ok && row.conntrack_invalid.sum() == 0
}

/// The directions and families in which nothing was measured: what is not there cannot be met.
fn missing_ways(what: &str, rows: Vec<Row>) -> Vec<String> {
    let ways = [FlowDirection::Upload, FlowDirection::Download]
        .into_iter()
        .flat_map(|direction| [Family::V4, Family::V6].map(|family| (direction, family)));
    ways.filter(|way| !rows.iter().any(|row| (row.direction, row.family) == *way))
        .map(|(direction, family)| {
            format!("{what} {direction:?} {family:?} was not measured").to_lowercase()
        })
        .collect()
}

/// How rows ended, and how long that took.
fn times(rows: &[Row]) -> String {
    let worst = rows.iter().map(|row| row.seconds).fold(0.0, f64::max);
    let invalid: u64 = rows.iter().map(|row| row.conntrack_invalid.sum()).sum();
    format!(
        "{}; median {:.2} s, worst {worst:.2} s, INVALID {invalid}",
        tally(rows),
        median(rows)
    )
}

/// A row in one line.
pub fn line(row: &Row) -> String {
    let Row {
        scenario,
        path,
        direction,
        family,
        opened_from,
        run,
        seconds,
        outcome,
        ..
    } = row;
    let invalid = row.conntrack_invalid;
    let rest = match outcome {
        Outcome::Ok => format!("{seconds:.2} s"),
        _ => format!("after {seconds:.1} s"),
    };
    format!(
        "{scenario} {path:?} {} {direction:?} {family:?}, opened from the {opened_from:?}, run {run}: \
         {outcome:?} {rest}, INVALID {}, {}, {}, {}",
        label(row.tool),
        invalid.client, invalid.server, invalid.relay_mangled, invalid.relay_clean
    )
    .to_lowercase()
}

fn complaints(rows: &[Row], as_required: impl Fn(&Row) -> bool) -> Vec<String> {
    rows.iter()
        .filter(|row| !as_required(row))
        .map(line)
        .collect()
}

fn was_killed(row: &Row) -> bool {
    matches!(row.outcome, Outcome::Reset | Outcome::Stall)
}

fn of(rows: &[Row], scenario: &str, path: Path) -> Vec<Row> {
    rows.iter()
        .filter(|row| row.scenario == scenario && row.path == path)
        .cloned()
        .collect()
}

/// How many rows ended in which way.
fn tally(rows: &[Row]) -> String {
    let outcomes = [Outcome::Ok, Outcome::Reset, Outcome::Stall, Outcome::Error];
    outcomes
        .map(|outcome| {
            (
                outcome,
                rows.iter().filter(|row| row.outcome == outcome).count(),
            )
        })
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(outcome, count)| format!("{count} {outcome:?}").to_lowercase())
        .collect::<Vec<_>>()
        .join(", ")
}

/// The middle one of the times; NaN where there is none.
fn median(rows: &[Row]) -> f64 {
    let mut seconds: Vec<f64> = rows.iter().map(|row| row.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    match seconds.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => seconds[n / 2],
        n => (seconds[n / 2 - 1] + seconds[n / 2]) / 2.0,
    }
}
