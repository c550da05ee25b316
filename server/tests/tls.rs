//! TLS: who gets in, how, and what becomes of those who attack the handshake.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{closed_for, connections, start};
use jetkv::Server;
use jetkv::options::Options;
use jetkv_testing::eventually;
use rcgen::{BasicConstraints, CertificateParams, CertifiedKey, IsCa, KeyPair};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, NamedGroup, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedCipherSuite,
};

/// An authority, with a server's and a client's certificate in a directory, as files of a configuration.
struct Certificates {
    directory: tempfile::TempDir,
    authority: CertifiedKey,
    client: CertifiedKey,
}

type Secure = StreamOwned<ClientConnection, TcpStream>;

fn signed(authority: &CertifiedKey, name: &str) -> CertifiedKey {
    let key_pair = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let cert = params.signed_by(&key_pair, &authority.cert, &authority.key_pair).unwrap();
    CertifiedKey { cert, key_pair }
}

fn authority() -> CertifiedKey {
    let key_pair = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedKey { cert: params.self_signed(&key_pair).unwrap(), key_pair }
}

impl Certificates {
    fn new() -> Self {
        let authority = authority();
        let (server, client) = (signed(&authority, "localhost"), signed(&authority, "client"));
        let made = Self { directory: tempfile::tempdir().unwrap(), authority, client };
        made.write_server(&server);
        std::fs::write(made.path().join("ca.pem"), made.authority.cert.pem()).unwrap();
        made
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write_server(&self, server: &CertifiedKey) {
        std::fs::write(self.path().join("cert.pem"), server.cert.pem()).unwrap();
        std::fs::write(self.path().join("key.pem"), server.key_pair.serialize_pem()).unwrap();
    }

    /// Options with a `tls` block of these files and `more` in it, and `rest` behind it.
    fn options(&self, more: &str, rest: &str) -> Options {
        let directory = self.path().display();
        let text = format!(
            "host: 127.0.0.1, port: -1\ntls {{ cert_file: \"{directory}/cert.pem\", key_file: \"{directory}/key.pem\", \
             ca_file: \"{directory}/ca.pem\"\n{more}\n}}\n{rest}"
        );
        Options::from_config_text(&text).unwrap()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.cert.der().clone()).unwrap();
        roots
    }

    /// A client that offers one suite and one group alone, and so one version.
    fn client_of_one(
        &self,
        suite: SupportedCipherSuite,
        group: &'static dyn SupportedKxGroup,
    ) -> Arc<ClientConfig> {
        let offered =
            CryptoProvider { cipher_suites: vec![suite], kx_groups: vec![group], ..ring::default_provider() };
        let builder = ClientConfig::builder_with_provider(Arc::new(offered))
            .with_protocol_versions(&[suite.version()])
            .unwrap();
        Arc::new(builder.with_root_certificates(self.roots()).with_no_client_auth())
    }

    fn client(&self, identity: Option<&CertifiedKey>) -> Arc<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        Arc::new(match identity {
            Some(identity) => {
                let chain: Vec<CertificateDer<'static>> = vec![identity.cert.der().clone()];
                let key = PrivateKeyDer::try_from(identity.key_pair.serialize_der()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        })
    }
}

fn open(server: &Server) -> TcpStream {
    let socket = TcpStream::connect(server.client_address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket
}

fn secure(config: &Arc<ClientConfig>, socket: TcpStream) -> Secure {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), socket)
}

/// The next line. The PING that comes after two seconds is overlooked.
fn line(stream: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") || line == b"PING\r\n" {
        if line.ends_with(b"\n") {
            line.clear();
        }
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

fn ping(stream: &mut (impl Read + Write)) {
    stream.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n").unwrap();
    assert_eq!(line(stream), "PONG\r\n");
}

/// Whether the server ends a connection on which nothing more is sent. What comes until then is thrown away.
fn ends(mut stream: impl Read) -> bool {
    let mut bytes = [0; 1024];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                );
            }
        }
    }
}

#[test]
fn info_comes_first_and_then_everything_is_under_tls() {
    let certificates = Certificates::new();
    let server = start(certificates.options("", ""));
    let mut socket = open(&server);
    let info = line(&mut socket);
    assert!(info.contains("\"tls_required\":true") && !info.contains("tls_verify"), "{info}");
    let mut client = secure(&certificates.client(None), socket);
    ping(&mut client);
    client.write_all(b"SUB s 1\r\nPUB s 5\r\nhello\r\n").unwrap();
    assert_eq!(line(&mut client) + &line(&mut client), "MSG s 1 5\r\nhello\r\n");
    let shown = connections(&server, "").pop().unwrap();
    assert_eq!(shown["tls_version"], "1.3");
    assert_eq!(shown["tls_cipher_suite"], "TLS_AES_128_GCM_SHA256");
}

#[test]
fn large_messages_cross_in_both_directions_although_the_link_fills_up() {
    let certificates = Certificates::new();
    let server = start(certificates.options("", ""));
    let mut socket = open(&server);
    line(&mut socket);
    let mut client = secure(&certificates.client(None), socket);
    ping(&mut client);
    let body = vec![b'x'; 1_000_000];
    client.write_all(b"SUB s 1\r\n").unwrap();
    for _ in 0..8 {
        client.write_all(format!("PUB s {}\r\n", body.len()).as_bytes()).unwrap();
        client.write_all(&body).unwrap();
        client.write_all(b"\r\n").unwrap();
    }
    let mut got = vec![0; body.len()];
    for _ in 0..8 {
        assert_eq!(line(&mut client), "MSG s 1 1000000\r\n");
        client.read_exact(&mut got).unwrap();
        assert!(got == body);
        assert_eq!(line(&mut client), "\r\n");
    }
}

#[test]
fn a_client_shows_a_certificate_of_the_authority_where_it_must() {
    let certificates = Certificates::new();
    let server = start(certificates.options("verify: true", ""));
    let stranger = signed(&authority(), "stranger");
    for (identity, gets_in) in [(Some(&certificates.client), true), (None, false), (Some(&stranger), false)] {
        let mut socket = open(&server);
        assert!(line(&mut socket).contains("\"tls_verify\":true"));
        let mut client = secure(&certificates.client(identity), socket);
        if gets_in {
            ping(&mut client);
        } else {
            let _ = client.write_all(b"PING\r\n");
            assert!(ends(client));
            closed_for(&server, "TLS Handshake Failure");
        }
    }
}

#[test]
fn only_pinned_keys_get_in() {
    let certificates = Certificates::new();
    let digest = sha256(&certificates.client.key_pair.public_key_der());
    for (pinned, gets_in) in [(digest, true), ("00".repeat(32), false)] {
        let server = start(certificates.options(&format!("verify: true, pinned_certs: [\"{pinned}\"]"), ""));
        let mut socket = open(&server);
        line(&mut socket);
        let mut client = secure(&certificates.client(Some(&certificates.client)), socket);
        if gets_in {
            ping(&mut client);
        } else {
            let _ = client.write_all(b"PING\r\n");
            assert!(ends(client));
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring_digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ring_digest(bytes: &[u8]) -> Vec<u8> {
    let provider = ring::default_provider();
    let suite = provider.cipher_suites.iter().find_map(|suite| {
        let tls13 = suite.tls13()?;
        (tls13.common.hash_provider.algorithm() == rustls::crypto::hash::HashAlgorithm::SHA256)
            .then_some(tls13)
    });
    suite.unwrap().common.hash_provider.hash(bytes).as_ref().to_vec()
}

/// The version, suite and group of each client that gets in, of all that offer one suite and one group.
fn agreed(certificates: &Certificates, block: &str) -> Vec<(ProtocolVersion, CipherSuite, NamedGroup)> {
    let server = start(certificates.options(block, ""));
    let mut agreed = Vec::new();
    for &suite in ring::default_provider().cipher_suites.iter() {
        for &group in ring::default_provider().kx_groups.iter() {
            let mut socket = open(&server);
            line(&mut socket);
            let mut client = secure(&certificates.client_of_one(suite, group), socket);
            if client.conn.complete_io(&mut client.sock).is_err() {
                closed_for(&server, "TLS Handshake Failure");
                continue;
            }
            ping(&mut client);
            let session = &client.conn;
            agreed.push((
                session.protocol_version().unwrap(),
                session.negotiated_cipher_suite().unwrap().suite(),
                session.negotiated_key_exchange_group().unwrap().name(),
            ));
        }
    }
    agreed
}

/// What is configured is what is agreed on, whatever clients offer. The server's key is of an elliptic curve, so suites for RSA
/// are offered in vain.
#[test]
fn clients_agree_on_no_other_version_suite_or_group_than_is_configured() {
    use CipherSuite as Suite;
    use NamedGroup::{X25519, secp256r1, secp384r1};
    const NEW: [Suite; 3] = [
        Suite::TLS13_AES_256_GCM_SHA384,
        Suite::TLS13_AES_128_GCM_SHA256,
        Suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    const OLD: [Suite; 3] = [
        Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    const GROUPS: [NamedGroup; 3] = [X25519, secp256r1, secp384r1];
    let certificates = Certificates::new();
    for (block, old, groups) in [
        ("", &OLD[..], &GROUPS[..]),
        ("min_version: \"1.2\"", &OLD, &GROUPS),
        ("min_version: \"1.3\"", &[], &GROUPS),
        ("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]", &OLD[..1], &GROUPS),
        ("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]", &OLD[1..2], &GROUPS),
        ("cipher_suites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]", &OLD[2..], &GROUPS),
        // One for keys of another kind, and one that nobody can choose.
        ("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]", &[], &GROUPS),
        ("cipher_suites: [TLS_AES_128_GCM_SHA256]", &[], &GROUPS),
        ("curve_preferences: [X25519]", &OLD, &GROUPS[..1]),
        ("curve_preferences: [CurveP256]", &OLD, &GROUPS[1..2]),
        ("curve_preferences: [CurveP384, X25519]", &OLD, &[X25519, secp384r1]),
        ("min_version: \"1.3\", curve_preferences: [CurveP384]", &[], &GROUPS[2..]),
    ] {
        let suites = NEW.map(|suite| (ProtocolVersion::TLSv1_3, suite)).into_iter();
        let suites = suites.chain(old.iter().map(|&suite| (ProtocolVersion::TLSv1_2, suite)));
        let expected: Vec<_> = suites
            .flat_map(|(version, suite)| groups.iter().map(move |&group| (version, suite, group)))
            .collect();
        assert_eq!(agreed(&certificates, block), expected, "{block}");
    }
}

/// Of what a client offers the server takes what it prefers itself.
#[test]
fn among_what_a_client_offers_the_server_chooses() {
    let certificates = Certificates::new();
    let server = start(certificates.options("", ""));
    for newest in [true, false] {
        let mut offered = ring::default_provider();
        offered.cipher_suites.retain(|suite| newest == suite.tls13().is_some());
        offered.cipher_suites.sort_by_key(|suite| !format!("{suite:?}").contains("CHACHA20"));
        offered.kx_groups.reverse();
        let builder = ClientConfig::builder_with_provider(Arc::new(offered));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(builder.with_root_certificates(certificates.roots()).with_no_client_auth());
        let mut socket = open(&server);
        line(&mut socket);
        let mut client = secure(&config, socket);
        ping(&mut client);
        let suite = client.conn.negotiated_cipher_suite().unwrap().suite();
        assert!(format!("{suite:?}").ends_with("AES_128_GCM_SHA256"), "{suite:?}");
    }
}

#[test]
fn the_handshake_may_come_before_info() {
    let certificates = Certificates::new();
    let server = start(certificates.options("handshake_first: true", ""));
    let mut client = secure(&certificates.client(None), open(&server));
    assert!(line(&mut client).contains("\"tls_required\":true"));
    ping(&mut client);
}

#[test]
fn who_waits_for_info_gets_it_where_the_server_tells_both_apart() {
    let certificates = Certificates::new();
    let server = start(certificates.options("handshake_first: auto", ""));
    let mut waits = open(&server);
    line(&mut waits);
    ping(&mut secure(&certificates.client(None), waits));
    let mut begins = secure(&certificates.client(None), open(&server));
    assert!(line(&mut begins).starts_with("INFO "));
    ping(&mut begins);
}

#[test]
fn nobody_does_without_where_the_handshake_must_come_first() {
    let certificates = Certificates::new();
    let server = start(certificates.options("handshake_first: true", "allow_non_tls: true"));
    let mut plain = open(&server);
    plain.write_all(b"CONNECT {}\r\nPING\r\n").unwrap();
    let mut said = String::new();
    let _ = plain.read_to_string(&mut said);
    assert!(!said.contains("INFO") && !said.contains("PONG"), "{said}");
    let mut client = secure(&certificates.client(None), open(&server));
    assert!(line(&mut client).contains("\"tls_required\":true"));
    ping(&mut client);
}

#[test]
fn a_client_may_do_without_where_that_is_allowed() {
    let certificates = Certificates::new();
    let server = start(certificates.options("", "allow_non_tls: true"));
    let mut plain = open(&server);
    let info = line(&mut plain);
    assert!(info.contains("\"tls_available\":true") && !info.contains("tls_required"), "{info}");
    ping(&mut plain);
    let mut socket = open(&server);
    line(&mut socket);
    ping(&mut secure(&certificates.client(None), socket));
}

#[test]
fn a_reload_puts_other_certificates_in_force_for_those_who_come() {
    let certificates = Certificates::new();
    let server = start(certificates.options("", ""));
    let mut socket = open(&server);
    line(&mut socket);
    let mut stays = secure(&certificates.client(None), socket);
    ping(&mut stays);
    let other = signed(&certificates.authority, "localhost");
    certificates.write_server(&other);
    let mut options = certificates.options("", "");
    options.port = server.client_address().port();
    let lines: Vec<String> = server.reload(options).unwrap().into_iter().map(|change| change.line).collect();
    assert!(lines.contains(&"Reloaded: tls = enabled".to_owned()), "{lines:?}");
    let mut socket = open(&server);
    line(&mut socket);
    let mut comes = secure(&certificates.client(None), socket);
    ping(&mut comes);
    assert_eq!(comes.conn.peer_certificates().unwrap()[0], *other.cert.der());
    ping(&mut stays);
}

#[test]
fn no_more_handshakes_begin_in_a_second_than_may() {
    let certificates = Certificates::new();
    let server = start(certificates.options("connection_rate_limit: 1", ""));
    // The first of a second gets in, and of two at once at most one does.
    let results: Vec<bool> = (0..20)
        .map(|_| {
            let mut socket = open(&server);
            line(&mut socket);
            let mut client = secure(&certificates.client(None), socket);
            client.write_all(b"PING\r\n").is_ok() && !matches!(client.read(&mut [0; 1]), Ok(0) | Err(_))
        })
        .collect();
    assert!(results[0] && results.contains(&false), "{results:?}");
}

/// What is sent instead of a handshake or in the middle of one ends that connection, and no other.
#[test]
fn attacks_on_the_handshake_end_their_connection_alone() {
    let certificates = Certificates::new();
    let server = start(certificates.options("timeout: 0.3", ""));
    let hello = hello(&certificates);
    let mut oversize = vec![0x16, 3, 1, 0xff, 0xff];
    oversize.resize(100_000, b'x');
    let mut flipped = hello.clone();
    flipped[10] ^= 0xff;
    let attacks: [&[u8]; 6] =
        [b"GET / HTTP/1.1\r\n\r\n", b"CONNECT {}\r\nPING\r\n", &hello[..20], &oversize, &flipped, b""];
    for attack in attacks {
        let mut socket = open(&server);
        line(&mut socket);
        // The server may have ended it before all of it is sent.
        let _ = socket.write_all(attack);
        assert!(ends(socket), "{}", attack.escape_ascii());
    }
    // One that goes away in the middle.
    let mut socket = open(&server);
    line(&mut socket);
    socket.write_all(&hello[..50]).unwrap();
    drop(socket);
    let mut socket = open(&server);
    line(&mut socket);
    ping(&mut secure(&certificates.client(None), socket));
}

/// Options by which nobody is given up for being slow.
fn patient(certificates: &Certificates) -> Options {
    let mut options = certificates.options("timeout: 600", "");
    options.auth.timeout = Duration::from_secs(600);
    options
}

/// However many have begun a handshake, and do not go on with it: others are let in and served beside them, and nothing stays of
/// those who go.
#[test]
fn handshakes_that_stand_still_keep_nobody_waiting() {
    const COUNT: usize = 200;
    let certificates = Certificates::new();
    let server = start(patient(&certificates));
    let hello = hello(&certificates);
    let mut socket = open(&server);
    line(&mut socket);
    let mut idle = secure(&certificates.client(None), socket);
    ping(&mut idle);
    let half_open: Vec<TcpStream> = (0..COUNT)
        .map(|at| {
            let mut socket = open(&server);
            line(&mut socket);
            // Some say nothing, and some all but the last byte.
            socket.write_all(&hello[..hello.len() * at / COUNT]).unwrap();
            socket
        })
        .collect();
    ping(&mut idle);
    let mut socket = open(&server);
    line(&mut socket);
    ping(&mut secure(&certificates.client(None), socket));
    ping(&mut idle);
    drop(half_open);
    eventually("they are gone", || connections(&server, "").len() == 1);
    ping(&mut idle);
}

/// What is no record, or none of this connection, ends a connection that was under TLS, without a word to anybody else.
#[test]
fn garbage_behind_the_handshake_ends_its_connection_alone() {
    let certificates = Certificates::new();
    let server = start(patient(&certificates));
    let mut socket = open(&server);
    line(&mut socket);
    let mut idle = secure(&certificates.client(None), socket);
    ping(&mut idle);
    let hello = hello(&certificates);
    let mut long = vec![0x17, 3, 3, 0xff, 0xff];
    long.resize(70_000, b'x');
    let changes = [0x14, 3, 3, 0, 1, 1].repeat(1000);
    let attacks: [&[u8]; 7] = [
        b"PING\r\n",
        &hello,
        &[0x17, 3, 3, 0, 0],
        &[0x17, 3, 3, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // Another handshake, an alert as text, and changes of the cipher.
        &[0x16, 3, 3, 0, 4, 1, 0, 0, 0],
        &long,
        &changes,
    ];
    for attack in attacks {
        let mut socket = open(&server);
        line(&mut socket);
        let mut client = secure(&certificates.client(None), socket);
        ping(&mut client);
        let mut socket = client.sock;
        let _ = socket.write_all(attack);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        assert!(ends(socket), "{}", attack[..20.min(attack.len())].escape_ascii());
        ping(&mut idle);
    }
    eventually("they are gone", || connections(&server, "").len() == 1);
}

/// The first flight of a client.
fn hello(certificates: &Certificates) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(certificates.client(None), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_pages_are_served_over_tls_and_ask_nobody_for_a_certificate() {
    let certificates = Certificates::new();
    let server = start(certificates.options("verify: true", "https: \"127.0.0.1:-1\""));
    let address = server.serve_monitoring().unwrap().unwrap();
    let mut page = secure(&certificates.client(None), TcpStream::connect(address).unwrap());
    page.write_all(b"GET /varz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    let _ = page.read_to_string(&mut text);
    assert!(text.contains("\"tls_required\": true") && text.contains("\"tls_verify\": true"), "{text}");
}

#[test]
fn what_cannot_be_served_is_refused_by_name() {
    let certificates = Certificates::new();
    let directory = certificates.path().display();
    let files = format!("cert_file: \"{directory}/cert.pem\", key_file: \"{directory}/key.pem\"");
    for (block, error) in [
        (format!("{files}, ocsp_peer: true"), "field \"ocsp_peer\" is not supported by JetKV yet"),
        (
            format!("{files}, cert_store: WindowsCurrentUser"),
            "field \"cert_store\" is not supported by JetKV yet",
        ),
        (format!("{files}, nothing: 1"), "error parsing tls config, unknown field \"nothing\""),
        (
            format!("{files}, min_version: \"1.1\""),
            "error parsing tls config: unsupported TLS version: TLS 1.1",
        ),
        (format!("{files}, cipher_suites: [a]"), "unrecognized cipher a"),
        (format!("{files}, cipher_suites: []"), "error parsing tls config, 'cipher_suites' cannot be empty"),
        (
            format!("{files}, pinned_certs: [ab]"),
            "'pinned_certs' key ab does not look like hex-encoded sha256",
        ),
        ("cert_file: \"/none\"".to_owned(), "missing 'key_file' in TLS configuration"),
        (
            "cert_file: \"/none\", key_file: \"/none\"".to_owned(),
            "error parsing X509 certificate/key pair: open /none: no such file or directory",
        ),
        (
            format!("cert_file: \"{directory}/ca.pem\", key_file: \"{directory}/key.pem\""),
            "error parsing X509 certificate/key pair: tls: private key does not match public key",
        ),
    ] {
        let refused = Options::from_config_text(&format!("tls {{ {block} }}")).unwrap_err().to_string();
        assert!(refused.contains(error), "{refused}");
    }
}
