//! Handshakes that never come to an end, a byte at a time: each has its time as a whole, however lively it looks. And what
//! somebody overheard of one that succeeded, sent once more.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jetkv::Server;
use jetkv::options::Options;
use jetkv_testing::WAIT_MAX;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::common::{Wire, closed_for, connections, start};

/// Time between two bytes. Many of them are less than any handshake may take here.
const PAUSE: Duration = Duration::from_millis(20);

struct Certificate {
    directory: tempfile::TempDir,
    made: CertifiedKey,
}

impl Certificate {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(directory.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(directory.path().join("key.pem"), made.key_pair.serialize_pem()).unwrap();
        Self { directory, made }
    }

    fn block(&self, more: &str) -> String {
        let place: &Path = self.directory.path();
        let place = place.display();
        format!("tls {{ cert_file: \"{place}/cert.pem\", key_file: \"{place}/key.pem\", {more} }}")
    }
}

fn server(config: &str) -> Server {
    start(Options::from_config_text(&format!("listen: \"127.0.0.1:-1\"\n{config}")).unwrap())
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
    socket
}

/// Sends a beginning at once and then a byte again and again, until the server closes the connection.
fn trickles(address: SocketAddr, beginning: &[u8], byte: u8) {
    let mut socket = connect(address);
    let mut writes = socket.try_clone().unwrap();
    writes.write_all(beginning).unwrap();
    let sender = std::thread::spawn(move || {
        while writes.write_all(&[byte]).is_ok() {
            std::thread::sleep(PAUSE);
        }
    });
    let mut bytes = [0; 1024];
    let error = loop {
        match socket.read(&mut bytes) {
            Ok(0) => break None,
            Ok(_) => {}
            Err(error) => break Some(error.kind()),
        }
    };
    let waits = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
    assert!(error.is_none_or(|kind| !waits.contains(&kind)), "the server waits for {beginning:?}");
    let _ = socket.shutdown(std::net::Shutdown::Both);
    sender.join().unwrap();
}

/// Beginnings of a handshake of TLS that says how much of it is still to come.
const HELLOS: [&[u8]; 2] = [b"", &[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc]];

#[test]
fn a_handshake_of_tls_has_its_time_as_a_whole() {
    let certificate = Certificate::new();
    for first in ["handshake_first: true", "handshake_first: false"] {
        let server = server(&certificate.block(&format!("timeout: 0.3, {first}")));
        for hello in HELLOS {
            trickles(server.client_address(), hello, 0x16);
        }
        closed_for(&server, "TLS Handshake Failure");
    }
}

#[test]
fn an_upgrade_has_its_time_as_a_whole() {
    let certificate = Certificate::new();
    let at = "listen: \"127.0.0.1:-1\", handshake_timeout: \"300ms\"";
    let plain = server(&format!("websocket {{ {at}, no_tls: true }}"));
    let beginnings: [(&[u8], u8); 4] = [
        (b"", b'G'),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ", b'a'),
        (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n", b'\t'),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", b'a'),
    ];
    for (beginning, byte) in beginnings {
        trickles(plain.websocket_address().unwrap(), beginning, byte);
    }
    let secure = server(&format!("websocket {{ {at}, {} }}", certificate.block("timeout: 600")));
    for hello in HELLOS {
        trickles(secure.websocket_address().unwrap(), hello, 0x16);
    }
    assert_eq!((connections(&plain, "").len(), connections(&secure, "").len()), (0, 0));
    Wire::client(&plain).expect_nothing();
}

/// Its time is not configured: five seconds, as in nats-server.
#[test]
fn the_header_of_a_proxy_has_its_time_as_a_whole() {
    let server = server("proxy_protocol: true\nauthorization { timeout: 600 }");
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let longest = [&signature[..], b"\x21\x11\xff\xff"].concat();
    let address = server.client_address();
    std::thread::scope(|scope| {
        let begun: [&[u8]; 4] = [b"", b"PROXY", &signature[..], &longest];
        for beginning in begun {
            scope.spawn(move || trickles(address, beginning, b'\r'));
        }
        // And one that says nothing more.
        scope.spawn(move || {
            let mut socket = connect(address);
            socket.write_all(b"PROXY TCP4 192.0.2.1").unwrap();
            let _ = socket.read_to_end(&mut Vec::new());
        });
        // Nobody else waits for them.
        Wire::client(&server).expect_nothing();
    });
    closed_for(&server, "Protocol Violation");
}

#[test]
fn who_one_is_has_to_be_said_in_time_as_a_whole() {
    let server = server("authorization { user: a, password: b, timeout: 0.3 }");
    for beginning in [&b""[..], b"CONNECT {\"user\":\"", b"CONNECT {\"sig\":\"", b"CONNECT {\"jwt\":\"eyJ"] {
        trickles(server.client_address(), beginning, b' ');
    }
    closed_for(&server, "Authentication Timeout");
}

/// A socket that remembers what was sent.
struct Overheard {
    socket: TcpStream,
    sent: Vec<u8>,
}

impl Read for Overheard {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.socket.read(into)
    }
}

impl Write for Overheard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.socket.write(bytes)?;
        self.sent.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn until(stream: &mut impl Read, end: &[u8]) {
    let (mut got, mut byte) = (Vec::new(), [0]);
    while !got.ends_with(end) {
        stream.read_exact(&mut byte).unwrap();
        got.push(byte[0]);
    }
}

/// Whoever sends again what a client sent that came in under TLS, its password included, does not come in.
#[test]
fn what_was_overheard_of_tls_opens_nothing() {
    let certificate = Certificate::new();
    let block = certificate.block("timeout: 600, handshake_first: true");
    let server = server(&format!("authorization {{ user: a, password: b, timeout: 600 }}\n{block}"));
    let mut roots = RootCertStore::empty();
    roots.add(certificate.made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    for version in rustls::ALL_VERSIONS {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(&[version]).unwrap();
        let config = Arc::new(builder.with_root_certificates(roots.clone()).with_no_client_auth());
        let session = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
        let overheard = Overheard { socket: connect(server.client_address()), sent: Vec::new() };
        let mut client = StreamOwned::new(session, overheard);
        until(&mut client, b"\r\n");
        client.write_all(b"CONNECT {\"verbose\":false,\"user\":\"a\",\"pass\":\"b\"}\r\nPING\r\n").unwrap();
        until(&mut client, b"PONG\r\n");
        let mut again = connect(server.client_address());
        // The server may have ended it before all of this is there.
        let _ = again.write_all(&client.sock.sent);
        let mut answer = Vec::new();
        let _ = again.read_to_end(&mut answer);
        closed_for(&server, "TLS Handshake Failure");
        // It stays on the page for a moment after its socket is closed.
        jetkv_testing::eventually("one is left", || connections(&server, "auth=true").len() == 1);
        assert_eq!(connections(&server, "auth=true")[0]["authorized_user"], "a");
        drop(client);
        jetkv_testing::eventually("it is gone", || connections(&server, "").is_empty());
    }
}
