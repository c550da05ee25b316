//! What is wrong with claims whose signature is right. Texts and order are those of nats-server v2.15.2.

mod exchange;

use std::collections::BTreeMap;

use jetkv_go_compat::quoted;
use nkeys::KeyPairType;

use super::model::{
    Account, AccountClaims, AuthorizationResponse, Claims, ExternalAuthorization, Kind, Mapping,
    OperatorClaims, Permission, Permissions, Trace, User, UserClaims, subject_issue,
};
use super::operator::Operator;
use super::sources;
use super::token::is_key;

/// Longest description of an account or export, in bytes.
const INFO_BYTES_MAX: usize = 8 * 1024;

/// One thing that is wrong with claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// What.
    pub text: String,
    /// Whether the claims cannot be used.
    pub is_error: bool,
    /// Whether it is only that they hold no more, or not yet.
    pub is_time: bool,
}

/// What is wrong with claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issues(pub Vec<Issue>);

impl Issues {
    pub(super) fn error(&mut self, text: impl Into<String>) {
        self.0.push(Issue { text: text.into(), is_error: true, is_time: false });
    }

    fn time(&mut self, text: &str) {
        self.0.push(Issue { text: text.to_owned(), is_error: false, is_time: true });
    }

    fn warning(&mut self, text: &str) {
        self.0.push(Issue { text: text.to_owned(), is_error: false, is_time: false });
    }

    /// Whether the claims cannot be used now.
    pub fn block(&self) -> bool {
        self.0.iter().any(|issue| issue.is_error || issue.is_time)
    }

    /// Whether they cannot be used at any time.
    pub fn block_always(&self) -> bool {
        self.0.iter().any(|issue| issue.is_error)
    }

    /// The errors, as Go writes a list of them.
    pub fn errors(&self) -> String {
        let texts: Vec<&str> =
            self.0.iter().filter(|issue| issue.is_error).map(|issue| issue.text.as_str()).collect();
        format!("[{}]", texts.join(" "))
    }
}

impl<N> Claims<N> {
    pub(super) fn check_times(&self, now_s: i64, issues: &mut Issues) {
        if self.exp > 0 && now_s > self.exp {
            issues.time("claim is expired");
        }
        if self.nbf > 0 && self.nbf > now_s {
            issues.time("claim is not yet valid");
        }
    }
}

impl OperatorClaims {
    /// What is wrong with the claims at `now_s`, in seconds since 1970.
    pub fn issues(&self, now_s: i64) -> Issues {
        let mut issues = Issues::default();
        self.check_times(now_s, &mut issues);
        let Operator { signing_keys, system_account, .. } = &self.nats;
        for key in signing_keys.iter().filter(|key| !is_key(key, KeyPairType::Operator)) {
            issues.error(format!("{key} is not an operator public key"));
        }
        if !system_account.is_empty() && !Kind::is_account_key(system_account) {
            issues.error(format!("{system_account} is not an account public key"));
        }
        if let Err(error) = self.nats.asserted_version() {
            issues.error(format!("assert server version error: {error}"));
        }
        issues
    }
}

impl Operator {
    /// The oldest version that a server may have, as three numbers; all zero where it is not said.
    ///
    /// # Errors
    /// It is said in a way that nobody understands; nats-server's text.
    pub fn asserted_version(&self) -> Result<[i64; 3], String> {
        let text = &self.assert_server_version;
        if text.is_empty() {
            return Ok([0; 3]);
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [major, minor, update] = parts.as_slice() else {
            return Err("asserted server version must be of the form <major>.<minor>.<update>".to_owned());
        };
        let number = |part: &str| {
            part.parse::<i64>().map_err(|_| format!("asserted server version cant parse {part} to int"))
        };
        let version = [number(major)?, number(minor)?, number(update)?];
        if version.iter().any(|part| *part < 0) {
            return Err(format!("asserted server version can'b contain negative values: {text}"));
        }
        Ok(version)
    }
}

impl UserClaims {
    /// What is wrong with the claims at `now_s`, in seconds since 1970.
    pub fn issues(&self, now_s: i64) -> Issues {
        let mut issues = Issues::default();
        self.check_times(now_s, &mut issues);
        self.nats.check(&mut issues);
        if !self.nats.issuer_account.is_empty() && !Kind::is_account_key(&self.nats.issuer_account) {
            issues.error("account_id is not an account public key");
        }
        issues
    }
}

impl Claims<AuthorizationResponse> {
    /// What is wrong with an answer at `now_s`, in seconds since 1970.
    pub fn issues(&self, now_s: i64) -> Issues {
        let mut issues = Issues::default();
        let AuthorizationResponse { jwt, error, issuer_account } = &self.nats;
        if !is_key(&self.sub, KeyPairType::User) {
            issues.error("Subject must be a user public key");
        }
        if !is_key(&self.aud, KeyPairType::Server) {
            issues.error("Audience must be a server public key");
        }
        if error.is_empty() && jwt.is_empty() {
            issues.error("Error or Jwt is required");
        }
        if !error.is_empty() && !jwt.is_empty() {
            issues.error("Only Error or Jwt can be set");
        }
        if !issuer_account.is_empty() && !is_key(issuer_account, KeyPairType::Account) {
            issues.error("issuer_account is not an account public key");
        }
        self.check_times(now_s, &mut issues);
        issues
    }
}

impl User {
    fn check(&self, issues: &mut Issues) {
        check_permissions(&self.publish, &self.subscribe, issues);
        for network in self.src.iter().filter(|network| !sources::is_network(network)) {
            issues.error(format!("invalid cidr {} in user src limits", quoted(network)));
        }
        for range in &self.times {
            for (what, text) in [("start", &range.start), ("end", &range.end)] {
                if text.is_empty() {
                    issues.error(format!("time ranges {what} must contain a {}", what));
                } else if !sources::is_time_of_day(text) {
                    issues.error(format!("{what} in time range is invalid {}", quoted(text)));
                }
            }
        }
        if !self.times_location.is_empty() && !sources::is_location(&self.times_location) {
            let name = &self.times_location;
            issues.error(format!("could not parse iana time zone by name: unknown time zone {name}"));
        }
    }
}

/// Subscriptions come first, as on nats-server.
fn check_permissions(publish: &Permission, subscribe: &Permission, issues: &mut Issues) {
    for (permission, may_queue) in [(subscribe, true), (publish, false)] {
        for text in permission.allow.iter().chain(&permission.deny) {
            let words: Vec<&str> = text.split(' ').collect();
            match words.as_slice() {
                [subject] => subject_issue(subject, issues),
                [subject, queue] => {
                    subject_issue(subject, issues);
                    subject_issue(queue, issues);
                    if !may_queue {
                        issues
                            .error(format!("Permission Subject \"{text}\" is not allowed to contain queue"));
                    }
                }
                _ => issues.error(format!("Permission Subject \"{text}\" contains too many spaces")),
            }
        }
    }
}

impl AccountClaims {
    /// What is wrong with the claims at `now_s`, in seconds since 1970.
    pub fn issues(&self, now_s: i64) -> Issues {
        let mut issues = Issues::default();
        self.check_times(now_s, &mut issues);
        self.nats.check(&self.sub, &mut issues);
        if Kind::is_account_key(&self.iss) && !self.nats.limits.is_empty() {
            issues.warning("self-signed account JWTs shouldn't contain operator limits");
        }
        issues
    }
}

impl Account {
    fn check(&self, own_key: &str, issues: &mut Issues) {
        exchange::check_imports(&self.imports, own_key, issues);
        exchange::check_exports(&self.exports, issues);
        if self.limits.tiered_limits.contains_key("") {
            issues.error("Tiered JetStream Limits can not contain a blank \"\" tier name");
        }
        let Permissions { publish, subscribe, .. } = &self.default_permissions;
        check_permissions(publish, subscribe, issues);
        check_mappings(&self.mappings, issues);
        self.authorization.check(issues);
        if let Some(trace) = &self.trace {
            trace.check(issues);
        }
        self.check_exchange_limits(issues);
        for (key, scope) in &self.signing_keys.0 {
            if !Kind::is_account_key(key) {
                issues.error(match scope {
                    Some(_) => format!("{key} is not an account public key"),
                    None => format!("{} is not a valid account signing key", quoted(key)),
                });
            }
        }
        check_info(&self.description, &self.info_url, issues);
        if !matches!(self.cluster_traffic.as_str(), "" | "system" | "owner") {
            issues.error(format!("unknown cluster traffic option: {}", quoted(&self.cluster_traffic)));
        }
    }

    fn check_exchange_limits(&self, issues: &mut Issues) {
        let count = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
        let limits = &self.limits;
        let too_many = "the account contains more imports than allowed by the operator";
        if !limits.is_empty() && limits.imports >= 0 && count(self.imports.len()) > limits.imports {
            issues.error(too_many);
        }
        if limits.imports != -1 && count(self.imports.len()) > limits.imports {
            issues.error(too_many);
        }
        if limits.exports == -1 {
            return;
        }
        if count(self.exports.len()) > limits.exports {
            issues.error("the account contains more exports than allowed by the operator");
        }
        let wildcards = self.exports.iter().flatten().filter(|export| has_wildcards(&export.subject));
        for _ in wildcards.filter(|_| !limits.wildcards) {
            issues.error("the account contains wildcard exports that are not allowed by the operator");
        }
    }
}

impl Trace {
    fn check(&self, issues: &mut Issues) {
        let mut found = Issues::default();
        subject_issue(&self.dest, &mut found);
        if let Some(issue) = found.0.first() {
            issues.error(format!("the account Trace.Destination {}", issue.text));
        }
        if has_wildcards(&self.dest) {
            let subject = quoted(&self.dest);
            issues.error(format!(
                "the account Trace.Destination subject {subject} is not a valid publish subject"
            ));
        }
        if !(0..=100).contains(&self.sampling) {
            issues.error(format!(
                "the account Trace.Sampling value '{}' is not valid, should be in the range [1..100]",
                self.sampling
            ));
        }
    }
}

impl ExternalAuthorization {
    fn check(&self, issues: &mut Issues) {
        if !self.allowed_accounts.is_empty() && self.auth_users.is_empty() {
            issues.error("External authorization cannot have accounts without users specified");
        }
        for user in self.auth_users.iter().filter(|user| !is_key(user, KeyPairType::User)) {
            issues.error(format!("AuthUser {} is not a valid user public key", quoted(user)));
        }
        for account in &self.allowed_accounts {
            if account == "*" {
                if self.allowed_accounts.len() > 1 {
                    issues.error("AllowedAccounts can only be a list of accounts or \"*\"");
                }
            } else if !Kind::is_account_key(account) {
                issues.error(format!("Account {} is not a valid account public key", quoted(account)));
            }
        }
        if !self.xkey.is_empty() && !is_curve_key(&self.xkey) {
            issues.error(format!("XKey {} is not a valid public xkey", quoted(&self.xkey)));
        }
    }
}

/// Whether a text is a public key that something is sealed for.
pub(crate) fn is_curve_key(text: &str) -> bool {
    nkeys::from_public_key(text).is_ok_and(|(prefix, _)| KeyPairType::from(prefix) == KeyPairType::Curve)
}

fn check_mappings(mappings: &BTreeMap<String, Vec<Mapping>>, issues: &mut Issues) {
    for (from, destinations) in mappings {
        subject_issue(from, issues);
        let (mut total, mut by_cluster) = (0, BTreeMap::<&str, u32>::new());
        for to in destinations {
            subject_issue(&to.subject, issues);
            if to.percent() > 100 {
                issues.error(format!(
                    "Mapping {} has a weight {} that exceeds 100",
                    quoted(from),
                    to.percent()
                ));
            }
            if to.cluster.is_empty() {
                total += u32::from(to.percent());
                continue;
            }
            let sum = by_cluster.entry(&to.cluster).or_default();
            *sum += u32::from(to.percent());
            if *sum > 100 {
                issues.error(format!(
                    "Mapping {} in cluster {} exceeds 100% among all of it's weighted to mappings",
                    quoted(from),
                    quoted(&to.cluster)
                ));
            }
        }
        if total > 100 {
            let from = quoted(from);
            issues.error(format!("Mapping {from} exceeds 100% among all of it's weighted to mappings"));
        }
    }
}

fn check_info(description: &str, url: &str, issues: &mut Issues) {
    if description.len() > INFO_BYTES_MAX {
        issues.error("Description is too long");
    }
    if url.is_empty() {
        return;
    }
    if url.len() > INFO_BYTES_MAX {
        issues.error("Info URL is too long");
    }
    let host = url.split_once("://").map(|(scheme, rest)| (scheme, rest.split(['/', '?', '#']).next()));
    if !matches!(host, Some((scheme, Some(host))) if !scheme.is_empty() && !host.is_empty()) {
        issues.error("error parsing info url: no hostname or scheme");
    }
}

fn has_wildcards(subject: &str) -> bool {
    let mut tokens = subject.split('.').peekable();
    while let Some(token) = tokens.next() {
        if token == "*" || (token == ">" && tokens.peek().is_none()) {
            return true;
        }
    }
    false
}
