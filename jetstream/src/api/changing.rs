//! Changes of consumers that wait for the disk.

use crate::config::ConsumerConfig;
use crate::config::consumer_rules::Verdict;
use crate::consumer::{Change, Consumers, Known, Staged, Staging, StreamCtx};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::stream::{Stream, Survey};

/// Has a change made to a consumer. What it needs of the disk is waited for without the stream's lock, what takes long
/// to find out about the stream is found out in slices, and the change is looked at anew then.
pub(super) fn change<T>(
    stream: &Stream,
    name: &str,
    filters: Option<Verdict>,
    attempt: impl Fn(&mut Consumers, &mut StreamCtx<'_>, Option<Staged>) -> Result<Change<T>, ApiError>,
) -> Result<T, ApiError> {
    let (mut staging, mut survey) = (Staging::default(), Survey::new(stream));
    loop {
        let staged = staging.take();
        let was_staged = staged.is_some();
        let mut inner = stream.lock();
        inner.known = Known { filters: filters.clone(), ..survey.known(&mut inner) };
        let (consumers, mut ctx) = inner.parts();
        let step = attempt(consumers, &mut ctx, staged);
        inner.known = Known::default();
        drop(inner);
        match step {
            Ok(Change::Made(made)) => return Ok(made),
            Ok(Change::Stage(work)) => {
                let done = match work.into_ask() {
                    Ok(ask) => survey.find_out(ask),
                    Err(work) => staging.stage(work),
                };
                done.map_err(|error| errors::CONSUMER_STORE_FAILED.because(error))?;
            }
            Err(error) => {
                // What was staged may be in place.
                if was_staged {
                    keep_again(stream, name);
                }
                return Err(error);
            }
        }
    }
}

/// Has the disk say again what a consumer's configuration is.
fn keep_again(stream: &Stream, name: &str) {
    let mut staging = Staging::default();
    let kept = loop {
        let step = stream.lock().consumers.keep_again(name, staging.take());
        match step {
            Some(Ok(Change::Stage(work))) => match staging.stage(work) {
                Ok(()) => {}
                Err(error) => break Err(error),
            },
            Some(Err(error)) => break Err(error),
            Some(Ok(Change::Made(()))) | None => break Ok(()),
        }
    };
    if let Err(error) = kept {
        tracing::error!(stream = stream.name(), consumer = name, %error, "a refused update takes effect with the next start");
    }
}

/// Takes back a change of a consumer that does not last.
pub(super) fn take_back(stream: &Stream, name: &str, now: &ConsumerConfig, was: &ConsumerConfig) {
    let taken =
        change(stream, name, None, |consumers, ctx, staged| consumers.take_back(ctx, name, now, was, staged));
    let Err(error) = taken else { return };
    let error = error.description;
    tracing::error!(stream = stream.name(), consumer = name, %error, "a refused update takes effect with the next start");
    let mut inner = stream.lock();
    let (consumers, mut ctx) = inner.parts();
    let _ = consumers.take_back(&mut ctx, name, now, was, Some(Staged::Refused));
}
