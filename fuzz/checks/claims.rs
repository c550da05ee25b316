//! What holds for any token, and for any claims that somebody signed who may. Shared by the fuzz target and the test that replays its
//! corpus.

use std::fmt::{Debug, Display};
use std::net::IpAddr;
use std::sync::LazyLock;

use jetkv::claims::{Account, Claims, Token, User, admits_source, encode, fill, time_left};
use nkeys::KeyPair;
use serde_json::{Value, json};

/// Who signs. The seeds were made for this and open nothing else.
static OPERATOR: LazyLock<KeyPair> =
    LazyLock::new(|| key("SOAH5SJIUSWIUSDAWNKYEE3MRFFVX2AVS4TCKY3ZNKLI4VN7RTW4XND6OY"));
static ACCOUNT: LazyLock<KeyPair> =
    LazyLock::new(|| key("SAANGXOGBM3HSS377LVPLP343DUGW7CKL3D3LM6GHN3HW2UQNDEYOA4O24"));

/// Moments, in seconds since 1970.
const TIMES_S: [i64; 3] = [0, 1_700_000_000, i64::MAX];

fn key(seed: &str) -> KeyPair {
    KeyPair::from_seed(seed).expect("a seed")
}

/// Panics when bytes break an invariant, as a token or as claims that are signed.
pub(crate) fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if Token::open(&text).map_err(|error| told(&error)).is_ok() {
        read(&text);
    }
    let Ok(Value::Object(mut claims)) = serde_json::from_str(&text) else { return };
    let kind =
        claims.get("nats").and_then(|nats| nats.get("type")).and_then(Value::as_str).unwrap_or_default();
    let issuer = if matches!(kind, "operator" | "account") { &*OPERATOR } else { &*ACCOUNT };
    claims.insert("iss".to_owned(), json!(issuer.public_key()));
    let token = encode(&Value::Object(claims), issuer).expect("a seed signs");
    read(&token);
    // A signature holds for what was signed, and for nothing else.
    let middle = token.len() / 2;
    let other = if token.as_bytes().get(middle) == Some(&b'A') { "B" } else { "A" };
    let forged =
        [token.get(..middle).unwrap_or_default(), other, token.get(middle + 1..).unwrap_or_default()]
            .concat();
    assert!(Token::open(&forged).is_err(), "{forged}");
}

/// A refusal says why.
fn told(error: &dyn Display) {
    assert!(!error.to_string().trim().is_empty(), "an error without a word");
}

/// Reads a token as what it is: the same way each time, and as one kind at most.
fn read(token: &str) {
    let operator = same(|| Token::operator(token));
    let account = same(|| Token::account(token));
    let user = same(|| Token::user(token));
    let activation = same(|| Token::activation(token));
    let response = same(|| Token::authorization_response(token));
    let kinds =
        [operator.is_some(), account.is_some(), user.is_some(), activation.is_some(), response.is_some()];
    assert!(kinds.iter().filter(|is_one| **is_one).count() <= 1, "{kinds:?}");
    for now_s in TIMES_S {
        let issues = [
            operator.as_ref().map(|claims| claims.issues(now_s)),
            account.as_ref().map(|claims| claims.issues(now_s)),
            user.as_ref().map(|claims| claims.issues(now_s)),
            activation.as_ref().map(|claims| claims.issues(Some(now_s))),
            response.as_ref().map(|claims| claims.issues(now_s)),
        ];
        for issues in issues.into_iter().flatten() {
            assert!(issues.block() || !issues.block_always());
            let _ = issues.errors();
        }
    }
    if let Some(account) = &account {
        let _ = account.nats.limits.jetstream();
    }
    if let Some(user) = user {
        use_user(&user, account.unwrap_or_default());
    }
}

fn use_user(user: &Claims<User>, account: Claims<Account>) {
    for address in ["127.0.0.1", "::1", "255.255.255.255"] {
        let _ = admits_source(&user.nats, address.parse::<IpAddr>().ok());
    }
    let _ = admits_source(&user.nats, None);
    for now_ns in [0, i64::MAX, i64::MIN] {
        let _ = time_left(&user.nats, now_ns);
    }
    let _ = user.nats.permissions();
    let _ = user.nats.connect_limits();
    if let Err(error) = fill(&user.nats, user, &account) {
        told(&error);
    }
}

fn same<T: PartialEq + Debug, E: Display>(read: impl Fn() -> Result<T, E>) -> Option<T> {
    let once = read().map_err(|error| told(&error)).ok();
    assert_eq!(once, read().ok());
    once
}
