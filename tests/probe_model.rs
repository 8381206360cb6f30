//! The experiments of `probe run`, on both ends of a path that is emulated in virtual time: for everything that a
//! firewall may do, the right evidence comes out, and in a time that people wait.

#[path = "probe_model/ends.rs"]
mod ends;
#[path = "probe_model/flows.rs"]
mod flows;
#[path = "probe_model/headers.rs"]
mod headers;
#[path = "probe_model/rewrites.rs"]
mod rewrites;
#[path = "probe_model/sizes.rs"]
mod sizes;

use std::time::Duration;

use unmangle::diagnose::probe::drive::{Wishes, drive};
use unmangle::diagnose::probe::ends::Ends;
use unmangle::diagnose::probe::evidence::Evidence;

use ends::{Model, Setting};

/// All that always is tried, and how long it took.
fn run(setting: &Setting) -> (Evidence, Duration) {
    let mut model = Model::new(setting);
    let path = model.path();
    let evidence =
        drive(&mut model, path, &Wishes::default(), &mut |_| {}).expect("nobody is lost");
    (evidence, model.now())
}
