//! The rules for what changes subjects: `subject_transform` and `republish`.

use super::StreamConfig;
use super::refusal::{invalid, pedantic_error};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use jetkv_protocol::subject;
use jetkv_protocol::transform::{Transform, TransformError};

/// Checks the transform of what comes in.
pub(super) fn check_transform(config: &StreamConfig) -> Result<(), ApiError> {
    let Some(transform) = &config.subject_transform else { return Ok(()) };
    let source = transform.src.as_str();
    if !source.is_empty() && !subject::is_valid_text(source.as_bytes()) {
        let text = format_args!("{} {source}", TransformError::Subject);
        return Err(errors::STREAM_TRANSFORM_INVALID_SOURCE.because(text));
    }
    match Transform::checked(source, &transform.dest) {
        Ok(_) => Ok(()),
        Err(error) => Err(errors::STREAM_TRANSFORM_INVALID_DESTINATION.because(error)),
    }
}

/// Checks where messages are published again, and fills in what the configuration leaves open. To publish everything
/// again as it is stored is possible where a transform takes it out of the stream's only subject.
pub(super) fn check_republish(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    let StreamConfig { republish: Some(republish), subject_transform: transform, subjects, .. } = config
    else {
        return Ok(());
    };
    if republish.src.is_empty() {
        if pedantic {
            return Err(pedantic_error("republish source can not be empty"));
        }
        ">".clone_into(&mut republish.src);
    }
    if republish.dest == ">"
        && republish.src == ">"
        && let Some(transform) = transform
        && let [only] = subjects.as_slice()
        && *only == transform.src
    {
        if pedantic {
            return Err(pedantic_error("implicit republish based on subject transform"));
        }
        transform.dest.clone_into(&mut republish.src);
        transform.dest.clone_into(&mut republish.dest);
    }
    let dest = republish.dest.as_bytes();
    if subjects.iter().any(|captured| subject::collide(dest, captured.as_bytes())) {
        return Err(invalid("stream configuration for republish destination forms a cycle"));
    }
    if Transform::new(&republish.src, &republish.dest).is_err() {
        let (from, to) = (&republish.src, &republish.dest);
        return Err(invalid(format_args!(
            "stream configuration for republish with transform from '{from}' to '{to}' not valid"
        )));
    }
    Ok(())
}
