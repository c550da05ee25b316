//! What a request asks for, read from its subject once.

use crate::stream::Asked;
use jetkv_protocol::subject::has_empty_token;
use smallvec::SmallVec;

/// Where the subject of every request begins.
const PREFIX: &str = "$JS.API.";

/// A request of the API by its subject. Names are tokens of it, and may name nothing that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// Messages as they are. `key` is the subject at the end of the request's, empty for none.
    DirectGet {
        stream: &'a str,
        key: &'a str,
    },
    /// What the account uses.
    AccountInfo,
    StreamCreate(&'a str),
    StreamUpdate(&'a str),
    StreamDelete(&'a str),
    StreamPurge(&'a str),
    StreamInfo(&'a str),
    StreamNames,
    StreamList,
    StreamSnapshot(&'a str),
    StreamRestore(&'a str),
    MessageGet(&'a str),
    MessageDelete(&'a str),
    ConsumerCreate(Create<'a>),
    ConsumerInfo {
        stream: &'a str,
        name: &'a str,
    },
    ConsumerDelete {
        stream: &'a str,
        name: &'a str,
    },
    ConsumerPause {
        stream: &'a str,
        name: &'a str,
    },
    ConsumerUnpin {
        stream: &'a str,
        name: &'a str,
    },
    ConsumerReset {
        stream: &'a str,
        name: &'a str,
    },
    ConsumerNames(&'a str),
    ConsumerList(&'a str),
    /// A pull request.
    ConsumerNext(&'a str),
    /// Something that only a cluster does; `kind` is the type of the answer that says so.
    OfClusters {
        kind: &'static str,
    },
    /// Nobody serves this subject, and whoever asks is not told (nats-server v2.15.2).
    Ignored,
    /// Nobody listens on this subject.
    Unheard,
}

/// Which of the two queues of nats-server v2.15.2 a request waits in until there is time for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// What changes something, or reads a message. Served first.
    Requests,
    /// What asks how things are.
    Infos,
}

impl Lane {
    /// Where a request on `subject` waits, which has no domain; `None` for one that is served at once: gets and pull
    /// requests, which streams and consumers themselves take, and what nobody serves.
    #[inline]
    pub fn of(subject: &[u8]) -> Option<Self> {
        let rest = subject.strip_prefix(PREFIX.as_bytes())?;
        if rest.starts_with(b"DIRECT.") || rest.starts_with(b"CONSUMER.MSG.NEXT.") {
            // They come with every message, and need no further look.
            return None;
        }
        Request::parse(std::str::from_utf8(subject).ok()?).lane()
    }
}

/// What the subject of a request to create a consumer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Create<'a> {
    pub(super) form: Form,
    pub(super) stream: &'a str,
    /// Empty for an ephemeral consumer.
    pub(super) name: &'a str,
    /// The filter, empty for none.
    pub(super) filter: &'a str,
}

/// The forms of a request to create a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `CREATE.<stream>`: an ephemeral consumer.
    Ephemeral,
    /// `CREATE.<stream>.<name>[.<filter>]`: any consumer.
    Named,
    /// `DURABLE.CREATE.<stream>.<name>`: a durable consumer.
    Durable,
}

impl<'a> Request<'a> {
    /// Reads a subject, which begins with `$JS.API.`, without a domain.
    #[inline]
    pub(super) fn parse(subject: &'a str) -> Self {
        let of_key = direct_get_of_key(subject.as_bytes()).and_then(|(name, key)| {
            let (begin, key) = subject.split_at_checked(subject.len() - key.len())?;
            let stream = begin.get(begin.len() - 1 - name.len()..begin.len() - 1)?;
            Some(Self::DirectGet { stream, key })
        });
        of_key.unwrap_or_else(|| Self::of_tokens(subject))
    }

    fn of_tokens(subject: &'a str) -> Self {
        let rest = subject.strip_prefix(PREFIX).unwrap_or_default();
        let tokens: SmallVec<[&str; 16]> = rest.split('.').collect();
        match tokens.as_slice() {
            // A subject with an empty token matches no subscription.
            tokens if tokens.contains(&"") => Self::Unheard,
            ["DIRECT", "GET", stream] => Self::DirectGet { stream, key: "" },
            ["DIRECT", ..] => Self::Unheard,
            ["INFO"] => Self::AccountInfo,
            ["STREAM", rest @ ..] => Self::of_stream(rest),
            ["CONSUMER", "CREATE", stream, name, ..] => {
                let filter = rest.splitn(5, '.').nth(4).unwrap_or_default();
                Self::ConsumerCreate(Create { form: Form::Named, stream, name, filter })
            }
            ["CONSUMER", rest @ ..] => Self::of_consumer(rest),
            _ => Self::Ignored,
        }
    }

    fn of_stream(tokens: &[&'a str]) -> Self {
        match tokens {
            ["CREATE", name] => Self::StreamCreate(name),
            ["UPDATE", name] => Self::StreamUpdate(name),
            ["DELETE", name] => Self::StreamDelete(name),
            ["PURGE", name] => Self::StreamPurge(name),
            ["INFO", name] => Self::StreamInfo(name),
            ["NAMES"] => Self::StreamNames,
            ["LIST"] => Self::StreamList,
            ["SNAPSHOT", name] => Self::StreamSnapshot(name),
            ["RESTORE", name] => Self::StreamRestore(name),
            ["MSG", "GET", name] => Self::MessageGet(name),
            ["MSG", "DELETE", name] => Self::MessageDelete(name),
            ["LEADER", "STEPDOWN", _] => Self::OfClusters { kind: "stream_leader_stepdown_response" },
            ["PEER", "REMOVE", _] => Self::OfClusters { kind: "stream_remove_peer_response" },
            ["PEER", "EVACUATE", _] => Self::OfClusters { kind: "stream_evacuate_peer_response" },
            ["CANCEL_MOVE", _] => Self::OfClusters { kind: "stream_cancel_move_response" },
            _ => Self::Ignored,
        }
    }

    fn of_consumer(tokens: &[&'a str]) -> Self {
        match *tokens {
            ["MSG", "NEXT", stream, _] => Self::ConsumerNext(stream),
            ["CREATE", stream] => {
                Self::ConsumerCreate(Create { form: Form::Ephemeral, stream, name: "", filter: "" })
            }
            ["DURABLE", "CREATE", stream, name] => {
                Self::ConsumerCreate(Create { form: Form::Durable, stream, name, filter: "" })
            }
            ["LEADER", "STEPDOWN", _, _] => Self::OfClusters { kind: "consumer_leader_stepdown_response" },
            ["PEER", "REMOVE", _, _] => Self::OfClusters { kind: "consumer_remove_peer_response" },
            ["PEER", "EVACUATE", _, _] => Self::OfClusters { kind: "consumer_evacuate_peer_response" },
            ["LEADER" | "PEER", ..] => Self::Ignored,
            ["INFO", stream, name] => Self::ConsumerInfo { stream, name },
            ["DELETE", stream, name] => Self::ConsumerDelete { stream, name },
            ["PAUSE", stream, name] => Self::ConsumerPause { stream, name },
            ["UNPIN", stream, name] => Self::ConsumerUnpin { stream, name },
            ["RESET", stream, name] => Self::ConsumerReset { stream, name },
            ["NAMES", stream] => Self::ConsumerNames(stream),
            ["LIST", stream] => Self::ConsumerList(stream),
            _ => Self::Ignored,
        }
    }

    /// The stream that it is about.
    pub(super) fn stream(&self) -> Option<&'a str> {
        match *self {
            Self::DirectGet { stream, .. }
            | Self::StreamCreate(stream)
            | Self::StreamUpdate(stream)
            | Self::StreamDelete(stream)
            | Self::StreamPurge(stream)
            | Self::StreamInfo(stream)
            | Self::StreamSnapshot(stream)
            | Self::StreamRestore(stream)
            | Self::MessageGet(stream)
            | Self::MessageDelete(stream)
            | Self::ConsumerCreate(Create { stream, .. })
            | Self::ConsumerInfo { stream, .. }
            | Self::ConsumerDelete { stream, .. }
            | Self::ConsumerPause { stream, .. }
            | Self::ConsumerUnpin { stream, .. }
            | Self::ConsumerReset { stream, .. }
            | Self::ConsumerNames(stream)
            | Self::ConsumerList(stream)
            | Self::ConsumerNext(stream) => Some(stream),
            Self::AccountInfo
            | Self::StreamNames
            | Self::StreamList
            | Self::OfClusters { .. }
            | Self::Ignored
            | Self::Unheard => None,
        }
    }

    fn lane(&self) -> Option<Lane> {
        match self {
            Self::AccountInfo
            | Self::StreamInfo(_)
            | Self::StreamNames
            | Self::StreamList
            | Self::ConsumerInfo { .. }
            | Self::ConsumerNames(_)
            | Self::ConsumerList(_) => Some(Lane::Infos),
            Self::StreamCreate(_)
            | Self::StreamUpdate(_)
            | Self::StreamDelete(_)
            | Self::StreamPurge(_)
            | Self::StreamSnapshot(_)
            | Self::StreamRestore(_)
            | Self::MessageGet(_)
            | Self::MessageDelete(_)
            | Self::ConsumerCreate(_)
            | Self::ConsumerDelete { .. }
            | Self::ConsumerPause { .. }
            | Self::ConsumerUnpin { .. }
            | Self::ConsumerReset { .. }
            | Self::OfClusters { .. } => Some(Lane::Requests),
            Self::DirectGet { .. } | Self::ConsumerNext(_) | Self::Ignored | Self::Unheard => None,
        }
    }

    /// What an answer to it rests on.
    pub(super) fn asked(&self, payload: &[u8]) -> Asked {
        match self {
            Self::DirectGet { .. } if payload.is_empty() => Asked::Newest,
            Self::StreamCreate(_)
            | Self::StreamUpdate(_)
            | Self::StreamDelete(_)
            | Self::StreamPurge(_)
            | Self::StreamRestore(_)
            | Self::MessageDelete(_)
            | Self::ConsumerCreate(_)
            | Self::ConsumerDelete { .. }
            | Self::ConsumerPause { .. }
            | Self::ConsumerUnpin { .. }
            | Self::ConsumerReset { .. } => Asked::Change,
            Self::DirectGet { .. }
            | Self::AccountInfo
            | Self::StreamInfo(_)
            | Self::StreamNames
            | Self::StreamList
            | Self::StreamSnapshot(_)
            | Self::MessageGet(_)
            | Self::ConsumerInfo { .. }
            | Self::ConsumerNames(_)
            | Self::ConsumerList(_)
            | Self::ConsumerNext(_)
            | Self::OfClusters { .. }
            | Self::Ignored
            | Self::Unheard => Asked::Other,
        }
    }
}

/// Stream and key of a direct get that names both in its subject, by far the most frequent request: it is not taken
/// apart any further.
#[inline]
pub(super) fn direct_get_of_key(subject: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = subject.strip_prefix(b"$JS.API.DIRECT.GET.")?;
    let dot = memchr::memchr(b'.', rest)?;
    let (name, key) = (rest.get(..dot)?, rest.get(dot + 1..)?);
    (!name.is_empty() && !has_empty_token(key)).then_some((name, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &'static str) -> Request<'static> {
        Request::parse(Box::leak(format!("{PREFIX}{rest}").into_boxed_str()))
    }

    #[test]
    fn a_subject_says_what_is_asked_of_which_stream() {
        assert_eq!(parse("DIRECT.GET.S.a.b"), Request::DirectGet { stream: "S", key: "a.b" });
        assert_eq!(parse("DIRECT.GET.S"), Request::DirectGet { stream: "S", key: "" });
        assert_eq!(parse("STREAM.MSG.GET.S"), Request::MessageGet("S"));
        assert_eq!(parse("CONSUMER.MSG.NEXT.S.C"), Request::ConsumerNext("S"));
        let named = Create { form: Form::Named, stream: "S", name: "C", filter: "f.>" };
        assert_eq!(parse("CONSUMER.CREATE.S.C.f.>"), Request::ConsumerCreate(named));
        let durable = Create { form: Form::Durable, filter: "", ..named };
        assert_eq!(parse("CONSUMER.DURABLE.CREATE.S.C"), Request::ConsumerCreate(durable));
        assert_eq!(parse("CONSUMER.DURABLE.CREATE.S.C").stream(), Some("S"));
        assert_eq!(parse("STREAM.LIST").stream(), None);
    }

    #[test]
    fn what_nobody_serves_is_ignored_and_what_no_subscription_matches_is_unheard() {
        for ignored in
            ["STREAM.MSG.GET", "STREAM.CREATE.S.x", "CONSUMER.LEADER.S", "NONE", "META.LEADER.STEPDOWN"]
        {
            assert_eq!(parse(ignored), Request::Ignored, "{ignored}");
        }
        for unheard in ["DIRECT.GET", "DIRECT.GET.S..a", "DIRECT.GET.S.", "DIRECT.PUT.S", "STREAM..S", ""] {
            assert_eq!(parse(unheard), Request::Unheard, "{unheard}");
        }
    }

    #[test]
    fn what_only_asks_waits_behind_what_changes_something_and_what_streams_take_does_not_wait() {
        let lane = |rest: &str| Lane::of(format!("{PREFIX}{rest}").as_bytes());
        for rest in [
            "INFO",
            "STREAM.NAMES",
            "STREAM.LIST",
            "STREAM.INFO.S",
            "CONSUMER.NAMES.S",
            "CONSUMER.LIST.S",
            "CONSUMER.INFO.S.C",
        ] {
            assert_eq!(lane(rest), Some(Lane::Infos), "{rest}");
        }
        for rest in ["STREAM.CREATE.S", "STREAM.MSG.GET.S", "CONSUMER.CREATE.S.C.f.>", "CONSUMER.RESET.S.C"] {
            assert_eq!(lane(rest), Some(Lane::Requests), "{rest}");
        }
        for rest in ["DIRECT.GET.S", "DIRECT.GET.S.k", "CONSUMER.MSG.NEXT.S.C", "INFO.more", "NOTHING", ""] {
            assert_eq!(lane(rest), None, "{rest}");
        }
    }

    /// The names of streams and consumers may read like verbs of the API.
    #[test]
    fn a_name_decides_nothing() {
        assert_eq!(parse("STREAM.DELETE.INFO").asked(b""), Asked::Change);
        assert_eq!(parse("CONSUMER.DELETE.LIST.NAMES").asked(b""), Asked::Change);
        assert_eq!(parse("STREAM.INFO.CREATE").asked(b""), Asked::Other);
        assert_eq!(parse("DIRECT.GET.S.a.INFO.b").asked(b""), Asked::Newest);
        assert_eq!(parse("DIRECT.GET.S.a").asked(b"{}"), Asked::Other);
    }
}
