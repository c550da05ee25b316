//! An engine whose clock stands still until it is moved.

use super::host::{CollectHost, Sent};
use jetkv_jetstream::disk::{Disk, RealDisk};
use jetkv_jetstream::stream::Stream;
use jetkv_jetstream::{
    AccountId, AccountLimits, ApiRequest, ClientInfo, Deadlines, Engine, EngineConfig, EngineError, Inbound,
    ManualClock, Outbox, WallNs,
};
use std::sync::Arc;

/// An engine with one account, `$G`, on a clock that a test moves.
pub struct TestEngine {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Its host.
    pub host: Arc<CollectHost>,
    /// Its clock. It begins at 2023-11-14T22:13:20Z.
    pub clock: Arc<ManualClock>,
    /// Its account.
    pub account: AccountId,
}

/// Where every API subject begins.
const API: &str = "$JS.API.";
/// Where the clock begins.
pub const START_NS: WallNs = WallNs::from_ns(1_700_000_000_000_000_000);

impl TestEngine {
    /// An engine with the default configuration, in memory.
    ///
    /// # Errors
    /// Those of [`Engine::new`].
    pub fn new() -> Result<Self, EngineError> {
        Self::with(EngineConfig::default())
    }

    /// An engine with the given configuration.
    ///
    /// # Errors
    /// Those of [`Engine::new`] and [`Engine::enable_account`].
    pub fn with(config: EngineConfig) -> Result<Self, EngineError> {
        Self::on(config, Arc::new(ManualClock::new(START_NS)))
    }

    /// An engine on a clock that exists: a restart.
    ///
    /// # Errors
    /// Those of [`Engine::new`] and [`Engine::enable_account`].
    pub fn on(config: EngineConfig, clock: Arc<ManualClock>) -> Result<Self, EngineError> {
        Self::on_disk(config, clock, Arc::new(RealDisk))
    }

    /// An engine on a disk of the test's own.
    ///
    /// # Errors
    /// Those of [`Engine::new`] and [`Engine::enable_account`].
    pub fn on_disk(
        config: EngineConfig,
        clock: Arc<ManualClock>,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, EngineError> {
        let host = Arc::new(CollectHost::default());
        let engine = Engine::new(config, clock.clone(), disk, host.clone())?;
        let account = AccountId(1);
        engine.enable_account(account, "$G", AccountLimits::default())?;
        Ok(Self { engine, host, clock, account })
    }

    /// Makes an API request (`subject` without `$JS.API.`) and gives the payload of the answer, empty for none.
    pub fn request(&self, subject: &str, payload: &str) -> String {
        self.request_all(subject, payload).first().map(|sent| sent.payload.clone()).unwrap_or_default()
    }

    /// Makes an API request and gives all messages that answer it.
    pub fn request_all(&self, subject: &str, payload: &str) -> Vec<Sent> {
        let mut out = Outbox::new();
        let client = ClientInfo::default();
        let subject = format!("{API}{subject}");
        let outcome = self.engine.api_when_durable(
            &ApiRequest {
                account: self.account,
                subject: subject.as_bytes(),
                reply: b"_INBOX.api",
                headers: b"",
                payload: payload.as_bytes(),
                client: Some(&client),
            },
            &mut out,
        );
        let mut answers = Vec::new();
        for msg in out.iter() {
            if msg.to == b"_INBOX.api" {
                answers.push(Sent::new(&msg));
            } else {
                self.host.sent.lock().push((Sent::new(&msg), msg.payload.to_vec()));
            }
        }
        if outcome.no_responders {
            let headers = "NATS/1.0 503\r\n\r\n".to_owned();
            let to = "_INBOX.api".to_owned();
            answers.push(Sent {
                subject: to.clone(),
                to,
                reply: String::new(),
                headers,
                payload: String::new(),
            });
        }
        if let Some(stream) = outcome.stream {
            stream.commit(&*self.host);
        }
        if let Some(begin) = outcome.then {
            begin();
        }
        self.host.sync_all();
        // Answers that waited for a sync.
        let mut sent = self.host.sent.lock();
        answers.extend(sent.extract_if(.., |(msg, _)| msg.to == "_INBOX.api").map(|(msg, _)| msg));
        drop(sent);
        answers
    }

    /// Whether anyone holds a lock that publishers, or changes of other streams, wait for.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.engine.is_locked()
    }

    /// Publishes to the streams that listen and commits. Gives the answer, empty for none.
    pub fn publish(&self, subject: &str, headers: &[(&str, &str)], payload: &str) -> String {
        const REPLY: &str = "_INBOX.pub";
        let mut block = String::new();
        if !headers.is_empty() {
            block.push_str("NATS/1.0\r\n");
            for (key, value) in headers {
                block.push_str(&format!("{key}: {value}\r\n"));
            }
            block.push_str("\r\n");
        }
        let streams = self.host.streams(subject.as_bytes());
        for stream in &streams {
            stream.publish(&Inbound {
                subject: subject.as_bytes(),
                reply: REPLY.as_bytes(),
                headers: block.as_bytes(),
                payload: payload.as_bytes(),
            });
        }
        for stream in &streams {
            stream.commit(&*self.host);
        }
        self.host.sync_all();
        let mut sent = self.host.sent.lock();
        let at = sent.iter().position(|(msg, _)| msg.to == REPLY);
        at.map(|at| sent.remove(at).0.payload).unwrap_or_default()
    }

    /// Takes a message on `$JS.ACK.>` or `$JS.FC.>`. Gives the stream that it is about, which is not committed yet.
    pub fn control(&self, subject: &str, reply: &str, payload: &str) -> Option<Arc<Stream>> {
        let (subject, reply, payload) = (subject.as_bytes(), reply.as_bytes(), payload.as_bytes());
        self.engine.js_control(self.account, &Inbound { subject, reply, headers: b"", payload })
    }

    /// Says that somebody listens on `subject` from now on, or nobody any more, and commits what follows.
    pub fn interest_changed(&self, subject: &str, present: bool) {
        for stream in self.engine.interest_changed(self.account, subject.as_bytes(), None, present) {
            stream.commit(&*self.host);
        }
    }

    /// Lets time pass and fires what became due.
    pub fn advance_ns(&self, by_ns: u64) -> Deadlines {
        self.clock.advance_ns(by_ns);
        self.tick()
    }

    /// Sets the wall clock, forward or backward, and fires what became due.
    pub fn step_wall_ns(&self, by_ns: i64) -> Deadlines {
        self.clock.step_wall_ns(by_ns);
        self.tick()
    }

    /// Fires what is due.
    pub fn tick(&self) -> Deadlines {
        let mut next = self.engine.tick();
        self.host.sync_all();
        while next.are_reached(&*self.clock) {
            next = self.engine.tick();
            self.host.sync_all();
        }
        next
    }
}
