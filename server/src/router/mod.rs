//! Who gets a message: accounts, their subscriptions, and the way from a subject to its receivers.

mod account;
mod accounts;
mod claimed;
mod delivery;
mod domains;
mod exchange;
mod interest;
mod mappings;
mod receiver;
mod relays;
mod services;
mod sublist;
mod subscription;
mod touched;

pub use account::Account;
pub(crate) use account::{AccountFull, Ended};
pub use accounts::Accounts;
pub use claimed::Claimed;
pub(crate) use delivery::{
    Crossing, ForOne, Observed, Origin, RouteCache, Routed, has_room, route, route_answer, route_observed,
    route_relayed,
};
pub use exchange::{ExportedService, ImportedService, ImportedStream, Importer, Responses, Shadowed};
pub(crate) use exchange::{Response, Shadow, Tracked};
pub(crate) use interest::{InterestWatcher, LOOP_PREFIX};
pub use receiver::{DeliverSubject, FarEnd, Queued, Receipt, Receiver};
pub(crate) use services::Services;
pub use sublist::{InvalidSubject, Listed, Matches, QueueMatch, Sublist};
pub(crate) use subscription::Admission;
pub use subscription::{Subscription, Target};
pub(crate) use touched::Touched;
