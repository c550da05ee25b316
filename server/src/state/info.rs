//! What INFO says.

use std::sync::Arc;

use jetkv_protocol::ServerInfo;

use super::Shared;
use crate::connections::{ClientType, ConnectionHandle, Peer};
use jetkv_go_compat::version::{API_LEVEL, GO_VERSION, SERVER_VERSION};

/// Newest client protocol.
const PROTOCOL: i64 = 1;

impl Shared {
    /// INFO for a connection: as the first thing sent, and after CONNECT with what it led to.
    pub(crate) fn info(&self, client: &dyn ConnectionHandle, connected: bool) -> ServerInfo {
        let options = self.options();
        let (host, port) = self.listening();
        let jetstream = self.jetstream().is_some();
        let auth = self.auth_of(client);
        // The address of a proxy is nobody's business.
        let knows_client =
            connected || !options.proxy_protocol || client.client_type() == ClientType::Websocket;
        let mut info = ServerInfo {
            server_id: self.identity.id.clone(),
            server_name: self.identity.name.clone(),
            version: SERVER_VERSION.to_owned(),
            proto: PROTOCOL,
            go: GO_VERSION.to_owned(),
            host,
            port,
            headers: !options.no_header_support,
            auth_required: if connected { auth.required() } else { auth.announced() },
            max_payload: options.limits.shown_max_payload(),
            jetstream,
            client_id: client.id(),
            client_ip: if knows_client { client.peer().ip_text() } else { String::new() },
            api_lvl: i64::from(API_LEVEL),
            cluster: options.cluster_name.clone().unwrap_or_default(),
            domain: options.jetstream.domain.clone().filter(|_| jetstream).unwrap_or_default(),
            xkey: self.identity.xkey.clone(),
            jetkv_lab: options.lab.is_some(),
            ..ServerInfo::default()
        };
        if let Some(tls) = options.tls.as_ref().filter(|_| client.peer() != Peer::Process) {
            let is_first = client.secured().is_some_and(|secured| secured.is_first);
            info.tls_required = !options.allow_non_tls || is_first;
            info.tls_verify = tls.verify;
            info.tls_available = options.allow_non_tls;
        }
        if let Some(websocket) =
            options.websocket.as_ref().filter(|_| client.client_type() == ClientType::Websocket)
        {
            info.host.clone_from(&websocket.host);
            info.port = i64::from(websocket.port);
            info.tls_required = websocket.tls.is_some();
            info.tls_available = websocket.tls.is_some();
        }
        if connected {
            let account = client.account();
            info.connect_info = true;
            info.acc_is_sys = self.accounts.is_system(account.id());
            info.remote_account = account.name().to_owned();
            let user = client.identity().claims.map_or(-1, |claims| claims.max_payload_bytes);
            for limit in [account.limits().max_payload_bytes, user] {
                if let Ok(max) = i32::try_from(limit)
                    && max >= 0
                {
                    let known = Some(info.max_payload).filter(|known| *known >= 0);
                    info.max_payload = known.map_or(max, |known| known.min(max));
                }
            }
        }
        info
    }

    /// Sends INFO that tells of lame duck mode to a client that takes INFO at any time; tells whether this is one.
    pub(crate) fn announce_lame_duck(&self, client: &Arc<dyn ConnectionHandle>) -> bool {
        if client.identity().protocol < 1 {
            return false;
        }
        let mut info = self.info(&**client, false);
        info.ldm = true;
        Arc::clone(client).send_info(info.to_json().as_bytes());
        true
    }
}
