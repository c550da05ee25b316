//! Answers about clients that no service gives: those of another question, too late, too large, of another form.

use base64::Engine as _;
use jetkv::Server;
use jetkv::claims::encode;
use jetkv::options::Options;
use jetkv_testing::eventually;
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::common::{Wire, connections, start};

/// Where it is asked who may connect.
const QUESTIONS: &str = "$SYS.REQ.USER.AUTH";

/// A question about a client.
struct Question {
    /// Where the answer goes.
    reply: String,
    /// The user that the answer has to be about, and the server that asks.
    user: String,
    server: String,
}

/// The service.
struct Service {
    wire: Wire,
    issuer: KeyPair,
}

fn started() -> (Server, Service) {
    let issuer = KeyPair::new_account();
    let config = format!(
        "listen: \"127.0.0.1:-1\"
         accounts {{ AUTH {{ users: [ {{ user: auth, password: pwd }} ] }}, APP {{ users: [ {{ user: app, password: pwd }} ] }} }}
         authorization {{ timeout: 60, auth_callout {{ issuer: {}, account: AUTH, auth_users: [ auth, app ] }} }}",
        issuer.public_key()
    );
    let server = start(Options::from_config_text(&config).unwrap());
    let mut wire = Wire::client_with(&server, ",\"user\":\"auth\",\"pass\":\"pwd\"");
    wire.send(&format!("SUB {QUESTIONS} 1\r\n"));
    wire.expect_nothing();
    (server, Service { wire, issuer })
}

/// A client that the service is asked about.
fn applicant(server: &Server) -> Wire {
    let mut client = Wire::connect(server);
    client.send("CONNECT {\"verbose\":false,\"user\":\"x\",\"pass\":\"y\"}\r\nPING\r\n");
    client
}

impl Service {
    fn question(&mut self) -> Question {
        let line = self.wire.line();
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!((words[0], words[1]), ("MSG", QUESTIONS), "{line}");
        let size: usize = words[4].parse().unwrap();
        let token = String::from_utf8(self.wire.take(size + 2)).unwrap();
        let part = token.split('.').nth(1).unwrap();
        let part = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
        let claims: Value = serde_json::from_slice(&part).unwrap();
        let text = |pointer: &str| claims.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        Question {
            reply: words[3].to_owned(),
            user: text("/nats/user_nkey"),
            server: text("/nats/server_id/id"),
        }
    }

    /// What lets the client of a question in.
    fn consent(&self, question: &Question) -> String {
        let user = json!({"iss": self.issuer.public_key(), "sub": question.user, "aud": "APP",
            "nats": {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}});
        let user = encode(&user, &self.issuer).unwrap();
        let answer = json!({"iss": self.issuer.public_key(), "sub": question.user, "aud": question.server,
            "nats": {"type": "authorization_response", "version": 2, "jwt": user}});
        encode(&answer, &self.issuer).unwrap()
    }

    fn answer(&mut self, question: &Question, answer: &str) {
        self.wire.send(&format!("PUB {} {}\r\n{answer}\r\n", question.reply, answer.len()));
    }
}

/// How many subscriptions there are, in all accounts.
fn subscriptions(server: &Server) -> Value {
    let (_, page) = server.page("/subsz", "");
    let page: Value = serde_json::from_str(&page).unwrap();
    page["num_subscriptions"].clone()
}

fn is_refused(client: &mut Wire) {
    client.expect_then_close("-ERR 'Authorization Violation'\r\n");
}

#[test]
fn an_answer_lets_nobody_in_but_whom_it_is_about() {
    let (server, mut service) = started();
    let mut first = applicant(&server);
    let of_first = service.question();
    let consent = service.consent(&of_first);
    service.answer(&of_first, &consent);
    first.expect("PONG\r\n");
    // The answer once more, for another client.
    let mut second = applicant(&server);
    let of_second = service.question();
    service.answer(&of_second, &consent);
    is_refused(&mut second);
    // Those of two questions, exchanged.
    let mut third = applicant(&server);
    let of_third = service.question();
    let mut fourth = applicant(&server);
    let of_fourth = service.question();
    let (for_third, for_fourth) = (service.consent(&of_third), service.consent(&of_fourth));
    service.answer(&of_third, &for_fourth);
    service.answer(&of_fourth, &for_third);
    is_refused(&mut third);
    is_refused(&mut fourth);
    // And to who was let in, or sent away, before.
    for question in [&of_first, &of_second, &of_third] {
        let consent = service.consent(question);
        service.answer(question, &consent);
    }
    service.wire.expect_nothing();
    first.expect_nothing();
}

#[test]
fn whatever_is_answered_the_next_client_comes_in() {
    let (server, mut service) = started();
    let mut idle = Wire::client_with(&server, ",\"user\":\"app\",\"pass\":\"pwd\"");
    let large = "e".repeat(1_000_000);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let base64 = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let header = base64(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    for at in 0..10 {
        let mut client = applicant(&server);
        let question = service.question();
        let consent = service.consent(&question);
        let answer = match at {
            0 => String::new(),
            1 => large.clone(),
            2 => format!("eyJ{large}"),
            3 => format!("{header}.{}.AAAA", base64(&deep)),
            4 => format!("{consent}A"),
            5 => consent.get(..consent.len() / 2).unwrap().to_owned(),
            6 => format!("{consent}.{consent}"),
            7 => "\u{1F511}".repeat(1000),
            8 => "xkv1".to_owned(),
            _ => format!("{header}.{}.", base64("{}")),
        };
        service.answer(&question, &answer);
        is_refused(&mut client);
        idle.expect_nothing();
    }
    // The first answer counts.
    let mut client = applicant(&server);
    let question = service.question();
    let consent = service.consent(&question);
    service.answer(&question, "garbage");
    service.answer(&question, &consent);
    is_refused(&mut client);
    let mut client = applicant(&server);
    let question = service.question();
    let consent = service.consent(&question);
    service.answer(&question, &consent);
    service.answer(&question, "garbage");
    client.expect("PONG\r\n");
    idle.expect_nothing();
}

/// While nobody answers, others are served, and whoever goes leaves nothing behind.
#[test]
fn many_questions_without_an_answer_keep_nobody_waiting() {
    let (server, mut service) = started();
    let mut idle = Wire::client_with(&server, ",\"user\":\"app\",\"pass\":\"pwd\"");
    let before = subscriptions(&server);
    let mut clients: Vec<Wire> = (0..100).map(|_| applicant(&server)).collect();
    let questions: Vec<Question> = (0..100).map(|_| service.question()).collect();
    idle.expect_nothing();
    // Half of them are answered in the end, in the other order; the others go.
    clients.truncate(50);
    for question in questions.iter().rev() {
        let consent = service.consent(question);
        service.answer(question, &consent);
    }
    clients.iter_mut().for_each(|client| client.expect("PONG\r\n"));
    drop(clients);
    eventually("they are gone", || connections(&server, "").len() == 2 && subscriptions(&server) == before);
    idle.expect_nothing();
}
