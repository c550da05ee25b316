//! The `lab` block, which nats-server does not have.

use super::Draft;
use super::report::{Checked, Problem, Report};
use super::typed::{boolean, text};
use crate::options::grammar::{Node, Value};
use crate::options::lab_model::LabOptions;
use jetkv_go_compat::quoted;

/// Reads the `lab` block: on, off, or on with settings.
pub(super) fn read(node: &Node, draft: &mut Draft, report: &mut Report) -> Checked<()> {
    let mut is_on = true;
    let mut lab = LabOptions::default();
    match &node.value {
        Value::Bool(on) => is_on = *on,
        Value::Map(entries) => {
            for (key, value) in entries.iter() {
                match key.to_ascii_lowercase().as_str() {
                    "enabled" => is_on = boolean(value)?,
                    "token" => lab.token = text(value)?,
                    "isolation_prefix" => lab.isolation_prefix = text(value)?.unwrap_or_default(),
                    _ if value.is_used_variable() => {}
                    _ => report.error(Problem::unknown_field(value, key)),
                }
            }
        }
        other => {
            let text = format!("Expected map or bool to define the lab, got {}", quoted(other.kind()));
            return Err(Problem::at(node, text));
        }
    }
    draft.options.lab = is_on.then_some(lab);
    Ok(())
}
