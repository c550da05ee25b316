//! Requests that a lone nats-server refuses: those of clusters. Backups are refused until this server has them.

use super::catalogue as errors;
use super::reply::Empty;
use super::{ApiOutcome, Call};
use serde::Serialize;

#[derive(Serialize)]
struct Restore {
    deliver_subject: &'static str,
}

/// Whether the request is about consumers in a cluster.
pub(super) fn is_consumer_cluster(tokens: &[&str]) -> bool {
    matches!(tokens, ["CONSUMER", "LEADER" | "PEER", ..])
}

/// Answers, or stays silent where nats-server does.
pub(super) fn answer(call: &mut Call<'_>, tokens: &[&str]) -> ApiOutcome {
    let kind = match tokens {
        ["STREAM", "LEADER", "STEPDOWN", _] => "stream_leader_stepdown_response",
        ["STREAM", "PEER", "REMOVE", _] => "stream_remove_peer_response",
        ["STREAM", "PEER", "EVACUATE", _] => "stream_evacuate_peer_response",
        ["STREAM", "CANCEL_MOVE", _] => "stream_cancel_move_response",
        ["CONSUMER", "LEADER", "STEPDOWN", _, _] => "consumer_leader_stepdown_response",
        ["CONSUMER", "PEER", "REMOVE", _, _] => "consumer_remove_peer_response",
        ["CONSUMER", "PEER", "EVACUATE", _, _] => "consumer_evacuate_peer_response",
        ["STREAM", "SNAPSHOT", name] => return snapshot(call, name),
        ["STREAM", "RESTORE", _] => return restore(call),
        _ => return ApiOutcome::done(),
    };
    call.fail(kind, &errors::CLUSTER_REQUIRED.error())
}

fn snapshot(call: &mut Call<'_>, name: &str) -> ApiOutcome {
    const KIND: &str = "stream_snapshot_response";
    let error = if let Err(error) = call.admit() {
        error
    } else if call.is_empty_body() {
        errors::BAD_REQUEST.error()
    } else if call.stream(name).is_none() {
        errors::STREAM_NOT_FOUND.error()
    } else {
        errors::STREAM_SNAPSHOT.because("snapshots are not supported by this server")
    };
    call.fail_with(KIND, &error, Empty {})
}

fn restore(call: &mut Call<'_>) -> ApiOutcome {
    const KIND: &str = "stream_restore_response";
    let error = if let Err(error) = call.admit() {
        error
    } else if call.is_empty_body() {
        errors::BAD_REQUEST.error()
    } else {
        errors::STREAM_RESTORE.because("restores are not supported by this server")
    };
    call.fail_with(KIND, &error, Restore { deliver_subject: "" })
}
