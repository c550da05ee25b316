//! The parts of the start that are worth a line in the log.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::StartError;
use crate::banner;
use crate::jetstream::{JetStream, tell_enabled};
use crate::options::{JetStreamOptions, Options, host_and_port};
use crate::state::Shared;

/// Starts the engine, and logs around it.
pub(super) fn start_jetstream(shared: &Arc<Shared>) -> Result<(), StartError> {
    let options = shared.options();
    let system = shared.accounts.system().filter(|system| system.has_jetstream());
    let is_global = system.as_ref().is_some_and(|system| system.id() == shared.accounts.global().id());
    if system.is_some() && !is_global {
        return Err(StartError::SystemJetStream);
    }
    banner::log_jetstream_start(options.jetstream.store_dir.is_none());
    let began = Instant::now();
    let started = if is_global { Err(StartError::GlobalSystemJetStream) } else { Ok(()) };
    let started = started.and_then(|()| no_sealed_key(&options.jetstream));
    let started = started.and_then(|()| Ok(JetStream::start(shared)?));
    let jetstream = match started {
        Ok(jetstream) => jetstream,
        Err(error) => {
            banner::log_jetstream_ready(began.elapsed());
            return Err(error);
        }
    };
    let (config, settings) = (jetstream.engine().config(), jetstream.engine().settings());
    let store_dir = config.store_dir.as_deref().unwrap_or_else(|| Path::new("")).join("jetstream");
    let (memory_bytes, store_bytes) = (settings.max_memory_bytes, settings.max_file_bytes);
    banner::log_jetstream_sizes(&options.jetstream, memory_bytes, store_bytes);
    banner::log_jetstream(&options, memory_bytes, store_bytes, &store_dir);
    shared.accounts.all().iter().for_each(|account| tell_enabled(account));
    banner::log_jetstream_ready(began.elapsed());
    Ok(())
}

/// A key that a trusted platform module keeps cannot be had, so that nothing may be stored without it.
fn no_sealed_key(options: &JetStreamOptions) -> Result<(), StartError> {
    match (&options.tpm.keys_file, &options.encryption_key) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(StartError::SealedKey("TPM functionality is not supported on this platform")),
        (Some(_), Some(_)) => {
            Err(StartError::SealedKey("JetStream encryption key may not be used with TPM options"))
        }
    }
}

/// Host and port that INFO names: the advertised ones, else those that are bound. The error is Go's text.
pub(super) fn advertised(options: &Options) -> Result<(String, i64), String> {
    match &options.client_advertise {
        Some(advertised) => host_and_port(advertised, options.port),
        None => Ok((options.host.clone(), i64::from(options.port))),
    }
}
