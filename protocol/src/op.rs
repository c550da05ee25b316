//! The operations of the client protocol, borrowed from the buffer they were read into.

/// What a client may send.
///
/// Every slice points into the buffer that was given to [`Parser::parse`](crate::Parser::parse): no byte
/// is copied and no count is kept.
///
/// ```
/// use jetkv_protocol::{ClientOp, Limits, Parsed, Parser, Publish, Step};
///
/// let mut parser = Parser::new(Limits::default());
/// let parsed: Parsed<'_> = parser.parse(b"PUB a.b 2\r\nhi\r\n")?;
/// let Step::Op { op: ClientOp::Pub(publish), consumed } = parsed else { panic!("{parsed:?}") };
/// assert_eq!(publish, Publish { subject: b"a.b", reply: None, headers: b"", payload: b"hi" });
/// assert_eq!((publish.size_bytes(), consumed), (2, 15));
/// # Ok::<(), jetkv_protocol::ProtocolError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientOp<'a> {
    /// CONNECT, with its JSON text not yet read; see [`ConnectOptions`](crate::ConnectOptions).
    Connect(&'a [u8]),
    /// PUB or HPUB.
    Pub(Publish<'a>),
    /// SUB. The subject is as the client wrote it, valid or not.
    Sub {
        /// The subject, which may hold wildcards.
        subject: &'a [u8],
        /// The queue group, when one was named.
        queue: Option<&'a [u8]>,
        /// The client's name for the subscription.
        sid: &'a [u8],
    },
    /// UNSUB.
    Unsub {
        /// The client's name for the subscription.
        sid: &'a [u8],
        /// End the subscription after this many messages since it began; `None` ends it now. A count of
        /// zero and one that is not a number of at most nine digits also mean now (nats-server v2.15.2).
        max: Option<u64>,
    },
    /// PING, to be answered with PONG.
    Ping,
    /// PONG, the answer to a PING of ours.
    Pong,
    /// INFO, which a client has no reason to send. nats-server reads the JSON and otherwise ignores it;
    /// text that [`ServerInfo::from_json`](crate::ServerInfo::from_json) refuses closes the connection.
    Info(&'a [u8]),
    /// +OK, which is ignored.
    Ok,
    /// -ERR with its text. nats-server logs it and closes the connection without a word.
    Err(&'a [u8]),
}

/// A message on its way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The subject as the client wrote it. Empty in one case: HMSG sent by a client, which nats-server
    /// reads as a message that nothing can match. It is acknowledged in verbose mode and goes nowhere.
    pub subject: &'a [u8],
    /// Where answers go.
    pub reply: Option<&'a [u8]>,
    /// The header block with its `NATS/1.0` line and its closing empty line, exactly as sent; empty for
    /// PUB and for an HPUB that declares no header bytes.
    pub headers: &'a [u8],
    /// The bytes after the headers.
    pub payload: &'a [u8],
}

impl Publish<'_> {
    /// Header and payload bytes together: what `max_payload` limits.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.headers.len() + self.payload.len()
    }
}

/// What a server may send.
///
/// ```
/// use jetkv_protocol::{ServerOp, ServerParsed, ServerParser, Step};
///
/// let parsed: ServerParsed<'_> = ServerParser::new().parse(b"-ERR 'Stale Connection'\r\n")?;
/// assert!(matches!(parsed, Step::Op { op: ServerOp::Err(b"Stale Connection"), .. }));
/// # Ok::<(), jetkv_protocol::ProtocolError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerOp<'a> {
    /// INFO, with its JSON text; see [`ServerInfo`](crate::ServerInfo).
    Info(&'a [u8]),
    /// MSG or HMSG.
    Msg {
        /// The literal subject of the message.
        subject: &'a [u8],
        /// The subscription it is delivered to.
        sid: &'a [u8],
        /// Where answers go.
        reply: Option<&'a [u8]>,
        /// The header block, empty for MSG.
        headers: &'a [u8],
        /// The bytes after the headers.
        payload: &'a [u8],
    },
    /// PING, to be answered with PONG.
    Ping,
    /// PONG.
    Pong,
    /// +OK.
    Ok,
    /// -ERR, its text without the quotes around it.
    Err(&'a [u8]),
}

/// What the server at the other end of a leaf node connection may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafOp<'a> {
    /// INFO, with its JSON text; see [`ServerInfo`](crate::ServerInfo).
    Info(&'a [u8]),
    /// CONNECT, with its JSON text; see [`LeafConnect`](crate::connect::LeafConnect).
    Connect(&'a [u8]),
    /// LS+: somebody there listens.
    Sub {
        /// What LS- will name: the subject, and the queue group behind it.
        key: &'a [u8],
        /// The subject, which may hold wildcards.
        subject: &'a [u8],
        /// The queue group, if it is in one.
        queue: Option<&'a [u8]>,
        /// Members of the queue group; 1 without one.
        weight: u32,
    },
    /// LS-: nobody there does any more.
    Unsub {
        /// What LS+ named.
        key: &'a [u8],
    },
    /// LMSG or HMSG.
    Msg(LeafMsg<'a>),
    /// PING, to be answered with PONG.
    Ping,
    /// PONG.
    Pong,
    /// +OK, which is ignored.
    Ok,
    /// -ERR, its text without the quotes around it.
    Err(&'a [u8]),
}

/// A message over a leaf node connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafMsg<'a> {
    /// The literal subject.
    pub subject: &'a [u8],
    /// Where answers go.
    pub reply: Option<&'a [u8]>,
    /// Names of the queue groups that get it, with blanks between them.
    pub queues: &'a [u8],
    /// The header block, empty for none.
    pub headers: &'a [u8],
    /// The bytes after the headers.
    pub payload: &'a [u8],
}

impl<'a> LeafMsg<'a> {
    /// The queue groups that get it.
    pub fn queues(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        self.queues.split(u8::is_ascii_whitespace).filter(|name| !name.is_empty())
    }
}
