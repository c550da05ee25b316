//! The object inside INFO.

use jetkv_go_compat::json::{self, go_struct};
use serde::Serialize;

use crate::connect::{JsonError, SubjectPermission, is_zero, read_onto};

/// What a server says of itself, with the fields, their order and the omission of empty ones of
/// nats-server v2.15.2.
///
/// ```
/// use jetkv_protocol::ServerInfo;
///
/// let info = ServerInfo { port: 4222, headers: true, ..ServerInfo::default() };
/// assert_eq!(ServerInfo::from_json(info.to_json().as_bytes())?, info);
/// # Ok::<(), jetkv_protocol::connect::JsonError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ServerInfo {
    /// The server's key, unique to this run of it.
    pub server_id: String,
    /// The server's name.
    pub server_name: String,
    /// The version that clients choose their features by.
    pub version: String,
    /// The newest client protocol that the server speaks.
    pub proto: i64,
    /// The commit the server was built from.
    #[serde(skip_serializing_if = "is_zero")]
    pub git_commit: String,
    /// The version of Go that nats-server was built with.
    pub go: String,
    /// Host the server listens on.
    pub host: String,
    /// Port the server listens on.
    pub port: i64,
    /// Whether messages may have headers.
    pub headers: bool,
    /// Whether CONNECT must have credentials.
    #[serde(skip_serializing_if = "is_zero")]
    pub auth_required: bool,
    /// Whether the client must start TLS.
    #[serde(skip_serializing_if = "is_zero")]
    pub tls_required: bool,
    /// Whether the client must show a certificate.
    #[serde(skip_serializing_if = "is_zero")]
    pub tls_verify: bool,
    /// Whether the client may start TLS.
    #[serde(skip_serializing_if = "is_zero")]
    pub tls_available: bool,
    /// The largest message, in bytes.
    pub max_payload: i32,
    /// Whether the server stores streams.
    #[serde(skip_serializing_if = "is_zero")]
    pub jetstream: bool,
    /// Address of the server, for routes.
    #[serde(skip_serializing_if = "is_zero")]
    pub ip: String,
    /// The server's number for this connection.
    #[serde(skip_serializing_if = "is_zero")]
    pub client_id: u64,
    /// The client's address as the server sees it.
    #[serde(skip_serializing_if = "is_zero")]
    pub client_ip: String,
    /// What a client with a key must sign.
    #[serde(skip_serializing_if = "is_zero")]
    pub nonce: String,
    /// Name of the cluster.
    #[serde(skip_serializing_if = "is_zero")]
    pub cluster: String,
    /// Whether the cluster's name was made up.
    #[serde(skip_serializing_if = "is_zero")]
    pub cluster_dynamic: bool,
    /// The JetStream domain.
    #[serde(skip_serializing_if = "is_zero")]
    pub domain: String,
    /// Where else clients can connect.
    #[serde(skip_serializing_if = "is_zero")]
    pub connect_urls: Vec<String>,
    /// Where else WebSocket clients can connect.
    #[serde(skip_serializing_if = "is_zero")]
    pub ws_connect_urls: Vec<String>,
    /// Whether the server is about to close its connections.
    #[serde(skip_serializing_if = "is_zero")]
    pub ldm: bool,
    /// Compression of a leaf node connection.
    #[serde(skip_serializing_if = "is_zero")]
    pub compression: String,
    /// Whether this INFO answers a CONNECT.
    #[serde(skip_serializing_if = "is_zero")]
    pub connect_info: bool,
    /// The account the connection belongs to.
    #[serde(skip_serializing_if = "is_zero")]
    pub remote_account: String,
    /// Whether that is the system account.
    #[serde(skip_serializing_if = "is_zero")]
    pub acc_is_sys: bool,
    /// JetStream API level.
    #[serde(skip_serializing_if = "is_zero")]
    pub api_lvl: i64,
    /// Of routes.
    #[serde(skip_serializing_if = "is_zero")]
    pub import: Option<SubjectPermission>,
    /// Of routes.
    #[serde(skip_serializing_if = "is_zero")]
    pub export: Option<SubjectPermission>,
    /// Of routes.
    #[serde(skip_serializing_if = "is_zero")]
    pub lnoc: bool,
    /// Of routes.
    #[serde(skip_serializing_if = "is_zero")]
    pub lnocu: bool,
    /// Of routes.
    #[serde(skip_serializing_if = "is_zero")]
    pub ln: bool,
    /// Whether the server answers CONNECT with INFO.
    #[serde(skip_serializing_if = "is_zero")]
    pub info_on_connect: bool,
    /// Of routes.
    #[serde(skip_serializing_if = "is_zero")]
    pub route_pool_size: i64,
    /// Of routes.
    #[serde(skip_serializing_if = "is_zero")]
    pub route_pool_idx: i64,
    /// Of routes.
    #[serde(skip_serializing_if = "is_zero")]
    pub route_account: String,
    /// Of routes.
    #[serde(skip_serializing_if = "is_zero")]
    pub route_acc_add_reqid: String,
    /// Of routes.
    #[serde(skip_serializing_if = "is_zero")]
    pub gossip_mode: u8,
    /// Of gateways.
    #[serde(skip_serializing_if = "is_zero")]
    pub gateway: String,
    /// Of gateways.
    #[serde(skip_serializing_if = "is_zero")]
    pub gateway_urls: Vec<String>,
    /// Of gateways.
    #[serde(skip_serializing_if = "is_zero")]
    pub gateway_url: String,
    /// Of gateways.
    #[serde(skip_serializing_if = "is_zero")]
    pub gateway_cmd: u8,
    /// Of gateways; base64.
    #[serde(skip_serializing_if = "is_zero")]
    pub gateway_cmd_payload: String,
    /// Of gateways.
    #[serde(skip_serializing_if = "is_zero")]
    pub gateway_nrp: bool,
    /// Of gateways.
    #[serde(skip_serializing_if = "is_zero")]
    pub gateway_iom: bool,
    /// Where else leaf nodes can connect.
    #[serde(skip_serializing_if = "is_zero")]
    pub leafnode_urls: Vec<String>,
    /// The server's public key for sealed requests.
    #[serde(skip_serializing_if = "is_zero")]
    pub xkey: String,
    /// Whether clients can move the server's clock and more; nats-server has no such field.
    #[serde(skip_serializing_if = "is_zero")]
    pub jetkv_lab: bool,
}

go_struct! { ServerInfo as "Info" {
    "server_id" => server_id, "server_name" => server_name, "version" => version, "proto" => proto as Int,
    "git_commit" => git_commit, "go" => go, "host" => host, "port" => port as Int, "headers" => headers,
    "auth_required" => auth_required, "tls_required" => tls_required, "tls_verify" => tls_verify,
    "tls_available" => tls_available, "max_payload" => max_payload, "jetstream" => jetstream, "ip" => ip,
    "client_id" => client_id, "client_ip" => client_ip, "nonce" => nonce, "cluster" => cluster,
    "cluster_dynamic" => cluster_dynamic, "domain" => domain, "connect_urls" => connect_urls,
    "ws_connect_urls" => ws_connect_urls, "ldm" => ldm, "compression" => compression,
    "connect_info" => connect_info, "remote_account" => remote_account, "acc_is_sys" => acc_is_sys,
    "api_lvl" => api_lvl as Int, "import" => import, "export" => export, "lnoc" => lnoc, "lnocu" => lnocu,
    "ln" => ln, "info_on_connect" => info_on_connect, "route_pool_size" => route_pool_size as Int,
    "route_pool_idx" => route_pool_idx as Int, "route_account" => route_account,
    "route_acc_add_reqid" => route_acc_add_reqid, "gossip_mode" => gossip_mode, "gateway" => gateway,
    "gateway_urls" => gateway_urls, "gateway_url" => gateway_url, "gateway_cmd" => gateway_cmd,
    "gateway_cmd_payload" => gateway_cmd_payload, "gateway_nrp" => gateway_nrp,
    "gateway_iom" => gateway_iom, "leafnode_urls" => leafnode_urls, "xkey" => xkey, "jetkv_lab" => jetkv_lab,
} }

impl ServerInfo {
    /// The object as nats-server writes it, compact.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::to_string(self)
    }

    /// Reads an INFO. Names match in any case, unknown ones are skipped, missing ones are empty.
    ///
    /// # Errors
    /// See [`JsonError`].
    pub fn from_json(json: &[u8]) -> Result<Self, JsonError> {
        let mut info = Self::default();
        read_onto(&mut info, json)?;
        Ok(info)
    }
}

#[cfg(test)]
mod tests {
    use super::ServerInfo;

    /// What nats-server v2.15.2 sent in answer to a CONNECT, with shorter keys.
    const OBSERVED: &str = concat!(
        r#"{"server_id":"NC4U","server_name":"a\u003cb\u003e\u0026\u2028é","version":"2.15.2","proto":1,"#,
        r#""go":"go1.26.8","host":"127.0.0.1","port":44207,"headers":true,"auth_required":true,"#,
        r#""max_payload":1048576,"jetstream":true,"client_id":5,"client_ip":"127.0.0.1","connect_info":true,"#,
        r#""remote_account":"$G","api_lvl":5,"xkey":"XCNM"}"#
    );

    #[test]
    fn an_info_of_nats_server_comes_out_as_it_went_in() {
        let info = ServerInfo::from_json(OBSERVED.as_bytes()).unwrap();
        assert_eq!(info.server_name, "a<b>&\u{2028}é");
        assert_eq!(info.port, 44207);
        assert_eq!(info.to_json(), OBSERVED);
    }

    #[test]
    fn fields_without_a_value_are_left_out_except_for_the_nine_that_never_are() {
        let json = ServerInfo::default().to_json();
        let expected = concat!(
            r#"{"server_id":"","server_name":"","version":"","proto":0,"go":"","host":"","port":0,"#,
            r#""headers":false,"max_payload":0}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn a_number_out_of_range_is_refused() {
        assert!(ServerInfo::from_json(br#"{"max_payload":2147483647,"gossip_mode":255}"#).is_ok());
        assert!(ServerInfo::from_json(br#"{"max_payload":2147483648}"#).is_err());
        assert!(ServerInfo::from_json(br#"{"gossip_mode":256}"#).is_err());
        assert!(ServerInfo::from_json(br#"{"client_id":-1}"#).is_err());
    }
}
