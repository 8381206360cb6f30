//! [`Family`]s as text: Prometheus 0.0.4 and OpenMetrics 1.0.0, whichever was asked for.
//!
//! Pure, and always in one order: families by name, samples by the values of their labels. A bound of a bucket
//! is written in one way in both formats (`1e-05`, `0.001`, `1.0`), as OpenMetrics wants it, so that a scraper
//! that changes formats does not see other series.

use std::borrow::Cow;
use std::fmt::{self, Write};

use super::family::{Definition, Family, Sample, Value};

pub use super::format::Format;

/// Writes families; several of one definition count as one.
pub fn render(format: Format, families: &[Family]) -> String {
    let mut out = String::new();
    let mut sorted: Vec<&Family> = families.iter().collect();
    sorted.sort_by_key(|family| family.definition.name);
    for same in sorted.chunk_by(|one, next| one.definition.name == next.definition.name) {
        let mut samples: Vec<&Sample> = same.iter().flat_map(|family| &family.samples).collect();
        samples.sort_by(|one, other| one.labels.cmp(&other.labels));
        write_family(&mut out, format, same[0].definition, &samples)
            .expect("writing to memory does not fail");
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn write_family(
    out: &mut String,
    format: Format,
    definition: &Definition,
    samples: &[&Sample],
) -> fmt::Result {
    let scraped = definition.scraped_name();
    // OpenMetrics calls a family of counters without the ending of its samples.
    let (name, help) = match format {
        Format::Prometheus => (scraped.as_str(), escaped(definition.help, false)),
        Format::OpenMetrics => (definition.name, escaped(definition.help, true)),
    };
    writeln!(out, "# HELP {name} {help}")?;
    writeln!(out, "# TYPE {name} {}", definition.kind.name())?;
    if let (Format::OpenMetrics, Some(unit)) = (format, definition.unit.name()) {
        writeln!(out, "# UNIT {name} {unit}")?;
    }
    for sample in samples {
        assert_eq!(
            sample.labels.len(),
            definition.labels.len(),
            "{name} has a value for each label"
        );
        let labels = definition.labels.iter().zip(&sample.labels);
        let labels: Vec<String> = labels
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value, true)))
            .collect();
        write_sample(out, &scraped, &labels, &sample.value)?;
    }
    Ok(())
}

fn write_sample(out: &mut String, name: &str, labels: &[String], value: &Value) -> fmt::Result {
    let distribution = match value {
        Value::Count(count) => return line(out, name, "", labels, None, count),
        Value::Amount(number) | Value::Level(number) => {
            return line(out, name, "", labels, None, &Number(*number));
        }
        Value::Distribution(distribution) => distribution,
    };
    for (bound, count) in &distribution.buckets {
        line(out, name, "_bucket", labels, Some(*bound), count)?;
    }
    let count = distribution.count;
    line(out, name, "_bucket", labels, Some(f64::INFINITY), &count)?;
    line(out, name, "_sum", labels, None, &Number(distribution.sum))?;
    line(out, name, "_count", labels, None, &count)
}

fn line(
    out: &mut String,
    name: &str,
    ending: &str,
    labels: &[String],
    bound: Option<f64>,
    value: &dyn fmt::Display,
) -> fmt::Result {
    write!(out, "{name}{ending}")?;
    if !labels.is_empty() || bound.is_some() {
        let bound = bound.map(|bound| format!("le=\"{}\"", canonical(bound)));
        let mut labels = labels.iter().map(String::as_str).chain(bound.as_deref());
        write!(out, "{{{}", labels.next().unwrap_or_default())?;
        labels.try_for_each(|label| write!(out, ",{label}"))?;
        write!(out, "}}")?;
    }
    writeln!(out, " {value}")
}

/// Help texts of Prometheus's own format keep their quotation marks as they are.
fn escaped(text: &str, quotes: bool) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '\\' | '\n') || (quotes && c == '"');
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\n' => escaped.push_str("\\n"),
            letter if special(letter) => escaped.extend(['\\', letter]),
            letter => escaped.push(letter),
        }
    }
    Cow::Owned(escaped)
}

/// A number as both formats read it.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            number if number.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            number => write!(f, "{number}"),
        }
    }
}

/// A bound as OpenMetrics wants it: `1e-05`, `0.001`, `1.0`, `1.048576e+06`.
fn canonical(bound: f64) -> String {
    if !bound.is_finite() {
        return Number(bound).to_string();
    }
    let scientific = format!("{bound:e}");
    let (digits, exponent) = scientific.split_once('e').expect("it was asked for");
    let exponent: i32 = exponent.parse().expect("it is a number");
    if (-4..6).contains(&exponent) {
        format!("{bound:?}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::super::family::{BaseUnit, Distribution, Kind};
    use super::*;

    static RELAYED: Definition = Definition {
        name: "unmangle_relayed_bytes",
        help: "bytes \"passed on\", by \\direction\nand listener",
        kind: Kind::Counter,
        unit: BaseUnit::Bytes,
        labels: &["listener", "direction"],
    };
    static CONNECT: Definition = Definition {
        name: "unmangle_connect_seconds",
        help: "how long the dial took",
        kind: Kind::Histogram,
        unit: BaseUnit::Seconds,
        labels: &["listener"],
    };
    static SESSIONS: Definition = Definition {
        name: "unmangle_sessions",
        help: "sessions now",
        kind: Kind::Gauge,
        unit: BaseUnit::None,
        labels: &[],
    };

    fn sample(labels: &[&str], value: Value) -> Sample {
        let labels = labels.iter().map(|label| label.to_string()).collect();
        Sample { labels, value }
    }

    fn families() -> Vec<Family> {
        let connect = Value::Distribution(Distribution {
            buckets: vec![(1e-5, 1), (0.0025, 1), (1.0, 3)],
            count: 4,
            sum: 12.5,
        });
        vec![
            Family::single(&SESSIONS, Value::Level(3.0)),
            Family {
                definition: &RELAYED,
                samples: vec![sample(&["b", "up"], Value::Count(u64::MAX))],
            },
            Family {
                definition: &RELAYED,
                samples: vec![sample(&["a\\ \"x\"\n", "up"], Value::Amount(0.5))],
            },
            Family {
                definition: &CONNECT,
                samples: vec![sample(&["ssh"], connect)],
            },
        ]
    }

    #[test]
    fn prometheus_s_own_format_has_total_in_the_names_of_counters() {
        let expected = r#"# HELP unmangle_connect_seconds how long the dial took
# TYPE unmangle_connect_seconds histogram
unmangle_connect_seconds_bucket{listener="ssh",le="1e-05"} 1
unmangle_connect_seconds_bucket{listener="ssh",le="0.0025"} 1
unmangle_connect_seconds_bucket{listener="ssh",le="1.0"} 3
unmangle_connect_seconds_bucket{listener="ssh",le="+Inf"} 4
unmangle_connect_seconds_sum{listener="ssh"} 12.5
unmangle_connect_seconds_count{listener="ssh"} 4
# HELP unmangle_relayed_bytes_total bytes "passed on", by \\direction\nand listener
# TYPE unmangle_relayed_bytes_total counter
unmangle_relayed_bytes_total{listener="a\\ \"x\"\n",direction="up"} 0.5
unmangle_relayed_bytes_total{listener="b",direction="up"} 18446744073709551615
# HELP unmangle_sessions sessions now
# TYPE unmangle_sessions gauge
unmangle_sessions 3
"#;
        assert_eq!(render(Format::Prometheus, &families()), expected);
    }

    #[test]
    fn openmetrics_has_units_an_end_and_total_in_samples_alone() {
        let text = render(Format::OpenMetrics, &families());
        for line in [
            "# HELP unmangle_relayed_bytes bytes \\\"passed on\\\", by \\\\direction\\nand listener",
            "# TYPE unmangle_relayed_bytes counter",
            "# UNIT unmangle_relayed_bytes bytes",
            "# UNIT unmangle_connect_seconds seconds",
            "unmangle_relayed_bytes_total{listener=\"b\",direction=\"up\"} 18446744073709551615",
            "unmangle_connect_seconds_bucket{listener=\"ssh\",le=\"+Inf\"} 4",
        ] {
            assert!(
                text.lines().any(|other| other == line),
                "{line} is not in:\n{text}"
            );
        }
        assert_eq!(text.matches("# TYPE ").count(), 3, "{text}");
        assert_eq!(text.matches("# UNIT ").count(), 2, "{text}");
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn the_order_does_not_depend_on_that_of_the_families() {
        let mut reversed = families();
        reversed.reverse();
        for format in [Format::Prometheus, Format::OpenMetrics] {
            assert_eq!(render(format, &reversed), render(format, &families()));
        }
        assert_eq!(render(Format::Prometheus, &[]), "");
        assert_eq!(render(Format::OpenMetrics, &[]), "# EOF\n");
    }

    #[test]
    fn bounds_are_written_as_openmetrics_wants_them() {
        for (bound, text) in [
            (1e-5, "1e-05"),
            (2.5e-5, "2.5e-05"),
            (1e-4, "0.0001"),
            (0.001, "0.001"),
            (1.0, "1.0"),
            (3600.0, "3600.0"),
            (262_144.0, "262144.0"),
            (1_048_576.0, "1.048576e+06"),
            (1_099_511_627_776.0, "1.099511627776e+12"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(canonical(bound), text);
        }
        for (number, text) in [
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
            (1e-7, "0.0000001"),
            (3.0, "3"),
        ] {
            assert_eq!(Number(number).to_string(), text);
        }
    }
}
