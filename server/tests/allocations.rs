//! The server's threads allocate nothing per message in the steady state.

#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Wire, start, with_streams};

/// Counts the allocations of all threads but those that opted out.
struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IGNORED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if !IGNORED.try_with(Cell::get).unwrap_or(true) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it came; counting touches an atomic and a thread-local that
// needs no destructor and never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as promised by the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: u64 = 500;

/// Allocations of the server over `ROUNDS` runs of `round`, after as many that warm it up.
fn allocations(mut round: impl FnMut(u64)) -> u64 {
    (0..ROUNDS).for_each(&mut round);
    let before = COUNT.load(Ordering::SeqCst);
    (0..ROUNDS).for_each(round);
    COUNT.load(Ordering::SeqCst) - before
}

#[test]
fn messages_and_gets_cost_no_allocation() {
    IGNORED.set(true);
    let (_directory, options) = with_streams();
    let server = start(options);
    let mut wire = Wire::client(&server);
    let config = "{\"name\":\"KV\",\"subjects\":[\"kv.>\"],\"storage\":\"file\",\"allow_direct\":true,\"max_msgs_per_subject\":1}";
    wire.send(&format!("SUB r.* 1\r\nPUB $JS.API.STREAM.CREATE.KV r.0 {}\r\n{config}\r\n", config.len()));
    wire.line();
    assert!(!wire.line().contains("\"error\""));

    let echoed = allocations(|round| {
        wire.send(&format!("PUB r.{round} 5\r\nhello\r\n"));
        wire.expect(&format!("MSG r.{round} 1 5\r\nhello\r\n"));
    });
    let put = allocations(|round| {
        wire.send(&format!("PUB kv.{} r.{round} 5\r\nhello\r\n", round % 10));
        wire.line();
        assert!(wire.line().starts_with("{\"stream\":\"KV\""));
    });
    let got = allocations(|round| {
        wire.send(&format!("PUB $JS.API.DIRECT.GET.KV.kv.{} r.{round} 0\r\n\r\n", round % 10));
        let line = wire.line();
        let size: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(wire.take(size + 2).ends_with(b"hello\r\n"));
    });
    // Timers and events beside the messages may allocate a little. A put that replaces a value also makes the tables
    // of what was removed grow, now and then.
    assert!(echoed <= ROUNDS / 10 && got <= ROUNDS / 10, "publish {echoed}, get {got} in {ROUNDS}");
    assert!(put <= ROUNDS / 2, "put {put} in {ROUNDS}");
}
