//! `STREAM.NAMES`, `STREAM.LIST` and `STREAM.INFO`.

use super::offline::Missing;
use super::partial_token::PartialToken;
use super::reply::Page;
use super::{ApiOutcome, Call};
use crate::config::metadata::with_server;
use crate::config::{StorageType, StreamConfig};
use crate::engine::offline::Offline;
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::filter::Filter;
use crate::headers::header;
use crate::origin::SourceInfo;
use crate::stream::world::World;
use crate::stream::{Inner, Stream, StreamState, SubjectCounts};
use jetkv_go_compat::GoTime;
use jetkv_go_compat::json::go_struct;
use jetkv_protocol::subject;
use serde::Serialize;
use std::sync::Arc;

const NAMES_LIMIT: usize = 1024;
const LIST_LIMIT: usize = 256;
const SUBJECTS_LIMIT: usize = 100_000;

/// The request of a paged listing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Paged {
    /// How many entries to skip.
    pub(crate) offset: i64,
}

go_struct! { Paged as "ApiPagedRequest" { "offset" => offset as Int, } }

#[derive(Default)]
struct NamesRequest {
    paged: Paged,
    subject: String,
}

go_struct! { NamesRequest as "JSApiStreamNamesRequest" {
    embed "ApiPagedRequest" => paged: Paged, "subject" => subject,
} }

#[derive(Default)]
struct ListRequest {
    paged: Paged,
    subject: String,
}

go_struct! { ListRequest as "JSApiStreamListRequest" {
    embed "ApiPagedRequest" => paged: Paged, "subject" => subject,
} }

#[derive(Default)]
struct InfoRequest {
    paged: Paged,
    deleted_details: bool,
    subjects_filter: String,
}

go_struct! { InfoRequest as "JSApiStreamInfoRequest" {
    embed "ApiPagedRequest" => paged: Paged,
    "deleted_details" => deleted_details, "subjects_filter" => subjects_filter,
} }

/// A page of something.
#[derive(Serialize)]
struct Paging<T> {
    #[serde(flatten)]
    page: Page,
    #[serde(flatten)]
    content: T,
}

#[derive(Serialize)]
struct Names {
    streams: Option<Vec<String>>,
}

#[derive(Default, Serialize)]
struct List {
    streams: Vec<StreamInfo>,
    #[serde(flatten)]
    missing: Missing,
}

/// A stream in a listing.
enum Listed {
    Served(Arc<Stream>),
    Offline(Arc<Offline>),
}

impl Listed {
    fn name(&self) -> &str {
        match self {
            Self::Served(stream) => stream.name(),
            Self::Offline(offline) => &offline.config.name,
        }
    }

    fn captures(&self, filter: &str) -> bool {
        let captures = |config: &StreamConfig| {
            config.subjects.iter().any(|own| subject::collide(filter.as_bytes(), own.as_bytes()))
        };
        filter.is_empty()
            || match self {
                Self::Served(stream) => captures(&stream.config()),
                Self::Offline(offline) => captures(&offline.config),
            }
    }
}

/// Stream information as responses show it.
#[derive(Serialize)]
pub(super) struct StreamInfo {
    pub(super) config: StreamConfig,
    pub(super) created: GoTime,
    pub(super) state: StreamState,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) domain: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cluster: Option<ClusterInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror: Option<SourceInfo>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<SourceInfo>,
    pub(super) ts: GoTime,
}

/// A lone server names itself as the leader.
#[derive(Serialize)]
pub(super) struct ClusterInfo {
    leader: String,
}

impl StreamInfo {
    pub(super) fn new(call: &Call<'_>, inner: &Inner, deleted: Option<Vec<u64>>) -> Self {
        Self::of(call.engine.world(), inner, deleted)
    }

    /// As [`StreamInfo::new`], where nobody asked.
    pub(super) fn of(world: &World, inner: &Inner, deleted: Option<Vec<u64>>) -> Self {
        Self {
            config: (*inner.config).clone(),
            created: GoTime::from_ns(inner.created_ns),
            state: inner.state(deleted),
            domain: world.config.domain.clone(),
            cluster: None,
            mirror: inner.origins.mirror_info(inner.now.elapsed()),
            sources: inner.origins.sources_info(inner.now.elapsed()),
            ts: world.now_time(),
        }
    }

    /// Adds what responses about one stream show of the server.
    pub(super) fn with_server(mut self) -> Self {
        self.config.metadata = with_server(&self.config.metadata);
        self
    }
}

fn offset(paged: &Paged) -> usize {
    usize::try_from(paged.offset).unwrap_or_default()
}

/// How many entries a request skips that says nothing else.
pub(super) fn paged_offset(call: &Call<'_>) -> Result<usize, ApiError> {
    let mut paged = Paged::default();
    if call.has_body() {
        call.decode(&mut paged)?;
    }
    Ok(offset(&paged))
}

/// The streams that match, in order of name.
fn matching(call: &Call<'_>, filter: &str) -> Vec<Listed> {
    let Some(account) = &call.account else { return Vec::new() };
    let mut streams: Vec<_> = account.streams().into_iter().map(Listed::Served).collect();
    let offline = account.all_offline();
    if !offline.is_empty() {
        streams.extend(offline.into_values().map(Listed::Offline));
        streams.sort_by(|one, other| one.name().cmp(other.name()));
    }
    streams.retain(|stream| stream.captures(filter));
    streams
}

pub(super) fn names(call: &mut Call<'_>) -> ApiOutcome {
    const KIND: &str = "stream_names_response";
    let mut req = NamesRequest::default();
    let admitted = call.admit().map(|_| ());
    let read = admitted.and_then(|()| if call.has_body() { call.decode(&mut req) } else { Ok(()) });
    if let Err(error) = read {
        let body = Paging { page: Page::default(), content: Names { streams: None } };
        return call.fail_with(KIND, &error, body);
    }
    let streams = matching(call, &req.subject);
    let offset = offset(&req.paged).min(streams.len());
    let names: Vec<String> =
        streams.iter().skip(offset).take(NAMES_LIMIT).map(|stream| stream.name().to_owned()).collect();
    let page = Page { total: streams.len(), offset, limit: NAMES_LIMIT };
    let content = Names { streams: Some(names).filter(|names| !names.is_empty()) };
    call.respond(KIND, Paging { page, content })
}

pub(super) fn list(call: &mut Call<'_>) -> ApiOutcome {
    const KIND: &str = "stream_list_response";
    let mut req = ListRequest::default();
    let admitted = call.admit().map(|_| ());
    let read = admitted.and_then(|()| if call.has_body() { call.decode(&mut req) } else { Ok(()) });
    if let Err(error) = read {
        let body = Paging { page: Page::default(), content: List::default() };
        return call.fail_with(KIND, &error, body);
    }
    let found = matching(call, &req.subject);
    let offset = offset(&req.paged).min(found.len());
    let mut content = List::default();
    for stream in found.iter().skip(offset) {
        match stream {
            Listed::Served(stream) => {
                let mut inner = stream.lock();
                inner.flush();
                content.streams.push(StreamInfo::new(call, &inner, None));
            }
            Listed::Offline(offline) => content.missing.push(&offline.config.name, &offline.reason),
        }
        if content.streams.len() >= LIST_LIMIT {
            break;
        }
    }
    let page = Page { total: found.len(), offset, limit: LIST_LIMIT };
    call.respond(KIND, Paging { page, content })
}

pub(super) fn info(call: &mut Call<'_>, name: &str) -> ApiOutcome {
    let asked = header(call.req.headers, b"Nats-Response-Type") == Some(b"create");
    let kind = if asked { "stream_create_response" } else { "stream_info_response" };
    match stream_info(call, name) {
        Ok(response) => call.respond(kind, response),
        Err(error) => call.fail_with(kind, &error, Page::default()),
    }
}

fn stream_info(call: &Call<'_>, name: &str) -> Result<Paging<StreamInfo>, ApiError> {
    let account = call.admit()?;
    let mut req = InfoRequest::default();
    if call.has_body() {
        call.decode(&mut req)?;
    }
    let stream = account.stream(name).ok_or(errors::STREAM_NOT_FOUND)?;
    let (mut inner, deleted) = if req.deleted_details {
        let (inner, deleted) = stream.deleted();
        (inner, Some(deleted))
    } else {
        (stream.lock(), None)
    };
    inner.flush();
    let mut info = StreamInfo::new(call, &inner, deleted).with_server();
    drop(inner);
    info.cluster = Some(ClusterInfo { leader: call.engine.config().server_name.clone() });
    let mut page = Page::default();
    if !req.subjects_filter.is_empty() {
        let wanted = offset(&req.paged);
        let (mut subjects, mut total) = (SubjectCounts::default(), 0);
        let filter = req.subjects_filter.as_bytes();
        // Memory stores look up what holds no whole wildcard as it is.
        let partial = PartialToken::of(filter).filter(|_| info.config.storage == StorageType::File);
        let branching = partial.as_ref().map(|token| {
            token.branching(|around, visit| stream.each_subject(around, |subject, _| visit(subject)))
        });
        let walked = partial.as_ref().map_or_else(|| Filter::new([filter]), PartialToken::around);
        stream.each_subject(&walked, |subject, entry| {
            if let (Some(token), Some(branching)) = (&partial, &branching)
                && !token.lists(subject, filter, branching)
            {
                return;
            }
            if total >= wanted && subjects.len() < SUBJECTS_LIMIT {
                subjects.push(subject, entry.count);
            }
            total += 1;
        });
        if total > 0 {
            page = Page { total, offset: wanted, limit: SUBJECTS_LIMIT };
            info.state.subjects = subjects;
        }
    }
    Ok(Paging { page, content: info })
}
