//! `docs/metrics.md`, made of the definitions, so that neither is ahead of the other. Pure: text.

use super::bounds::Bounds;
use super::family::{BaseUnit, Family, Kind};

const BEGINNING: &str = "\
# Metrics

What `GET /metrics` tells, as Prometheus 0.0.4 or OpenMetrics 1.0.0, whichever the scraper prefers. Made of the
definitions by `UNMANGLE_BLESS=1 cargo test --test metrics_document`; a test fails when it is stale.

Everything counts from the start of the process, but for what conntrack counts itself (`unmangle_conntrack_*`, without
`invalid_reason`, `ignored` and `reasons_lost`): that counts from when the network namespace was made or conntrack was
loaded, whichever was later. Nothing is reset by being read. `listener` is the name that the settings give it; other
labels have the values that are listed. None has a value that a client could choose.
";

const WHAT_TIMES_MEAN: &str = "\
## What the times mean

**Added latency** (`unmangle_added_latency_seconds`) begins when the worker wakes up because a socket can be read, and ends when
the other socket has taken the last of the bytes that were there. Not in it:

- the kernel's queueing before the wake-up: from the packet's arrival until the worker runs. On a host whose cores are
  busy that can be the greater part, and shows in the round trips that `unmangle bench run --via` measures from outside;
- what the kernel does after it has taken the bytes: congestion window, queue of the interface, retransmissions;
- the time in which the other side's window was shut. That is **stall** (`unmangle_stall_seconds`), the peer's doing and
  kept apart.

Engines that are not ours (`--engine tokio-splice`, `copy`) tell neither.
";

/// The page, of families that have a sample for every value that a label can have; of the labels in `open` anything may
/// be the value.
pub fn page(families: &[Family], open: &[&str]) -> String {
    let mut sorted: Vec<&Family> = families.iter().collect();
    sorted.sort_by_key(|family| family.definition.scraped_name());
    let mut page = BEGINNING.to_owned();
    for (kind, heading) in [
        (Kind::Histogram, "Histograms"),
        (Kind::Counter, "Counters"),
        (Kind::Gauge, "Gauges"),
    ] {
        let of_kind = sorted
            .iter()
            .filter(|family| family.definition.kind == kind);
        let rows: String = of_kind.map(|family| row(family, open)).collect();
        if !rows.is_empty() {
            let head = "| name | labels | unit | meaning |\n| --- | --- | --- | --- |";
            page += &format!("\n## {heading}\n\n{head}\n{rows}");
        }
    }
    page.push('\n');
    page += WHAT_TIMES_MEAN;
    page += &buckets();
    page
}

fn row(family: &Family, open: &[&str]) -> String {
    let definition = family.definition;
    let labels = definition.labels.iter().enumerate().map(|(nth, label)| {
        if open.contains(label) {
            return format!("`{label}`");
        }
        let mut values: Vec<String> = Vec::new();
        for sample in &family.samples {
            let value = format!("`{}`", sample.labels[nth]);
            if !values.contains(&value) {
                values.push(value);
            }
        }
        format!("`{label}`: {}", values.join(", "))
    });
    let labels = cell(&labels.collect::<Vec<_>>().join("; "));
    let (name, unit) = (definition.scraped_name(), definition.unit.name());
    let (unit, help) = (unit.unwrap_or_default(), cell(definition.help));
    format!("| `{name}` | {labels} | {unit} | {help} |\n")
}

/// A text that does not end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn buckets() -> String {
    let list = |bounds: Bounds, unit: BaseUnit| {
        let each = bounds.in_base_units().map(|bound| match unit {
            BaseUnit::Bytes => bytes(bound as u64),
            BaseUnit::Seconds | BaseUnit::None => bound.to_string(),
        });
        each.collect::<Vec<_>>().join(", ")
    };
    let (times, sizes) = (
        list(Bounds::TIMES, BaseUnit::Seconds),
        list(Bounds::SIZES, BaseUnit::Bytes),
    );
    format!("
## Buckets

The bounds are the same in every version and on every host, so buckets may be added: `sum by (le) (rate(…))`.

- seconds: {times};
- bytes: {sizes}.

They are made of HdrHistograms, which tell values apart to 0.1 % (times, 1 us to 1 h) or 1 % (sizes, 1 B to 1 TiB). So a
bucket has every value that is at most its bound, and may have some that are above it by less than that. What is
longer or larger than a histogram holds is in `+Inf` alone; `_sum` and `_count` have all of it.

Percentiles finer than the buckets are in the log of histograms: [`hdr-log`](config.md#the-log-of-histograms).
")
}

fn bytes(number: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let nth = (number.max(1).ilog2() / 10) as usize;
    format!("{} {}", number >> (10 * nth), units[nth])
}

#[cfg(test)]
mod tests {
    use super::super::family::{Definition, Sample, Value};
    use super::*;

    static ADDED: Definition = Definition {
        name: "unmangle_added_latency_seconds",
        help: "What the relay | added",
        kind: Kind::Histogram,
        unit: BaseUnit::Seconds,
        labels: &["listener"],
    };
    static STALLS: Definition = Definition {
        name: "unmangle_stalls",
        help: "Times that bytes waited",
        kind: Kind::Counter,
        unit: BaseUnit::None,
        labels: &["listener", "side", "why"],
    };

    #[test]
    fn every_family_has_its_row_with_each_value_of_its_labels_once() {
        let sample = |labels: [&str; 3]| Sample {
            labels: labels.map(str::to_owned).into(),
            value: Value::Count(0),
        };
        let stalls = Family {
            definition: &STALLS,
            samples: vec![
                sample(["ssh", "client", "window"]),
                sample(["ssh", "server", "window"]),
            ],
        };
        let added = Family {
            definition: &ADDED,
            samples: vec![],
        };
        let page = page(&[stalls, added], &["listener"]);
        for line in [
            "| `unmangle_added_latency_seconds` | `listener` | seconds | What the relay \\| added |",
            "| `unmangle_stalls_total` | `listener`; `side`: `client`, `server`; `why`: `window` |  | Times that bytes waited |",
        ] {
            assert!(
                page.lines().any(|other| other == line),
                "{line} is not in:\n{page}"
            );
        }
        assert!(!page.contains("## Gauges"), "{page}");
        for bound in [
            "seconds: 0.00001, 0.000025,",
            "1800, 3600;",
            "bytes: 64 B, 256 B, 1 KiB,",
            "256 GiB, 1 TiB.",
        ] {
            assert!(page.contains(bound), "{bound} is not in:\n{page}");
        }
    }
}
