//! From the credentials in CONNECT to a user.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;
use jetkv_protocol::ConnectOptions;
use nkeys::KeyPair;

use super::certificates::CertificateUsers;
use super::nkey::{self, SignatureError};
use super::password;
use super::permissions::UserPermissions;
use crate::certificate::PeerCertificates;
use crate::claims::{ConnectLimits, UserScope};
use crate::options::{
    AuthOptions, ConnectionType, NkeyUserOptions, Options, Permissions, UserOptions, WebsocketAuth, allows,
    defaults,
};

/// What a client shows to get in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub user: String,
    pub password: String,
    pub token: String,
    /// Public key.
    pub nkey: String,
    /// Signature of the nonce by the key, as text.
    pub signature: String,
    /// What the server asked to be signed. Empty: nothing.
    pub nonce: String,
    /// A proxy that is trusted says that they come by way of it.
    pub by_proxy: bool,
}

impl Credentials {
    pub(crate) fn of(connect: &ConnectOptions, nonce: &str) -> Self {
        Self {
            user: connect.user.clone(),
            password: connect.pass.clone(),
            token: connect.auth_token.clone(),
            nkey: connect.nkey.clone(),
            signature: connect.sig.clone(),
            nonce: nonce.to_owned(),
            by_proxy: false,
        }
    }

    /// Whether there is nothing by which a user with a password is told.
    fn is_empty(&self) -> bool {
        self.user.is_empty() && self.password.is_empty() && self.token.is_empty()
    }
}

/// A client that may come in.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// Name of its account.
    pub account: String,
    /// Name of its user, or the public key, empty for none.
    pub user: String,
    /// Whether `user` is a key.
    pub by_key: bool,
    /// What it may do; `None` for everything.
    pub permissions: Option<Arc<UserPermissions>>,
    /// What its claims say beside that, if it came with claims.
    pub claims: Option<Arc<ClaimsAdmission>>,
}

/// What a user's claims say, for as long as it is here.
#[derive(Debug)]
pub(crate) struct ClaimsAdmission {
    /// The claims. Empty for a user that somebody else decided about, whose claims nobody is shown.
    pub token: String,
    /// The user's public key.
    pub subject: String,
    /// The key that signed for the account. Empty: the account's own.
    pub signing_key: String,
    /// What that key gives, if it gives something.
    pub scope: Option<UserScope>,
    /// The user's name for people.
    pub name: String,
    /// Words.
    pub tags: Vec<String>,
    /// When they were made, in seconds since 1970.
    pub issued_at_s: i64,
    /// They needed no signature.
    pub is_bearer: bool,
    /// Until when the user may stay.
    pub expires_at: Option<Instant>,
    /// What its connections may have.
    pub limits: ConnectLimits,
    /// Whether its permissions are those of its account.
    pub has_default_permissions: bool,
}

/// What a look at the credentials gave.
#[derive(Debug)]
pub(crate) enum Check {
    /// Come in.
    Admitted(Admitted),
    /// Stay out; for the log, where there is more to say.
    Refused(Option<Reason>),
    /// A hash has to be computed first; see [`SlowCheck::run`].
    Slow(SlowCheck),
    /// Claims have to be looked at, and perhaps be fetched.
    Claims,
}

/// Why somebody stays out. The texts are those that the log shows, at level debug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    /// The nonce was not signed by the key that was shown.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A user without a password is one whom a certificate names.
    #[error("User {} requires a client certificate", jetkv_go_compat::quoted(.0))]
    NeedsCertificate(String),
    /// A proxy that is not trusted signed for it.
    #[error("proxy is not trusted")]
    ProxyNotTrusted,
    /// It has to come by way of a proxy that is trusted.
    #[error("proxy connection required")]
    ProxyRequired,
}

/// A comparison with a bcrypt hash, which takes too long for a thread that serves connections.
#[derive(Debug)]
pub(crate) struct SlowCheck {
    hash: String,
    given: String,
    admitted: Admitted,
}

impl SlowCheck {
    /// Compares; returns who comes in, if the password is right.
    pub(crate) fn run(self) -> Option<Admitted> {
        password::matches_bcrypt(&self.hash, &self.given).then_some(self.admitted)
    }
}

/// The users of the server.
#[derive(Debug)]
pub(crate) struct Authenticator {
    users: HashMap<String, User>,
    nkeys: HashMap<String, NkeyUser>,
    /// Users are configured, even if the list is empty.
    single: Option<(String, String)>,
    token: Option<String>,
    no_auth_user: Option<String>,
    /// Connections without credentials become users of the global account, and INFO asks for credentials all the same,
    /// because there is only the system account besides and nothing says who may connect (nats-server v2.15.2).
    open_besides_system: bool,
    /// What the connections speak over.
    kind: ConnectionType,
    /// Users come with claims.
    by_claims: bool,
    /// The users whom certificates name, where these say who somebody is.
    by_certificate: Option<CertificateUsers>,
    /// Who is no user of a list has to come by way of a proxy.
    proxy_required: bool,
    /// Some proxy signs the nonce.
    has_proxies: bool,
}

#[derive(Debug)]
struct NkeyUser {
    /// `None` for what the configuration would not have let through.
    key: Option<KeyPair>,
    admitted: Admitted,
    allowed: bool,
    needs_proxy: bool,
}

#[derive(Debug)]
struct User {
    password: String,
    admitted: Admitted,
    allowed: bool,
    /// It has no password, and connections of some kind are told by their certificates.
    needs_certificate: bool,
    needs_proxy: bool,
}

impl Authenticator {
    /// For connections over TCP, with and without TLS.
    pub(crate) fn new(options: &Options) -> Self {
        Self::with(options, ConnectionType::Standard, Single::of(&options.auth))
    }

    /// For connections over WebSocket, whose block may name a user of its own.
    pub(crate) fn for_websocket(options: &Options) -> Self {
        let own = options.websocket.as_ref().map(|websocket| &websocket.auth).filter(|own| own.overrides());
        Self::with(
            options,
            ConnectionType::Websocket,
            own.map_or_else(|| Single::of(&options.auth), Single::own),
        )
    }

    /// For leaf nodes, whose block may name users of its own.
    pub(crate) fn for_leafnodes(options: &Options) -> Self {
        let own = &options.leafnodes.users;
        if own.is_empty() {
            return Self::with(options, ConnectionType::Leafnode, Single::of(&options.auth));
        }
        let auth = AuthOptions { users: own.clone(), has_block: true, ..AuthOptions::default() };
        let single = Single::of(&auth);
        Self::with(&Options { auth, ..options.clone() }, ConnectionType::Leafnode, single)
    }

    fn with(options: &Options, kind: ConnectionType, single: Single) -> Self {
        let auth = &options.auth;
        let users: HashMap<_, _> =
            auth.users.iter().map(|user| (user.username.clone(), User::new(user, kind, options))).collect();
        let nkeys = auth.nkeys.iter().map(|user| (user.nkey.clone(), NkeyUser::new(user, kind))).collect();
        let open_besides_system = auth.no_auth_user.is_none()
            && auth.username.is_none()
            && auth.token.is_none()
            && !auth.has_block
            && options.named_system_account().is_some()
            && options.accounts.len() == 1;
        let allowed = users.iter().filter(|(_, user)| user.allowed).map(|(name, _)| name.clone());
        let allowed: BTreeSet<String> = allowed.collect();
        Self {
            users,
            nkeys,
            single: single.user,
            token: single.token,
            no_auth_user: single.no_auth_user,
            open_besides_system,
            kind,
            by_claims: options.operators.is_on(),
            proxy_required: auth.proxy_required,
            has_proxies: options.trusted_proxies.as_ref().is_some_and(|keys| !keys.is_empty()),
            by_certificate: options.maps_certificates(kind).then(|| CertificateUsers::new(allowed)),
        }
    }

    /// Whether CONNECT has to come first and needs credentials.
    pub(crate) fn required(&self) -> bool {
        let has_users = !self.users.is_empty() || !self.nkeys.is_empty();
        self.by_claims
            || self.open_besides_system
            || has_users
            || self.single.is_some()
            || self.token.is_some()
    }

    /// Whether INFO holds a nonce to be signed.
    pub(crate) fn sends_nonce(&self) -> bool {
        self.by_claims || !self.nkeys.is_empty() || self.has_proxies
    }

    /// Whether INFO asks for credentials.
    pub(crate) fn announced(&self) -> bool {
        // Over WebSocket it does so whatever becomes of who has none (nats-server v2.15.2).
        self.required() && (self.no_auth_user.is_none() || self.kind == ConnectionType::Websocket)
    }

    /// Whether there is one user, or one token, for all.
    pub(crate) fn is_single(&self) -> bool {
        self.single.is_some() || self.token.is_some()
    }

    /// The account of a user of the list.
    pub(crate) fn account_of(&self, user: &str) -> Option<&str> {
        self.users.get(user).map(|user| user.admitted.account.as_str())
    }

    /// The account of the user with this key.
    pub(crate) fn account_of_key(&self, nkey: &str) -> Option<&str> {
        self.nkeys.get(nkey).map(|user| user.admitted.account.as_str())
    }

    /// Whether connections of this user may stay after a reload: the user exists with the same password.
    pub(crate) fn keeps(&self, other: &Self, user: &str) -> bool {
        if user.is_empty() {
            return self.token == other.token && self.required() == other.required();
        }
        match (self.users.get(user), other.users.get(user)) {
            (Some(now), Some(before)) => {
                let is_same =
                    now.password == before.password && now.admitted.account == before.admitted.account;
                is_same && now.allowed && !now.needs_proxy
            }
            (None, None) => self.single == other.single,
            _ => false,
        }
    }

    /// The permissions of a user, by name or key.
    pub(crate) fn permissions(&self, user: &str) -> Option<Arc<UserPermissions>> {
        let named = self.users.get(user).map(|user| &user.admitted);
        named.or_else(|| self.nkeys.get(user).map(|user| &user.admitted))?.permissions.clone()
    }

    /// Looks at the key, which goes before a password. `None`: there are no keys, or none is shown.
    fn check_key(&self, given: &Credentials) -> Option<Check> {
        let silent = given.is_empty() && given.nkey.is_empty();
        let nkey = if silent { self.no_auth_user.as_ref()? } else { &given.nkey };
        if self.nkeys.is_empty() || nkey.is_empty() {
            return None;
        }
        let refused = Check::Refused(None);
        let Some(user) = self.nkeys.get(nkey) else {
            // The user for connections without credentials may be one with a password.
            return (!silent).then_some(refused);
        };
        let Some(key) = user.key.as_ref().filter(|_| user.allowed) else { return Some(refused) };
        if user.needs_proxy && !given.by_proxy {
            return Some(Check::Refused(Some(Reason::ProxyRequired)));
        }
        // Nobody has to sign for the user that everybody becomes.
        let is_open = self.no_auth_user.as_ref() == Some(nkey);
        let verified = if is_open { Ok(()) } else { nkey::verify(key, &given.nonce, &given.signature) };
        Some(match verified {
            Ok(()) => Check::Admitted(user.admitted.clone()),
            Err(error) => Check::Refused(Some(error.into())),
        })
    }

    /// Whether the certificate says who this is, whatever else is shown.
    pub(crate) fn goes_by_certificate(&self, given: &Credentials) -> bool {
        let silent = given.is_empty() && given.nkey.is_empty();
        let is_key = |name: &String| self.nkeys.contains_key(name);
        let by_key = !self.nkeys.is_empty()
            && (!given.nkey.is_empty() || silent && self.no_auth_user.as_ref().is_some_and(is_key));
        self.by_certificate.is_some() && !self.by_claims && !self.users.is_empty() && !by_key
    }

    /// The user whom a certificate names. `peer` is `None` without TLS, or where none was shown; `log` is told, at level
    /// debug, how it was found.
    pub(crate) fn user_of(
        &self,
        peer: Option<&PeerCertificates>,
        log: &mut dyn FnMut(String),
    ) -> Option<&str> {
        self.by_certificate.as_ref()?.find(peer, log)
    }

    /// The user of the configuration that credentials name, rightly or not.
    pub(crate) fn named<'a>(&'a self, given: &'a Credentials) -> Option<&'a str> {
        if !self.nkeys.is_empty() && !given.nkey.is_empty() {
            let known = self.nkeys.contains_key(&given.nkey);
            return known.then_some(given.nkey.as_str()).or_else(|| self.named_single(given));
        }
        let listed = self.users.contains_key(&given.user);
        listed.then_some(given.user.as_str()).or_else(|| self.named_single(given))
    }

    fn named_single<'a>(&'a self, given: &Credentials) -> Option<&'a str> {
        let name = self.single.as_ref().filter(|_| self.token.is_none()).map(|(name, _)| name.as_str());
        name.filter(|name| *name == given.user)
    }

    /// What stands for credentials where there are none: a key, or a name and a password.
    pub(crate) fn stand_in(&self, given: &Credentials) -> Option<Credentials> {
        let name = self.no_auth_user.as_ref().filter(|_| given.is_empty() && given.nkey.is_empty())?;
        if self.nkeys.contains_key(name) {
            return Some(Credentials { nkey: name.clone(), ..Credentials::default() });
        }
        let user = self.users.get(name)?;
        let (user, password) = (name.clone(), user.password.clone());
        Some(Credentials { user, password, ..Credentials::default() })
    }

    /// Whether a password is enough for a user. An empty one is none where a certificate is meant.
    fn takes_password(&self, user: &User) -> bool {
        let name = &user.admitted.user;
        !user.needs_certificate || self.by_certificate.is_some() || self.no_auth_user.as_ref() == Some(name)
    }

    /// Looks at credentials.
    pub(crate) fn check(&self, given: &Credentials) -> Check {
        if !self.required() {
            return Check::Admitted(Admitted::anonymous());
        }
        if self.by_claims {
            return Check::Claims;
        }
        if let Some(check) = self.check_key(given) {
            return check;
        }
        if given.is_empty() {
            if let Some(user) = self.no_auth_user.as_ref().and_then(|name| self.users.get(name)) {
                return match user.allowed {
                    true if user.needs_proxy && !given.by_proxy => {
                        Check::Refused(Some(Reason::ProxyRequired))
                    }
                    true => Check::Admitted(user.admitted.clone()),
                    false => Check::Refused(None),
                };
            }
            if self.open_besides_system {
                return Check::Admitted(Admitted::anonymous());
            }
        }
        if !self.users.is_empty() && !given.user.is_empty() {
            return match self.users.get(&given.user) {
                Some(user) if user.allowed && user.needs_proxy && !given.by_proxy => {
                    Check::Refused(Some(Reason::ProxyRequired))
                }
                Some(user) if user.allowed && self.takes_password(user) => {
                    compare(&user.password, &given.password, user.admitted.clone())
                }
                Some(user) if user.allowed => {
                    Check::Refused(Some(Reason::NeedsCertificate(given.user.clone())))
                }
                _ => Check::Refused(None),
            };
        }
        if self.proxy_required && !given.by_proxy {
            return Check::Refused(Some(Reason::ProxyRequired));
        }
        if let Some(token) = &self.token {
            return compare(token, &given.token, Admitted::anonymous());
        }
        match &self.single {
            Some((name, password)) if *name == given.user => {
                compare(password, &given.password, Admitted { user: name.clone(), ..Admitted::anonymous() })
            }
            _ => Check::Refused(None),
        }
    }
}

/// Who comes in beside the listed users.
struct Single {
    user: Option<(String, String)>,
    token: Option<String>,
    no_auth_user: Option<String>,
}

impl Single {
    fn new(
        user: &Option<String>,
        password: &Option<String>,
        token: &Option<String>,
        no_auth_user: &Option<String>,
    ) -> Self {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let password = password.clone().unwrap_or_default();
        Self {
            user: given(user).map(|name| (name, password)),
            token: given(token),
            no_auth_user: no_auth_user.clone(),
        }
    }

    fn of(auth: &AuthOptions) -> Self {
        Self::new(&auth.username, &auth.password, &auth.token, &auth.no_auth_user)
    }

    fn own(auth: &WebsocketAuth) -> Self {
        Self::new(&auth.username, &auth.password, &auth.token, &auth.no_auth_user)
    }
}

fn compare(configured: &str, given: &str, admitted: Admitted) -> Check {
    if password::is_bcrypt(configured) {
        return Check::Slow(SlowCheck { hash: configured.to_owned(), given: given.to_owned(), admitted });
    }
    if password::matches_plain(configured, given) { Check::Admitted(admitted) } else { Check::Refused(None) }
}

impl Admitted {
    fn anonymous() -> Self {
        Self::user("", None, None, false)
    }

    fn user(user: &str, account: Option<&str>, permissions: Option<&Permissions>, by_key: bool) -> Self {
        Self {
            account: account.unwrap_or(defaults::GLOBAL_ACCOUNT).to_owned(),
            user: user.to_owned(),
            by_key,
            permissions: permissions.map(|configured| Arc::new(UserPermissions::new(configured))),
            claims: None,
        }
    }
}

impl User {
    fn new(user: &UserOptions, kind: ConnectionType, options: &Options) -> Self {
        let (account, permissions) = (user.account.as_deref(), user.permissions.as_ref());
        Self {
            password: user.password.clone(),
            admitted: Admitted::user(&user.username, account, permissions, false),
            allowed: user.may_come_over(kind),
            needs_certificate: options.needs_certificate(user),
            needs_proxy: user.proxy_required,
        }
    }
}

impl NkeyUser {
    fn new(options: &NkeyUserOptions, kind: ConnectionType) -> Self {
        let (account, permissions) = (options.account.as_deref(), options.permissions.as_ref());
        Self {
            key: KeyPair::from_public_key(&options.nkey).ok(),
            admitted: Admitted::user(&options.nkey, account, permissions, true),
            allowed: allows(options.allowed_connection_types.as_ref(), kind),
            needs_proxy: options.proxy_required,
        }
    }
}
