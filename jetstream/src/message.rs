//! Messages on their way into the engine and out of it, and the account that they are in.

/// An account as the router numbers it. Names are only used for directories and in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub u32);

/// A message that leaves the engine.
#[derive(Debug, Clone, Copy)]
pub struct OutMsg<'a> {
    /// The subject that decides who receives it.
    pub to: &'a [u8],
    /// The subject that receivers see. It differs from `to` for consumer deliveries, which are routed by deliver
    /// subject or inbox and show the stored subject.
    pub subject: &'a [u8],
    /// The reply subject, empty for none.
    pub reply: &'a [u8],
    /// The raw header block with its `NATS/1.0` line and closing empty line, empty for none.
    pub headers: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
}

/// A message published to a stream.
#[derive(Debug, Clone, Copy)]
pub struct Inbound<'a> {
    /// Subject.
    pub subject: &'a [u8],
    /// Where the acknowledgement goes, empty for nowhere.
    pub reply: &'a [u8],
    /// Raw header block with its `NATS/1.0` line and closing empty line, empty for none.
    pub headers: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
}

/// A message as whoever has the subject gets it that decides who receives it.
impl<'a> From<&OutMsg<'a>> for Inbound<'a> {
    fn from(msg: &OutMsg<'a>) -> Self {
        Self { subject: msg.to, reply: msg.reply, headers: msg.headers, payload: msg.payload }
    }
}
