//! Every option is turned while a server runs, beside nats-server: the scenarios have a case for each.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

use jetkv::options::Options;

/// Options without a case there, and why.
const WITHOUT: [(&str, &str); 6] = [
    ("config_file", "a running server reads the file that it was started with, whatever it holds"),
    ("config_digest", "is made of the whole file, and so turns with every case"),
    ("origin.in_config", "tells which options the file names, and so turns with the others"),
    ("origin.in_command_line", "tells which flags there were, which a running server does not get again"),
    ("lab", "nats-server has none"),
    ("look", "comes from the environment, which a running server keeps"),
];

/// Options whose cases fill a scenario of their own.
const ELSEWHERE: [(&str, &str); 7] = [
    ("auth.nkeys", "reload/nkeys.txt"),
    ("auth.callout", "auth/callout.txt"),
    ("auth.proxy_required", "auth/proxies.txt"),
    ("trusted_proxies", "auth/proxies.txt"),
    ("mappings", "reload/mappings.txt"),
    ("tls", "reload/tls.txt"),
    ("websocket", "reload/told.txt"),
];

/// Scenarios whose cases are called by the option that they turn.
const BY_NAME: [&str; 6] = [
    "reload/options.txt",
    "reload/leafnodes.txt",
    "reload/jetstream.txt",
    "reload/operators.txt",
    "reload/places.txt",
    "reload/told.txt",
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat-tests/scenarios").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("  ") && line.contains(" | "));
    rows.map(|row| row.trim_start().split([',', '|']).next().unwrap().trim().to_owned()).collect()
}

#[test]
fn every_option_is_turned_while_a_server_runs() {
    let fields = fields();
    let mut cases: BTreeSet<String> = BY_NAME.into_iter().flat_map(cases).collect();
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
    assert!(missing.is_empty(), "options that no case of compat-tests/scenarios turns: {missing:?}");
}
