//! Every option is turned while a server runs, beside nats-server: the scenarios of the topic `reload` have a case for each.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

use jetkv::options::Options;

/// Options without a case there, and why.
const WITHOUT: [(&str, &str); 28] = [
    ("config_file", "tells where the options come from"),
    ("config_digest", "tells where the options come from"),
    ("origin.in_config", "tells where the options come from"),
    ("origin.in_command_line", "tells where the options come from"),
    ("auth.has_block", "tells where the options come from"),
    ("auth.callout", "auth/callout.txt turns it, with somebody who answers"),
    ("host", "the harness sets it by a flag"),
    ("port", "the harness sets it by a flag"),
    ("monitor.host", "the harness looks there for the pages"),
    ("monitor.port", "the harness looks there for the pages"),
    ("monitor.secure", "the harness looks there for the pages"),
    ("tls", "its files are made by server/tests/tls.rs, which turns it"),
    ("log.time", "the harness knows lines by their time"),
    ("jetstream.enabled", "what is recovered is logged in other words"),
    ("jetstream.store_dir", "the harness sets it by a flag"),
    ("unserved_listeners", "nobody is served there yet"),
    ("cluster_name", "nobody is served there yet"),
    ("jetstream.max_concurrent_io", "the default is shown as another number"),
    ("jetstream.cipher", "nats-server logs both keys where it refuses; options/reload/tests.rs turns it"),
    (
        "jetstream.encryption_key",
        "nats-server logs both keys where it refuses; options/reload/tests.rs turns it",
    ),
    (
        "jetstream.previous_encryption_key",
        "nats-server logs both keys where it refuses; options/reload/tests.rs turns it",
    ),
    ("lab", "nats-server has none"),
    ("websocket", "where nats-server refuses it logs the block as Go prints it"),
    ("operators.default_sentinel", "operator mode is reloaded in no case yet"),
    ("operators.operators", "operator mode is reloaded in no case yet"),
    ("operators.pinned_accounts", "operator mode is reloaded in no case yet"),
    ("operators.resolver_ca", "operator mode is reloaded in no case yet"),
    ("operators.trusted_keys", "operator mode is reloaded in no case yet"),
];

/// Options whose cases fill a scenario of their own.
const ELSEWHERE: [(&str, &str); 4] = [
    ("auth.nkeys", "nkeys.txt"),
    ("mappings", "mappings.txt"),
    ("operators.preloads", "operators.txt"),
    ("operators.resolver", "operators.txt"),
];

/// Names of all fields of the options and of the structs in them, joined by points.
fn fields() -> BTreeSet<String> {
    let shown = format!("{:#?}", Options::default());
    let mut fields = BTreeSet::new();
    let mut path: Vec<&str> = Vec::new();
    for line in shown.lines().skip(1) {
        let text = line.trim_start();
        let depth = (line.len() - text.len()) / 4;
        let Some((name, value)) = text.split_once(": ") else { continue };
        path.truncate(depth - 1);
        path.push(name);
        if !(value.ends_with('{') && value.starts_with(char::is_uppercase)) {
            fields.insert(path.join("."));
        }
    }
    fields
}

/// The first words of the rows of a scenario.
fn cases(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat-tests/scenarios/reload").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("  ") && line.contains(" | "));
    rows.map(|row| row.trim_start().split([',', '|']).next().unwrap().trim().to_owned()).collect()
}

#[test]
fn every_option_is_turned_while_a_server_runs() {
    let fields = fields();
    let mut cases = cases("options.txt");
    cases.extend(self::cases("jetstream.txt"));
    assert!(fields.contains("limits.max_connections") && fields.contains("jetstream.limits.max_ack_pending"));
    for (field, file) in ELSEWHERE {
        assert!(fields.contains(field), "{field} is no option any more");
        assert!(!self::cases(file).is_empty(), "{file} has no case");
        cases.insert(field.to_owned());
    }
    for (field, why) in WITHOUT {
        assert!(fields.contains(field), "{field} is no option any more");
        assert!(!cases.contains(field), "{field} has a case, although it is said that {why}");
        cases.insert(field.to_owned());
    }
    let missing: Vec<_> = fields.difference(&cases).collect();
    assert!(missing.is_empty(), "options that no case of compat-tests/scenarios/reload turns: {missing:?}");
}
