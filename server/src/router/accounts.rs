//! All accounts of the server.

use std::sync::Arc;

use hashbrown::HashMap;
use jetkv_jetstream::AccountId;
use parking_lot::RwLock;

use super::account::Account;
use super::domains::Domains;
use super::exchange::{ExportedService, ImportedService, ImportedStream};
use super::mappings::Mappings;
use crate::options::{AccountJetStreamTiers, AccountOptions, Options, defaults};

/// All accounts, by number and by name. A number is never given again: an account that a reload took away has no
/// connections and no users left, but keeps its number; of one that is forgotten only the number is left.
#[derive(Debug)]
pub struct Accounts {
    list: RwLock<Vec<Option<Arc<Account>>>>,
    /// Places in the list by name.
    names: RwLock<HashMap<String, usize>>,
    system: RwLock<Option<Arc<Account>>>,
    global: Arc<Account>,
}

impl Accounts {
    /// The accounts that `options` ask for.
    pub(crate) fn new(options: &Options) -> Self {
        let global = Arc::new(Account::new(AccountId(0), defaults::GLOBAL_ACCOUNT));
        let accounts = Self {
            list: RwLock::new(vec![Some(Arc::clone(&global))]),
            names: RwLock::new(HashMap::from([(defaults::GLOBAL_ACCOUNT.to_owned(), 0)])),
            system: RwLock::new(None),
            global,
        };
        accounts.apply(options);
        accounts
    }

    /// Brings names, limits and JetStream of all accounts in line with `options`.
    pub(crate) fn apply(&self, options: &Options) {
        // The global account has JetStream when it is alone with the system account; else each account asks for it. What
        // it has it keeps when others come at a reload (nats-server v2.15.2).
        let system_name = options.system_account_name();
        let only_global = !options.operators.is_on()
            && options.accounts.iter().all(|account| {
                account.name == defaults::GLOBAL_ACCOUNT || Some(&*account.name) == system_name
            });
        let had_limits = self.global.jetstream();
        let global_limits = only_global.then(AccountJetStreamTiers::default).or(had_limits);
        let global_limits = global_limits.filter(|_| options.jetstream.enabled);
        self.global.set_jetstream(global_limits);
        let stays = |account: &Arc<Account>| account.claimed().is_some() || account.is_isolated();
        for account in self.all().into_iter().filter(|account| !stays(account)) {
            let is_configured = |configured: &AccountOptions| configured.name == account.name();
            account.set_configured(options.accounts.iter().any(is_configured));
        }
        for configured in &options.accounts {
            let account = self.register(&configured.name);
            account.set_limits(configured.limits);
            account.set_jetstream(configured.jetstream.clone().filter(|_| options.jetstream.enabled));
        }
        let system = system_name.map(|name| self.register(name));
        for built_in in system.iter().chain([&self.global]) {
            built_in.set_configured(true);
        }
        *self.system.write() = system;
        self.apply_exchange(options);
        let own = options.jetstream.domain.as_deref().filter(|_| options.jetstream.enabled);
        let cluster = options.cluster_name.as_deref().unwrap_or_default();
        for account in self.all().into_iter().filter(|account| account.claimed().is_none()) {
            let default = options.default_js_domain.get(account.name()).map(String::as_str);
            let configured = options.accounts.iter().find(|configured| configured.name == account.name());
            let configured = match configured {
                Some(configured) => configured.mappings.clone(),
                // What it has it keeps where a configuration says nothing more of it (nats-server v2.15.2, observed).
                None if account.name() == defaults::GLOBAL_ACCOUNT => {
                    options.mappings.clone().unwrap_or_else(|| account.mappings())
                }
                None => Vec::new(),
            };
            account.set_mappings(Mappings::new(configured, Domains::new(own, default), cluster));
        }
    }

    /// Puts exports and imports in force. What is wrong with them was found with the configuration.
    fn apply_exchange(&self, options: &Options) {
        let mut exports: Vec<Arc<ExportedService>> = Vec::new();
        for configured in &options.accounts {
            let Some(account) = self.by_name(&configured.name) else { continue };
            let services = configured.exchange.exports.services.iter();
            exports
                .extend(services.map(|export| Arc::new(ExportedService::new(account.id(), export.clone()))));
        }
        for account in self.all().into_iter().filter(|account| account.claimed().is_none()) {
            let configured = options.accounts.iter().find(|configured| configured.name == account.name());
            let exchange = configured.map(|configured| configured.exchange.clone()).unwrap_or_default();
            let imports = exchange.imports.clone();
            account.set_exchange(exchange);
            account.set_message_trace(configured.and_then(|configured| configured.message_trace.clone()));
            let streams = imports.streams.into_iter().filter_map(|import| {
                let exporter = self.by_name(&import.account)?;
                Some(ImportedStream::new(import, &exporter))
            });
            let services = imports.services.into_iter().filter_map(|import| {
                let exporter = self.by_name(&import.account)?;
                let is_its = |export: &&Arc<ExportedService>| {
                    export.owner == exporter.id() && export.options.subject == import.export
                };
                let export = Arc::clone(exports.iter().find(is_its)?);
                Some(ImportedService { options: import, export })
            });
            account.set_imports(streams.collect(), services.collect());
        }
    }

    /// The account with this number.
    pub fn get(&self, id: AccountId) -> Option<Arc<Account>> {
        self.list.read().get(id.0 as usize).cloned().flatten()
    }

    /// What `look` says of the account with this number. The global account, which most messages belong to, is found
    /// without a lock.
    #[inline(always)]
    pub(crate) fn with<R>(&self, id: AccountId, look: impl FnOnce(&Account) -> R) -> Option<R> {
        if id == self.global.id() {
            return Some(look(&self.global));
        }
        self.get(id).map(|account| look(&account))
    }

    /// The account with this name.
    pub fn by_name(&self, name: &str) -> Option<Arc<Account>> {
        let at = *self.names.read().get(name)?;
        self.list.read().get(at).cloned().flatten()
    }

    /// `$G`.
    pub fn global(&self) -> &Arc<Account> {
        &self.global
    }

    /// The system account, if there is one.
    pub fn system(&self) -> Option<Arc<Account>> {
        self.system.read().clone()
    }

    /// Whether this is the system account.
    pub fn is_system(&self, id: AccountId) -> bool {
        self.system.read().as_ref().is_some_and(|system| system.id() == id)
    }

    /// All accounts.
    pub fn all(&self) -> Vec<Arc<Account>> {
        self.list.read().iter().flatten().cloned().collect()
    }

    /// Makes an account that no configuration has.
    pub(crate) fn add_isolated(&self, name: &str) -> Arc<Account> {
        let account = self.register(name);
        account.set_isolated();
        account
    }

    /// Lets an account go that no configuration has.
    pub(crate) fn forget(&self, account: &Account) {
        let mut list = self.list.write();
        self.names.write().remove(account.name());
        if let Some(place) = list.get_mut(account.id().0 as usize) {
            *place = None;
        }
    }

    pub(super) fn register(&self, name: &str) -> Arc<Account> {
        if let Some(known) = self.by_name(name) {
            return known;
        }
        let mut list = self.list.write();
        // Somebody else may have been faster.
        let known = self.names.read().get(name).and_then(|at| list.get(*at).cloned().flatten());
        if let Some(known) = known {
            return known;
        }
        let id = AccountId(u32::try_from(list.len()).unwrap_or(u32::MAX));
        let account = Arc::new(Account::new(id, name));
        self.names.write().insert(name.to_owned(), list.len());
        list.push(Some(Arc::clone(&account)));
        account
    }
}
