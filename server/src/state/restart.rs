//! Starting the server again in its place, as the test lab asks for it.

use std::sync::OnceLock;

/// How the server ends before it starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    /// In order, as by SIGTERM.
    Orderly,
    /// At once, as by SIGKILL: nothing is put in order.
    Killed,
}

type Restarting = Box<dyn Fn(Restart) + Send + Sync>;

/// Who starts the server again: the program, where it is one.
#[derive(Default)]
pub(crate) struct Restarter(OnceLock<Restarting>);

impl Restarter {
    /// Has `restart` do it.
    pub(crate) fn set(&self, restart: impl Fn(Restart) + Send + Sync + 'static) {
        // A program runs a server once.
        let _ = self.0.set(Box::new(restart));
    }

    /// Whether anybody can.
    pub(crate) fn is_there(&self) -> bool {
        self.0.get().is_some()
    }

    /// Has the server started again.
    pub(crate) fn restart(&self, how: Restart) {
        if let Some(restart) = self.0.get() {
            restart(how);
        }
    }
}
