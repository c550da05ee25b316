//! From the credentials in CONNECT to a user.

use std::sync::Arc;

use hashbrown::HashMap;
use jetkv_protocol::ConnectOptions;

use super::password;
use super::permissions::UserPermissions;
use crate::options::{AuthOptions, ConnectionType, Options, UserOptions, defaults};

/// What a client shows to get in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub user: String,
    pub password: String,
    pub token: String,
}

impl Credentials {
    pub(crate) fn of(connect: &ConnectOptions) -> Self {
        Self { user: connect.user.clone(), password: connect.pass.clone(), token: connect.auth_token.clone() }
    }

    fn is_empty(&self) -> bool {
        self.user.is_empty() && self.password.is_empty() && self.token.is_empty()
    }
}

/// A client that may come in.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// Name of its account.
    pub account: String,
    /// Name of its user, empty for none.
    pub user: String,
    /// What it may do; `None` for everything.
    pub permissions: Option<Arc<UserPermissions>>,
}

/// What a look at the credentials gave.
#[derive(Debug)]
pub(crate) enum Check {
    /// Come in.
    Admitted(Admitted),
    /// Stay out.
    Refused,
    /// A hash has to be computed first; see [`SlowCheck::run`].
    Slow(SlowCheck),
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
    /// Users are configured, even if the list is empty.
    single: Option<(String, String)>,
    token: Option<String>,
    no_auth_user: Option<String>,
    /// Connections without credentials become users of the global account, and INFO asks for credentials all the same,
    /// because there is only the system account besides and nothing says who may connect (nats-server v2.15.2).
    open_besides_system: bool,
}

#[derive(Debug)]
struct User {
    password: String,
    admitted: Admitted,
    allowed: bool,
}

impl Authenticator {
    pub(crate) fn new(options: &Options) -> Self {
        let auth = &options.auth;
        let users: HashMap<_, _> =
            auth.users.iter().map(|user| (user.username.clone(), User::new(user))).collect();
        let open_besides_system = auth.no_auth_user.is_none()
            && auth.username.is_none()
            && auth.token.is_none()
            && !auth.has_block
            && options.named_system_account().is_some()
            && options.accounts.len() == 1;
        Self {
            users,
            single: single_user(auth),
            token: auth.token.clone().filter(|token| !token.is_empty()),
            no_auth_user: auth.no_auth_user.clone(),
            open_besides_system,
        }
    }

    /// Whether CONNECT has to come first and needs credentials.
    pub(crate) fn required(&self) -> bool {
        self.open_besides_system || !self.users.is_empty() || self.single.is_some() || self.token.is_some()
    }

    /// Whether INFO asks for credentials.
    pub(crate) fn announced(&self) -> bool {
        self.required() && self.no_auth_user.is_none()
    }

    /// Whether there is one user, or one token, for all.
    pub(crate) fn is_single(&self) -> bool {
        self.single.is_some() || self.token.is_some()
    }

    /// The account of a user of the list.
    pub(crate) fn account_of(&self, user: &str) -> Option<&str> {
        self.users.get(user).map(|user| user.admitted.account.as_str())
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
                is_same && now.allowed
            }
            (None, None) => self.single == other.single,
            _ => false,
        }
    }

    /// The permissions of a user.
    pub(crate) fn permissions(&self, user: &str) -> Option<Arc<UserPermissions>> {
        self.users.get(user)?.admitted.permissions.clone()
    }

    /// Looks at credentials.
    pub(crate) fn check(&self, given: &Credentials) -> Check {
        if !self.required() {
            return Check::Admitted(Admitted::anonymous());
        }
        if given.is_empty() {
            if let Some(user) = self.no_auth_user.as_ref().and_then(|name| self.users.get(name)) {
                return if user.allowed { Check::Admitted(user.admitted.clone()) } else { Check::Refused };
            }
            if self.open_besides_system {
                return Check::Admitted(Admitted::anonymous());
            }
        }
        if !self.users.is_empty() && !given.user.is_empty() {
            return match self.users.get(&given.user) {
                Some(user) if user.allowed => compare(&user.password, &given.password, user.admitted.clone()),
                _ => Check::Refused,
            };
        }
        if let Some(token) = &self.token {
            return compare(token, &given.token, Admitted::anonymous());
        }
        match &self.single {
            Some((name, password)) if *name == given.user => {
                compare(password, &given.password, Admitted { user: name.clone(), ..Admitted::anonymous() })
            }
            _ => Check::Refused,
        }
    }
}

fn single_user(auth: &AuthOptions) -> Option<(String, String)> {
    let name = auth.username.clone().filter(|name| !name.is_empty())?;
    Some((name, auth.password.clone().unwrap_or_default()))
}

fn compare(configured: &str, given: &str, admitted: Admitted) -> Check {
    if password::is_bcrypt(configured) {
        return Check::Slow(SlowCheck { hash: configured.to_owned(), given: given.to_owned(), admitted });
    }
    if password::matches_plain(configured, given) { Check::Admitted(admitted) } else { Check::Refused }
}

impl Admitted {
    fn anonymous() -> Self {
        Self { account: defaults::GLOBAL_ACCOUNT.to_owned(), user: String::new(), permissions: None }
    }
}

impl User {
    fn new(options: &UserOptions) -> Self {
        let account = options.account.as_deref().unwrap_or(defaults::GLOBAL_ACCOUNT);
        let permissions =
            options.permissions.as_ref().map(|configured| Arc::new(UserPermissions::new(configured)));
        let kinds = options.allowed_connection_types.as_ref();
        Self {
            password: options.password.clone(),
            admitted: Admitted { account: account.to_owned(), user: options.username.clone(), permissions },
            allowed: kinds.is_none_or(|kinds| kinds.is_empty() || kinds.contains(&ConnectionType::Standard)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::AccountOptions;

    fn user(name: &str, password: &str, account: Option<&str>) -> UserOptions {
        UserOptions {
            username: name.into(),
            password: password.into(),
            account: account.map(Into::into),
            permissions: None,
            allowed_connection_types: None,
        }
    }

    fn given(user: &str, password: &str, token: &str) -> Credentials {
        Credentials { user: user.into(), password: password.into(), token: token.into() }
    }

    fn account(check: Check) -> Option<String> {
        match check {
            Check::Admitted(admitted) => Some(admitted.account),
            Check::Slow(slow) => slow.run().map(|admitted| admitted.account),
            Check::Refused => None,
        }
    }

    #[test]
    fn users_get_into_their_accounts_with_plain_and_hashed_passwords() {
        let mut options = Options::default();
        options.auth.users = vec![
            user("a", "pa", Some("A")),
            user("b", &bcrypt::hash("pb", 4).unwrap(), Some("B")),
            user("c", "pc", None),
        ];
        let auth = Authenticator::new(&options);
        assert!(auth.required() && auth.announced());
        assert_eq!(account(auth.check(&given("a", "pa", ""))).as_deref(), Some("A"));
        assert_eq!(account(auth.check(&given("b", "pb", ""))).as_deref(), Some("B"));
        assert_eq!(account(auth.check(&given("c", "pc", ""))).as_deref(), Some("$G"));
        for wrong in [given("a", "pb", ""), given("b", "pa", ""), given("d", "", ""), given("", "", "")] {
            assert_eq!(account(auth.check(&wrong)), None, "{wrong:?}");
        }
    }

    #[test]
    fn connections_without_credentials_become_the_no_auth_user() {
        let mut options = Options::default();
        options.auth.users = vec![user("a", "pa", Some("A"))];
        options.auth.no_auth_user = Some("a".into());
        let auth = Authenticator::new(&options);
        assert!(auth.required() && !auth.announced());
        assert_eq!(account(auth.check(&given("", "", ""))).as_deref(), Some("A"));
        assert_eq!(account(auth.check(&given("a", "", ""))), None);
    }

    #[test]
    fn users_of_the_system_account_alone_leave_the_global_account_open() {
        let mut options = Options { system_account: Some("SYS".into()), ..Options::default() };
        options.auth.users = vec![user("admin", "p", Some("SYS"))];
        options.accounts = vec![AccountOptions::new("SYS")];
        let auth = Authenticator::new(&options);
        assert!(auth.announced());
        assert_eq!(account(auth.check(&given("", "", ""))).as_deref(), Some("$G"));
        assert_eq!(account(auth.check(&given("admin", "p", ""))).as_deref(), Some("SYS"));
        assert_eq!(account(auth.check(&given("admin", "x", ""))), None);
        let mut without_users = options.clone();
        without_users.auth.users.clear();
        let auth = Authenticator::new(&without_users);
        assert!(auth.announced());
        assert_eq!(account(auth.check(&given("", "", ""))).as_deref(), Some("$G"));
        assert_eq!(account(auth.check(&given("admin", "p", ""))), None);
        let mut with_block = options.clone();
        with_block.auth.has_block = true;
        options.accounts.push(AccountOptions::new("A"));
        for closed in [with_block, options] {
            assert_eq!(account(Authenticator::new(&closed).check(&given("", "", ""))), None);
        }
    }

    #[test]
    fn a_token_or_a_single_user_is_all_that_opens() {
        let mut options = Options::default();
        options.auth.token = Some("t".into());
        let auth = Authenticator::new(&options);
        assert_eq!(account(auth.check(&given("", "", "t"))).as_deref(), Some("$G"));
        assert_eq!(account(auth.check(&given("", "", "u"))), None);
        options.auth.token = None;
        options.auth.username = Some("u".into());
        options.auth.password = Some("p".into());
        let auth = Authenticator::new(&options);
        assert_eq!(account(auth.check(&given("u", "p", ""))).as_deref(), Some("$G"));
        assert_eq!(account(auth.check(&given("u", "", ""))), None);
    }
}
