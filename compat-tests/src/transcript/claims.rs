//! Keys and claims of scenarios: tokens are made when they are needed, from what stands in the file.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::{KeyPair, XKey};
use serde_json::Value;

use crate::Result;

/// When tokens were made that do not say it themselves, in seconds since 1970.
const ISSUED_AT_S: i64 = 1_700_000_000;

/// A token that is made when the case is played, since it ends soon after.
#[derive(Clone, Debug)]
pub(super) struct Deferred {
    /// The variable's name.
    pub(super) name: String,
    /// The key that signs.
    pub(super) seed: String,
    /// What it says, as JSON.
    pub(super) claims: String,
}

/// The public key of a seed.
///
/// # Errors
/// It is none.
pub(super) fn public_key(seed: &str) -> Result<String> {
    // Keys that things are sealed for are of another kind.
    if seed.starts_with("SX") {
        return Ok(XKey::from_seed(seed).map_err(|e| format!("seed {seed:?}: {e}"))?.public_key());
    }
    Ok(pair(seed)?.public_key())
}

fn pair(seed: &str) -> Result<KeyPair> {
    KeyPair::from_seed(seed).map_err(|e| format!("seed {seed:?}: {e}").into())
}

/// A token that says what `claims` do, signed by the key of a seed, which is its issuer unless another one is named.
///
/// # Errors
/// The claims are no JSON object, or the key cannot sign.
pub(super) fn token(seed: &str, claims: &str) -> Result<String> {
    let pair = pair(seed)?;
    let mut claims: Value = serde_json::from_str(claims).map_err(|e| format!("claims {claims}: {e}"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    replace_times(&mut claims, i64::try_from(now)?);
    let fields = claims.as_object_mut().ok_or("claims are a JSON object")?;
    fields.entry("iss").or_insert_with(|| pair.public_key().into());
    fields.entry("iat").or_insert_with(|| ISSUED_AT_S.into());
    fields.entry("jti").or_insert_with(|| "TEST".into());
    if let Some(nats) = fields.get_mut("nats").and_then(Value::as_object_mut) {
        nats.entry("version").or_insert_with(|| 2.into());
    }
    let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = pair.sign(signed.as_bytes()).map_err(|e| format!("signature: {e}"))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Replaces texts such as `now+3` by seconds since 1970.
fn replace_times(value: &mut Value, now_s: i64) {
    match value {
        Value::String(text) => {
            if let Some(offset) = text.strip_prefix("now").and_then(|offset| match offset {
                "" => Some(0),
                offset => offset.parse::<i64>().ok(),
            }) {
                *value = (now_s + offset).into();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| replace_times(value, now_s)),
        Value::Object(fields) => fields.values_mut().for_each(|value| replace_times(value, now_s)),
        _ => {}
    }
}

/// What `key NAME: seed` and `jwt NAME by KEY: claims` of a scenario stand for.
#[derive(Default)]
pub(super) struct Named {
    values: Vec<(String, String)>,
    /// Tokens that are made later.
    pub(super) deferred: Vec<Deferred>,
}

impl Named {
    /// Takes a line in; tells whether it names something.
    ///
    /// # Errors
    /// What it names is nothing.
    pub(super) fn take(&mut self, line: &str) -> Result<bool> {
        let Some((what, value)) = line.split_once(": ") else { return Ok(false) };
        let words: Vec<&str> = what.split(' ').collect();
        match words.as_slice() {
            ["key", name] => {
                let seed = value.trim();
                self.values.push(((*name).to_string(), public_key(seed)?));
                self.values.push((format!("{name}.seed"), seed.to_string()));
            }
            ["jwt", name, "by", key] => {
                let claims = self.fill(value);
                let seed = self.fill(&format!("${{{key}.seed}}"));
                if claims.contains("\"now") {
                    self.deferred.push(Deferred { name: (*name).to_string(), seed, claims });
                } else {
                    self.values.push(((*name).to_string(), token(&seed, &claims)?));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A text with what was named so far.
    pub(super) fn fill(&self, text: &str) -> String {
        if !text.contains("${") {
            return text.to_string();
        }
        let replace =
            |text: String, (name, value): &(String, String)| text.replace(&format!("${{{name}}}"), value);
        self.values.iter().fold(text.to_string(), replace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tokens_have_names() {
        let mut named = Named::default();
        let seed = KeyPair::new_account().seed().unwrap();
        assert!(named.take(&format!("key A: {seed}")).unwrap());
        assert!(named.take(r#"jwt T by A: {"sub":"${A}","nats":{"type":"account"}}"#).unwrap());
        assert!(named.take(r#"jwt S by A: {"exp":"now+3"}"#).unwrap());
        assert!(!named.take("connect a {\"user\": 1}").unwrap());
        assert_eq!(named.fill("${A}"), public_key(&seed).unwrap());
        assert_eq!(named.fill("${T}").split('.').count(), 3);
        assert_eq!((named.deferred.len(), named.fill("${S}").as_str()), (1, "${S}"));
    }
}
