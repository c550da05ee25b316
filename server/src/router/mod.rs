//! Who gets a message: accounts, their subscriptions, and the way from a subject to its receivers.

mod account;
mod accounts;
mod delivery;
mod domains;
mod mappings;
mod receiver;
mod services;
mod sublist;
mod subscription;
mod touched;

pub use account::Account;
pub use accounts::Accounts;
pub(crate) use delivery::{Origin, RouteCache, Routed, has_room, route};
pub use receiver::{DeliverSubject, Queued, Receipt, Receiver};
pub(crate) use services::Services;
pub use sublist::{InvalidSubject, Listed, Matches, QueueMatch, Sublist};
pub(crate) use subscription::Admission;
pub use subscription::{Subscription, Target};
pub(crate) use touched::Touched;
