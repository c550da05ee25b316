//! Servers that are connected as leaf nodes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use common::lab::{api, lab_request, lab_server_with};
use common::leafs::{leaf_address, leafs, patient, until_heard, written};
use common::{Wire, options, request, start, with_streams};
use jetkv::Server;
use jetkv::options::{LeafnodeOptions, LeafnodeRemote, Options};
use jetkv_testing::{WAIT_MAX, eventually};
use serde_json::Value;
use tempfile::TempDir;

/// What a hub says of itself that is a part of the test.
const INFO: &str = r#"INFO {"server_id":"ID","server_name":"other","version":"2.15.2","proto":1,"go":"go","host":"h","port":1,"headers":true,"auth_required":true,"max_payload":1048576,"client_id":7,"nonce":"abc","info_on_connect":true}"#;
const LET_IN: &str = r#"INFO {"server_id":"ID","server_name":"other","version":"2.15.2","proto":1,"go":"go","host":"h","port":1,"headers":true,"max_payload":1048576,"client_id":7,"connect_info":true,"remote_account":"THERE"}"#;

fn leafnodes(text: &str) -> LeafnodeOptions {
    Options::from_config_text(&format!("leafnodes {{ {text} }}")).unwrap().leafnodes
}

/// Options of a server that leaf nodes connect to, on a port of its own.
fn listening(mut options: Options, block: &str) -> Options {
    let text = format!("leafnodes {{ listen: \"127.0.0.1:-1\", {block} }}");
    let read = Options::from_config_text(&text).unwrap();
    options.unserved_listeners = read.unserved_listeners;
    options.leafnodes = read.leafnodes;
    patient(options)
}

/// Options of a server that connects to `address`, with more in the block of the remote.
fn connecting(mut options: Options, address: SocketAddr, more: &str) -> Options {
    let text =
        format!("reconnect: \"10ms\", remotes: [ {{ url: \"nats://leaf:secret@{address}\", {more} }} ]");
    options.leafnodes = leafnodes(&text);
    options.leafnodes.remotes.iter_mut().for_each(|remote| remote.first_info_timeout = 2 * WAIT_MAX);
    options
}

/// Two servers, the second connected to the first.
fn pair() -> (Server, Server) {
    let hub = start(listening(options(), "authorization { user: leaf, password: secret }"));
    let spoke = start(connecting(options(), leaf_address(&hub), ""));
    (hub, spoke)
}

/// What another server says to a hub, and hears. It has yet to send CONNECT.
fn other(hub: &Server) -> jetkv_testing::Wire {
    jetkv_testing::Wire::connect(leaf_address(hub))
}

/// The same, let in.
fn other_in(hub: &Server, name: &str) -> jetkv_testing::Wire {
    let mut wire = other(hub);
    wire.send(&format!(
        "CONNECT {{\"name\":\"{name}\",\"headers\":true,\"user\":\"leaf\",\"pass\":\"secret\"}}\r\n"
    ));
    let info = wire.line();
    assert!(info.contains("\"connect_info\":true"), "{info}");
    let told = wire.line();
    assert!(told.starts_with("LS+ $LDS."), "{told}");
    wire
}

fn hub() -> Server {
    start(listening(options(), "authorization { user: leaf, password: secret }"))
}

#[test]
fn messages_and_answers_cross_in_both_directions() {
    let (hub, spoke) = pair();
    for (here, there) in [(&hub, &spoke), (&spoke, &hub)] {
        let (mut asker, mut service) = (Wire::client(here), Wire::client(there));
        service.send("SUB work.* 1\r\nPING\r\n");
        service.expect("PONG\r\n");
        until_heard(here, "work.*", true);
        asker.send("SUB inbox 9\r\nHPUB work.a inbox 18 20\r\nNATS/1.0\r\na: b\r\n\r\nhi\r\n");
        service.expect("HMSG work.a 1 inbox 18 20\r\nNATS/1.0\r\na: b\r\n\r\nhi\r\n");
        service.send("PUB inbox 2\r\nok\r\n");
        asker.expect("MSG inbox 9 2\r\nok\r\n");
        service.send("UNSUB 1\r\nPING\r\n");
        service.expect("PONG\r\n");
        until_heard(here, "work.*", false);
        // There is nobody left.
        asker.send("PUB work.a inbox 0\r\n\r\n");
        asker.expect("HMSG inbox 9 38 38\r\nNATS/1.0 503\r\nNats-Subject: work.a\r\n\r\n\r\n");
    }
}

#[test]
fn a_subject_that_is_covered_twice_crosses_once() {
    let (hub, spoke) = pair();
    let (mut here, mut there) = (Wire::client(&hub), Wire::client(&spoke));
    there.send("SUB a.* 1\r\nSUB a.b 2\r\nSUB a.b q 3\r\nPING\r\n");
    there.expect("PONG\r\n");
    for subject in ["a.*", "a.b"] {
        until_heard(&hub, subject, true);
    }
    eventually("the queue group", || leafs(&hub)[0]["subscriptions"] == 4);
    here.send("PUB a.b 1\r\nx\r\nPUB a.b 1\r\ny\r\n");
    let mut got: Vec<String> = (0..6).map(|_| common::message(&mut there).1).collect();
    got.sort_unstable();
    assert_eq!(got, ["x\r\n", "x\r\n", "x\r\n", "y\r\n", "y\r\n", "y\r\n"]);
    there.expect_nothing();
}

#[test]
fn a_queue_group_across_servers_gets_a_message_once_and_those_here_go_first() {
    let hub = hub();
    let mut leaf = other_in(&hub, "n");
    let (mut publisher, mut member) = (Wire::client(&hub), Wire::client(&hub));
    leaf.send("LS+ jobs q 3\r\n");
    leaf.expect_nothing();
    publisher.send("PUB jobs 1\r\na\r\n");
    leaf.expect("LMSG jobs | q 1\r\na\r\n");
    member.send("SUB jobs q 1\r\nPING\r\n");
    member.expect("PONG\r\n");
    leaf.expect("LS+ jobs q 1\r\n");
    publisher.send("PUB jobs 1\r\nb\r\nPUB jobs r 1\r\nc\r\n");
    member.expect("MSG jobs 1 1\r\nb\r\nMSG jobs 1 r 1\r\nc\r\n");
    // What comes from there says who gets it.
    leaf.send("LMSG jobs 1\r\nd\r\nLMSG jobs | other 1\r\ne\r\nLMSG jobs + r q 1\r\nf\r\n");
    member.expect("MSG jobs 1 r 1\r\nf\r\n");
    member.send("UNSUB 1\r\n");
    leaf.expect("LS- jobs q\r\n");
}

#[test]
fn what_a_server_hears_of_is_counted_by_subject() {
    let hub = hub();
    let mut leaf = other_in(&hub, "n");
    let mut client = Wire::client(&hub);
    client.send("SUB a 1\r\nSUB a 2\r\nSUB b 3\r\n");
    leaf.expect("LS+ a\r\nLS+ b\r\n");
    client.send("UNSUB 1\r\nUNSUB 3\r\n");
    leaf.expect("LS- b\r\n");
    client.send("UNSUB 2\r\n");
    leaf.expect("LS- a\r\n");
    // One that is closed leaves nothing behind.
    client.send("SUB c 1\r\n");
    leaf.expect("LS+ c\r\n");
    drop(client);
    leaf.expect("LS- c\r\n");
}

#[test]
fn what_one_leaf_node_publishes_reaches_the_others_and_not_itself() {
    let hub = hub();
    let (mut one, mut two) = (other_in(&hub, "one"), other_in(&hub, "two"));
    // Each hears what the other listens to.
    one.send("LS+ a\r\n");
    two.expect("LS+ a\r\n");
    two.send("LS+ a\r\n");
    one.expect("LS+ a\r\n");
    one.send("LMSG a r 1\r\nx\r\n");
    two.expect("LMSG a r 1\r\nx\r\n");
    one.expect_nothing();
    drop(two);
    one.expect("LS- a\r\n");
}

#[test]
fn a_circle_is_found() {
    let hub = hub();
    let mut wire = other(&hub);
    wire.send("CONNECT {\"name\":\"n\",\"user\":\"leaf\",\"pass\":\"secret\"}\r\n");
    wire.line();
    let loop_subject = wire.line();
    wire.send(&format!("{loop_subject}\r\n"));
    wire.expect_then_close(
        "-ERR 'Loop detected for leafnode account=\"$G\". Delaying attempt to reconnect for 30s'\r\n",
    );
}

#[test]
fn the_same_server_takes_the_place_of_its_older_connection() {
    let hub = hub();
    let connect =
        "CONNECT {\"name\":\"n\",\"remote_account\":\"A\",\"user\":\"leaf\",\"pass\":\"secret\"}\r\n";
    let mut old = other(&hub);
    old.send(connect);
    old.line();
    old.line();
    let mut new = other(&hub);
    new.send(connect);
    old.expect_then_close("-ERR 'Duplicate Remote LeafNode Connection'\r\n");
    new.line();
    new.line();
    new.expect_nothing();
    eventually("one is left", || leafs(&hub).len() == 1);
}

#[test]
fn an_account_has_no_more_leaf_nodes_than_it_may() {
    let text = "accounts { A { limits { max_leafnodes: 1 } } }\n\
        leafnodes { listen: \"127.0.0.1:-1\", authorization { user: leaf, password: secret, account: A } }";
    let hub = start(written(text));
    let _first = other_in(&hub, "one");
    let mut second = other(&hub);
    second.send("CONNECT {\"name\":\"two\",\"user\":\"leaf\",\"pass\":\"secret\"}\r\n");
    second.line();
    second.expect_then_close("-ERR 'maximum account active connections exceeded'\r\n");
}

#[test]
fn what_is_denied_does_not_cross() {
    let hub = hub();
    let denied = "deny_imports: [\"in.>\"], deny_exports: [\"out.>\"]";
    let spoke = start(connecting(options(), leaf_address(&hub), denied));
    let (mut here, mut there) = (Wire::client(&hub), Wire::client(&spoke));
    there.send("SUB in.a 1\r\nSUB > 2\r\nSUB z 3\r\nPING\r\n");
    there.expect("PONG\r\n");
    until_heard(&hub, "z", true);
    until_heard(&hub, "in.a", false);
    here.send("SUB out.a 1\r\nSUB last 2\r\nPUB in.a 1\r\nx\r\nPUB z 1\r\ny\r\n");
    let mut got = [there.line(), there.line(), there.line(), there.line()];
    got.sort_unstable();
    assert_eq!(got, ["MSG z 2 1", "MSG z 3 1", "y", "y"]);
    until_heard(&spoke, "last", true);
    there.send("UNSUB 2\r\nPUB out.a 1\r\nx\r\nPUB last 1\r\ny\r\n");
    here.expect("MSG last 2 1\r\ny\r\n");
}

#[test]
fn a_leaf_node_may_do_what_its_user_may() {
    let text = "authorization { users: [ { user: leaf, password: secret, permissions: { \
        publish: { allow: [\"up\", \"both\"] }, subscribe: { allow: [\"down\", \"both\"] } } } ] }\n\
        leafnodes { listen: \"127.0.0.1:-1\" }\n";
    let hub = start(written(text));
    let connect = "CONNECT {\"name\":\"n\",\"user\":\"leaf\",\"pass\":\"secret\"}\r\n";
    let mut leaf = other(&hub);
    leaf.send(connect);
    let info = leaf.line();
    let told = "\"import\":{\"allow\":[\"down\",\"both\"]},\"export\":{\"allow\":[\"up\",\"both\"]}";
    assert!(info.contains(told), "{info}");
    leaf.line();
    leaf.send("LS+ down\r\nLMSG up 1\r\nx\r\n");
    leaf.expect_nothing();
    leaf.send("LMSG down 1\r\nx\r\n");
    leaf.expect_then_close("-ERR 'Permissions Violation for Publish to \"down\"'\r\n");
    let mut leaf = other(&hub);
    leaf.send(connect);
    leaf.line();
    leaf.line();
    leaf.send("LS+ up\r\n");
    leaf.expect_then_close("-ERR 'Permissions Violation for Subscription to \"up\"'\r\n");
}

#[test]
fn accounts_are_connected_by_those_that_both_sides_name() {
    let text = "accounts { A { users: [ { user: a, password: a } ] }, B { users: [ { user: b, password: b } ] } }\n\
        leafnodes { listen: \"127.0.0.1:-1\", authorization { users: [ { user: leaf, password: secret, account: B } ] } }";
    let hub = start(written(text));
    let spoke = start(connecting(options(), leaf_address(&hub), ""));
    let mut there = Wire::client(&spoke);
    let mut a = Wire::client_with(&hub, ",\"user\":\"a\",\"pass\":\"a\"");
    let mut b = Wire::client_with(&hub, ",\"user\":\"b\",\"pass\":\"b\"");
    there.send("SUB a 1\r\n");
    until_heard(&hub, "a", true);
    a.send("PUB a 1\r\nx\r\nPING\r\n");
    a.expect("PONG\r\n");
    b.send("PUB a 1\r\ny\r\n");
    there.expect("MSG a 1 1\r\ny\r\n");
    let (_, page) = hub.page("/accstatz", "");
    let page: Value = serde_json::from_str(&page).unwrap();
    let stats = page["account_statz"].as_array().unwrap();
    let of_b = stats.iter().find(|stat| stat["acc"] == "B").unwrap();
    assert_eq!((&of_b["leafnodes"], &of_b["sent"]["leafs"]["msgs"]), (&1.into(), &1.into()));
}

/// A hub that is a part of the test: takes a connection, plays the first steps, and hears CONNECT and so many lines behind it.
/// The other server waits two seconds for the answer; a hub that was too slow gets another connection.
fn take_in(listener: &TcpListener, lines: usize) -> (String, Vec<String>) {
    let play = || {
        let (mut socket, _) = listener.accept()?;
        socket.set_read_timeout(Some(WAIT_MAX))?;
        socket.write_all(format!("{INFO}\r\n").as_bytes())?;
        let mut reader = BufReader::new(socket.try_clone()?);
        let mut connect = String::new();
        reader.read_line(&mut connect)?;
        socket.write_all(format!("{LET_IN}\r\n").as_bytes())?;
        let told = reader.lines().filter(|line| !line.as_ref().is_ok_and(|line| line == "PING"));
        Ok::<_, std::io::Error>((connect, told.take(lines).collect::<Result<Vec<_>, _>>()?))
    };
    loop {
        match play() {
            Ok((connect, told))
                if told.len() == lines && told.iter().all(|line| !line.starts_with("-ERR")) =>
            {
                return (connect, told);
            }
            Ok(_) => {}
            Err(error) => assert!(error.kind() != ErrorKind::WouldBlock, "nothing came"),
        }
    }
}

#[test]
fn a_server_connects_again_and_says_anew_who_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let spoke = start(connecting(options(), listener.local_addr().unwrap(), ""));
    let mut client = Wire::client(&spoke);
    client.send("SUB a.b 1\r\nPING\r\n");
    client.expect("PONG\r\n");
    for round in 0..3 {
        let (connect, told) = take_in(&listener, 2);
        assert!(connect.starts_with("CONNECT {"), "{round}: {connect}");
        assert!(connect.contains("\"user\":\"leaf\",\"pass\":\"secret\""), "{connect}");
        assert!(told.contains(&"LS+ a.b".to_owned()), "{told:?}");
        assert!(told.iter().any(|line| line.starts_with("LS+ $LDS.")), "{told:?}");
    }
}

#[test]
fn a_server_that_connects_takes_only_a_hub_for_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _spoke = start(connecting(options(), listener.local_addr().unwrap(), ""));
    for said in ["INFO {\"server_id\":\"x\",\"client_id\":1}\r\n", "HELLO\r\n", "INFO x\r\n", ""] {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
        socket.write_all(said.as_bytes()).unwrap();
        if said.is_empty() {
            // Nothing came in time.
            continue;
        }
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).unwrap_or_default();
        assert!(line.is_empty() || line.starts_with("-ERR"), "{line}");
    }
}

/// Two servers with JetStream and domains, the second connected to the first; and the options of the second, to start it again.
fn domains() -> (TempDir, Server, TempDir, Options) {
    let (hub_dir, mut hub_options) = with_streams();
    hub_options.jetstream.domain = Some("hub".to_owned());
    let hub = start(listening(hub_options, "authorization { user: leaf, password: secret }"));
    let (spoke_dir, mut spoke_options) = with_streams();
    spoke_options.jetstream.domain = Some("spoke".to_owned());
    let spoke_options = connecting(spoke_options, leaf_address(&hub), "");
    (hub_dir, hub, spoke_dir, spoke_options)
}

/// A client that asks. Its answers have a subject of their own: what one server publishes the other one hears.
struct Asker {
    wire: Wire,
    inbox: &'static str,
}

impl Asker {
    fn new(server: &Server, inbox: &'static str) -> Self {
        let mut wire = Wire::client(server);
        wire.send(&format!("SUB {inbox} 1\r\n"));
        Self { wire, inbox }
    }

    fn answer(&mut self) -> Value {
        let (_, body) = common::message(&mut self.wire);
        serde_json::from_str(body.trim_end()).unwrap()
    }

    fn ask(&mut self, subject: &str, body: &str) -> Value {
        self.wire.send(&request(subject, self.inbox, body));
        self.answer()
    }

    fn publish(&mut self, subject: &str, payload: &str) -> Value {
        let inbox = self.inbox;
        self.wire.send(&format!("PUB {subject} {inbox} {}\r\n{payload}\r\n", payload.len()));
        self.answer()
    }

    fn messages(&mut self, stream: &str) -> u64 {
        self.ask(&format!("STREAM.INFO.{stream}"), "")["state"]["messages"].as_u64().unwrap()
    }
}

/// The payloads that a stream holds, in order.
fn payloads(asker: &mut Asker, stream: &str, count: u64) -> Vec<String> {
    (1..=count)
        .map(|seq| {
            let got = asker.ask(&format!("STREAM.MSG.GET.{stream}"), &format!("{{\"seq\":{seq}}}"));
            got["message"]["data"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn external(name: &str, domain: &str) -> String {
    format!(r#"{{"name":"{name}","external":{{"api":"$JS.{domain}.API","deliver":""}}}}"#)
}

#[test]
fn streams_of_another_domain_are_reached_by_its_name() {
    let (_hub_dir, hub, _spoke_dir, spoke_options) = domains();
    let spoke = start(spoke_options);
    for subject in ["$JS.hub.API.STREAM.>", "$JS.hub.API.$KV.>"] {
        until_heard(&spoke, subject, true);
    }
    let (mut here, mut there) = (Asker::new(&hub, "here"), Asker::new(&spoke, "there"));
    here.ask("STREAM.CREATE.KV_B", r#"{"name":"KV_B","subjects":["$KV.B.>"],"max_msgs_per_subject":1}"#);
    let stored = there.publish("$JS.hub.API.$KV.B.k", "v");
    assert_eq!(
        (&stored["stream"], &stored["seq"], &stored["domain"]),
        (&"KV_B".into(), &1.into(), &"hub".into())
    );
    assert_eq!(there.publish("$JS.hub.API.STREAM.INFO.KV_B", "")["state"]["messages"], 1);
    // Without the name it is this domain that is asked, which has no such stream.
    assert_eq!(there.ask("STREAM.INFO.KV_B", "")["error"]["err_code"], 10059);
    assert_eq!(there.publish("$JS.hub.API.INFO", "")["domain"], "hub");
    assert_eq!(there.ask("INFO", "")["domain"], "spoke");
}

#[test]
fn mirrors_and_sources_of_another_domain_go_on_after_the_connection_was_cut() {
    let (_hub_dir, hub, _spoke_dir, spoke_options) = domains();
    let spoke = start(spoke_options.clone());
    until_heard(&spoke, "$JS.hub.API.STREAM.>", true);
    until_heard(&hub, "$JS.spoke.API.STREAM.>", true);
    let (mut here, mut there) = (Asker::new(&hub, "here"), Asker::new(&spoke, "there"));
    here.ask("STREAM.CREATE.ORIGIN", r#"{"name":"ORIGIN","subjects":["o"]}"#);
    there.ask("STREAM.CREATE.EDGE", r#"{"name":"EDGE","subjects":["e"]}"#);
    let publish = |asker: &mut Asker, subject: &str, from: u32| {
        for number in from..from + 5 {
            let stored = asker.publish(subject, &number.to_string());
            assert_eq!(stored["seq"], number, "{stored}");
        }
    };
    publish(&mut here, "o", 1);
    publish(&mut there, "e", 1);
    let mirror = format!(r#"{{"name":"M","mirror":{}}}"#, external("ORIGIN", "hub"));
    let created = there.ask("STREAM.CREATE.M", &mirror);
    assert!(created["error"].is_null(), "{created}");
    let source = format!(r#"{{"name":"S","sources":[{}]}}"#, external("EDGE", "spoke"));
    let created = here.ask("STREAM.CREATE.S", &source);
    assert!(created["error"].is_null(), "{created}");
    eventually("the mirror", || there.messages("M") == 5);
    eventually("the source", || here.messages("S") == 5);
    spoke.shutdown();
    eventually("it is gone", || leafs(&hub).is_empty());
    publish(&mut here, "o", 6);
    let spoke = start(spoke_options);
    let mut there = Asker::new(&spoke, "there");
    publish(&mut there, "e", 6);
    eventually("the mirror goes on", || there.messages("M") == 10);
    eventually("the source goes on", || here.messages("S") == 10);
    assert_eq!(payloads(&mut there, "M", 10), payloads(&mut here, "ORIGIN", 10));
    assert_eq!(payloads(&mut here, "S", 10), payloads(&mut there, "EDGE", 10));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (block, said) in [
        (
            "remotes: [{ url: \"wss://a:1\" }]",
            "leafnode url with scheme \"wss\" is not supported by JetKV yet",
        ),
        (
            "remotes: [{ url: \"nats://a:1\", proxy { url: x } }]",
            "field \"proxy\" is not supported by JetKV yet",
        ),
        ("port: -1, tls {}", "TLS without 'cert_file' and 'key_file' is not supported by JetKV"),
        ("remotes: [{ url: \"nats://a:1\" }, { url: \"nats://a:1\" }]", "duplicate remote urls=["),
        ("port: -1, authorization { nkey: x }", "field \"nkey\" is not supported by JetKV yet"),
        (
            "remotes: [{ url: \"nats://a:1\", account: NOBODY }]",
            "cannot find local account \"NOBODY\" specified in leafnode remote",
        ),
        ("port: -1, min_version: \"2.7.0\"", "the minimum version should be at least 2.8.0"),
    ] {
        let error = Options::from_config_text(&format!("leafnodes {{ {block} }}")).unwrap_err().to_string();
        assert!(error.contains(said), "{block}: {error}");
    }
    let remote = LeafnodeRemote::default();
    assert_eq!((remote.account.as_str(), remote.hub), ("$G", false));
}

#[test]
fn no_time_at_all_stands_for_the_usual_one() {
    let none = "remotes: [ { url: \"nats://a:1\" } ]";
    let zero = "reconnect: \"0s\", dial_timeout: 0, write_deadline: \"0s\", \
        remotes: [ { url: \"nats://a:1\", dial_timeout: \"0s\", first_info_timeout: \"0s\" } ]";
    assert_eq!(leafnodes(zero), leafnodes(none));
}

#[test]
fn one_that_reads_nothing_takes_a_bounded_share_of_the_memory() {
    const PENDING_BYTES: usize = 64 << 10;
    let mut options = options();
    options.limits.max_pending_bytes = i64::try_from(PENDING_BYTES).unwrap();
    let hub = start(listening(options, "authorization { user: leaf, password: secret }"));
    let mut leaf = other_in(&hub, "n");
    leaf.send("LS+ flood\r\n");
    leaf.expect_nothing();
    let mut client = Wire::client(&hub);
    let payload = "x".repeat(6 * PENDING_BYTES);
    // However much the system takes, there is an end of it.
    eventually("it is cut", || {
        client.send(&format!("PUB flood {}\r\n{payload}\r\nPING\r\n", payload.len()));
        client.expect("PONG\r\n");
        leafs(&hub).is_empty()
    });
}

#[test]
fn strangers_are_sent_away_and_clients_are_served_meanwhile() {
    let hub = hub();
    let (mut client, silent) = (Wire::client(&hub), other(&hub));
    let endless = format!("CONNECT {{{}", "a".repeat(100_000));
    for said in ["GET / HTTP/1.1\r\n", "LMSG a 999999999\r\n", "CONNECT {\r\n", &endless] {
        let mut stranger = TcpStream::connect(leaf_address(&hub)).unwrap();
        stranger.set_read_timeout(Some(WAIT_MAX)).unwrap();
        // It may be cut before it has said all.
        let _ = stranger.write_all(said.as_bytes());
        let ended = stranger.read_to_end(&mut Vec::new());
        assert!(!ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "it stays open");
    }
    for said in
        ["\0\u{1}\r\n", "LS+ a b\r\n", "LMSG a * r 1\r\nx\r\n", "LMSG a 2\r\nxyz\r\n", "HMSG a 3 2\r\n"]
    {
        let mut leaf = other_in(&hub, "n");
        leaf.send(said);
        eventually(said, || leafs(&hub).is_empty());
    }
    client.send("SUB a 1\r\nPUB a 1\r\nx\r\n");
    client.expect("MSG a 1 1\r\nx\r\n");
    drop(silent);
}

#[test]
fn an_origin_that_may_be_reached_again_is_asked_however_often_it_did_not_answer() {
    let listens = listening(options(), "authorization { user: leaf, password: secret }");
    let (_directory, hub) = lab_server_with(|options| {
        options.unserved_listeners = listens.unserved_listeners;
        options.leafnodes = listens.leafnodes;
    });
    let mut client = Wire::client(&hub);
    lab_request(&mut client, "TIME.FREEZE", "");
    let mirror = r#"{"name":"M","mirror":{"name":"O","external":{"api":"there.API","deliver":"there.d"}}}"#;
    api(&mut client, "STREAM.CREATE.M", mirror);
    // It asks, waits half a minute for the answer, and would ask again ten seconds later.
    lab_request(&mut client, "TIME.ADVANCE", r#"{"by":"31s"}"#);
    let mut leaf = other(&hub);
    leaf.send("CONNECT {\"name\":\"n\",\"headers\":true,\"user\":\"leaf\",\"pass\":\"secret\"}\r\nLS+ there.API.>\r\n");
    until_heard(&hub, "there.API.>", true);
    lab_request(&mut client, "TIME.ADVANCE", r#"{"by":"3s"}"#);
    while !leaf.line().starts_with("HMSG there.API.CONSUMER.CREATE.O ") {}
}

#[test]
fn a_reload_that_would_change_leaf_nodes_is_refused() {
    let hub = hub();
    let mut changed = Options::clone(&hub.monitor().options());
    changed.leafnodes.isolate = true;
    let refused = hub.reload(changed).unwrap_err().to_string();
    assert!(refused.contains("LeafNode: field \"IsolateLeafnodeInterest\""), "{refused}");
    // Another change leaves the connections as they are.
    let mut leaf = other_in(&hub, "n");
    let mut changed = Options::clone(&hub.monitor().options());
    changed.limits.max_connections = 10;
    hub.reload(changed).unwrap();
    leaf.expect_nothing();
}
