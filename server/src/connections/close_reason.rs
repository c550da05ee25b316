//! Why a connection ended.

use std::fmt;

/// Why a connection ended; `Display` is nats-server's wording in logs, advisories and `/connz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The client closed it.
    ClientClosed,
    /// No CONNECT within the authentication timeout.
    AuthenticationTimeout,
    /// Wrong credentials, or none.
    AuthenticationViolation,
    /// More than `max_pending` bytes were waiting.
    SlowConsumerPendingBytes,
    /// A write took longer than `write_deadline`.
    SlowConsumerWriteDeadline,
    /// The socket refused a write.
    WriteError,
    /// The socket failed in a read.
    ReadError,
    /// PINGs stayed unanswered.
    StaleConnection,
    /// Bytes that are not the protocol.
    ProtocolViolation,
    /// CONNECT asked for a protocol that does not exist.
    BadClientProtocolVersion,
    /// The account has all the connections it may have.
    MaxAccountConnectionsExceeded,
    /// A reload left it fewer subscriptions than it has.
    MaxSubscriptionsExceeded,
    /// The server has all the connections it may have.
    MaxConnectionsExceeded,
    /// A message larger than `max_payload`.
    MaxPayloadExceeded,
    /// A line longer than `max_control_line`.
    MaxControlLineExceeded,
    /// The server stops.
    ServerShutdown,
    /// The credentials were taken back.
    Revocation,
    /// What a user or its account may do ended with the time for it.
    AuthenticationExpired,
    /// No-responders answers without headers.
    NoRespondersRequiresHeaders,
    /// The TLS handshake failed, or took too long.
    TlsHandshakeError,
    /// An operator asked for it.
    Kicked,
    /// It has to come by way of a proxy that is trusted.
    ProxyRequired,
    /// A proxy that is not trusted signed for it.
    ProxyNotTrusted,
    /// It speaks another protocol than that of the port.
    WrongPort,
    /// A gateway came to a port of others.
    WrongGateway,
    /// The account that it would be in does not exist.
    MissingAccount,
    /// The other server came again.
    DuplicateRemoteLeafnode,
    /// The other server is of a cluster with the same name.
    ClusterNamesIdentical,
    /// The other server is too old.
    MinimumVersionRequired,
}

impl CloseReason {
    /// Whether what is queued is dropped: the peer cannot or does not take it.
    pub(crate) fn drops_pending(self) -> bool {
        matches!(
            self,
            Self::ReadError
                | Self::WriteError
                | Self::SlowConsumerPendingBytes
                | Self::SlowConsumerWriteDeadline
                | Self::TlsHandshakeError
        )
    }

    /// What a WebSocket's close frame says of it.
    pub(crate) fn close_payload(self) -> Vec<u8> {
        use jetkv_protocol::websocket::{close_payload, status};
        let status = match self {
            Self::ClientClosed => status::NORMAL,
            Self::AuthenticationTimeout
            | Self::AuthenticationViolation
            | Self::SlowConsumerPendingBytes
            | Self::SlowConsumerWriteDeadline
            | Self::MaxAccountConnectionsExceeded
            | Self::MaxSubscriptionsExceeded
            | Self::MaxConnectionsExceeded
            | Self::MaxControlLineExceeded
            | Self::Revocation
            | Self::AuthenticationExpired => status::POLICY_VIOLATION,
            Self::TlsHandshakeError => status::TLS_HANDSHAKE,
            Self::ProtocolViolation | Self::BadClientProtocolVersion => status::PROTOCOL_ERROR,
            Self::MaxPayloadExceeded => status::TOO_BIG,
            Self::WriteError | Self::ReadError | Self::StaleConnection | Self::ServerShutdown => {
                status::GOING_AWAY
            }
            Self::NoRespondersRequiresHeaders
            | Self::Kicked
            | Self::ProxyRequired
            | Self::ProxyNotTrusted
            | Self::WrongPort
            | Self::WrongGateway
            | Self::MissingAccount
            | Self::DuplicateRemoteLeafnode
            | Self::ClusterNamesIdentical
            | Self::MinimumVersionRequired => status::INTERNAL_ERROR,
        };
        close_payload(status, self.text())
    }

    /// The wording.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::ClientClosed => "Client Closed",
            Self::AuthenticationTimeout => "Authentication Timeout",
            Self::AuthenticationViolation => "Authentication Failure",
            Self::SlowConsumerPendingBytes => "Slow Consumer (Pending Bytes)",
            Self::SlowConsumerWriteDeadline => "Slow Consumer (Write Deadline)",
            Self::WriteError => "Write Error",
            Self::ReadError => "Read Error",
            Self::StaleConnection => "Stale Connection",
            Self::ProtocolViolation => "Protocol Violation",
            Self::BadClientProtocolVersion => "Bad Client Protocol Version",
            Self::MaxAccountConnectionsExceeded => "Maximum Account Connections Exceeded",
            Self::MaxSubscriptionsExceeded => "Maximum Subscriptions Exceeded",
            Self::MaxConnectionsExceeded => "Maximum Connections Exceeded",
            Self::MaxPayloadExceeded => "Maximum Message Payload Exceeded",
            Self::MaxControlLineExceeded => "Maximum Control Line Exceeded",
            Self::ServerShutdown => "Server Shutdown",
            Self::Revocation => "Credentials Revoked",
            Self::AuthenticationExpired => "Authentication Expired",
            Self::NoRespondersRequiresHeaders => "No Responders Requires Headers",
            Self::TlsHandshakeError => "TLS Handshake Failure",
            Self::Kicked => "Kicked",
            Self::ProxyRequired => "Proxy Required",
            Self::ProxyNotTrusted => "Proxy Not Trusted",
            Self::WrongPort => "Incorrect Port",
            Self::WrongGateway => "Wrong Gateway",
            Self::MissingAccount => "Missing Account",
            Self::DuplicateRemoteLeafnode => "Duplicate Remote LeafNode Connection",
            Self::ClusterNamesIdentical => "Cluster Names Identical",
            Self::MinimumVersionRequired => "Minimum Version Required",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
