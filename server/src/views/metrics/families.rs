//! Series of numbers, as the text that Prometheus reads.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use serde_json::{Map, Value};

use crate::durations::SpreadCounts;

/// What a number does in the course of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    /// It only grows.
    Counter,
    /// Counts by upper bounds, which only grow, their sum and their number.
    Histogram,
}

/// All series of one name.
struct Family {
    help: &'static str,
    kind: Kind,
    samples: String,
}

/// Series by their names: those of one name stand together, as the format wants it.
#[derive(Default)]
pub(super) struct Families(BTreeMap<String, Family>);

/// Labels, written as they stand in a sample.
#[derive(Clone, Default)]
pub(super) struct Labels(String);

impl Labels {
    pub(super) fn with(&self, name: &str, value: impl Display) -> Self {
        let mut text = self.0.clone();
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for c in value.to_string().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
        Self(text)
    }
}

impl Family {
    fn sample(&mut self, mut line: String, labels: &Labels, value: impl Display) {
        if !labels.0.is_empty() {
            line.push('{');
            line.push_str(&labels.0);
            line.push('}');
        }
        // Writing to text does not fail.
        let _ = writeln!(self.samples, "{line} {value}");
    }
}

impl Families {
    pub(super) fn gauge(&mut self, name: String, help: &'static str, labels: &Labels, value: impl Display) {
        self.add(name, help, Kind::Gauge, labels, value);
    }

    pub(super) fn add(
        &mut self,
        name: String,
        help: &'static str,
        kind: Kind,
        labels: &Labels,
        value: impl Display,
    ) {
        let new = || Family { help, kind, samples: String::new() };
        let (series, family) = (name.clone(), self.0.entry(name).or_insert_with(new));
        family.sample(series, labels, value);
    }

    /// How long something took, in seconds.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &'static str,
        labels: &Labels,
        counts: &SpreadCounts,
    ) {
        let new = || Family { help, kind: Kind::Histogram, samples: String::new() };
        let family = self.0.entry(name.to_owned()).or_insert_with(new);
        for (bound, count) in &counts.up_to {
            family.sample(format!("{name}_bucket"), &labels.with("le", bound.as_secs_f64()), count);
        }
        family.sample(format!("{name}_bucket"), &labels.with("le", "+Inf"), counts.all);
        family.sample(format!("{name}_sum"), labels, counts.sum.as_secs_f64());
        family.sample(format!("{name}_count"), labels, counts.all);
    }

    /// Every number of a page, under the names of the objects that it is in. A name or a version is a label of the number 1,
    /// and a moment is in milliseconds since 1970.
    pub(super) fn page(
        &mut self,
        prefix: &str,
        labels: &Labels,
        page: &Map<String, Value>,
        left_out: &[&str],
    ) {
        for (key, value) in page {
            let name = joined(prefix, key);
            if left_out.contains(&key.as_str()) {
                continue;
            }
            match value {
                Value::Number(number) => self.gauge(name, "", labels, number),
                Value::Object(fields) => self.page(&name, labels, fields, &[]),
                Value::String(text) if SHOWN.contains(&key.as_str()) => {
                    match jetkv_go_compat::GoTime::parse(text) {
                        Ok(time) => self.gauge(name, "", labels, time.ns().div_euclid(1_000_000)),
                        Err(_) => self.gauge(name, "", &labels.with("value", text), 1),
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn into_text(self) -> String {
        let mut text = String::new();
        for (name, Family { help, kind, samples }) in self.0 {
            let help = if help.is_empty() { &name } else { help };
            let kind = match kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
                Kind::Histogram => "histogram",
            };
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}");
        }
        text
    }
}

/// Texts that are shown.
const SHOWN: &[&str] =
    &["server_id", "server_name", "version", "domain", "leader", "name", "start", "config_load_time"];

/// Names in a row, with nothing in them that a series may not be named with.
fn joined(prefix: &str, key: &str) -> String {
    let mut name = String::with_capacity(prefix.len() + 1 + key.len());
    for c in prefix.chars().chain(['_']).chain(key.chars()) {
        let c = if c.is_ascii_alphanumeric() { c } else { '_' };
        if c != '_' || !name.ends_with('_') {
            name.push(c);
        }
    }
    name.truncate(name.trim_end_matches('_').len());
    name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn series_of_a_name_stand_together_and_labels_are_escaped() {
        let mut families = Families::default();
        let labels = Labels::default().with("a", "x\\\"\n");
        families.gauge("n".to_owned(), "text", &labels, 1.5);
        families.add("b".to_owned(), "", Kind::Counter, &Labels::default(), 2);
        families.gauge("n".to_owned(), "text", &labels.with("b", 7), -1);
        let expected = "# HELP b b\n# TYPE b counter\nb 2\n# HELP n text\n# TYPE n gauge\n\
                        n{a=\"x\\\\\\\"\\n\"} 1.5\nn{a=\"x\\\\\\\"\\n\",b=\"7\"} -1\n";
        assert_eq!(families.into_text(), expected);
    }

    #[test]
    fn a_page_is_shown_by_its_numbers() {
        let mut families = Families::default();
        let page = json!({"version": "2", "go": "1", "a": {"b/": 1, "start": "1970-01-01T00:00:01.5Z"}, "left": 9, "off": true,
            "list": [1]});
        let page = page.as_object().unwrap();
        families.page("p", &Labels::default(), page, &["left"]);
        let text = families.into_text();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples, ["p_a_b 1", "p_a_start 1500", "p_version{value=\"2\"} 1"]);
    }
}
