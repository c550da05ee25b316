//! What accounts let others use of theirs, and what they use of others: exports and imports of streams and services.
//!
//! An import is checked against the exports of its account when the configuration is read. Which checks there are, their
//! order and their texts are those of nats-server v2.15.2.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jetkv_go_compat::quoted;
use jetkv_protocol::subject::{collide, has_wildcard, is_subset, is_valid};
use jetkv_protocol::transform::{Transform, TransformError, with_placeholders, with_wildcards};

/// Time within which a service has to answer, unless its export says otherwise.
const RESPONSE_THRESHOLD: Duration = Duration::from_secs(120);
/// Accounts that a search for circles goes through at most.
const SEARCH_ACCOUNTS_MAX: usize = 1024;

/// The exports of an account. Subjects are unique among those of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    /// Streams: what is published on these subjects.
    pub streams: Vec<StreamExport>,
    /// Services: requests that are answered on these subjects.
    pub services: Vec<ServiceExport>,
}

/// The imports of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imports {
    /// Streams of other accounts.
    pub streams: Vec<StreamImport>,
    /// Services of other accounts.
    pub services: Vec<ServiceImport>,
}

/// Who may import. By default everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approval {
    /// Names of the accounts that may. Empty: all.
    pub accounts: BTreeSet<String>,
    /// Token of the subject, counted from one, that has to be the name of the account. 0: none.
    pub token_position: usize,
    /// Whether a permission is needed that the exporting account signed.
    pub needs_activation: bool,
    /// Accounts whose permissions hold no more if they were made at this time (seconds since 1970) or before.
    pub revoked: BTreeMap<String, i64>,
}

/// How something is imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImportTerms {
    /// Of a stream: whether traces of messages go on in the importing account.
    pub allow_trace: bool,
    /// Of a service: whether the exporting account learns who asks.
    pub share: bool,
    /// Whether there is a permission, where one is needed.
    pub is_activated: bool,
}

/// A stream for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamExport {
    /// Subject or pattern.
    pub subject: String,
    /// Who may import it.
    pub approval: Approval,
}

/// A service for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceExport {
    /// Subject or pattern.
    pub subject: String,
    /// Who may import it.
    pub approval: Approval,
    /// How many answers there are to a request.
    pub response: ResponseType,
    /// Time after which an answer is too late.
    pub threshold: Duration,
    /// Measurements of how long requests take, if they are wanted.
    pub latency: Option<Latency>,
    /// Whether traces of messages go on in this account.
    pub allow_trace: bool,
}

/// How many answers there are to a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseType {
    /// One.
    #[default]
    Singleton,
    /// Any number, up to an empty one.
    Streamed,
    /// One in several pieces, up to an empty one.
    Chunked,
}

/// Measurements of how long requests take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Subject, in the exporting account, that they are published on.
    pub subject: String,
    /// Part of the requests that is measured, in percent. 0: those whose headers ask for it.
    pub sampling: u8,
}

/// A stream of another account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamImport {
    /// The exporting account.
    pub account: String,
    /// The subject there.
    pub from: String,
    /// The subject here, as a pattern.
    pub to: String,
    /// From a subject there to one here. `None` where they are the same, or `to` is a literal.
    pub transform: Option<Transform>,
    /// And back.
    pub reverse: Option<Transform>,
    /// Whether a message keeps its subject.
    pub keeps_subject: bool,
    /// Whether traces of messages go on in this account.
    pub allow_trace: bool,
}

/// A service of another account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceImport {
    /// The exporting account.
    pub account: String,
    /// The subject that requests are made on here, as a pattern.
    pub from: String,
    /// The subject that they have there, as a pattern.
    pub to: String,
    /// From a subject here to one there. `None` where they are the same, or `to` is a literal.
    pub transform: Option<Transform>,
    /// Whether a request keeps its subject.
    pub keeps_subject: bool,
    /// Whether the other account learns who asks.
    pub share: bool,
    /// The subject of the export that it is of.
    pub export: String,
}

/// Why something cannot be exported or imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// A subject is none, or has no wildcard where the name of an account is to stand.
    #[error("sublist: invalid subject")]
    Subject,
    /// Measurements cannot be published on a subject.
    #[error("invalid publish subject")]
    PublishSubject,
    /// Only requests with one answer are measured.
    #[error("bad service response type")]
    ResponseType,
    /// The account does not export the service, or not to this one.
    #[error("service import not authorized")]
    ServiceNotAuthorized,
    /// The account does not export the stream, or not to this one.
    #[error("stream import not authorized")]
    StreamNotAuthorized,
    /// A prefix has wildcards.
    #[error("stream import prefix can not contain wildcard tokens")]
    Prefix,
    /// The stream is imported already.
    #[error("stream import already exists")]
    StreamDuplicate,
    /// What is exported would come back.
    #[error("import forms a cycle")]
    Cycle,
    /// Too many accounts import from each other for a circle to be excluded.
    #[error("search cycle depth exhausted")]
    SearchDepth,
    /// Requests on a subject go to a service of that account already.
    #[error(
        "duplicate service import subject {}, previously used in import for account {}, subject {}",
        quoted(.from), quoted(.account), quoted(.to)
    )]
    ServiceDuplicate {
        /// Subject here.
        from: String,
        /// The exporting account.
        account: String,
        /// Subject there.
        to: String,
    },
    /// The subjects here and there do not fit each other.
    #[error(
        "failed to create mapping transform for {kind} import subject from {} to {}: {error}",
        quoted(.from), quoted(.to)
    )]
    Transform {
        /// `service` or `stream`.
        kind: &'static str,
        /// One of them.
        from: String,
        /// The other.
        to: String,
        /// Why.
        error: TransformError,
    },
}

/// What one account exports and imports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// For others.
    pub exports: Exports,
    /// Of others.
    pub imports: Imports,
}

/// All accounts by name, while exports and imports are added.
#[derive(Debug, Default)]
pub(crate) struct Market {
    /// Name and what it exports and imports.
    pub(crate) accounts: Vec<(String, Exchange)>,
}

impl Approval {
    fn new(subject: &str, accounts: Vec<String>, token_position: usize) -> Result<Self, ExchangeError> {
        let named = token_position.checked_sub(1).map(|at| subject.split('.').nth(at));
        if named.is_some_and(|token| token != Some("*")) {
            return Err(ExchangeError::Subject);
        }
        Ok(Self { accounts: accounts.into_iter().collect(), token_position, ..Self::default() })
    }

    /// Whether an account may import. `subject` is what it imports, `None` where that is all that is exported.
    fn admits(&self, account: &str, subject: Option<&str>, is_activated: bool) -> bool {
        if self.token_position > 0 {
            let named = subject.and_then(|subject| subject.split('.').nth(self.token_position - 1));
            return named == Some(account);
        }
        if self.needs_activation {
            return is_activated;
        }
        self.accounts.is_empty() || self.accounts.contains(account)
    }
}

impl Exports {
    /// Who may import a stream; `None` where it is not exported.
    fn stream(&self, subject: &str) -> Option<(&StreamExport, bool)> {
        let exact = self.streams.iter().find(|export| export.subject == subject).map(|export| (export, true));
        exact.or_else(|| {
            let covers = |export: &&StreamExport| is_subset(subject.as_bytes(), export.subject.as_bytes());
            self.streams.iter().find(covers).map(|export| (export, false))
        })
    }

    /// The export that a service is part of, and whether it is all of it.
    fn service(&self, subject: &str) -> Option<(&ServiceExport, bool)> {
        let exact =
            self.services.iter().find(|export| export.subject == subject).map(|export| (export, true));
        exact.or_else(|| {
            let covers = |export: &&ServiceExport| is_subset(subject.as_bytes(), export.subject.as_bytes());
            self.services.iter().find(covers).map(|export| (export, false))
        })
    }
}

impl Exchange {
    /// Adds the export of a stream; one of the same subject is replaced where `accounts` or `token_position` say who may
    /// import it.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub(crate) fn export_stream(
        &mut self,
        subject: &str,
        accounts: Vec<String>,
        token_position: usize,
    ) -> Result<(), ExchangeError> {
        let approval = Approval::new(subject, accounts, token_position)?;
        let streams = &mut self.exports.streams;
        match streams.iter_mut().find(|export| export.subject == subject) {
            Some(known) if approval != Approval::default() => {
                known.approval.accounts.extend(approval.accounts);
                known.approval.token_position = approval.token_position;
            }
            Some(_) => {}
            None => streams.push(StreamExport { subject: subject.to_owned(), approval }),
        }
        Ok(())
    }

    /// Adds the export of a service, with the usual threshold; returns it.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub(crate) fn export_service(
        &mut self,
        subject: &str,
        response: ResponseType,
        accounts: Vec<String>,
        token_position: usize,
    ) -> Result<&mut ServiceExport, ExchangeError> {
        let approval = Approval::new(subject, accounts, token_position)?;
        let services = &mut self.exports.services;
        let known = services.iter().position(|export| export.subject == subject);
        let at = known.unwrap_or_else(|| {
            services.push(ServiceExport {
                subject: subject.to_owned(),
                approval: Approval::default(),
                response,
                threshold: RESPONSE_THRESHOLD,
                latency: None,
                allow_trace: false,
            });
            services.len() - 1
        });
        let Some(export) = services.get_mut(at) else { return Err(ExchangeError::Subject) };
        if response != ResponseType::Singleton {
            export.response = response;
        }
        if approval != Approval::default() {
            export.approval.accounts.extend(approval.accounts);
            export.approval.token_position = approval.token_position;
        }
        export.threshold = RESPONSE_THRESHOLD;
        Ok(export)
    }

    /// Has requests to an exported service measured.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub(crate) fn track(&mut self, service: &str, latency: Latency) -> Result<(), ExchangeError> {
        if !jetkv_protocol::subject::is_valid_publish(latency.subject.as_bytes())
            || self.exports.service(&latency.subject).is_some()
        {
            return Err(ExchangeError::PublishSubject);
        }
        let export = self.exports.services.iter_mut().find(|export| export.subject == service);
        let Some(export) = export else { return Err(ExchangeError::Subject) };
        if export.response != ResponseType::Singleton {
            return Err(ExchangeError::ResponseType);
        }
        export.latency = Some(latency);
        Ok(())
    }
}

impl Market {
    fn exchange(&self, name: &str) -> Option<&Exchange> {
        self.accounts.iter().find(|(known, _)| known == name).map(|(_, exchange)| exchange)
    }

    /// What an account exports and imports, to be added to.
    pub(crate) fn exchange_mut(&mut self, name: &str) -> Option<&mut Exchange> {
        self.accounts.iter_mut().find(|(known, _)| known == name).map(|(_, exchange)| exchange)
    }

    /// Adds the import of a stream `from` the account `exporter`, under the subject `to`, or, with a `prefix`, under its own
    /// behind that.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub(crate) fn import_stream(
        &mut self,
        importer: &str,
        exporter: &str,
        (from, to, prefix): (&str, &str, &str),
        terms: ImportTerms,
    ) -> Result<(), ExchangeError> {
        let exports = &self.exchange(exporter).ok_or(ExchangeError::StreamNotAuthorized)?.exports;
        let approved = |(export, is_all): (&StreamExport, bool)| {
            export.approval.admits(importer, (!is_all).then_some(from), terms.is_activated)
        };
        if !is_valid(from.as_bytes()) || !exports.stream(from).is_some_and(approved) {
            return Err(ExchangeError::StreamNotAuthorized);
        }
        let to = match (prefix, to) {
            ("", "") => from.to_owned(),
            ("", to) => to.to_owned(),
            (prefix, _) if has_wildcard(prefix.as_bytes()) => return Err(ExchangeError::Prefix),
            (prefix, _) => format!("{}.{from}", prefix.strip_suffix('.').unwrap_or(prefix)),
        };
        for subject in [to.as_str(), from] {
            let mut visited = BTreeSet::from([importer.to_owned()]);
            self.check_streams(exporter, subject, &mut visited)?;
        }
        let mut import = StreamImport {
            account: exporter.to_owned(),
            from: from.to_owned(),
            to: to.clone(),
            transform: None,
            reverse: None,
            keeps_subject: false,
            allow_trace: terms.allow_trace,
        };
        if has_wildcard(from.as_bytes()) {
            if to == from {
                import.keeps_subject = true;
            } else {
                let destination = with_placeholders(&to);
                let made = Transform::reversible(from, &destination);
                let failed = |error| transform_failed("stream", from, &to, error);
                import.transform = made.map_err(failed)?;
                import.reverse = Transform::reversed(from, &destination);
                import.to = with_wildcards(&to).0;
            }
        }
        let Some(exchange) = self.exchange_mut(importer) else { return Ok(()) };
        let streams = &mut exchange.imports.streams;
        if streams.iter().any(|known| known.account == exporter && known.from == from) {
            return Err(ExchangeError::StreamDuplicate);
        }
        streams.push(import);
        Ok(())
    }

    /// Adds the import of a service: requests on `from` go to `to` in the account `exporter`.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub(crate) fn import_service(
        &mut self,
        importer: &str,
        exporter: &str,
        (from, to): (&str, &str),
        terms: ImportTerms,
    ) -> Result<(), ExchangeError> {
        if !is_valid(from.as_bytes()) || !is_valid(to.as_bytes()) {
            return Err(ExchangeError::Subject);
        }
        let exports = self.exchange(exporter).map(|exchange| &exchange.exports);
        let Some((export, is_all)) = exports.and_then(|exports| exports.service(to)) else {
            return Err(ExchangeError::ServiceNotAuthorized);
        };
        if !export.approval.admits(importer, (!is_all).then_some(to), terms.is_activated) {
            return Err(ExchangeError::ServiceNotAuthorized);
        }
        let export = export.subject.clone();
        let mut import = ServiceImport {
            account: exporter.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            transform: None,
            keeps_subject: false,
            share: terms.share,
            export,
        };
        let pattern = if has_wildcard(to.as_bytes()) { with_wildcards(from).0 } else { from.to_owned() };
        let mut visited = BTreeSet::from([importer.to_owned()]);
        self.check_services(exporter, &pattern, &mut visited)?;
        let Some(exchange) = self.exchange_mut(importer) else { return Ok(()) };
        let services = &mut exchange.imports.services;
        if let Some(known) = services.iter().find(|known| known.account == exporter && known.from == from) {
            let (account, to) = (exporter.to_owned(), known.to.clone());
            return Err(ExchangeError::ServiceDuplicate { from: from.to_owned(), account, to });
        }
        if has_wildcard(to.as_bytes()) {
            if to == from {
                import.keeps_subject = true;
            } else {
                let there = with_wildcards(to).0;
                let destination = with_placeholders(from);
                // The transform is made from there to here, so that only what is written here holds numbers.
                Transform::reversible(&there, &destination)
                    .map_err(|error| transform_failed("service", from, &there, error))?;
                import.transform = Transform::reversed(&there, &destination);
                import.to = there;
                import.from = pattern;
            }
        }
        services.push(import);
        Ok(())
    }

    /// Whether what `account` is asked on `from` comes back to an account that was visited.
    fn check_services(
        &self,
        account: &str,
        from: &str,
        visited: &mut BTreeSet<String>,
    ) -> Result<(), ExchangeError> {
        if visited.len() >= SEARCH_ACCOUNTS_MAX {
            return Err(ExchangeError::SearchDepth);
        }
        let services = self.exchange(account).map(|exchange| exchange.imports.services.as_slice());
        for import in services.unwrap_or_default() {
            if !collide(from.as_bytes(), import.to.as_bytes()) {
                continue;
            }
            if visited.contains(&import.account) {
                return Err(ExchangeError::Cycle);
            }
            visited.insert(account.to_owned());
            let narrower = is_subset(import.from.as_bytes(), from.as_bytes());
            self.check_services(&import.account, if narrower { &import.from } else { from }, visited)?;
        }
        Ok(())
    }

    /// Whether what `account` exports as `to` comes from an account that was visited.
    fn check_streams(
        &self,
        account: &str,
        to: &str,
        visited: &mut BTreeSet<String>,
    ) -> Result<(), ExchangeError> {
        if visited.len() >= SEARCH_ACCOUNTS_MAX {
            return Err(ExchangeError::SearchDepth);
        }
        let Some(exchange) = self.exchange(account) else { return Ok(()) };
        let covers = |export: &StreamExport| is_subset(to.as_bytes(), export.subject.as_bytes());
        if !exchange.exports.streams.iter().any(covers) {
            return Ok(());
        }
        for import in &exchange.imports.streams {
            if !collide(to.as_bytes(), import.to.as_bytes()) {
                continue;
            }
            if visited.contains(&import.account) {
                return Err(ExchangeError::Cycle);
            }
            visited.insert(account.to_owned());
            let narrower = is_subset(import.to.as_bytes(), to.as_bytes());
            self.check_streams(&import.account, if narrower { &import.to } else { to }, visited)?;
        }
        Ok(())
    }
}

fn transform_failed(kind: &'static str, from: &str, to: &str, error: TransformError) -> ExchangeError {
    ExchangeError::Transform { kind, from: from.to_owned(), to: to.to_owned(), error }
}

impl ResponseType {
    /// nats-server's name of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Singleton => "Singleton",
            Self::Streamed => "Streamed",
            Self::Chunked => "Chunked",
        }
    }
}
