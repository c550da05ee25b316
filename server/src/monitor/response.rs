//! A page as an HTTP response.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};

use crate::views::{Content, Page};

pub(super) fn response(page: Page) -> Response<Full<Bytes>> {
    let Page { status, content } = page;
    let is_json = matches!(content, Content::Json(_) | Content::CompactJson(_));
    let kind = match content {
        Content::Json(_) | Content::CompactJson(_) => "application/json",
        Content::Variable(..) => "application/json; charset=utf-8",
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
