//! The full matrix: real transfers with `unmangle lab run`, as a user would make them, and one
//! verdict for each requirement. Exit code 1 if one is not met.
//!
//! It has no test harness and is not part of `cargo test`: `make acceptance` runs it, as root.
//! With arguments, only the requirements whose name contains one of them are tried.

mod judge;
mod plan;

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use plan::{Measurement, REQUIREMENTS, Requirement};
use unmangle::lab::Row;

/// No measurement is begun after this.
const BUDGET: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    // Cargo passes its own switches to a test program; they mean nothing here.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let began = Instant::now();
    let mut failed = 0;
    for requirement in REQUIREMENTS {
        if !wanted.is_empty() && !wanted.iter().any(|name| requirement.name.contains(name)) {
            continue;
        }
        let Verdict { met, said } = if began.elapsed() < BUDGET {
            try_it(requirement)
        } else {
            Verdict::unmet("not tried: the hour is over")
        };
        failed += usize::from(!met);
        let word = if met { "met" } else { "NOT MET" };
        println!("{word:<8} {}: {}", requirement.name, requirement.text);
        for line in said {
            println!("         {line}");
        }
    }
    println!(
        "\nacceptance: {failed} of the requirements tried not met, {:.0} s",
        began.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(failed > 0))
}

/// Whether a requirement is met, and what there is to say.
struct Verdict {
    met: bool,
    said: Vec<String>,
}

impl Verdict {
    fn unmet(why: &str) -> Self {
        Self {
            met: false,
            said: vec![why.to_owned()],
        }
    }
}

fn try_it(requirement: &Requirement) -> Verdict {
    let mut rows = Vec::new();
    for measurement in requirement.measurements {
        match measure(measurement) {
            Ok(measured) => rows.extend(measured),
            Err(why) => return Verdict::unmet(&why),
        }
    }
    let judged = (requirement.judge)(&rows);
    let mut said = judged.reported;
    said.extend(
        judged
            .complaints
            .iter()
            .map(|complaint| format!("NOT MET: {complaint}")),
    );
    Verdict {
        met: judged.complaints.is_empty(),
        said,
    }
}

/// Runs the lab and reads its rows. The lab's own exit code is not asked: the judges decide.
fn measure(measurement: &Measurement) -> Result<Vec<Row>, String> {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_unmangle"));
    lab.args(["lab", "run", "--json"])
        .args(measurement.0.split_whitespace());
    eprintln!("unmangle lab run --json {}", measurement.0);
    let output = lab
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("unmangle lab run: {error}"))?;
    let rows: Vec<Row> = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("unmangle lab run {}: no rows: {error}", measurement.0))?;
    for row in &rows {
        eprintln!("  {}", judge::line(row));
    }
    if rows.is_empty() {
        return Err(format!("unmangle lab run {}: no rows", measurement.0));
    }
    Ok(rows)
}
