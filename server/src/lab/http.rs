//! Requests by HTTP, on the port of the monitoring pages: `/lab/v1/<group>/<verb>`.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::{Method, Request as HttpRequest, Response, StatusCode};

use super::Lab;
use super::answer::{Answer, LabError};
use super::inbox::HttpAsk;
use super::request::Request;

/// Where the lab begins among the pages.
pub(crate) const PREFIX: &str = "/lab/v1/";
/// The largest body of a request.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Serves a request whose path begins with [`PREFIX`]; `rest` is what comes after it.
pub(crate) async fn serve(lab: &Lab, rest: &str, request: HttpRequest<Incoming>) -> Response<Full<Bytes>> {
    let answer = match receive(lab, rest, request).await {
        Ok(received) => lab.inbox.answer(received).await,
        Err(error) => Answer::new(None, &Err(error)),
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn receive(lab: &Lab, rest: &str, request: HttpRequest<Incoming>) -> Result<HttpAsk, LabError> {
    let authorization = request.headers().get(AUTHORIZATION).map(|shown| shown.as_bytes().to_vec());
    if !lab.control.admits(authorization.as_deref()) {
        return Err(LabError::unauthorized());
    }
    // A browser names the page that asks: one from anywhere must not reach a server on its visitor's machine.
    if request.headers().contains_key(ORIGIN) && authorization.is_none() {
        return Err(LabError::forbidden("pages of browsers need the lab's token"));
    }
    let name = rest.split_once('/').unwrap_or((rest, ""));
    if request.method() == Method::GET {
        let only_reads = Request::parse(name.0, name.1, b"")
            .map(|request| request.only_reads())
            .or_else(|error| if error.code == 400 { Ok(false) } else { Err(error) })?;
        if !only_reads {
            return Err(LabError::wrong_method("a request that changes something is a POST"));
        }
    } else if request.method() != Method::POST {
        return Err(LabError::wrong_method("the lab knows GET and POST"));
    }
    let name = (name.0.to_owned(), name.1.to_owned());
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|_| LabError::too_large())?.to_bytes();
    Ok(HttpAsk { authorization, name, body })
}
