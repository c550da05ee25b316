//! What of JetStream does not cross a leaf node connection: each side has its own, and that of the other side is reached by the
//! name of its domain.

use super::rules::Rules;
use crate::options::Options;
use crate::router::Account;

/// What clients ask of JetStream.
const OF_CLIENTS: [&str; 3] = ["$JS.API.>", "$KV.>", "$OBJ.>"];
/// What servers ask of each other beside that.
const OF_SERVERS: [&str; 2] = ["$JSC.>", "$NRG.>"];

/// Adds that to the rules of a connection, and says so in the log. `label` is how its lines begin, `remote` the other server's
/// domain; empty for none.
pub(super) fn deny(
    options: &Options,
    account: &Account,
    (is_system, label): (bool, &str),
    remote: &str,
    rules: &mut Rules,
) {
    let own = options.jetstream.domain.as_deref().unwrap_or_default();
    if options.default_js_domain.get(account.name()).is_some_and(String::is_empty) {
        let name = account.name();
        tracing::debug!("{label} - Skipping deny \"$JS.API.>\" for account \"{name}\" due to default domain");
        return;
    }
    let are_apart = own != remote || (!options.jetstream.enabled && own.is_empty());
    if is_system {
        tracing::info!("{label} - JetStream not extended, domains differ");
        rules.outward.deny(OF_SERVERS);
        rules.wanted.deny(OF_SERVERS);
    } else if are_apart {
        tracing::info!("{label} - JetStream using domains: local \"{own}\", remote \"{remote}\"");
    }
    rules.outward.deny(OF_CLIENTS);
    rules.wanted.deny(OF_CLIENTS);
    if are_apart && !own.is_empty() && options.jetstream.enabled {
        // Requests for this domain stay here, in case the other one has the same name.
        rules.outward.deny([format!("$JS.{own}.API.>")]);
    }
}
