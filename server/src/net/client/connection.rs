//! The task of one connection: it reads, and it writes when the link was full.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use jetkv_jetstream::ClientInfo;
use jetkv_protocol::{ConnectOptions, Parser, Rejection, ServerInfo, encode};
use tokio::time::Sleep;

use super::operations::{Progress, Stopped, Undecided};
use super::{Client, Upgraded};
use crate::auth::{Authenticator, ClaimsAdmission, DeliveryRules, nonce};
use crate::connections::{CloseReason, ConnectionHandle as _, ReloadGuard, TraceOptions};
use crate::events;
use crate::jetstream::JetStream;
use crate::net::keepalive::{Beat, Keepalive};
use crate::net::link::{Link, Reader};
use crate::net::outbound::{Next, Outbound, OutboundLimits};
use crate::net::read_size::ReadSize;
use crate::options::Options;
use crate::router::{Account, Receiver};
use crate::state::{Entrance, Shared};
use crate::worker::{self, GetDone, READ_BUFFER_BYTES, Worker};

/// Reads that fill the buffer after which other connections of the thread get their turn.
const FULL_READS_MAX: u32 = 4;
/// Time between two looks at a connection that a producer waits for.
const STALL_LOOK: Duration = Duration::from_millis(2);

/// What the task of a connection works with. Other threads see only its [`Client`].
pub(super) struct Connection {
    pub shared: Arc<Shared>,
    pub client: Arc<Client>,
    pub jetstream: Option<Arc<JetStream>>,
    pub account: Arc<Account>,
    pub parser: Parser,
    /// The options in force, looked at anew with every reload.
    pub settings: Arc<Options>,
    pub max_subscriptions: Option<usize>,
    pub options: ConnectOptions,
    pub connected: bool,
    pub verbose: bool,
    pub pedantic: bool,
    /// The subject of the message that is arriving was judged when its line was read.
    pub subject_judged: bool,
    pub no_responders: bool,
    /// What INFO asked a client with a key to sign. Empty: nothing.
    pub nonce: String,
    /// Its user has to come by way of a proxy, and did not.
    pub proxy_required: bool,
    pub user: String,
    /// Whether `user` is a key.
    pub by_key: bool,
    /// What the user's claims say, if it came with claims.
    pub claims: Option<Arc<ClaimsAdmission>>,
    /// Until when the user may stay.
    pub expires_at: Option<Instant>,
    /// The users that were in force when this one was let in.
    pub auth: Arc<Authenticator>,
    pub rules: Option<Arc<DeliveryRules>>,
    pub keepalive: Keepalive,
    pub first_pong_sent: bool,
    pub auth_deadline: Option<Instant>,
    /// A receiver that is so full that this producer should wait.
    pub stalling: Option<Arc<dyn Receiver>>,
    /// What takes long: nothing is read until its answers have left.
    pub long_gets: Vec<GetDone>,
    /// Made when first needed.
    pub client_info: Option<Arc<ClientInfo>>,
    /// The subject that is being published, once renamed; kept for its memory.
    pub renamed: Vec<u8>,
    pub reader: Reader,
    /// The connection closes for something that came, and nats-server would not have read all that came behind it.
    pub left_unread: bool,
    /// Held while a reload is taken over.
    pub reloading: Vec<ReloadGuard>,
    /// Its account had all the connections that it may have.
    pub is_surplus: bool,
    read_size: ReadSize,
    /// Bytes of an operation that is not complete.
    pub partial: Vec<u8>,
    /// Bytes that `partial` must hold before another look is worth it.
    need: usize,
    stalled_until: Option<Instant>,
    stalled_since: Instant,
    /// Whether operations that came are left for another turn.
    goes_on: bool,
    /// The last turn brought many answers.
    awaits_room: bool,
    full_reads: u32,
    /// What the last read brought.
    read_bytes: usize,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer knows this task, and wakes it.
    timer_waits: bool,
}

/// What the task has to do beside turns.
enum Event {
    /// Something came after which the next read has to wait.
    Came(Option<Box<Undecided>>),
    /// The end of the stream.
    Ended,
    /// A direct get is answered, and what came behind it can be handled.
    Answered,
    ReadError(std::io::Error),
    Writable,
    Overdue,
    Timer,
    Reload,
    Close(CloseReason),
}

/// The comparison of a password that has to be done before handling can go on, if that is why it stopped.
fn check_of(stopped: Option<Stopped>) -> Option<Box<Undecided>> {
    match stopped {
        Some(Stopped::Authenticating(check)) => Some(check),
        _ => None,
    }
}

/// Serves a client until it or the server closes the connection. `upgraded` is what its upgrade said, where the link is a
/// WebSocket.
pub(crate) async fn serve(shared: Arc<Shared>, link: Link, upgraded: Option<Box<Upgraded>>) {
    let _task = shared.begin_task();
    let mut connection = Connection::new(&shared, link, upgraded);
    if shared.journal.is_some() {
        connection.client.begin_journal();
    }
    tracing::debug!("{} - Client connection created", connection.client.label());
    let first = connection.begins_with_tls();
    if first.is_none() {
        connection.send_first_info();
    }
    shared.counters.count_connection();
    let reason = match shared.add_client(Arc::clone(&connection.client) as _) {
        Entrance::Open => match connection.secure(first).await {
            Ok(()) => connection.run().await,
            Err(reason) => reason,
        },
        Entrance::Full => {
            connection.reject(&Rejection::TooManyConnections);
            let statement = Rejection::TooManyConnections.wire_text();
            if shared.repeats.is_news(&statement) {
                tracing::error!("{} - {statement}", connection.client.label());
            }
            CloseReason::MaxConnectionsExceeded
        }
        Entrance::Closed => return,
    };
    connection.finish(reason).await;
}

fn ping_interval(options: &Options, client: &Client) -> Duration {
    let websocket = options.websocket.as_ref().filter(|_| client.upgraded().is_some());
    websocket.and_then(|websocket| websocket.ping_interval).unwrap_or(options.limits.ping_interval)
}

impl Connection {
    fn new(shared: &Arc<Shared>, link: Link, upgraded: Option<Box<Upgraded>>) -> Self {
        let options = shared.options();
        let now = Instant::now();
        let account = Arc::clone(shared.accounts.global());
        let Link { reader, writer, peer } = link;
        let out = Outbound::new(writer, OutboundLimits::new(&options.limits));
        let client = Arc::new(Client::new(
            shared.next_client_id(),
            peer,
            upgraded,
            out,
            Arc::clone(&account),
            Arc::clone(&shared.clock),
        ));
        client.set_traced(TraceOptions::new(&options.log));
        if let Some(secured) = client.upgraded().and_then(|upgraded| upgraded.secured.clone()) {
            // Nothing was said of it before.
            let _ = client.tls.set(secured);
        }
        let auth = shared.auth_of(&*client);
        let keepalive = Keepalive::new(ping_interval(&options, &client), options.limits.ping_max, now);
        let timer = Box::pin(shared.timers.sleep_until(keepalive.due_at()));
        let _ = account.add_client(client.id());
        let mut connection = Self {
            shared: Arc::clone(shared),
            jetstream: shared.jetstream(),
            account,
            parser: Parser::default(),
            settings: options,
            max_subscriptions: None,
            options: ConnectOptions::default(),
            connected: false,
            verbose: true,
            pedantic: true,
            subject_judged: false,
            no_responders: false,
            proxy_required: false,
            nonce: if auth.sends_nonce() { nonce() } else { String::new() },
            user: String::new(),
            by_key: false,
            claims: None,
            expires_at: None,
            auth: Arc::clone(&auth),
            rules: None,
            keepalive,
            first_pong_sent: false,
            auth_deadline: None,
            stalling: None,
            long_gets: Vec::new(),
            client_info: None,
            renamed: Vec::new(),
            reader,
            left_unread: false,
            reloading: Vec::new(),
            is_surplus: false,
            read_size: ReadSize::default(),
            partial: Vec::new(),
            need: 0,
            stalled_until: None,
            stalled_since: Instant::now(),
            goes_on: false,
            awaits_room: false,
            full_reads: 0,
            read_bytes: 0,
            timer,
            timer_waits: false,
            client,
        };
        connection.apply_limits();
        connection.begin_authentication(now);
        // Whether a client may start without CONNECT is decided when it does so.
        connection.parser.limits_mut().connect_first = auth.required();
        connection
    }

    /// The time that the client has to authenticate begins.
    pub(super) fn begin_authentication(&mut self, now: Instant) {
        let websocket = self.settings.websocket.as_ref().filter(|_| self.client.upgraded().is_some());
        let own = websocket.and_then(|websocket| websocket.auth.timeout);
        let timeout = own.unwrap_or(self.settings.auth.timeout);
        self.auth_deadline = self.auth.required().then(|| now + timeout);
    }

    /// Time between two PINGs.
    pub(super) fn ping_interval(&self) -> Duration {
        ping_interval(&self.settings, &self.client)
    }

    /// Brings limits in line with the options and the account.
    pub(super) fn apply_limits(&mut self) {
        let account = self.account.limits();
        let limits = &self.settings.limits;
        let smaller = |server: Option<usize>, account: i64| match (server, usize::try_from(account).ok()) {
            (Some(server), Some(account)) => Some(server.min(account)),
            (server, account) => server.or(account),
        };
        let server_subscriptions = usize::try_from(limits.max_subscriptions).ok().filter(|max| *max > 0);
        let user = self.claims.as_ref().map(|claims| claims.limits);
        let (user_subs, user_payload) = user.map_or((-1, -1), |user| (user.subs, user.payload));
        self.max_subscriptions = smaller(smaller(server_subscriptions, account.max_subscriptions), user_subs);
        let payload = smaller(smaller(limits.max_payload_bytes, account.max_payload_bytes), user_payload);
        let payload = payload.unwrap_or(usize::MAX);
        self.reader.limit_messages(payload);
        let parser = self.parser.limits_mut();
        parser.max_control_line = limits.max_control_line_bytes;
        parser.max_payload = payload;
    }

    pub(super) fn send_first_info(&self) {
        let info = ServerInfo { nonce: self.nonce.clone(), ..self.shared.info(&*self.client, false) };
        let json = info.to_json();
        self.client.queue(|out| encode::info(out, json.as_bytes()));
        self.flush();
        self.end_turn();
    }

    /// Writes what the link takes, and lets those that waited for room go on.
    pub(super) fn flush(&self) {
        if self.client.flush(None)
            && let Some(engine) = self.engine()
        {
            engine.feed_again(&*self.client);
        }
    }

    /// The client sent something.
    pub(super) fn heard(&mut self) {
        self.keepalive.heard();
    }

    /// The client as the engine shows it in advisories.
    pub(super) fn client_info(&mut self) -> &Arc<ClientInfo> {
        let (shared, client) = (&self.shared, &self.client);
        self.client_info.get_or_insert_with(|| Arc::new(events::client_info(shared, &**client)))
    }

    async fn run(&mut self) -> CloseReason {
        loop {
            let event = std::future::poll_fn(|context| self.poll_event(context)).await;
            match event {
                Event::Came(slow) => self.after_read(slow).await,
                Event::Ended => return CloseReason::ClientClosed,
                Event::Answered => {
                    let slow = self.received_more(0);
                    if self.is_to_wait(slow.is_some()) {
                        self.after_read(slow).await;
                    }
                }
                Event::ReadError(error) => return self.read_failed(&error),
                Event::Writable => {
                    self.flush();
                    if let Some(time) = self.client.take_recovered() {
                        self.write_recovered(time);
                    }
                }
                Event::Overdue => {
                    if let Some(reason) = self.write_overdue() {
                        return reason;
                    }
                }
                Event::Timer => self.timer_fired(),
                Event::Reload => self.reload().await,
                Event::Close(reason) => return reason,
            }
        }
    }

    /// Of a WebSocket the log says what was wrong with what came.
    fn read_failed(&self, error: &std::io::Error) -> CloseReason {
        if self.client.upgraded().is_some() {
            tracing::error!("{} - read error: {error}", self.client.label());
        }
        CloseReason::ReadError
    }

    /// Has what comes handled, turn by turn, until there is something else to do.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        loop {
            if let Some(event) = ready!(self.poll_news(context)) {
                return Poll::Ready(event);
            }
            match ready!(self.poll_turn(context)) {
                Ok(slow) if self.is_to_wait(slow.is_some()) => return Poll::Ready(Event::Came(slow)),
                Ok(_) => {}
                Err(event) => return Poll::Ready(event),
            }
            // Whoever else has something for the task to look at wakes it.
            if !self.is_to_look() {
                ready!(self.reader.poll_readable(context));
            }
        }
    }

    /// What is to be done before the next read, if anything is. Pending where that has to wait.
    fn poll_news(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut wake_at = self.next_deadline();
        match self.client.poll_next(context) {
            Next::Close(reason) => return Poll::Ready(Some(Event::Close(reason))),
            Next::Writable => return Poll::Ready(Some(Event::Writable)),
            Next::Overdue => return Poll::Ready(Some(Event::Overdue)),
            Next::Blocked(overdue_at) => wake_at = wake_at.min(overdue_at),
            Next::Idle => {}
        }
        if self.client.must_reload() {
            return Poll::Ready(Some(Event::Reload));
        }
        let stalled = self.is_stalled() || self.is_clogged();
        if stalled {
            wake_at = wake_at.min(Instant::now() + STALL_LOOK);
        }
        if self.poll_timer(context, wake_at) {
            return Poll::Ready(Some(Event::Timer));
        }
        if stalled {
            return Poll::Pending;
        }
        if !self.long_gets.is_empty() {
            while let Some(done) = self.long_gets.last_mut() {
                ready!(done.poll(context));
                self.long_gets.pop();
            }
            // Operations that waited for it.
            if self.need == 0 && !self.partial.is_empty() {
                return Poll::Ready(Some(Event::Answered));
            }
        }
        Poll::Ready(self.goes_on.then_some(Event::Answered))
    }

    /// Whether the turn that ended did something that is to be looked at before the next read.
    #[inline]
    fn is_to_look(&self) -> bool {
        !self.long_gets.is_empty()
            || self.awaits_room
            || self.client.has_news()
            || self.timer.deadline().into_std() > self.next_deadline()
    }

    /// Whether the timer fired, which does so at `wake_at` or before.
    fn poll_timer(&mut self, context: &mut Context<'_>, wake_at: Instant) -> bool {
        // Resetting a timer costs more than looking at one, so it is left alone when it fires early enough.
        if self.timer.deadline().into_std() > wake_at {
            self.timer.as_mut().reset(wake_at.into());
            self.timer_waits = false;
        }
        // One that waits is polled again only when it has fired: the task that it wakes stays the same.
        if self.timer_waits && !self.timer.is_elapsed() {
            return false;
        }
        self.timer_waits = self.timer.as_mut().poll(context).is_pending();
        if self.timer_waits {
            return false;
        }
        let next = self.next_deadline();
        self.timer.as_mut().reset(next.into());
        true
    }

    /// Reads, and has what came handled.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Box<Undecided>>, Event>> {
        if !self.partial.is_empty() {
            let missing = self.need.saturating_sub(self.partial.len());
            self.partial.reserve(missing.max(READ_BUFFER_BYTES));
            return Poll::Ready(match ready!(self.reader.poll_read(context, &mut self.partial)) {
                Ok(0) => Err(Event::Ended),
                Ok(count) => {
                    worker::with(Worker::worked);
                    self.full_reads += 1;
                    Ok(self.received_more(count))
                }
                Err(error) => Err(Event::ReadError(error)),
            });
        }
        worker::with(|worker| {
            let mut bytes = worker.buffers.take_read();
            let turned = self.reader.poll_read(context, &mut bytes).map(|read| match read {
                Ok(0) => Err(Event::Ended),
                Ok(_) => {
                    worker.worked();
                    self.full_reads = if bytes.len() < READ_BUFFER_BYTES { 0 } else { self.full_reads + 1 };
                    Ok(self.received(worker, &bytes))
                }
                Err(error) => Err(Event::ReadError(error)),
            });
            worker.buffers.give_read(bytes);
            turned
        })
    }

    /// Handles bytes that came while nothing was left over.
    fn received(&mut self, worker: &Worker, bytes: &[u8]) -> Option<Box<Undecided>> {
        let mut progress = self.turn(worker, bytes);
        self.need = progress.need;
        self.count_read(&progress, bytes.len(), 0);
        let stopped = progress.stopped.take();
        if let Some(rest) = bytes.get(progress.consumed..).filter(|rest| !rest.is_empty())
            && !matches!(stopped, Some(Stopped::Closing))
        {
            self.partial.extend_from_slice(rest);
        }
        self.note_rest(stopped.as_ref());
        check_of(stopped)
    }

    /// Handles what is left over and the `count` bytes that came behind it.
    pub(super) fn received_more(&mut self, count: usize) -> Option<Box<Undecided>> {
        self.goes_on = false;
        if self.partial.len() < self.need {
            self.read_size.came(count);
            return None;
        }
        let mut bytes = std::mem::take(&mut self.partial);
        let mut progress = worker::with(|worker| self.turn(worker, &bytes));
        self.need = progress.need;
        self.count_read(&progress, count, bytes.len() - count);
        if progress.consumed < bytes.len() {
            bytes.drain(..progress.consumed);
            self.partial = bytes;
        }
        let stopped = progress.stopped.take();
        self.note_rest(stopped.as_ref());
        check_of(stopped)
    }

    /// Remembers whether a turn left something to go on with, and whether its answers have to find room first.
    fn note_rest(&mut self, stopped: Option<&Stopped>) {
        let has_rest = matches!(stopped, Some(Stopped::Delivering | Stopped::Answering));
        self.goes_on = has_rest && !self.partial.is_empty();
        self.awaits_room |= matches!(stopped, Some(Stopped::Answering));
    }

    /// Counts `count` bytes that were read behind `before` others, all of which a turn was made of.
    fn count_read(&mut self, progress: &Progress, count: usize, before: usize) {
        self.read_bytes = count;
        let stops_at = progress.stopped_at.saturating_sub(before);
        self.left_unread = progress.stopped.is_some() && self.read_size.leaves_some(count, stops_at);
        self.read_size.came(count);
    }

    /// Whether something has to be done before the next read.
    #[inline]
    fn is_to_wait(&self, is_slow: bool) -> bool {
        is_slow || self.stalling.is_some() || self.full_reads >= FULL_READS_MAX || self.goes_on
    }

    pub(super) async fn after_read(&mut self, mut slow: Option<Box<Undecided>>) {
        while let Some(check) = slow.take() {
            let stopped = self.decide(*check).await;
            self.flush();
            self.end_turn();
            if stopped.is_none() && !self.partial.is_empty() {
                self.need = 0;
                slow = self.received_more(0);
            }
        }
        if let Some(receiver) = &self.stalling {
            self.shared.counters.count_stall();
            let now = Instant::now();
            self.stalled_until = Some(now + receiver.begin_stall(self.read_bytes));
            self.stalled_since = now;
        }
        if self.full_reads >= FULL_READS_MAX || self.goes_on {
            self.full_reads = 0;
            tokio::task::yield_now().await;
        }
    }

    /// Whether reading has to wait for a receiver.
    fn is_stalled(&mut self) -> bool {
        let (Some(until), Some(receiver)) = (self.stalled_until, &self.stalling) else { return false };
        if Instant::now() < until && receiver.is_stalling() {
            return true;
        }
        self.stalled_until = None;
        self.stalling = None;
        self.warn_of_stall(self.stalled_since.elapsed());
        false
    }

    /// Whether what was asked before fills the way to the peer, so that nothing more is asked for now. A peer that does not read
    /// is cut when the write deadline has passed.
    fn is_clogged(&mut self) -> bool {
        self.awaits_room = self.awaits_room && self.client.is_pressured();
        self.awaits_room
    }

    fn next_deadline(&self) -> Instant {
        let due_at = self.keepalive.due_at();
        match (self.auth_deadline, self.expires_at) {
            (None, None) => due_at,
            (one, other) => one.into_iter().chain(other).fold(due_at, Instant::min),
        }
    }

    pub(super) fn timer_fired(&mut self) {
        let now = Instant::now();
        if self.auth_deadline.is_some_and(|deadline| now >= deadline) {
            self.auth_deadline = None;
            self.reject(&Rejection::AuthenticationTimeout);
            tracing::debug!("{} - Authentication Timeout", self.client.label());
            return self.client.close(CloseReason::AuthenticationTimeout);
        }
        if self.expires_at.is_some_and(|ends| now >= ends) {
            self.expires_at = None;
            self.end_by("User Authentication Expired", CloseReason::AuthenticationExpired);
            return self.end_turn();
        }
        if now < self.keepalive.due_at() {
            return;
        }
        tracing::debug!("{} - Client Ping Timer", self.client.label());
        match self.keepalive.beat(now) {
            Beat::Wait => {}
            Beat::Ping => {
                if self.client.is_traced() {
                    self.trace_out("PING", "");
                }
                self.client.queue(encode::ping);
                self.end_turn();
            }
            Beat::Stale => {
                tracing::debug!("{} - Stale Client Connection - Closing", self.client.label());
                self.reject(&Rejection::StaleConnection);
                self.shared.counters.count_stale();
                self.client.close(CloseReason::StaleConnection);
            }
        }
    }
}
