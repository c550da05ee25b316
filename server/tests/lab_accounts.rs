//! Accounts that the test lab makes for whoever comes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::Wire;
use common::lab::{ask, lab_request, lab_server, lab_server_with};
use jetkv::Server;
use jetkv::options::{AccountOptions, Options, UserOptions};
use jetkv_testing::eventually;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const CREATE: &str = r#"{"name":"S","subjects":["s.*"]}"#;

fn isolated(server: &Server, name: &str) -> Wire {
    Wire::client_with(server, &format!(r#","user":"{name}""#))
}

/// Tries to come in with these fields of CONNECT, in vain.
fn refused(server: &Server, fields: &str) {
    let mut wire = Wire::connect(server);
    wire.send(&format!("CONNECT {{\"verbose\":false{fields}}}\r\nPING\r\n"));
    assert_eq!(wire.line(), "-ERR 'Authorization Violation'", "{fields}");
    wire.expect_close();
}

fn accounts(server: &Server) -> Vec<String> {
    let listed = server.lab().unwrap().request("ACCOUNT", "LIST", &json!({})).unwrap();
    listed["accounts"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn messages(wire: &mut Wire) -> Value {
    ask(wire, "$JS.API.STREAM.INFO.S", "", "").0["state"]["messages"].clone()
}

#[test]
fn who_comes_by_a_name_of_its_own_is_alone() {
    let (_directory, server) = lab_server(None);
    let mut one = isolated(&server, "lab-one");
    // As clients send a URL with a name alone.
    let mut two = Wire::client_with(&server, r#","auth_token":"lab-two""#);
    let mut all = Wire::client(&server);
    for (wire, count) in [(&mut one, 1), (&mut two, 2), (&mut all, 3)] {
        assert_eq!(ask(wire, "$JS.API.STREAM.CREATE.S", "", CREATE).0.get("error"), None);
        wire.send("SUB s.* 1\r\n");
        for _ in 0..count {
            wire.send("PUB s.a 1\r\nv\r\n");
            assert_eq!((wire.line(), wire.line()), ("MSG s.a 1 1".to_owned(), "v".to_owned()));
        }
        assert_eq!(messages(wire), count);
    }
    assert_eq!(
        (messages(&mut one), accounts(&server)),
        (json!(1), vec!["lab-one".to_owned(), "lab-two".to_owned()])
    );
    // The lab answers there, too, and means the whole server.
    assert_eq!(lab_request(&mut one, "STATE.RESET", r#"{"account":"lab-two"}"#)["streams"], 1);
    assert_eq!(ask(&mut two, "$JS.API.STREAM.NAMES", "", "").0["total"], 0);
}

#[test]
fn it_is_gone_with_its_last_connection() {
    let (directory, server) = lab_server(None);
    let mut one = isolated(&server, "lab-one");
    ask(&mut one, "$JS.API.STREAM.CREATE.S", "", CREATE);
    let mut again = isolated(&server, "lab-one");
    drop(one);
    eventually("one connection is left", || common::connections(&server, "").len() == 1);
    assert_eq!(messages(&mut again), 0);
    let store = directory.path().join("jetstream");
    assert!(store.join("lab-one").exists());
    drop(again);
    eventually("the account is gone", || accounts(&server).is_empty());
    let mut new = isolated(&server, "lab-one");
    assert_eq!(ask(&mut new, "$JS.API.STREAM.NAMES", "", "").0["total"], 0);
    assert!(!store.join("lab-one").join("streams").join("S").exists());
}

#[test]
fn one_that_is_asked_for_has_a_password_and_ends_on_request() {
    let (_directory, server) = lab_server(None);
    let mut wire = Wire::client(&server);
    let made = lab_request(&mut wire, "ACCOUNT.ISOLATE", r#"{"name":"x"}"#);
    assert_eq!((&made["account"], &made["user"]), (&json!("lab-x"), &json!("lab-x")));
    let password = made["password"].as_str().unwrap();
    let port = server.client_address().port();
    assert_eq!(made["url"], format!("nats://lab-x:{password}@127.0.0.1:{port}"));
    assert_eq!(lab_request(&mut wire, "ACCOUNT.ISOLATE", r#"{"name":"x"}"#)["error"]["code"], 400);
    refused(&server, r#","user":"lab-x","pass":"wrong""#);
    refused(&server, r#","user":"lab-x""#);
    let fields = format!(r#","user":"lab-x","pass":"{password}""#);
    let mut inside = Wire::client_with(&server, &fields);
    ask(&mut inside, "$JS.API.STREAM.CREATE.S", "", CREATE);
    assert_eq!(lab_request(&mut wire, "ACCOUNT.RELEASE", r#"{"name":"lab-x"}"#)["account"], "lab-x");
    inside.expect_close();
    assert_eq!(lab_request(&mut wire, "ACCOUNT.RELEASE", r#"{"name":"lab-x"}"#)["error"]["code"], 404);
    assert_eq!(lab_request(&mut wire, "ACCOUNT.RELEASE", r#"{"name":"$G"}"#)["error"]["code"], 404);
    let lab = server.lab().unwrap();
    let (first, second) = (lab.isolate(None).unwrap(), lab.isolate(None).unwrap());
    assert_ne!(first.account, second.account);
    lab.release(&first.account).unwrap();
    assert_eq!(accounts(&server), [second.account]);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let (_directory, server) = lab_server(None);
    for name in ["lab-../x", "lab-a b", "lab-a.b", "lab-*"] {
        refused(&server, &format!(r#","user":"{name}""#));
        let asked = server.lab().unwrap().request("ACCOUNT", "ISOLATE", &json!({"name": &name[4..]}));
        assert_eq!(asked.unwrap_err().code, 400);
    }
    assert!(accounts(&server).is_empty());
}

#[test]
fn with_a_token_it_is_the_password() {
    let (_directory, server) = lab_server(Some("secret"));
    refused(&server, r#","user":"lab-a""#);
    refused(&server, r#","user":"lab-a","pass":"wrong""#);
    let mut wire = Wire::client_with(&server, r#","user":"lab-a","pass":"secret""#);
    ask(&mut wire, "$JS.API.STREAM.CREATE.S", "", CREATE);
    assert_eq!(accounts(&server), ["lab-a"]);
}

#[test]
fn an_account_of_the_configuration_lets_in_whom_that_says() {
    let (_directory, server) = lab_server_with(|options| {
        options.accounts = vec![AccountOptions::new("lab-own")];
        options.auth.users = vec![UserOptions {
            username: "u".into(),
            password: "p".into(),
            account: Some("lab-own".into()),
            permissions: None,
            allowed_connection_types: None,
            proxy_required: false,
        }];
    });
    refused(&server, r#","user":"lab-own""#);
    refused(&server, r#","auth_token":"lab-own""#);
    drop(Wire::client_with(&server, r#","user":"u","pass":"p""#));
    let mut other = isolated(&server, "lab-other");
    ask(&mut other, "$JS.API.STREAM.CREATE.S", "", CREATE);
    assert_eq!(accounts(&server), ["lab-other"]);
}

#[test]
fn a_reload_leaves_it_alone() {
    let (_directory, server) = lab_server(None);
    let mut wire = isolated(&server, "lab-a");
    ask(&mut wire, "$JS.API.STREAM.CREATE.S", "", CREATE);
    let mut options = Options::clone(&server.monitor().options());
    options.limits.max_connections = 10;
    server.reload(options).unwrap();
    assert_eq!(messages(&mut wire), 0);
    assert_eq!(accounts(&server), ["lab-a"]);
}

/// What a connection in memory does in an account of its own: its messages are its own.
async fn works_alone(server: &Server, number: usize) -> jetkv::MemoryStream {
    let mut stream = server.connect_in_memory();
    let create = r#"{"name":"S","subjects":["s.*"],"storage":"memory"}"#;
    let value = format!("value-{number}");
    let text = format!(
        "CONNECT {{\"user\":\"lab-{number}\",\"verbose\":false}}\r\nSUB a 1\r\n\
         PUB $JS.API.STREAM.CREATE.S a {}\r\n{create}\r\n",
        create.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    read_until(&mut stream, "stream_create_response").await;
    let put = format!("PUB s.k a {}\r\n{value}\r\n", value.len());
    stream.write_all(put.as_bytes()).await.unwrap();
    let stored = read_until(&mut stream, "\"seq\":").await;
    assert!(stored.contains("\"seq\":1}"), "{stored}");
    stream
}

async fn read_until(stream: &mut jetkv::MemoryStream, end: &str) -> String {
    let mut text = String::new();
    while !(text.contains(end) && text.ends_with("}\r\n")) {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    text
}

#[test]
fn a_thousand_do_not_see_each_other() {
    let (_directory, server) = lab_server(None);
    std::thread::scope(|scope| {
        let works = |thread: usize| {
            let server = &server;
            move || -> Vec<_> {
                let numbers = (0..250).map(|number| thread * 250 + number);
                numbers.map(|number| server.runtime().block_on(works_alone(server, number))).collect()
            }
        };
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(works(thread))).collect();
        let connections: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!((connections.len(), accounts(&server).len()), (1_000, 1_000));
    });
    eventually("all are gone", || accounts(&server).is_empty());
}
