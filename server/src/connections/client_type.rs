//! What a client speaks over.

/// What a client speaks over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientType {
    /// Its protocol as it is, or under TLS.
    Nats,
    /// WebSocket.
    Websocket,
}

impl ClientType {
    /// As pages and events name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Websocket => "websocket",
        }
    }
}
