//! Configurations that change at random while clients are connected: what the log says, what clients are told and may do,
//! and what the pages show. A session is a scenario of its own, on servers of its own.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use crate::Result;
use crate::process::Program;
use crate::random::Random;
use crate::transcript::compare::{Comparison, Report};
use crate::transcript::play::Tools;
use crate::transcript::scenario;

/// Reloads of a session.
const RELOADS: usize = 4;
/// Settings of the server, each with what it may be.
const SETTINGS: &[(&str, &[&str])] = &[
    ("debug", &["true", "false"]),
    ("logtime_utc", &["true", "false"]),
    ("ping_interval", &["\"90s\"", "\"2m\"", "\"100s\""]),
    ("ping_max", &["1", "7"]),
    ("write_deadline", &["\"3s\"", "\"10s\""]),
    ("max_payload", &["20", "2000", "1MB", "-1"]),
    ("max_connections", &["1000", "64K"]),
    ("max_control_line", &["500", "4096"]),
    ("max_pending", &["50MB", "2MB"]),
    ("max_subs", &["1000", "0"]),
    ("max_sub_tokens", &["3", "16"]),
    ("max_traced_msg_len", &["5", "0"]),
    ("client_advertise", &["\"1.2.3.4:99\"", "\"host\"", "\"a:b:c\""]),
    ("server_tags", &["[a]", "[a, b]", "[\"az:1\"]"]),
    ("server_metadata", &["{ a: b }", "{ a: c, d: e }"]),
    ("lame_duck_duration", &["\"40s\"", "\"2m\""]),
    ("lame_duck_grace_period", &["\"4s\""]),
    ("no_fast_producer_stall", &["true"]),
    ("no_header_support", &["true", "false"]),
    ("pid_file", &["\"${dir}/a.pid\"", "\"${dir}/b.pid\""]),
    ("connect_error_reports", &["5"]),
    ("server_name", &["other"]),
    ("unknown_setting", &["1"]),
    ("max_closed_clients", &["5"]),
];
const PERMISSIONS: &[&str] = &[
    "",
    "",
    ", permissions { publish: \"a.>\" }",
    ", permissions { subscribe: \"a.>\" }",
    ", permissions { publish: { deny: \"a.b\" }, subscribe: { deny: \"a.b\" } }",
    ", permissions { publish: { allow: [\"a.*\", \"b\"] }, subscribe: { allow: \"*.b\", deny: \"b.b\" } }",
];
const SUBJECTS: [&str; 4] = ["a.b", "a.c", "b", "b.b"];
/// What may be in the first account besides its users.
const IN_ACCOUNT: &[&str] = &[
    "",
    "",
    ", limits { max_conn: 1 }",
    ", limits { max_conn: 5, max_subs: 5 }",
    ", jetstream: enabled",
    ", jetstream { max_streams: 2, max_file: 1MB }",
    ", mappings { \"b\": \"a.c\" }",
    ", exports: [ { stream: \"a.>\" }, { service: \"b\" } ]",
];
/// What the harness changes by its own looks, the machine, and the moment.
const HEAD: &str = "\
fresh: yes
ignore: .config_digest, .subscriptions, .in_bytes, .in_msgs, .out_bytes, .out_msgs, .in_client_bytes, .in_client_msgs, \
    .out_client_bytes, .out_client_msgs, .connections, .total_connections, .jetstream, .host, .port, .start, \
    .last_activity, .uptime, .rtt, .idle, .pending_bytes, .http_req_stats, .update_time
mask: sha256:[0-9a-f]+
mask: server.conf:\\d+:\\d+
sort: .account_detail.imports, .account_detail.exports
";

/// The session of a seed, as a scenario.
pub fn session(seed: u64) -> String {
    let mut random = Random::new(seed);
    let has_accounts = random.chance(70);
    let mut text = format!("# Generated, reloads-{seed}.\n{HEAD}");
    let _ = write!(text, "config:\n{}", config(&mut random, has_accounts, true));
    if has_accounts {
        text.push_str("login: {\"user\":\"l\",\"pass\":\"p\"}\n");
    }
    for (name, user) in [("c", "u"), ("d", "v")] {
        // Where nobody is listed nobody gives a name: that is a scenario of its own, with a difference that is meant.
        let fields = if has_accounts { format!("\"user\":\"{user}\",\"pass\":\"p\"") } else { String::new() };
        let _ = writeln!(text, "connect {name} {{{fields}}}");
        let _ = writeln!(text, "{name} > SUB {} 1", random.pick(&["a.>", "a.b", "*.b", ">"]));
        let _ = writeln!(text, "{name} > SUB b 2\n{name} sync");
    }
    for number in 0..RELOADS {
        let _ = write!(text, "reload:\n{}", config(&mut random, has_accounts, false));
        for name in ["c", "d"] {
            let subject = random.pick(&SUBJECTS);
            let _ = writeln!(text, "{name} sync\n{name} pub {subject} {name}{number}\n{name} sync");
        }
        text.push_str("c sync\nget /varz\nget /connz?subs=1&auth=1\n");
        if has_accounts {
            text.push_str("get /accountz?acc=A\n");
        }
    }
    text
}

/// A configuration, its lines indented. The first lets both clients in.
fn config(random: &mut Random, has_accounts: bool, is_first: bool) -> String {
    let mut text = String::from("  http_port: -1\n");
    for (name, values) in SETTINGS {
        let is_safe =
            !matches!(*name, "unknown_setting" | "server_name" | "client_advertise" | "no_header_support");
        // What is refused hides everything else.
        let share = if is_safe { 25 } else { 4 };
        if (is_safe || !is_first) && random.chance(share) {
            let _ = writeln!(text, "  {name}: {}", random.pick(values));
        }
    }
    if !has_accounts {
        return text;
    }
    let in_account = if is_first { "" } else { random.pick(IN_ACCOUNT) };
    let mut users = [String::new(), String::new()];
    for user in ["u", "v"] {
        let account = random.index(2).unwrap_or_default();
        let is_there = is_first || random.chance(90);
        let password = if is_first || random.chance(90) { "p" } else { "q" };
        if let Some(users) = users.get_mut(account).filter(|_| is_there) {
            let permissions = random.pick(PERMISSIONS);
            let comma = if users.is_empty() { "" } else { ", " };
            let _ = write!(users, "{comma}{{ user: {user}, password: {password}{permissions} }}");
        }
    }
    let [first, second] = users;
    let _ = writeln!(text, "  accounts {{\n    A {{ users: [ {first}]{in_account} }}");
    let _ = writeln!(text, "    B {{ users: [ {second}] }}");
    let _ = writeln!(text, "    L {{ users: [ {{ user: l, password: p }} ] }}\n  }}");
    text
}

/// Plays the sessions of these seeds.
///
/// # Errors
/// When a session is no scenario, which is a fault of this module.
pub fn run(reference: &Program, candidate: &Program, seeds: Range<u64>) -> Result<Report> {
    let mut comparison = Comparison::new(reference, candidate, &Tools::default());
    let mut cases = Vec::new();
    for seed in seeds {
        let text = session(seed);
        let path = format!("generated/reloads-{seed}.txt");
        cases.extend(scenario::parse(Path::new(&path), &text)?);
    }
    Ok(Report::run(&cases, &mut comparison))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_is_a_scenario() {
        for seed in 0..50 {
            let text = session(seed);
            assert!(scenario::parse(Path::new("generated/x.txt"), &text).is_ok(), "{text}");
        }
    }
}
