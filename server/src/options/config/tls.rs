//! The `tls` block of the port that clients connect to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::report::{Checked, Problem};
use super::typed::{map, string};
use crate::options::defaults;
use crate::options::grammar::{Node, Value};
use crate::options::remote_tls::RemoteTls;
use crate::options::tls_model::{
    self, CIPHER_SUITES, CURVES, HandshakeFirst, Pair, TlsIdentity, TlsOptions, TlsSource,
};
use jetkv_go_compat::{GoDuration, quoted};

/// Suites of TLS 1.3, which Go lets nobody choose: all of them are always there.
const TLS13_SUITES: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
/// Suites that nats-server knows and JetKV does not serve.
const UNSERVED_SUITES: [&str; 4] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];
/// Suites that Go calls insecure, which JetKV does not serve either.
const INSECURE_SUITES: [&str; 13] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA",
];
/// Curves that nats-server knows and JetKV does not serve.
const UNSERVED_CURVES: [&str; 4] = ["SecP384r1MLKEM1024", "SecP256r1MLKEM768", "X25519MLKEM768", "CurveP521"];

/// TLS as flags ask for it, which win over the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFlags {
    /// `--tls`, where it was given.
    pub on: Option<bool>,
    /// Any other of them was given.
    pub any: bool,
    pub verify: bool,
    pub cert: String,
    pub key: String,
    pub ca: String,
}

/// What a block says before its files are read.
#[derive(Default)]
struct Block {
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    source: TlsSource,
    pairs: Vec<(PathBuf, PathBuf)>,
    map: bool,
    allows_insecure: bool,
    /// Whoever this server connects to need not prove who it is.
    trusts_anybody: bool,
    insecure: Vec<String>,
    timeout: Option<Duration>,
    handshake_first: Option<HandshakeFirst>,
    pinned_certs: Vec<String>,
    connection_rate_limit: i64,
}

/// Reads the block, and the files that it names.
pub(super) fn read(node: &Node) -> Checked<TlsOptions> {
    block(node)?.finish().map_err(|error| Problem::at(node, error))
}

/// Reads the block of a server that this one connects to, and the files that it names.
pub(super) fn read_remote(node: &Node) -> Checked<RemoteTls> {
    block(node)?.finish_remote().map_err(|error| Problem::at(node, error))
}

fn block(node: &Node) -> Checked<Block> {
    let mut block = Block::default();
    for (key, value) in map(node)?.iter() {
        if !block.files(key, value)? && !block.algorithms(key, value)? && !block.handshake(key, value)? {
            return Err(unknown(key, value));
        }
    }
    if !block.allows_insecure && !block.insecure.is_empty() {
        let names = block.insecure.join(", ");
        let text = format!(
            "insecure cipher suites configured without 'allow_insecure_cipher_suites' option set: {names}"
        );
        return Err(Problem::at(node, text));
    }
    Ok(block)
}

/// The block that flags make.
pub(crate) fn from_flags(
    cert: &Path,
    key: &Path,
    ca: Option<&Path>,
    verify: bool,
) -> Result<TlsOptions, String> {
    let mut block = Block {
        cert_file: Some(cert.to_owned()),
        key_file: Some(key.to_owned()),
        ca_file: ca.map(Path::to_owned),
        ..Block::default()
    };
    block.source.verify = verify;
    block.finish()
}

/// A key that is not served, or not known.
fn unknown(key: &str, node: &Node) -> Problem {
    match key.to_ascii_lowercase().as_str() {
        "verify_cert_and_check_known_urls" => {
            Problem::at(node, "verify_cert_and_check_known_urls not supported in this context")
        }
        "cert_store"
        | "cert_match_by"
        | "cert_match"
        | "ca_certs_match"
        | "cert_match_skip_invalid"
        | "ocsp_peer" => Problem::unsupported(node, key),
        _ => Problem::at(node, format!("error parsing tls config, unknown field {}", quoted(key))),
    }
}

fn flag(key: &str, node: &Node) -> Checked<bool> {
    match node.value {
        Value::Bool(on) => Ok(on),
        _ => Err(Problem::at(node, format!("error parsing tls config, expected '{key}' to be a boolean"))),
    }
}

fn file(key: &str, node: &Node) -> Checked<Option<PathBuf>> {
    match &node.value {
        Value::String(path) => Ok((!path.is_empty()).then(|| path.into())),
        _ => Err(Problem::at(node, format!("error parsing tls config, expected '{key}' to be filename"))),
    }
}

fn names<'n>(key: &str, node: &'n Node) -> Checked<Vec<(&'n Node, &'n str)>> {
    let Value::Array(items) = &node.value else {
        let kind = node.value.kind();
        return Err(Problem::at(
            node,
            format!("interface conversion: interface {{}} is {kind}, not []interface {{}}"),
        ));
    };
    if items.is_empty() {
        return Err(Problem::at(node, format!("error parsing tls config, '{key}' cannot be empty")));
    }
    items.iter().map(|item| Ok((item, string(item)?))).collect()
}

impl Block {
    fn files(&mut self, key: &str, node: &Node) -> Checked<bool> {
        match key.to_ascii_lowercase().as_str() {
            "cert_file" => self.cert_file = file("cert_file", node)?,
            "key_file" => self.key_file = file("key_file", node)?,
            "ca_file" => self.ca_file = file("ca_file", node)?,
            "verify" => self.source.verify = flag("verify", node)?,
            "verify_and_map" => self.map = flag("verify_and_map", node)?,
            "certs" | "certificates" => self.certificates(node)?,
            "insecure" => self.trusts_anybody = flag("insecure", node)?,
            // Switches that are off.
            "verify_cert_and_check_known_urls" | "ocsp_peer" if matches!(node.value, Value::Bool(false)) => {}
            "pinned_certs" => self.pinned(node)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Several pairs of files.
    fn certificates(&mut self, node: &Node) -> Checked<()> {
        let wrong = |node: &Node| {
            let kind = node.value.kind();
            Problem::at(node, format!("error parsing certificates config: unsupported type {kind}"))
        };
        let Value::Array(pairs) = &node.value else { return Err(wrong(node)) };
        for pair in pairs.iter() {
            let Value::Map(entries) = &pair.value else { return Err(wrong(pair)) };
            let (mut cert, mut key, mut last) = (PathBuf::new(), PathBuf::new(), pair);
            for (name, value) in entries.iter() {
                last = value;
                let Value::String(file) = &value.value else { return Err(wrong(value)) };
                match name {
                    "cert_file" => cert = file.into(),
                    "key_file" => key = file.into(),
                    _ => {
                        let name = quoted(name);
                        let text = format!("error parsing tls certs config, unknown field {name}");
                        return Err(Problem::at(value, text));
                    }
                }
            }
            if cert.as_os_str().is_empty() || key.as_os_str().is_empty() {
                let text =
                    "error parsing certificates config: both 'cert_file' and 'cert_key' options are required";
                return Err(Problem::at(last, text));
            }
            self.pairs.push((cert, key));
        }
        Ok(())
    }

    fn pinned(&mut self, node: &Node) -> Checked<()> {
        const WHAT: &str = "hex-encoded sha256 of DER encoded SubjectPublicKeyInfo";
        let Value::Array(items) = &node.value else {
            let text = format!("error parsing tls config, expected 'pinned_certs' to be a list of {WHAT}");
            return Err(Problem::at(node, text));
        };
        for item in items.iter() {
            let entry = string(item)?.to_lowercase();
            if entry.len() != 64 || !entry.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let text =
                    format!("error parsing tls config, 'pinned_certs' key {entry} does not look like {WHAT}");
                return Err(Problem::at(item, text));
            }
            self.pinned_certs.push(entry);
        }
        Ok(())
    }

    fn algorithms(&mut self, key: &str, node: &Node) -> Checked<bool> {
        match key.to_ascii_lowercase().as_str() {
            "allow_insecure_cipher_suites" => {
                self.allows_insecure = flag("allow_insecure_cipher_suites", node)?
            }
            "cipher_suites" => {
                for (item, name) in names("cipher_suites", node)? {
                    if INSECURE_SUITES.contains(&name) {
                        self.insecure.push(name.to_owned());
                    } else if UNSERVED_SUITES.contains(&name) {
                        return Err(Problem::unsupported(item, name));
                    } else if !CIPHER_SUITES.contains(&name) && !TLS13_SUITES.contains(&name) {
                        return Err(Problem::at(item, format!("unrecognized cipher {name}")));
                    }
                    self.source.cipher_suites.push(name.to_owned());
                }
                if let (true, Some(name)) = (self.allows_insecure, self.insecure.first()) {
                    return Err(Problem::unsupported(node, name));
                }
            }
            "curve_preferences" => {
                for (item, name) in names("curve_preferences", node)? {
                    if UNSERVED_CURVES.contains(&name) {
                        return Err(Problem::unsupported(item, name));
                    }
                    if !CURVES.iter().any(|(known, _)| *known == name) {
                        return Err(Problem::at(item, format!("unrecognized curve preference {name}")));
                    }
                    self.source.curves.push(name.to_owned());
                }
            }
            "min_version" => self.source.only_tls13 = min_version(node)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn handshake(&mut self, key: &str, node: &Node) -> Checked<bool> {
        match key.to_ascii_lowercase().as_str() {
            "timeout" => self.timeout = timeout(node)?,
            "connection_rate_limit" => {
                let Value::Integer(limit) = node.value else {
                    let text = "error parsing tls config, 'connection_rate_limit' wrong type";
                    return Err(Problem::at(node, text));
                };
                self.connection_rate_limit = limit;
            }
            "handshake_first" | "first" | "immediate" => self.handshake_first = handshake_first(key, node)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(mut self) -> Result<TlsOptions, String> {
        let has_own = self.read_files()?;
        if !has_own {
            // nats-server starts, and no handshake succeeds.
            return Err("TLS without 'cert_file' and 'key_file' is not supported by JetKV".to_owned());
        }
        self.source.verify |= self.map;
        Ok(TlsOptions {
            verify: self.source.verify,
            map: self.map,
            timeout: self.timeout.unwrap_or(defaults::TLS_TIMEOUT),
            handshake_first: self.handshake_first,
            pinned_certs: self.pinned_certs.into_iter().collect(),
            connection_rate_limit: self.connection_rate_limit,
            identity: TlsIdentity::new(self.source)?,
        })
    }

    fn finish_remote(mut self) -> Result<RemoteTls, String> {
        self.read_files()?;
        let timeout = self.timeout.filter(|time| !time.is_zero()).unwrap_or(defaults::TLS_TIMEOUT);
        RemoteTls::new(self.source, self.trusts_anybody, timeout, self.handshake_first.is_some())
    }

    /// Reads the files that the block names. Whether there is a certificate of this server among them.
    fn read_files(&mut self) -> Result<bool, String> {
        let is_one = self.cert_file.is_some();
        let pairs = match (self.cert_file.take(), self.key_file.take()) {
            (Some(cert), Some(key)) => vec![(cert, key)],
            (Some(_), None) => return Err("missing 'key_file' in TLS configuration".to_owned()),
            (None, Some(_)) => return Err("missing 'cert_file' in TLS configuration".to_owned()),
            (None, None) => std::mem::take(&mut self.pairs),
        };
        let count = pairs.len();
        for (at, (cert, key)) in pairs.iter().enumerate() {
            let place = if is_one { String::new() } else { format!(" {}/{count}", at + 1) };
            let failed = |error: String| format!("error parsing X509 certificate/key pair{place}: {error}");
            let cert = tls_model::read_file(cert).map_err(failed)?;
            let key = tls_model::read_file(key).map_err(failed)?;
            self.source.pairs.push(Pair { cert, key, place });
        }
        self.source.authorities = self.ca_file.as_deref().map(tls_model::read_file).transpose()?;
        Ok(count > 0)
    }
}

/// Whether TLS 1.3 is the oldest version.
fn min_version(node: &Node) -> Checked<bool> {
    let refused = |text: String| Problem::at(node, format!("error parsing tls config: {text}"));
    let Value::String(version) = &node.value else {
        let shown = match &node.value {
            Value::Bool(value) => value.to_string(),
            Value::Integer(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            other => other.kind().to_owned(),
        };
        return Err(refused(format!("'min_version' wrong type: {shown}")));
    };
    match version.as_str() {
        "1.3" => Ok(true),
        "1.2" => Ok(false),
        "1.0" | "1.1" => Err(refused(format!("unsupported TLS version: TLS {version}"))),
        _ => Err(refused(format!("unknown version: {version}"))),
    }
}

fn timeout(node: &Node) -> Checked<Option<Duration>> {
    let seconds = match &node.value {
        Value::Integer(seconds) => *seconds as f64,
        Value::Float(seconds) => *seconds,
        Value::String(text) => match GoDuration::parse(text) {
            Ok(time) => time.as_duration().as_secs_f64(),
            Err(error) => {
                return Err(Problem::at(node, format!("error parsing tls config, 'timeout' {error}")));
            }
        },
        _ => return Err(Problem::at(node, "error parsing tls config, 'timeout' wrong type")),
    };
    Ok(Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero()))
}

fn handshake_first(key: &str, node: &Node) -> Checked<Option<HandshakeFirst>> {
    let text = match &node.value {
        Value::Bool(on) => return Ok(on.then_some(HandshakeFirst::Always)),
        Value::String(text) => text,
        other => {
            let text = format!("field {} should be a boolean or a string, got {}", quoted(key), other.kind());
            return Err(Problem::at(node, text));
        }
    };
    match text.to_lowercase().as_str() {
        "true" | "on" => Ok(Some(HandshakeFirst::Always)),
        "false" | "off" => Ok(None),
        "auto" | "auto_fallback" => Ok(Some(HandshakeFirst::Within(defaults::TLS_FIRST_FALLBACK))),
        _ => match GoDuration::parse(text) {
            Ok(time) if time.0 > 0 => Ok(Some(HandshakeFirst::Within(time.as_duration()))),
            Ok(_) => Ok(Some(HandshakeFirst::Always)),
            Err(_) => {
                let text = format!("field {}'s value {} is invalid", quoted(key), quoted(text));
                Err(Problem::at(node, text))
            }
        },
    }
}
