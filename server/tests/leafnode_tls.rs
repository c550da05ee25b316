//! Leaf node connections under TLS: who gets in, how, and what becomes of those who attack the handshake.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use common::leafs::{leaf_address, leafs, until_heard, written};
use common::{Wire, start};
use jetkv::Server;
use jetkv::options::Options;
use jetkv_testing::{WAIT_MAX, eventually};
use rcgen::{BasicConstraints, CertificateParams, CertifiedKey, IsCa, KeyPair};

/// A time that no handshake takes.
const PATIENT: &str = "timeout: 120";
const INFO: &str = r#"INFO {"server_id":"ID","server_name":"other","version":"2.15.2","proto":1,"go":"go","host":"h","port":1,"headers":true,"auth_required":true,"tls_required":true,"max_payload":1048576,"client_id":7,"nonce":"abc","info_on_connect":true}"#;

/// An authority, and certificates that it signed, in a directory.
struct Certificates(tempfile::TempDir);

impl Certificates {
    /// The hub's is for these names.
    fn new(names: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key_pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedKey { cert: params.self_signed(&key_pair).unwrap(), key_pair };
        let made = Self(directory);
        std::fs::write(made.path().join("ca.pem"), authority.cert.pem()).unwrap();
        made.sign("hub", names, &authority);
        made.sign("spoke", &["spoke"], &authority);
        made
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn sign(&self, file: &str, names: &[&str], authority: &CertifiedKey) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let cert = params.signed_by(&key, &authority.cert, &authority.key_pair).unwrap();
        std::fs::write(self.path().join(format!("{file}.pem")), cert.pem()).unwrap();
        std::fs::write(self.path().join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    /// Fields of a `tls` block that show a certificate.
    fn shows(&self, who: &str) -> String {
        let path = self.path().display();
        format!("cert_file: \"{path}/{who}.pem\", key_file: \"{path}/{who}.key\"")
    }

    fn trusts(&self) -> String {
        format!("ca_file: \"{}/ca.pem\"", self.path().display())
    }

    fn hub_options(&self, more: &str) -> Options {
        let shows = self.shows("hub");
        written(&format!(
            "leafnodes {{ listen: \"127.0.0.1:-1\", authorization {{ user: leaf, password: secret }}\n\
             tls {{ {shows}, {PATIENT}, {more} }} }}"
        ))
    }

    fn hub(&self, more: &str) -> Server {
        start(self.hub_options(more))
    }
}

/// Options of a server that connects to `address`, with this in the block `tls` of the remote; without one where it is empty.
fn connecting(address: SocketAddr, tls: &str) -> Options {
    let tls = if tls.is_empty() { String::new() } else { format!(", tls {{ {PATIENT}, {tls} }}") };
    let url = format!("nats://leaf:secret@{address}");
    let mut options =
        written(&format!("leafnodes {{ reconnect: \"10ms\", remotes: [ {{ url: \"{url}\"{tls} }} ] }}"));
    options.leafnodes.remotes.iter_mut().for_each(|remote| remote.first_info_timeout = 2 * WAIT_MAX);
    options
}

fn spoke(hub: &Server, tls: &str) -> Server {
    start(connecting(leaf_address(hub), tls))
}

fn crosses(hub: &Server, spoke: &Server) {
    for (here, there) in [(hub, spoke), (spoke, hub)] {
        let (mut publisher, mut listener) = (Wire::client(here), Wire::client(there));
        listener.send("SUB a 1\r\nPING\r\n");
        listener.expect("PONG\r\n");
        until_heard(here, "a", true);
        let payload = "x".repeat(100_000);
        publisher.send(&format!("PUB a {}\r\n{payload}\r\n", payload.len()));
        listener.expect(&format!("MSG a 1 {}\r\n{payload}\r\n", payload.len()));
        listener.send("UNSUB 1\r\n");
        until_heard(here, "a", false);
    }
}

#[test]
fn messages_cross_whoever_begins_with_the_handshake() {
    let files = Certificates::new(&["127.0.0.1"]);
    let trusts = files.trusts();
    let verifies = format!("verify: true, {trusts}");
    let shows = format!("{trusts}, {}", files.shows("spoke"));
    for (of_hub, of_spoke) in [
        ("", trusts.clone()),
        (verifies.as_str(), shows.clone()),
        ("handshake_first: true", format!("handshake_first: true, {trusts}")),
        ("handshake_first: \"300s\"", format!("handshake_first: true, {trusts}")),
        ("handshake_first: \"10ms\"", trusts.clone()),
        ("", "insecure: true".to_owned()),
    ] {
        let hub = files.hub(of_hub);
        let spoke = spoke(&hub, &of_spoke);
        crosses(&hub, &spoke);
        let (_, page) = hub.page("/varz", "");
        assert!(page.contains("\"tls_required\": true"), "{page}");
    }
}

/// The hub says so often that nobody came in under TLS.
fn stays_out(hub: &Server, tls: &str) {
    let spoke = spoke(hub, tls);
    let mut client = Wire::client(&spoke);
    // It goes on trying.
    let refused = || {
        let (_, page) = hub.page("/varz", "");
        let page: serde_json::Value = serde_json::from_str(&page).unwrap();
        page["total_connections"].as_u64().is_some() && leafs(hub).is_empty() && leafs(&spoke).is_empty()
    };
    for _ in 0..10 {
        assert!(refused(), "{tls}");
        client.send("PING\r\n");
        client.expect("PONG\r\n");
    }
    spoke.shutdown();
    assert!(leafs(hub).is_empty());
}

#[test]
fn who_cannot_prove_who_it_is_stays_out() {
    let (files, others) = (Certificates::new(&["127.0.0.1"]), Certificates::new(&["127.0.0.1"]));
    let hub = files.hub("");
    // Nobody known signed for the hub.
    stays_out(&hub, &others.trusts());
    let pinned = format!("pinned_certs: [ \"{}\" ]", "ab".repeat(32));
    let hub = files.hub(&format!("verify: true, {}, {pinned}", files.trusts()));
    stays_out(&hub, &format!("{}, {}", files.trusts(), files.shows("spoke")));
    let hub = files.hub(&format!("verify: true, {}", files.trusts()));
    stays_out(&hub, &files.trusts());
    stays_out(&hub, &format!("{}, {}", files.trusts(), others.shows("spoke")));
    // The hub is somebody else.
    let named = Certificates::new(&["elsewhere"]);
    stays_out(&named.hub(""), &named.trusts());
}

/// Plays a hub that says something, and returns what comes then, until the end.
fn hears(listener: &TcpListener, said: &[u8]) -> Vec<u8> {
    let (mut socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
    socket.write_all(said).unwrap();
    let mut heard = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match socket.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => heard.extend(&chunk[..count]),
            Err(error) => {
                assert!(error.kind() != ErrorKind::WouldBlock, "it stays open");
                break;
            }
        }
        // What no server says under TLS.
        if socket.write_all(b"INFO {}\r\n").is_err() {
            break;
        }
    }
    heard
}

#[test]
fn nothing_secret_is_said_before_the_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let without_block = start(connecting(address, ""));
    let info = format!("{INFO}\r\n");
    let injected = format!("{INFO}\r\nINFO {{\"connect_info\":true}}\r\nPING\r\n");
    for said in [info.as_bytes(), injected.as_bytes()] {
        let heard = hears(&listener, said);
        assert!(!String::from_utf8_lossy(&heard).contains("secret"), "{heard:?}");
    }
    // Once the other server wanted TLS, nobody else takes it out.
    let plain = INFO.replace("\"tls_required\":true,", "");
    let heard = hears(&listener, format!("{plain}\r\n").as_bytes());
    assert!(!String::from_utf8_lossy(&heard).contains("secret"), "{heard:?}");
    without_block.shutdown();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _with_block = start(connecting(listener.local_addr().unwrap(), "insecure: true"));
    let heard = hears(&listener, format!("{plain}\r\n").as_bytes());
    assert!(!String::from_utf8_lossy(&heard).contains("secret"), "{heard:?}");
}

#[test]
fn handshakes_that_make_no_sense_or_take_too_long_end() {
    let files = Certificates::new(&["127.0.0.1"]);
    let shows = files.shows("hub");
    for first in ["false", "true", "\"1ms\""] {
        let hub = start(written(&format!(
            "leafnodes {{ listen: \"127.0.0.1:-1\", authorization {{ user: leaf, password: secret }}\n\
             tls {{ {shows}, timeout: 1, handshake_first: {first} }} }}"
        )));
        let endless = [&[0x16, 3, 1, 0x40, 0][..], &[7; 100_000]].concat();
        let connect = b"CONNECT {\"user\":\"leaf\",\"pass\":\"secret\"}\r\n".to_vec();
        for said in [Vec::new(), connect, b"\x16\x03\x01\x00\xff".to_vec(), endless, vec![0; 1000]] {
            let mut socket = TcpStream::connect(leaf_address(&hub)).unwrap();
            socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
            // It may be cut before it has said all.
            let _ = socket.write_all(&said);
            let mut heard = Vec::new();
            let ended = socket.read_to_end(&mut heard);
            assert!(!ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "{first}: {said:?}");
            assert!(!String::from_utf8_lossy(&heard).contains("connect_info"), "{heard:?}");
        }
        eventually("none is left", || leafs(&hub).is_empty());
        let spoke = spoke(&hub, &format!("handshake_first: {}, {}", first == "true", files.trusts()));
        crosses(&hub, &spoke);
    }
}

/// The first line of a connection that waits for INFO.
fn greeting(hub: &Server) -> String {
    let socket = TcpStream::connect(leaf_address(hub)).unwrap();
    socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line).unwrap();
    line
}

#[test]
fn a_reload_takes_certificates_over_and_other_servers_come_and_go() {
    let files = Certificates::new(&["127.0.0.1"]);
    let hub = files.hub("");
    let info = greeting(&hub);
    assert!(info.contains("\"tls_required\":true"), "{info}");
    let address = leaf_address(&hub);
    let others = Certificates::new(&["127.0.0.1"]);
    let spoke = spoke(&hub, &others.trusts());
    assert!(leafs(&hub).is_empty());
    spoke.reload(connecting(address, &files.trusts())).unwrap();
    crosses(&hub, &spoke);
    let with = |change: &dyn Fn(&mut Options)| {
        let mut options = connecting(address, &files.trusts());
        change(&mut options);
        spoke.reload(options)
    };
    with(&|options| options.leafnodes.remotes.iter_mut().for_each(|remote| remote.disabled = true)).unwrap();
    eventually("it is switched off", || leafs(&hub).is_empty() && leafs(&spoke).is_empty());
    with(&|_| {}).unwrap();
    crosses(&hub, &spoke);
    with(&|options| options.leafnodes.remotes.clear()).unwrap();
    eventually("it is gone", || leafs(&hub).is_empty() && leafs(&spoke).is_empty());
    with(&|_| {}).unwrap();
    crosses(&hub, &spoke);
    let changed = with(&|options| options.leafnodes.remotes.iter_mut().for_each(|remote| remote.hub = true));
    let refused = changed.unwrap_err().to_string();
    assert!(
        refused.contains("field \"Hub\": old=false, new=true") && !refused.contains("secret"),
        "{refused}"
    );
    // The hub shows what it was given anew to those who come.
    let mut renewed = others.hub_options("");
    renewed.unserved_listeners = hub.monitor().options().unserved_listeners.clone();
    hub.reload(renewed).unwrap();
    with(&|options| options.leafnodes.remotes.clear()).unwrap();
    eventually("it is gone", || leafs(&hub).is_empty());
    spoke.reload(connecting(address, &others.trusts())).unwrap();
    crosses(&hub, &spoke);
}
