//! How many requests of the JetStream API may wait to be served.

use crate::options::JetStreamOptions;

/// How many requests may wait.
///
/// Here a request is served by the thread that read it, so that it is alone in its queue. A limit of one is reached by
/// it all the same, and then it is dropped (nats-server v2.15.2, observed); a larger limit never is.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueLimits {
    requests: i64,
    infos: i64,
}

impl QueueLimits {
    pub(super) fn new(options: &JetStreamOptions) -> Self {
        let (requests, infos) = (options.request_queue_limit, options.info_queue_limit);
        Self { requests, infos: if infos > 0 { infos } else { requests } }
    }

    /// The queue of a request, by its name in the log, if a single request fills it.
    #[inline]
    pub(super) fn full_queue(self, subject: &[u8]) -> Option<&'static str> {
        if self.requests > 1 && self.infos > 1 { None } else { self.find_full(subject) }
    }

    #[cold]
    fn find_full(self, subject: &[u8]) -> Option<&'static str> {
        let subject = std::str::from_utf8(subject).ok()?;
        // A domain may stand before it.
        let tokens: Vec<&str> = subject.split('.').skip_while(|token| *token != "API").skip(1).collect();
        let (limit, name) = match tokens.as_slice() {
            ["INFO"]
            | ["STREAM", "NAMES" | "LIST"]
            | ["STREAM", "INFO", _]
            | ["CONSUMER", "NAMES" | "LIST", _]
            | ["CONSUMER", "INFO", _, _] => (self.infos, "JetStream API info queue"),
            // Messages are asked of streams and consumers themselves, which have no queue.
            ["CONSUMER", "MSG", "NEXT", ..] | ["CONSUMER", "RESET", ..] => return None,
            ["STREAM" | "CONSUMER", ..] => (self.requests, "JetStream API queue"),
            _ => return None,
        };
        (limit <= 1).then_some(name)
    }
}

/// Whether a request of the API is about streams or consumers.
pub(super) fn is_about_assets(subject: &[u8]) -> bool {
    let rest = subject.strip_prefix(b"$JS.API.").unwrap_or_default();
    rest.starts_with(b"STREAM.") || rest.starts_with(b"CONSUMER.")
}

#[cfg(test)]
mod tests {
    use super::QueueLimits;

    #[test]
    fn a_queue_that_holds_one_request_is_full_with_it() {
        let limits = QueueLimits { requests: 2, infos: 1 };
        assert_eq!(limits.full_queue(b"$JS.API.INFO"), Some("JetStream API info queue"));
        assert_eq!(limits.full_queue(b"$JS.hub.API.CONSUMER.INFO.S.C"), Some("JetStream API info queue"));
        assert_eq!(limits.full_queue(b"$JS.API.STREAM.CREATE.S"), None);
        let limits = QueueLimits { requests: 1, infos: 10_000 };
        assert_eq!(limits.full_queue(b"$JS.API.STREAM.CREATE.S"), Some("JetStream API queue"));
        assert_eq!(limits.full_queue(b"$JS.API.CONSUMER.MSG.NEXT.S.C"), None);
        assert_eq!(limits.full_queue(b"$JS.API.STREAM.INFO.S"), None);
    }
}
