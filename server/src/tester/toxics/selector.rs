//! Which links a toxic acts on, at a single server: the one between clients and the server, or none.

use jetkv_go_compat::quoted;
use serde_json::Value;

/// Whether what goes to the server and what comes from it are meant.
pub(super) fn directions(selector: &Value, server: &str) -> Result<(bool, bool), String> {
    let text = |field: &str| selector[field].as_str().unwrap_or_default();
    let (kind, from, to, node) = (text("kind"), text("from"), text("to"), text("node"));
    match kind {
        "" | "client" | "route" | "gateway" => {}
        other => return Err(format!("selector.kind: there is no kind {}", quoted(other))),
    }
    for (field, name) in [("from", from), ("to", to), ("node", node)] {
        if !name.is_empty() && name != server {
            return Err(format!("selector.{field}: there is no server and no cluster {}", quoted(name)));
        }
    }
    if [from, to].into_iter().any(|end| !end.is_empty() && !node.is_empty()) {
        return Err("selector.node: stands alone, without from and to".to_owned());
    }
    let directions = match text("direction") {
        "" | "both" => (true, true),
        "to" => (true, false),
        "from" => (false, true),
        other => return Err(format!("selector.direction: there is no direction {}", quoted(other))),
    };
    if directions != (true, true) && from.is_empty() && to.is_empty() {
        return Err("selector.direction: to and from need a from or a to".to_owned());
    }
    if !from.is_empty() || matches!(kind, "route" | "gateway") {
        return Err("selector: matches no link".to_owned());
    }
    Ok(directions)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_names_the_link_of_clients_or_nothing() {
        for (selector, meant) in [
            (json!({}), Some((true, true))),
            (Value::Null, Some((true, true))),
            (json!({"kind": "client"}), Some((true, true))),
            (json!({"node": "n1", "direction": "both"}), Some((true, true))),
            (json!({"to": "n1", "direction": "to"}), Some((true, false))),
            (json!({"kind": "client", "to": "n1", "direction": "from"}), Some((false, true))),
            (json!({"direction": "to"}), None),
            (json!({"node": "n1", "direction": "to"}), None),
            (json!({"node": "n1", "to": "n1"}), None),
            (json!({"node": "n2"}), None),
            (json!({"from": "n1"}), None),
            (json!({"kind": "route"}), None),
            (json!({"kind": "none"}), None),
            (json!({"to": "n1", "direction": "up"}), None),
        ] {
            assert_eq!(directions(&selector, "n1").ok(), meant, "{selector}");
        }
    }
}
