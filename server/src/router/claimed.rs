//! Accounts that come with claims: what these say, and how they change while the server runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jetkv_jetstream::WallNs;

use super::account::Account;
use super::accounts::Accounts;
use super::domains::Domains;
use super::exchange::{ExportedService, ImportedService, ImportedStream};
use super::mappings::Mappings;
use crate::auth::UserPermissions;
use crate::claims::AccountClaims;
use crate::options::{AccountOptions, Exchange, Options};

/// Claims of an account, in force.
#[derive(Debug)]
pub struct Claimed {
    /// As they came. Empty for an account that is only waited for.
    pub token: String,
    /// What they say.
    pub claims: AccountClaims,
    /// When they were put in force.
    pub updated_at: WallNs,
    /// When they were put in force.
    pub updated: Instant,
    /// Some import of theirs is not there.
    pub is_incomplete: AtomicBool,
    /// They hold no more.
    pub is_expired: AtomicBool,
    /// The account was taken away while the server runs; who is still in it is so for a moment only.
    pub is_gone: AtomicBool,
    /// What users may do whose claims say nothing of it.
    pub(crate) default_permissions: Option<Arc<UserPermissions>>,
    /// Whether the account's own key signs no users.
    pub is_strict: bool,
}

impl Claimed {
    /// Whether the claims hold no more.
    pub fn has_expired(&self) -> bool {
        self.is_expired.load(Ordering::Acquire)
    }

    /// Whether the account was taken away.
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// Whether a key signs users of the account; the inner `Some` is what it may sign.
    pub(crate) fn signer(&self, key: &str) -> Option<Option<&crate::claims::UserScope>> {
        if let Some(scope) = self.claims.nats.signing_keys.0.get(key) {
            return Some(scope.as_ref());
        }
        (!self.is_strict && key == self.claims.sub).then_some(None)
    }
}

impl Account {
    /// A name for people: that of the claims, or else its own.
    pub fn name_tag(&self) -> String {
        let claimed = self.claimed();
        let named = claimed.as_ref().map(|claimed| claimed.claims.name.as_str()).unwrap_or_default();
        if named.is_empty() { self.name().to_owned() } else { named.to_owned() }
    }

    /// Its name as log lines have it.
    pub(crate) fn trace_label(&self) -> String {
        match self.claimed().filter(|claimed| !claimed.claims.name.is_empty()) {
            Some(claimed) => format!("{}/{}", self.name(), claimed.claims.name),
            None => self.name().to_owned(),
        }
    }
}

impl Accounts {
    /// The account with this name, which is made if it is not there.
    pub(crate) fn claim(&self, name: &str) -> Arc<Account> {
        self.register(name)
    }

    /// Puts what claims say of an account itself in force; what it has to do with others comes by [`wire`](Self::wire).
    pub(crate) fn apply_claimed(
        &self,
        account: &Arc<Account>,
        configured: &AccountOptions,
        options: &Options,
    ) {
        account.set_configured(true);
        account.set_limits(configured.limits);
        account.set_jetstream(configured.jetstream.clone().filter(|_| options.jetstream.enabled));
        account.set_message_trace(configured.message_trace.clone());
        let own = options.jetstream.domain.as_deref().filter(|_| options.jetstream.enabled);
        let cluster = options.cluster_name.as_deref().unwrap_or_default();
        let default = options.default_js_domain.get(account.name()).map(String::as_str);
        let mappings = configured.mappings.clone();
        account.set_mappings(Mappings::new(mappings, Domains::new(own, default), cluster));
    }

    /// Puts what an account exports and imports in force, where it is something else than before.
    pub(crate) fn wire(&self, account: &Arc<Account>, exchange: Exchange) {
        let before = account.exchange();
        let exported = account.exported_services();
        let services: Vec<Arc<ExportedService>> = exchange
            .exports
            .services
            .iter()
            .map(|export| {
                // Open requests belong to an export as it is; one that stays is the same.
                let known = exported.iter().find(|known| known.options == *export);
                known.cloned().unwrap_or_else(|| Arc::new(ExportedService::new(account.id(), export.clone())))
            })
            .collect();
        account.set_exported_services(services);
        let imports = exchange.imports.clone();
        let is_same = before.imports == imports && self.are_linked(account, &imports.services);
        account.set_exchange(exchange);
        if is_same {
            return;
        }
        let streams = imports.streams.into_iter().filter_map(|import| {
            let exporter = self.by_name(&import.account)?;
            Some(ImportedStream::new(import, &exporter))
        });
        let services = imports.services.into_iter().filter_map(|import| {
            let export = self.export_of(&import.account, &import.export)?;
            Some(ImportedService { options: import, export })
        });
        account.set_imports(streams.collect(), services.collect());
    }

    fn export_of(&self, account: &str, subject: &str) -> Option<Arc<ExportedService>> {
        let exported = self.by_name(account)?.exported_services();
        exported.into_iter().find(|export| export.options.subject == subject)
    }

    /// Whether the imported services of an account lead to the exports that are in force.
    fn are_linked(&self, account: &Arc<Account>, imports: &[crate::options::ServiceImport]) -> bool {
        let linked = account.imported_exports();
        imports.len() == linked.len()
            && imports.iter().all(|import| {
                self.export_of(&import.account, &import.export)
                    .is_some_and(|export| linked.iter().any(|known| Arc::ptr_eq(known, &export)))
            })
    }
}
