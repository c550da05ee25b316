//! A server for one connection in a few lines: just enough around the parser that what a client would see
//! can be compared with what nats-server showed.

use jetkv_protocol::{
    ClientOp, ConnectOptions, Limits, Parser, Publish, Rejection, ServerInfo, Step, encode, subject,
};

/// What the client got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) bytes: Vec<u8>,
    pub(crate) closed: bool,
}

struct Subscription {
    subject: Vec<u8>,
    sid: Vec<u8>,
    delivered: u64,
    max: Option<u64>,
}

/// Whether the connection goes on, or ends with this text, or without one.
type Outcome = Result<(), Option<String>>;

/// One connection to a server, which needs the password `p` of user `u` when `auth` is set.
pub(crate) struct Connection {
    parser: Parser,
    options: ConnectOptions,
    auth: bool,
    connected: bool,
    subscriptions: Vec<Subscription>,
    out: Vec<u8>,
    closed: bool,
}

impl Connection {
    pub(crate) fn new(auth: bool) -> Self {
        Self {
            parser: Parser::new(Limits { connect_first: auth, ..Limits::default() }),
            options: ConnectOptions::default(),
            auth,
            connected: false,
            subscriptions: Vec::new(),
            out: Vec::new(),
            closed: false,
        }
    }

    /// Feeds `input` in pieces that end at `splits`, as reads from a socket would bring them.
    pub(crate) fn feed(mut self, input: &[u8], splits: &[usize]) -> Seen {
        let mut start = 0;
        for end in splits.iter().copied().chain([input.len()]) {
            while !self.closed {
                let rest = &input[start.min(end)..end];
                match self.parser.parse(rest) {
                    Ok(Step::Incomplete { need }) => {
                        assert!(need > rest.len(), "asks for {need} bytes and has {}", rest.len());
                        break;
                    }
                    Ok(Step::Op { op, consumed }) => {
                        start += consumed;
                        let outcome = self.serve(op);
                        self.settle(outcome);
                    }
                    Err(error) => self.settle(Err(error.wire_text().map(str::to_owned))),
                }
            }
        }
        Seen { bytes: self.out, closed: self.closed }
    }

    fn settle(&mut self, outcome: Outcome) {
        if let Err(text) = outcome {
            self.closed = true;
            if let Some(text) = text {
                encode::err(&mut self.out, &text);
            }
        }
    }

    fn ok(&mut self) {
        if self.options.verbose {
            encode::ok(&mut self.out);
        }
    }

    fn serve(&mut self, op: ClientOp<'_>) -> Outcome {
        match op {
            ClientOp::Connect(json) => return self.connect(json),
            ClientOp::Pub(publish) => self.publish(&publish),
            ClientOp::Sub { subject, sid, .. } => self.subscribe(subject, sid),
            ClientOp::Unsub { sid, max } => {
                let gone = |sub: &Subscription| max.is_none_or(|max| max <= sub.delivered);
                self.subscriptions.retain(|sub| sub.sid != sid || !gone(sub));
                for sub in self.subscriptions.iter_mut().filter(|sub| sub.sid == sid) {
                    sub.max = max;
                }
                self.ok();
            }
            ClientOp::Ping => encode::pong(&mut self.out),
            ClientOp::Pong | ClientOp::Ok => {}
            ClientOp::Info(json) => {
                ServerInfo::from_json(json).map_err(|_| None)?;
            }
            ClientOp::Err(_) => return Err(None),
        }
        Ok(())
    }

    fn connect(&mut self, json: &[u8]) -> Outcome {
        self.options.merge(json).map_err(|_| None)?;
        // A further CONNECT may lead to another account, so it ends the subscriptions of this one.
        if std::mem::replace(&mut self.connected, true) {
            self.subscriptions.clear();
        }
        let options = &self.options;
        let welcome = !self.auth || (options.user == "u" && options.pass == "p");
        if !welcome || options.new_account || !options.account.is_empty() {
            return Err(Some(Rejection::AuthorizationViolation.wire_text().into_owned()));
        }
        if !(0..=1).contains(&options.protocol) {
            return Err(Some(Rejection::BadClientProtocol.wire_text().into_owned()));
        }
        if options.no_responders && !options.headers {
            return Err(Some(Rejection::NoRespondersRequiresHeaders.wire_text().into_owned()));
        }
        self.parser.set_headers(options.headers);
        self.ok();
        Ok(())
    }

    fn subscribe(&mut self, subject: &[u8], sid: &[u8]) {
        if self.subscriptions.iter().all(|sub| sub.sid != sid) {
            if !subject::is_valid_for_subscription(subject) {
                return encode::err(&mut self.out, &Rejection::InvalidSubject.wire_text());
            }
            self.subscriptions.push(Subscription {
                subject: subject.to_vec(),
                sid: sid.to_vec(),
                delivered: 0,
                max: None,
            });
        }
        self.ok();
    }

    fn publish(&mut self, publish: &Publish<'_>) {
        // The check comes with the arguments, of which HMSG has none.
        if self.options.pedantic && !publish.subject.is_empty() && !subject::is_valid_literal(publish.subject)
        {
            encode::err(&mut self.out, &Rejection::InvalidPublishSubject.wire_text());
        }
        self.ok();
        for sub in &mut self.subscriptions {
            if subject::matches(publish.subject, &sub.subject) {
                sub.delivered += 1;
                let headers = if self.options.headers { publish.headers } else { b"" };
                encode::msg(
                    &mut self.out,
                    publish.subject,
                    &sub.sid,
                    publish.reply,
                    headers,
                    publish.payload,
                );
            }
        }
        self.subscriptions.retain(|sub| sub.max.is_none_or(|max| sub.delivered < max));
    }
}
