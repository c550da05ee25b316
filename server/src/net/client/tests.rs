//! A connection over a link in memory: no port, no other thread, and no wait for anything but what it sends.

use std::sync::Arc;
use std::time::Duration;

use jetkv_jetstream::{ManualClock, WallNs};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::serve;
use crate::connections::CloseReason;
use crate::net::link::{Link, MemoryStream};
use crate::options::Options;
use crate::state::Shared;

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";

/// A client of a server that has no threads.
struct Peer {
    stream: MemoryStream,
    received: Vec<u8>,
    task: JoinHandle<()>,
}

fn server(change: impl FnOnce(&mut Options)) -> Arc<Shared> {
    let mut options = Options::default();
    change(&mut options);
    Arc::new(Shared::new(options, Arc::new(ManualClock::new(WallNs::from_ns(1)))))
}

impl Peer {
    fn connect(shared: &Arc<Shared>) -> Self {
        let (link, stream) = Link::memory();
        let task = tokio::spawn(serve(Arc::clone(shared), link, None));
        Self { stream, received: Vec::new(), task }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// What comes until it ends with `end`.
    async fn until(&mut self, end: &str) -> String {
        while !self.received.ends_with(end.as_bytes()) {
            let count = self.stream.read_buf(&mut self.received).await.unwrap();
            assert!(count > 0, "closed after {}", self.received.escape_ascii());
        }
        String::from_utf8(std::mem::take(&mut self.received)).unwrap()
    }

    /// What comes until the server closes, which it does once the connection's task has ended.
    async fn rest(mut self) -> String {
        self.stream.read_to_end(&mut self.received).await.unwrap();
        self.task.await.unwrap();
        String::from_utf8(self.received).unwrap()
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

#[test]
fn what_one_client_publishes_another_gets() {
    run(async {
        let shared = server(|_| {});
        let (mut a, mut b) = (Peer::connect(&shared), Peer::connect(&shared));
        assert!(a.until("\r\n").await.starts_with("INFO {\"server_id\":"));
        b.until("\r\n").await;
        a.send(&format!("{CONNECT}SUB s.* 1\r\nPING\r\n")).await;
        assert_eq!(a.until("PONG\r\n").await, "PONG\r\n");
        b.send(&format!("{CONNECT}PUB s.t r 5\r\nhello\r\n")).await;
        assert_eq!(a.until("hello\r\n").await, "MSG s.t 1 r 5\r\nhello\r\n");
    });
}

#[test]
fn a_client_in_the_process_is_named_as_a_pipe_and_leaves_nothing_behind() {
    run(async {
        let shared = server(|_| {});
        let mut peer = Peer::connect(&shared);
        let info = peer.until("\r\n").await;
        assert!(!info.contains("client_ip"), "{info}");
        let client = shared.clients().pop().unwrap();
        assert_eq!(client.label(), format!("pipe - cid:{}", client.id()));
        assert_eq!((client.peer().ip_text(), client.peer().port()), (String::new(), 0));
        peer.send(&format!("{CONNECT}SUB s 1\r\nPING\r\n")).await;
        peer.until("PONG\r\n").await;
        peer.stream.shutdown().await.unwrap();
        assert_eq!(peer.rest().await, "");
        let account = shared.accounts.global();
        let left = (shared.client_count(), account.client_count(), account.subscription_count());
        assert_eq!(left, (0, 0, 0));
        assert_eq!(
            shared.closed.all().0.first().map(|closed| closed.reason),
            Some(CloseReason::ClientClosed)
        );
    });
}

#[test]
fn operations_that_come_byte_by_byte_are_the_same() {
    run(async {
        let shared = server(|_| {});
        let mut peer = Peer::connect(&shared);
        peer.until("\r\n").await;
        for byte in format!("{CONNECT}SUB s 1\r\nPUB s 3\r\nabc\r\n").chars() {
            peer.send(&byte.to_string()).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(peer.until("abc\r\n").await, "MSG s 1 3\r\nabc\r\n");
    });
}

#[test]
fn who_says_nothing_is_sent_away_once_it_had_its_time() {
    run(async {
        let shared = server(|options| {
            options.auth.token = Some("secret".to_owned());
            options.auth.timeout = Duration::ZERO;
        });
        let rest = Peer::connect(&shared).rest().await;
        assert!(rest.ends_with("-ERR 'Authentication Timeout'\r\n"), "{rest}");
    });
}

#[test]
fn a_client_that_does_not_read_gets_all_of_it_later_in_order() {
    run(async {
        const COUNT: usize = 100;
        let shared = server(|_| {});
        let (mut slow, mut fast) = (Peer::connect(&shared), Peer::connect(&shared));
        slow.until("\r\n").await;
        fast.until("\r\n").await;
        slow.send(&format!("{CONNECT}SUB s 1\r\nPING\r\n")).await;
        slow.until("PONG\r\n").await;
        // Far more than the link takes while nobody reads.
        let body = "x".repeat(10_000);
        fast.send(CONNECT).await;
        for number in 0..COUNT {
            fast.send(&format!("PUB s {}\r\n{number:03}{body}\r\n", body.len() + 3)).await;
        }
        fast.send("PUB s 4\r\nlast\r\nPING\r\n").await;
        fast.until("PONG\r\n").await;
        let got = slow.until("last\r\n").await;
        let numbers = got.lines().filter(|line| line.len() > 10_000).map(|line| line[..3].parse().unwrap());
        assert_eq!(numbers.collect::<Vec<usize>>(), (0..COUNT).collect::<Vec<_>>());
    });
}

#[test]
fn a_client_that_never_reads_is_cut_at_its_limit() {
    run(async {
        let shared = server(|options| options.limits.max_pending_bytes = 100_000);
        let mut peer = Peer::connect(&shared);
        peer.until("\r\n").await;
        peer.send(&format!("{CONNECT}SUB s 1\r\n")).await;
        let body = "x".repeat(10_000);
        while !peer.task.is_finished() {
            // It is gone while this writes, at the latest.
            let message = format!("PUB s {}\r\n{body}\r\n", body.len());
            let _ = peer.stream.write_all(message.as_bytes()).await;
            tokio::task::yield_now().await;
        }
        let reason = shared.closed.all().0.first().map(|closed| closed.reason);
        assert_eq!(reason, Some(CloseReason::SlowConsumerPendingBytes));
    });
}

#[test]
fn what_is_not_the_protocol_ends_with_its_error() {
    run(async {
        for (sent, error) in [
            ("GET / HTTP/1.1\r\n\r\n", "-ERR 'Unknown Protocol Operation'\r\n"),
            ("PUB s 99999999\r\n", "-ERR 'Maximum Payload Violation'\r\n"),
        ] {
            let shared = server(|_| {});
            let mut peer = Peer::connect(&shared);
            peer.until("\r\n").await;
            peer.send(sent).await;
            assert_eq!(peer.rest().await, error);
        }
    });
}

#[test]
fn who_has_much_delivered_lets_others_have_their_turn() {
    const SUBSCRIPTIONS: usize = 400;
    const MESSAGES: usize = 1_000;
    run(async {
        let shared = server(|_| {});
        let (mut flood, mut other) = (Peer::connect(&shared), Peer::connect(&shared));
        flood.until("\r\n").await;
        other.until("\r\n").await;
        other.send(CONNECT).await;
        let subs: String = (1..=SUBSCRIPTIONS).map(|sid| format!("SUB s {sid}\r\n")).collect();
        flood.send(&format!("{CONNECT}{subs}PING\r\n")).await;
        flood.until("PONG\r\n").await;
        let messages = "PUB s 0\r\n\r\n".repeat(MESSAGES);
        let delivered = || shared.accounts.global().traffic.counts().out_msgs;
        let mut answered_at = 0;
        tokio::join!(flood.send(&messages), async {
            other.send("PING\r\n").await;
            other.until("PONG\r\n").await;
            answered_at = delivered();
        });
        let all = (SUBSCRIPTIONS * MESSAGES) as u64;
        assert!(answered_at < all, "others waited for all {answered_at} deliveries");
        flood.send("PING\r\n").await;
        flood.until("PONG\r\n").await;
        assert_eq!(delivered(), all);
    });
}

#[test]
fn a_proxy_says_where_the_client_is() {
    run(async {
        let shared = server(|options| options.proxy_protocol = true);
        for (header, ip) in [
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 99 4222\r\n".as_slice(), "192.0.2.1"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x09\x0a\0\0\x01\0\x63\0\x01", "192.0.2.9"),
            (b"PROXY UNKNOWN\r\n", ""),
            (b"", ""),
        ] {
            let mut peer = Peer::connect(&shared);
            assert!(!peer.until("\r\n").await.contains("client_ip"));
            for byte in [header, CONNECT.replace('{', "{\"protocol\":1,").as_bytes(), b"PING\r\n"].concat() {
                peer.stream.write_all(&[byte]).await.unwrap();
            }
            let info = peer.until("\"} \r\n").await;
            assert_eq!(info.contains(&format!("\"client_ip\":\"{ip}\"")), !ip.is_empty(), "{info}");
            let client = shared.clients().pop().unwrap();
            assert_eq!(
                (client.peer().ip_text().as_str(), client.peer().port()),
                (ip, if ip.is_empty() { 0 } else { 99 })
            );
            assert_eq!(client.label().split(" - ").next(), Some("pipe"), "log lines name the proxy");
            peer.stream.shutdown().await.unwrap();
            peer.rest().await;
        }
    });
}

#[test]
fn a_header_of_a_proxy_that_is_wrong_or_ends_early_closes() {
    run(async {
        let shared = server(|options| options.proxy_protocol = true);
        for header in
            ["PROXY TCP4 a b 1 2\r\n", "PROXY TCP4 1.2", "\r\n\r\n", "\r\n\r\n\0\r\nQUIT\n\x21", "PRO", ""]
        {
            let mut peer = Peer::connect(&shared);
            peer.until("\r\n").await;
            peer.send(header).await;
            peer.stream.shutdown().await.unwrap();
            assert_eq!(peer.rest().await, "", "{header}");
            let reason = shared.closed.all().0.last().map(|closed| closed.reason);
            assert_eq!(reason, Some(CloseReason::ProtocolViolation), "{header}");
        }
        assert_eq!(shared.client_count(), 0);
    });
}
