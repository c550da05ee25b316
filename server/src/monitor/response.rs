//! A page as an HTTP response.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use crate::views::{Content, Page};

pub(super) fn response(page: Page) -> Response<Full<Bytes>> {
    let Page { status, content } = page;
    let is_json = matches!(content, Content::Json(_) | Content::CompactJson(_));
    let kind = match content {
        Content::Json(_) | Content::CompactJson(_) => "application/json",
        Content::Variable(..) => "application/json; charset=utf-8",
        Content::Metrics(_) => "text/plain; version=0.0.4; charset=utf-8",
        Content::Html(_) => "text/html; charset=utf-8",
        Content::Text(_) => "text/plain; charset=utf-8",
    };
    let mut response = Response::new(Full::new(Bytes::from(content.into_text())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if is_json {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    if status == StatusCode::NOT_FOUND {
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    response
}

/// The page is at another path, as Go's HTTP server says it.
pub(super) fn moved(path: &str, query: &str) -> Response<Full<Bytes>> {
    // It takes what is escaped for what was meant.
    let mut place = path.replace('%', "%25");
    if !query.is_empty() {
        place.push('?');
        place.push_str(query);
    }
    let shown = place.replace('&', "&amp;").replace('\'', "&#39;");
    let text = format!("<a href=\"{shown}\">Temporary Redirect</a>.\n\n");
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(place) = HeaderValue::from_str(&place) {
        headers.insert(LOCATION, place);
    }
    response
}
