//! How two servers get to know each other. The one that was connected to sends INFO, the other one answers with CONNECT, and
//! learns from another INFO what it may do; then each tells the other who listens.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jetkv_go_compat::quoted;
use jetkv_go_compat::version::{API_LEVEL, GO_VERSION, SERVER_VERSION};
use jetkv_protocol::connect::LeafConnect;
use jetkv_protocol::{ServerInfo, encode};
use parking_lot::RwLock;

use super::connection::Connection;
use super::rules::{Gate, Rules};
use super::{Joined, credentials, domains};
use crate::auth::{Admitted, Check, Credentials, nonce};
use crate::claimed::{self, LookupError};
use crate::connections::CloseReason;
use crate::options::{SubjectPermission, Unserved};
use crate::router::{Account, Receiver as _};

/// Time in which the other server has to answer CONNECT.
const CONNECT_ANSWER_MAX: Duration = Duration::from_secs(2);
/// Time for which a connection is not opened again that is part of a circle, or between clusters of one name.
const DELAY_AFTER_LOOP: Duration = Duration::from_secs(30);
/// The same where the other server wants a newer version.
const DELAY_AFTER_VERSION: Duration = Duration::from_secs(5);
/// The protocol between servers: messages may be traced across them.
const PROTOCOL: i64 = 1;
/// How the connection is compressed.
const UNCOMPRESSED: &str = "off";
/// A name that no cluster may have.
const RESERVED_CLUSTER: &str = "_";

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The other server has yet to send INFO.
    AwaitsInfo,
    /// The other server has yet to answer CONNECT.
    AwaitsAnswer,
    /// The other server has yet to send CONNECT.
    AwaitsConnect,
    /// They know each other.
    Joined,
}

/// What is known of the other server.
#[derive(Debug, Clone, Default)]
struct Other {
    server: String,
    cluster: String,
    domain: String,
    account: String,
}

impl Connection {
    /// Sends the first INFO, or begins to wait for it, under TLS where that comes first.
    pub(super) async fn begin(&mut self) -> Result<(), CloseReason> {
        let label = self.leaf.label();
        if let Some(solicited) = self.solicited.clone() {
            let account = self.local_account(&solicited.remote.account).await?.trace_label();
            tracing::info!("{label} - Leafnode connection created for account: {account}");
            if solicited.remote.tls.as_ref().is_some_and(|tls| tls.handshake_first) {
                self.secure_outward(&solicited).await?;
            }
            self.deadline = Some(Instant::now() + solicited.remote.first_info_timeout);
            return Ok(());
        }
        tracing::info!("{label} - Leafnode connection created");
        self.nonce = nonce();
        let settings = Arc::clone(&self.settings);
        match &settings.leafnodes.tls {
            Some(tls) => self.secure_inward(tls).await?,
            None => self.send_first_info(),
        }
        let listeners = &settings.unserved_listeners;
        let listener = listeners.iter().find(|listener| listener.feature == Unserved::Leafnodes);
        self.deadline = listener.map(|listener| Instant::now() + listener.auth_timeout);
        Ok(())
    }

    /// The account of this server that it connects to another one for. A resolver may have to be asked for it.
    async fn local_account(&self, name: &str) -> Result<Arc<Account>, CloseReason> {
        let found = if self.shared.operators().is_some() {
            let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
            let looked = self.shared.call_blocking(move || claimed::lookup(&shared, &name)).await;
            looked.unwrap_or(Err(LookupError::Missing))
        } else {
            self.shared.accounts.by_name(name).ok_or(LookupError::Missing)
        };
        found.map_err(|error| {
            tracing::error!("Unable to lookup account {name} for solicited leafnode connection: {error}");
            CloseReason::MissingAccount
        })
    }

    pub(super) fn send_first_info(&self) {
        let info =
            ServerInfo { nonce: self.nonce.clone(), compression: UNCOMPRESSED.to_owned(), ..self.own_info() };
        self.leaf.queue(|out| encode::info(out, info.to_json().as_bytes()));
        self.flush();
    }

    /// What this server says of itself.
    fn own_info(&self) -> ServerInfo {
        let (shared, options) = (&self.shared, &self.settings);
        let listeners = &options.unserved_listeners;
        let host = listeners.iter().find(|listener| listener.feature == Unserved::Leafnodes);
        let host = host.map(|listener| listener.host.clone()).unwrap_or_default();
        let port = shared.bound_unserved_port(Unserved::Leafnodes).unwrap_or_default();
        let is_known = !options.leafnodes.no_advertise && !matches!(host.as_str(), "0.0.0.0" | "::");
        let urls = is_known.then(|| crate::interfaces::host_port(&host, port)).into_iter().collect();
        ServerInfo {
            server_id: shared.identity.id.clone(),
            server_name: shared.identity.name.clone(),
            version: SERVER_VERSION.to_owned(),
            proto: PROTOCOL,
            go: GO_VERSION.to_owned(),
            host,
            port: i64::from(port),
            headers: !options.no_header_support,
            auth_required: true,
            tls_required: options.leafnodes.tls.is_some(),
            tls_verify: options.leafnodes.tls.as_ref().is_some_and(|tls| tls.verify),
            max_payload: options.limits.shown_max_payload(),
            jetstream: options.jetstream.enabled,
            client_id: self.leaf.id(),
            cluster: options.cluster_name.clone().unwrap_or_default(),
            domain: options.jetstream.domain.clone().unwrap_or_default(),
            api_lvl: i64::from(API_LEVEL),
            info_on_connect: true,
            leafnode_urls: urls,
            ..ServerInfo::default()
        }
    }

    /// Something else than CONNECT came first.
    pub(super) fn refuse_unannounced(&mut self) {
        tracing::error!("{} - authentication error", self.leaf.label());
        self.leaf.send_err("Authorization Violation");
        self.leaf.out.close(CloseReason::AuthenticationViolation);
    }

    /// What the connection waited for did not come in time.
    pub(super) fn too_late(&mut self) {
        let (text, reason) = match self.stage {
            Stage::AwaitsConnect => ("Authentication Timeout", CloseReason::AuthenticationTimeout),
            Stage::AwaitsInfo => return self.leaf.out.close(CloseReason::ReadError),
            Stage::AwaitsAnswer | Stage::Joined => {
                ("Stale Leaf Node Connection - Closing", CloseReason::StaleConnection)
            }
        };
        tracing::debug!("{} - {text}", self.leaf.label());
        self.leaf.send_err(text);
        self.leaf.out.close(reason);
    }

    /// Says no, here and there, and closes.
    fn reject(&mut self, text: &str, reason: CloseReason) {
        tracing::error!("{} - {text}", self.leaf.label());
        self.leaf.send_err(text);
        self.leaf.out.close(reason);
    }

    /// The other server said -ERR.
    pub(super) fn told_error(&mut self, text: &str) {
        let label = self.leaf.label();
        tracing::error!("{label} - Leafnode Error '{text}'");
        if text.contains("Loop detected") {
            self.found_loop(false);
        } else if text.contains("has same cluster name") {
            self.delay = Some(DELAY_AFTER_LOOP);
        } else if text.contains("connection rejected since minimum version required is") {
            self.delay = Some(DELAY_AFTER_VERSION);
        }
    }

    /// The two are part of a circle.
    pub(super) fn found_loop(&mut self, is_told: bool) {
        self.delay = Some(DELAY_AFTER_LOOP);
        let account = self.leaf.joined.get().map(|joined| joined.account.name().to_owned());
        let account = quoted(account.unwrap_or_default());
        let text =
            format!("Loop detected for leafnode account={account}. Delaying attempt to reconnect for 30s");
        tracing::error!("{} - {text}", self.leaf.label());
        if is_told {
            self.leaf.send_err(&text);
        }
        self.leaf.out.close(CloseReason::ProtocolViolation);
    }

    /// Something from the other server that this hub does not let through.
    pub(super) fn violation(&mut self, verb: &str, action: &str, subject: &[u8]) {
        self.delay = Some(DELAY_AFTER_LOOP);
        let subject = quoted(subject);
        self.leaf.send_err(&format!("Permissions Violation for {verb} to {subject}"));
        let label = self.leaf.label();
        tracing::error!("{label} - {action} Violation on {subject} - Check other side configuration");
        self.leaf.out.close(CloseReason::ProtocolViolation);
    }

    /// Reads CONNECT of the server that came.
    pub(super) async fn connect(&mut self, json: &[u8]) {
        if self.stage != Stage::AwaitsConnect {
            return;
        }
        let said = match LeafConnect::from_json(json) {
            Ok(said) => said,
            Err(error) => {
                tracing::error!("{} - {error}", self.leaf.label());
                return self.leaf.out.close(CloseReason::ProtocolViolation);
            }
        };
        self.deadline = None;
        let Some(admitted) = self.admit(&said).await else {
            let who =
                if said.user.is_empty() { String::new() } else { format!(" - User {}", quoted(&said.user)) };
            tracing::error!("{} - authentication error{who}", self.leaf.label());
            self.leaf.send_err("Authorization Violation");
            return self.leaf.out.close(CloseReason::AuthenticationViolation);
        };
        if let Some((text, reason)) = self.objection(&said) {
            return self.reject(&text, reason);
        }
        let account = self.shared.accounts.by_name(&admitted.account);
        let account = account.unwrap_or_else(|| Arc::clone(self.shared.accounts.global()));
        let (mut rules, import, export) = rules_of(&admitted);
        rules.outward.deny(said.deny_pub.iter().cloned());
        self.leaf.headers.store(said.headers && !self.settings.no_header_support, Ordering::Relaxed);
        let other = Other {
            server: said.name.clone(),
            cluster: said.cluster.clone(),
            domain: said.domain.clone(),
            account: said.remote_account.clone(),
        };
        self.replace_other(&other, &account);
        let is_isolated = self.settings.leafnodes.isolate || said.isolate;
        let info = ServerInfo {
            import,
            export,
            remote_account: account.name().to_owned(),
            acc_is_sys: self.shared.accounts.is_system(account.id()),
            connect_info: true,
            ..self.own_info()
        };
        self.leaf.queue(|out| encode::info(out, info.to_json().as_bytes()));
        self.keepalive.connected();
        self.join(account, other, rules, (said.is_hub, is_isolated));
    }

    /// Decides who the other server is.
    async fn admit(&self, said: &LeafConnect) -> Option<Admitted> {
        if self.settings.auth.callout.is_some() && self.settings.leafnodes.users.is_empty() {
            tracing::error!(
                "{} - Leaf nodes are not asked about: JetKV does not support that yet",
                self.leaf.label()
            );
            return None;
        }
        let credentials = Credentials {
            user: said.user.clone(),
            password: said.pass.clone(),
            token: said.auth_token.clone(),
            nkey: said.nkey.clone(),
            signature: said.sig.clone(),
            nonce: self.nonce.clone(),
            by_proxy: false,
        };
        match self.shared.leafnode_auth().check(&credentials) {
            Check::Admitted(admitted) => Some(admitted),
            Check::Refused(reason) => {
                if let Some(reason) = reason {
                    tracing::debug!("{} - {reason}", self.leaf.label());
                }
                None
            }
            Check::Slow(check) => self.shared.call_blocking(|| check.run()).await.flatten(),
            Check::Claims => {
                let label = self.leaf.label();
                tracing::error!("{label} - Leaf nodes with claims are not supported by JetKV yet");
                None
            }
        }
    }

    /// Why the other server cannot stay, whoever it is.
    fn objection(&self, said: &LeafConnect) -> Option<(String, CloseReason)> {
        let settings = &self.settings;
        if !said.lang.is_empty() {
            let text = "attempted to connect to leaf node port";
            return Some((text.to_owned(), CloseReason::WrongPort));
        }
        if said.cluster.contains(' ') {
            return Some(("cluster name cannot contain spaces".to_owned(), CloseReason::ProtocolViolation));
        }
        if said.cluster == RESERVED_CLUSTER {
            return Some(("cluster name is reserved".to_owned(), CloseReason::ProtocolViolation));
        }
        if !said.cluster.is_empty() && settings.cluster_name.as_ref() == Some(&said.cluster) {
            let text = "remote leafnode has same cluster name";
            return Some((text.to_owned(), CloseReason::ClusterNamesIdentical));
        }
        if !said.gateway.is_empty() {
            let name = quoted(&said.gateway);
            let text = format!("Rejecting connection from gateway {name} on the leafnode port");
            return Some((text, CloseReason::WrongGateway));
        }
        let wanted =
            settings.leafnodes.min_version.as_ref().filter(|wanted| !is_at_least(&said.version, wanted))?;
        let text = format!("connection rejected since minimum version required is {}", quoted(wanted));
        Some((text, CloseReason::MinimumVersionRequired))
    }

    /// An older connection of the same server to the same account makes room.
    fn replace_other(&self, other: &Other, account: &Arc<Account>) {
        if other.server.is_empty() || other.account.is_empty() {
            return;
        }
        let older = self.shared.leafnodes.all().into_iter().find(|known| {
            known.view().is_some_and(|view| {
                !view.is_solicited
                    && view.server == other.server
                    && view.cluster == other.cluster
                    && view.remote_account == other.account
                    && Arc::ptr_eq(&view.account, account)
            })
        });
        if let Some(older) = older {
            older.replace();
            tracing::warn!("{} - Replacing connection from same server", self.leaf.label());
        }
    }

    /// Reads INFO.
    pub(super) async fn info(&mut self, json: &[u8]) {
        let info = match ServerInfo::from_json(json) {
            Ok(info) => info,
            Err(error) => {
                tracing::error!("{} - {error}", self.leaf.label());
                return self.leaf.out.close(CloseReason::ProtocolViolation);
            }
        };
        match self.stage {
            Stage::AwaitsInfo => self.first_info(&info).await,
            Stage::AwaitsAnswer if info.connect_info => self.answer(&info),
            // Where else the other cluster can be connected to.
            Stage::AwaitsAnswer | Stage::AwaitsConnect | Stage::Joined => {}
        }
    }

    async fn first_info(&mut self, info: &ServerInfo) {
        let Some(solicited) = self.solicited.clone() else { return };
        let label = self.leaf.label();
        if info.tls_required {
            solicited.wants_tls.store(true, Ordering::Relaxed);
        }
        if !self.is_secured && solicited.needs_tls() {
            self.deadline = None;
            if let Err(reason) = self.secure_outward(&solicited).await {
                return self.leaf.out.close(reason);
            }
        }
        if info.client_id == 0 || (info.leafnode_urls.is_empty() && !info.info_on_connect) {
            tracing::error!("{label} - attempted to connect to wrong port");
            return self.leaf.out.close(CloseReason::WrongPort);
        }
        if info.cluster.contains(' ') {
            return self.reject("cluster name cannot contain spaces", CloseReason::ProtocolViolation);
        }
        let headers = info.headers && !self.settings.no_header_support;
        self.leaf.headers.store(headers, Ordering::Relaxed);
        let account = self.shared.accounts.by_name(&solicited.remote.account);
        let has_jetstream = account.is_some_and(|account| account.has_jetstream());
        let said = LeafConnect {
            version: SERVER_VERSION.to_owned(),
            server_id: self.shared.identity.id.clone(),
            domain: self.settings.jetstream.domain.clone().unwrap_or_default(),
            name: self.shared.identity.name.clone(),
            is_hub: solicited.remote.hub,
            cluster: self.settings.cluster_name.clone().unwrap_or_default(),
            headers,
            jetstream: has_jetstream,
            deny_pub: solicited.remote.deny_imports.clone(),
            isolate: solicited.remote.request_isolation,
            compress_mode: UNCOMPRESSED.to_owned(),
            remote_account: solicited.remote.account.clone(),
            protocol: PROTOCOL,
            ..LeafConnect::default()
        };
        let said = match credentials::sign(said, &solicited, &info.nonce) {
            Ok(said) => said,
            Err(error) => {
                tracing::error!("{label} - {error}");
                return self.leaf.out.close(CloseReason::WriteError);
            }
        };
        self.leaf.queue(|out| encode::connect(out, said.to_json().as_bytes()));
        tracing::debug!("{label} - Remote leafnode connect msg sent");
        self.first_info = Some(Box::new(info.clone()));
        self.stage = Stage::AwaitsAnswer;
        self.deadline = Some(Instant::now() + CONNECT_ANSWER_MAX);
        if !info.info_on_connect {
            self.answer(&ServerInfo::default());
        }
    }

    /// The other server let this one in.
    fn answer(&mut self, info: &ServerInfo) {
        let (Some(solicited), Some(first)) = (self.solicited.clone(), self.first_info.take()) else { return };
        self.deadline = None;
        let remote = &solicited.remote;
        let Some(account) = self.shared.accounts.by_name(&remote.account) else {
            // It went meanwhile.
            return self.leaf.out.close(CloseReason::MissingAccount);
        };
        let mut rules = Rules {
            outward: Gate::told(info.export.as_ref()),
            wanted: Gate::told(info.import.as_ref()),
            inward: Gate::default(),
        };
        rules.outward.deny(remote.deny_exports.iter().cloned());
        rules.wanted.deny(remote.deny_imports.iter().cloned());
        let other = Other {
            server: if first.server_name.is_empty() { first.server_id } else { first.server_name },
            cluster: first.cluster,
            domain: first.domain,
            account: info.remote_account.clone(),
        };
        self.keepalive.connected();
        let is_isolated = self.settings.leafnodes.isolate || remote.isolate;
        self.join(account, other, rules, (!remote.hub, is_isolated));
    }

    /// The two know each other now.
    fn join(
        &mut self,
        account: Arc<Account>,
        other: Other,
        mut rules: Rules,
        (is_spoke, is_isolated): (bool, bool),
    ) {
        let label = self.leaf.label();
        let is_system = self.shared.accounts.is_system(account.id());
        domains::deny(&self.settings, &account, (is_system, &label), &other.domain, &mut rules);
        let joined = Joined {
            account,
            server: other.server,
            cluster: other.cluster,
            remote_account: other.account,
            is_spoke,
            is_isolated,
            rules: RwLock::new(Arc::new(rules)),
        };
        // They get to know each other once.
        let _ = self.leaf.joined.set(joined);
        self.stage = Stage::Joined;
        let leaf = Arc::clone(&self.leaf);
        if let Some(joined) = leaf.joined.get()
            && leaf.tell_interest(joined).is_err()
        {
            self.reject(
                "maximum account active connections exceeded",
                CloseReason::MaxAccountConnectionsExceeded,
            );
        } else if let (Some(joined), Some(jetstream)) = (leaf.joined.get(), &self.jetstream) {
            jetstream.engine().origins_may_answer(joined.account.id());
        }
        self.tell_count();
    }
}

/// What a user may do, as rules, and as the other server is told.
fn rules_of(
    admitted: &Admitted,
) -> (Rules, Option<SubjectPermissionToTell>, Option<SubjectPermissionToTell>) {
    let configured = admitted.permissions.as_ref().map(|permissions| permissions.configured().clone());
    let gate = |permission: Option<SubjectPermission>| {
        permission.map_or_else(Gate::default, |one| Gate::new(one.allow, one.deny))
    };
    let configured = configured.unwrap_or_default();
    let (export, import) = (gate(configured.publish), gate(configured.subscribe));
    let told = (import.to_tell(), export.to_tell());
    // What the user may publish comes in here, and what it may subscribe to goes out.
    let rules = Rules { outward: import, wanted: export.clone(), inward: export };
    (rules, told.0, told.1)
}

/// A permission as INFO has it.
type SubjectPermissionToTell = jetkv_protocol::connect::SubjectPermission;

/// Whether a version is another one or newer.
fn is_at_least(version: &str, wanted: &str) -> bool {
    let parts = |text: &str| -> Vec<u64> {
        let text = text.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default().to_owned();
        text.split('.').map(|part| part.parse().unwrap_or(0)).collect()
    };
    parts(version) >= parts(wanted)
}

#[cfg(test)]
mod tests {
    use super::is_at_least;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(
            is_at_least("2.15.2", "2.8.0")
                && is_at_least("2.8.0", "v2.8.0")
                && is_at_least("2.10.0-beta.1", "2.9.9")
        );
        assert!(!is_at_least("2.7.9", "2.8.0") && !is_at_least("", "2.8.0"));
    }
}
