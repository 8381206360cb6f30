//! What of this host is sound for a relay, and what is not: facts as plain values, judged purely.
//!
//! | file | what it is about |
//! | --- | --- |
//! | `facts` | what is known of the host |
//! | `gather` | reads most of it; the rest comes from those who know rules |
//! | `features` | what the kernel has, told without loading it: pure |
//! | `kernel`, `settings`, `tracking`, `rules`, `limits`, `links` | the judges, one for each kind of facts |
//! | `id`, `finding` | the names of what is judged, and what is said |
//!
//! Nothing on the host is changed. What was not seen is said to be unseen; it is never well.

pub mod facts;
pub mod features;
mod finding;
pub mod gather;
mod id;
mod kernel;
mod limits;
mod links;
mod rules;
mod settings;
mod tracking;

pub use facts::Facts;
pub use finding::{Finding, Findings, Lasting, Report, Status, Unseen};
pub use id::{Group, Id};
pub use settings::warnings;

/// Judges all that is known.
pub fn judge(facts: &Facts) -> Report {
    let mut found = Findings::default();
    kernel::judge(facts, &mut found);
    settings::judge(facts, &mut found);
    tracking::judge(facts, &mut found);
    rules::judge(facts, &mut found);
    limits::judge(facts, &mut found);
    links::judge(facts, &mut found);
    let prefix = match facts.process.net_admin {
        true => "not seen",
        false => "not seen without root",
    };
    for unseen in &mut found.unseen {
        unseen.sentence = format!("{prefix}: {}", unseen.sentence);
    }
    found.report(&facts.release, facts.seconds)
}
