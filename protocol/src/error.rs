//! What goes wrong between a client and the server, and what the client is told about it.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use jetkv_go_compat::{push_quoted, quoted};

/// Bytes that are not the protocol, or that break a limit. Each one ends the connection.
///
/// `Display` is the text for the log; [`wire_text`](Self::wire_text) is what the client sees. Both are
/// nats-server v2.15.2's (observed).
///
/// ```
/// use jetkv_protocol::{BadArguments, Limits, Parser, ProtocolError};
///
/// let error = Parser::new(Limits::default()).parse(b"HELLO\r\n").unwrap_err();
/// assert_eq!(error, ProtocolError::UnknownOperation);
/// assert_eq!(error.wire_text(), Some("Unknown Protocol Operation"));
/// assert!(error.closes());
///
/// let error = Parser::new(Limits::default()).parse(b"PUB a b c d\r\n").unwrap_err();
/// let ProtocolError::BadArguments(arguments) = error else { panic!("{error}") };
/// let _: BadArguments = arguments;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// A verb that does not exist, a verb without its separator, or a payload that is not followed by CR LF.
    #[error("parser error")]
    UnknownOperation,
    /// The arguments of a line are longer than `max_control_line`.
    #[error("maximum control line exceeded")]
    ControlLineTooLong,
    /// A message that declares more bytes than `max_payload`; found before any of them arrive.
    #[error("maximum payload exceeded: {size_bytes} vs {max_bytes}")]
    PayloadTooLarge {
        /// The size that the client declared, headers included.
        size_bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// Anything but CONNECT while the connection has yet to authenticate.
    #[error("authentication error")]
    ConnectExpected,
    /// HPUB on a connection whose CONNECT did not ask for headers.
    #[error("message headers not supported")]
    HeadersNotSupported,
    /// The wrong number of arguments, or a number that is not one.
    #[error(transparent)]
    BadArguments(#[from] BadArguments),
}

impl ProtocolError {
    /// The text inside `-ERR '...'`. `None` means that the connection closes without a word.
    #[must_use]
    pub fn wire_text(&self) -> Option<&'static str> {
        match self {
            Self::UnknownOperation => Some("Unknown Protocol Operation"),
            Self::ControlLineTooLong => Some("maximum control line exceeded"),
            Self::PayloadTooLarge { .. } => Some("Maximum Payload Violation"),
            Self::ConnectExpected => Some("Authorization Violation"),
            Self::HeadersNotSupported | Self::BadArguments(_) => None,
        }
    }

    /// Whether the connection is closed after the text was sent: always, because what follows bytes that
    /// could not be read has no known start.
    #[must_use]
    pub fn closes(&self) -> bool {
        true
    }
}

/// Arguments that their verb cannot have. `Display` words it as nats-server logs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadArguments {
    complaint: &'static str,
    arguments: Box<[u8]>,
}

impl BadArguments {
    pub(crate) fn new(complaint: &'static str, arguments: &[u8]) -> Self {
        Self { complaint, arguments: arguments.into() }
    }
}

impl fmt::Display for BadArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.complaint, quoted(&self.arguments))
    }
}

impl std::error::Error for BadArguments {}

/// What a server refuses although it could read it: every other text that nats-server v2.15.2 puts in a
/// client's `-ERR`.
///
/// ```
/// use jetkv_protocol::Rejection;
///
/// let text = Rejection::PublishPermission(b"a.b").wire_text();
/// assert_eq!(text, "Permissions Violation for Publish to \"a.b\"");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection<'a> {
    /// Wrong credentials, or none.
    AuthorizationViolation,
    /// No CONNECT within the authentication timeout.
    AuthenticationTimeout,
    /// The user's credentials ran out while connected.
    UserAuthenticationExpired,
    /// The user's credentials were taken back while connected.
    UserAuthenticationRevoked,
    /// The account's claims ran out while connected.
    AccountAuthenticationExpired,
    /// CONNECT asks for a protocol version that does not exist.
    BadClientProtocol,
    /// CONNECT asks for no-responders answers without headers to carry them.
    NoRespondersRequiresHeaders,
    /// The first bytes are not a TLS handshake although TLS is required.
    TlsRequired,
    /// The server has `max_connections` clients.
    TooManyConnections,
    /// The account has as many clients as it may.
    TooManyAccountConnections,
    /// The connection could not be registered with its account.
    AccountRegistration,
    /// PINGs of ours that stayed without an answer.
    StaleConnection,
    /// The connection has `max_subscriptions` subscriptions.
    TooManySubscriptions,
    /// A subscription with more tokens than `max_sub_tokens`.
    TooManySubjectTokens(&'a [u8]),
    /// A subscription to something that is not a subject.
    InvalidSubject,
    /// Pedantic mode: a publish to something that is not a literal subject. The message is handled all the same.
    InvalidPublishSubject,
    /// No permission to publish to the subject.
    PublishPermission(&'a [u8]),
    /// The reply subject is one that the server keeps for itself.
    ReplyPermission(&'a [u8]),
    /// No permission to subscribe to the subject, in the queue group when there is one.
    SubscribePermission(&'a [u8], Option<&'a [u8]>),
}

impl Rejection<'_> {
    /// The text inside `-ERR '...'`.
    #[must_use]
    pub fn wire_text(&self) -> Cow<'static, str> {
        Cow::Borrowed(match *self {
            Self::AuthorizationViolation => "Authorization Violation",
            Self::AuthenticationTimeout => "Authentication Timeout",
            Self::UserAuthenticationExpired => "User Authentication Expired",
            Self::UserAuthenticationRevoked => "User Authentication Revoked",
            Self::AccountAuthenticationExpired => "Account Authentication Expired",
            Self::BadClientProtocol => "invalid client protocol",
            Self::NoRespondersRequiresHeaders => "no responders requires headers support",
            Self::TlsRequired => "Secure Connection - TLS Required",
            Self::TooManyConnections => "maximum connections exceeded",
            Self::TooManyAccountConnections => "maximum account active connections exceeded",
            Self::AccountRegistration => "Failed Account Registration",
            Self::StaleConnection => "Stale Connection",
            Self::TooManySubscriptions => "maximum subscriptions exceeded",
            Self::InvalidSubject => "Invalid Subject",
            Self::InvalidPublishSubject => "Invalid Publish Subject",
            Self::TooManySubjectTokens(_)
            | Self::PublishPermission(_)
            | Self::ReplyPermission(_)
            | Self::SubscribePermission(..) => return Cow::Owned(self.permission_text()),
        })
    }

    fn permission_text(&self) -> String {
        let mut text = String::from("Permissions Violation for ");
        match *self {
            Self::PublishPermission(subject) => {
                text.push_str("Publish to ");
                push_quoted(&mut text, subject);
            }
            Self::ReplyPermission(reply) => {
                text.push_str("Publish with Reply of ");
                push_quoted(&mut text, reply);
            }
            Self::TooManySubjectTokens(subject) => {
                text.push_str("Subscription to ");
                push_quoted(&mut text, subject);
                text.push_str(", too many tokens");
            }
            Self::SubscribePermission(subject, queue) => {
                text.push_str("Subscription to ");
                push_quoted(&mut text, subject);
                if let Some(queue) = queue {
                    text.push_str(" using queue ");
                    push_quoted(&mut text, queue);
                }
            }
            _ => {}
        }
        text
    }

    /// Whether the connection is closed after the text was sent.
    #[must_use]
    pub fn closes(&self) -> bool {
        !matches!(
            self,
            Self::TooManySubscriptions
                | Self::TooManySubjectTokens(_)
                | Self::InvalidSubject
                | Self::InvalidPublishSubject
                | Self::PublishPermission(_)
                | Self::ReplyPermission(_)
                | Self::SubscribePermission(..)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_errors_name_the_subject_in_quotes() {
        let text = |rejection: Rejection<'_>| rejection.wire_text().into_owned();
        assert_eq!(
            text(Rejection::PublishPermission(b"a\"b")),
            r#"Permissions Violation for Publish to "a\"b""#
        );
        assert_eq!(
            text(Rejection::SubscribePermission(b"foo", None)),
            r#"Permissions Violation for Subscription to "foo""#
        );
        assert_eq!(
            text(Rejection::SubscribePermission(b"foo", Some(b"q"))),
            r#"Permissions Violation for Subscription to "foo" using queue "q""#
        );
        assert_eq!(
            text(Rejection::ReplyPermission(b"_R_.x")),
            r#"Permissions Violation for Publish with Reply of "_R_.x""#
        );
        assert_eq!(
            text(Rejection::TooManySubjectTokens(b"a.b")),
            r#"Permissions Violation for Subscription to "a.b", too many tokens"#
        );
    }

    #[test]
    fn only_what_concerns_one_operation_leaves_the_connection_open() {
        assert!(!Rejection::InvalidSubject.closes() && !Rejection::PublishPermission(b"a").closes());
        assert!(Rejection::StaleConnection.closes() && Rejection::TooManyConnections.closes());
    }

    #[test]
    fn arguments_are_quoted_for_the_log() {
        let error = ProtocolError::from(BadArguments::new("processSub Parse Error", b"a\tb"));
        assert_eq!(error.to_string(), r#"processSub Parse Error: "a\tb""#);
        assert_eq!(error.wire_text(), None);
    }
}
