//! The block `proxies`.

use nkeys::KeyPair;

use super::report::{Checked, Problem, Report};
use super::typed::string;
use crate::options::grammar::{Node, Value};
use jetkv_go_compat::quoted;

/// The keys of the proxies that are trusted.
pub(super) fn read(node: &Node, report: &mut Report) -> Checked<Vec<String>> {
    let Value::Map(entries) = &node.value else {
        let text = format!("expected proxies to be a map/struct, got {}", node.value.kind());
        return Err(Problem::at(node, text));
    };
    let mut keys = Vec::new();
    for (key, value) in entries.iter() {
        match key.to_ascii_lowercase().as_str() {
            "trusted" => keys = report.attempt(|report| trusted(value, report)).unwrap_or_default(),
            _ if value.is_used_variable() => {}
            _ => report.error(Problem::unknown_field(value, key)),
        }
    }
    Ok(keys)
}

fn trusted(node: &Node, report: &mut Report) -> Checked<Vec<String>> {
    let Value::Array(entries) = &node.value else {
        let text = format!("expected proxies' trusted field to be an array, got {}", node.value.kind());
        return Err(Problem::at(node, text));
    };
    let mut keys = Vec::new();
    for entry in entries.iter() {
        let Value::Map(fields) = &entry.value else {
            let kind = entry.value.kind();
            let text = format!("expected proxies' trusted entry to be a map/struct, got {kind}");
            report.error(Problem::at(entry, text));
            continue;
        };
        let mut trusted = String::new();
        for (key, value) in fields.iter() {
            match key.to_ascii_lowercase().as_str() {
                "key" | "public_key" => {
                    string(value)?.clone_into(&mut trusted);
                    if KeyPair::from_public_key(&trusted).is_err() {
                        let text = format!("invalid proxy key {}", quoted(&trusted));
                        report.error(Problem::at(value, text));
                    }
                }
                _ if value.is_used_variable() => {}
                _ => report.error(Problem::unknown_field(value, key)),
            }
        }
        keys.push(trusted);
    }
    Ok(keys)
}
