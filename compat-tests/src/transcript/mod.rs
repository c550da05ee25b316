//! Scenarios and their transcripts.
//!
//! - [`scenario`]: the text format and its parser;
//! - [`action`]: the verbs of a step;
//! - [`play`]: one case on one server, recorded;
//! - [`normalise`]: what may differ between two servers is replaced by a name for it;
//! - [`compare`]: two servers, many cases, the differences;
//! - [`difference`]: what differs on purpose, written down beside a scenario;
//! - [`unsteady`]: where nats-server differs from itself;
//! - [`pool`]: servers that cases with equal options share.
//!
//! Whoever makes scenarios by other means than files (a generator) builds [`scenario::Case`] values, or their text
//! for [`scenario::parse`], and hands them to [`compare::Comparison::compare_steadily`].

pub mod action;
mod callout;
mod certificates;
mod claims;
pub mod compare;
pub mod connections;
pub mod difference;
pub mod normalise;
pub mod play;
pub mod pool;
pub mod scenario;
pub mod template;
pub mod unsteady;
