//! The parts of the start that are worth a line in the log.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jetkv_jetstream::EngineError;

use crate::banner;
use crate::jetstream::JetStream;
use crate::options::Options;
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

/// Host and port that INFO names: the advertised ones, else those that are bound.
pub(super) fn advertised(options: &Options) -> (String, u16) {
    let advertised = options.client_advertise.as_ref().and_then(|advertised| {
        let (host, port) = advertised.rsplit_once(':')?;
        Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
    });
    advertised.unwrap_or_else(|| (options.host.clone(), options.port))
}
