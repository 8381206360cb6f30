//! The full matrix: real transfers with `unmangle lab run`, as a user would make them, and one
//! verdict for each requirement. Exit code 1 if one is not met.
//!
//! It has no test harness and is not part of `cargo test`: `make acceptance` runs it, as root.
//! With arguments, only the requirements whose name contains one of them are tried.

mod judge;
mod plan;
mod user;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use plan::{Measurement, REQUIREMENTS, Requirement};
use unmangle::lab::Row;
use user::User;

/// The program under test.
const UNMANGLE: &str = env!("CARGO_BIN_EXE_unmangle");

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
        let Verdict { word, said } = if began.elapsed() < BUDGET {
            try_it(requirement)
        } else {
            Verdict::unmet("not tried: the hour is over")
        };
        failed += usize::from(word == Word::Unmet);
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
    word: Word,
    said: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Word {
    Met,
    Unmet,
    /// The machine does not allow what it takes.
    Untried,
}

impl Verdict {
    fn unmet(why: &str) -> Self {
        Self {
            word: Word::Unmet,
            said: vec![why.to_owned()],
        }
    }
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Met => "met",
            Self::Unmet => "NOT MET",
            Self::Untried => "UNTRIED",
        })
    }
}

/// Why there are no rows.
enum NoRows {
    /// The machine forbids it, and the lab says what to allow.
    Forbidden(String),
    /// Something went wrong.
    Failed(String),
}

fn try_it(requirement: &Requirement) -> Verdict {
    let mut rows = Vec::new();
    for measurement in requirement.measurements {
        match measure(measurement) {
            Ok(measured) => rows.extend(measured),
            Err(NoRows::Failed(why)) => return Verdict::unmet(&why),
            Err(NoRows::Forbidden(why)) => {
                return Verdict {
                    word: Word::Untried,
                    said: vec![why],
                };
            }
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
        word: match judged.complaints.is_empty() {
            true => Word::Met,
            false => Word::Unmet,
        },
        said,
    }
}

/// Runs the lab and reads its rows. The lab's own exit code is not asked: the judges decide.
fn measure(measurement: &Measurement) -> Result<Vec<Row>, NoRows> {
    match measurement {
        Measurement::Lab(arguments) => {
            lab(Command::new(UNMANGLE).stderr(Stdio::inherit()), arguments).map_err(NoRows::Failed)
        }
        Measurement::AsUser(arguments) => {
            let user = User::new(Path::new(UNMANGLE))
                .map_err(|error| NoRows::Failed(format!("making an ordinary user: {error}")))?;
            lab(&mut user.unmangle(), arguments).map_err(|why| match why.contains(" forbid") {
                true => NoRows::Forbidden(why),
                false => NoRows::Failed(why),
            })
        }
    }
}

/// Adds the lab's arguments, runs it, and reads its rows.
fn lab(command: &mut Command, arguments: &str) -> Result<Vec<Row>, String> {
    let line = format!("unmangle lab run --json {arguments}");
    eprintln!("{line}");
    let output = command
        .args(["lab", "run", "--json"])
        .args(arguments.split_whitespace())
        .output()
        .map_err(|error| format!("{line}: {error}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stderr = stderr.trim();
    let rows: Vec<Row> = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{line}: no rows: {error}; {stderr}"))?;
    for row in &rows {
        eprintln!("  {}", judge::line(row));
    }
    if rows.is_empty() {
        return Err(format!("{line}: no rows; {stderr}"));
    }
    Ok(rows)
}
