//! The monitoring pages: JSON over HTTP, with the fields and the order of nats-server v2.15.2.
//!
//! There is no `/stacksz`: it shows the stacks of Go's routines.

mod accounts;
mod connz;
mod exchange;
mod health;
mod index;
mod jetstream;
mod json;
mod lone;
mod page;
mod process;
mod query;
mod request_line;
mod streams;
mod subsz;
#[cfg(test)]
mod tests;
mod varz;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::net::{self, BindError};
use crate::options::Options;
use crate::snapshot::MonitorSource;
use crate::{Server, banner};
pub(crate) use accounts::AccountStat;
pub(crate) use jetstream::{JetStreamPart, statistics_part};
use page::Page;
use query::Query;
use request_line::RequestLines;
pub(crate) use varz::ByKind;

/// Time that a request's head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted, which doubles up to the longest.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(5);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Opens the port of the pages if the options ask for them: before anything that takes time, so that a port which cannot
/// be opened is found out first. Needs a runtime.
pub(crate) fn bind(options: &Options) -> Result<Option<TcpListener>, BindError> {
    let Some(port) = options.monitor.port else { return Ok(None) };
    let listener = net::bind(&options.monitor.host, port)?;
    banner::log_monitoring(options.monitor.secure, &options.monitor.host, listener.local_addr()?.port());
    Ok(Some(listener))
}

/// Serves the pages if the server has a port for them. Gives the address that they are served on.
///
/// # Errors
/// The operating system's, when it does not tell the address.
pub fn start(server: &Server) -> io::Result<Option<SocketAddr>> {
    let Some(listener) = server.take_monitor_listener() else { return Ok(None) };
    let address = listener.local_addr()?;
    let source = server.monitor();
    let base_path = source.options().monitor.base_path.clone();
    let site = Arc::new(Site { source, base_path });
    server.runtime().spawn(accept(listener, site));
    Ok(Some(address))
}

/// Pages about one account, which there are no addresses for.
pub(crate) const ACCOUNT_INFO: &str = "account info";
/// See [`ACCOUNT_INFO`].
pub(crate) const ACCOUNT_JSZ: &str = "account jsz";
/// `/raftz` as the system account sees it, where no groups are no error.
pub(crate) const RAFT_GROUPS: &str = "raft groups";

/// Status and JSON of a page, for those who ask otherwise than by HTTP. `path` is as in `/varz`.
///
/// # Errors
/// The page does not exist, or a parameter is wrong.
pub(crate) fn json_page(
    source: &MonitorSource,
    path: &str,
    parameters: Vec<(String, String)>,
) -> Result<(u16, String), String> {
    let query = Query::from_pairs(parameters);
    let page = match path {
        ACCOUNT_INFO => accounts::info(source, &query).unwrap_or_else(Page::bad_request),
        RAFT_GROUPS => Page::json(&json::Empty {}),
        ACCOUNT_JSZ => jetstream::account_page(source, &query).unwrap_or_else(Page::bad_request),
        _ => make(source, path, &query).map_or_else(Page::not_found, |(_, made)| finished(made)),
    };
    page.into_json()
}

struct Site {
    source: MonitorSource,
    base_path: String,
}

async fn accept(listener: TcpListener, site: Arc<Site>) {
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                let error = net::accept_error(&listener, &error);
                tracing::error!("monitoring: Accept error: {error}; retrying in {}ms", pause.as_millis());
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                continue;
            }
        };
        pause = ACCEPT_PAUSE_MIN;
        let site = Arc::clone(&site);
        tokio::spawn(async move {
            let options = site.source.options();
            let Some(tls) = options.tls.as_ref().filter(|_| options.monitor.secure) else {
                return site.serve(stream).await;
            };
            // Read anew with each reload.
            let acceptor = TlsAcceptor::from(Arc::clone(tls.identity.pages()));
            match tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => site.serve(stream).await,
                // Go's server says so, too, in a log of its own.
                Ok(Err(error)) => tracing::debug!("monitoring: TLS handshake error: {error}"),
                Err(_) => {}
            }
        });
    }
}

impl Site {
    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(|request: Request<Incoming>| {
            let response = self.answer(request.uri().path(), request.uri().query().unwrap_or_default());
            async { Ok::<_, hyper::Error>(response) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(RequestLines::new(stream)), service);
        // A browser that goes away is nothing to report.
        let _ = connection.await;
    }

    fn answer(&self, path: &str, query: &str) -> Response<Full<Bytes>> {
        let Some(path) = query::unescape(path) else {
            return Page::bad_request("400 Bad Request".to_owned()).into_response();
        };
        let page = self.name(&path).map(|name| self.page(name, &Query::new(query)));
        page.unwrap_or_else(Page::not_found).into_response()
    }

    /// The page's name without the base path: `/varz`, or `/` for the index.
    fn name<'a>(&self, path: &'a str) -> Option<&'a str> {
        let path = path.strip_prefix(self.base_path.trim_end_matches('/'))?;
        Some(if path.is_empty() { "/" } else { path })
    }

    fn page(&self, name: &str, query: &Query) -> Page {
        let visits = self.source.visits();
        if name == "/varz" {
            // It shows itself, too.
            visits.count("/varz");
        }
        let Some((counted, made)) = make(&self.source, name, query) else { return Page::not_found() };
        // Where the parameters make no sense these two do not count as visited.
        let decoded = !matches!(&made, Err(error) if error.starts_with("Error decoding"));
        if let Some(counted) = counted
            && (decoded || !matches!(counted, "/connz" | "/routez"))
        {
            visits.count(counted);
        }
        finished(made)
    }
}

/// A page, with the name under which a visit of it counts once it is made; `None` where there is no such page.
fn make(
    source: &MonitorSource,
    name: &str,
    query: &Query,
) -> Option<(Option<&'static str>, Result<Page, String>)> {
    Some(match name {
        "/" => (Some("/"), Ok(index::page())),
        "/varz" => (None, Ok(varz::page(source))),
        "/connz" => (Some("/connz"), connz::page(source, query)),
        "/subsz" | "/subscriptionsz" => (Some("/subsz"), subsz::page(source, query)),
        "/accountz" => (Some("/accountz"), accounts::accountz(source, query)),
        "/accstatz" => (Some("/accstatz"), accounts::accstatz(source, query)),
        "/jsz" => (Some("/jsz"), jetstream::page(source, query)),
        "/healthz" => (Some("/healthz"), health::page(source, query)),
        "/routez" => (Some("/routez"), lone::routez(source, query)),
        "/gatewayz" => (Some("/gatewayz"), lone::gatewayz(source, query)),
        "/leafz" => (Some("/leafz"), lone::leafz(source, query)),
        "/debug/vars" => (None, Ok(process::page())),
        "/ipqueuesz" => (None, lone::ipqueuesz(query)),
        "/raftz" => (None, Ok(lone::raftz())),
        _ => return None,
    })
}

/// A page that could not be made says why.
fn finished(made: Result<Page, String>) -> Page {
    made.unwrap_or_else(Page::bad_request)
}
