//! Who gets a message: accounts, their subscriptions, and the way from a subject to its receivers.

mod account;
mod accounts;
mod delivery;
mod domains;
mod sublist;
mod subscription;

pub use account::Account;
pub use accounts::Accounts;
pub(crate) use delivery::{Origin, RouteCache, Routed, has_room, route};
pub use sublist::{InvalidSubject, Listed, Matches, QueueMatch, Sublist};
pub(crate) use subscription::Admission;
pub use subscription::{Subscription, Target};
