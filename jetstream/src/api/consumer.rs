//! `$JS.API.CONSUMER.>`: requests about consumers.

use super::{ApiOutcome, Call};

/// Serves a request; `tokens` are those after `CONSUMER`. A subject that nobody serves is not answered.
pub(super) fn serve(_call: &mut Call<'_>, _tokens: &[&str]) -> ApiOutcome {
    ApiOutcome::done()
}
