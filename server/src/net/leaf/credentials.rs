//! Who this server says that it is, where it connects to another one.

use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jetkv_protocol::connect::LeafConnect;
use nkeys::KeyPair;

use super::remote::Solicited;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    /// The file cannot be read.
    #[error("open {}: {}", .0.display(), jetkv_go_compat::os_text(.1))]
    Unreadable(PathBuf, io::Error),
    /// It holds something else.
    #[error("Credentials file malformed")]
    Malformed,
    /// What it holds, or the configuration does, is no seed.
    #[error("{0} has malformed seed")]
    MalformedSeed(&'static str),
}

/// Adds to CONNECT what the configuration has this server show, signed over the nonce of INFO.
pub(super) fn sign(
    mut said: LeafConnect,
    solicited: &Solicited,
    nonce: &str,
) -> Result<LeafConnect, CredentialsError> {
    let signed = |pair: &KeyPair, whose| {
        let signature = pair.sign(nonce.as_bytes()).map_err(|_| CredentialsError::MalformedSeed(whose))?;
        Ok(URL_SAFE_NO_PAD.encode(signature))
    };
    if let Some(path) = &solicited.remote.credentials {
        const WHOSE: &str = "Credentials file";
        let text = std::fs::read_to_string(path)
            .map_err(|error| CredentialsError::Unreadable(path.clone(), error))?;
        let (token, seed) = parts(&text).ok_or(CredentialsError::Malformed)?;
        let pair = KeyPair::from_seed(seed).map_err(|_| CredentialsError::MalformedSeed(WHOSE))?;
        said.sig = signed(&pair, WHOSE)?;
        token.clone_into(&mut said.jwt);
    } else if let Some(seed) = &solicited.remote.seed {
        const WHOSE: &str = "Remote nkey";
        let pair = KeyPair::from_seed(seed).map_err(|_| CredentialsError::MalformedSeed(WHOSE))?;
        said.sig = signed(&pair, WHOSE)?;
        said.nkey = pair.public_key();
    }
    let url = &solicited.url;
    if let Some(user) = &url.user {
        said.user.clone_from(user);
        match &url.password {
            Some(password) => said.pass.clone_from(password),
            // A name alone may be a token.
            None => said.auth_token.clone_from(user),
        }
    }
    Ok(said)
}

/// The claims and the seed in a file of credentials: what stands between two lines of dashes each.
fn parts(text: &str) -> Option<(&str, &str)> {
    let mut lines = text.lines().map(str::trim);
    let mut next = || {
        lines.find(|line| line.starts_with("---"))?;
        let part = lines.next()?;
        lines.find(|line| line.starts_with("---")).map(|_| part)
    };
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn a_file_of_credentials_has_two_parts() {
        let text = "-----BEGIN NATS USER JWT-----\nabc.d\n------END NATS USER JWT------\n\n****\n\
            -----BEGIN USER NKEY SEED-----\nSUA\n------END USER NKEY SEED------\n";
        assert_eq!(parts(text), Some(("abc.d", "SUA")));
        assert_eq!(parts("-----BEGIN-----\nabc\n"), None);
        assert_eq!(parts(""), None);
    }
}
