//! Accounts whose claims are asked for over HTTP: when they are, and what becomes of clients where nothing good comes back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use common::Wire;
use jetkv::Server;
use jetkv::claims::encode;
use jetkv::options::Options;
use jetkv_testing::eventually;
use nkeys::KeyPair;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedKey, IsCa};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

const LIMITS: &str =
    r#"{"subs":-1,"data":-1,"payload":-1,"imports":-1,"exports":-1,"wildcards":true,"conn":-1,"leaf":-1}"#;
const PATH: &str = "/jwt/v1/accounts/";

/// What is answered to a request.
#[derive(Clone)]
enum Says {
    /// A status, and a body.
    This(u16, String),
    /// Bytes as they are.
    Raw(&'static str),
    Nothing,
}

type Answers = Arc<dyn Fn(&str) -> Says + Send + Sync>;

/// A server of HTTP, or of HTTPS, that does as it is told and knows what it was asked.
struct Site {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<HashMap<String, Answers>>>,
}

impl Site {
    fn new(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let site =
            Self { address: listener.local_addr().unwrap(), asked: Arc::default(), answers: Arc::default() };
        site.says("", Says::This(200, String::new()));
        let (asked, answers) = (Arc::clone(&site.asked), Arc::clone(&site.answers));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (tls, asked, answers) = (tls.clone(), Arc::clone(&asked), Arc::clone(&answers));
                std::thread::spawn(move || match tls {
                    None => serve(stream, &asked, &answers),
                    Some(tls) => {
                        let session = ServerConnection::new(tls).unwrap();
                        serve(StreamOwned::new(session, stream), &asked, &answers);
                    }
                });
            }
        });
        site
    }

    /// What is answered for an account, by the key.
    fn answers(&self, account: &str, answers: impl Fn(&str) -> Says + Send + Sync + 'static) {
        self.answers.lock().insert(format!("{PATH}{account}"), Arc::new(answers));
    }

    fn says(&self, account: &str, says: Says) {
        self.answers(account, move |_| says.clone());
    }

    /// How often an account was asked for.
    fn asked_for(&self, account: &str) -> usize {
        let path = format!("{PATH}{account}");
        self.asked.lock().iter().filter(|asked| **asked == path).count()
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}{PATH}", self.address.port())
    }
}

fn serve(
    mut stream: impl Read + Write,
    asked: &Mutex<Vec<String>>,
    answers: &Mutex<HashMap<String, Answers>>,
) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            // Whoever does not trust this server ends the handshake.
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
    }
    let request = String::from_utf8(request).unwrap();
    assert!(
        request.starts_with("GET /") && request.to_lowercase().contains("\r\nhost: localhost:"),
        "{request}"
    );
    let path = request.split(' ').nth(1).unwrap().to_owned();
    asked.lock().push(path.clone());
    let says = answers.lock().get(&path).cloned();
    let answer = match says.map(|says| says(&path)) {
        None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        Some(Says::This(status, body)) => {
            format!("HTTP/1.1 {status} Because\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
        Some(Says::Raw(text)) => text.to_owned(),
        // Until the other side gives up.
        Some(Says::Nothing) => {
            let _ = stream.read(&mut buffer);
            return;
        }
    };
    let _ = stream.write_all(answer.as_bytes());
    let _ = stream.flush();
}

/// Who signs for whom.
struct House {
    operator: KeyPair,
    system: KeyPair,
    user: KeyPair,
}

impl House {
    fn new() -> Self {
        Self { operator: KeyPair::new_operator(), system: KeyPair::new_account(), user: KeyPair::new_user() }
    }

    /// Claims of an account, which end at a moment, or never.
    fn account(&self, account: &KeyPair, ends_secs: Option<u64>) -> String {
        let limits: Value = serde_json::from_str(LIMITS).unwrap();
        let mut claims = json!({"iss": self.operator.public_key(), "sub": account.public_key(), "name": "n",
            "nats": {"type": "account", "version": 2, "limits": limits}});
        if let Some(ends) = ends_secs {
            claims["exp"] = ends.into();
        }
        encode(&claims, &self.operator).unwrap()
    }

    fn config(&self, url: &str, more: &str) -> String {
        let operator = json!({"iss": self.operator.public_key(), "sub": self.operator.public_key(), "name": "O",
            "nats": {"type": "operator", "version": 2, "system_account": self.system.public_key()}});
        format!(
            "listen: \"127.0.0.1:-1\"\nauthorization {{ timeout: 120 }}\noperator: {}\nresolver: URL({url})\n{more}",
            encode(&operator, &self.operator).unwrap()
        )
    }

    fn try_start(&self, url: &str, more: &str) -> Result<Server, String> {
        let options =
            Options::from_config_text(&self.config(url, more)).map_err(|error| error.to_string())?;
        Server::start(options).map_err(|error| error.to_string())
    }

    /// Starts where the site knows the system account.
    fn start(&self, site: &Site) -> Server {
        site.says(&self.system.public_key(), Says::This(200, self.account(&self.system, None)));
        self.try_start(&site.url("http"), "").unwrap()
    }

    /// How the server answers a user of the account, and the connection.
    fn connect(&self, server: &Server, account: &KeyPair) -> (Wire, String) {
        let mut wire = self.knock(server, account);
        let answer = wire.line();
        (wire, answer)
    }

    fn knock(&self, server: &Server, account: &KeyPair) -> Wire {
        let claims = json!({"iss": account.public_key(), "sub": self.user.public_key(), "name": "u",
            "nats": {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "bearer_token": true}});
        let token = encode(&claims, account).unwrap();
        let mut wire = Wire::connect(server);
        wire.send(&format!("CONNECT {{\"verbose\":false,\"protocol\":0,\"jwt\":\"{token}\"}}\r\nPING\r\n"));
        wire
    }
}

const IN: &str = "PONG";
const OUT: &str = "-ERR 'Authorization Violation'";

#[test]
fn accounts_are_asked_for_once_as_their_first_users_come() {
    let (house, site) = (House::new(), Site::new(None));
    let server = house.start(&site);
    assert_eq!((site.asked_for(""), site.asked_for(&house.system.public_key())), (1, 1));
    let accounts = [KeyPair::new_account(), KeyPair::new_account()];
    for account in &accounts {
        let key = account.public_key();
        site.says(&key, Says::This(200, house.account(account, None)));
        assert_eq!(site.asked_for(&key), 0);
        let (_first, answer) = house.connect(&server, account);
        assert_eq!(answer, IN);
        let (_second, answer) = house.connect(&server, account);
        assert_eq!((answer.as_str(), site.asked_for(&key)), (IN, 1));
    }
    server.shutdown();
}

#[test]
fn an_account_whose_claims_ended_is_asked_for_again() {
    let (house, site, account) = (House::new(), Site::new(None), KeyPair::new_account());
    let server = house.start(&site);
    let key = account.public_key();
    // Claims that end soon after they were asked for, however late that is.
    let (operator, of) = (KeyPair::from_seed(&house.operator.seed().unwrap()).unwrap(), account.public_key());
    let signing = House { operator, system: KeyPair::new_account(), user: KeyPair::new_user() };
    site.answers(&key, move |_| {
        let ends = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3;
        Says::This(200, signing.account(&KeyPair::from_public_key(&of).unwrap(), Some(ends)))
    });
    let mut first = None;
    eventually("the first comes in", || {
        let (wire, answer) = house.connect(&server, &account);
        first = (answer == IN).then_some(wire);
        first.is_some()
    });
    first.unwrap().expect_then_close("-ERR 'Account Authentication Expired'\r\n");
    let before = site.asked_for(&key);
    // Nothing new there: whoever comes stays out.
    site.says(&key, Says::This(404, String::new()));
    assert_eq!(house.connect(&server, &account).1, OUT);
    site.says(&key, Says::This(200, house.account(&account, None)));
    eventually("new claims let in", || house.connect(&server, &account).1 == IN);
    assert!(site.asked_for(&key) > before);
    server.shutdown();
}

#[test]
fn whoever_s_account_nothing_good_is_said_of_stays_out_and_others_come_in() {
    let (house, site) = (House::new(), Site::new(None));
    let server = house.start(&site);
    let (good, bad) = (KeyPair::new_account(), KeyPair::new_account());
    site.says(&good.public_key(), Says::This(200, house.account(&good, None)));
    let key = bad.public_key();
    for (what, says) in [
        ("no such account", Says::This(404, String::new())),
        ("a failure, with good claims", Says::This(500, house.account(&bad, None))),
        ("nothing", Says::This(200, String::new())),
        ("garbage", Says::This(200, "eyJ.eyJ.x".to_owned())),
        ("no HTTP", Says::Raw("garbage\r\n\r\n")),
        ("more than claims are long", Says::Raw("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nabc")),
        ("less than was said", Says::Raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc")),
        ("another account", Says::This(200, house.account(&good, None))),
        ("what nobody signed who may", Says::This(200, House::new().account(&bad, None))),
        ("claims that ended", Says::This(200, house.account(&bad, Some(1)))),
    ] {
        site.says(&key, says);
        let before = site.asked_for(&key);
        assert_eq!(house.connect(&server, &bad).1, OUT, "{what}");
        assert_eq!(site.asked_for(&key), before + 1, "{what}");
        assert_eq!(house.connect(&server, &good).1, IN, "{what}");
    }
    site.says(&key, Says::This(200, house.account(&bad, None)));
    assert_eq!(house.connect(&server, &bad).1, IN, "it is asked for again after a failure");
    server.shutdown();
}

#[test]
fn a_resolver_that_says_nothing_is_given_up_and_holds_up_nobody() {
    let (house, site) = (House::new(), Site::new(None));
    let server = house.start(&site);
    let (good, slow) = (KeyPair::new_account(), KeyPair::new_account());
    site.says(&good.public_key(), Says::This(200, house.account(&good, None)));
    site.says(&slow.public_key(), Says::Nothing);
    let mut waiting: Vec<Wire> = (0..8).map(|_| house.knock(&server, &slow)).collect();
    eventually("it is asked", || site.asked_for(&slow.public_key()) > 0);
    assert_eq!(house.connect(&server, &good).1, IN);
    for wire in &mut waiting {
        assert_eq!(wire.line(), OUT);
    }
    server.shutdown();
}

#[test]
fn a_server_starts_only_where_somebody_is_to_be_asked() {
    let (house, site) = (House::new(), Site::new(None));
    let url = site.url("http");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("http://{free}{PATH}");
    let refused = |url: &str, more: &str| house.try_start(url, more).err().expect("it does not start");
    assert_eq!(
        refused(&nobody, ""),
        format!(
            "could not fetch <\"{nobody}\">: Get \"{nobody}\": dial tcp {free}: connect: connection refused"
        )
    );
    site.says("", Says::Raw("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(refused(&url, ""), format!("could not fetch <\"{url}\">: 404 Not Found"));
    site.says("", Says::Nothing);
    let late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    assert_eq!(refused(&url, ""), format!("could not fetch <\"{url}\">: Get \"{url}\": {late}"));
    site.says("", Says::This(200, String::new()));
    let system = house.system.public_key();
    let preload = format!("resolver_preload: {{ {system}: {} }}", house.account(&house.system, None));
    assert_eq!(
        refused(&url, &preload),
        "resolver preloads only available for writeable resolver types MEM/DIR/CACHE_DIR"
    );
}

/// An authority, and what it signed, in a directory.
struct Certificates {
    directory: tempfile::TempDir,
    authority: CertifiedKey,
}

impl Certificates {
    fn new() -> Self {
        let key_pair = rcgen::KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedKey { cert: params.self_signed(&key_pair).unwrap(), key_pair };
        let made = Self { directory: tempfile::tempdir().unwrap(), authority };
        std::fs::write(made.path().join("ca.pem"), made.authority.cert.pem()).unwrap();
        let own = made.sign("nats");
        std::fs::write(made.path().join("own.pem"), own.cert.pem()).unwrap();
        std::fs::write(made.path().join("own.key"), own.key_pair.serialize_pem()).unwrap();
        made
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn sign(&self, name: &str) -> CertifiedKey {
        let key_pair = rcgen::KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.signed_by(&key_pair, &self.authority.cert, &self.authority.key_pair).unwrap();
        CertifiedKey { cert, key_pair }
    }

    /// For a server that asks for certificates of this authority, or for none.
    fn server(&self, asks: bool) -> Arc<ServerConfig> {
        let own = self.sign("localhost");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.cert.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(own.key_pair.serialize_der()).unwrap();
        Arc::new(builder.with_single_cert(vec![own.cert.der().clone()], key).unwrap())
    }
}

#[test]
fn claims_come_under_tls_from_and_to_those_who_prove_who_they_are() {
    let (ours, others, house) = (Certificates::new(), Certificates::new(), House::new());
    let block = |trusted: &Certificates, own: Option<&Certificates>| {
        let own = own.map(|own| {
            let path = own.path().display();
            format!("cert_file: \"{path}/own.pem\", key_file: \"{path}/own.key\", ")
        });
        let trusted = trusted.path().display();
        format!("resolver_tls {{ {}ca_file: \"{trusted}/ca.pem\" }}", own.unwrap_or_default())
    };
    for asks in [false, true] {
        let site = Site::new(Some(ours.server(asks)));
        let url = site.url("https");
        site.says(&house.system.public_key(), Says::This(200, house.account(&house.system, None)));
        let own = asks.then_some(&ours);
        let server = house.try_start(&url, &block(&ours, own)).unwrap();
        let account = KeyPair::new_account();
        site.says(&account.public_key(), Says::This(200, house.account(&account, None)));
        assert_eq!(house.connect(&server, &account).1, IN);
        assert_eq!(site.asked_for(&account.public_key()), 1);
        server.shutdown();

        let asked = site.asked.lock().len();
        let error = house.try_start(&url, &block(&others, own)).err().expect("the server is not trusted");
        assert!(error.contains("could not fetch") && error.contains("invalid peer certificate"), "{error}");
        if asks {
            for wrong in [None, Some(&others)] {
                let error = house.try_start(&url, &block(&ours, wrong)).err().expect("we are not trusted");
                assert!(error.contains("could not fetch"), "{error}");
            }
        }
        assert_eq!(site.asked.lock().len(), asked, "nothing is asked of, or answered to, a stranger");
    }
}

#[test]
fn what_is_said_of_tls_has_to_make_sense() {
    let (ours, house) = (Certificates::new(), House::new());
    let path = ours.path().display();
    for (block, wrong) in [
        ("ca_file: \"none.pem\"".to_owned(), "none.pem"),
        (format!("cert_file: \"{path}/own.pem\""), "missing 'key_file'"),
        (format!("ca_file: \"{path}/own.key\""), "failed to parse root ca certificate"),
        ("nothing_like_it: 1".to_owned(), "nothing_like_it"),
    ] {
        let error =
            house.try_start("https://localhost:1/", &format!("resolver_tls {{ {block} }}")).err().unwrap();
        assert!(error.contains(wrong), "{block}: {error}");
    }
}
