//! What there is to count of JetStream: by server, account, stream and consumer.

use jetkv_jetstream::config::ExternalStream;
use jetkv_jetstream::consumer::ConsumerInfo;
use jetkv_jetstream::origin::SourceInfo;
use jetkv_jetstream::{AccountUsage, Engine, StreamDetail};

use super::families::{Families, Labels};
use super::{ASSETS_MAX, left_out};
use crate::options::AccountJetStreamLimits;
use crate::router::Account;
use crate::snapshot::MonitorSource;

pub(super) fn add(families: &mut Families, prefix: &str, source: &MonitorSource, of_server: &Labels) {
    let engine = source.engine();
    let domain = engine.as_ref().map_or_else(String::new, |engine| engine.config().domain.clone());
    let labels = of_server.with("server_name", source.server_name()).with("cluster", "");
    // A lone server leads everything.
    let labels = labels.with("domain", domain).with("meta_leader", "").with("is_meta_leader", true);
    let mut part = Part { families, prefix };
    part.add("server", "jetstream_disabled", &labels, u8::from(engine.is_none()));
    let Some(engine) = engine else { return };
    let accounts = source.accounts();
    let usages = accounts.iter().filter_map(|account| Some((account, engine.account_usage(account.id())?)));
    let usages: Vec<(_, AccountUsage)> = usages.collect();
    let total = |number: fn(&AccountUsage) -> u64| usages.iter().map(|(_, usage)| number(usage)).sum::<u64>();
    let settings = engine.settings();
    part.add("server", "max_memory", &labels, settings.max_memory_bytes);
    part.add("server", "max_storage", &labels, settings.max_file_bytes);
    part.add("server", "total_streams", &labels, total(|usage| count(usage.streams)));
    part.add("server", "total_consumers", &labels, total(|usage| count(usage.consumers)));
    part.add("server", "total_messages", &labels, total(|usage| usage.messages));
    part.add("server", "total_message_bytes", &labels, total(|usage| usage.bytes));
    let (mut streams_left, mut consumers_left) = (ASSETS_MAX, ASSETS_MAX);
    let (mut streams_out, mut consumers_out) = (0, 0);
    for (account, usage) in usages {
        let labels = labels.with("account", account.name_tag()).with("account_name", account.name_tag());
        let labels = labels.with("account_id", account.name());
        part.account(&engine, account, &usage, &labels);
        // All of an account or none: what is too much is not gathered.
        if usage.streams > streams_left {
            (streams_out, consumers_out) = (streams_out + usage.streams, consumers_out + usage.consumers);
            continue;
        }
        let with_consumers = usage.consumers <= consumers_left;
        if with_consumers {
            consumers_left -= usage.consumers;
        } else {
            consumers_out += usage.consumers;
        }
        streams_left -= usage.streams;
        for detail in engine.stream_details(account.id(), with_consumers) {
            part.stream(&detail, source.server_name(), &labels);
        }
    }
    left_out(part.families, "streams", streams_out, of_server);
    left_out(part.families, "consumers", consumers_out, of_server);
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

struct Part<'a> {
    families: &'a mut Families,
    prefix: &'a str,
}

impl Part<'_> {
    fn add(&mut self, of: &str, name: &str, labels: &Labels, value: impl std::fmt::Display) {
        self.families.gauge(format!("{}_{of}_{name}", self.prefix), "", labels, value);
    }

    fn account(&mut self, engine: &Engine, account: &Account, usage: &AccountUsage, labels: &Labels) {
        let limits = engine.account_limits(account.id());
        let limit = |part: fn(&AccountJetStreamLimits) -> i64| {
            limits.as_ref().and_then(|limits| limits.flat()).map_or(0, part).cast_unsigned()
        };
        self.add("account", "max_memory", labels, limit(|limits| limits.max_memory_bytes));
        self.add("account", "max_storage", labels, limit(|limits| limits.max_store_bytes));
        self.add("account", "memory_used", labels, usage.memory_bytes);
        self.add("account", "storage_used", labels, usage.storage_bytes);
    }

    fn stream(&mut self, detail: &StreamDetail, leader: &str, of_account: &Labels) {
        let labels = of_account.with("stream_name", &detail.name).with("stream_leader", leader);
        let labels = labels.with("is_stream_leader", true).with("stream_raft_group", "");
        let state = &detail.state;
        self.add("stream", "total_messages", &labels, state.messages);
        self.add("stream", "total_bytes", &labels, state.bytes);
        self.add("stream", "first_seq", &labels, state.first_seq);
        self.add("stream", "last_seq", &labels, state.last_seq);
        self.add("stream", "consumer_count", &labels, state.consumer_count);
        self.add("stream", "subject_count", &labels, state.num_subjects);
        self.add("stream", "limit_bytes", &labels, detail.config.max_bytes);
        self.add("stream", "limit_messages", &labels, detail.config.max_msgs);
        for source in &detail.sources {
            self.origin("source", source, &labels);
        }
        if let Some(mirror) = &detail.mirror {
            self.origin("mirror", mirror, &labels);
        }
        for consumer in &detail.consumers {
            self.consumer(consumer, &labels);
        }
    }

    fn origin(&mut self, what: &str, origin: &SourceInfo, of_stream: &Labels) {
        let prefix = |part: fn(&ExternalStream) -> &str| origin.external.as_ref().map_or("", part).to_owned();
        let labels = of_stream.with(&format!("{what}_name"), &origin.name);
        let labels = labels.with(&format!("{what}_api"), prefix(|external| &external.api));
        let labels = labels.with(&format!("{what}_deliver"), prefix(|external| &external.deliver));
        self.add("stream", &format!("{what}_lag"), &labels, origin.lag);
        self.add("stream", &format!("{what}_active_duration_ns"), &labels, origin.active_ns);
    }

    fn consumer(&mut self, consumer: &ConsumerInfo, of_stream: &Labels) {
        let labels = of_stream.with("consumer_name", &consumer.name).with("consumer_leader", "");
        let labels = labels.with("is_consumer_leader", true);
        let labels = labels.with("consumer_desc", &consumer.config.description);
        let since = |moment: jetkv_go_compat::GoTime| (consumer.ts.ns() - moment.ns()) as f64 / 1e9;
        if let Some(last) = consumer.delivered.last_active {
            self.add("consumer", "last_delivery_seconds", &labels, since(last));
        }
        if let Some(last) = consumer.ack_floor.last_active {
            self.add("consumer", "last_ack_seconds", &labels, since(last));
        }
        self.add("consumer", "delivered_consumer_seq", &labels, consumer.delivered.consumer_seq);
        self.add("consumer", "delivered_stream_seq", &labels, consumer.delivered.stream_seq);
        self.add("consumer", "num_ack_pending", &labels, consumer.num_ack_pending);
        self.add("consumer", "num_redelivered", &labels, consumer.num_redelivered);
        self.add("consumer", "num_waiting", &labels, consumer.num_waiting);
        self.add("consumer", "num_pending", &labels, consumer.num_pending);
        self.add("consumer", "ack_floor_stream_seq", &labels, consumer.ack_floor.stream_seq);
        self.add("consumer", "ack_floor_consumer_seq", &labels, consumer.ack_floor.consumer_seq);
    }
}
