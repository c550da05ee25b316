//! `/subsz`: subscriptions.

use std::collections::HashMap;

use jetkv_go_compat::GoTime;
use jetkv_jetstream::OwnSubscription;
use jetkv_protocol::subject;
use serde::Serialize;

use super::json::{is_default, time};
use super::page::Page;
use super::query::Query;
use crate::router::{Listed, Subscription, Target};
use crate::snapshot::{MonitorSource, SubscriptionCounts};

/// Subscriptions on one page unless asked for otherwise.
const LIMIT: i64 = 1024;

#[derive(Serialize)]
struct Subsz<'a> {
    server_id: &'a str,
    now: GoTime,
    #[serde(flatten)]
    stats: SublistStats,
    total: usize,
    offset: usize,
    limit: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<SubscriptionPart>,
}

/// What is told of the list that subjects are looked up in. There is no cache in it: what is read again and again is
/// remembered by who reads it.
#[derive(Debug, Default, Serialize)]
pub(super) struct SublistStats {
    num_subscriptions: u64,
    num_cache: u32,
    num_inserts: u64,
    num_removes: u64,
    num_matches: u64,
    cache_hit_rate: u32,
    max_fanout: u32,
    avg_fanout: u32,
}

impl SublistStats {
    pub(super) fn new(counts: SubscriptionCounts) -> Self {
        Self {
            num_subscriptions: counts.present,
            num_inserts: counts.inserted,
            num_removes: counts.removed,
            num_matches: counts.lookups,
            ..Self::default()
        }
    }
}

/// One subscription.
#[derive(Serialize)]
pub(super) struct SubscriptionPart {
    #[serde(skip_serializing_if = "is_default")]
    account: String,
    #[serde(skip_serializing_if = "is_default")]
    account_tag: String,
    subject: String,
    #[serde(skip_serializing_if = "is_default")]
    qgroup: String,
    sid: String,
    msgs: u64,
    #[serde(skip_serializing_if = "is_default")]
    max: u64,
    cid: u64,
}

impl SubscriptionPart {
    /// A subscription; with its account where that is of interest.
    pub(super) fn new(subscription: &Subscription, account: Option<&str>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let account = match subscription.target() {
            // One that is there for another account is that one's.
            Target::Shadowed(shadowed) if account.is_some() => shadowed.importer.to_string(),
            _ => account.unwrap_or_default().to_owned(),
        };
        Self {
            account_tag: account.clone(),
            account,
            subject: text(subscription.subject()),
            qgroup: text(subscription.queue()),
            sid: text(subscription.sid()),
            msgs: subscription.delivered(),
            max: subscription.max(),
            cid: match subscription.target() {
                Target::Receiver(receiver) | Target::Relay(receiver) => receiver.id(),
                Target::Stream(stream) => stream.client_number(),
                Target::Shadowed(shadowed) => shadowed.to.id(),
                Target::Service(_) | Target::Responses(_) => 0,
            },
        }
    }

    /// One of the server's own.
    fn of_server(own: OwnSubscription, account: &str) -> Self {
        Self {
            account_tag: account.to_owned(),
            account: account.to_owned(),
            subject: own.subject,
            qgroup: own.queue.to_owned(),
            sid: own.sid.to_string(),
            msgs: own.msgs,
            max: 0,
            cid: own.client,
        }
    }
}

pub(super) fn page(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    let with_list = query.boolean("subs")?;
    let offset = usize::try_from(query.integer("offset")?).unwrap_or(0);
    let limit = Some(query.integer("limit")?).filter(|limit| *limit > 0).unwrap_or(LIMIT);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let test = query.text("test");
    if !test.is_empty() && !subject::is_valid_literal(test.as_bytes()) {
        return Err(format!("invalid test subject, must be valid publish subject: {test}"));
    }
    let wanted = query.text("acc");
    let accounts = source.accounts();
    let accounts = accounts.iter().filter(|account| wanted.is_empty() || account.name() == wanted);
    let mut counts = SubscriptionCounts::default();
    let mut list = Vec::new();
    for account in accounts {
        counts += source.subscription_counts(Some(account));
        if with_list {
            let is_tested = |subject: &[u8]| test.is_empty() || subject::matches(test.as_bytes(), subject);
            for own in source.own_subscriptions(account) {
                if is_tested(own.subject.as_bytes()) {
                    list.push(SubscriptionPart::of_server(own, account.name()));
                }
            }
            account.for_each_subscription(|subscription| {
                if is_tested(subscription.subject()) {
                    list.push(SubscriptionPart::new(subscription, Some(account.name())));
                }
            });
        }
    }
    // Claims may name an account otherwise than its key does.
    let names = source.accounts().into_iter().filter(|account| account.claimed().is_some());
    let names: HashMap<_, _> = names.map(|account| (account.name().to_owned(), account.name_tag())).collect();
    for part in &mut list {
        if let Some(name) = names.get(&part.account) {
            part.account_tag.clone_from(name);
        }
    }
    let total = list.len();
    Ok(Page::json(&Subsz {
        server_id: source.server_id(),
        now: time(source.now()),
        stats: SublistStats::new(counts),
        total,
        offset,
        limit,
        subscriptions_list: if with_list {
            list.into_iter().skip(offset).take(limit).collect()
        } else {
            Vec::new()
        },
    }))
}
