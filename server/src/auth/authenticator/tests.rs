use base64::Engine as _;

use super::*;
use crate::options::AccountOptions;

fn user(name: &str, password: &str, account: Option<&str>) -> UserOptions {
    UserOptions {
        username: name.into(),
        password: password.into(),
        account: account.map(Into::into),
        permissions: None,
        allowed_connection_types: None,
        proxy_required: false,
    }
}

fn given(user: &str, password: &str, token: &str) -> Credentials {
    Credentials {
        user: user.into(),
        password: password.into(),
        token: token.into(),
        ..Credentials::default()
    }
}

fn account(check: Check) -> Option<String> {
    match check {
        Check::Admitted(admitted) => Some(admitted.account),
        Check::Slow(slow) => slow.run().map(|admitted| admitted.account),
        Check::Refused(_) | Check::Claims => None,
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

fn keyed(key: &KeyPair, account: Option<&str>) -> NkeyUserOptions {
    NkeyUserOptions {
        nkey: key.public_key(),
        account: account.map(Into::into),
        permissions: None,
        allowed_connection_types: None,
        proxy_required: false,
    }
}

fn signing(key: &KeyPair, signed: &str, nonce: &str) -> Credentials {
    let signature = key.sign(signed.as_bytes()).unwrap();
    Credentials {
        nkey: key.public_key(),
        signature: base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature),
        nonce: nonce.into(),
        ..Credentials::default()
    }
}

#[test]
fn keys_open_their_accounts_with_the_nonce_of_the_connection_only() {
    let (a, b) = (KeyPair::new_user(), KeyPair::new_user());
    let mut options = Options::default();
    options.auth.nkeys = vec![keyed(&a, Some("A")), keyed(&b, None)];
    options.auth.users = vec![user("u", "p", Some("U"))];
    let auth = Authenticator::new(&options);
    assert!(auth.required() && auth.announced() && auth.sends_nonce());
    assert_eq!(account(auth.check(&signing(&a, "n", "n"))).as_deref(), Some("A"));
    assert_eq!(account(auth.check(&signing(&b, "n", "n"))).as_deref(), Some("$G"));
    let with_password =
        |key, signed| Credentials { user: "u".into(), password: "p".into(), ..signing(key, signed, "n") };
    assert_eq!(account(auth.check(&with_password(&a, "n"))).as_deref(), Some("A"), "the key goes first");
    let stranger = KeyPair::new_user();
    let stolen = Credentials { nkey: b.public_key(), ..signing(&a, "n", "n") };
    for wrong in [
        signing(&a, "old", "n"),
        signing(&a, "", ""),
        signing(&stranger, "n", "n"),
        stolen,
        with_password(&a, "old"),
        with_password(&stranger, "n"),
    ] {
        assert_eq!(account(auth.check(&wrong)), None, "{wrong:?}");
    }
    assert_eq!(account(auth.check(&given("u", "p", ""))).as_deref(), Some("U"));
    assert_eq!(account(auth.check(&given(&a.public_key(), "", ""))), None, "a key is no name");
}

#[test]
fn the_key_that_all_become_needs_no_signature_and_a_kind_of_connection_may_be_closed_to_it() {
    let key = KeyPair::new_user();
    let mut options = Options::default();
    options.auth.nkeys = vec![keyed(&key, Some("A"))];
    options.auth.no_auth_user = Some(key.public_key());
    let auth = Authenticator::new(&options);
    let unsigned = Credentials { nkey: key.public_key(), ..Credentials::default() };
    for given in [Credentials::default(), unsigned.clone()] {
        assert_eq!(account(auth.check(&given)).as_deref(), Some("A"));
    }
    assert_eq!(account(auth.check(&given("u", "p", ""))), None);
    if let Some(user) = options.auth.nkeys.first_mut() {
        user.allowed_connection_types = Some([ConnectionType::Websocket].into());
    }
    let auth = Authenticator::new(&options);
    for given in [Credentials::default(), unsigned, signing(&key, "n", "n")] {
        assert_eq!(account(auth.check(&given)), None);
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
