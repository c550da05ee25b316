//! What changes, what is refused, and what is said of it.

use super::diff;
use crate::options::Options;

/// What a server that runs with `old` logs when it is told to use `new`.
fn reloaded(old: &str, new: &str) -> Vec<String> {
    let mut old = Options::from_config_text(old).unwrap();
    old.port = 36315;
    let mut new = Options::from_config_text(&format!("port: -1\n{new}")).unwrap();
    let runs = old.jetstream.enabled;
    match diff(&old, &mut new, runs) {
        Ok(changes) => changes.into_iter().map(|change| change.line).collect(),
        Err(error) => vec![error.to_string()],
    }
}

#[test]
fn changes_are_logged_as_on_nats_server() {
    let users = ["Reloaded: authorization users", "Reloaded: accounts"];
    let cases: [(&str, &str, &[&str], &[&str]); 10] = [
        ("", "", &[], &[]),
        ("", "max_payload: 1024", &[], &["Reloaded: max_payload = 1024"]),
        (
            "",
            "debug: true\ntrace_verbose: true\nlogtime: false",
            &[
                "Reloaded: trace = true",
                "Reloaded: debug = true",
                "Reloaded: trace_verbose = true",
                "Reloaded: logtime = false",
            ],
            &[],
        ),
        (
            "",
            "authorization {user: a, password: b}",
            &[],
            &["Reloaded: authorization username", "Reloaded: authorization password"],
        ),
        ("", "authorization {timeout: 5}", &[], &["Reloaded: authorization timeout = 5"]),
        (
            "",
            "client_advertise: \"a:1\"\nmax_connections: 5\nping_interval: \"5s\"\nping_max: 3",
            &["Reload: client_advertise = a:1", "Reloaded: max_connections = 5"],
            &["Reloaded: ping_interval = 5s", "Reloaded: ping_max = 3"],
        ),
        (
            "",
            "no_fast_producer_stall: true\npid_file: /x\nports_file_dir: /y\nlog_file: /z\nserver_tags: a",
            &[],
            &[
                "Reloaded: fast producers will not be stalled",
                "Reloaded: pid_file = /x",
                "Reloaded: ports_file_dir = /y",
                "Reloaded: log_file = /z",
                "Reloaded: tags",
            ],
        ),
        ("", "jetstream {store_dir: /x}", &[], &["Reloaded: JetStream"]),
        (
            "jetstream {max_mem: 1G}",
            "jetstream {max_mem: 2G}",
            &[],
            &["Reloaded: JetStream max_mem_store = 1.86 GB"],
        ),
        ("jetstream {}", "jetstream {limits {max_ack_pending: 5}}", &[], &["Reloaded: JetStream limits"]),
    ];
    for (old, new, before, after) in cases {
        let expected: Vec<&str> = before.iter().chain(&users).chain(after).copied().collect();
        assert_eq!(reloaded(old, new), expected, "{new}");
    }
}

#[test]
fn what_cannot_change_is_refused_with_the_texts_of_nats_server() {
    for (old, new, what) in [
        ("", "port: 4555", "Port: old=36315, new=4555"),
        ("", "leafnodes {port: -1}", "LeafNode: field \"Host\": old=, new=0.0.0.0"),
        ("cluster {name: a, port: -1}", "", "cluster host: old=0.0.0.0, new="),
        (
            "ws {port: 1, no_tls: true}",
            "ws {port: 2, no_tls: true}",
            "Websocket: old=0.0.0.0:1, new=0.0.0.0:2",
        ),
        ("", "host: 127.0.0.1", "Host: old=0.0.0.0, new=127.0.0.1"),
        ("", "server_name: x", "ServerName: old=, new=x"),
        ("", "http_port: -1", "HTTPPort: old=0, new=-1"),
        ("", "max_subs: 5", "MaxSubs: old=0, new=5"),
        ("", "lame_duck_duration: \"40s\"", "LameDuckDuration: old=2m0s, new=40s"),
        ("", "max_pending: 50MB", "MaxPending: old=67108864, new=52428800"),
        ("", "feature_flags {a: true}", "FeatureFlags: old=map[], new=map[a:true]"),
        ("", "default_js_domain {\"$G\": x}", "JsAccDefaultDomain: old=map[], new=map[$G:x]"),
        ("", "no_system_account: true", "NoSystemAccount: old=false, new=true"),
        ("", "write_timeout: retry", "WriteTimeout: old=, new=retry"),
        ("", "max_closed_clients: 5", "MaxClosedClients: old=10000, new=5"),
        ("", "log_max_num: 5", "LogMaxFiles: old=0, new=5"),
        ("", "system_account: X\naccounts {X: {}}", "SystemAccount: old=, new=X"),
        ("", "no_auth_user: a\nauthorization {users: [{user: a, password: b}]}", "NoAuthUser: old=, new=a"),
        ("jetstream {store_dir: /x}", "jetstream {store_dir: /y}", "jetstream storage directory"),
        ("jetstream {max_mem: 1G}", "jetstream {max_mem: 1M}", "decreasing jetstream max memory and store"),
        ("jetstream {}", "jetstream {max_mem: 1M}", "jetstream dynamic max memory and store"),
        ("jetstream {}", "jetstream {domain: x}", "JetStreamDomain: old=, new=x"),
        ("jetstream {}", "jetstream {key: x}", "JetStreamKey: old=, new=[REDACTED]"),
        (
            "jetstream {prev_key: a}",
            "jetstream {prev_key: b}",
            "JetStreamOldKey: old=[REDACTED], new=[REDACTED]",
        ),
        (
            "jetstream {}",
            "jetstream {tpm {encryption_password: x, pcr: 3}}",
            "JetStreamTpm: old={   0}, new={ [REDACTED]  3}",
        ),
        ("jetstream {}", "jetstream {cipher: aes}", "JetStreamCipher: old=ChaCha20-Poly1305, new=AES-GCM"),
    ] {
        assert_eq!(reloaded(old, new), [format!("config reload not supported for {what}")], "{new}");
    }
}
