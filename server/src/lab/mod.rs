//! The test lab: controls for tests over a server that was started for them.
//!
//! A request means the same by every way in: on a subject (`inbox`), by HTTP (`http`), from the command line, or as
//! a method of [`Lab`]. All of them come together in `Control`, one at a time. `docs/lab.md` describes the verbs.
//!
//! Nothing here exists in a server whose options do not ask for it: no subscription, no thread, no page.
//!
#![doc = include_str!("../../../docs/lab.md")]

mod answer;
pub mod command;
mod control;
mod fault;
mod http;
mod inbox;
mod isolation;
mod journal;
mod late;
mod record;
mod request;
mod saved;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jetkv_jetstream::{AdjustableClock, Due};
use serde_json::Value;

use crate::options::LabOptions;
use crate::state::Shared;
pub use answer::LabError;
use control::Control;
pub use control::{Advanced, ClockState, Reset};
use fault::FaultRule;
pub(crate) use http::{PREFIX as HTTP_PREFIX, serve};
use inbox::Inbox;
pub use isolation::Isolated;
pub use jetkv_jetstream::Moved;

/// The lab of a running server.
///
/// ```
/// use jetkv::Server;
/// use jetkv::lab::{Advanced, ClockState, Isolated, Lab, LabError, Moved, Reset};
/// use jetkv::options::{LabOptions, Options};
/// use std::time::Duration;
///
/// let mut options = Options { host: "127.0.0.1".to_owned(), port: 0, ..Options::default() };
/// options.lab = Some(LabOptions::default());
/// let server = Server::start(options)?;
/// let lab: Lab = server.lab().ok_or("the options ask for it")?;
///
/// let stopped: ClockState = lab.freeze();
/// assert!(stopped.frozen);
/// let Advanced { fired, .. } = lab.move_clock(Duration::from_secs(3600), Moved::Both);
/// assert_eq!((fired, lab.next()), (0, None));
/// assert!(!lab.resume().frozen);
/// lab.fault(&serde_json::json!({"kind": "latency", "by": "1h", "where": {"subject": "orders.*"}}))?;
/// assert_eq!(lab.faults()[0]["by"], "1h0m0s");
/// let alone: Isolated = lab.isolate(None)?;
/// assert!(alone.url.contains(&alone.password));
/// let cleared: Result<Reset, LabError> = lab.reset();
/// assert!(cleared.is_ok() && lab.advance(Duration::ZERO).now >= stopped.now);
/// server.shutdown();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Lab {
    control: Arc<Control>,
    inbox: Arc<Inbox>,
}

impl Lab {
    /// Opens the lab of a server whose time comes from `clock`.
    ///
    /// # Errors
    /// Its thread cannot be started.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        clock: Arc<AdjustableClock>,
        options: &LabOptions,
    ) -> io::Result<Self> {
        let control = Arc::new(Control::new(Arc::clone(shared), clock, options));
        let inbox = Inbox::start(shared, Arc::clone(&control))?;
        control.isolations().open(&inbox);
        control.late().start()?;
        // The lab is started once.
        let _ = shared.lateness.set(Arc::clone(control.late()) as _);
        let lab = Self { control, inbox };
        lab.listen(shared);
        let guarded =
            if options.token.is_some() { "with a token" } else { "without a token, on this machine only" };
        tracing::warn!("The test lab is on, {guarded}: clients can move the clock and take data away");
        Ok(lab)
    }

    /// Has accounts that are new listen, too.
    pub(crate) fn listen(&self, shared: &Shared) {
        self.inbox.listen(shared);
        self.control.announce_faults();
    }

    /// Ends it: what comes later is answered by nobody.
    pub(crate) fn stop(&self) {
        self.control.late().stop();
        self.inbox.stop();
    }

    /// What the clock shows.
    pub fn time(&self) -> ClockState {
        self.control.time()
    }

    /// Lets so much time pass: everything that falls due meanwhile happens in order, and what it delivers is on its way
    /// when this returns.
    pub fn advance(&self, by: Duration) -> Advanced {
        self.move_clock(by, Moved::Both)
    }

    /// As [`advance`](Self::advance), by one of the two clocks where `what` says so.
    pub fn move_clock(&self, by: Duration, what: Moved) -> Advanced {
        self.control.advance(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), what)
    }

    /// Stops the clock, until it is resumed. It can still be moved.
    pub fn freeze(&self) -> ClockState {
        self.control.freeze()
    }

    /// Lets the clock go on.
    pub fn resume(&self) -> ClockState {
        self.control.resume()
    }

    /// The next thing that falls due.
    pub fn next(&self) -> Option<Due> {
        self.control.next(None, None)
    }

    /// Adds a rule of faults, as the body of `FAULT.ADD` has it; gives its number.
    ///
    /// # Errors
    /// The rule makes no sense.
    pub fn fault(&self, rule: &Value) -> Result<u64, LabError> {
        Ok(self.control.add_fault(&FaultRule::read(rule.to_string().as_bytes())?))
    }

    /// The rules of faults, each as `FAULT.LIST` tells it: with all that it was given, and how often it has happened.
    pub fn faults(&self) -> Vec<Value> {
        self.control.faults()
    }

    /// Takes all rules of faults away; tells how many there were.
    pub fn clear_faults(&self) -> usize {
        self.control.clear_faults(None)
    }

    /// Makes an account of its own with JetStream, which goes when its last connection has left, or with
    /// [`release`](Self::release). Without a name it gets one.
    ///
    /// # Errors
    /// The name is taken, or cannot be one.
    pub fn isolate(&self, name: Option<&str>) -> Result<Isolated, LabError> {
        self.control.isolations().isolate(name)
    }

    /// Ends an account that was made for itself: its connections are closed, and all that it stored is gone.
    ///
    /// # Errors
    /// There is no such account, or something of it is still there.
    pub fn release(&self, account: &str) -> Result<(), LabError> {
        self.control.isolations().release(account)
    }

    /// Saves what all accounts have stored, in memory, under a name.
    ///
    /// # Errors
    /// A stream cannot be read, or too much is saved.
    pub fn save(&self, name: &str) -> Result<(), LabError> {
        self.control.save(name).map(|_| ())
    }

    /// Brings back what was saved under a name: all else that is stored goes, and the clock shows what it showed then.
    ///
    /// # Errors
    /// Nothing was saved under the name, or a stream cannot be deleted or brought back.
    pub fn load(&self, name: &str) -> Result<(), LabError> {
        self.control.load(name).map(|_| ())
    }

    /// Makes any request, as a client would on `$JETKV.LAB.<group>.<verb>`, and gives the answer without its type.
    ///
    /// # Errors
    /// Those that the verb has.
    pub fn request(&self, group: &str, verb: &str, body: &Value) -> Result<Value, LabError> {
        self.inbox.call(group, verb, body)
    }

    /// Takes away what all accounts have stored, and lets the clock run with the system's again. Connections and their
    /// subscriptions stay.
    ///
    /// # Errors
    /// A stream cannot be deleted.
    pub fn reset(&self) -> Result<Reset, LabError> {
        self.control.reset(None, &[])
    }
}
