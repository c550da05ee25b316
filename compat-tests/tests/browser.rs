//! A page in a browser, over the official client, sees the same on JetKV as on nats-server.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use jetkv_compat_tests::oracle::{Launch, Tool, Toolbox};
use jetkv_compat_tests::process::{Program, Server, ServerOptions, command, run_to_end};
use rcgen::{CertifiedKey, generate_simple_self_signed};

/// No page takes so long on two busy cores.
const WAIT_MAX: Duration = Duration::from_secs(300);
const USERS: &str = "authorization { user: page, password: \"test password\" }\njetstream {}\n";

/// A server that listens for WebSocket connections, and where.
fn started(program: &Program, scheme: &str, listener: &str, files: &[(String, String)]) -> (Server, String) {
    let config = format!("{USERS}websocket {{ listen: \"127.0.0.1:-1\", {listener} }}\n");
    let options = ServerOptions { config: Some(config), files: files.to_vec(), ..ServerOptions::default() };
    let server = Server::start(program, &options).unwrap();
    let url = format!("{scheme}://127.0.0.1:{}", server.port("websocket").unwrap());
    (server, url)
}

/// What a page sees, a line for each thing: plain and compressed, and under TLS.
fn seen(driver: &Launch, program: &Program, files: &[(String, String)]) -> String {
    let (_plain, plain) = started(program, "ws", "no_tls: true, compression: true", files);
    let tls = "tls { cert_file: \"${dir}/cert.pem\", key_file: \"${dir}/key.pem\" }";
    let (_secured, secured) = started(program, "wss", tls, files);
    let mut page = command(&driver.program);
    page.args(&driver.arguments).args([plain, secured]);
    // The browser is unpacked where temporary files go; it stays with what was installed.
    let home = driver.arguments.first().map(Path::new).and_then(Path::parent).unwrap();
    page.env("TMPDIR", home);
    let finished = run_to_end(page, WAIT_MAX).unwrap();
    assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout, finished.stderr);
    finished.stdout
}

#[test]
fn a_page_in_a_browser_sees_no_difference() {
    let toolbox = Toolbox::default();
    let Some((reference, candidate)) = toolbox.servers().unwrap() else { return };
    let Some(driver) = toolbox.require(Tool::Browser).unwrap() else { return };
    let CertifiedKey { cert, key_pair } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let files = [("cert.pem", cert.pem()), ("key.pem", key_pair.serialize_pem())];
    let files = files.map(|(name, text)| (name.to_owned(), text));
    let expected = seen(&driver, &reference, &files);
    if expected.contains("\"unavailable\"") {
        // npm brings the browser, but not what it needs of the system.
        eprintln!("SKIPPED: Chromium does not start here: {expected}");
        return;
    }
    assert_eq!(expected.matches("\"same\":true").count(), 2, "{expected}");
    assert_eq!(seen(&driver, &candidate, &files), expected);
}
