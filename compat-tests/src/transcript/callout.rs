//! Answers to questions about clients, as a service gives them that decides who may connect (ADR-26).
//!
//! What the step `vouches` takes is a JSON object: `by` is the seed of the key that signs the answer; `user` are the claims of
//! the user that the client becomes, and `user_by` the seed of the key that signs these, if it is another one; `response`
//! are fields over those of the answer; `error` is what stands in the place of a user; `seed` is that of the key that opens the
//! question and seals the answer, unless `open` is true; `raw` is an answer as it is.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::XKey;
use serde_json::{Map, Value, json};

use super::claims;
use crate::Result;

/// The header that says which key sealed a question.
const XKEY_HEADER: &str = "Nats-Server-Xkey:";
/// Half an hour; a question holds for the seconds that the server waits.
const NEAR_S: u64 = 1_800;

/// How a question is answered.
pub(super) struct How(Map<String, Value>);

impl How {
    /// Reads it.
    ///
    /// # Errors
    /// It is no JSON object.
    pub(super) fn read(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).map_err(|e| format!("vouches {text}: {e}"))?;
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            other => Err(format!("vouches a JSON object, not {other}").into()),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }
}

/// A question.
pub(super) struct Question {
    /// What it says. Its end is left out where it is near, as it has to be.
    pub(super) claims: Value,
    user: String,
    server: String,
    /// The key that sealed it.
    sealer: Option<XKey>,
}

impl Question {
    /// Takes a message apart.
    ///
    /// # Errors
    /// It is no question, or cannot be opened.
    pub(super) fn read(how: &How, headers: Option<&str>, payload: &[u8]) -> Result<Self> {
        let sealer = headers.unwrap_or_default().lines().find_map(|line| line.strip_prefix(XKEY_HEADER));
        let sealer = sealer
            .map(|key| XKey::from_public_key(key.trim()).map_err(|e| format!("sealing key: {e}")))
            .transpose()?;
        let token = match &sealer {
            Some(sealer) => {
                own_key(how)?.open(payload, sealer).map_err(|e| format!("sealed question: {e}"))?
            }
            None => payload.to_vec(),
        };
        let token = String::from_utf8(token)?;
        let part = token.split('.').nth(1).ok_or("a question is a token")?;
        let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?;
        let text = |pointer: &str| {
            claims
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_string)
                .ok_or("a question has a user and a server")
        };
        let (user, server) = (text("/nats/user_nkey")?, text("/nats/server_id/id")?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        if let Some(fields) = claims.as_object_mut() {
            let is_near =
                |at: Option<&Value>| at.and_then(Value::as_u64).is_some_and(|at| at.abs_diff(now) <= NEAR_S);
            if is_near(fields.get("exp")) && is_near(fields.get("iat")) {
                fields.remove("exp");
                fields.remove("iat");
            }
        }
        Ok(Self { claims, user, server, sealer })
    }

    /// The answer.
    ///
    /// # Errors
    /// Nobody can sign or seal it.
    pub(super) fn answer(&self, how: &How) -> Result<Vec<u8>> {
        if let Some(raw) = how.text("raw") {
            return Ok(raw.as_bytes().to_vec());
        }
        let by = how.text("by").ok_or("vouches needs `by`")?;
        let mut nats = json!({"type": "authorization_response"});
        if let Some(user) = how.0.get("user") {
            let mut claims =
                json!({"sub": self.user, "nats": {"type": "user", "subs": -1, "data": -1, "payload": -1}});
            merge(&mut claims, user);
            let token = claims::token(how.text("user_by").unwrap_or(by), &claims.to_string())?;
            merge(&mut nats, &json!({"jwt": token}));
        }
        if let Some(error) = how.0.get("error") {
            merge(&mut nats, &json!({"error": error}));
        }
        let mut response = json!({"sub": self.user, "aud": self.server, "nats": nats});
        if let Some(over) = how.0.get("response") {
            merge(&mut response, over);
        }
        let token = claims::token(by, &response.to_string())?;
        match &self.sealer {
            Some(sealer) if how.0.get("open") != Some(&Value::Bool(true)) => {
                let sealed = own_key(how)?.seal(token.as_bytes(), sealer);
                Ok(sealed.map_err(|e| format!("seal: {e}"))?)
            }
            _ => Ok(token.into_bytes()),
        }
    }
}

fn own_key(how: &How) -> Result<XKey> {
    let seed = how.text("seed").ok_or("a sealed question needs `seed`")?;
    XKey::from_seed(seed).map_err(|e| format!("seed: {e}").into())
}

/// Puts the fields of `over` over those of `value`, within objects, too.
fn merge(value: &mut Value, over: &Value) {
    match (value, over) {
        (Value::Object(fields), Value::Object(over)) => {
            for (name, over) in over {
                merge(fields.entry(name).or_insert(Value::Null), over);
            }
        }
        (value, over) => *value = over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPair;

    use super::*;

    #[test]
    fn a_sealed_question_is_answered_to_who_asked() {
        let (server, account, own, theirs) =
            (KeyPair::new_server(), KeyPair::new_account(), XKey::new(), XKey::new());
        let asked = json!({"nats": {"user_nkey": "U", "server_id": {"id": "N"}}});
        let token = claims::token(&server.seed().unwrap(), &asked.to_string()).unwrap();
        let sealed = theirs.seal(token.as_bytes(), &own).unwrap();
        let headers = format!("NATS/1.0\r\n{XKEY_HEADER} {}", theirs.public_key());
        let how = json!({"by": account.seed().unwrap(), "seed": own.seed().unwrap(), "user": {"name": "x"}});
        let how = How::read(&how.to_string()).unwrap();
        let question = Question::read(&how, Some(&headers), &sealed).unwrap();
        let answer = theirs.open(&question.answer(&how).unwrap(), &own).unwrap();
        let part = String::from_utf8(answer).unwrap().split('.').nth(1).unwrap().to_string();
        let answer: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!((&answer["sub"], &answer["aud"]), (&json!("U"), &json!("N")));
        assert!(answer["nats"]["jwt"].is_string());
        assert!(Question::read(&how, None, b"x").is_err());
    }
}
