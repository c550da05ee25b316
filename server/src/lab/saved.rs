//! Whole states of the server, saved in memory under names.

use std::collections::BTreeMap;
use std::sync::Arc;

use jetkv_jetstream::{SavedStream, WallNs};
use parking_lot::Mutex;

use super::answer::LabError;
use crate::state::Shared;

/// States that are kept at once, and the bytes that they take together.
const STATES_MAX: usize = 100;
const BYTES_MAX: usize = 1 << 30;
/// Length of a name, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// What is told of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) name: String,
    /// The moment that it is of.
    pub(super) now: WallNs,
    pub(super) accounts: usize,
    pub(super) streams: usize,
    pub(super) consumers: usize,
    pub(super) msgs: u64,
    pub(super) size_bytes: usize,
}

/// A state.
pub(super) struct Saved {
    name: String,
    now: WallNs,
    /// The streams of each account, by name.
    accounts: Vec<(String, Vec<SavedStream>)>,
}

impl Saved {
    fn of(name: &str, shared: &Shared, now: WallNs) -> Result<Self, LabError> {
        let mut accounts = Vec::new();
        if let Some(jetstream) = shared.jetstream() {
            for account in shared.accounts.all().iter().filter(|account| account.has_jetstream()) {
                let streams = jetstream.engine().save_account(account.id());
                let streams = streams.map_err(|error| LabError::failed(error.to_string()))?;
                accounts.push((account.name().to_owned(), streams));
            }
        }
        Ok(Self { name: name.to_owned(), now, accounts })
    }

    /// The moment that it is of.
    pub(super) fn now(&self) -> WallNs {
        self.now
    }

    fn summary(&self) -> Summary {
        let streams = || self.accounts.iter().flat_map(|(_, streams)| streams);
        Summary {
            name: self.name.clone(),
            now: self.now,
            accounts: self.accounts.len(),
            streams: streams().count(),
            consumers: streams().map(SavedStream::consumers).sum(),
            msgs: streams().map(SavedStream::msgs).sum(),
            size_bytes: streams().map(SavedStream::size_bytes).sum(),
        }
    }

    /// Takes away what all accounts have stored.
    pub(super) fn clear(&self, shared: &Shared) -> Result<(), LabError> {
        let Some(jetstream) = shared.jetstream() else { return Ok(()) };
        for account in shared.accounts.all().iter().filter(|account| account.has_jetstream()) {
            let gone = jetstream.engine().reset_account(account.id());
            gone.map_err(|error| LabError::failed(error.to_string()))?;
        }
        shared.end_turn();
        Ok(())
    }

    /// Brings all of it back that belongs to accounts that are still there.
    pub(super) fn load(&self, shared: &Shared) -> Result<Summary, LabError> {
        if let Some(jetstream) = shared.jetstream() {
            for (name, streams) in &self.accounts {
                let Some(account) = shared.accounts.by_name(name) else { continue };
                let loaded = jetstream.engine().load_account(account.id(), streams);
                loaded.map_err(|error| LabError::failed(error.to_string()))?;
            }
        }
        shared.end_turn();
        Ok(self.summary())
    }
}

/// The states that were saved.
#[derive(Default)]
pub(super) struct SavedStates {
    states: Mutex<BTreeMap<String, Arc<Saved>>>,
}

impl SavedStates {
    /// Saves the state as it is; one of the same name goes.
    pub(super) fn save(&self, name: &str, shared: &Shared, now: WallNs) -> Result<Summary, LabError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(LabError::bad_request(format!("a name has 1 to {NAME_BYTES_MAX} bytes")));
        }
        let saved = Saved::of(name, shared, now)?;
        let summary = saved.summary();
        let mut states = self.states.lock();
        let others = || states.values().filter(|state| state.name != name);
        let size_bytes: usize = others().map(|state| state.summary().size_bytes).sum();
        if others().count() >= STATES_MAX || size_bytes + summary.size_bytes > BYTES_MAX {
            return Err(LabError::bad_request("too much is saved: drop something first"));
        }
        states.insert(name.to_owned(), Arc::new(saved));
        Ok(summary)
    }

    /// What was saved under a name.
    pub(super) fn get(&self, name: &str) -> Result<Arc<Saved>, LabError> {
        let found = self.states.lock().get(name).cloned();
        found.ok_or_else(|| LabError::not_found(format!("nothing is saved as {name}")))
    }

    /// All states.
    pub(super) fn list(&self) -> Vec<Summary> {
        self.states.lock().values().map(|state| state.summary()).collect()
    }

    /// Lets one state go, or all; tells how many went.
    pub(super) fn drop(&self, name: Option<&str>) -> Result<usize, LabError> {
        let mut states = self.states.lock();
        match name {
            None => Ok(std::mem::take(&mut *states).len()),
            Some(name) if states.remove(name).is_some() => Ok(1),
            Some(name) => Err(LabError::not_found(format!("nothing is saved as {name}"))),
        }
    }
}
