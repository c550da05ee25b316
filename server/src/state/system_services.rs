//! What the server listens on in the system account.

use std::sync::atomic::{AtomicU64, Ordering};

use jetkv_go_compat::base62::short_hash;
use jetkv_protocol::subject;

use super::identity::random_id;

/// The subjects, in the order in which nats-server v2.15.2 numbers them; it changes the order of pages from start to start
/// (observed). `@` stands for the server's id, `#` for the hash of its name.
const SUBJECTS: &[&str] = &[
    "$SYS._INBOX.#.*",
    "$SYS.SERVER.ACCOUNT.*.CONNS",
    "$SYS._INBOX_.@",
    "$SYS.REQ.ACCOUNT.NSUBS",
    "$SYS.SERVER.*.STATSZ",
    "$SYS.SERVER.*.SHUTDOWN",
    "$SYS.SERVER.*.LAMEDUCK",
    "$SYS.ACCOUNT.*.CLAIMS.UPDATE",
    "$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE",
    "$SYS.REQ.SERVER.PING",
];
/// Pages, each asked for from one server and from all.
const PAGES: [&str; 15] = [
    "SUBSZ",
    "CONNZ",
    "EXPVARZ",
    "RAFTZ",
    "STATSZ",
    "VARZ",
    "ACCOUNTZ",
    "HEALTHZ",
    "IPQUEUESZ",
    "PROFILEZ",
    "IDZ",
    "ROUTEZ",
    "GATEWAYZ",
    "LEAFZ",
    "JSZ",
];
const ACCOUNT_SUBJECTS: &[&str] = &[
    "$SYS.REQ.ACCOUNT.*.SUBSZ",
    "$SYS.REQ.ACCOUNT.*.CONNZ",
    "$SYS.REQ.ACCOUNT.*.LEAFZ",
    "$SYS.REQ.ACCOUNT.*.JSZ",
    "$SYS.REQ.ACCOUNT.*.INFO",
    "$SYS.REQ.ACCOUNT.*.STATZ",
    "$SYS.REQ.ACCOUNT.*.CONNS",
    "$SYS.REQ.USER.*.INFO",
    "$SYS.REQ.ACCOUNT.PING.STATZ",
    "$SYS.ACCOUNT.*.LEAFNODE.CONNECT",
    "$SYS.LATENCY.M2.#",
    "$SYS.DEBUG.SUBSCRIBERS",
    "$SYS.REQ.SERVER.@.RELOAD",
    "$SYS.REQ.SERVER.@.KICK",
    "$SYS.REQ.SERVER.@.LDM",
];
const JETSTREAM_SUBJECTS: &[&str] = &[API, "$JS.API.ACCOUNT.PURGE.*"];
const API: &str = "$JS.API.>";
/// Number of the first of them.
const FIRST_SID: u64 = 2;
/// Where users of the system account ask who they are; the connection of the account itself listens there.
const USER_INFO: &str = "$SYS.REQ.USER.INFO";
/// Letters of the token that answers to services are sent by way of.
const ANSWER_TOKEN_LEN: usize = 6;

/// The connection that the server itself listens by, and that of the system account.
const SERVER_CLIENT: u64 = 1;
pub(crate) const SYSTEM_ACCOUNT_CLIENT: u64 = 2;

/// The subscriptions of the server in the system account, and what came on them.
#[derive(Debug)]
pub(crate) struct SystemServices {
    listed: Vec<Listed>,
    /// How many of those are there without JetStream.
    without_jetstream: usize,
    user_info: Listed,
    /// What answers pass on their way from the system account into another.
    answers: Listed,
    last_sid: AtomicU64,
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Listed {
    pub subject: String,
    pub sid: u64,
    pub client: u64,
    asked: AtomicU64,
}

impl Listed {
    fn new(subject: String, sid: u64, client: u64) -> Self {
        Self { subject, sid, client, asked: AtomicU64::new(0) }
    }

    /// Messages that came.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }
}

impl SystemServices {
    /// Those of the server with that id and name.
    pub(super) fn new(server_id: &str, server_name: &str) -> Self {
        let pages = PAGES
            .iter()
            .flat_map(|page| [format!("$SYS.REQ.SERVER.@.{page}"), format!("$SYS.REQ.SERVER.PING.{page}")]);
        let owned = |subjects: &'static [&str]| subjects.iter().map(|subject| (*subject).to_owned());
        let (hash, sids) = (short_hash(server_name), FIRST_SID..);
        let all =
            owned(SUBJECTS).chain(pages).chain(owned(ACCOUNT_SUBJECTS)).chain(owned(JETSTREAM_SUBJECTS));
        let listed: Vec<Listed> = all
            .zip(sids)
            .map(|(subject, sid)| {
                Listed::new(subject.replace('@', server_id).replace('#', &hash), sid, SERVER_CLIENT)
            })
            .collect();
        let token: String = random_id().chars().take(ANSWER_TOKEN_LEN).collect();
        Self {
            without_jetstream: listed.len() - JETSTREAM_SUBJECTS.len(),
            user_info: Listed::new(USER_INFO.to_owned(), 1, SYSTEM_ACCOUNT_CLIENT),
            answers: Listed::new(format!("_R_.{token}.>"), 2, SYSTEM_ACCOUNT_CLIENT),
            last_sid: AtomicU64::new(listed.last().map_or(0, |last| last.sid)),
            listed,
        }
    }

    /// The number of a further subscription.
    pub(crate) fn next_sid(&self) -> u64 {
        self.last_sid.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Those that are there while JetStream is on, or after it was turned off, or without it. When it is turned off, only
    /// the first of its own stays (nats-server v2.15.2, observed).
    pub(crate) fn list(&self, is_on: bool, was_on: bool) -> impl Iterator<Item = &Listed> {
        let count = if is_on { self.listed.len() } else { self.without_jetstream + usize::from(was_on) };
        let answers = (self.answers.asked() > 0).then_some(&self.answers);
        self.listed.iter().take(count).chain([&self.user_info]).chain(answers)
    }

    /// Counts a message of a user of the system account.
    pub(crate) fn count(&self, to: &[u8], is_answered: bool) {
        if to == USER_INFO.as_bytes() {
            self.user_info.count();
            self.count_import(b"$SYS.REQ.USER.x.INFO", is_answered);
            return;
        }
        self.count_listed(to);
    }

    /// Counts a message of another account, which reaches the system account under the name `to`.
    pub(crate) fn count_import(&self, to: &[u8], is_answered: bool) {
        self.count_listed(to);
        if is_answered {
            self.count_answer();
        }
    }

    /// Counts an answer into another account.
    pub(crate) fn count_answer(&self) {
        self.answers.count();
    }

    /// Counts a request of the API of JetStream that the system account gets, which are all but those that consumers and
    /// streams themselves take.
    pub(crate) fn count_api(&self) {
        if let Some(api) = self.listed.get(self.without_jetstream) {
            api.count();
        }
    }

    fn count_listed(&self, to: &[u8]) {
        let matching = self.listed.iter().filter(|listed| subject::matches(to, listed.subject.as_bytes()));
        matching.for_each(Listed::count);
    }
}

#[cfg(test)]
mod tests {
    use super::SystemServices;

    #[test]
    fn there_are_as_many_as_nats_server_has() {
        let services = SystemServices::new("NABC", "n1");
        assert_eq!((services.list(false, false).count(), services.list(true, true).count()), (56, 58));
        let last = services
            .list(true, true)
            .filter(|listed| listed.subject.starts_with("$JS"))
            .map(|listed| listed.sid);
        assert_eq!(last.collect::<Vec<_>>(), [57, 58]);
        assert_eq!(services.next_sid(), 59);
        let has = |subject: &str| services.list(true, true).any(|listed| listed.subject == subject);
        assert!(has("$SYS.LATENCY.M2.fjFyEjc1") && has("$SYS.REQ.SERVER.NABC.KICK"));
    }

    #[test]
    fn what_comes_is_counted_where_it_comes() {
        let services = SystemServices::new("NABC", "n1");
        let asked = |services: &SystemServices, subject: &str| {
            let found = services
                .list(true, true)
                .find(|listed| listed.subject == subject)
                .map(|listed| listed.asked());
            found.unwrap_or_default()
        };
        services.count(b"$SYS.REQ.ACCOUNT.PING.STATZ", true);
        services.count(b"$SYS.REQ.USER.INFO", true);
        assert_eq!(asked(&services, "$SYS.REQ.ACCOUNT.PING.STATZ"), 1);
        assert_eq!(asked(&services, "$SYS.REQ.ACCOUNT.*.STATZ"), 1);
        assert_eq!(asked(&services, "$SYS.REQ.USER.INFO"), 1);
        assert_eq!(asked(&services, "$SYS.REQ.USER.*.INFO"), 1);
        assert_eq!(services.list(true, true).count(), 59, "answers have come");
        services.count_api();
        assert_eq!(asked(&services, "$JS.API.>"), 1);
        assert_eq!(asked(&services, "$JS.API.ACCOUNT.PURGE.*"), 0);
    }
}
