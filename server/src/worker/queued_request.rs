//! A request of the API that waits for its turn.

use std::sync::Arc;

use jetkv_jetstream::{AccountId, ApiRequest, ClientInfo};

/// A request, on its own: nothing of the read buffer that it came in is borrowed.
#[derive(Debug)]
pub(crate) struct QueuedRequest {
    account: AccountId,
    client: Arc<ClientInfo>,
    /// Subject, reply, headers and payload, one behind the other.
    bytes: Box<[u8]>,
    reply_at: usize,
    headers_at: usize,
    payload_at: usize,
}

impl QueuedRequest {
    /// A copy of `request`, which `client` made.
    pub(crate) fn new(request: &ApiRequest<'_>, client: &Arc<ClientInfo>) -> Self {
        let parts = [request.subject, request.reply, request.headers, request.payload];
        let reply_at = request.subject.len();
        let headers_at = reply_at + request.reply.len();
        let payload_at = headers_at + request.headers.len();
        let client = Arc::clone(client);
        Self {
            account: request.account,
            client,
            bytes: parts.concat().into(),
            reply_at,
            headers_at,
            payload_at,
        }
    }

    /// The request, to be served.
    pub(crate) fn request(&self) -> ApiRequest<'_> {
        let part = |from: usize, to: usize| self.bytes.get(from..to).unwrap_or_default();
        ApiRequest {
            account: self.account,
            subject: self.subject(),
            reply: part(self.reply_at, self.headers_at),
            headers: part(self.headers_at, self.payload_at),
            payload: part(self.payload_at, self.bytes.len()),
            client: Some(&self.client),
        }
    }

    /// The subject that it was made on.
    pub(crate) fn subject(&self) -> &[u8] {
        self.bytes.get(..self.reply_at).unwrap_or_default()
    }

    /// Bytes that it takes while it waits.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }
}
