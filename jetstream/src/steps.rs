//! For tests: how much is done while a stream's lock is held, and what comes between two holds of one long question.

use std::cell::{Cell, RefCell};

/// What a test has done between slices.
type Between = Box<dyn FnMut()>;

thread_local! {
    static IN_HOLD: Cell<u64> = const { Cell::new(0) };
    static MOST: Cell<u64> = const { Cell::new(0) };
    static HOLDS: Cell<u64> = const { Cell::new(0) };
    static BETWEENS: Cell<u64> = const { Cell::new(0) };
    static BETWEEN: RefCell<Option<Between>> = const { RefCell::new(None) };
}

/// A node of an index was entered, or a message looked at or removed.
pub(crate) fn note() {
    IN_HOLD.set(IN_HOLD.get() + 1);
}

/// A stream was locked.
pub(crate) fn begin_hold() {
    IN_HOLD.set(0);
    HOLDS.set(HOLDS.get() + 1);
}

/// It is released.
pub(crate) fn end_hold() {
    MOST.set(MOST.get().max(IN_HOLD.get()));
}

/// A lock was let go between two slices.
pub(crate) fn between() {
    let Some(mut act) = BETWEEN.take() else { return };
    let counted = (IN_HOLD.get(), MOST.get(), HOLDS.get());
    act();
    BETWEENS.set(BETWEENS.get() + 1);
    IN_HOLD.set(counted.0);
    MOST.set(counted.1);
    HOLDS.set(counted.2);
    BETWEEN.replace(Some(act));
}

/// Calls `act`, and `between` whenever a lock is let go between slices meanwhile.
pub(crate) fn with_between<R>(between: impl FnMut() + 'static, act: impl FnOnce() -> R) -> R {
    BETWEEN.replace(Some(Box::new(between)));
    BETWEENS.set(0);
    let done = act();
    BETWEEN.replace(None);
    assert!(BETWEENS.get() > 0, "nothing was done in slices");
    done
}

/// The most steps that `act` does in one hold of a lock, and how often it takes one.
pub(crate) fn count<R>(act: impl FnOnce() -> R) -> (R, u64, u64) {
    MOST.set(0);
    HOLDS.set(0);
    let done = act();
    (done, MOST.get(), HOLDS.get())
}
