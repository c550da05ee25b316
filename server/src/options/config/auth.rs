//! The `authorization` block and lists of users.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::report::{Checked, Problem, Report};
use super::typed::{boolean, map, string, strings, text};
use super::{Draft, callout, permissions};
use crate::options::auth_model::{
    AuthCallout, AuthOptions, ConnectionType, NkeyUserOptions, Permissions, UserOptions,
};
use crate::options::grammar::{Node, Value};
use jetkv_go_compat::GoDuration;
use jetkv_go_compat::quoted;
use nkeys::{KeyPair, KeyPairType};

/// Seconds above which an authorization timeout is probably a mistake.
const TIMEOUT_WARN_S: f64 = 60.0;

/// What a `users` array says.
#[derive(Default)]
pub(super) struct Users {
    pub(super) users: Vec<UserOptions>,
    pub(super) nkeys: Vec<NkeyUserOptions>,
}

/// One entry of a `users` array.
enum Entry {
    User(UserOptions),
    Nkey(NkeyUserOptions),
}

/// What the block says, before it is compared with the rest of the configuration.
#[derive(Default)]
struct Block {
    username: Option<String>,
    password: Option<String>,
    token: Option<String>,
    users: Option<Users>,
    default_permissions: Option<Permissions>,
    callout: Option<AuthCallout>,
}

/// Reads the `authorization` block.
pub(super) fn read(node: &Node, draft: &mut Draft, report: &mut Report) -> Checked<()> {
    let mut block = Block::default();
    for (key, value) in map(node)?.iter() {
        match key.to_ascii_lowercase().as_str() {
            "user" | "username" => block.username = text(value)?,
            "pass" | "password" => block.password = text(value)?,
            "token" => block.token = text(value)?,
            "timeout" => draft.auth_timeout = timeout(key, value, report)?,
            "users" => block.users = Some(users(value, report)?),
            "default_permission" | "default_permissions" | "permissions" => {
                block.default_permissions = report.attempt(|report| permissions::read(value, report));
            }
            "auth_callout" | "auth_hook" => {
                block.callout = report.attempt(|report| callout::read(value, report));
            }
            "proxy_required" => draft.options.auth.proxy_required = boolean(value)?,
            _ if value.is_used_variable() => {}
            _ => report.error(Problem::unknown_field(value, key)),
        }
    }
    apply(node, block, draft)
}

fn apply(node: &Node, block: Block, draft: &mut Draft) -> Checked<()> {
    let auth = &mut draft.options.auth;
    let is_single = block.username.is_some() || block.password.is_some();
    if is_single && block.token.is_some() {
        return Err(Problem::at(node, "Cannot have a user/pass and token"));
    }
    let has_users = block.users.is_some() || auth.has_users();
    if has_users && block.username.is_some() {
        return Err(Problem::at(node, "Can not have a single user/pass and a users array"));
    }
    if has_users && block.token.is_some() {
        return Err(Problem::at(node, "Can not have a token and a users array"));
    }
    let mut users = block.users.unwrap_or_default();
    users.apply_default_permissions(block.default_permissions.as_ref());
    users.add_to(auth).map_err(|duplicate| Problem::at(node, duplicate))?;
    auth.username = block.username;
    auth.password = block.password;
    auth.token = block.token;
    auth.callout = block.callout;
    auth.has_block = true;
    Ok(())
}

impl Users {
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.nkeys.is_empty()
    }

    /// Users without permissions of their own get those of their block.
    pub(super) fn apply_default_permissions(&mut self, defaults: Option<&Permissions>) {
        for user in &mut self.users {
            user.permissions = user.permissions.take().or_else(|| defaults.cloned());
        }
        for user in &mut self.nkeys {
            user.permissions = user.permissions.take().or_else(|| defaults.cloned());
        }
    }

    /// Adds them to the users that are known, up to the first one that is known already.
    fn add_to(self, auth: &mut AuthOptions) -> Result<(), String> {
        let mut known: HashSet<String> = names(auth);
        for user in self.users {
            add(&mut known, "user", &user.username)?;
            auth.users.push(user);
        }
        for user in self.nkeys {
            add(&mut known, "nkey", &user.nkey)?;
            auth.nkeys.push(user);
        }
        Ok(())
    }
}

/// Names and keys of all users that are known.
pub(super) fn names(auth: &AuthOptions) -> HashSet<String> {
    let users = auth.users.iter().map(|user| user.username.clone());
    users.chain(auth.nkeys.iter().map(|user| user.nkey.clone())).collect()
}

/// Adds a name to those that are known, unless it is one of them.
pub(super) fn add(known: &mut HashSet<String>, kind: &str, name: &str) -> Result<(), String> {
    if known.insert(name.to_owned()) {
        Ok(())
    } else {
        Err(format!("Duplicate {kind} {} detected", quoted(name)))
    }
}

/// Seconds, or a length of time as a string.
pub(super) fn timeout(key: &str, node: &Node, report: &mut Report) -> Checked<Option<Duration>> {
    #[allow(clippy::cast_precision_loss)]
    let seconds = match &node.value {
        Value::Integer(value) => *value as f64,
        Value::Float(value) => *value,
        Value::String(text) => {
            let value = GoDuration::parse(text).map_err(|error| {
                Problem::at(node, format!("error parsing authorization config, 'timeout' {error}"))
            })?;
            value.0 as f64 / 1e9
        }
        _ => return Err(Problem::at(node, "error parsing authorization config, 'timeout' wrong type")),
    };
    if seconds > TIMEOUT_WARN_S {
        report.warning(Problem::at(
            node,
            format!(
                "invalid use of field {}: timeout of {} ({seconds:.6} seconds) is high, consider keeping it under \
                 60 seconds. possibly caused by unquoted duration; use '1m' instead of 1m, for example",
                quoted(key),
                node.value,
            ),
        ));
    }
    if seconds == 0.0 {
        return Ok(None);
    }
    Ok(Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}

/// Reads a `users` array.
pub(super) fn users(node: &Node, report: &mut Report) -> Checked<Users> {
    let Value::Array(elements) = &node.value else {
        let text = format!("Expected users field to be an array, got {}", node.value);
        return Err(Problem::at(node, text));
    };
    let mut users = Users::default();
    for element in elements.iter() {
        if let Value::Map(_) = element.value {
            match user(element, report)? {
                Entry::User(user) => users.users.push(user),
                Entry::Nkey(user) => users.nkeys.push(user),
            }
        } else {
            let text = format!("Expected user entry to be a map/struct, got {}", element.value);
            report.error(Problem::at(element, text));
        }
    }
    Ok(users)
}

fn user(node: &Node, report: &mut Report) -> Checked<Entry> {
    let mut nkey = String::new();
    let mut user = UserOptions {
        username: String::new(),
        password: String::new(),
        account: None,
        permissions: None,
        allowed_connection_types: None,
        proxy_required: false,
    };
    let mut last = node;
    for (key, value) in map(node)?.iter() {
        last = value;
        match key.to_ascii_lowercase().as_str() {
            "nkey" => string(value)?.clone_into(&mut nkey),
            "user" | "username" => string(value)?.clone_into(&mut user.username),
            "pass" | "password" => string(value)?.clone_into(&mut user.password),
            "permission" | "permissions" | "authorization" => {
                user.permissions = report.attempt(|report| permissions::read(value, report));
            }
            "allowed_connection_types" | "connection_types" | "clients" => {
                user.allowed_connection_types = connection_types(value, report)?;
            }
            "proxy_required" => user.proxy_required = boolean(value)?,
            _ if value.is_used_variable() => {}
            _ => report.error(Problem::unknown_field(value, key)),
        }
    }
    if nkey.is_empty() {
        let is_named = !user.username.is_empty();
        return is_named
            .then_some(Entry::User(user))
            .ok_or_else(|| Problem::at(last, "User entry requires a user"));
    }
    if !is_public_key(&nkey, KeyPairType::User) {
        return Err(Problem::at(last, "Not a valid public nkey for a user"));
    }
    if !user.username.is_empty() || !user.password.is_empty() {
        return Err(Problem::at(last, "Nkey users do not take usernames or passwords"));
    }
    let UserOptions { account, permissions, allowed_connection_types, proxy_required, .. } = user;
    Ok(Entry::Nkey(NkeyUserOptions { nkey, account, permissions, allowed_connection_types, proxy_required }))
}

/// Whether a text is the public key of somebody of this kind.
pub(super) fn is_public_key(text: &str, kind: KeyPairType) -> bool {
    KeyPair::from_public_key(text).is_ok_and(|key| key.key_pair_type() == kind)
}

/// `None`: all kinds.
fn connection_types(node: &Node, report: &mut Report) -> Checked<Option<BTreeSet<ConnectionType>>> {
    let mut kinds = BTreeSet::new();
    let mut unknown = Vec::new();
    for name in strings(node, "allowed connection types", report)? {
        match ConnectionType::from_name(&name) {
            Some(kind) => drop(kinds.insert(kind)),
            None => unknown.push(quoted(name.to_uppercase())),
        }
    }
    if !unknown.is_empty() {
        let text = format!("invalid connection types [{}]", unknown.join(" "));
        report.error(Problem::at(node, text));
    }
    Ok((!kinds.is_empty()).then_some(kinds))
}
