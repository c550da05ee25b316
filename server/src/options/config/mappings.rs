//! `mappings` of the server and of accounts.

use jetkv_go_compat::quoted;
use jetkv_protocol::subject;

use super::report::{Checked, Problem, Report};
use super::typed::{map, string};
use crate::options::grammar::{Node, Value};
use crate::options::mapping::{MapDestination, Mapping};

/// Reads a block: what becomes what. A subject that is there twice keeps its place and what it becomes last.
pub(super) fn read(node: &Node, report: &mut Report) -> Checked<Vec<Mapping>> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for (source, value) in map(node)?.iter() {
        if !subject::is_valid(source.as_bytes()) {
            report.error(Problem::at(node, format!("Subject {} is not a valid subject", quoted(source))));
            continue;
        }
        let Some(mapping) = mapping(source, value, report)? else { continue };
        match mappings.iter_mut().find(|known| known.source() == source) {
            Some(known) => *known = mapping,
            None => mappings.push(mapping),
        }
    }
    Ok(mappings)
}

/// Reads what a subject becomes: another one, or a destination with a weight, or several of them.
fn mapping(source: &str, node: &Node, report: &mut Report) -> Checked<Option<Mapping>> {
    let mut what = quoted(source);
    let mut destinations = Vec::new();
    match &node.value {
        Value::String(subject) => {
            what = format!("{what} to {}", quoted(subject));
            destinations.push(MapDestination {
                subject: subject.clone(),
                weight: 100,
                cluster: String::new(),
            });
        }
        Value::Array(elements) => {
            for element in elements.iter() {
                destinations.extend(destination(element, report)?);
            }
        }
        _ => match destination(node, report)? {
            Some(destination) => destinations.push(destination),
            None => return Ok(None),
        },
    }
    let made = Mapping::new(source, &destinations)
        .map_err(|error| Problem::at(node, format!("Error adding mapping for {what} : {error}")));
    Ok(report.check(made))
}

/// Reads one destination. What is wrong with it is noted, and it is left out.
fn destination(node: &Node, report: &mut Report) -> Checked<Option<MapDestination>> {
    let Value::Map(entries) = &node.value else {
        report.error(Problem::at(node, "Expected an entry for the mapping destination"));
        return Ok(None);
    };
    let mut destination = MapDestination::default();
    let mut weight = None;
    for (key, value) in entries.iter() {
        match key.to_ascii_lowercase().as_str() {
            "dest" | "destination" => destination.subject = text(value, node)?,
            "weight" => match percent(value) {
                Ok(given) => weight = Some(given),
                Err(problem) => {
                    report.error(problem);
                    return Ok(None);
                }
            },
            "cluster" => destination.cluster = text(value, node)?,
            _ => {
                let text = format!("Unknown field {} for mapping destination", quoted(key));
                report.error(Problem::at(value, text));
                return Ok(None);
            }
        }
    }
    let Some(weight) = weight else {
        let text = format!("Missing weight for mapping destination {}", quoted(&destination.subject));
        report.error(Problem::at(node, text));
        return Ok(None);
    };
    Ok(Some(MapDestination { weight, ..destination }))
}

/// A text of an entry. Where it is none, the place is that of the entry (nats-server v2.15.2, observed).
fn text(value: &Node, entry: &Node) -> Checked<String> {
    string(value).map(str::to_owned).map_err(|problem| problem.placed_at(entry))
}

/// A number from 0 to 100, or a text of one with or without a percent sign.
fn percent(node: &Node) -> Checked<u8> {
    let number = match &node.value {
        Value::Integer(number) => *number,
        Value::String(text) => {
            let digits = text.strip_suffix('%').unwrap_or(text);
            let text = || format!("Invalid weight {} for mapping destination", quoted(digits));
            digits.parse().map_err(|_| Problem::at(node, text()))?
        }
        other => return Err(Problem::at(node, format!("Unknown entry type for weight of {other}\n"))),
    };
    let invalid = || Problem::at(node, format!("Invalid weight {number} for mapping destination"));
    u8::try_from(number).ok().filter(|weight| *weight <= 100).ok_or_else(invalid)
}
