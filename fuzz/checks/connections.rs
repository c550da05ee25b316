//! What holds for any bytes that a connection begins with: under TLS, at the upgrade to a WebSocket, behind the header of a proxy. A
//! real server hears them. Shared by the fuzz target and the test that replays its corpus.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use jetkv::Server;
use jetkv::options::Options;

/// Longest time for what has to come at once.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Servers that live as long as the process does.
static SERVERS: LazyLock<Vec<Target>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory").keep();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(directory.join("cert.pem"), made.cert.pem()).expect("a file");
    std::fs::write(directory.join("key.pem"), made.key_pair.serialize_pem()).expect("a file");
    let place = directory.display();
    let files = format!("cert_file: \"{place}/cert.pem\", key_file: \"{place}/key.pem\", timeout: 600");
    let listen = "listen: \"127.0.0.1:-1\"\nauthorization { timeout: 600 }";
    let at = "listen: \"127.0.0.1:-1\", handshake_timeout: \"600s\"";
    let targets = [
        (format!("{listen}\ntls {{ {files} }}"), false),
        (format!("{listen}\ntls {{ {files}, handshake_first: true }}"), false),
        (
            format!(
                "{listen}\nwebsocket {{ {at}, no_tls: true, compression: true, user_cookie: u, token_cookie: t }}"
            ),
            true,
        ),
        (format!("{listen}\nwebsocket {{ {at}, tls {{ {files} }} }}"), true),
        (format!("{listen}\nproxy_protocol: true"), false),
    ];
    targets.iter().map(|(config, is_websocket)| Target::start(config, *is_websocket)).collect()
});

struct Target {
    address: SocketAddr,
    server: Server,
}

impl Target {
    fn start(config: &str, is_websocket: bool) -> Self {
        let server = Server::start(Options::from_config_text(config).expect("options")).expect("a server");
        let address = if is_websocket { server.websocket_address() } else { Some(server.client_address()) };
        Self { address: address.expect("an address"), server }
    }
}

/// Panics when a server does not end a connection on which these bytes came and nothing more will.
pub(crate) fn check(data: &[u8]) {
    for target in SERVERS.iter() {
        let mut socket = TcpStream::connect(target.address).expect("the server listens");
        socket.set_read_timeout(Some(WAIT_MAX)).expect("a socket");
        // It may have ended it before all of this is there.
        let _ = socket.write_all(data);
        let _ = socket.shutdown(Shutdown::Write);
        ends(socket);
        assert!(!target.server.has_failed());
    }
}

fn ends(mut socket: TcpStream) {
    let mut bytes = [0; 4096];
    loop {
        match socket.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the server waits for more");
            }
            Err(_) => return,
        }
    }
}
