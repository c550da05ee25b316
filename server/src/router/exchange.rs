//! What crosses from one account into another, in force: imported streams and services, and requests that are not answered
//! yet.
//!
//! A subscription to an imported stream has a *shadow* in the exporting account, which delivers to it under the subject of
//! the import. A request to an imported service reaches a subscription of the account itself, [`ImportedService`], and goes
//! on in the exporting account with a reply subject of that account's own, `_R_.>`, which leads back.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use hashbrown::{HashMap, HashSet};
use jetkv_jetstream::stream::Stream;
use jetkv_jetstream::{AccountId, ClientInfo};
use jetkv_protocol::subject;
use parking_lot::{Mutex, RwLock};
use rand::Rng;

use super::account::Account;
use super::receiver::Receiver;
use super::sublist::Listed;
use super::subscription::{Subscription, Target};
use crate::options::{Exchange as ExchangeOptions, ServiceExport, ServiceImport, StreamImport};

/// Prefix of the reply subjects that requests to imported services have in the exporting account.
const REPLY_PREFIX: &[u8] = b"_R_.";
/// Characters that make a reply subject one that nobody can guess, in its two parts.
const PREFIX_DIGITS: usize = 6;
const REPLY_DIGITS: usize = 11;
/// What the random parts are made of.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A service that an account exports.
#[derive(Debug)]
pub struct ExportedService {
    /// The account.
    pub owner: AccountId,
    /// As configured.
    pub options: ServiceExport,
}

/// A service of another account, as a receiver of requests.
#[derive(Debug)]
pub struct ImportedService {
    /// As configured.
    pub options: ServiceImport,
    /// The export.
    pub export: Arc<ExportedService>,
}

/// A stream of another account.
#[derive(Debug)]
pub struct ImportedStream {
    options: StreamImport,
    exporter: Weak<Account>,
}

/// Who imports a stream of another account.
#[derive(Clone)]
pub enum Importer {
    /// A connection.
    Receiver(Arc<dyn Receiver>),
    /// A stream that captures what it is called in its account.
    Stream(Arc<Stream>),
}

/// Who gets what a shadow matches.
#[derive(Debug, Clone)]
pub struct Shadowed {
    /// Who gets it.
    pub to: Importer,
    /// Name of the account of that.
    pub importer: Arc<str>,
    /// What is imported.
    pub import: Arc<ImportedStream>,
}

/// A request that is not answered yet, or not to the end.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub export: Arc<ExportedService>,
    /// The account that the answer goes to.
    pub requester: AccountId,
    /// The subject that it has there.
    pub to: Arc<[u8]>,
    /// When it was last heard of.
    pub since: Instant,
    /// Whether the other account learns who asks.
    pub share: bool,
    /// What is measured of it.
    pub tracked: Option<Arc<Tracked>>,
}

/// A request that is measured.
#[derive(Debug)]
pub(crate) struct Tracked {
    /// Who asks.
    pub requester: Option<ClientInfo>,
    /// When the request came, in nanoseconds since 1970.
    pub start_ns: i64,
    /// When it came.
    pub since: Instant,
    /// The headers that asked for the measurement.
    pub headers: Vec<(String, String)>,
    /// It was told of.
    pub is_told: AtomicBool,
}

/// The open requests to the services of an account, by their reply subjects there.
#[derive(Debug)]
pub struct Responses {
    prefix: Box<[u8]>,
    /// Addresses of the exports whose requests somebody looks after, for answers that come too late.
    watched: Mutex<HashSet<usize>>,
    open: Mutex<HashMap<Arc<[u8]>, Response>>,
}

/// Where the API of JetStream tells of an account.
const API_INFO: &[u8] = b"$JS.API.INFO";

/// What an account has to do with others.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    responses: OnceLock<Arc<Responses>>,
    /// Requests from this account by the subjects of their answers, so that they end with the interest in those.
    waiting: Mutex<HashMap<Arc<[u8]>, Vec<Waiting>>>,
    is_waiting: AtomicBool,
    streams: RwLock<Vec<Arc<ImportedStream>>>,
    has_streams: AtomicBool,
    /// Shadows by the address of the subscription that they deliver to.
    shadows: Mutex<HashMap<usize, Vec<Shadow>>>,
    /// As configured.
    options: RwLock<Arc<ExchangeOptions>>,
    /// Subscriptions of imported services.
    services: Mutex<Vec<Arc<Subscription>>>,
    /// Whether one of them is where the API of JetStream tells of the account.
    has_api: AtomicBool,
}

/// A request, and its reply subject.
pub(crate) type OpenRequest = (Arc<[u8]>, Response);
/// Where a request waits for its answer, and under which subject.
type Waiting = (Arc<Responses>, Arc<[u8]>);
/// A shadow, and the account that it is in.
pub(crate) type Shadow = (Weak<Account>, Arc<Subscription>);

impl ExportedService {
    pub(super) fn new(owner: AccountId, options: ServiceExport) -> Self {
        Self { owner, options }
    }
}

impl Importer {
    /// Number of the connection, or of the stream's client.
    pub(crate) fn id(&self) -> u64 {
        match self {
            Self::Receiver(receiver) => receiver.id(),
            Self::Stream(stream) => stream.client_number(),
        }
    }
}

impl fmt::Debug for Importer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receiver(receiver) => receiver.fmt(f),
            Self::Stream(stream) => write!(f, "Stream({})", stream.name()),
        }
    }
}

impl Shadowed {
    /// The subject that a message has for who gets it.
    pub(crate) fn subject_for(&self, subject: &[u8]) -> Vec<u8> {
        let mut renamed = Vec::new();
        self.import.rename(subject, &mut renamed);
        renamed
    }
}

impl ImportedStream {
    pub(super) fn new(options: StreamImport, exporter: &Arc<Account>) -> Self {
        Self { options, exporter: Arc::downgrade(exporter) }
    }

    /// Whether traces of messages go on in the importing account.
    pub(crate) fn allows_trace(&self) -> bool {
        self.options.allow_trace
    }

    /// Puts the subject that a message has in the importing account behind `out`.
    pub(super) fn rename(&self, subject: &[u8], out: &mut Vec<u8>) {
        match &self.options.transform {
            Some(transform) => transform.apply_to_any(subject, out, || 0),
            None if self.options.keeps_subject => out.extend_from_slice(subject),
            None => out.extend_from_slice(self.options.to.as_bytes()),
        }
    }

    /// The subject in the exporting account of the shadow of a subscription to `wanted`; `None` where they have nothing in
    /// common.
    fn shadow_subject(&self, wanted: &[u8]) -> Option<Vec<u8>> {
        let (from, to) = (self.options.from.as_bytes(), self.options.to.as_bytes());
        if wanted == to {
            return Some(from.to_vec());
        }
        if subject::is_subset(wanted, to) {
            return Some(
                self.back(wanted)
                    .unwrap_or_else(|| if self.options.keeps_subject { wanted } else { from }.to_vec()),
            );
        }
        if !subject::has_wildcard(wanted) {
            return None;
        }
        if subject::is_subset(to, wanted) {
            return Some(from.to_vec());
        }
        let common = overlap(wanted, to);
        subject::is_subset(&common, to).then(|| self.back(&common).unwrap_or(common))
    }

    fn back(&self, subject: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.options.reverse.as_ref()?.apply_to_any(subject, &mut out, || 0);
        Some(out)
    }
}

/// What two patterns have in common, as far as the wildcards of the first say.
fn overlap(wanted: &[u8], to: &[u8]) -> Vec<u8> {
    let to: Vec<&[u8]> = subject::tokens(to).collect();
    let mut tokens: Vec<&[u8]> = subject::tokens(wanted).collect();
    for (token, other) in tokens.iter_mut().zip(&to) {
        if *token == b"*" && *other != b">" {
            *token = other;
        }
    }
    if tokens.last() == Some(&b">".as_slice())
        && let Some(rest) = to.get(tokens.len() - 1..)
        && !rest.is_empty()
    {
        tokens.pop();
        tokens.extend_from_slice(rest);
    }
    tokens.join(&b'.')
}

impl Responses {
    fn new() -> Self {
        let mut prefix = REPLY_PREFIX.to_vec();
        add_digits(PREFIX_DIGITS, &mut prefix);
        prefix.push(b'.');
        Self { prefix: prefix.into(), watched: Mutex::new(HashSet::new()), open: Mutex::new(HashMap::new()) }
    }

    /// Takes a request in; returns its reply subject.
    pub(crate) fn open(&self, response: Response) -> Arc<[u8]> {
        let reply: Arc<[u8]> = self.unused().into();
        self.open.lock().insert(Arc::clone(&reply), response);
        reply
    }

    /// A reply subject that no request has.
    pub(crate) fn unused(&self) -> Vec<u8> {
        let mut reply = self.prefix.to_vec();
        add_digits(REPLY_DIGITS, &mut reply);
        reply
    }

    /// The request with this reply subject.
    pub(crate) fn get(&self, reply: &[u8]) -> Option<Response> {
        self.open.lock().get(reply).cloned()
    }

    /// A request was heard of.
    pub(crate) fn touch(&self, reply: &[u8]) {
        if let Some(response) = self.open.lock().get_mut(reply) {
            response.since = Instant::now();
        }
    }

    /// Takes a request out.
    pub(crate) fn close(&self, reply: &[u8]) -> Option<Response> {
        self.open.lock().remove(reply)
    }

    /// Takes the requests to `export` out that were not answered in time; tells whether others are left.
    pub(crate) fn expire(&self, export: &Arc<ExportedService>) -> (Vec<OpenRequest>, bool) {
        let threshold = export.options.threshold;
        let (mut late, mut are_left) = (Vec::new(), false);
        self.open.lock().retain(|reply, response| {
            if !Arc::ptr_eq(&response.export, export) {
                return true;
            }
            let is_late = response.since.elapsed() >= threshold;
            if is_late {
                late.push((Arc::clone(reply), response.clone()));
            }
            are_left |= !is_late;
            !is_late
        });
        (late, are_left)
    }

    /// Whether nobody looked for late answers to requests of `export` so far; from now on somebody does.
    pub(crate) fn begin_watch(&self, export: &Arc<ExportedService>) -> bool {
        self.watched.lock().insert(Arc::as_ptr(export).addr())
    }

    /// Nobody looks for them any more.
    pub(crate) fn end_watch(&self, export: &Arc<ExportedService>) {
        self.watched.lock().remove(&Arc::as_ptr(export).addr());
    }

    /// The open requests.
    pub(crate) fn all(&self) -> Vec<OpenRequest> {
        self.open.lock().iter().map(|(reply, open)| (Arc::clone(reply), open.clone())).collect()
    }
}

fn add_digits(count: usize, out: &mut Vec<u8>) {
    let mut random = rand::rng();
    for _ in 0..count {
        out.extend(DIGITS.get(random.random_range(0..DIGITS.len())));
    }
}

impl Exchange {
    /// The open requests to services of `account`; what is published to their reply subjects is routed to them from now on.
    pub(super) fn responses(&self, account: &Account) -> Arc<Responses> {
        let responses = self.responses.get_or_init(|| {
            let responses = Arc::new(Responses::new());
            let pattern = [&responses.prefix, b">".as_slice()].concat();
            // The services that are imported have the numbers before.
            let sid = (self.services.lock().len() + 1).to_string();
            let target = Target::Responses(Arc::clone(&responses));
            let sub = Subscription::new(target, &pattern, b"", sid.as_bytes());
            // The pattern is a sound one.
            let _ = account.subscribe(Arc::new(sub));
            responses
        });
        Arc::clone(responses)
    }

    pub(super) fn open_responses(&self) -> Vec<OpenRequest> {
        self.responses.get().map(|responses| responses.all()).unwrap_or_default()
    }

    /// A request waits for an answer on `subject`.
    pub(super) fn wait(&self, subject: &Arc<[u8]>, responses: &Arc<Responses>, reply: &Arc<[u8]>) {
        let mut waiting = self.waiting.lock();
        waiting.entry(Arc::clone(subject)).or_default().push((Arc::clone(responses), Arc::clone(reply)));
        self.is_waiting.store(true, Ordering::Relaxed);
    }

    /// It does so no longer.
    pub(super) fn wait_no_more(&self, subject: &[u8], reply: &[u8]) {
        let mut waiting = self.waiting.lock();
        if let Some(requests) = waiting.get_mut(subject) {
            requests.retain(|(_, known)| **known != *reply);
            if requests.is_empty() {
                waiting.remove(subject);
            }
        }
        if waiting.is_empty() {
            self.is_waiting.store(false, Ordering::Relaxed);
        }
    }

    /// A subscription is gone: requests whose answers nobody waits for any more end. Returns those.
    pub(super) fn end_waits(&self, account: &Account, pattern: &[u8]) -> Vec<Response> {
        if !self.is_waiting.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let subjects: Vec<Arc<[u8]>> = {
            let waiting = self.waiting.lock();
            let covered = waiting.keys().filter(|subject| subject::matches(subject, pattern));
            covered.map(Arc::clone).collect()
        };
        let mut ended = Vec::new();
        for subject in subjects.iter().filter(|subject| !account.has_interest(subject, None)) {
            let requests = self.waiting.lock().remove(&**subject).unwrap_or_default();
            ended.extend(requests.iter().filter_map(|(responses, reply)| responses.close(reply)));
        }
        ended
    }

    /// Replaces what is imported. Subscriptions that are there get other shadows.
    pub(super) fn set_imports(
        &self,
        account: &Account,
        streams: Vec<ImportedStream>,
        services: Vec<ImportedService>,
    ) {
        let subs: Vec<Arc<Subscription>> = (1..)
            .zip(services)
            .map(|(sid, service)| {
                let from = service.options.from.clone();
                let target = Target::Service(Arc::new(service));
                Arc::new(Subscription::new(target, from.as_bytes(), b"", u64::to_string(&sid).as_bytes()))
            })
            .collect();
        let is_api = |sub: &Arc<Subscription>| subject::is_subset(API_INFO, sub.subject());
        self.has_api.store(subs.iter().any(is_api), Ordering::Relaxed);
        let old = std::mem::replace(&mut *self.services.lock(), subs.clone());
        for sub in subs {
            // What is no subject was refused with the configuration.
            let _ = account.subscribe(sub);
        }
        if !old.is_empty() {
            account.unsubscribe_all(old.iter());
        }
        let imported = !streams.is_empty();
        let had_any = self.has_streams.swap(imported, Ordering::Relaxed);
        *self.streams.write() = streams.into_iter().map(Arc::new).collect();
        if !imported && !had_any {
            return;
        }
        let old = std::mem::take(&mut *self.shadows.lock());
        let mut subs = Vec::new();
        account.for_each_subscription(|sub| subs.push(Arc::clone(sub)));
        subs.iter().for_each(|sub| self.add_shadows(account, sub));
        old.into_values().flatten().for_each(|shadow| end_shadow(&shadow));
    }

    /// Whether the account imports from others what tells of its JetStream.
    pub(super) fn imports_api(&self) -> bool {
        self.has_api.load(Ordering::Relaxed)
    }

    /// The exports that imported services lead to.
    pub(super) fn imported_exports(&self) -> Vec<Arc<ExportedService>> {
        let services = self.services.lock();
        let exports = services.iter().filter_map(|sub| match sub.target() {
            Target::Service(service) => Some(Arc::clone(&service.export)),
            _ => None,
        });
        exports.collect()
    }

    pub(super) fn options(&self) -> Arc<ExchangeOptions> {
        Arc::clone(&self.options.read())
    }

    pub(super) fn set_options(&self, options: ExchangeOptions) {
        *self.options.write() = Arc::new(options);
    }

    /// Adds the shadows of a subscription.
    pub(super) fn add_shadows(&self, account: &Account, sub: &Arc<Subscription>) {
        if !self.has_streams.load(Ordering::Relaxed) {
            return;
        }
        let to = match sub.target() {
            Target::Receiver(receiver) | Target::Relay(receiver) => Importer::Receiver(Arc::clone(receiver)),
            Target::Stream(stream) => Importer::Stream(Arc::clone(stream)),
            Target::Shadowed(_) | Target::Service(_) | Target::Responses(_) => return,
        };
        let importer: Arc<str> = account.name().into();
        let mut shadows = Vec::new();
        for import in self.streams.read().iter() {
            let Some(subject) = import.shadow_subject(sub.subject()) else { continue };
            let Some(exporter) = import.exporter.upgrade() else { continue };
            let (to, import) = (to.clone(), Arc::clone(import));
            let shadowed = Box::new(Shadowed { to, importer: Arc::clone(&importer), import });
            let shadow = Subscription::new(Target::Shadowed(shadowed), &subject, sub.queue(), sub.sid());
            let shadow = Arc::new(shadow);
            if exporter.subscribe(Arc::clone(&shadow)).is_ok() {
                shadows.push((Arc::downgrade(&exporter), shadow));
            }
        }
        if !shadows.is_empty() {
            self.shadows.lock().insert(Arc::as_ptr(sub).addr(), shadows);
        }
    }

    /// The shadows of a subscription.
    pub(super) fn shadows(&self, sub: &Arc<Subscription>) -> Vec<Shadow> {
        if !self.has_streams.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.shadows.lock().get(&Arc::as_ptr(sub).addr()).cloned().unwrap_or_default()
    }

    /// Ends the shadows of a subscription; returns them.
    pub(super) fn end_shadows(&self, sub: &Arc<Subscription>) -> Vec<Shadow> {
        if !self.has_streams.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let shadows = self.shadows.lock().remove(&Arc::as_ptr(sub).addr()).unwrap_or_default();
        shadows.iter().for_each(end_shadow);
        shadows
    }
}

fn end_shadow((account, shadow): &Shadow) {
    if let Some(account) = account.upgrade() {
        account.unsubscribe(shadow);
    }
}
