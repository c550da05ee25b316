//! The rules for `mirror` and `sources`, in nats-server's order and with its texts.

use super::StreamConfig;
use super::refusal::{invalid, is_valid_asset_name, pedantic_error};
use super::stream::{ExternalStream, StreamSource, SubjectTransform};
use crate::error::catalogue as errors;
use crate::error::{ApiError, ErrorDef};
use hashbrown::HashSet;
use jetkv_go_compat::base62::short_hash;
use jetkv_protocol::pattern_set::PatternSet;
use jetkv_protocol::subject;
use jetkv_protocol::transform::{Transform, TransformError};
use std::collections::VecDeque;
use std::sync::Arc;

/// Finds the configuration of another stream of the account.
pub type Others<'a> = dyn Fn(&str) -> Option<Arc<StreamConfig>> + 'a;

/// Where the API is, which the prefix of another one must not meet.
const API: &str = "$JS.API";

impl StreamSource {
    /// The name of its origin, told apart from one of the same name elsewhere, or read by a consumer of somebody's own.
    #[must_use]
    pub fn qualified_name(&self) -> String {
        let mut name = self.elsewhere();
        if let Some(consumer) = &self.consumer {
            name.push_str(":C=");
            name.push_str(&short_hash(&consumer.name));
        }
        name
    }

    fn elsewhere(&self) -> String {
        match &self.external {
            Some(external) => format!("{}:{}", self.name, short_hash(&external.api)),
            None => self.name.clone(),
        }
    }

    /// What tells one source of a stream from the others, and stands in messages and on disk: name, filters and
    /// destinations, with blanks in between.
    #[must_use]
    pub fn index_name(&self) -> String {
        let any = |text: &str| if text.is_empty() { ">".to_owned() } else { text.to_owned() };
        let (filters, destinations) = if self.subject_transforms.is_empty() {
            (any(&self.filter_subject), ">".to_owned())
        } else {
            let of = |part: fn(&SubjectTransform) -> &str| {
                let parts: Vec<String> = self.subject_transforms.iter().map(|to| any(part(to))).collect();
                parts.join("\u{c}")
            };
            (of(|to| &to.src), of(|to| &to.dest))
        };
        format!("{} {filters} {destinations}", self.qualified_name())
    }
}

/// The errors that mirrors and sources have of their own.
struct Texts {
    invalid_filter: ErrorDef,
    invalid_destination: ErrorDef,
    overlap: ErrorDef,
    consumer: ErrorDef,
}

const MIRROR: Texts = Texts {
    invalid_filter: errors::MIRROR_INVALID_SUBJECT_FILTER,
    invalid_destination: errors::MIRROR_INVALID_TRANSFORM_DESTINATION,
    overlap: errors::MIRROR_OVERLAPPING_SUBJECT_FILTERS,
    consumer: errors::MIRROR_DURABLE_CONSUMER_CFG_INVALID,
};
const SOURCE: Texts = Texts {
    invalid_filter: errors::SOURCE_INVALID_SUBJECT_FILTER,
    invalid_destination: errors::SOURCE_INVALID_TRANSFORM_DESTINATION,
    overlap: errors::SOURCE_OVERLAPPING_SUBJECT_FILTERS,
    consumer: errors::SOURCE_DURABLE_CONSUMER_CFG_INVALID,
};

/// What the origins say that has to be compared in the end.
#[derive(Default)]
struct Prefixes<'c> {
    /// Subjects of origins in the account.
    subjects: Vec<String>,
    deliver: Vec<&'c str>,
    api: Vec<&'c str>,
}

impl<'c> Prefixes<'c> {
    fn add(&mut self, external: &'c ExternalStream) {
        self.deliver.extend(Some(external.deliver.as_str()).filter(|prefix| !prefix.is_empty()));
        self.api.extend(Some(external.api.as_str()).filter(|prefix| !prefix.is_empty()));
    }

    fn check(&self) -> Result<(), ApiError> {
        for prefix in &self.deliver {
            if !subject::is_valid_publish(prefix.as_bytes()) {
                return Err(errors::STREAM_INVALID_EXTERNAL_DELIVERY_SUBJ.with("prefix", prefix));
            }
            for pattern in &self.subjects {
                if subject::collide(pattern.as_bytes(), format!("{prefix}.{pattern}").as_bytes()) {
                    let error = errors::STREAM_EXTERNAL_DEL_PREFIX_OVERLAPS.with("prefix", prefix);
                    return Err(error.with("subject", pattern));
                }
            }
        }
        for prefix in &self.api {
            if !subject::is_valid_publish(prefix.as_bytes()) {
                let quoted = jetkv_go_compat::quoted(prefix);
                return Err(invalid(format_args!(
                    "stream external api prefix {quoted} must be a valid subject without wildcards"
                )));
            }
            if subject::collide(prefix.as_bytes(), API.as_bytes()) {
                let error = errors::STREAM_EXTERNAL_API_OVERLAP.with("prefix", prefix);
                return Err(error.with("subject", API));
            }
        }
        Ok(())
    }
}

/// Checks what a stream takes from others, and fills in what a mirror takes over from its origin.
pub(super) fn check_origins(
    config: &mut StreamConfig,
    others: &Others<'_>,
    pedantic: bool,
) -> Result<(), ApiError> {
    if config.mirror.is_none() && config.sources.is_empty() {
        return Ok(());
    }
    check_mirror(config, others, pedantic)?;
    let mut prefixes = Prefixes::default();
    if let Some(mirror) = &config.mirror {
        match &mirror.external {
            Some(external) => prefixes.add(external),
            None => prefixes.subjects.extend(subjects_of(others, &mirror.name)),
        }
    }
    check_sources(config, others, &mut prefixes)?;
    prefixes.check()?;
    check_cycle(config, others)
}

fn subjects_of(others: &Others<'_>, name: &str) -> Vec<String> {
    others(name).map(|origin| origin.subjects.clone()).unwrap_or_default()
}

/// What a mirror cannot be together with.
fn check_mirror(config: &mut StreamConfig, others: &Others<'_>, pedantic: bool) -> Result<(), ApiError> {
    let Some(mirror) = &config.mirror else { return Ok(()) };
    let refused = [
        (config.first_seq > 0, errors::MIRROR_WITH_FIRST_SEQ),
        (!config.subjects.is_empty(), errors::MIRROR_WITH_SUBJECTS),
        (!config.sources.is_empty(), errors::MIRROR_WITH_SOURCES),
        (config.allow_msg_counter, errors::MIRROR_WITH_COUNTERS),
        (config.allow_atomic, errors::MIRROR_WITH_ATOMIC_PUBLISH),
        (config.allow_batched, errors::MIRROR_WITH_BATCH_PUBLISH),
        (config.allow_msg_schedules, errors::MIRROR_WITH_MSG_SCHEDULES),
    ];
    if let Some((_, error)) = refused.into_iter().find(|(is_set, _)| *is_set) {
        return Err(error.into());
    }
    check_consumer(mirror, &MIRROR)?;
    if !mirror.filter_subject.is_empty() && !mirror.subject_transforms.is_empty() {
        return Err(errors::MIRROR_MULTIPLE_FILTERS_NOT_ALLOWED.into());
    }
    if config.subject_delete_marker_ttl_ns > 0 {
        return Err(invalid("subject delete markers forbidden on mirrors"));
    }
    let all = sources_of(&mirror.subject_transforms);
    for (at, transform) in mirror.subject_transforms.iter().enumerate() {
        check_transform(transform, &MIRROR)?;
        let source = transform.src.as_bytes();
        if all.may_meet(source, Some(at))
            && is_with_another(mirror, at, |other| subject::collide(source, other))
        {
            return Err(MIRROR.overlap.into());
        }
    }
    if mirror.external.is_some() {
        return Ok(());
    }
    if !is_valid_asset_name(&mirror.name) {
        return Err(errors::MIRROR_INVALID_STREAM_NAME.into());
    }
    let Some(origin) = others(&mirror.name) else { return Ok(()) };
    if is_too_small(config, &origin) {
        return Err(errors::MIRROR_MAX_MESSAGE_SIZE_TOO_BIG.into());
    }
    if pedantic && config.mirror_direct != origin.allow_direct {
        return Err(pedantic_error("origin stream has direct get set, mirror has it disabled"));
    }
    config.mirror_direct = origin.allow_direct;
    Ok(())
}

/// What is wrong with a filter of an origin. nats-server looks for it when it adds a stream, and not when it changes one.
pub(crate) fn invalid_filter(config: &StreamConfig) -> Option<String> {
    let is_invalid = |source: &&StreamSource| {
        !source.filter_subject.is_empty() && !subject::is_valid(source.filter_subject.as_bytes())
    };
    let mirror = config.mirror.as_ref().filter(is_invalid);
    let source = || config.sources.iter().find(is_invalid);
    mirror
        .map(|mirror| format!("subject filter '{}' for the mirror invalid subject", mirror.filter_subject))
        .or_else(|| {
            source().map(|source| {
                format!("subject filter '{}' for the source: invalid subject", source.filter_subject)
            })
        })
}

fn is_too_small(config: &StreamConfig, origin: &StreamConfig) -> bool {
    config.max_msg_size > 0 && origin.max_msg_size > 0 && config.max_msg_size < origin.max_msg_size
}

fn check_sources<'c>(
    config: &'c StreamConfig,
    others: &Others<'_>,
    prefixes: &mut Prefixes<'c>,
) -> Result<(), ApiError> {
    if !config.sources.is_empty() && config.allow_msg_schedules {
        return Err(errors::SOURCE_WITH_MSG_SCHEDULES.into());
    }
    let (mut names, mut consumers) = (HashSet::new(), HashSet::new());
    for source in &config.sources {
        if !is_valid_asset_name(&source.name) {
            return Err(errors::SOURCE_INVALID_STREAM_NAME.into());
        }
        if !names.insert(source.index_name()) {
            return Err(errors::SOURCE_DUPLICATE_DETECTED.into());
        }
        if !source.filter_subject.is_empty() && !source.subject_transforms.is_empty() {
            return Err(errors::SOURCE_MULTIPLE_FILTERS_NOT_ALLOWED.into());
        }
        for transform in &source.subject_transforms {
            check_transform(transform, &SOURCE)?;
        }
        let all = sources_of(&source.subject_transforms);
        for (at, transform) in source.subject_transforms.iter().enumerate() {
            let from = transform.src.as_bytes();
            if all.may_cover(from, Some(at))
                && is_with_another(source, at, |other| subject::is_subset(from, other))
            {
                return Err(SOURCE.overlap.into());
            }
        }
        check_consumer(source, &SOURCE)?;
        if let Some(consumer) = &source.consumer
            && !consumers.insert((source.elsewhere(), consumer.name.as_str()))
        {
            return Err(errors::SOURCE_DURABLE_CONSUMER_DUPLICATE_DETECTED.into());
        }
        if let Some(external) = &source.external {
            prefixes.add(external);
        } else if let Some(origin) = others(&source.name) {
            prefixes.subjects.extend(origin.subjects.iter().cloned());
            if is_too_small(config, &origin) {
                return Err(errors::SOURCE_MAX_MESSAGE_SIZE_TOO_BIG.into());
            }
        }
    }
    Ok(())
}

/// What transforms change, to be compared with each other.
fn sources_of(transforms: &[SubjectTransform]) -> PatternSet<'_> {
    PatternSet::new(transforms.iter().map(|to| to.src.as_bytes()))
}

/// Whether what another transform than that at `at` changes stands so to it.
fn is_with_another(source: &StreamSource, at: usize, stands: impl Fn(&[u8]) -> bool) -> bool {
    let mut others = source.subject_transforms.iter().enumerate().filter(|(other_at, _)| *other_at != at);
    others.any(|(_, other)| stands(other.src.as_bytes()))
}

fn check_transform(transform: &SubjectTransform, texts: &Texts) -> Result<(), ApiError> {
    let source = transform.src.as_str();
    if !source.is_empty() && !subject::is_valid_text(source.as_bytes()) {
        return Err(texts.invalid_filter.because(format_args!("{} {source}", TransformError::Subject)));
    }
    Transform::checked(source, &transform.dest)
        .map(drop)
        .map_err(|error| texts.invalid_destination.because(error))
}

/// A consumer of somebody's own says itself where it begins and what it filters.
fn check_consumer(source: &StreamSource, texts: &Texts) -> Result<(), ApiError> {
    let Some(consumer) = &source.consumer else { return Ok(()) };
    let deliver = consumer.deliver_subject.as_bytes();
    let sound = is_valid_asset_name(&consumer.name)
        && !subject::has_wildcard(deliver)
        && subject::is_valid_text(deliver)
        && source.opt_start_seq == 0
        && source.opt_start_time.is_none()
        && source.filter_subject.is_empty();
    if sound { Ok(()) } else { Err(texts.consumer.into()) }
}

/// Streams of one account must not feed each other in a circle.
fn check_cycle(config: &StreamConfig, others: &Others<'_>) -> Result<(), ApiError> {
    let detected = || Err(invalid("detected cycle"));
    let overlaps = |subjects: &[String], filter: &str| {
        filter.is_empty() || subjects.iter().any(|one| subject::collide(one.as_bytes(), filter.as_bytes()))
    };
    let mut to_visit = VecDeque::from([Arc::new(config.clone())]);
    let mut visited: HashSet<String> = HashSet::new();
    // A stream that is reached in several ways is looked at once: what follows from it is the same.
    let mut queued: HashSet<String> = HashSet::from_iter([config.name.clone()]);
    while let Some(stream) = to_visit.pop_front() {
        visited.insert(stream.name.clone());
        for source in stream.sources.iter().filter(|source| source.external.is_none()) {
            if visited.contains(&source.name) {
                if overlaps(&stream.subjects, &source.filter_subject) {
                    return detected();
                }
            } else if queued.insert(source.name.clone()) {
                to_visit.extend(others(&source.name));
            }
        }
        if let Some(mirror) = stream.mirror.as_ref().filter(|mirror| mirror.external.is_none()) {
            if visited.contains(&mirror.name) {
                return detected();
            }
            if queued.insert(mirror.name.clone()) {
                to_visit.extend(others(&mirror.name));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_names_tell_sources_apart() {
        let mut source = StreamSource { name: "O".into(), ..StreamSource::default() };
        assert_eq!(source.index_name(), "O > >");
        source.filter_subject = "a.*".into();
        assert_eq!(source.index_name(), "O a.* >");
        source.filter_subject.clear();
        let to = |src: &str, dest: &str| SubjectTransform { src: src.into(), dest: dest.into() };
        source.subject_transforms = vec![to("a", "b"), to("c", "")];
        assert_eq!(source.index_name(), "O a\u{c}c b\u{c}>");
        source.external = Some(ExternalStream { api: "foo".into(), deliver: String::new() });
        assert_eq!(source.index_name(), "O:icujg7CJ a\u{c}c b\u{c}>");
    }

    #[test]
    fn one_that_meets_another_is_found_among_many() {
        let to = |src: String| SubjectTransform { src, dest: String::new() };
        let shapes = |number: usize| match number % 3 {
            0 => format!("s.*.{number}"),
            1 => format!("s.a.{number}.>"),
            _ => format!("s.{number}.*.x"),
        };
        let many: Vec<SubjectTransform> = (0..20_000).map(|number| to(shapes(number))).collect();
        let source =
            StreamSource { name: "O".into(), subject_transforms: many.clone(), ..StreamSource::default() };
        let mut mirror =
            StreamConfig { name: "M".into(), mirror: Some(source.clone()), ..Default::default() };
        assert_eq!(check_mirror(&mut mirror.clone(), &|_| None, false), Ok(()));
        let mut sources = StreamConfig { name: "S".into(), sources: vec![source], ..Default::default() };
        let check = |config: &StreamConfig| check_sources(config, &|_| None, &mut Prefixes::default());
        assert_eq!(check(&sources), Ok(()));
        for config in [&mut mirror.mirror.as_mut().unwrap(), &mut sources.sources[0]] {
            config.subject_transforms.push(to("s.8.b.*".into()));
        }
        assert_eq!(check_mirror(&mut mirror, &|_| None, false), Err(MIRROR.overlap.into()));
        // Only one that lies within another is refused here.
        assert_eq!(check(&sources), Ok(()));
        sources.sources[0].subject_transforms.push(to("s.a.4.z".into()));
        assert_eq!(check(&sources), Err(SOURCE.overlap.into()));
    }
}
