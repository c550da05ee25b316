//! What monitoring shows: typed pictures of the server's state, with the fields and the order of nats-server v2.15.2.
//! They are pages over HTTP ([`crate::monitor`]) and answers to the system account.
//!
//! There is no `/stacksz`: it shows the stacks of Go's routines.

mod accounts;
mod connz;
mod exchange;
mod health;
mod jetstream;
mod json;
mod leafz;
mod lone;
mod metrics;
mod page;
mod process;
mod query;
mod streams;
mod subsz;
#[cfg(test)]
mod tests;
mod varz;

use serde_json::Value;

use crate::snapshot::MonitorSource;
pub(crate) use accounts::AccountStat;
pub(crate) use jetstream::{JetStreamPart, statistics_part};
pub(crate) use page::{Content, Page};
pub(crate) use query::{Query, unescape};
pub(crate) use varz::ByKind;

/// Pages about one account, which there are no addresses for.
pub(crate) const ACCOUNT_INFO: &str = "account info";
/// See [`ACCOUNT_INFO`].
pub(crate) const ACCOUNT_JSZ: &str = "account jsz";
/// A profile of the process, which is Go's.
pub(crate) const PROFILE: &str = "profile";
/// `/raftz` as the system account sees it, where no groups are no error.
pub(crate) const RAFT_GROUPS: &str = "raft groups";

/// Status and JSON of a page, for those who ask otherwise than by HTTP. `path` is as in `/varz`.
///
/// # Errors
/// The page does not exist, or a parameter is wrong.
pub(crate) fn json_page(
    source: &MonitorSource,
    path: &str,
    parameters: Vec<(String, String)>,
) -> Result<(u16, Value), String> {
    let query = Query::from_pairs(parameters);
    let page = match path {
        ACCOUNT_INFO => accounts::info(source, &query).unwrap_or_else(Page::bad_request),
        RAFT_GROUPS => Page::json(&json::Empty {}),
        PROFILE => lone::profilez(&query).unwrap_or_else(Page::bad_request),
        ACCOUNT_JSZ => jetstream::account_page(source, &query).unwrap_or_else(Page::bad_request),
        _ => make(source, path, &query).map_or_else(Page::not_found, |(_, made)| finished(made)),
    };
    page.into_json()
}

/// A page by its name, as in `/varz`.
pub(crate) fn page(source: &MonitorSource, name: &str, query: &str) -> Page {
    make(source, name, &Query::new(query)).map_or_else(Page::not_found, |(_, made)| finished(made))
}

/// A page, with the name under which a visit of it counts once it is made; `None` where there is no such page.
pub(crate) fn make(
    source: &MonitorSource,
    name: &str,
    query: &Query,
) -> Option<(Option<&'static str>, Result<Page, String>)> {
    Some(match name {
        "/varz" => (None, Ok(varz::page(source))),
        "/connz" => (Some("/connz"), connz::page(source, query)),
        "/subsz" | "/subscriptionsz" => (Some("/subsz"), subsz::page(source, query)),
        "/accountz" => (Some("/accountz"), accounts::accountz(source, query)),
        "/accstatz" => (Some("/accstatz"), accounts::accstatz(source, query)),
        "/jsz" => (Some("/jsz"), jetstream::page(source, query)),
        "/healthz" => (Some("/healthz"), health::page(source, query)),
        "/routez" => (Some("/routez"), lone::routez(source, query)),
        "/gatewayz" => (Some("/gatewayz"), lone::gatewayz(source, query)),
        "/leafz" => (Some("/leafz"), leafz::page(source, query)),
        "/metrics" => (None, metrics::page(source, query)),
        "/debug/vars" => (None, Ok(process::page())),
        "/ipqueuesz" => (None, lone::ipqueuesz(query)),
        "/raftz" => (None, Ok(lone::raftz())),
        _ => return None,
    })
}

/// A page that could not be made says why.
pub(crate) fn finished(made: Result<Page, String>) -> Page {
    made.unwrap_or_else(Page::bad_request)
}
