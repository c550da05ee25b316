//! Users, accounts, permissions and the system account.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Wire, options, start};
use jetkv::options::{
    AccountJetStreamTiers, AccountOptions, Options, Permissions, ResponsePermission, SubjectPermission,
    UserOptions,
};
use std::time::Duration;

fn user(name: &str, account: Option<&str>) -> UserOptions {
    UserOptions {
        username: name.into(),
        password: name.into(),
        account: account.map(Into::into),
        permissions: None,
        allowed_connection_types: None,
        proxy_required: false,
    }
}

fn as_user(name: &str) -> String {
    format!(",\"user\":\"{name}\",\"pass\":\"{name}\"")
}

fn two_accounts() -> Options {
    let mut options = options();
    options.accounts = ["A", "B", "SYS"].map(AccountOptions::new).into();
    options.auth.users = vec![user("a", Some("A")), user("b", Some("B")), user("sys", Some("SYS"))];
    options.system_account = Some("SYS".into());
    options
}

fn subjects(allow: &[&str], deny: &[&str]) -> Option<SubjectPermission> {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Some(SubjectPermission { allow: (!allow.is_empty()).then(|| owned(allow)), deny: owned(deny) })
}

#[test]
fn accounts_do_not_hear_each_other() {
    let server = start(two_accounts());
    let mut a = Wire::client_with(&server, &as_user("a"));
    let mut b = Wire::client_with(&server, &as_user("b"));
    b.send("SUB > 1\r\nPING\r\n");
    b.expect("PONG\r\n");
    a.send("SUB foo 1\r\nPUB foo 1\r\nx\r\n");
    a.expect("MSG foo 1 1\r\nx\r\n");
    b.expect_nothing();
}

#[test]
fn wrong_credentials_and_anything_before_connect_are_refused() {
    let server = start(two_accounts());
    for first in [
        "PING\r\n",
        "CONNECT {\"user\":\"a\",\"pass\":\"b\"}\r\n",
        "CONNECT {\"user\":\"nobody\",\"pass\":\"b\"}\r\n",
        "CONNECT {}\r\n",
        "CONNECT {\"user\":\"a\",\"pass\":\"a\",\"account\":\"B\"}\r\n",
    ] {
        let mut wire = Wire::connect(&server);
        wire.send(first);
        wire.expect_then_close("-ERR 'Authorization Violation'\r\n");
    }
}

#[test]
fn a_client_that_says_nothing_runs_into_the_authentication_timeout() {
    let mut options = two_accounts();
    options.auth.timeout = Duration::from_millis(20);
    let server = start(options);
    let mut wire = Wire::connect(&server);
    wire.expect_then_close("-ERR 'Authentication Timeout'\r\n");
}

#[test]
fn hashed_passwords_are_compared_and_what_follows_connect_waits() {
    let mut options = options();
    options.auth.token = Some(bcrypt::hash("secret", 4).unwrap());
    let server = start(options);
    let mut wire = Wire::connect(&server);
    wire.send(
        "CONNECT {\"verbose\":false,\"auth_token\":\"secret\"}\r\nSUB foo 1\r\nPUB foo 1\r\nx\r\nPING\r\n",
    );
    wire.expect("MSG foo 1 1\r\nx\r\nPONG\r\n");
    let mut wrong = Wire::connect(&server);
    wrong.send("CONNECT {\"auth_token\":\"wrong\"}\r\nPING\r\n");
    wrong.expect_then_close("-ERR 'Authorization Violation'\r\n");
}

#[test]
fn connections_without_credentials_become_the_no_auth_user_with_or_without_connect() {
    let mut options = two_accounts();
    options.auth.no_auth_user = Some("a".into());
    let server = start(options);
    let mut wire = Wire::open(&server);
    assert!(!wire.line().contains("auth_required"));
    wire.send("SUB foo 1\r\n");
    wire.expect("+OK\r\n");
    let mut a = Wire::client_with(&server, &as_user("a"));
    a.send("PUB foo 1\r\nx\r\n");
    wire.expect("MSG foo 1 1\r\nx\r\n");
}

#[test]
fn permissions_are_kept_and_their_violations_told() {
    let mut options = two_accounts();
    options.auth.users[0].permissions = Some(Permissions {
        publish: subjects(&["a.>", "b"], &["a.no"]),
        subscribe: subjects(&["x.*", "q grp"], &["x.no"]),
        responses: None,
    });
    options.auth.users.push(user("a2", Some("A")));
    let server = start(options);
    let mut wire = Wire::client_with(&server, &as_user("a"));
    wire.send("SUB y 1\r\nSUB x.no 2\r\nSUB x.* 3\r\nSUB q 4\r\nSUB q grp 5\r\nSUB q grx 6\r\nPUB a.b 0\r\n\r\nPUB c 0\r\n\r\nPUB a.no 0\r\n\r\n");
    wire.expect("-ERR 'Permissions Violation for Subscription to \"y\"'\r\n");
    wire.expect("-ERR 'Permissions Violation for Subscription to \"x.no\"'\r\n");
    wire.expect("-ERR 'Permissions Violation for Subscription to \"q\"'\r\n");
    wire.expect("-ERR 'Permissions Violation for Subscription to \"q\" using queue \"grx\"'\r\n");
    wire.expect("-ERR 'Permissions Violation for Publish to \"c\"'\r\n");
    wire.expect("-ERR 'Permissions Violation for Publish to \"a.no\"'\r\n");
    let mut free = Wire::client_with(&server, &as_user("a2"));
    free.send("PUB x.no 1\r\n1\r\nPUB x.yes 1\r\n2\r\n");
    wire.expect("MSG x.yes 3 1\r\n2\r\n");
}

#[test]
fn a_service_may_answer_each_request_once() {
    let mut options = two_accounts();
    options.auth.users[0].permissions = Some(Permissions {
        publish: None,
        subscribe: subjects(&["service"], &[]),
        responses: Some(ResponsePermission { max_messages: 1, expires_ns: -1 }),
    });
    options.auth.users.push(user("a2", Some("A")));
    let server = start(options);
    let mut service = Wire::client_with(&server, &as_user("a"));
    service.send("SUB service 1\r\nPING\r\n");
    service.expect("PONG\r\n");
    let mut asker = Wire::client_with(&server, &as_user("a2"));
    asker.send("SUB inbox 1\r\nPUB service inbox 0\r\n\r\n");
    service.expect("MSG service 1 inbox 0\r\n\r\n");
    service.send("PUB inbox 1\r\n1\r\nPUB inbox 1\r\n2\r\n");
    service.expect("-ERR 'Permissions Violation for Publish to \"inbox\"'\r\n");
    asker.expect("MSG inbox 1 1\r\n1\r\n");
    asker.expect_nothing();
}

#[test]
fn an_account_takes_no_more_connections_than_it_may() {
    let mut options = two_accounts();
    options.accounts[0].limits.max_connections = 1;
    let server = start(options);
    let _first = Wire::client_with(&server, &as_user("a"));
    let mut second = Wire::connect(&server);
    second.send("CONNECT {\"user\":\"a\",\"pass\":\"a\"}\r\n");
    second.expect_then_close("-ERR 'maximum account active connections exceeded'\r\n");
    Wire::client_with(&server, &as_user("b"));
}

#[test]
fn a_client_can_ask_who_it_is() {
    let server = start(two_accounts());
    let mut wire = Wire::client_with(&server, &as_user("a"));
    wire.send("SUB i 1\r\nPUB $SYS.REQ.USER.INFO i 0\r\n\r\n");
    assert!(wire.line().starts_with("MSG i 1 "));
    let answer: serde_json::Value = serde_json::from_str(&wire.line()).unwrap();
    assert_eq!(answer["data"], serde_json::json!({"user": "a", "account": "A", "account_name": "A"}));
    wire.send("PUB $SYS.REQ.ACCOUNT.PING.STATZ i 0\r\n\r\n");
    assert!(wire.line().starts_with("MSG i 1 "));
    let answer: serde_json::Value = serde_json::from_str(&wire.line()).unwrap();
    let stats = &answer["data"]["account_statz"];
    assert_eq!(
        (&stats[0]["acc"], &stats[0]["conns"], &stats[1]),
        (&"A".into(), &1.into(), &serde_json::Value::Null)
    );
    wire.send("PUB $SYS.REQ.SERVER.PING i 0\r\n\r\n");
    assert!(wire.line().starts_with("HMSG i 1 "));
}

#[test]
fn the_system_account_hears_who_comes_and_goes_and_can_ask_for_numbers() {
    let server = start(two_accounts());
    let mut sys = Wire::client_with(&server, &as_user("sys"));
    sys.send("SUB $SYS.ACCOUNT.*.* 1\r\nSUB i 2\r\nPING\r\n");
    sys.expect("PONG\r\n");
    drop(Wire::client_with(&server, &as_user("a")));
    for (subject, kind) in [("CONNECT", "client_connect"), ("DISCONNECT", "client_disconnect")] {
        assert!(sys.line().starts_with(&format!("MSG $SYS.ACCOUNT.A.{subject} 1 ")));
        let event: serde_json::Value = serde_json::from_str(&sys.line()).unwrap();
        assert_eq!(event["type"], format!("io.nats.server.advisory.v1.{kind}"));
        assert_eq!(event["client"]["user"], "a");
        assert_eq!(event["server"]["id"], server.monitor().server_id());
    }
    sys.send("PUB $SYS.REQ.SERVER.PING i 0\r\n\r\n");
    assert!(sys.line().starts_with("MSG i 2 "));
    let answer: serde_json::Value = serde_json::from_str(&sys.line()).unwrap();
    assert_eq!(answer["statsz"]["total_connections"], 2);
}

#[test]
fn a_reload_takes_users_away_and_changes_permissions() {
    let before = two_accounts();
    let server = start(before.clone());
    let mut a = Wire::client_with(&server, &as_user("a"));
    let mut b = Wire::client_with(&server, &as_user("b"));
    a.send("SUB foo 1\r\nPING\r\n");
    a.expect("PONG\r\n");
    let mut after = before.clone();
    after.auth.users.remove(1);
    after.auth.users[0].permissions =
        Some(Permissions { subscribe: subjects(&["bar"], &[]), ..Permissions::default() });
    server.reload(after).unwrap();
    b.expect_close();
    a.expect("-ERR 'Permissions Violation for Subscription to \"foo\" (sid \"1\")'\r\n");
    a.send("PUB foo 0\r\n\r\n");
    a.expect_nothing();
    let moved = Options { host: "127.0.0.2".into(), ..before };
    assert!(
        server.reload(moved).unwrap_err().to_string().starts_with("config reload not supported for Host")
    );
}

#[test]
fn an_account_without_jetstream_is_told_so_and_a_stream_that_is_not_there_has_no_responders() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = two_accounts();
    options.jetstream.enabled = true;
    options.jetstream.store_dir = Some(directory.path().to_owned());
    options.accounts[0].jetstream = Some(AccountJetStreamTiers::default());
    let server = start(options);
    let mut b = Wire::client_with(&server, &as_user("b"));
    b.send("SUB i 1\r\nPUB $JS.API.INFO i 0\r\n\r\n");
    assert!(b.line().starts_with("MSG i 1 "));
    assert!(b.line().contains(r#""err_code":10039,"description":"JetStream not enabled for account""#));
    let mut a = Wire::client_with(&server, &as_user("a"));
    for (wire, subject) in [(&mut a, "$JS.API.DIRECT.GET.S"), (&mut b, "$JS.API.DIRECT.GET.S")] {
        wire.send(&format!("SUB j 2\r\nPUB {subject} j 0\r\n\r\n"));
        assert!(wire.line().starts_with("HMSG j 2 "), "{subject}");
        assert_eq!(wire.line(), "NATS/1.0 503");
        assert_eq!(wire.line(), format!("Nats-Subject: {subject}"));
        wire.expect("\r\n\r\n");
    }
}
