//! What the server answers on `$SYS.REQ.>`.

use base64::Engine as _;
use jetkv_go_compat::{go_struct, json};
use std::sync::Arc;

use jetkv_jetstream::OutMsg;
use jetkv_protocol::{Headers, subject};
use serde::Serialize;

use super::encoding::Encoding;
use super::model::{PermissionsPart, ServerPart};
use super::pages::{self, PageAnswer, Question};
use super::{advisories, send, stats};
use crate::connections::{CloseReason, ConnectionHandle};
use crate::crossing::REQUEST_INFO;
use crate::options::OptionsError;
use crate::router::{Account, Listed as _, Target};
use crate::state::{ReloadAsk, Shared};

/// Why a client is not told of lame duck mode.
const NO_LAME_DUCK: &str =
    "client does not support Lame Duck Mode or is not ready to receive the notification";

const PREFIX: &[u8] = b"$SYS.REQ.";
/// Where everything that concerns the system account begins.
const SYSTEM_PREFIX: &[u8] = b"$SYS.";
/// Where the system account asks how many subscribe to a subject.
const SUBSCRIBERS: &[u8] = b"$SYS.DEBUG.SUBSCRIBERS";

#[derive(Debug, Serialize)]
struct Answer<T> {
    server: ServerPart,
    data: T,
}

#[derive(Debug, Serialize)]
struct UserInfo {
    user: String,
    account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    account_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    user_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<PermissionsPart>,
    /// What is left of the user's time, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

/// What a request that came through an import says of whoever makes it: nothing but its account, unless the import shares it.
#[derive(Debug, Default)]
struct Introduced {
    user: String,
    account: String,
    user_name: String,
}

go_struct! { Introduced as "ClientInfo" { "user" => user, "acc" => account, "name_tag" => user_name, } }

/// Asks for something to be done to one client.
#[derive(Debug, Default)]
struct KickClient {
    id: u64,
}

go_struct! { KickClient as "KickClientReq" { "cid" => id, } }

/// The same, as whoever is told to leave.
#[derive(Debug, Default)]
struct LeaveClient {
    id: u64,
}

go_struct! { LeaveClient as "LDMClientReq" { "cid" => id, } }

/// Asks how many subscribe to a subject, as servers of a cluster ask each other.
#[derive(Debug, Default)]
struct InterestQuestion {
    account: String,
    subject: String,
    /// In base64.
    queue: Option<String>,
}

go_struct! { InterestQuestion as "accNumSubsReq" {
    "acc" => account, "subject" => subject, "queue" => queue,
} }

#[derive(Debug, Serialize)]
struct ServerId<'a> {
    name: &'a str,
    host: String,
    id: &'a str,
}

/// Whether a subject may be one that requests to the server are made on.
pub(crate) fn is_request(subject: &[u8]) -> bool {
    subject.starts_with(SYSTEM_PREFIX)
}

/// Answers a request that `client` makes in `account`; tells whether it is one that is answered. Without a reply subject nothing is sent.
pub(crate) fn serve(
    shared: &Arc<Shared>,
    client: &dyn ConnectionHandle,
    account: &Arc<Account>,
    request: OutMsg<'_>,
) -> bool {
    if shared.accounts.system().is_none() {
        return false;
    }
    let asker = Asker { shared, account, request };
    let is_answered = !request.reply.is_empty();
    if shared.accounts.is_system(account.id()) {
        shared.system_services.count(request.to, is_answered);
    } else {
        account.services.count(request.to);
    }
    if request.to == SUBSCRIBERS && shared.accounts.is_system(account.id()) {
        asker.answer(|| subscribers(account, request.payload));
        return true;
    }
    let Some(rest) = request.to.strip_prefix(PREFIX) else { return false };
    if shared.accounts.is_system(account.id()) {
        return asker.serve_system(client, rest);
    }
    let imported: &[u8] = match rest {
        b"USER.INFO" => b"$SYS.REQ.USER.x.INFO",
        b"ACCOUNT.PING.STATZ" => b"$SYS.REQ.ACCOUNT.x.STATZ",
        b"ACCOUNT.PING.CONNZ" | b"SERVER.PING.CONNZ" => b"$SYS.REQ.ACCOUNT.x.CONNZ",
        _ => return false,
    };
    shared.system_services.count_import(imported, is_answered);
    match rest {
        b"USER.INFO" => asker.answer(|| user_info(shared, client)),
        // Of other accounts than its own nobody learns anything.
        b"ACCOUNT.PING.STATZ" => asker.ask(Question::about(account.name(), b"STATZ")),
        _ => asker.ask(Question::about(account.name(), b"CONNZ")),
    }
    true
}

/// Whoever asks, and what.
#[derive(Clone, Copy)]
struct Asker<'a> {
    shared: &'a Arc<Shared>,
    account: &'a Account,
    request: OutMsg<'a>,
}

impl Asker<'_> {
    fn serve_system(self, client: &dyn ConnectionHandle, rest: &[u8]) -> bool {
        let tokens: Vec<&[u8]> = rest.split(|byte| *byte == b'.').collect();
        match tokens.as_slice() {
            [b"SERVER", b"PING"] => self.serve_server(b"STATSZ", false),
            [b"SERVER", b"PING", question] => self.serve_server(question, false),
            [b"SERVER", id, question] if *id == self.shared.identity.id.as_bytes() => {
                self.serve_server(question, true)
            }
            [b"ACCOUNT", b"PING", b"STATZ"] => self.known(Some(Question::all_statz())),
            [b"ACCOUNT", b"NSUBS"] => {
                self.tell_interest();
                true
            }
            [b"ACCOUNT", name, b"CONNS"] => {
                self.tell_connections(name);
                true
            }
            [b"ACCOUNT", name, question] => {
                let Ok(name) = std::str::from_utf8(name) else { return false };
                self.known(Question::about(name, question))
            }
            [b"USER", b"INFO"] => {
                self.answer(|| user_info(self.shared, client));
                true
            }
            [b"USER", _, b"INFO"] => {
                self.answer(|| introduced_info(self.shared, client, self.request.headers));
                true
            }
            _ => false,
        }
    }

    /// Serves a question to the server. Only one that names it by its `id` may change something.
    fn serve_server(self, question: &[u8], by_id: bool) -> bool {
        match question {
            b"STATSZ" => stats::answer(self.shared, self.account, self.request),
            b"IDZ" => self.answer(|| ServerId {
                name: &self.shared.identity.name,
                host: self.shared.listening().0,
                id: &self.shared.identity.id,
            }),
            b"KICK" if by_id => self.change(
                |KickClient { id }| id,
                |client| {
                    client.ok_or("no such client or leafnode id")?.close(CloseReason::Kicked);
                    Ok(())
                },
            ),
            b"LDM" if by_id => self.change(
                |LeaveClient { id }| id,
                |client| {
                    let client = client.ok_or("no such client id")?;
                    if self.shared.announce_lame_duck(&client) { Ok(()) } else { Err(NO_LAME_DUCK) }
                },
            ),
            b"RELOAD" if by_id => self.reload(),
            _ => return self.known(Question::to_server(question)),
        }
        true
    }

    /// Asks for a page if the question is known; tells whether it is.
    fn known(self, question: Option<Question<'_>>) -> bool {
        self.ask(question);
        question.is_some()
    }

    fn ask(self, question: Option<Question<'_>>) {
        let Some(question) = question.filter(|_| !self.request.reply.is_empty()) else { return };
        if let Some(page) = pages::answer(self.shared, question, self.request.payload) {
            self.send_page(&page);
        }
    }

    /// Sends an answer in the encoding that the request accepts, unless something is wrong.
    fn send_page(self, page: &PageAnswer) {
        let accepted = Headers::new(self.request.headers).get(b"Accept-Encoding");
        match accepted.and_then(Encoding::accepted).filter(|_| !page.is_error()) {
            None => self.send(page),
            Some(encoding) => {
                let (headers, payload) = encoding.encode(json::to_vec(page));
                send(self.shared, self.account, self.request.reply, headers, &payload);
            }
        }
    }

    fn answer<T: Serialize>(self, make: impl FnOnce() -> T) {
        if !self.request.reply.is_empty() {
            self.send(&make());
        }
    }

    fn send(self, value: &impl Serialize) {
        send(self.shared, self.account, self.request.reply, b"", &json::to_vec(value));
    }

    /// Whether the request is not to be served; says why, if this server is whom it asks.
    fn is_refused(self) -> bool {
        let refusal = pages::refusal(self.shared, "server.EventFilterOptions", self.request.payload);
        if let (Some(Some(refused)), false) = (&refusal, self.request.reply.is_empty()) {
            self.send(refused);
        }
        refusal.is_some()
    }

    /// Does something to the client whose number the request names.
    fn change<T: json::Decode + Default>(
        self,
        id: impl FnOnce(T) -> u64,
        act: impl FnOnce(Option<Arc<dyn ConnectionHandle>>) -> Result<(), &'static str>,
    ) {
        let mut request = T::default();
        if let Err(error) = json::decode_lenient(self.request.payload, &mut request) {
            // Nobody is answered then, as on nats-server (v2.15.2, observed).
            tracing::error!("SYSTEM - Error unmarshalling kick client request: {error}");
            return;
        }
        if self.is_refused() {
            return;
        }
        let id = id(request);
        let client = self.shared.clients().into_iter().find(|client| client.id() == id);
        let result = act(client).map_err(str::to_owned);
        if !self.request.reply.is_empty() {
            self.send_page(&pages::outcome(self.shared, result));
        }
    }

    /// Tells how many subscribe to a subject in an account, if that has connections.
    fn tell_interest(self) {
        if self.request.payload.is_empty() {
            tracing::error!("SYSTEM - request requires a body");
            return;
        }
        match InterestQuestion::read(self.request.payload) {
            Ok((question, queue)) => {
                let named = self.shared.accounts.by_name(&question.account);
                if let Some(account) = named.filter(|account| account.client_count() > 0) {
                    self.answer(|| interest(&account, question.subject.as_bytes(), queue.as_deref()));
                }
            }
            Err(error) => {
                tracing::error!("SYSTEM - Error unmarshalling account nsubs request message: {error}");
            }
        }
    }

    /// Has the configuration read again; the answer comes when that is done.
    fn reload(self) {
        if self.is_refused() {
            return;
        }
        let ask = ReloadAsk::new(self.request.reply);
        if !self.shared.reload_asks.ask(ask) {
            let error = OptionsError::NoFile.to_string();
            self.answer(|| pages::outcome(self.shared, Err(error)));
        }
    }

    /// Tells how many connections an account has, if any.
    fn tell_connections(self, name: &[u8]) {
        let named = std::str::from_utf8(name).ok().and_then(|name| self.shared.accounts.by_name(name));
        if let Some(account) = named.filter(|account| account.client_count() > 0)
            && !self.request.reply.is_empty()
        {
            advisories::send_connections(self.shared, &account, self.account, &[self.request.reply]);
        }
    }
}

impl InterestQuestion {
    /// The question, with the queue group as it is.
    fn read(payload: &[u8]) -> Result<(Self, Option<Vec<u8>>), String> {
        let mut question = Self::default();
        json::decode_lenient(payload, &mut question)?;
        let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text);
        let queue = question.queue.as_deref().map(decode).transpose().map_err(|error| {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                _ => question.queue.as_deref().map_or(0, str::len),
            };
            format!("illegal base64 data at input byte {at}")
        })?;
        Ok((question, queue))
    }
}

/// How many connections' subscriptions match what is asked for: a subject, or a subject and a queue group behind a
/// blank. Without a group those in groups count, too.
fn subscribers(account: &Account, asked: &[u8]) -> usize {
    let asked = String::from_utf8_lossy(asked);
    let mut words = asked.trim().split(' ').map(str::as_bytes);
    interest(account, words.next().unwrap_or_default(), words.next())
}

/// How many connections' subscriptions match a subject: those of a queue group, or all.
fn interest(account: &Account, wanted: &[u8], group: Option<&[u8]>) -> usize {
    let is_literal = !subject::has_wildcard(wanted);
    if is_literal && !subject::is_valid_literal(wanted) {
        return 0;
    }
    let mut count = 0;
    account.for_each_subscription(|sub| {
        let is_wanted = if is_literal {
            // No queue group is asked for by an empty one only where there are wildcards.
            group != Some(b"") && subject::matches(wanted, sub.subject())
        } else {
            subject::is_subset(sub.subject(), wanted)
        };
        let is_client = matches!(sub.target(), Target::Receiver(_) | Target::Shadowed(_));
        count += usize::from(is_client && is_wanted && group.is_none_or(|group| group == sub.queue()));
    });
    count
}

/// What is left of the time until `end`, less what whole seconds leave over, in nanoseconds.
fn left_ns(end: std::time::Instant) -> u64 {
    let left = end.saturating_duration_since(std::time::Instant::now());
    u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)
}

/// What the service tells that others import: of who asks, what they let it know.
fn introduced_info(shared: &Shared, client: &dyn ConnectionHandle, headers: &[u8]) -> Answer<UserInfo> {
    let mut introduced = Introduced::default();
    if let Some(json) = Headers::new(headers).get(REQUEST_INFO.as_bytes())
        && json::decode_lenient(json, &mut introduced).is_err()
    {
        introduced = Introduced::default();
    }
    let Introduced { user, account, user_name } = introduced;
    let account_name = shared.accounts.by_name(&account).map(|account| account.name_tag());
    let Answer { server, data } = user_info(shared, client);
    let account_name = account_name.unwrap_or_default();
    Answer { server, data: UserInfo { user, account, account_name, user_name, ..data } }
}

fn user_info(shared: &Shared, client: &dyn ConnectionHandle) -> Answer<UserInfo> {
    let identity = client.identity();
    let rules = client.rules();
    let account = identity.account.name().to_owned();
    Answer {
        server: ServerPart::new(shared),
        data: UserInfo {
            user_name: identity.claims.as_ref().map(|claims| claims.name.clone()).unwrap_or_default(),
            expires: identity.claims.as_ref().and_then(|claims| claims.expires_at).map(left_ns),
            user: identity.user,
            account_name: identity.account.name_tag(),
            account,
            permissions: rules.map(|rules| PermissionsPart::new(rules.permissions().configured())),
        },
    }
}
