//! Figures in Prometheus' text format, read by a few lines that share nothing with those that write it.

// Benches read, too, and each reads other things.
#![allow(dead_code)]

use std::collections::BTreeMap;

/// What tells one series from others of its name.
pub type Labels = BTreeMap<String, String>;

/// All series of an answer, with their values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures(pub BTreeMap<(String, Labels), f64>);

impl Figures {
    /// Reads an answer whole; a line that makes no sense is a failure.
    pub fn read(text: &str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(
            lines
                .map(|line| series(line).unwrap_or_else(|| panic!("no series is {line:?}")))
                .collect(),
        )
    }

    /// The values of all series of a name that have these labels, added up; none if there is no such series.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fitting: Vec<f64> = self.of(name, labels).map(|(_, value)| value).collect();
        (!fitting.is_empty()).then(|| fitting.iter().sum())
    }

    /// The same of one that has to be there.
    pub fn expect(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.sum(name, labels)
            .unwrap_or_else(|| panic!("no {name} with {labels:?} in {self:?}"))
    }

    /// The mean of a histogram, in its unit, over what has come since `earlier`.
    pub fn mean_since(&self, earlier: &Self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let grown = |end: &str| {
            let name = format!("{name}_{end}");
            self.expect(&name, labels) - earlier.sum(&name, labels).unwrap_or(0.0)
        };
        grown("sum") / grown("count")
    }

    /// The upper bounds of a histogram's buckets, least to greatest.
    pub fn bounds(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let name = format!("{name}_bucket");
        let mut bounds: Vec<f64> = self
            .of(&name, labels)
            .map(|(labels, _)| number(&labels["le"]).unwrap())
            .collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        bounds
    }

    fn of(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = (&Labels, f64)> {
        self.0
            .iter()
            .filter(move |((its, _), _)| its == name)
            .filter(move |((_, its), _)| {
                let is = |(key, value): &(&str, &str)| its.get(*key).is_some_and(|v| v == value);
                labels.iter().all(is)
            })
            .map(|((_, labels), value)| (labels, *value))
    }
}

/// `name{key="value",...} 1.5`
fn series(line: &str) -> Option<((String, Labels), f64)> {
    let at = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(at);
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (key, value) = rest.split_once("=\"")?;
            let (value, after) = quoted(value)?;
            labels.insert(key.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    Some(((name.to_owned(), labels), number(rest.trim())?))
}

/// Up to the quote that ends it, and what comes after.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => value.push(match chars.next()?.1 {
                'n' => '\n',
                c => c,
            }),
            (_, c) => value.push(c),
        }
    }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        text => text.parse().ok(),
    }
}
