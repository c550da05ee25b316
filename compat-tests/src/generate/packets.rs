//! Sessions on a stream, its consumers, or a bucket, as the other profiles make them, in which several operations arrive in
//! one packet.

use super::operation::{Answers, Operation, Request};
use super::{consumers, kv, streams};
use crate::random::Random;

/// Operations in one packet, at most.
const PACKET_MAX: u64 = 6;
/// How often, in a hundred, the same comes once more in the packet.
const AGAIN: u64 = 30;

/// What may be in one packet with others of its kind, so that the result does not depend on which thread of the server is
/// the quickest: the API, publishes, pulls and acknowledgements take ways of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Publish,
    Read,
    /// Of one message each: which pull gets the second message of a larger one depends on when both were seen.
    Pull,
    Acknowledgement,
}

/// A session of a stream, its consumers, or a bucket.
pub fn session(mut random: Random, length: usize) -> Vec<Operation> {
    let (base, has_consumers) = match random.below(3) {
        0 => (streams::session(random.clone(), length), false),
        1 => (consumers::session(random.clone(), length), true),
        _ => (kv::session(random.clone(), length), true),
    };
    pack(&mut random, base, has_consumers)
}

/// Puts what follows each other, but for questions, into packets. A question may come before what it followed. Where there
/// are consumers, no subject is in a packet twice: whether they see a value that the next one pushes out is a matter of time.
fn pack(random: &mut Random, operations: Vec<Operation>, has_consumers: bool) -> Vec<Operation> {
    let mut packed = Vec::new();
    let mut held: Vec<Operation> = Vec::new();
    let mut room = 0;
    for operation in operations {
        let held_kind = held.first().and_then(kind);
        let kind = kind(&operation);
        if kind == Some(Kind::Read) && !matches!(held_kind, None | Some(Kind::Read)) {
            packed.push(operation);
            continue;
        }
        let is_once = has_consumers && kind == Some(Kind::Publish);
        let is_there = is_once && held.iter().any(|one| subject(one) == subject(&operation));
        if kind != held_kind || held.len() >= room || is_there {
            packed.extend(packet(std::mem::take(&mut held)));
        }
        if kind.is_none() {
            packed.push(operation);
            continue;
        }
        if held.is_empty() {
            room = usize::try_from(random.below(PACKET_MAX)).unwrap_or_default() + 1;
        }
        if random.chance(AGAIN) && !is_once {
            held.push(operation.clone());
        }
        held.push(operation);
    }
    packed.extend(packet(held));
    packed
}

fn packet(mut operations: Vec<Operation>) -> Option<Operation> {
    match operations.len() {
        0 | 1 => operations.pop(),
        _ => Some(Operation::Packet { operations }),
    }
}

fn subject(operation: &Operation) -> &str {
    match operation {
        Operation::Request(request) => &request.subject,
        _ => "",
    }
}

fn kind(operation: &Operation) -> Option<Kind> {
    match operation {
        Operation::Request(Request { answers: Answers::One, is_read: true, .. }) => Some(Kind::Read),
        Operation::Request(Request { answers: Answers::One, subject, .. }) => {
            (!subject.starts_with("$JS.")).then_some(Kind::Publish)
        }
        // Which of two that belong to a group comes first is a matter of when both were seen.
        Operation::Request(Request { answers: Answers::Pull(1), payload, .. }) => {
            (!payload.contains("group")).then_some(Kind::Pull)
        }
        // What a negative one brings again may come between two others.
        Operation::Acknowledge { payload, .. } => {
            (!payload.starts_with("+NXT") && !payload.starts_with("-NAK")).then_some(Kind::Acknowledgement)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_hold_several_of_one_kind() {
        let mut packets = 0;
        for seed in 0..60 {
            for operation in session(Random::new(seed), 60) {
                let Operation::Packet { operations } = operation else { continue };
                packets += 1;
                let kinds: Vec<_> = operations.iter().map(kind).collect();
                assert!(kinds.len() > 1 && kinds.iter().all(|kind| kind.is_some() && *kind == kinds[0]));
            }
        }
        assert!(packets > 300, "{packets}");
    }
}
