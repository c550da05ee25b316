//! Lists of a few keys of many: what is asked for by a filter that matches a thousand keys, in buckets of growing size.

use crate::bare::BareLoop;
use crate::client::Client;
use crate::measure::{self, Cost, Latencies};
use crate::script::Script;
use crate::workload::{self, Scale};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Instant;

/// Keys of the buckets, and of the one more that is asked for by itself.
pub(crate) const KEYS: [u64; 3] = [20_000, 200_000, 1_000_000];
pub(crate) const KEYS_LARGE: u64 = 10_000_000;
/// Keys of a group.
const LISTED: u64 = 1_000;
/// Groups of which each row asks for one after the other.
const LISTS: u64 = 10;
/// Filters of a list with several.
const FILTERS: u64 = 4;
const INBOX: &str = "_INBOX.lists";
/// What the file store puts around a message.
const RECORD_BYTES: u64 = 30;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    Prefix,
    Suffix,
    Several,
    FromSeq,
    FromTime,
    Batch,
    MultiLast,
    Subjects,
    Pending,
    LastOfEach,
    Purge,
}

/// All of them, in the order in which they are asked. The last two change the bucket.
pub(crate) const ROWS: [Row; 11] = [
    Row::Prefix,
    Row::Suffix,
    Row::Several,
    Row::FromSeq,
    Row::FromTime,
    Row::Batch,
    Row::MultiLast,
    Row::Subjects,
    Row::Pending,
    Row::LastOfEach,
    Row::Purge,
];

impl Row {
    /// Whether the messages that match are read for it.
    fn reads_messages(self) -> bool {
        !matches!(self, Self::Subjects | Self::Pending | Self::Purge)
    }

    /// Name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Prefix => "list of `k.7.*.*`",
            Self::Suffix => "list of `k.*.*.7`",
            Self::Several => "list of four such filters",
            Self::FromSeq => "list from the middle, by sequence",
            Self::FromTime => "list from the middle, by time",
            Self::Batch => "direct gets, `next_by_subj`, in one batch",
            Self::MultiLast => "direct gets, `multi_last`",
            Self::Subjects => "subjects by `subjects_filter`",
            Self::Pending => "what is pending for a new consumer",
            Self::LastOfEach => "list of the last of each key, with history",
            Self::Purge => "purge by filter",
        }
    }
}

/// Creates the bucket `bench` with keys `k.<group>.<number>.<group>`, a thousand in each group, in turn.
pub(crate) fn prepare(address: SocketAddr, storage: &str, scale: Scale) -> io::Result<()> {
    workload::create_bucket(address, storage)?;
    let load = Scale { pipelined_ops: scale.keys, ..scale };
    let groups = scale.keys / LISTED;
    let subject_of = |key: u64, out: &mut Vec<u8>| {
        let group = key % groups;
        write!(out, "$KV.bench.k.{group}.{key}.{group}")
    };
    workload::pipelined(&address.into(), load, subject_of, scale.value_bytes).map(|_| ())
}

/// What rows cost a server, and what it did for them.
pub(crate) struct Listed {
    pub(crate) costs: Vec<(Row, Cost)>,
    script: Script,
    /// When the message in the middle was stored.
    middle: Value,
}

/// What each row costs a server with the bucket of [`prepare`].
pub(crate) fn costs(
    (address, pid): (SocketAddr, u32),
    storage: &str,
    scale: Scale,
    only: &str,
) -> io::Result<Listed> {
    let mut lister = Lister::connect(address, scale.keys)?;
    let middle = json!({"seq": scale.keys / 2});
    let middle = lister.client.api("$JS.API.STREAM.MSG.GET.KV_bench", &middle)?;
    lister.middle = middle.pointer("/message/time").cloned().unwrap_or_default();
    let last = format!("$KV.bench.k.{0}.{1}.{0}", lister.groups() - 1, scale.keys - 1);
    let record_bytes = RECORD_BYTES + (last.len() + scale.value_bytes) as u64;
    // What is in memory is not read.
    let records = if storage == "file" { scale.keys } else { 0 };
    let mut script = Script { records, record_bytes, turns: Vec::new() };
    let mut costs = Vec::new();
    for row in ROWS.into_iter().filter(|row| row.name().contains(only)) {
        if row == Row::LastOfEach {
            lister.keep_history()?;
        }
        costs.push((row, lister.measure(pid, row, Some(&mut script))?));
    }
    Ok(Listed { costs, script, middle: lister.middle })
}

/// What the bare loop takes to do what a server did, but for finding out what that is.
pub(crate) fn bare_costs(listed: &Listed, scale: Scale) -> io::Result<Vec<(Row, Cost)>> {
    let bare = BareLoop::of_script(&listed.script)?;
    let mut lister = Lister::connect(bare.address, scale.keys)?;
    lister.middle = listed.middle.clone();
    listed.costs.iter().map(|(row, _)| Ok((*row, lister.measure(bare.pid(), *row, None)?))).collect()
}

struct Lister {
    client: Client,
    keys: u64,
    /// When the message in the middle was stored.
    middle: Value,
}

impl Lister {
    fn connect(address: SocketAddr, keys: u64) -> io::Result<Self> {
        let mut client = Client::connect(&address.into())?;
        client.subscribe(INBOX.as_bytes(), b"1");
        Ok(Self { client, keys, middle: Value::Null })
    }

    fn groups(&self) -> u64 {
        self.keys / LISTED
    }

    /// What a row costs. What was done for it is added to the script.
    fn measure(&mut self, pid: u32, row: Row, script: Option<&mut Script>) -> io::Result<Cost> {
        measure::measure(pid, || self.run(row, script))
            .map_err(|error| io::Error::other(format!("{}: {error}", row.name())))
    }

    fn run(&mut self, row: Row, mut script: Option<&mut Script>) -> io::Result<(u64, Latencies)> {
        let mut latencies = Latencies::with_capacity(LISTS as usize);
        for list in 0..LISTS {
            let group = list * 7 % self.groups();
            if script.is_some() {
                self.client.keep_turns();
            }
            let begun = Instant::now();
            self.ask(row, group)?;
            latencies.record(begun);
            if let Some(script) = &mut script {
                let mut turns = self.client.take_turns();
                if let Some(first) = turns.first_mut().filter(|_| script.records > 0) {
                    first.reads = self.read_for(row, group);
                }
                script.turns.append(&mut turns);
            }
        }
        Ok((LISTS, latencies))
    }

    /// The numbers of the messages that are read for a list, in the order in which they were stored.
    fn read_for(&self, row: Row, group: u64) -> Vec<u64> {
        let groups = self.groups();
        let also = if row == Row::Several { FILTERS } else { 1 };
        let wanted: Vec<u64> = (0..also).map(|more| (group + more) % groups).collect();
        let from = if matches!(row, Row::FromSeq | Row::FromTime) { LISTED / 2 } else { 0 };
        let to = if row.reads_messages() { LISTED } else { 0 };
        let mut read: Vec<u64> =
            (from..to).flat_map(|turn| wanted.iter().map(move |group| turn * groups + group)).collect();
        read.sort_unstable();
        read
    }

    fn ask(&mut self, row: Row, group: u64) -> io::Result<()> {
        let filter = format!("$KV.bench.k.{group}.*.*");
        match row {
            Row::Prefix | Row::LastOfEach => self.list(json!({"filter_subject": filter}), LISTED),
            Row::Suffix => self.list(json!({"filter_subject": format!("$KV.bench.k.*.*.{group}")}), LISTED),
            Row::Several => {
                let groups = self.groups();
                let filters: Vec<String> =
                    (0..FILTERS).map(|more| format!("$KV.bench.k.{}.*.*", (group + more) % groups)).collect();
                self.list(json!({"filter_subjects": filters}), FILTERS * LISTED)
            }
            Row::FromSeq => {
                let from = json!({"filter_subject": filter, "deliver_policy": "by_start_sequence",
                    "opt_start_seq": self.keys / 2 + 1});
                self.list(from, LISTED / 2)
            }
            Row::FromTime => {
                let from = json!({"filter_subject": filter, "deliver_policy": "by_start_time",
                    "opt_start_time": self.middle});
                // Messages of the same moment come along.
                self.list(from, LISTED / 2)
            }
            Row::Batch => self.direct(&json!({"seq": 1, "batch": LISTED, "next_by_subj": filter})),
            Row::MultiLast => self.direct(&json!({"multi_last": [filter]})),
            Row::Subjects => {
                let info =
                    self.client.api("$JS.API.STREAM.INFO.KV_bench", &json!({"subjects_filter": filter}))?;
                let found = info.pointer("/state/subjects").and_then(Value::as_object).map(|all| all.len());
                expect(found.unwrap_or_default() as u64, LISTED)
            }
            Row::Pending => {
                let consumer = json!({"stream_name": "KV_bench", "config": {
                    "ack_policy": "explicit", "filter_subject": filter, "mem_storage": true, "num_replicas": 1,
                    "inactive_threshold": 1_000_000_000_u64,
                }});
                let info = self.client.api("$JS.API.CONSUMER.CREATE.KV_bench", &consumer)?;
                expect(info.get("num_pending").and_then(Value::as_u64).unwrap_or_default(), LISTED)
            }
            Row::Purge => {
                let purged = self.client.api("$JS.API.STREAM.PURGE.KV_bench", &json!({"filter": filter}))?;
                expect(purged.get("purged").and_then(Value::as_u64).unwrap_or_default(), LISTED)
            }
        }
    }

    /// Lists keys as clients do: with a watch that shows no values.
    fn list(&mut self, asked: Value, wanted: u64) -> io::Result<()> {
        let mut config = json!({
            "deliver_subject": INBOX, "deliver_policy": "last_per_subject", "ack_policy": "none",
            "max_deliver": 1, "replay_policy": "instant", "headers_only": true, "num_replicas": 1,
            "mem_storage": true,
        });
        if let (Some(config), Value::Object(asked)) = (config.as_object_mut(), asked) {
            config.extend(asked);
        }
        let consumer = json!({"stream_name": "KV_bench", "config": config}).to_string();
        let created = "_INBOX.created";
        self.client.subscribe(created.as_bytes(), b"2");
        self.client.publish(
            b"$JS.API.CONSUMER.CREATE.KV_bench",
            Some(created.as_bytes()),
            consumer.as_bytes(),
        );
        self.client.flush()?;
        // What the list brings may come before the answer.
        let (mut listed, mut answer) = (0, Vec::new());
        while listed < wanted || answer.is_empty() {
            self.client.receive(|msg| {
                if msg.headers.is_empty() && msg.payload.starts_with(b"{") {
                    answer.extend_from_slice(msg.payload);
                } else {
                    listed += 1;
                }
            })?;
            if answer.windows(9).any(|part| part == b"\"error\":{") {
                return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
            }
        }
        self.client.unsubscribe(b"2");
        let answer: Value = serde_json::from_slice(&answer)?;
        let name = answer.get("name").and_then(Value::as_str).unwrap_or_default();
        self.client.api(&format!("$JS.API.CONSUMER.DELETE.KV_bench.{name}"), &Value::Null)?;
        Ok(())
    }

    /// Direct gets that bring all of a group.
    fn direct(&mut self, body: &Value) -> io::Result<()> {
        let body = body.to_string();
        self.client.publish(b"$JS.API.DIRECT.GET.KV_bench", Some(INBOX.as_bytes()), body.as_bytes());
        self.client.flush()?;
        let (mut got, mut ended) = (0, false);
        while !ended {
            self.client.receive(|msg| {
                ended = msg.headers.starts_with(b"NATS/1.0 ");
                got += u64::from(!ended);
            })?;
        }
        expect(got, LISTED)
    }

    /// Lets keys have a history, so that the last of each is something else than all.
    fn keep_history(&mut self) -> io::Result<()> {
        let info = self.client.api("$JS.API.STREAM.INFO.KV_bench", &Value::Null)?;
        let mut config = info.get("config").cloned().unwrap_or_default();
        if let Some(config) = config.as_object_mut() {
            config.insert("max_msgs_per_subject".into(), json!(5));
        }
        self.client.api("$JS.API.STREAM.UPDATE.KV_bench", &config)?;
        Ok(())
    }
}

fn expect(found: u64, wanted: u64) -> io::Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(io::Error::other(format!("{found} instead of {wanted}")))
}
