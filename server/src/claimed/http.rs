//! A request of HTTP for the claims of an account.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use jetkv_go_compat::{os_text, quoted};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::claims::TOKEN_BYTES_MAX;
use crate::options::RemoteTls;
use crate::timers::Timers;

/// What Go says of an answer that does not come in time.
const TOO_LATE: &str = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";

/// Asks for what is at an address, within `timeout`, and waits for that on the calling thread while the one that has the
/// timers does it. `tls` is for an address that wants it, in place of what the system trusts.
///
/// # Errors
/// What went wrong, in nats-server's words where these are not those of a library.
pub(super) fn get(
    timers: &Timers,
    url: &str,
    tls: Option<&RemoteTls>,
    timeout: Duration,
) -> Result<String, String> {
    let failed = |reason: String| format!("could not fetch <{}>: {reason}", quoted(redacted(url)));
    let place = Place::of(url, tls).map_err(failed)?;
    let (sender, answer) = mpsc::channel();
    let asking = timers.spawn(async move {
        // Who asked waits for it.
        let _ = sender.send(tokio::time::timeout(timeout, place.ask()).await);
    });
    // Where there are no timers, or none any more, nothing is sent.
    match asking.and_then(|_| answer.recv().ok()) {
        Some(Ok(answer)) => answer.map_err(failed),
        Some(Err(_)) => Err(failed(format!("Get {}: {TOO_LATE}", quoted(redacted(url))))),
        None => Err(failed("the server stops".to_owned())),
    }
}

/// The address without the password in it.
fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (place, path) = rest.split_once('/').map_or((rest, ""), |(place, path)| (place, path));
    match place.rsplit_once('@').and_then(|(who, host)| Some((who.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{scheme}://{user}:xxxxx@{host}/{path}"),
        None => url.to_owned(),
    }
}

/// What an address names, and how to get there.
struct Place {
    url: String,
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

impl Place {
    fn of(url: &str, tls: Option<&RemoteTls>) -> Result<Self, String> {
        let refused = |scheme: &str| format!("Get {}: unsupported protocol scheme {scheme}", quoted(url));
        let uri: Uri = url.parse().map_err(|_| refused("\"\""))?;
        let (port, tls) = match uri.scheme_str() {
            Some("http") => (80, None),
            Some("https") => (443, Some(config(tls)?)),
            other => return Err(refused(&quoted(other.unwrap_or_default()))),
        };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        Ok(Self { url: url.to_owned(), port: uri.port_u16().unwrap_or(port), uri, host, tls })
    }

    async fn ask(self) -> Result<String, String> {
        let stream = dial(&self.host, self.port).await;
        let stream =
            stream.map_err(|reason| format!("Get {}: dial tcp{reason}", quoted(redacted(&self.url))))?;
        let Some(tls) = self.tls else { return exchange(&self.uri, stream).await };
        let name = ServerName::try_from(self.host).map_err(|error| error.to_string())?;
        let secured = tokio_rustls::TlsConnector::from(tls).connect(name, stream).await;
        exchange(&self.uri, secured.map_err(|error| error.to_string())?).await
    }
}

/// Connects to the first address of a name that takes the connection. The error is that of the first which did not.
async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let mut failed = None;
    for address in tokio::net::lookup_host((host, port)).await.into_iter().flatten() {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                failed.get_or_insert_with(|| format!(" {address}: connect: {}", os_text(&error)));
            }
        }
    }
    Err(failed.unwrap_or_else(|| format!(": lookup {host}: no such host")))
}

async fn exchange(
    uri: &Uri,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<String, String> {
    let connected = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let place = uri.authority().map(|place| place.as_str()).unwrap_or_default();
    let host = place.rsplit_once('@').map_or(place, |(_, host)| host);
    let request = Request::get(path).header(header::HOST, host).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    if response.status() != hyper::StatusCode::OK {
        return Err(response.status().to_string());
    }
    // No claims are longer.
    let body = Limited::new(response.into_body(), TOKEN_BYTES_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    String::from_utf8(body.to_vec()).map_err(|error| error.to_string())
}

fn config(tls: Option<&RemoteTls>) -> Result<Arc<ClientConfig>, String> {
    match tls {
        Some(tls) => Ok(Arc::clone(tls.config())),
        None => Ok(Arc::clone(RemoteTls::usual()?.config())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    fn serve(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let count = stream.read(&mut request).unwrap();
            assert!(request[..count].starts_with(b"GET /jwt/A HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        format!("http://{address}/jwt/A")
    }

    /// As the server's, on a thread of its own.
    fn fetch(url: &str, timeout: Duration) -> Result<String, String> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let timers = Timers::default();
        timers.set(runtime.handle().clone());
        get(&timers, url, None, timeout)
    }

    fn ask(answer: &'static str) -> Result<String, String> {
        fetch(&serve(answer), Duration::from_secs(10))
    }

    #[test]
    fn without_a_thread_that_asks_nobody_waits() {
        let error = get(&Timers::default(), "http://127.0.0.1/", None, Duration::from_secs(10)).unwrap_err();
        assert!(error.ends_with("the server stops"), "{error}");
    }

    #[test]
    fn what_is_at_an_address_is_fetched() {
        assert_eq!(ask("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").unwrap(), "abc");
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(ask(chunked).unwrap(), "abc");
        assert!(
            ask("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                .unwrap_err()
                .ends_with("404 Not Found")
        );
        assert!(ask("garbage\r\n\r\n").is_err());
        assert!(ask("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nabc").is_err());
        assert!(fetch("ftp://h/x", Duration::from_secs(1)).is_err());
        assert!(fetch("/x", Duration::from_secs(1)).is_err());
    }

    #[test]
    fn a_server_that_never_answers_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let error = fetch(&url, Duration::from_millis(50)).unwrap_err();
        assert!(error.contains("deadline exceeded"), "{error}");
    }

    #[test]
    fn passwords_in_addresses_are_not_shown() {
        assert_eq!(redacted("http://u:secret@h:1/a"), "http://u:xxxxx@h:1/a");
        assert_eq!(redacted("http://h:1/a"), "http://h:1/a");
    }
}
