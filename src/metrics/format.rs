//! Which of the two formats of metrics a client wants: content negotiation, by its header Accept.

use std::cmp::Ordering;

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, 0.0.4.
    Prometheus,
    /// OpenMetrics, 1.0.0.
    OpenMetrics,
}

/// How well a format is named by what a client accepts: the better one counts, whatever its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    AnyType,
    AnySubtype,
    Type,
    TypeAndVersion,
}

// === impl Format ===

impl Format {
    /// For the header Content-Type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Which one a client prefers, by its header Accept.
    ///
    /// Of two that it takes equally, OpenMetrics must have been named. Who accepts neither, or says nothing that can
    /// be read, gets Prometheus's, as Prometheus's own libraries answer: a person, or an old scraper.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let accept = accept.unwrap_or_default();
        let (prometheus, open) = (
            Self::Prometheus.wanted(accept),
            Self::OpenMetrics.wanted(accept),
        );
        let (by_name, weight) = open;
        let named = by_name.is_some_and(|by| by >= Named::Type);
        let preferred = weight > prometheus.1 || (weight == prometheus.1 && named);
        match weight > 0.0 && preferred {
            true => Format::OpenMetrics,
            false => Format::Prometheus,
        }
    }

    /// By what it is named, and with what weight; zero if it is not wanted.
    fn wanted(self, accept: &str) -> (Option<Named>, f64) {
        let entries = accept.split(',').filter_map(|entry| self.named(entry));
        let best = entries.reduce(|best, next| match next.0.cmp(&best.0) {
            Ordering::Greater => next,
            Ordering::Equal if next.1 > best.1 => next,
            _ => best,
        });
        best.map_or((None, 0.0), |(by, weight)| (Some(by), weight))
    }

    /// Whether an entry of Accept means this format, and with what weight.
    fn named(self, entry: &str) -> Option<(Named, f64)> {
        let (kind, subtype, right_version) = match self {
            Format::Prometheus => ("text", "plain", "0.0.4"),
            Format::OpenMetrics => ("application", "openmetrics-text", "1.0.0"),
        };
        let mut parts = entry.split(';').map(str::trim);
        let (a_kind, a_subtype) = parts.next()?.split_once('/')?;
        let (mut version, mut weight) = (None, 1.0);
        for part in parts {
            let Some((key, value)) = part.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "version" => version = Some(value),
                // A weight that is none takes nothing away.
                "q" => weight = value.parse().unwrap_or(1.0_f64).clamp(0.0, 1.0),
                _ => {}
            }
        }
        let by = if (a_kind, a_subtype) == ("*", "*") {
            Named::AnyType
        } else if !a_kind.eq_ignore_ascii_case(kind) {
            return None;
        } else if a_subtype == "*" {
            Named::AnySubtype
        } else if !a_subtype.eq_ignore_ascii_case(subtype) {
            return None;
        } else {
            match version {
                None => Named::Type,
                Some(version) if version == right_version => Named::TypeAndVersion,
                Some(_) => return None,
            }
        };
        Some((by, weight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Format = Format::OpenMetrics;
    const PROMETHEUS: Format = Format::Prometheus;

    #[test]
    fn a_client_gets_the_format_that_it_prefers() {
        for (accept, format) in [
            // Prometheus 2.42, and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OPEN,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OPEN,
            ),
            // One that is told to scrape the old format alone.
            ("text/plain;version=0.0.4;q=1,*/*;q=0.1", PROMETHEUS),
            (
                "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5",
                PROMETHEUS,
            ),
            ("application/openmetrics-text", OPEN),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", OPEN),
            (
                "application/openmetrics-text; version=1.0.0; q=0.2, text/plain; q=0.2",
                OPEN,
            ),
            // The weight decides, by whatever it was given; the better name only whose weight it is.
            ("*/*, application/openmetrics-text;q=0.5", PROMETHEUS),
            ("text/*;q=0.5, application/openmetrics-text;q=0.6", OPEN),
            ("application/*, text/plain;q=0.5", OPEN),
            // Of equals OpenMetrics must be named: curl and browsers get what people read.
            ("*/*", PROMETHEUS),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                PROMETHEUS,
            ),
            // A version that is not ours, a weight of nothing.
            ("application/openmetrics-text;version=2.0.0", PROMETHEUS),
            ("application/openmetrics-text;q=0", PROMETHEUS),
            (
                "application/openmetrics-text;q=0,text/plain;q=0",
                PROMETHEUS,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily",
                PROMETHEUS,
            ),
            ("", PROMETHEUS),
            (";,/;q=x", PROMETHEUS),
        ] {
            assert_eq!(Format::negotiate(Some(accept)), format, "{accept}");
        }
        assert_eq!(Format::negotiate(None), PROMETHEUS);
    }
}
