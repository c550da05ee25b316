//! Putting other options in force while the server runs.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use jetkv_protocol::Rejection;

use super::{Inner, announce};
use crate::claimed;
use crate::connections::{ClientType, CloseReason, Refused, TraceOptions};
use crate::events;
use crate::options::{Action, Change, Options, ReloadError, diff};
use crate::pid_file;
use crate::ports_file::{Ports, PortsFile};

/// Longest wait for the connections to take new options over. They do so between two reads.
const CONNECTIONS_WAIT: Duration = Duration::from_secs(1);

impl Inner {
    /// Puts other options in force, and logs what changes. When it returns they hold for all connections, but for one
    /// that is busy for long.
    pub(super) fn reload(&self, mut options: Options) -> Result<Vec<Change>, ReloadError> {
        let shared = &self.shared;
        if !self.is_cluster_named && options.cluster_name.is_none() {
            // The name that it got is not one that the configuration could take away.
            options.cluster_name.clone_from(&shared.options().cluster_name);
        }
        let changes = diff(&shared.options(), &mut options, shared.jetstream().is_some())?;
        // Where nothing names the cluster any more, it keeps its name.
        options.cluster_name = options.cluster_name.or_else(|| shared.options().cluster_name.clone());
        shared.replace_options(options);
        if let Some(jetstream) = shared.jetstream() {
            jetstream.apply_settings(shared);
        }
        for change in &changes {
            self.carry_out(change.action);
            if !change.line.is_empty() {
                tracing::info!("{}", change.line);
            }
        }
        if let Some(lab) = &self.lab {
            lab.listen(shared);
        }
        claimed::callout::report(shared);
        claimed::reload(shared);
        self.tell_connections();
        if let Some(jetstream) = shared.jetstream() {
            jetstream.apply_accounts(shared);
        }
        if changes.iter().any(|change| change.action == Action::JetStream) {
            self.switch_jetstream(shared.options().jetstream.enabled);
            self.tell_connections();
        }
        Ok(changes)
    }

    /// Closes the connections without a certificate whose key is pinned, where other keys were pinned before.
    pub(super) fn close_unpinned(&self, before: &Options) {
        let options = self.shared.options();
        let of_websocket = |options: &Options| options.websocket.as_ref().and_then(|block| block.tls.clone());
        let of_kind = [
            (ClientType::Nats, before.tls.clone(), options.tls.clone()),
            (ClientType::Websocket, of_websocket(before), of_websocket(&options)),
        ];
        let mut refused = self.shared.clients();
        refused.retain(|client| {
            let kind = of_kind.iter().find(|(kind, ..)| *kind == client.client_type());
            let Some((_, old, Some(new))) = kind else { return false };
            let are_new = old.as_ref().is_none_or(|old| old.pinned_certs != new.pinned_certs);
            are_new && new.accepts(client.secured().and_then(|secured| secured.peer.as_deref())).is_err()
        });
        if refused.is_empty() {
            return;
        }
        tracing::info!("Disconnect {} clients due to pinned certs reload", refused.len());
        refused.iter().for_each(|client| client.close(CloseReason::TlsHandshakeError));
    }

    /// Does what belongs before the line of a change.
    fn carry_out(&self, action: Action) {
        let options = self.shared.options();
        match action {
            Action::MaxConnections => self.close_surplus(options.limits.max_connections),
            Action::ClientAdvertise => {
                // What makes no sense was refused.
                if let Ok((host, port)) = announce::advertised(&options) {
                    self.shared.set_listening(host, port);
                }
            }
            Action::PidFile => {
                if let Some(Err(error)) = options.pid_file.as_deref().map(pid_file::write) {
                    tracing::error!("Failed to write pidfile: {error}");
                }
            }
            Action::PortsFile => {
                let mut file = self.ports_file.lock();
                if let Some(old) = file.take() {
                    old.remove();
                }
                if let Some(directory) = &options.ports_file_dir {
                    *file = Some(PortsFile::write(directory, &self.ports()).report());
                }
            }
            Action::Remotes => self.shared.remotes_changed.notify_one(),
            // These read the options where they use them, or come later.
            Action::Nothing | Action::Log | Action::Trace | Action::Authorization | Action::JetStream => {}
        }
    }

    /// Has every connection take the options over, waits for that, and then tells accounts whom of them it refused.
    fn tell_connections(&self) {
        let traced = TraceOptions::new(&self.shared.options().log);
        self.free_places();
        let (guard, all_done) = mpsc::channel();
        for client in self.shared.clients() {
            client.set_traced(traced);
            client.ask_reload(guard.clone());
        }
        self.shared.leafnodes.all().iter().for_each(|leafnode| leafnode.reload());
        drop(guard);
        // The wait ends when the last guard is gone.
        let deadline = Instant::now() + CONNECTIONS_WAIT;
        let next = || all_done.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok();
        let refused: Vec<Refused> = std::iter::from_fn(next).collect();
        for (client, reason) in refused {
            events::refused_in_account(&self.shared, &*client, reason);
        }
        self.shared.end_turn();
    }

    /// Takes the places of those who have to go to another account, so that who stays is not one too many in theirs.
    fn free_places(&self) {
        let options = self.shared.options();
        if options.operators.is_on() || options.auth.callout.is_some() {
            return;
        }
        for client in self.shared.clients() {
            let (identity, auth) = (client.identity(), self.shared.auth_of(&*client));
            if identity.account.is_isolated() {
                // It is in no configuration, and whoever is in it stays.
                continue;
            }
            let user = identity.user.as_str();
            let account = if identity.by_key { auth.account_of_key(user) } else { auth.account_of(user) };
            let moves = match account {
                Some(account) => account != identity.account.name(),
                None => !user.is_empty() && !auth.is_single(),
            };
            if moves {
                identity.account.remove_client(client.id());
            }
        }
    }

    /// Where the server listens, for the ports file.
    pub(super) fn ports(&self) -> Ports {
        let options = self.shared.options();
        let clients = if options.tls.is_some() && !options.allow_non_tls { "tls" } else { "nats" };
        let pages = if options.monitor.secure { "https" } else { "http" };
        let monitor = *self.monitor_address.lock();
        let mut ports = Ports::with_schemes((clients, Some(self.address)), (pages, monitor));
        if let (Some(websocket), Some(address)) = (&options.websocket, self.websocket_address) {
            ports.add_websocket(if websocket.tls.is_some() { "wss" } else { "ws" }, address);
        }
        for place in &self.unserved {
            ports.add_unserved(place.feature, place.address);
        }
        ports
    }

    fn switch_jetstream(&self, on: bool) {
        let _context = self.threads.services().enter();
        match (on, self.shared.jetstream()) {
            (true, None) => {
                tracing::info!("Restarting JetStream");
                if let Err(error) = announce::start_jetstream(&self.shared) {
                    tracing::warn!("{error}");
                }
            }
            (false, Some(jetstream)) => {
                self.shared.set_jetstream(None);
                jetstream.stop(&self.shared);
            }
            _ => {}
        }
    }

    /// Closes connections beyond `max`, the youngest first.
    fn close_surplus(&self, max: i64) {
        let max = usize::try_from(max).unwrap_or(0);
        let mut clients = self.shared.clients();
        clients.retain(|client| client.closing().is_none());
        clients.sort_unstable_by_key(|client| client.id());
        let surplus = clients.split_off(max.min(clients.len()));
        if surplus.is_empty() {
            return;
        }
        for client in &surplus {
            let identity = client.identity();
            let text = Rejection::TooManyConnections.wire_text();
            let statement = format!("{text} - Account:{}", identity.account.name());
            if self.shared.repeats.is_news(&statement) {
                let user = if identity.user.is_empty() {
                    String::new()
                } else {
                    format!(" - user:{}", identity.user)
                };
                tracing::error!("{} - {statement}{user}", identity.label);
            }
            Arc::clone(client).send_away(&Rejection::TooManyConnections, CloseReason::MaxConnectionsExceeded);
        }
        self.shared.end_turn();
        tracing::info!("Closed {} connections to fall within max_connections", surplus.len());
    }
}
