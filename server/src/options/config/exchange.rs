//! `exports` and `imports` of accounts.

use std::time::Duration;

use jetkv_go_compat::{GoDuration, quoted};

use super::report::{Checked, Problem, Report};
use super::typed::{boolean, integer, map, string};
use crate::options::exchange::{ImportTerms, Latency, Market, ResponseType};
use crate::options::grammar::{Map, Node, Value};

/// What all accounts say, to be put together when all of them are known.
#[derive(Default)]
pub(super) struct Wishes {
    stream_exports: Vec<Export>,
    service_exports: Vec<Export>,
    stream_imports: Vec<Import>,
    service_imports: Vec<Import>,
}

/// An export, as it is written.
#[derive(Default)]
struct Export {
    owner: String,
    subject: String,
    accounts: Vec<String>,
    response: ResponseType,
    threshold: Option<Duration>,
    latency: Option<Latency>,
    token_position: usize,
    allow_trace: bool,
}

/// An import, as it is written.
#[derive(Default)]
struct Import {
    owner: String,
    account: String,
    subject: String,
    to: String,
    prefix: String,
    share: bool,
    allow_trace: bool,
}

/// Whether an entry is about a stream or a service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stream,
    Service,
}

fn elements<'n>(node: &'n Node, what: &str) -> Checked<impl Iterator<Item = &'n Node>> {
    match &node.value {
        Value::Array(elements) => Ok(elements.iter()),
        other => Err(Problem::at(node, format!("{what} should be an array, got {}", other.kind()))),
    }
}

fn entries<'n>(node: &'n Node, what: &str) -> Checked<&'n Map> {
    match &node.value {
        Value::Map(entries) => Ok(entries),
        other => {
            let text = format!("{what} Items should be a map with type entry, got {}", other.kind());
            Err(Problem::at(node, text))
        }
    }
}

impl Wishes {
    /// Reads what an account exports.
    pub(super) fn read_exports(&mut self, owner: &str, node: &Node, report: &mut Report) -> Checked<()> {
        for element in elements(node, "Exports")? {
            let Some(read) = report.attempt(|report| export(element, report)) else { continue };
            let Some((kind, export)) = read else { continue };
            let export = Export { owner: owner.to_owned(), ..export };
            match kind {
                Kind::Stream => self.stream_exports.push(export),
                Kind::Service => self.service_exports.push(export),
            }
        }
        Ok(())
    }

    /// Reads what an account imports.
    pub(super) fn read_imports(&mut self, owner: &str, node: &Node, report: &mut Report) -> Checked<()> {
        let first = self.service_imports.len();
        for element in elements(node, "Imports")? {
            let Some(read) = report.attempt(|report| import(element, report)) else { continue };
            let Some((kind, import)) = read else { continue };
            let import = Import { owner: owner.to_owned(), ..import };
            if kind == Kind::Stream {
                self.stream_imports.push(import);
                continue;
            }
            let mut known = self.service_imports.iter().skip(first);
            match known.find(|known| known.to == import.to && known.account == import.account) {
                Some(known) => report.error(Problem::at(
                    element,
                    format!(
                        "Duplicate service import subject {}, previously used in import for account {}, subject {}",
                        quoted(&import.to),
                        quoted(&known.account),
                        quoted(&known.subject)
                    ),
                )),
                None => self.service_imports.push(import),
            }
        }
        Ok(())
    }

    /// Puts together what all accounts say. Everything that is wrong is so at `node`, the block of the accounts.
    pub(super) fn resolve(self, market: &mut Market, has_system: bool, node: &Node, report: &mut Report) {
        for mut wish in self.stream_exports {
            known_accounts("stream", &mut wish, market, node, report);
            report.check(export_stream(wish, market).map_err(|text| Problem::at(node, text)));
        }
        for mut wish in self.service_exports {
            known_accounts("service", &mut wish, market, node, report);
            report.check(export_service(wish, market, has_system).map_err(|text| Problem::at(node, text)));
        }
        for wish in self.stream_imports {
            report.check(import_stream(&wish, market).map_err(|text| Problem::at(node, text)));
        }
        for wish in self.service_imports {
            report.check(import_service(&wish, market).map_err(|text| Problem::at(node, text)));
        }
    }
}

/// Accounts that an export names have to be there. Those that are not are noted and left out.
fn known_accounts(kind: &str, wish: &mut Export, market: &Market, node: &Node, report: &mut Report) {
    wish.accounts.retain(|name| {
        let is_known = market.accounts.iter().any(|(known, _)| known == name);
        if !is_known {
            let text = format!("{} account not defined for {kind} export", quoted(name));
            report.error(Problem::at(node, text));
        }
        is_known
    });
}

fn export_stream(wish: Export, market: &mut Market) -> Result<(), String> {
    let Some(exchange) = market.exchange_mut(&wish.owner) else { return Ok(()) };
    let added = exchange.export_stream(&wish.subject, wish.accounts, wish.token_position);
    added.map_err(|error| format!("Error adding stream export {}: {error}", quoted(&wish.subject)))
}

fn export_service(wish: Export, market: &mut Market, has_system: bool) -> Result<(), String> {
    let Some(exchange) = market.exchange_mut(&wish.owner) else { return Ok(()) };
    let subject = quoted(&wish.subject);
    let export = exchange
        .export_service(&wish.subject, wish.response, wish.accounts, wish.token_position)
        .map_err(|error| format!("Error adding service export {subject}: {error}"))?;
    if let Some(threshold) = wish.threshold.filter(|threshold| !threshold.is_zero()) {
        export.threshold = threshold;
    }
    export.allow_trace |= wish.allow_trace;
    let Some(latency) = wish.latency else { return Ok(()) };
    let place = format!("service latency sampling for {subject}");
    if !has_system {
        return Err(format!("Error adding {place}: system account not setup"));
    }
    let on = quoted(&latency.subject);
    exchange
        .track(&wish.subject, latency)
        .map_err(|error| format!("Error adding {place} on subject {on}: {error}"))
}

fn import_stream(wish: &Import, market: &mut Market) -> Result<(), String> {
    if market.exchange_mut(&wish.account).is_none() {
        return Err(format!("{} account not defined for stream import", quoted(&wish.account)));
    }
    let subjects = (wish.subject.as_str(), wish.to.as_str(), wish.prefix.as_str());
    let terms = ImportTerms { allow_trace: wish.allow_trace, ..ImportTerms::default() };
    market
        .import_stream(&wish.owner, &wish.account, subjects, terms)
        .map_err(|error| format!("Error adding stream import {}: {error}", quoted(&wish.subject)))
}

fn import_service(wish: &Import, market: &mut Market) -> Result<(), String> {
    if market.exchange_mut(&wish.account).is_none() {
        return Err(format!("{} account not defined for service import", quoted(&wish.account)));
    }
    let terms = ImportTerms { share: wish.share, ..ImportTerms::default() };
    market
        .import_service(&wish.owner, &wish.account, (&wish.to, &wish.subject), terms)
        .map_err(|error| format!("Error adding service import {}: {error}", quoted(&wish.subject)))
}

/// Reads an export. `None`: it says neither a stream nor a service.
fn export(node: &Node, report: &mut Report) -> Checked<Option<(Kind, Export)>> {
    let mut reader = ExportReader::default();
    for (key, value) in entries(node, "Export")?.iter() {
        reader.entry(key, value, report)?;
    }
    Ok(reader.kind.map(|kind| (kind, reader.export)))
}

/// What was read of an export so far. What does not belong to a stream is found with whatever stands behind.
#[derive(Default)]
struct ExportReader<'n> {
    kind: Option<Kind>,
    export: Export,
    response: Option<&'n Node>,
    has_threshold: bool,
    latency: Option<&'n Node>,
    trace: Option<&'n Node>,
}

impl<'n> ExportReader<'n> {
    fn entry(&mut self, key: &str, value: &'n Node, report: &mut Report) -> Checked<()> {
        let read = match key.to_ascii_lowercase().as_str() {
            "stream" => self.stream(value),
            "service" => self.service(value),
            "response" | "response_type" => self.response(value),
            "threshold" | "response_threshold" | "response_max_time" | "response_time" => {
                self.threshold(value)
            }
            "latency" => {
                self.latency = Some(value);
                latency(value).and_then(|latency| {
                    self.export.latency = Some(latency);
                    self.service_only(value, "latency")
                })
            }
            "allow_trace" => {
                self.trace = Some(value);
                self.export.allow_trace = boolean(value)?;
                self.service_only(value, "allow_trace")
            }
            "accounts" => {
                let Value::Array(names) = &value.value else {
                    let text = format!(
                        "interface conversion: interface {{}} is {}, not []interface {{}}",
                        value.value.kind()
                    );
                    return Err(Problem::at(value, text));
                };
                for name in names.iter() {
                    self.export.accounts.push(string(name)?.to_owned());
                }
                Ok(())
            }
            "account_token_position" => {
                self.export.token_position = usize::try_from(integer(value)?).unwrap_or(usize::MAX);
                Ok(())
            }
            _ if value.is_used_variable() => Ok(()),
            _ => Err(Problem::unknown_field(value, key)),
        };
        report.check(read);
        Ok(())
    }

    fn stream(&mut self, value: &Node) -> Checked<()> {
        if self.kind == Some(Kind::Service) {
            let text =
                format!("Detected stream {} but already saw a service", quoted(value.value.to_string()));
            return Err(Problem::at(value, text));
        }
        for (found, what) in
            [(self.response, "response"), (self.latency, "latency"), (self.trace, "allow_trace")]
        {
            if let Some(at) = found {
                return Err(Problem::at(at, format!("Detected {what} directive on non-service")));
            }
        }
        let Value::String(subject) = &value.value else {
            let text = format!("Expected stream name to be string, got {}", value.value.kind());
            return Err(Problem::at(value, text));
        };
        self.kind = Some(Kind::Stream);
        self.export.subject.clone_from(subject);
        Ok(())
    }

    fn service(&mut self, value: &Node) -> Checked<()> {
        if self.kind == Some(Kind::Stream) {
            let text =
                format!("Detected service {} but already saw a stream", quoted(value.value.to_string()));
            return Err(Problem::at(value, text));
        }
        let Value::String(subject) = &value.value else {
            let text = format!("Expected service name to be string, got {}", value.value.kind());
            return Err(Problem::at(value, text));
        };
        self.kind = Some(Kind::Service);
        self.export.subject.clone_from(subject);
        Ok(())
    }

    fn service_only(&self, value: &Node, what: &str) -> Checked<()> {
        if self.kind == Some(Kind::Stream) {
            return Err(Problem::at(value, format!("Detected {what} directive on non-service")));
        }
        Ok(())
    }

    fn response(&mut self, value: &'n Node) -> Checked<()> {
        if self.response.replace(value).is_some() {
            return Err(Problem::at(value, "Duplicate response type definition"));
        }
        let Value::String(text) = &value.value else {
            let text = format!("Expected response type to be string, got {}", value.value.kind());
            return Err(Problem::at(value, text));
        };
        self.export.response = match text.to_ascii_lowercase().as_str() {
            "single" | "singleton" => ResponseType::Singleton,
            "stream" => ResponseType::Streamed,
            "chunk" | "chunked" => ResponseType::Chunked,
            _ => return Err(Problem::at(value, format!("Unknown response type: {}", quoted(text)))),
        };
        self.service_only(value, "response")
    }

    fn threshold(&mut self, value: &Node) -> Checked<()> {
        if std::mem::replace(&mut self.has_threshold, true) {
            return Err(Problem::at(value, "Duplicate response threshold detected"));
        }
        let wrong = |got: String| {
            let text = format!("Expected response threshold to be a parseable time duration, got {got}");
            Problem::at(value, text)
        };
        let Value::String(text) = &value.value else { return Err(wrong(value.value.kind().to_owned())) };
        let threshold = GoDuration::parse(text).map_err(|_| wrong(quoted(text)))?;
        self.export.threshold = Some(threshold.as_duration());
        self.service_only(value, "response")
    }
}

/// Reads where measurements go, and how many requests are measured.
fn latency(node: &Node) -> Checked<Latency> {
    const ALL: u8 = 100;
    let entries = match &node.value {
        Value::String(subject) => return Ok(Latency { subject: subject.clone(), sampling: ALL }),
        Value::Map(entries) => entries,
        other => {
            let text = format!("Expected latency entry to be a map/struct or string, got {}", other.kind());
            return Err(Problem::at(node, text));
        }
    };
    let sampling = entries.get("sampling").map_or(Ok(ALL), sampling)?;
    let Some(subject) = entries.get("subject") else {
        return Err(Problem::at(node, "Latency subject required, but missing"));
    };
    let Value::String(text) = &subject.value else {
        return Err(Problem::at(subject, "Expected latency subject to be a string, got string"));
    };
    Ok(Latency { subject: text.clone(), sampling })
}

fn sampling(node: &Node) -> Checked<u8> {
    let number = match &node.value {
        Value::Integer(number) => *number,
        Value::String(text) if text.trim().eq_ignore_ascii_case("headers") => return Ok(0),
        Value::String(text) => {
            let digits = text.strip_suffix('%').unwrap_or(text);
            digits.parse().map_err(|_| {
                let reason = format!("strconv.Atoi: parsing {}: invalid syntax", quoted(digits));
                Problem::at(node, format!("Failed to parse latency sample: {reason}"))
            })?
        }
        other => {
            let text = format!("Expected latency sample to be a string or map/struct, got {}", other.kind());
            return Err(Problem::at(node, text));
        }
    };
    let bad = || Problem::at(node, "bad sampling percentage, should be 1-100");
    u8::try_from(number).ok().filter(|percent| (1..=100).contains(percent)).ok_or_else(bad)
}

/// Reads an import. `None`: it says neither a stream nor a service.
fn import(node: &Node, report: &mut Report) -> Checked<Option<(Kind, Import)>> {
    let mut reader = ImportReader::default();
    for (key, value) in entries(node, "Import")?.iter() {
        reader.entry(key, value, report)?;
    }
    let mut import = reader.import;
    if reader.kind == Some(Kind::Service) && import.to.is_empty() {
        import.to.clone_from(&import.subject);
    }
    Ok(reader.kind.map(|kind| (kind, import)))
}

/// What was read of an import so far.
#[derive(Default)]
struct ImportReader<'n> {
    kind: Option<Kind>,
    import: Import,
    trace: Option<&'n Node>,
}

impl<'n> ImportReader<'n> {
    fn entry(&mut self, key: &str, value: &'n Node, report: &mut Report) -> Checked<()> {
        let read = match key.to_ascii_lowercase().as_str() {
            "stream" if self.kind == Some(Kind::Service) => {
                Err(Problem::at(value, "Detected stream but already saw a service"))
            }
            "stream" => self.origin(Kind::Stream, "Stream", value, report),
            "service" if self.kind == Some(Kind::Stream) => {
                Err(Problem::at(value, "Detected service but already saw a stream"))
            }
            "service" => match self.trace {
                Some(at) => Err(Problem::at(at, "Detected allow_trace directive on a non-stream")),
                None => self.origin(Kind::Service, "Service", value, report),
            },
            "prefix" => {
                string(value)?.clone_into(&mut self.import.prefix);
                Ok(())
            }
            "to" => {
                string(value)?.clone_into(&mut self.import.to);
                let both = self.kind == Some(Kind::Stream) && !self.import.prefix.is_empty();
                let text = "Stream import can not have a 'prefix' and a 'to' property";
                if both { Err(Problem::at(value, text)) } else { Ok(()) }
            }
            "share" => {
                self.import.share = boolean(value)?;
                Ok(())
            }
            "allow_trace" if self.kind == Some(Kind::Service) => {
                Err(Problem::at(value, "Detected allow_trace directive on a non-stream"))
            }
            "allow_trace" => {
                self.trace = Some(value);
                self.import.allow_trace = boolean(value)?;
                Ok(())
            }
            _ if value.is_used_variable() => Ok(()),
            _ => Err(Problem::unknown_field(value, key)),
        };
        report.check(read);
        Ok(())
    }

    /// Reads the account and subject that something is imported from.
    fn origin(&mut self, kind: Kind, what: &str, node: &Node, report: &mut Report) -> Checked<()> {
        if !matches!(node.value, Value::Map(_)) {
            let text = format!("{what} entry should be an account map, got {}", node.value.kind());
            return Err(Problem::at(node, text));
        }
        let (mut account, mut subject) = (String::new(), String::new());
        for (key, value) in map(node)?.iter() {
            match key.to_ascii_lowercase().as_str() {
                "account" => string(value)?.clone_into(&mut account),
                "subject" => string(value)?.clone_into(&mut subject),
                _ if value.is_used_variable() => {}
                _ => report.error(Problem::unknown_field(value, key)),
            }
        }
        if account.is_empty() || subject.is_empty() {
            return Err(Problem::at(node, "Expect an account name and a subject"));
        }
        self.kind = Some(kind);
        (self.import.account, self.import.subject) = (account, subject);
        Ok(())
    }
}
