//! docs/metrics.md is what the definitions say.

use std::path::Path;

use unmangle::admin::PROCESS;
use unmangle::diagnose::DEFINITIONS;
use unmangle::diagnose::reason::Reason;
use unmangle::metrics::{Family, Recorded, Recorders, Sample, Value, document};

/// Everything that there is to tell, each with every value that its labels can have.
fn families() -> Vec<Family> {
    let recorded = Recorded {
        names: vec!["ssh".to_owned()],
        recorders: Recorders::new(1),
        histograms: true,
        ..Recorded::default()
    };
    let mut families = recorded.families();
    families.extend(PROCESS.iter().map(Family::empty));
    families.extend(DEFINITIONS.map(|definition| {
        let samples = match definition.labels {
            ["reason"] => Reason::ALL.map(|reason| sample(reason.name())).into(),
            _ => vec![],
        };
        Family {
            definition,
            samples,
        }
    }));
    families
}

fn sample(label: &str) -> Sample {
    Sample {
        labels: vec![label.to_owned()],
        value: Value::Count(0),
    }
}

#[test]
fn the_document_of_the_metrics_is_what_their_definitions_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = document::page(&families(), &["listener", "version"]);
    // A label of which nothing is listed is one that the families above have forgotten.
    let unlisted = page
        .lines()
        .find(|row| row.contains("`: ;") || row.contains("`:  |"));
    assert_eq!(unlisted, None);
    if std::env::var_os("UNMANGLE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, page).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = |(nth, (found, made)): (usize, (&str, &str))| {
        (found != made).then(|| format!("{}:\n- {found}\n+ {made}", nth + 1))
    };
    let nothing = std::iter::repeat("");
    let lines = found.lines().chain(nothing.clone());
    let both = lines.zip(page.lines().chain(nothing)).enumerate();
    let most = found.lines().count().max(page.lines().count());
    let first = both.take(most).find_map(differs);
    assert!(
        found == page,
        "docs/metrics.md is stale; `UNMANGLE_BLESS=1 cargo test --test metrics_document` writes it.\n{}",
        first.unwrap_or_default()
    );
}

#[test]
fn every_definition_keeps_the_conventions_and_its_name_is_no_other_s() {
    let families = families();
    let mut names: Vec<String> = families
        .iter()
        .map(|family| family.definition.scraped_name())
        .collect();
    for family in &families {
        assert_eq!(family.definition.complaint(), None, "{family:?}");
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), families.len());
}
