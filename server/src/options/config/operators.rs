//! Operators, and where their accounts are found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jetkv_go_compat::{GoDuration, os_text, quoted};
use nkeys::KeyPairType;

use super::Draft;
use super::report::{Checked, Problem, Report};
use super::typed::{boolean, integer, string};
use crate::claims::{Token, is_key};
use crate::options::defaults;
use crate::options::grammar::{Map, Node, Value};
use crate::options::operator_model::{Deletion, ResolverOptions, TrustedOperator};

/// What every token begins with.
const TOKEN_START: &str = "eyJ";

/// Reads a key of operators; tells whether it is one.
pub(super) fn read(key: &str, node: &Node, draft: &mut Draft, report: &mut Report) -> Checked<bool> {
    let operators = &mut draft.options.operators;
    match key {
        "operator" | "operators" | "roots" | "root" | "root_operators" | "root_operator" => {
            read_operators(node, draft, report);
        }
        "resolver" | "account_resolver" | "accounts_resolver" => {
            operators.resolver = resolver(node, report)?;
            if operators.resolver.is_none() {
                let text = "error parsing account resolver, should be MEM or  URL(\"url\") or a map containing dir and \
                            type state=[FULL|CACHE])";
                return Err(Problem::at(node, text));
            }
        }
        "resolver_preload" => preload(node, draft, report)?,
        "resolver_pinned_accounts" => {
            let names = list(node, "resolver_pinned_accounts", report)?;
            operators.pinned_accounts = Some(names.into_iter().collect::<BTreeSet<_>>());
        }
        "resolver_tls" => operators.resolver_tls = Some(super::tls::read_remote(node)?),
        "trusted" | "trusted_keys" => {
            let keys = list(node, "trusted", report)?;
            for key in keys.iter().filter(|key| !is_key(key, KeyPairType::Operator)) {
                let key = quoted(key);
                let text = format!("trust key {key} required to be a valid public operator nkey");
                report.error(Problem::at(node, text));
            }
            operators.trusted_keys = Some(keys);
        }
        "default_sentinel" => operators.default_sentinel = super::typed::text(node)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn read_operators(node: &Node, draft: &mut Draft, report: &mut Report) {
    let unsupported =
        |kind: &str| Problem::at(node, format!("error parsing operators: unsupported type {kind}"));
    let files = match &node.value {
        Value::String(file) => vec![file.clone()],
        Value::Array(elements) => {
            let mut files = Vec::new();
            for element in elements.iter() {
                let Value::String(file) = &element.value else {
                    report.error(unsupported("*conf.token where string is expected"));
                    break;
                };
                files.push(file.clone());
            }
            files
        }
        other => {
            report.error(unsupported(other.kind()));
            Vec::new()
        }
    };
    let options = &mut draft.options;
    options.operators.operators.clear();
    for file in files {
        match operator(&file) {
            Ok(operator) => options.operators.operators.push(operator),
            Err(error) => {
                report.error(Problem::at(node, format!("error parsing operator JWT: {error}")));
            }
        }
    }
    if let [operator] = options.operators.operators.as_slice() {
        // A `resolver` and a `system_account` of the configuration go before the operator's own.
        let url = operator.claims.nats.account_server_url.trim();
        let url = ResolverOptions::Url(with_slash(format!("{url}/accounts")));
        options.operators.resolver.get_or_insert(url);
        let system = &operator.claims.nats.system_account;
        if options.system_account.is_none() && !system.is_empty() {
            options.system_account = Some(system.clone());
        }
    }
}

/// An operator by the file that has its claims, or by these themselves.
fn operator(file: &str) -> Result<TrustedOperator, String> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(_) if file.starts_with(TOKEN_START) => file.to_owned(),
        Err(error) => return Err(format!("open {file}: {}", os_text(&error))),
    };
    let token = undecorated(&text).to_owned();
    let claims = Token::operator(&token).map_err(|error| error.to_string())?;
    Ok(TrustedOperator { token, claims })
}

/// The token between two lines of dashes, or all of the text.
fn undecorated(text: &str) -> &str {
    let is_rule = |line: &str| {
        let line = line.trim();
        line.len() > 6 && line.starts_with("---") && line.ends_with("---")
    };
    let is_token = |line: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.=".contains(&byte);
        !line.is_empty() && line.bytes().all(is_part)
    };
    let lines: Vec<&str> = text.lines().collect();
    let decorated = lines.windows(3).find_map(|window| match window {
        [first, token, last] if is_rule(first) && is_token(token) && is_rule(last) => Some(*token),
        _ => None,
    });
    decorated.unwrap_or_else(|| text.trim())
}

fn with_slash(mut url: String) -> String {
    if !url.ends_with('/') {
        url.push('/');
    }
    url
}

/// A text, or several.
fn list(node: &Node, what: &str, report: &mut Report) -> Checked<Vec<String>> {
    super::typed::strings(node, what, report)
}

fn preload(node: &Node, draft: &mut Draft, report: &mut Report) -> Checked<()> {
    let Value::Map(entries) = &node.value else {
        return Err(Problem::at(node, "preload should be a map of account_public_key:account_jwt"));
    };
    let preloads = &mut draft.options.operators.preloads;
    preloads.clear();
    for (account, value) in entries.iter() {
        let Value::String(token) = &value.value else {
            report.error(Problem::at(value, "preload map value should be a string JWT"));
            continue;
        };
        if Token::account(token).is_err() {
            report.error(Problem::at(value, "invalid account JWT"));
            continue;
        }
        preloads.insert(account.to_owned(), token.clone());
    }
    Ok(())
}

fn resolver(node: &Node, report: &mut Report) -> Checked<Option<ResolverOptions>> {
    match &node.value {
        Value::String(text) => Ok(resolver_by_name(text)),
        Value::Map(entries) => resolver_block(node, entries, report),
        other => {
            let text = format!("error parsing operator resolver, wrong type {}", other.kind());
            Err(Problem::at(node, text))
        }
    }
}

/// `MEMORY`, wherever it stands, or `URL(...)`.
fn resolver_by_name(text: &str) -> Option<ResolverOptions> {
    let upper = text.to_ascii_uppercase();
    if upper.contains("MEM") {
        return Some(ResolverOptions::Memory);
    }
    let after = text.get(upper.find("URL")? + 3..)?;
    let Some(inner) = after.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(inner, _)| inner)
    else {
        return Some(ResolverOptions::Url(with_slash(String::new())));
    };
    let url = inner.trim().trim_matches('"').trim();
    (!url.contains([' ', '"'])).then(|| ResolverOptions::Url(with_slash(url.to_owned())))
}

/// What a block says, before it is known what kind it is.
struct Block {
    kind: String,
    dir: String,
    limit: i64,
    allow_delete: bool,
    hard_delete: Option<bool>,
    ttl: Duration,
    interval: Duration,
    timeout: Duration,
}

fn resolver_block(node: &Node, entries: &Map, report: &mut Report) -> Checked<Option<ResolverOptions>> {
    let block = Block::read(node, entries)?;
    let dir = PathBuf::from(&block.dir);
    let mut refuse = |is_wrong: bool, text: &str| {
        if is_wrong {
            report.error(Problem::at(node, text));
        }
    };
    match block.kind.to_ascii_uppercase().as_str() {
        "MEM" | "MEMORY" => Ok(Some(ResolverOptions::Memory)),
        "FULL" => {
            let is_nowhere = block.dir.is_empty();
            refuse(is_nowhere, "dir has no value and needs to point to a directory");
            refuse(!is_usable(&dir), "dir needs to point to an accessible directory");
            refuse(!block.ttl.is_zero(), "FULL does not accept ttl");
            let is_idle = block.hard_delete.is_some() && !block.allow_delete;
            refuse(is_idle, "hard_delete has no effect without delete");
            refuse(is_nowhere, "mkdir : no such file or directory");
            let deletion = match (block.allow_delete, block.hard_delete) {
                (false, _) => Deletion::Refused,
                (true, Some(true)) => Deletion::Gone,
                (true, _) => Deletion::Renamed,
            };
            let (limit, timeout) = (block.limit, block.timeout);
            let interval = or_default(block.interval, defaults::RESOLVER_INTERVAL);
            Ok(Some(ResolverOptions::Full { dir, limit, interval, deletion, timeout }))
        }
        "CACHE" => {
            let is_nowhere = block.dir.is_empty();
            refuse(is_nowhere, "dir has no value and needs to point to a directory");
            refuse(!is_usable(&dir), "dir needs to point to an accessible directory");
            refuse(!block.interval.is_zero(), "CACHE does not accept sync");
            refuse(block.allow_delete, "CACHE does not accept allow_delete");
            refuse(block.hard_delete.is_some(), "CACHE does not accept hard_delete");
            refuse(is_nowhere, "mkdir : no such file or directory");
            let (limit, timeout) = (block.limit, block.timeout);
            let ttl = or_default(block.ttl, defaults::RESOLVER_TTL);
            Ok(Some(ResolverOptions::Cache { dir, limit, ttl, timeout }))
        }
        _ => Ok(None),
    }
}

fn or_default(value: Duration, default: Duration) -> Duration {
    if value.is_zero() { default } else { value }
}

/// Whether a directory can be used, or be made.
fn is_usable(dir: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(dir).map_or(true, |found| found.is_dir() && found.permissions().mode() & 0o200 != 0)
}

impl Block {
    fn read(resolver: &Node, entries: &Map) -> Checked<Self> {
        let time = |key: &str| match entries.get(key) {
            Some(node) => GoDuration::parse(string(node)?)
                .map(|time| time.as_duration())
                .map_err(|error| Problem::at(resolver, error.to_string())),
            None => Ok(Duration::ZERO),
        };
        let text = |key: &str| entries.get(key).map_or(Ok(""), string).map(str::to_owned);
        Ok(Self {
            kind: text("type")?,
            dir: text("dir")?,
            limit: entries.get("limit").map_or(Ok(0), integer)?,
            allow_delete: entries.get("allow_delete").map_or(Ok(false), boolean)?,
            hard_delete: entries.get("hard_delete").map(boolean).transpose()?,
            ttl: time("ttl")?,
            interval: time("interval")?,
            timeout: or_default(time("timeout")?, defaults::RESOLVER_TIMEOUT),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_may_stand_between_lines_of_dashes() {
        for text in [
            "eyJ.a.b\n",
            "-----BEGIN NATS OPERATOR JWT-----\neyJ.a.b\n------END NATS OPERATOR JWT------\n",
            "\n\n-----BEGIN X-----\r\neyJ.a.b\r\n------END X------\r\n*** words ***",
        ] {
            assert_eq!(undecorated(text), "eyJ.a.b", "{text}");
        }
    }

    #[test]
    fn resolvers_have_names() {
        let url = |url: &str| Some(ResolverOptions::Url(url.to_owned()));
        for (text, resolver) in [
            ("MEMORY", Some(ResolverOptions::Memory)),
            ("mem", Some(ResolverOptions::Memory)),
            ("URL(http://127.0.0.1:1/jwt/v1/accounts)", url("http://127.0.0.1:1/jwt/v1/accounts/")),
            ("url( \"http://h/a/\" )", url("http://h/a/")),
            ("URL", url("/")),
            ("directory", None),
        ] {
            assert_eq!(resolver_by_name(text), resolver, "{text}");
        }
    }
}
