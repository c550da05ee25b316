//! Putting other options in force while the server runs.

use super::{Inner, announce};
use crate::net::{CloseReason, TraceOptions};
use crate::options::{Action, Change, Options, ReloadError, diff};
use crate::pid_file;
use crate::ports_file::{Ports, PortsFile};

impl Inner {
    /// Puts other options in force, and logs what changes.
    pub(super) fn reload(&self, mut options: Options) -> Result<Vec<Change>, ReloadError> {
        let shared = &self.shared;
        let changes = diff(&shared.options(), &mut options, shared.jetstream().is_some())?;
        shared.replace_options(options);
        for change in &changes {
            tracing::info!("{}", change.line);
            self.carry_out(change.action);
        }
        if let Some(jetstream) = shared.jetstream() {
            jetstream.apply(shared);
        }
        let traced = TraceOptions::new(&shared.options().log);
        for client in shared.clients() {
            client.set_traced(traced);
            client.ask_reload();
        }
        Ok(changes)
    }

    fn carry_out(&self, action: Action) {
        let options = self.shared.options();
        match action {
            Action::MaxConnections => self.close_surplus(options.limits.max_connections),
            Action::ClientAdvertise => {
                // What makes no sense changes nothing, as on nats-server v2.15.2 (observed).
                if let Ok((host, port)) = announce::advertised(&options) {
                    self.shared.set_listening(host, port);
                }
            }
            Action::PidFile => {
                if let Some(Err(error)) = options.pid_file.as_deref().map(pid_file::write) {
                    tracing::error!("Could not write pidfile: {error}");
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
            Action::JetStream => self.switch_jetstream(options.jetstream.enabled),
            // Connections and the engine take the new options over as a whole.
            _ => {}
        }
    }

    /// Where the server listens, for the ports file.
    pub(super) fn ports(&self) -> Ports {
        Ports::new(Some(self.address), *self.monitor_address.lock())
    }

    fn switch_jetstream(&self, on: bool) {
        let _context = self.threads.first().enter();
        match (on, self.shared.jetstream()) {
            (true, None) => {
                if let Err(error) = announce::start_jetstream(&self.shared) {
                    tracing::error!("Can't start JetStream: {error}");
                }
            }
            (false, Some(jetstream)) => {
                self.shared.set_jetstream(None);
                jetstream.stop(&self.shared);
            }
            _ => {}
        }
    }

    /// Closes the youngest connections beyond `max`.
    fn close_surplus(&self, max: i64) {
        let Some(max) = usize::try_from(max).ok().filter(|max| *max > 0) else { return };
        let mut clients = self.shared.clients();
        clients.sort_unstable_by_key(|client| client.id());
        for client in clients.iter().skip(max) {
            client.close(CloseReason::MaxConnectionsExceeded);
        }
    }
}
