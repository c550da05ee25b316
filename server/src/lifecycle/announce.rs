//! The parts of the start that are worth a line in the log.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jetkv_jetstream::EngineError;

use crate::banner;
use crate::jetstream::JetStream;
use crate::options::{Options, host_and_port};
use crate::state::Shared;

/// Starts the engine, and logs around it.
pub(super) fn start_jetstream(shared: &Arc<Shared>) -> Result<(), EngineError> {
    let options = shared.options();
    banner::log_jetstream_start(options.jetstream.store_dir.is_none());
    let began = Instant::now();
    let jetstream = match JetStream::start(shared) {
        Ok(jetstream) => jetstream,
        Err(error) => {
            banner::log_jetstream_ready(began.elapsed());
            return Err(error);
        }
    };
    let (config, settings) = (jetstream.engine().config(), jetstream.engine().settings());
    let store_dir = config.store_dir.as_deref().unwrap_or_else(|| Path::new("")).join("jetstream");
    banner::log_jetstream(&options, settings.max_memory_bytes, settings.max_file_bytes, &store_dir);
    banner::log_jetstream_ready(began.elapsed());
    Ok(())
}

/// Host and port that INFO names: the advertised ones, else those that are bound. The error is Go's text.
pub(super) fn advertised(options: &Options) -> Result<(String, i64), String> {
    match &options.client_advertise {
        Some(advertised) => host_and_port(advertised, options.port),
        None => Ok((options.host.clone(), i64::from(options.port))),
    }
}
