//! Claims that are pushed at a server: whoever may do so may send whatever he wants.

use jetkv::Server;
use jetkv::claims::encode;
use jetkv::options::Options;
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::common::{Wire, start};

const UPDATE: &str = "$SYS.REQ.CLAIMS.UPDATE";
const LIMITS: &str =
    r#"{"subs":-1,"data":-1,"payload":-1,"imports":-1,"exports":-1,"wildcards":true,"conn":-1,"leaf":-1}"#;

/// Who signs for whom.
struct House {
    operator: KeyPair,
    system: KeyPair,
    account: KeyPair,
    user: KeyPair,
    directory: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            system: KeyPair::new_account(),
            account: KeyPair::new_account(),
            user: KeyPair::new_user(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn account_token(&self, account: &KeyPair) -> String {
        let limits: Value = serde_json::from_str(LIMITS).unwrap();
        let claims = json!({"iss": self.operator.public_key(), "sub": account.public_key(), "name": "n",
            "nats": {"type": "account", "version": 2, "limits": limits}});
        encode(&claims, &self.operator).unwrap()
    }

    fn start(&self, resolver: &str) -> Server {
        let operator = json!({"iss": self.operator.public_key(), "sub": self.operator.public_key(), "name": "O",
            "nats": {"type": "operator", "version": 2, "system_account": self.system.public_key()}});
        let config = format!(
            "listen: \"127.0.0.1:-1\"\nauthorization {{ timeout: 60 }}\noperator: {}\nresolver: {resolver}\nresolver_preload: {{ {}: {}, {}: {} }}",
            encode(&operator, &self.operator).unwrap(),
            self.system.public_key(),
            self.account_token(&self.system),
            self.account.public_key(),
            self.account_token(&self.account),
        );
        start(Options::from_config_text(&config).unwrap())
    }

    fn user_token(&self, account: &KeyPair) -> String {
        let claims = json!({"iss": account.public_key(), "sub": self.user.public_key(), "name": "u",
            "nats": {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "bearer_token": true}});
        encode(&claims, account).unwrap()
    }

    fn connect(&self, server: &Server, account: &KeyPair) -> Wire {
        Wire::client_with(server, &format!(",\"jwt\":\"{}\"", self.user_token(account)))
    }

    /// What nobody should believe.
    fn garbage(&self) -> Vec<String> {
        let good = self.account_token(&self.account);
        let claims = |issuer: &KeyPair, subject: &str, kind: &str| {
            let claims =
                json!({"iss": issuer.public_key(), "sub": subject, "nats": {"type": kind, "version": 2}});
            encode(&claims, issuer).unwrap()
        };
        let of = self.account.public_key();
        let mut garbage: Vec<String> =
            (0..good.len()).step_by(29).map(|end| good[..end].to_owned()).collect();
        garbage.extend([
            "e".repeat(1_000_000),
            "\0".repeat(1000),
            "\u{1F511}.\u{1F511}.\u{1F511}".to_owned(),
            format!("{good}A"),
            good.replacen('e', "f", 1),
            self.user_token(&self.account),
            claims(&self.operator, &of, "user"),
            claims(&self.operator, &of, "operator"),
            claims(&self.operator, "../../../etc/passwd", "account"),
            claims(&self.operator, "", "account"),
        ]);
        garbage
    }
}

/// Claims about `subject` that `issuer` signs.
fn claims(issuer: &KeyPair, subject: &str, kind: &str) -> String {
    let claims = json!({"iss": issuer.public_key(), "sub": subject, "nats": {"type": kind, "version": 2}});
    encode(&claims, issuer).unwrap()
}

fn ask(wire: &mut Wire, subject: &str, body: &str) -> Value {
    wire.send(&format!("SUB answer 7\r\nUNSUB 7 1\r\nPUB {subject} answer {}\r\n{body}\r\n", body.len()));
    let line = wire.line();
    let size: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(line.starts_with("MSG answer 7 "), "{line}");
    serde_json::from_slice(&wire.take(size + 2)[..size]).unwrap()
}

#[test]
fn pushed_garbage_changes_nothing_and_keeps_nobody_waiting() {
    let house = House::new();
    let full = format!("{{ type: full, dir: \"{}\" }}", house.directory.path().display());
    for resolver in ["MEMORY", &full] {
        let server = house.start(resolver);
        let mut system = house.connect(&server, &house.system);
        let mut idle = house.connect(&server, &house.account);
        let named = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", house.account.public_key());
        for token in house.garbage() {
            let subjects: &[&str] = if resolver == "MEMORY" { &[&named] } else { &[&named, UPDATE] };
            for subject in subjects {
                let answer = ask(&mut system, subject, &token);
                assert!(answer["error"].is_object(), "{subject} {token}: {answer}");
                idle.expect_nothing();
            }
        }
        // Signed by the account itself, and by another one: a directory keeps it, and nobody is known by it.
        for issuer in [&house.account, &KeyPair::new_operator()] {
            let answer = ask(&mut system, &named, &claims(issuer, &house.account.public_key(), "account"));
            assert_eq!(answer["error"].is_object(), resolver == "MEMORY", "{answer}");
            idle.expect_nothing();
        }
        // All at once, and nobody listens for the answers.
        let flood: String = house
            .garbage()
            .iter()
            .filter(|token| token.len() < 10_000)
            .map(|token| format!("PUB {named} nobody {}\r\n{token}\r\n", token.len()))
            .collect();
        for _ in 0..20 {
            system.send(&flood);
            idle.expect_nothing();
        }
        system.expect_nothing();
        // Whoever comes is known by what was there before.
        house.connect(&server, &house.account).expect_nothing();
        let good = house.account_token(&house.account);
        assert_eq!(ask(&mut system, &named, &good)["data"]["code"], 200);
        house.connect(&server, &house.account).expect_nothing();
        idle.expect_nothing();
    }
    let kept: Vec<String> = std::fs::read_dir(house.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(kept.iter().all(|name| name.len() == 60 && name.ends_with(".jwt")), "{kept:?}");
}
