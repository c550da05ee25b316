//! Where the server listens, from ports as they are given.

use super::config::ListenerDraft;
use super::defaults;
use super::listener_model::{Unserved, UnservedListener};
use super::model::Options;
use super::validate::host_and_port;

/// A port as given: -1 is any free one, 0 the default.
pub(super) fn port(given: i64, default: u16) -> Result<u16, String> {
    match given {
        -1 => Ok(0),
        0 => Ok(default),
        _ => u16::try_from(given).map_err(|_| format!("listen tcp: address {given}: invalid port")),
    }
}

/// The listeners that are there only to refuse, in the order in which nats-server opens theirs. The error is its text, but
/// for what it would do and JetKV cannot.
pub(super) fn unserved_listeners(
    mut drafts: Vec<ListenerDraft>,
    options: &Options,
) -> Result<Vec<UnservedListener>, String> {
    drafts.retain(|draft| draft.port != 0);
    drafts.sort_by_key(|draft| draft.feature);
    let mut listeners = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let ListenerDraft { feature, host, port: given, name, advertise, .. } = draft;
        if feature == Unserved::Cluster && options.jetstream.enabled {
            return Err(match (&options.server_name, name.as_str()) {
                (None, _) => "jetstream cluster requires `server_name` to be set",
                (_, "") => "jetstream cluster requires `cluster.name` to be set",
                _ if draft.by_flag => {
                    "option --cluster is not supported by JetKV yet where JetStream is enabled"
                }
                _ => "field \"cluster\" is not supported by JetKV yet where JetStream is enabled",
            }
            .to_owned());
        }
        if !advertise.is_empty()
            && let Err(reason) = host_and_port(&advertise, 0)
        {
            let what = "Error setting route INFO with Cluster.Advertise value of";
            return Err(format!("{what} {advertise}, err={reason}"));
        }
        let host = if host.is_empty() { defaults::HOST.to_owned() } else { host };
        // The handshake takes of the time that there is.
        let after_handshake = options.leafnodes.tls.as_ref().filter(|_| feature == Unserved::Leafnodes);
        let after_handshake = after_handshake.map(|tls| tls.timeout.saturating_add(defaults::AUTH_AFTER_TLS));
        let port = port(given, 0).map_err(|error| feature.cannot_listen(given, &error))?;
        listeners.push(UnservedListener {
            feature,
            host,
            port,
            auth_timeout: draft.auth_timeout.or(after_handshake).unwrap_or(defaults::AUTH_TIMEOUT),
            pool_size: if draft.pool_size == 0 { defaults::POOL_SIZE } else { draft.pool_size },
            write_deadline: draft.write_deadline,
            write_timeout: draft.write_timeout,
        });
    }
    Ok(listeners)
}
