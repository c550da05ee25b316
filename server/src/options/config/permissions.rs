//! What users may publish and subscribe.

use jetkv_protocol::subject::is_valid;

use super::report::{Checked, Problem, Report};
use super::typed::{integer, map};
use crate::options::auth_model::{Permissions, ResponsePermission, SubjectPermission};
use crate::options::grammar::{Node, Value};
use jetkv_go_compat::GoDuration;
use jetkv_go_compat::quoted;

/// Reads a `permissions` block.
pub(super) fn read(node: &Node, report: &mut Report) -> Checked<Permissions> {
    let Value::Map(entries) = &node.value else {
        let text = format!("Expected permissions to be a map/struct, got {}", node.value);
        return Err(Problem::at(node, text));
    };
    let mut permissions = Permissions::default();
    for (key, value) in entries.iter() {
        match key.to_ascii_lowercase().as_str() {
            "pub" | "publish" | "import" => {
                if let Some(publish) = report.check(subjects_by_kind(value, false)) {
                    permissions.publish = publish;
                }
            }
            "sub" | "subscribe" | "export" => {
                if let Some(subscribe) = report.check(subjects_by_kind(value, true)) {
                    permissions.subscribe = subscribe;
                }
            }
            "publish_allow_responses" | "allow_responses" => {
                permissions.responses = report.check(responses(value)).flatten();
            }
            _ if value.is_used_variable() => {}
            _ => {
                report.error(Problem::at(value, format!("Unknown field {} parsing permissions", quoted(key))))
            }
        }
    }
    if permissions.responses.is_some() {
        // Whoever may only answer may publish nothing else, unless it is allowed by name.
        permissions.publish.get_or_insert_default().allow.get_or_insert_default();
    }
    Ok(permissions)
}

/// Subjects that are allowed, or a map of those allowed and those denied.
fn subjects_by_kind(node: &Node, with_queue: bool) -> Checked<Option<SubjectPermission>> {
    let Value::Map(entries) = &node.value else {
        return Ok(Some(SubjectPermission { allow: subjects(node, with_queue)?, deny: Vec::new() }));
    };
    if entries.is_empty() {
        return Ok(None);
    }
    let mut permission = SubjectPermission::default();
    for (key, value) in entries.iter() {
        match key.to_ascii_lowercase().as_str() {
            "allow" => permission.allow = subjects(value, with_queue)?,
            "deny" => permission.deny = subjects(value, with_queue)?.unwrap_or_default(),
            _ if value.is_used_variable() => {}
            _ => {
                let key = quoted(key);
                return Err(Problem::at(
                    value,
                    format!(
                        "Unknown field name {key} parsing subject permissions, only 'allow' or 'deny' are permitted"
                    ),
                ));
            }
        }
    }
    Ok(Some(permission))
}

/// A subject or an array of subjects. An empty array says nothing, so it is `None`.
fn subjects(node: &Node, with_queue: bool) -> Checked<Option<Vec<String>>> {
    let mut found = Vec::new();
    match &node.value {
        Value::String(subject) => found.push(subject.clone()),
        Value::Array(values) => {
            for element in values.iter() {
                let Value::String(subject) = &element.value else {
                    let text = "Subject in permissions array cannot be cast to string";
                    return Err(Problem::at(element, text));
                };
                found.push(subject.clone());
            }
        }
        other => {
            let kind = other.kind();
            return Err(Problem::at(
                node,
                format!("Expected subject permissions to be a subject, or array of subjects, got {kind}"),
            ));
        }
    }
    for subject in &found {
        // Without the place in the file, as nats-server says it.
        check_subject(subject, with_queue).map_err(Problem::general)?;
    }
    Ok((!found.is_empty()).then_some(found))
}

/// A subject, where allowed followed by a blank and a queue's name.
fn check_subject(text: &str, with_queue: bool) -> Result<(), String> {
    if is_valid(text.as_bytes()) {
        return Ok(());
    }
    let invalid = |subject: &str| format!("subject {} is not a valid subject", quoted(subject));
    if !with_queue {
        return Err(invalid(text));
    }
    let mut parts = text.split_whitespace();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(subject), Some(queue), None) => {
            if !is_valid(subject.as_bytes()) {
                Err(invalid(subject))
            } else if !is_valid(queue.as_bytes()) {
                Err(format!("queue {} is not a valid queue", quoted(queue)))
            } else {
                Ok(())
            }
        }
        _ => Err(invalid(text)),
    }
}

/// `true`, or a map with the number and age of replies.
fn responses(node: &Node) -> Checked<Option<ResponsePermission>> {
    if let Value::Bool(on) = node.value {
        return Ok(on.then(ResponsePermission::default));
    }
    if !matches!(node.value, Value::Map(_)) {
        let text = "error parsing response permissions, expected a boolean or a map";
        return Err(Problem::at(node, text));
    }
    let mut permission = ResponsePermission::default();
    for (key, value) in map(node)?.iter() {
        match key.to_ascii_lowercase().as_str() {
            "max" | "max_msgs" | "max_messages" | "max_responses" => {
                let max = integer(value)?;
                if max != 0 {
                    permission.max_messages = max;
                }
            }
            "expires" | "expiration" | "ttl" => {
                let Value::String(text) = &value.value else {
                    return Err(Problem::at(value, "error parsing expires, not a duration string"));
                };
                let expires = GoDuration::parse(text)
                    .map_err(|error| Problem::at(value, format!("error parsing expires: {error}")))?;
                if expires.0 != 0 {
                    permission.expires_ns = expires.0;
                }
            }
            _ if value.is_used_variable() => {}
            _ => {
                let text = format!("Unknown field {} parsing permissions", quoted(key));
                return Err(Problem::at(value, text));
            }
        }
    }
    Ok(Some(permission))
}
