//! Messages that are read here and there in a large stream: each block's file is opened once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jetkv_jetstream::store::file::{FileOptions, Storage};
use jetkv_jetstream::store::{Msg, Store};
use jetkv_testing::SimDisk;
use std::path::Path;
use std::sync::Arc;

const MSGS: u64 = 3000;
const MANY_MSGS: u64 = 10_000;

/// Random gets over a million keys met a file that had been closed nearly each time.
#[test]
fn messages_that_are_read_here_and_there_open_the_file_of_each_block_once() {
    let disk = SimDisk::new(1);
    let storage = Storage::open(Arc::new(disk.clone()), Path::new("/store"), false).unwrap();
    let options = FileOptions { block_size_bytes: 500, compress: false, fast_start_from_bytes: 0 };
    let mut store = storage.create_stream("$G", "S", b"{}", options).unwrap();
    for seq in 1..=MSGS {
        let subject = format!("k.{seq}");
        let msg = Msg { seq, ts_ns: 1, subject: subject.as_bytes(), headers: b"", payload: &[b'v'; 100] };
        store.append(&msg).unwrap();
    }
    store.flush().unwrap();
    let blocks = store.num_blocks() as u64;
    // As many as a bucket of ten million keys has.
    assert!((500..2000).contains(&blocks), "{blocks} blocks");
    let before = disk.opens();
    for number in 0..10 * MSGS {
        let seq = number * 1009 % MSGS + 1;
        assert_eq!(store.load(seq).unwrap().map(|msg| msg.seq), Some(seq));
    }
    let opened = disk.opens() - before;
    assert!(opened <= blocks, "{opened} files were opened to read {blocks} blocks");
}

/// Of a stream with more blocks than files are kept at hand, what is read again and again stays.
#[test]
fn a_block_that_is_read_again_and_again_stays_at_hand() {
    let disk = SimDisk::new(1);
    let storage = Storage::open(Arc::new(disk.clone()), Path::new("/store"), false).unwrap();
    let options = FileOptions { block_size_bytes: 150, compress: false, fast_start_from_bytes: 0 };
    let mut store = storage.create_stream("$G", "S", b"{}", options).unwrap();
    for seq in 1..=MANY_MSGS {
        let msg = Msg { seq, ts_ns: 1, subject: b"k", headers: b"", payload: &[b'v'; 100] };
        store.append(&msg).unwrap();
    }
    store.flush().unwrap();
    assert!(store.num_blocks() > 8192, "{} blocks", store.num_blocks());
    store.load(1).unwrap().unwrap();
    let (mut opened, mut read) = (0, 0);
    for seq in 100..MANY_MSGS {
        let before = disk.opens();
        store.load(seq).unwrap().unwrap();
        read += disk.opens() - before;
        let before = disk.opens();
        store.load(1).unwrap().unwrap();
        opened += disk.opens() - before;
    }
    assert!(read > 4096, "only {read} files were opened");
    assert_eq!(opened, 0, "the first block was opened again");
}
