//! Whether rows show what they should. Pure; one function a requirement.

use unmangle::lab::{FlowDirection, Outcome, Path, Row};

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

// === parts ===

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
        "{scenario} {path:?} {direction:?} {family:?}, opened from the {opened_from:?}, run {run}: \
         {outcome:?} {rest}, INVALID {}, {}, {}, {}",
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
