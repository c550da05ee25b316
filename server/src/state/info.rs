//! What INFO says.

use jetkv_protocol::ServerInfo;

use super::Shared;
use crate::net::Client;

/// The version of nats-server whose behaviour this server has; clients choose their features by it.
pub(crate) const VERSION: &str = "2.15.2";

/// Stands in INFO where nats-server names its Go version.
const RUNTIME: &str = concat!("jetkv-", env!("CARGO_PKG_VERSION"));

/// Level of the JetStream API that is served.
pub(crate) const JETSTREAM_API_LEVEL: i64 = 5;

/// Newest client protocol.
const PROTOCOL: i64 = 1;

impl Shared {
    /// INFO for a connection: as the first thing sent, and after CONNECT with what it led to.
    pub(crate) fn info(&self, client: &Client, connected: bool) -> ServerInfo {
        let options = self.options();
        let (host, port) = self.listening();
        let jetstream = self.jetstream().is_some();
        let mut info = ServerInfo {
            server_id: self.identity.id.clone(),
            server_name: self.identity.name.clone(),
            version: VERSION.to_owned(),
            proto: PROTOCOL,
            go: RUNTIME.to_owned(),
            host,
            port: i64::from(port),
            headers: !options.no_header_support,
            auth_required: if connected { self.auth().required() } else { self.auth().announced() },
            max_payload: i32::try_from(options.limits.max_payload_bytes).unwrap_or(i32::MAX),
            jetstream,
            client_id: client.id(),
            client_ip: client.peer().ip().to_canonical().to_string(),
            api_lvl: JETSTREAM_API_LEVEL,
            domain: options.jetstream.domain.clone().filter(|_| jetstream).unwrap_or_default(),
            xkey: self.identity.xkey.clone(),
            ..ServerInfo::default()
        };
        if connected {
            let account = client.account();
            info.connect_info = true;
            info.acc_is_sys = self.accounts.is_system(account.id());
            info.remote_account = account.name().to_owned();
            if let Ok(max) = i32::try_from(account.limits().max_payload_bytes)
                && max >= 0
            {
                info.max_payload = info.max_payload.min(max);
            }
        }
        info
    }
}
