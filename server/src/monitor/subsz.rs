//! `/subsz`: subscriptions.

use jetkv_go_compat::GoTime;
use jetkv_protocol::subject;
use serde::Serialize;

use super::json::{is_default, time};
use super::page::Page;
use super::query::Query;
use crate::router::{Listed, Subscription, Target};
use crate::snapshot::MonitorSource;

/// Subscriptions on one page unless asked for otherwise.
const LIMIT: i64 = 1024;

#[derive(Serialize)]
struct Subsz<'a> {
    server_id: &'a str,
    now: GoTime,
    num_subscriptions: usize,
    total: usize,
    offset: usize,
    limit: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<SubscriptionPart>,
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
        let account = account.unwrap_or_default().to_owned();
        Self {
            account_tag: account.clone(),
            account,
            subject: text(subscription.subject()),
            qgroup: text(subscription.queue()),
            sid: text(subscription.sid()),
            msgs: subscription.delivered(),
            max: subscription.max(),
            cid: match subscription.target() {
                Target::Receiver(receiver) => receiver.id(),
                Target::Stream(_) => 0,
            },
        }
    }
}

pub(super) fn page(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    let with_list = query.boolean("subs")?;
    let offset = usize::try_from(query.integer("offset")?).unwrap_or(0);
    let limit = Some(query.integer("limit")?).filter(|limit| *limit > 0).unwrap_or(LIMIT);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let test = query.text("test");
    if !test.is_empty() && !subject::is_valid_publish(test.as_bytes()) {
        return Err(format!("invalid test subject, must be valid publish subject: {test}"));
    }
    let wanted = query.text("acc");
    let accounts = source.accounts();
    let accounts = accounts.iter().filter(|account| wanted.is_empty() || account.name() == wanted);
    let mut count = 0;
    let mut list = Vec::new();
    for account in accounts {
        count += account.subscription_count();
        if with_list {
            account.for_each_subscription(|subscription| {
                if test.is_empty() || subject::matches(test.as_bytes(), subscription.subject()) {
                    list.push(SubscriptionPart::new(subscription, Some(account.name())));
                }
            });
        }
    }
    let total = list.len();
    Ok(Page::json(&Subsz {
        server_id: source.server_id(),
        now: time(source.now()),
        num_subscriptions: count,
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
