//! The subjects under which what an account's clients publish goes on.

use rand::Rng;

use super::domains::Domains;
use crate::options::Mapping;

/// All that gives a published subject another name. One that is mapped is not mapped again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mappings {
    configured: Vec<Mapping>,
    domains: Option<Domains>,
    /// Name of the cluster that the server is in. Empty: none.
    cluster: String,
}

impl Mappings {
    /// Those that the configuration asks for go before those of JetStream's domains.
    pub(crate) fn new(configured: Vec<Mapping>, domains: Option<Domains>, cluster: &str) -> Self {
        Self { configured, domains, cluster: cluster.to_owned() }
    }

    /// Those that the configuration asks for.
    pub(crate) fn configured(&self) -> &[Mapping] {
        &self.configured
    }

    /// Those of JetStream's domains, each pattern with its other name.
    pub(crate) fn of_domains(&self) -> Vec<(String, String)> {
        self.domains.as_ref().map(Domains::list).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.configured.is_empty() && self.domains.is_none()
    }

    /// Puts the other name of `subject` into `renamed`, which is empty before; tells whether there is one. It is empty
    /// for a message that is to be lost.
    pub(crate) fn rename(&self, subject: &[u8], renamed: &mut Vec<u8>) -> bool {
        if let Some(mapping) = self.configured.iter().find(|mapping| mapping.takes(subject)) {
            let mut random = rand::rng();
            mapping.apply(subject, &self.cluster, renamed, || random.random());
            return true;
        }
        self.domains.as_ref().is_some_and(|domains| domains.rename(subject, renamed))
    }
}
