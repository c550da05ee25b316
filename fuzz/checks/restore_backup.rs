//! What holds for a restore whatever is sent as a backup: it ends with an answer; one that is refused leaves no stream, no file
//! and no byte accounted for, and what a restored stream tells of itself is what it holds. Shared by the fuzz target and the
//! test that replays its corpus.

#[allow(dead_code)]
#[path = "../../jetstream/tests/backups/bench.rs"]
mod bench;

use jetkv_jetstream::settings::AccountLimits;
use jetkv_testing::TestEngine;
use serde_json::json;

/// What the account may store, so that what says it is larger is refused.
const STORE_BYTES_MAX: i64 = 1 << 20;
/// The longest run of one byte that a backup ends with, as a power of two.
const RUN_LOG_MAX: u8 = 22;
/// Smaller, so that a seed says little and is cut often.
const PIECE_LEN_MIN: usize = 16;

/// Whether what the bytes say is restored; panics when it is not restored or refused as it should be. The first says whether the rest is a backup as it
/// is sent, or its content; the second, how large pieces are; the third, how long a run of its last byte follows the content.
pub(crate) fn check(data: &[u8]) -> bool {
    let Some((&[kind, step, run], content)) = data.split_first_chunk() else { return false };
    let archive = match kind % 2 {
        0 => content.to_vec(),
        _ => bench::packed(&with_run(content, run)),
    };
    restores_or_refuses(&archive, PIECE_LEN_MIN << (step % 16))
}

/// The content, and behind it a run of its last byte.
fn with_run(content: &[u8], run: u8) -> Vec<u8> {
    let len = match run % (RUN_LOG_MAX + 1) {
        0 => 0,
        log => 1_usize << log,
    };
    let last = content.last().copied().unwrap_or_default();
    [content, &vec![last; len]].concat()
}

fn restores_or_refuses(archive: &[u8], piece_len: usize) -> bool {
    let (engine, disk) = bench::simulated();
    let limits = AccountLimits { max_store_bytes: STORE_BYTES_MAX, ..AccountLimits::default() };
    engine.engine.update_account_limits(engine.account, limits).expect("nothing is stored");
    // The directories of the account are there before.
    bench::ask(&engine, "STREAM.CREATE.FIRST", &json!({"name": "FIRST", "subjects": ["f"]}));
    bench::ask(&engine, "STREAM.DELETE.FIRST", &json!({}));
    let config = json!({
        "name": "KV_b", "subjects": ["$KV.b.>", "s.>"], "storage": "file", "max_msgs_per_subject": 5,
        "allow_msg_ttl": true, "allow_msg_schedules": true,
    });
    let answer = bench::restore(&engine, &config, archive, piece_len);
    assert!(engine.engine.backups().is_empty(), "the restore has ended");
    let is_restored = answer.get("error").is_none();
    if is_restored {
        let told = &answer["state"];
        assert_eq!(told["messages"].as_u64(), Some(held(&engine)), "{told}");
        assert!(told["bytes"].as_i64() <= Some(STORE_BYTES_MAX), "{told}");
        bench::ask(&engine, "STREAM.DELETE.KV_b", &json!({}));
    }
    assert_eq!(bench::streams(&disk), [""; 0], "nothing is left behind: {answer}");
    let usage = engine.engine.account_usage(engine.account).expect("the account is there");
    assert_eq!((usage.storage_bytes, usage.streams), (0, 0), "{answer}");
    is_restored
}

/// Messages that can be got of the stream, one after the other.
fn held(engine: &TestEngine) -> u64 {
    let (mut held, mut next) = (0, 1);
    loop {
        let request = json!({"seq": next, "next_by_subj": ">"});
        let answer = bench::ask(engine, "STREAM.MSG.GET.KV_b", &request);
        let Some(seq) = answer["message"]["seq"].as_u64() else { return held };
        (held, next) = (held + 1, seq + 1);
    }
}
