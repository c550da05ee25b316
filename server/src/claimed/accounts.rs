//! Accounts are found by a resolver when somebody first needs them, and change when other claims come.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jetkv_go_compat::GoDuration;
use jetkv_jetstream::WallNs;
use nkeys::KeyPairType;

use super::{http, translate};
use crate::auth::{FetchError, Fetched, Operators, UserPermissions};
use crate::claims::{AccountClaims, Import, Token, is_key};
use crate::options::{Exchange, Exports, Imports, Market, ResolverOptions, defaults};
use crate::router::{Account, Claimed};
use crate::state::Shared;

/// Time between two looks for newer claims of an account whose claims have ended.
const REFRESH_MIN: Duration = Duration::from_secs(1);
/// A fetch that takes longer is told of.
const SLOW_FETCH: Duration = Duration::from_secs(1);
/// Accounts that are fetched for the imports of one.
const FETCHES_MAX: usize = 1024;

/// Why an account is not there. The texts are nats-server's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    /// There is no such account, or nobody says so.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Its claims are none.
    #[error(transparent)]
    Token(#[from] crate::claims::TokenError),
    /// Nobody that is trusted signed its claims, or they say nonsense.
    #[error("account validation failed")]
    Invalid,
    /// Its claims have ended, and there are no newer ones.
    #[error("account expired")]
    Expired,
    /// The server has no operators.
    #[error("account missing")]
    Missing,
}

/// The account with this key, with the claims that hold now. May take as long as a resolver's server has to answer.
///
/// # Errors
/// [`LookupError`].
pub(crate) fn lookup(shared: &Arc<Shared>, name: &str) -> Result<Arc<Account>, LookupError> {
    let operators = shared.operators().ok_or(LookupError::Missing)?;
    if let Some((account, claimed)) = known(shared, name) {
        if !claimed.has_expired() {
            return Ok(account);
        }
        tracing::debug!("Requested account [{name}] has expired");
        if claimed.updated.elapsed() < REFRESH_MIN && !claimed.is_incomplete.load(Ordering::Relaxed) {
            tracing::debug!("Requested account update for [{name}] ignored, too soon");
            return Err(LookupError::Expired);
        }
        let renewed = fetch(shared, operators, name).and_then(|token| install(shared, name, &token));
        return renewed.map_err(|_| LookupError::Expired);
    }
    let token = fetch(shared, operators, name)?;
    install(shared, name, &token)
}

/// An account that is there, and its claims.
fn known(shared: &Shared, name: &str) -> Option<(Arc<Account>, Arc<Claimed>)> {
    let account = shared.accounts.by_name(name)?;
    let claimed = account.claimed().filter(|claimed| !claimed.is_gone())?;
    Some((account, claimed))
}

/// The claims of an account as its resolver has them.
fn fetch(shared: &Shared, operators: &Operators, name: &str) -> Result<String, LookupError> {
    let start = Instant::now();
    let options = shared.options();
    let found = operators.fetch(&options.operators, name).and_then(|found| match found {
        Fetched::Token(token) => Ok(token),
        Fetched::At(url) => {
            let tls = options.operators.resolver_tls.as_ref();
            http::get(&shared.timers, &url, tls, defaults::RESOLVER_TIMEOUT).map_err(FetchError::Http)
        }
    });
    let took = start.elapsed();
    let shown = GoDuration::from(took);
    if took > SLOW_FETCH {
        tracing::warn!("Account [{name}] fetch took {shown}");
    } else {
        tracing::debug!("Account [{name}] fetch took {shown}");
    }
    Ok(found.inspect_err(|error| tracing::warn!("Account fetch failed: {error}"))?)
}

/// Claims that are signed by somebody who is trusted, and make sense.
pub(super) fn verify(shared: &Shared, token: &str) -> Result<AccountClaims, LookupError> {
    let claims = Token::account(token)?;
    let is_trusted = shared.operators().is_some_and(|operators| operators.trusts(&claims.iss));
    if !is_trusted || claims.issues(shared.clock.wall().secs()).block() {
        return Err(LookupError::Invalid);
    }
    Ok(claims)
}

/// Puts claims of an account in force, and those of the accounts that it imports from.
///
/// # Errors
/// [`LookupError`].
pub(super) fn install(shared: &Arc<Shared>, name: &str, token: &str) -> Result<Arc<Account>, LookupError> {
    let operators = shared.operators().ok_or(LookupError::Missing)?;
    let in_force = known(shared, name);
    let is_same = |claimed: &Arc<Claimed>| {
        !claimed.token.is_empty() && claimed.token == token && !claimed.is_incomplete.load(Ordering::Relaxed)
    };
    let claims = verify(shared, token)?;
    if claims.sub != name {
        return Err(LookupError::Invalid);
    }
    if let Some((account, _)) = in_force.filter(|(_, claimed)| is_same(claimed)) {
        tracing::debug!("Requested account update for [{name}], same claims detected");
        return Ok(account);
    }
    // What is fetched may take long, so nobody waits for it who needs none of it.
    let mut found = fetch_exporters(shared, operators, &claims);
    found.push_front((name.to_owned(), token.to_owned(), claims));
    let updating = operators.updating.lock();
    let mut accounts = Vec::new();
    for (name, token, claims) in found {
        let is_first = accounts.is_empty();
        if !is_first && known(shared, &name).is_some() {
            continue;
        }
        accounts.push(apply(shared, operators, &name, token, claims));
    }
    accounts.iter().rev().for_each(|account| wire(shared, operators, account));
    for account in &accounts {
        for importer in operators.importers_of(account.name()) {
            if let Some(importer) = shared.accounts.by_name(&importer) {
                wire(shared, operators, &importer);
            }
        }
    }
    drop(updating);
    accounts.iter().for_each(|account| tell_connections(shared, account));
    accounts.into_iter().next().ok_or(LookupError::Missing)
}

type Found = VecDeque<(String, String, AccountClaims)>;

/// The accounts that one imports from, and those that these do, as far as they are not known yet.
fn fetch_exporters(shared: &Arc<Shared>, operators: &Operators, claims: &AccountClaims) -> Found {
    let mut found = Found::new();
    let mut seen = vec![claims.sub.clone()];
    let names = |claims: &AccountClaims| -> VecDeque<String> {
        claims.nats.imports.iter().flatten().map(|import| import.account.clone()).collect()
    };
    let mut wanted = names(claims);
    while let Some(name) = wanted.pop_front() {
        if known(shared, &name).is_some() || seen.contains(&name) || seen.len() > FETCHES_MAX {
            continue;
        }
        seen.push(name.clone());
        let fetched = fetch(shared, operators, &name).and_then(|token| Ok((verify(shared, &token)?, token)));
        if let Ok((claims, token)) = fetched
            && claims.sub == name
        {
            wanted.extend(names(&claims));
            found.push_back((name, token, claims));
        }
    }
    found
}

/// Puts in force what claims say of the account itself.
fn apply(
    shared: &Arc<Shared>,
    operators: &Operators,
    name: &str,
    token: String,
    claims: AccountClaims,
) -> Arc<Account> {
    tracing::debug!("Updating account claims: {name}/{}", claims.name);
    let options = shared.options();
    let account = shared.accounts.claim(name);
    shared.number_accounts();
    let label = if claims.name.is_empty() { name.to_owned() } else { format!("{name}/{}", claims.name) };
    let configured = translate::account(&claims, &label);
    let permissions = translate::permissions(&claims.nats.default_permissions);
    let now = shared.clock.wall();
    let left_s = claims.exp - now.secs();
    let is_expired = claims.exp != 0 && left_s <= 0;
    let mut exchange = Exchange { exports: configured.exchange.exports.clone(), imports: Imports::default() };
    if shared.accounts.is_system(account.id()) {
        translate::export_system_services(&mut exchange);
    }
    for import in claims.nats.imports.iter().flatten() {
        operators.note_importer(&import.account, name);
    }
    if claims.exp != 0 && !is_expired {
        let left = Duration::from_secs(u64::try_from(left_s).unwrap_or(0));
        operators.remind_after(left, account.id());
    }
    account.services.set_removed(false);
    account.set_claimed(Some(Claimed {
        is_strict: options.operators.is_strict(&claims.iss),
        token,
        claims,
        updated_at: now,
        updated: Instant::now(),
        is_incomplete: AtomicBool::new(false),
        is_expired: AtomicBool::new(is_expired),
        is_gone: AtomicBool::new(false),
        default_permissions: permissions.map(|permissions| Arc::new(UserPermissions::new(&permissions))),
    }));
    shared.accounts.apply_claimed(&account, &configured, &options);
    // Others import by what is exported; imports come when all that is needed for them is there.
    let imports = account.exchange().imports.clone();
    shared.accounts.wire(&account, Exchange { imports, ..exchange });
    if let Some(jetstream) = shared.jetstream() {
        jetstream.apply_account(&shared.accounts, &account);
    }
    account
}

/// Brings imports of an account in line with its claims and with what others export.
pub(super) fn wire(shared: &Arc<Shared>, operators: &Operators, account: &Arc<Account>) {
    let Some(claimed) = account.claimed() else { return };
    let claims = &claimed.claims;
    let label = account.trace_label();
    let mut market = market_of(shared, account, claims);
    let mut is_complete = true;
    for import in claims.nats.imports.iter().flatten() {
        let Some((_, theirs)) = known(shared, &import.account) else {
            let (subject, kind) = (&import.subject, &import.kind);
            tracing::error!(
                "Can't locate account [{}] for import of [{subject}] {kind} (err=account missing)",
                import.account
            );
            is_complete = false;
            continue;
        };
        let is_activated = is_activated(shared, operators, account, &claimed, &theirs, import);
        let added = translate::add_import(&mut market, claims, &theirs.claims, import, is_activated);
        if let Err(error) = added {
            tracing::debug!("Error adding {} import to account [{label}]: {error}", import.kind);
            is_complete = false;
        }
    }
    claimed.is_incomplete.store(!is_complete, Ordering::Relaxed);
    if let Some(exchange) = market.exchange_mut(account.name()) {
        let exchange = std::mem::take(exchange);
        shared.accounts.wire(account, exchange);
    }
}

/// Whether an import has the permission that it may need; when that ends, the imports are looked at again.
fn is_activated(
    shared: &Shared,
    operators: &Operators,
    account: &Arc<Account>,
    mine: &Claimed,
    theirs: &Claimed,
    import: &Import,
) -> bool {
    if import.token.is_empty() {
        return false;
    }
    let now = shared.clock.wall();
    let signs = |key: &str| theirs.signer(key).is_some();
    match translate::activation(&mine.claims, &theirs.claims, import, signs, now) {
        None => false,
        Some(None) => true,
        Some(Some(until_s)) => {
            let left = u64::try_from(until_s - now.secs()).unwrap_or(0);
            operators.remind_after(Duration::from_secs(left), account.id());
            true
        }
    }
}

/// What an account exports, and what those accounts export and import that it has to do with.
fn market_of(shared: &Shared, account: &Arc<Account>, claims: &AccountClaims) -> Market {
    let exports: Exports = account.exchange().exports.clone();
    let own = (account.name().to_owned(), Exchange { exports, imports: Imports::default() });
    let mut market = Market { accounts: vec![own] };
    let mut wanted: VecDeque<String> =
        claims.nats.imports.iter().flatten().map(|import| import.account.clone()).collect();
    let mut seen: HashMap<String, ()> = HashMap::from([(account.name().to_owned(), ())]);
    while let Some(name) = wanted.pop_front() {
        if seen.insert(name.clone(), ()).is_some() {
            continue;
        }
        let Some(known) = shared.accounts.by_name(&name) else { continue };
        let exchange = Exchange::clone(&known.exchange());
        let streams = exchange.imports.streams.iter().map(|import| import.account.clone());
        wanted.extend(streams.chain(exchange.imports.services.iter().map(|import| import.account.clone())));
        market.accounts.push((name, exchange));
    }
    market
}

/// Has every connection of an account look at its claims anew.
pub(super) fn tell_connections(shared: &Shared, account: &Arc<Account>) {
    let (guard, _) = std::sync::mpsc::channel();
    for client in shared.clients() {
        if Arc::ptr_eq(&client.account(), account) {
            client.ask_reload(guard.clone());
        }
    }
}

/// Makes sure that somebody is there where a resolver is to be asked over HTTP, before anybody depends on it.
///
/// # Errors
/// Nobody is, or it takes no preloads; nats-server's text.
pub(crate) fn find_resolver(shared: &Shared) -> Result<(), String> {
    let options = &shared.options().operators;
    let Some(ResolverOptions::Url(url)) = &options.resolver else { return Ok(()) };
    if !options.preloads.is_empty() {
        return Err(
            "resolver preloads only available for writeable resolver types MEM/DIR/CACHE_DIR".to_owned()
        );
    }
    http::get(&shared.timers, url, options.resolver_tls.as_ref(), defaults::RESOLVER_TIMEOUT).map(drop)
}

/// Looks the system account up, without which no server with operators starts, unless it is still to be brought.
///
/// # Errors
/// It is not there; nats-server's text.
pub(crate) fn find_system_account(shared: &Arc<Shared>) -> Result<(), String> {
    let options = shared.options();
    let (Some(operators), Some(name)) = (shared.operators(), options.system_account.as_deref()) else {
        return Ok(());
    };
    if name == defaults::SYSTEM_ACCOUNT {
        return Ok(());
    }
    // What is not at hand need not be told of as a fetch that failed.
    let found = operators.fetch(&options.operators, name).map_err(LookupError::from);
    let found = found.and_then(|_| lookup(shared, name));
    if found.is_err() && !options.operators.is_memory() && options.operators.operators.len() == 1 {
        let operator = options.operators.operators.first().map(|operator| operator.claims.iss.as_str());
        wait_for_system_account(shared, operators, name, operator.unwrap_or_default());
        return Ok(());
    }
    found.map(drop).map_err(|error| format!("error resolving system account: {error}"))
}

/// Tells of the resolver, and looks up the accounts that have streams.
pub(crate) fn start(shared: &Arc<Shared>) {
    let Some(operators) = shared.operators() else { return };
    warn_of_preloads(&shared.options().operators.preloads, shared.clock.wall());
    if let Some(directory) = operators.directory() {
        let some = if directory.is_cache() { "some" } else { "all" };
        tracing::info!("Managing {some} jwt in exclusive directory {}", directory.path().display());
    }
    let system = shared.accounts.system().and_then(|account| account.claimed());
    if system.is_some_and(|claimed| claimed.token.is_empty()) {
        tracing::info!("Using bootstrapping system account");
    }
    find_stored(shared);
}

/// Looks up the accounts that have streams on disk, so that these are there before anybody asks for them.
fn find_stored(shared: &Arc<Shared>) {
    let options = shared.options();
    if !options.jetstream.enabled {
        return;
    }
    let store = options.jetstream.store_dir.clone().unwrap_or_else(|| std::env::temp_dir().join("nats"));
    // Where nothing is stored there is nothing to be found.
    let Ok(entries) = std::fs::read_dir(store.join("jetstream")) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if let Some(name) = name.to_str().filter(|name| is_key(name, KeyPairType::Account)) {
            // What keeps it away was told.
            let _ = lookup(shared, name);
        }
    }
}

/// Without the system account nobody could bring it: its own key signs its users until its claims come.
fn wait_for_system_account(shared: &Arc<Shared>, operators: &Operators, name: &str, operator: &str) {
    let account = shared.accounts.claim(name);
    let mut claims =
        AccountClaims { sub: name.to_owned(), iss: operator.to_owned(), ..AccountClaims::default() };
    claims.nats.limits.lift();
    let _updating = operators.updating.lock();
    account.set_limits(crate::options::AccountLimits::default());
    account.set_claimed(Some(Claimed {
        token: String::new(),
        claims,
        updated_at: shared.clock.wall(),
        updated: Instant::now(),
        is_incomplete: AtomicBool::new(true),
        is_expired: AtomicBool::new(false),
        is_gone: AtomicBool::new(false),
        default_permissions: None,
        is_strict: false,
    }));
}

/// Takes over what a reload changed of the resolver.
pub(crate) fn reload(shared: &Arc<Shared>) {
    let Some(operators) = shared.operators() else { return };
    let options = shared.options();
    operators.preload(&options.operators);
    if options.operators.is_memory() {
        warn_of_preloads(&options.operators.preloads, shared.clock.wall());
        for account in shared.accounts.all() {
            let Some(claimed) = account.claimed().filter(|claimed| !claimed.is_gone()) else { continue };
            let name = account.name();
            let renewed = fetch(shared, operators, name).map_err(|_| "removed").and_then(|token| {
                verify(shared, &token).map_err(|_| "removed")?;
                install(shared, name, &token).map_err(|_| "bad claims")
            });
            if let Err(why) = renewed {
                tracing::info!("Reloaded: deleting account [{why}]: {name:?}");
                claimed.is_gone.store(true, Ordering::Release);
                account.set_configured(false);
            }
        }
        return;
    }
    let changed = operators.directory().and_then(|directory| directory.reload().ok()).unwrap_or_default();
    for name in changed {
        take_over(shared, &name);
    }
}

/// Puts claims in force that are new in the directory, if somebody needs the account.
pub(super) fn take_over(shared: &Arc<Shared>, name: &str) {
    let is_known = shared.accounts.by_name(name).is_some_and(|account| account.claimed().is_some());
    let directory = shared.operators().and_then(Operators::directory);
    let Some(directory) = directory.filter(|_| is_known) else { return };
    match directory.load(name) {
        Err(error) => tracing::error!("DirResolver - Update got error on load: {error}"),
        Ok(token) => {
            if let Err(error) = install(shared, name, &token) {
                tracing::error!("DirResolver - Update for account {name:?} resulted in error {error}");
            }
        }
    }
}

/// Tells what is wrong with accounts that were put into the resolver.
pub(super) fn warn_of_preloads(preloads: &std::collections::BTreeMap<String, String>, now: WallNs) {
    for (name, token) in preloads {
        let Ok(claims) = Token::account(token) else {
            tracing::error!("Preloaded account [{name}] not valid");
            continue;
        };
        let issues = claims.issues(now.secs());
        if issues.block() {
            tracing::warn!("Account [{name}] has validation issues:");
            for issue in &issues.0 {
                tracing::warn!("  - {}", issue.text);
            }
        }
    }
}
