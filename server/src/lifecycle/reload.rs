//! Putting other options in force while the server runs.

use std::sync::Arc;

use crate::net::CloseReason;
use crate::options::Options;
use crate::state::Shared;

/// An option that cannot change while the server runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("config reload not supported for {option}: old={old}, new={new}")]
pub struct ReloadError {
    option: &'static str,
    old: String,
    new: String,
}

pub(super) fn reload(shared: &Arc<Shared>, mut options: Options) -> Result<(), ReloadError> {
    let before = shared.options();
    if options.port == 0 {
        options.port = before.port;
    }
    check(&before, &options)?;
    let max = options.limits.max_connections;
    shared.replace_options(options);
    if let Some(jetstream) = shared.jetstream() {
        jetstream.apply(shared);
    }
    let mut clients = shared.clients();
    clients.sort_unstable_by_key(|client| client.id());
    let keep = if max > 0 { usize::try_from(max).unwrap_or(usize::MAX) } else { usize::MAX };
    for (at, client) in clients.iter().enumerate() {
        if at < keep {
            client.ask_reload();
        } else {
            client.close(CloseReason::MaxConnectionsExceeded);
        }
    }
    tracing::info!("Reloaded server configuration");
    Ok(())
}

fn check(before: &Options, after: &Options) -> Result<(), ReloadError> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let path = |options: &Options| {
        options.jetstream.store_dir.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    };
    let fixed = [
        ("Host", before.host.clone(), after.host.clone()),
        ("Port", before.port.to_string(), after.port.to_string()),
        ("ServerName", text(&before.server_name), text(&after.server_name)),
        ("SystemAccount", text(&before.system_account), text(&after.system_account)),
        ("JetStream", before.jetstream.enabled.to_string(), after.jetstream.enabled.to_string()),
        ("StoreDir", path(before), path(after)),
        ("JetStreamDomain", text(&before.jetstream.domain), text(&after.jetstream.domain)),
        (
            "MaxControlLine",
            before.limits.max_control_line_bytes.to_string(),
            after.limits.max_control_line_bytes.to_string(),
        ),
    ];
    for (option, old, new) in fixed {
        if old != new {
            return Err(ReloadError { option, old, new });
        }
    }
    Ok(())
}
