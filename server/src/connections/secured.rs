//! TLS of a connection.

use std::sync::Arc;

use crate::certificate::PeerCertificates;

/// What a connection under TLS agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Secured {
    /// The version, such as `1.3`.
    pub version: &'static str,
    /// The cipher suite's name.
    pub cipher_suite: String,
    /// The handshake came before INFO.
    pub is_first: bool,
    /// What the client showed, where it showed something.
    pub peer: Option<Arc<PeerCertificates>>,
}
