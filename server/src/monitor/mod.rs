//! The monitoring pages: what [`crate::views`] shows, over HTTP.

mod index;
mod path;
mod request_line;
mod response;

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
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;

use crate::banner;
use crate::lab::{self, Lab};
use crate::net::{self, BindError};
use crate::options::Options;
use crate::snapshot::MonitorSource;
use crate::views::{self, Page, Query, unescape};
use request_line::RequestLines;
use response::{moved, response};

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

/// Serves the pages. Gives the address that they are served on.
///
/// # Errors
/// The operating system's, when it does not tell the address.
pub(crate) fn serve(
    listener: TcpListener,
    source: MonitorSource,
    lab: Option<Lab>,
    runtime: &Handle,
) -> io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    let base_path = source.options().monitor.base_path.clone();
    runtime.spawn(accept(listener, Arc::new(Site { source, base_path, lab })));
    Ok(address)
}

struct Site {
    source: MonitorSource,
    base_path: String,
    lab: Option<Lab>,
}

async fn accept(listener: TcpListener, site: Arc<Site>) {
    let mut pause = ACCEPT_PAUSE_MIN;
    let mut acceptor = net::Acceptor::new(listener);
    loop {
        let stream = match acceptor.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                let error = net::accept_error(acceptor.listener(), &error);
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
        let service = service_fn(async |request: Request<Incoming>| {
            if let Some(lab) = &self.lab
                && let Some(rest) = request.uri().path().strip_prefix(lab::HTTP_PREFIX).map(str::to_owned)
            {
                return Ok::<_, hyper::Error>(lab::serve(lab, &rest, request).await);
            }
            Ok(self.answer(request.uri().path(), request.uri().query().unwrap_or_default()))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(RequestLines::new(stream)), service);
        // A browser that goes away is nothing to report.
        let _ = connection.await;
    }

    fn answer(&self, path: &str, query: &str) -> Response<Full<Bytes>> {
        if let Some(path) = path::cleaned(path) {
            return moved(&path, query);
        }
        let Some(path) = unescape(path) else {
            return response(Page::bad_request("400 Bad Request".to_owned()));
        };
        let page = self.name(&path).map(|name| self.page(name, &Query::new(query)));
        response(page.unwrap_or_else(Page::not_found))
    }

    /// The page's name without the base path: `/varz`, or `/` for the index.
    fn name<'a>(&self, path: &'a str) -> Option<&'a str> {
        let path = path.strip_prefix(self.base_path.trim_end_matches('/'))?;
        Some(if path.is_empty() { "/" } else { path })
    }

    fn page(&self, name: &str, query: &Query) -> Page {
        let visits = self.source.visits();
        match name {
            "/" => {
                visits.count("/");
                return index::page();
            }
            // It shows itself, too.
            "/varz" => visits.count("/varz"),
            _ => {}
        }
        let Some((counted, made)) = views::make(&self.source, name, query) else { return Page::not_found() };
        // Where the parameters make no sense these two do not count as visited.
        let decoded = !matches!(&made, Err(error) if error.starts_with("Error decoding"));
        if let Some(counted) = counted
            && (decoded || !matches!(counted, "/connz" | "/routez"))
        {
            visits.count(counted);
        }
        views::finished(made)
    }
}
