//! What operators say of themselves.

use std::fmt;

use jetkv_go_compat::json;
use serde::{Deserialize, Serialize};

use super::model::{OperatorClaims, is_default, or_default};

/// An operator. Written as JSON it has the fields and the order of nats-server v2.15.2.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Operator {
    /// Keys that sign for it.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub signing_keys: Vec<String>,
    /// Where account claims are asked for.
    #[serde(skip_serializing_if = "is_default")]
    pub account_server_url: String,
    /// Where its servers are.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub operator_service_urls: Vec<String>,
    /// The system account.
    #[serde(skip_serializing_if = "is_default")]
    pub system_account: String,
    /// The oldest version that a server may have.
    #[serde(skip_serializing_if = "is_default")]
    pub assert_server_version: String,
    /// Whether its own key signs nothing but itself.
    #[serde(skip_serializing_if = "is_default")]
    pub strict_signing_key_usage: bool,
    /// Words.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
    /// What the claims are about, as they name it.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub kind: String,
    /// 1 or 2.
    #[serde(skip_serializing_if = "is_default")]
    pub version: i64,
}

/// JSON on several lines, as log lines of nats-server have it.
impl fmt::Display for OperatorClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&json::pretty(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::{Token, encode};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use nkeys::KeyPair;
    use serde_json::json;

    #[test]
    fn claims_are_written_with_the_fields_that_say_something() {
        let key = KeyPair::new_operator();
        let name = key.public_key();
        let first = json!({"iss": name, "sub": name, "type": "operator", "tags": ["x"], "nats": {"signing_keys": null}});
        let second = json!({
            "sub": name, "iss": name, "jti": "J", "iat": 5,
            "nats": {"version": 2, "type": "operator", "strict_signing_key_usage": true, "other": 1},
        });
        // In the first version the claims alone are signed.
        let first = encode(&first, &key).unwrap();
        let (unsigned, _) = first.rsplit_once('.').unwrap();
        let signature = key.sign(unsigned.rsplit_once('.').unwrap().1.as_bytes()).unwrap();
        let first = format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(signature));
        for (token, written) in [
            (first, r#","nats":{"tags":["x"],"type":"operator","version":1}}"#),
            (
                encode(&second, &key).unwrap(),
                r#","nats":{"strict_signing_key_usage":true,"type":"operator","version":2}}"#,
            ),
        ] {
            let claims = Token::operator(&token).unwrap();
            let text = json::to_string(&claims);
            assert!(text.ends_with(written), "{text}");
            assert!(claims.to_string().starts_with("{\n  \""), "{claims}");
        }
    }
}
