//! What the system account asks about claims, and how it brings new ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jetkv_go_compat::quoted;
use jetkv_jetstream::OutMsg;
use nkeys::KeyPairType;
use serde::Serialize;

use super::accounts::{install, take_over, tell_connections};
use crate::auth::Operators;
use crate::auth::operators::{Directory, DirectoryError};
use crate::claims::{AccountClaims, Token, is_key};
use crate::events::{self, ServerPart};
use crate::options::{AccountLimits, Deletion};
use crate::state::Shared;

const OK: u16 = 200;
const FAILED: u16 = 500;

/// A request, by its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    /// New claims of this account.
    UpdateOf(String),
    /// New claims of the account that they name.
    Update,
    /// The claims of this account.
    Lookup(String),
    /// The names of all accounts.
    List,
    /// Accounts are to go.
    Delete,
    /// All claims, unless they are those that the asker has.
    Pack,
}

impl Ask {
    fn of(subject: &[u8]) -> Option<Self> {
        let subject = std::str::from_utf8(subject).ok()?;
        let tokens: Vec<&str> = subject.split('.').collect();
        Some(match tokens.as_slice() {
            ["$SYS", "REQ", "ACCOUNT", account, "CLAIMS", "UPDATE"]
            | ["$SYS", "ACCOUNT", account, "CLAIMS", "UPDATE"] => Self::UpdateOf((*account).to_owned()),
            ["$SYS", "REQ", "ACCOUNT", account, "CLAIMS", "LOOKUP"] => Self::Lookup((*account).to_owned()),
            ["$SYS", "REQ", "CLAIMS", "UPDATE"] => Self::Update,
            ["$SYS", "REQ", "CLAIMS", "LIST"] => Self::List,
            ["$SYS", "REQ", "CLAIMS", "DELETE"] => Self::Delete,
            ["$SYS", "REQ", "CLAIMS", "PACK"] => Self::Pack,
            _ => return None,
        })
    }

    /// Whether a server with this directory, or none, answers.
    fn is_served(&self, directory: Option<&Directory>) -> bool {
        matches!(
            (self, directory.map(Directory::is_cache)),
            (Self::UpdateOf(_), _)
                | (_, Some(false))
                | (Self::Update | Self::List | Self::Delete, Some(true))
        )
    }
}

/// Answers a request of the system account in the background; tells whether it is one that is answered.
pub(crate) fn serve(shared: &Arc<Shared>, request: &OutMsg<'_>) -> bool {
    let directory = shared.operators().and_then(Operators::directory);
    let Some(ask) = Ask::of(request.to).filter(|ask| ask.is_served(directory)) else { return false };
    let (reply, body) = (request.reply.to_vec(), request.payload.to_vec());
    let server = Arc::clone(shared);
    shared.in_background(move || {
        let asked = Asked { shared: &server, reply, body };
        asked.answer(&ask);
        server.end_turn();
    });
    true
}

/// What came of a change, for the answer.
struct Outcome {
    account: String,
    message: String,
    error: Option<String>,
}

impl Outcome {
    fn done(account: &str, message: &str) -> Self {
        Self { account: account.to_owned(), message: message.to_owned(), error: None }
    }

    fn failed(account: &str, message: &str, error: impl ToString) -> Self {
        let error = Some(error.to_string());
        Self { account: account.to_owned(), message: message.to_owned(), error }
    }
}

#[derive(Serialize)]
struct Answer {
    server: ServerPart,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

#[derive(Serialize)]
struct Status {
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    code: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

#[derive(Serialize)]
struct Failure {
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    code: u16,
    description: String,
}

#[derive(Serialize)]
struct Names {
    data: Vec<String>,
    server: ServerPart,
}

struct Asked<'a> {
    shared: &'a Arc<Shared>,
    reply: Vec<u8>,
    body: Vec<u8>,
}

impl Asked<'_> {
    fn answer(&self, ask: &Ask) {
        let directory = self.shared.operators().and_then(Operators::directory);
        match (ask, directory) {
            (Ask::UpdateOf(account), Some(directory)) => {
                self.tell(&self.update_of(account, directory));
            }
            (Ask::UpdateOf(account), None) => self.tell(&self.update_in_memory(account)),
            (Ask::Update, Some(directory)) => self.tell(&self.update(directory)),
            (Ask::Lookup(account), Some(directory)) => self.look_up(account, directory),
            (Ask::List, Some(directory)) => self.list(directory),
            (Ask::Delete, Some(directory)) => self.tell(&self.delete(directory)),
            (Ask::Pack, Some(directory)) => self.pack(directory),
            _ => {}
        }
    }

    fn now_s(&self) -> i64 {
        self.shared.clock.wall().secs()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn is_known(&self, account: &str) -> bool {
        self.shared.accounts.by_name(account).is_some_and(|account| account.claimed().is_some())
    }

    /// Whether the operator's own key signed, which signs nothing where it is strict.
    fn is_by_own_key(&self, claims: &AccountClaims) -> bool {
        let options = self.shared.options();
        options.operators.operators.first().is_some_and(|operator| {
            operator.claims.nats.strict_signing_key_usage && operator.claims.sub == claims.iss
        })
    }

    fn validated(&self, claims: &AccountClaims) -> Result<(), String> {
        let issues = claims.issues(self.now_s());
        if issues.block_always() {
            return Err(format!("validation errors: {}", issues.errors()));
        }
        super::translate::check_mappings(claims)
    }

    /// Claims for an account that is named, where accounts are kept in a directory.
    fn update_of(&self, account: &str, directory: &Directory) -> Outcome {
        let of = Words::of(directory);
        let token = self.text();
        let claims = match Token::account(&token) {
            Ok(claims) => claims,
            Err(error) => {
                let shown = if directory.is_cache() { account } else { "n/a" };
                return Outcome::failed(shown, of.failed, error);
            }
        };
        if !directory.is_cache()
            && let Err(error) = self.validated(&claims)
        {
            return Outcome::failed(&claims.sub, of.invalid, error);
        }
        if claims.sub != account {
            return Outcome::failed(account, of.failed, "subject does not match jwt content");
        }
        if self.is_by_own_key(&claims) {
            return Outcome::failed(account, of.failed, STRICT);
        }
        if directory.is_cache() {
            if !self.is_known(account) {
                return Outcome::done(account, of.skipped);
            }
            if let Err(error) = self.validated(&claims) {
                return Outcome::failed(account, of.invalid, error);
            }
        }
        self.save(directory, account, &token, of)
    }

    /// Claims for whatever account they are about.
    fn update(&self, directory: &Directory) -> Outcome {
        let of = Words::of(directory);
        let token = self.text();
        let claims = match Token::account(&token) {
            Ok(claims) => claims,
            Err(error) => return Outcome::failed("n/a", of.failed, error),
        };
        let account = claims.sub.as_str();
        if self.is_by_own_key(&claims) {
            return Outcome::failed(account, of.failed, STRICT);
        }
        if directory.is_cache() && !self.is_known(account) {
            return Outcome::done(account, of.skipped);
        }
        if let Err(error) = self.validated(&claims) {
            return Outcome::failed(account, of.invalid, error);
        }
        self.save(directory, account, &token, of)
    }

    fn save(&self, directory: &Directory, account: &str, token: &str, of: Words) -> Outcome {
        match directory.save(account, token) {
            Err(error) => Outcome::failed(account, of.failed, error),
            Ok(is_new) => {
                if is_new {
                    take_over(self.shared, account);
                }
                Outcome::done(account, of.done)
            }
        }
    }

    /// Claims for an account that is in use, where nothing is kept.
    fn update_in_memory(&self, account: &str) -> Outcome {
        const FAILED: &str = "jwt update resulted in error";
        if self.body.is_empty() {
            return Outcome::failed(account, "jwt update error", "request body is empty");
        }
        let token = self.text();
        let claims = match Token::account(&token) {
            Ok(claims) => claims,
            Err(error) => return Outcome::failed(account, FAILED, error),
        };
        if claims.sub != account {
            return Outcome::failed(account, FAILED, "subject does not match jwt content");
        }
        if !self.is_known(account) {
            return Outcome::done(account, "jwt update skipped");
        }
        match install(self.shared, account, &token) {
            Err(error) => Outcome::failed(account, FAILED, error),
            Ok(_) => Outcome::done(account, "jwt updated"),
        }
    }

    fn look_up(&self, account: &str, directory: &Directory) {
        match directory.load(account) {
            Ok(token) => self.send(token.as_bytes()),
            Err(DirectoryError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                tracing::debug!("DirResolver - Could not find account {}", quoted(account));
                self.send(b"");
            }
            Err(error) => {
                tracing::error!("DirResolver - Error looking up account {}: {error}", quoted(account));
            }
        }
    }

    fn list(&self, directory: &Directory) {
        let data: Vec<String> = directory.all(self.now_s()).into_keys().collect();
        tracing::debug!("list request responded with {} account ids", data.len());
        self.send_json(|server| Names { data, server });
    }

    /// All claims, one a message, and an empty one behind them.
    fn pack(&self, directory: &Directory) {
        if self.body != directory.sum() {
            for (account, token) in directory.all(self.now_s()) {
                self.send(format!("{account}|{token}").as_bytes());
            }
        }
        self.send(b"");
    }

    fn delete(&self, directory: &Directory) -> Outcome {
        let (subject, accounts) = self.accounts_to_delete(directory);
        let accounts = match accounts {
            Ok(accounts) => accounts,
            Err(error) => {
                let message = format!("delete accounts request by {subject} failed");
                return Outcome::failed("", &message, error);
            }
        };
        let (mut count, mut errors) = (0, Vec::new());
        for account in accounts {
            match directory.delete(&account) {
                Err(error) => errors.push(error.to_string()),
                Ok(was_there) => {
                    count += 1;
                    if was_there {
                        self.lock_out(&account);
                    }
                }
            }
        }
        if errors.is_empty() {
            return Outcome::done("", &format!("deleted {count} accounts"));
        }
        let message = format!("deleted {count} accounts, failed for {}", errors.len());
        Outcome::failed("", &message, errors.join("\n"))
    }

    /// Who asks, and for which accounts.
    fn accounts_to_delete(&self, directory: &Directory) -> (String, Result<Vec<String>, String>) {
        let token = match Token::open(&self.text()) {
            Ok(token) => token,
            Err(error) => return (String::new(), Err(error.to_string())),
        };
        let text = |key: &str| token.payload.get(key).and_then(|value| value.as_str()).unwrap_or_default();
        let (subject, issuer) = (text("sub").to_owned(), text("iss"));
        if directory.deletion() == Deletion::Refused {
            return (subject, Err("delete must be enabled in server config".to_owned()));
        }
        if subject != issuer {
            return (subject, Err("not self signed".to_owned()));
        }
        let options = self.shared.options();
        let is_trusted = options.operators.operators.first().is_some_and(|operator| {
            let is_own = operator.claims.sub == issuer && !operator.claims.nats.strict_signing_key_usage;
            is_own || operator.claims.nats.signing_keys.iter().any(|key| key == issuer)
        });
        if !is_trusted {
            return (subject, Err("not trusted".to_owned()));
        }
        let listed = token.payload.pointer("/nats/accounts").and_then(|list| list.as_array());
        let system = self.shared.accounts.system().map(|account| account.name().to_owned());
        let mut accounts = Vec::new();
        for entry in listed.into_iter().flatten() {
            match entry.as_str().filter(|name| is_key(name, KeyPairType::Account)) {
                None => return (subject, Err("malformed request".to_owned())),
                Some(name) if system.as_deref() == Some(name) => {
                    return (subject, Err("not allowed to delete system account".to_owned()));
                }
                Some(name) => accounts.push(name.to_owned()),
            }
        }
        let is_list = listed.is_some();
        (subject, is_list.then_some(accounts).ok_or_else(|| "malformed request".to_owned()))
    }

    /// Nobody comes into an account that was deleted, and whoever is there goes.
    fn lock_out(&self, name: &str) {
        let Some(account) = self.shared.accounts.by_name(name) else { return };
        let Some(claimed) = account.claimed() else { return };
        tracing::debug!("Disable account {name} due to remove");
        let none = AccountLimits {
            max_connections: 0,
            max_subscriptions: 0,
            max_payload_bytes: 0,
            max_leafnodes: 0,
        };
        account.set_limits(none);
        claimed.is_expired.store(true, Ordering::Release);
        account.set_jetstream(None);
        account.services.set_removed(true);
        if let Some(jetstream) = self.shared.jetstream() {
            jetstream.apply_account(&self.shared.accounts, &account);
        }
        tell_connections(self.shared, &account);
    }

    /// Tells in the log and in the answer what came of a change.
    fn tell(&self, outcome: &Outcome) {
        let Outcome { account, message, error } = outcome;
        let of = if account.is_empty() { String::new() } else { format!(" - {account}") };
        match error {
            None => tracing::debug!("{message}{of}"),
            Some(error) => tracing::error!("{message}{of} - {error}"),
        }
        self.send_json(|server| match error {
            None => {
                let (account, message) = (account.clone(), message.clone());
                Answer { server, data: Some(Status { account, code: OK, message }), error: None }
            }
            Some(error) => {
                let (account, description) = (account.clone(), format!("{message} - {error}"));
                Answer { server, data: None, error: Some(Failure { account, code: FAILED, description }) }
            }
        });
    }

    fn send_json<T: Serialize>(&self, make: impl FnOnce(ServerPart) -> T) {
        if self.reply.is_empty() {
            return;
        }
        let answer = make(ServerPart::new(self.shared));
        self.send(&jetkv_go_compat::json::to_vec(&answer));
    }

    fn send(&self, payload: &[u8]) {
        if let Some(system) = self.shared.accounts.system().filter(|_| !self.reply.is_empty()) {
            events::publish(self.shared, &system, &self.reply, payload);
        }
    }
}

const STRICT: &str = "operator requires issuer to be a signing key";

/// How answers begin.
#[derive(Clone, Copy)]
struct Words {
    done: &'static str,
    failed: &'static str,
    invalid: &'static str,
    skipped: &'static str,
}

impl Words {
    fn of(directory: &Directory) -> Self {
        if directory.is_cache() {
            return Self {
                done: "jwt updated cache",
                failed: "jwt update cache resulted in error",
                invalid: "jwt update cache validation failed",
                skipped: "jwt update cache skipped",
            };
        }
        Self {
            done: "jwt updated",
            failed: "jwt update resulted in error",
            invalid: "jwt validation failed",
            skipped: "jwt update skipped",
        }
    }
}
