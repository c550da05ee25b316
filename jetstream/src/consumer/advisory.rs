//! What a consumer tells those who watch over it.

use super::ack::Acked;
use super::set::Shared;
use super::{Consumer, Out};
use crate::clock::ElapsedNs;
use jetkv_go_compat::GoTime;
use serde::Serialize;

const EVENTS: &str = "$JS.EVENT.ADVISORY.CONSUMER.";

/// What every advisory begins with.
#[derive(Serialize)]
struct Header {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    timestamp: GoTime,
}

#[derive(Serialize)]
struct Action<'a> {
    #[serde(flatten)]
    header: Header,
    stream: &'a str,
    consumer: &'a str,
    action: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    domain: &'a str,
}

#[derive(Serialize)]
struct Pause<'a> {
    #[serde(flatten)]
    header: Header,
    stream: &'a str,
    consumer: &'a str,
    paused: bool,
    pause_until: GoTime,
    #[serde(skip_serializing_if = "str::is_empty")]
    domain: &'a str,
}

/// What became of a delivery.
#[derive(Serialize)]
struct Delivery<'a> {
    #[serde(flatten)]
    header: Header,
    stream: &'a str,
    consumer: &'a str,
    #[serde(flatten)]
    fate: Fate<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    domain: &'a str,
}

/// The part of it that differs from one advisory to the other.
#[derive(Clone, Copy, Default, Serialize)]
struct Fate<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer_seq: Option<u64>,
    stream_seq: u64,
    #[serde(rename = "ack_time", skip_serializing_if = "Option::is_none")]
    ack_time_ns: Option<i64>,
    deliveries: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

impl Fate<'_> {
    fn of(acked: Acked) -> Self {
        Self {
            consumer_seq: Some(acked.dseq),
            stream_seq: acked.sseq,
            deliveries: acked.deliveries,
            ..Self::default()
        }
    }
}

#[derive(Serialize)]
struct Group<'a> {
    #[serde(flatten)]
    header: Header,
    #[serde(skip_serializing_if = "str::is_empty")]
    account: &'a str,
    stream: &'a str,
    consumer: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    domain: &'a str,
    group: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl Shared {
    fn header(&mut self, out: &Out<'_>, kind: &'static str) -> Header {
        Header { kind, id: self.nuid(), timestamp: GoTime::from_ns(out.now.wall().ns()) }
    }
}

impl Consumer {
    /// Sends an advisory under `prefix`, unless nobody listens; it is not even made up then.
    fn advise<T: Serialize>(
        &self,
        shared: &mut Shared,
        out: &mut Out<'_>,
        prefix: &str,
        make: impl FnOnce(&mut Shared, &Out<'_>) -> T,
    ) {
        let subject = format!("{prefix}.{}.{}", out.config.name, self.name);
        if out.has_interest(subject.as_bytes()) {
            let body = jetkv_go_compat::json::to_vec(&make(shared, out));
            out.outbox.push_with(subject.as_bytes(), |payload| payload.extend_from_slice(&body));
        }
    }

    fn advise_action(&self, shared: &mut Shared, out: &mut Out<'_>, event: &str, action: &'static str) {
        let prefix = format!("{EVENTS}{event}");
        let (stream, consumer) = (out.config.name.clone(), &*self.name);
        let domain = shared.settings.domain.clone();
        self.advise(shared, out, &prefix, |shared, out| Action {
            header: shared.header(out, "io.nats.jetstream.advisory.v1.consumer_action"),
            stream: &stream,
            consumer,
            action,
            domain: &domain,
        });
    }

    pub(super) fn advise_created(&self, shared: &mut Shared, out: &mut Out<'_>) {
        self.advise_action(shared, out, "CREATED", "create");
    }

    pub(super) fn advise_deleted(&self, shared: &mut Shared, out: &mut Out<'_>) {
        self.advise_action(shared, out, "DELETED", "delete");
    }

    pub(super) fn advise_paused(&self, shared: &mut Shared, out: &mut Out<'_>) {
        let (stream, domain) = (out.config.name.clone(), shared.settings.domain.clone());
        self.advise(shared, out, &format!("{EVENTS}PAUSE"), |shared, out| Pause {
            header: shared.header(out, "io.nats.jetstream.advisory.v1.consumer_pause"),
            stream: &stream,
            consumer: &self.name,
            paused: self.is_paused(out.now),
            pause_until: self.config.pause_until.unwrap_or_default(),
            domain: &domain,
        });
    }

    /// Reports how long an acknowledgement took, for the share of them that is configured.
    pub(super) fn sample_ack(&self, shared: &mut Shared, out: &mut Out<'_>, acked: Acked, since: ElapsedNs) {
        use rand::Rng as _;
        let percent = self.config.sample_percent();
        if percent == 0 || (percent < 100 && shared.rng.random_range(0..100) > percent) {
            return;
        }
        let ack_time_ns = Some(i64::try_from(out.now.elapsed().since(since)).unwrap_or(i64::MAX));
        let kind = "io.nats.jetstream.metric.v1.consumer_ack";
        let fate = Fate { ack_time_ns, ..Fate::of(acked) };
        self.advise_delivery(shared, out, "$JS.EVENT.METRIC.CONSUMER.ACK", kind, fate);
    }

    pub(super) fn advise_max_deliver(
        &self,
        shared: &mut Shared,
        out: &mut Out<'_>,
        sseq: u64,
        deliveries: u64,
    ) {
        let kind = "io.nats.jetstream.advisory.v1.max_deliver";
        let fate = Fate { stream_seq: sseq, deliveries, ..Fate::default() };
        self.advise_delivery(shared, out, &format!("{EVENTS}MAX_DELIVERIES"), kind, fate);
    }

    pub(super) fn advise_nak(&self, shared: &mut Shared, out: &mut Out<'_>, acked: Acked) {
        let kind = "io.nats.jetstream.advisory.v1.nak";
        self.advise_delivery(shared, out, &format!("{EVENTS}MSG_NAKED"), kind, Fate::of(acked));
    }

    pub(super) fn advise_terminated(
        &self,
        shared: &mut Shared,
        out: &mut Out<'_>,
        acked: Acked,
        reason: &str,
    ) {
        let kind = "io.nats.jetstream.advisory.v1.terminated";
        let fate = Fate { reason, ..Fate::of(acked) };
        self.advise_delivery(shared, out, &format!("{EVENTS}MSG_TERMINATED"), kind, fate);
    }

    fn advise_delivery(
        &self,
        shared: &mut Shared,
        out: &mut Out<'_>,
        prefix: &str,
        kind: &'static str,
        fate: Fate<'_>,
    ) {
        let (stream, domain) = (out.config.name.clone(), shared.settings.domain.clone());
        self.advise(shared, out, prefix, |shared, out| Delivery {
            header: shared.header(out, kind),
            stream: &stream,
            consumer: &self.name,
            fate,
            domain: &domain,
        });
    }

    pub(super) fn advise_pinned(&self, shared: &mut Shared, out: &mut Out<'_>, group: &str, id: &str) {
        let kind = "io.nats.jetstream.advisory.v1.consumer_group_pinned";
        self.advise_group(shared, out, "PINNED", kind, group, Some(id), None);
    }

    pub(super) fn advise_unpinned(&self, shared: &mut Shared, out: &mut Out<'_>, group: &str, reason: &str) {
        let kind = "io.nats.jetstream.advisory.v1.consumer_group_unpinned";
        self.advise_group(shared, out, "UNPINNED", kind, group, None, Some(reason));
    }

    #[expect(clippy::too_many_arguments, reason = "one shape for two advisories")]
    fn advise_group(
        &self,
        shared: &mut Shared,
        out: &mut Out<'_>,
        event: &str,
        kind: &'static str,
        group: &str,
        pinned_id: Option<&str>,
        reason: Option<&str>,
    ) {
        let (stream, settings) = (out.config.name.clone(), shared.settings.clone());
        self.advise(shared, out, &format!("{EVENTS}{event}"), |shared, out| Group {
            header: shared.header(out, kind),
            account: &settings.account_name,
            stream: &stream,
            consumer: &self.name,
            domain: &settings.domain,
            group,
            pinned_id,
            reason,
        });
    }
}
