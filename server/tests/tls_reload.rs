//! Certificates that are replaced while the program runs, as a process: what SIGHUP makes of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;

use jetkv_testing::{WAIT_MAX, until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedKey, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn authority() -> CertifiedKey {
    let key_pair = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedKey { cert: params.self_signed(&key_pair).unwrap(), key_pair }
}

/// A server in a directory of its own, with the files of its certificate beside; killed when dropped.
struct Running {
    process: Child,
    directory: tempfile::TempDir,
    authority: CertifiedKey,
}

impl Running {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = authority();
        show(directory.path(), &authority);
        let config = "tls { cert_file: cert.pem, key_file: key.pem, timeout: 30 }\n\
                      websocket { listen: \"127.0.0.1:-1\", tls { cert_file: cert.pem, key_file: key.pem } }\n";
        std::fs::write(directory.path().join("c.conf"), config).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_jetkv"))
            .args(["-c", "c.conf", "-l", "log", "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", "."])
            .current_dir(directory.path())
            .spawn()
            .unwrap();
        let running = Self { process, directory, authority };
        running.wait_for("[INF] Server is ready");
        running
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn wait_for(&self, text: &str) {
        until(text, || {
            let log = self.log();
            if log.contains(text) { Ok(()) } else { Err(log) }
        });
    }

    /// Puts another certificate in the files' place.
    fn renew(&self) -> CertificateDer<'static> {
        show(self.directory.path(), &self.authority)
    }

    /// Has the configuration read again, and waits for what is said of that.
    fn reload(&self, end: &str) {
        let target = format!("reload={}", self.process.id());
        let sent = Command::new(env!("CARGO_BIN_EXE_jetkv")).args(["--signal", &target]).status().unwrap();
        assert!(sent.success());
        self.wait_for(end);
    }

    fn address(&self, scheme: &str) -> String {
        let is_ports = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "ports");
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let file = entries.map(|entry| entry.unwrap().path()).find(is_ports).expect("a ports file");
        let text = std::fs::read_to_string(file).unwrap();
        let prefix = format!("{scheme}://");
        text.split('"').find_map(|word| word.strip_prefix(&prefix)).unwrap().to_owned()
    }

    fn shakes_hands(&self, mut socket: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.cert.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).unwrap();
        }
        StreamOwned::new(tls, socket)
    }

    /// A client under TLS that got an answer, and the certificate that it was shown.
    fn client(&self) -> (StreamOwned<ClientConnection, TcpStream>, CertificateDer<'static>) {
        let mut socket = connect(&self.address("tls"));
        let mut byte = [0];
        while byte != *b"\n" {
            socket.read_exact(&mut byte).unwrap();
        }
        let mut client = self.shakes_hands(socket);
        ping(&mut client);
        let shown = client.conn.peer_certificates().unwrap()[0].clone().into_owned();
        (client, shown)
    }

    /// The certificate that a client over WebSocket is shown.
    fn shown_over_websocket(&self) -> CertificateDer<'static> {
        let client = self.shakes_hands(connect(&self.address("wss")));
        client.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(WAIT_MAX)).unwrap();
    socket
}

/// The client speaks and is answered.
fn ping(client: &mut StreamOwned<ClientConnection, TcpStream>) {
    client.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"PONG\r\n") {
        client.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
}

/// Writes a new certificate by an authority, and its key, where the server looks for them.
fn show(directory: &Path, authority: &CertifiedKey) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let made = params.signed_by(&key, &authority.cert, &authority.key_pair).unwrap();
    std::fs::write(directory.join("cert.pem"), made.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
    made.der().clone()
}

#[test]
fn a_signal_puts_new_certificates_in_force_and_a_broken_one_changes_nothing() {
    let server = Running::start();
    let (mut stays, first) = server.client();
    let second = server.renew();
    assert_ne!(first, second);
    server.reload("Reloaded: tls = enabled");
    server.wait_for("[INF] Reloaded server configuration");
    assert_eq!(server.client().1, second);
    assert_eq!(server.shown_over_websocket(), second);
    ping(&mut stays);
    std::fs::write(server.directory.path().join("cert.pem"), "nothing").unwrap();
    server.reload("[ERR] Failed to reload server configuration");
    assert!(server.log().contains("error parsing X509 certificate/key pair"), "{}", server.log());
    assert_eq!(server.client().1, second);
    ping(&mut stays);
}
