//! WebSocket over a link in memory: who gets in, what goes through, and what becomes of those who attack it.

use std::sync::Arc;
use std::time::Duration;

use jetkv_jetstream::{ManualClock, WallNs};
use jetkv_protocol::websocket::{Deflater, FrameReader, INFLATED_TAIL, Inflater, Piece};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::serve;
use crate::connections::{ClientType, CloseReason};
use crate::net::link::{Link, MemoryStream};
use crate::options::Options;
use crate::state::Shared;

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn server(block: &str, rest: &str) -> Arc<Shared> {
    let text = format!("websocket {{ port: -1, no_tls: true\n{block} }}\n{rest}");
    let options = Options::from_config_text(&text).unwrap();
    Arc::new(Shared::new(options, Arc::new(ManualClock::new(WallNs::from_ns(1)))))
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

/// A client whose upgrade may be done.
struct Peer {
    stream: MemoryStream,
    task: JoinHandle<()>,
    frames: FrameReader,
    /// What messages held.
    received: Vec<u8>,
    /// Frames that messages came in, and the longest.
    frame_count: usize,
    longest: usize,
    deflated: Vec<u8>,
    /// Payload of the close frame.
    close: Option<Vec<u8>>,
    pongs: usize,
}

/// The request of a client with more headers.
fn request(headers: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: a:80\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n{KEY}\
         Sec-WebSocket-Version: 13\r\n{headers}\r\n"
    )
}

/// A masked frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | 127];
    bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    if payload.len() < 126 {
        bytes = vec![first, 0x80 | payload.len() as u8];
    }
    bytes.extend_from_slice(&[9, 8, 7, 6]);
    bytes.extend(payload.iter().zip([9, 8, 7, 6].iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

impl Peer {
    fn open(shared: &Arc<Shared>) -> Self {
        let (link, stream) = Link::memory();
        let task = tokio::spawn(serve(Arc::clone(shared), link));
        Self {
            stream,
            task,
            frames: FrameReader::new(false, true),
            received: Vec::new(),
            frame_count: 0,
            longest: 0,
            deflated: Vec::new(),
            close: None,
            pongs: 0,
        }
    }

    /// Asks, and returns the head of the answer.
    async fn ask(&mut self, request: &str) -> String {
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    async fn upgraded(shared: &Arc<Shared>, headers: &str) -> Self {
        let mut peer = Self::open(shared);
        let head = peer.ask(&request(headers)).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(peer.until("\r\n").await.starts_with("INFO {"));
        peer
    }

    async fn send(&mut self, text: &str) {
        self.bytes(&frame(0x82, text.as_bytes())).await;
    }

    async fn bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Reads once; whether anything came.
    async fn read(&mut self) -> bool {
        let mut bytes = vec![0; 64 * 1024];
        let count = self.stream.read(&mut bytes).await.unwrap();
        let mut input = &mut bytes[..count];
        while let Some(piece) = self.frames.next(&mut input).unwrap() {
            match piece {
                Piece::Data { bytes, deflated, ends } => {
                    self.frame_count += usize::from(ends);
                    self.longest = self.longest.max(bytes.len());
                    if !deflated {
                        self.received.extend_from_slice(bytes);
                        continue;
                    }
                    self.deflated.extend_from_slice(bytes);
                    if ends {
                        let message = inflated(&std::mem::take(&mut self.deflated));
                        self.received.extend_from_slice(&message);
                    }
                }
                Piece::Close(payload) => self.close = Some(payload),
                Piece::Pong => self.pongs += 1,
                Piece::Ping(_) => panic!("the server asks in its own protocol"),
            }
        }
        count > 0
    }

    async fn until(&mut self, end: &str) -> String {
        while !self.received.ends_with(end.as_bytes()) {
            assert!(self.read().await, "closed after {}", self.received.escape_ascii());
        }
        String::from_utf8(std::mem::take(&mut self.received)).unwrap()
    }

    /// What comes until the server closes, and the close frame's payload.
    async fn rest(mut self) -> (String, Option<String>) {
        while self.read().await {}
        self.task.await.unwrap();
        let close = self.close.map(|payload| {
            let status = payload.get(..2).map_or(0, |status| u16::from_be_bytes([status[0], status[1]]));
            format!("{status} {}", String::from_utf8_lossy(payload.get(2..).unwrap_or_default()))
        });
        (String::from_utf8(self.received).unwrap(), close)
    }
}

fn inflated(message: &[u8]) -> Vec<u8> {
    let (mut inflater, mut out, mut at) = (Inflater::default(), Vec::new(), 0);
    let input = [message, INFLATED_TAIL].concat();
    loop {
        out.reserve(4096);
        let (taken, ended) = inflater.inflate(&input[at..], &mut out).unwrap();
        at += taken;
        if ended {
            return out;
        }
    }
}

fn deflated(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::default().message(message, &mut out).unwrap();
    out
}

fn last_reason(shared: &Shared) -> Option<CloseReason> {
    shared.closed.all().0.first().map(|closed| closed.reason)
}

#[test]
fn the_protocol_goes_through_however_frames_are_cut() {
    run(async {
        let shared = server("", "");
        let mut a = Peer::upgraded(&shared, "").await;
        let mut b = Peer::upgraded(&shared, "").await;
        a.send(&format!("{CONNECT}SUB s.* 1\r\nPING\r\n")).await;
        assert_eq!(a.until("PONG\r\n").await, "PONG\r\n");
        let sent = format!("{CONNECT}PUB s.t r 5\r\nhello\r\n");
        // A frame for each byte of some, and each byte of the frames by itself.
        let (first, others) = sent.as_bytes().split_at(20);
        for (at, part) in first.chunks(1).chain([others]).enumerate() {
            let opcode = if at == 0 { 0x02 } else { 0x00 } | if part.len() > 1 { 0x80 } else { 0 };
            for byte in frame(opcode, part) {
                b.bytes(&[byte]).await;
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(a.until("hello\r\n").await, "MSG s.t 1 r 5\r\nhello\r\n");
        let client = shared.clients().into_iter().min_by_key(|client| client.id()).unwrap();
        assert_eq!(client.label(), format!("pipe - wid:{}", client.id()));
        assert_eq!(client.client_type(), ClientType::Websocket);
        a.bytes(&frame(0x88, &[3, 232, b'x'])).await;
        assert_eq!(a.rest().await, (String::new(), Some("1000 x".to_owned())));
        assert_eq!(last_reason(&shared), Some(CloseReason::ClientClosed));
    });
}

#[test]
fn deflated_messages_go_both_ways_where_both_ends_want_them() {
    run(async {
        let shared = server("compression: true", "");
        let offer = "Sec-WebSocket-Extensions: x, permessage-deflate; client_max_window_bits\r\n";
        let mut peer = Peer::open(&shared);
        let head = peer.ask(&request(offer)).await;
        let granted = "permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";
        assert!(head.contains(granted), "{head}");
        peer.until("\r\n").await;
        let body = "body ".repeat(100_000);
        let sent = format!("{CONNECT}SUB s 1\r\nPUB s {}\r\n{body}\r\nPING\r\n", body.len());
        let message = deflated(sent.as_bytes());
        assert!(message.len() < sent.len() / 10);
        // In frames, with another message behind it in the same read.
        let (one, two) = message.split_at(message.len() / 2);
        let plain = frame(0x82, b"PING\r\n");
        peer.bytes(&[frame(0x42, one), frame(0x00, two), frame(0x80, b""), plain].concat()).await;
        let got = peer.until("PONG\r\nPONG\r\n").await;
        assert_eq!(got, format!("MSG s 1 {}\r\n{body}\r\nPONG\r\nPONG\r\n", body.len()));
        assert!(peer.longest < 20_000, "{}", peer.longest);

        let without = Peer::open(&server("", "")).ask(&request(offer)).await;
        assert!(!without.contains("permessage"), "{without}");
    });
}

#[test]
fn what_inflates_to_more_than_a_message_may_have_is_cut() {
    run(async {
        let shared = server("compression: true", "max_payload: 1000");
        let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        for bomb in [deflated(&vec![b' '; 50_000_000]), deflated(&vec![b'\t'; 1001]), vec![7; 9000]] {
            let mut peer = Peer::upgraded(&shared, offer).await;
            let _ = peer.stream.write_all(&frame(0xc2, &bomb)).await;
            let (_, close) = peer.rest().await;
            assert_eq!(close.as_deref(), Some("1009 maximum payload exceeded"));
            assert_eq!(last_reason(&shared), Some(CloseReason::ReadError));
        }
        let mut peer = Peer::upgraded(&shared, offer).await;
        peer.bytes(&frame(0xc2, &[0xff; 50])).await;
        assert!(peer.rest().await.1.is_none(), "what cannot be inflated ends it");
    });
}

#[test]
fn a_browser_gets_small_frames() {
    run(async {
        let shared = server("", "");
        let mut peer = Peer::upgraded(&shared, "User-Agent: Mozilla/5.0\r\n").await;
        let body = "x".repeat(100_000);
        peer.send(&format!("{CONNECT}SUB s 1\r\nPUB s {}\r\n{body}\r\nPING\r\n", body.len())).await;
        peer.until("PONG\r\n").await;
        assert!(peer.longest <= 4096 && peer.frame_count > 24, "{} {}", peer.longest, peer.frame_count);
    });
}

#[test]
fn what_is_no_frame_closes_with_its_reason() {
    run(async {
        let shared = server("", "");
        for (bytes, close) in [
            (vec![0x82, 0x01, 0x61], "1002 mask bit missing"),
            (frame(0xc2, b"a"), "1002 compressed frame received without negotiated permessage-deflate"),
            (frame(0x83, b""), "1002 unknown opcode 3"),
            (frame(0x88, &[3, 238]), "1002 invalid close status code 1006"),
            (frame(0x88, &[3, 232, 0xc3]), "1007 invalid utf8 body in close frame"),
            (frame(0x88, b""), "0 "),
            (frame(0x82, b"PUB s 99999999\r\n"), "1009 Maximum Message Payload Exceeded"),
            (frame(0x82, b"GET / HTTP/1.1\r\n\r\n"), "1002 Protocol Violation"),
        ] {
            let mut peer = Peer::upgraded(&shared, "").await;
            peer.bytes(&bytes).await;
            assert_eq!(peer.rest().await.1.as_deref(), Some(close), "{}", bytes.escape_ascii());
        }
    });
}

#[test]
fn pings_are_answered_and_a_peer_that_reads_no_answers_is_not_heard_for_ever() {
    run(async {
        let shared = server("", "");
        let mut peer = Peer::upgraded(&shared, "").await;
        peer.bytes(&[frame(0x89, b"hi"), frame(0x8a, b"")].concat()).await;
        while peer.pongs == 0 {
            assert!(peer.read().await);
        }
        // The link takes 64 KB each way, and some answers wait beside it: what is more is not read.
        let pings = frame(0x89, &[b'x'; 125]).repeat(1000);
        let mut sent = 0;
        while let Ok(Ok(count)) =
            tokio::time::timeout(Duration::from_millis(50), peer.stream.write(&pings[sent % pings.len()..]))
                .await
        {
            sent += count;
            assert!(sent < 5_000_000, "answers pile up");
        }
        let expected = sent / frame(0x89, &[b'x'; 125]).len();
        while peer.pongs < expected {
            assert!(peer.read().await, "{:?}", (peer.pongs, expected, last_reason(&shared)));
        }
    });
}

#[test]
fn what_is_no_upgrade_is_refused_as_nats_server_does() {
    run(async {
        let shared = server("", "");
        let no = |from: &str, to: &str| request("").replace(from, to);
        for (request, status, stays_open) in [
            (no("Upgrade: websocket", "Upgrade: other"), "400 Bad Request", true),
            (no("keep-alive, Upgrade", "keep-alive"), "400 Bad Request", true),
            (no(KEY, ""), "400 Bad Request", true),
            (no("dGhlIHN", "dGhl"), "400 Bad Request", true),
            (no("Version: 13", "Version: 8"), "400 Bad Request", true),
            (no("GET / ", "GET /mqtt "), "404 Not Found", true),
            (no("GET / ", "POST / "), "405 Method Not Allowed", true),
            (no("HTTP/1.1", "HTTP/1.0").replace("Host: a:80\r\n", ""), "400 Bad Request", false),
            (no("Host: a:80\r\n", ""), "400 Bad Request: missing required Host header", false),
            ("what\r\n".to_owned(), "400 Bad Request", false),
            ("a b c\r\n\r\n".to_owned(), "400 Bad Request", false),
            (
                "GET / HTTP/2.0\r\n\r\n".to_owned(),
                "505 HTTP Version Not Supported: unsupported protocol version",
                false,
            ),
            (no("Host", &"X: y\r\n".repeat(200)), "431 Request Header Fields Too Large", false),
            (
                no("Host", &format!("X: {}\r\nHost", "y".repeat(70_000))),
                "431 Request Header Fields Too Large",
                false,
            ),
        ] {
            let mut peer = Peer::open(&shared);
            let head = peer.ask(&request).await;
            let line = head.split_once(' ').unwrap().1.lines().next().unwrap();
            assert_eq!(line, status);
            if stays_open {
                let length: usize = head.split("Content-Length: ").nth(1).unwrap().trim().parse().unwrap();
                let mut body = vec![0; length];
                peer.stream.read_exact(&mut body).await.unwrap();
                assert!(peer.ask(&super::tests::request("")).await.starts_with("HTTP/1.1 101 "));
            } else {
                let mut rest = Vec::new();
                peer.stream.read_to_end(&mut rest).await.unwrap();
                peer.task.await.unwrap();
            }
        }
    });
}

#[test]
fn bytes_before_the_answer_end_it() {
    run(async {
        let mut peer = Peer::open(&server("", ""));
        peer.bytes(format!("{}{CONNECT}", request("")).as_bytes()).await;
        let mut rest = Vec::new();
        peer.stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    });
}

#[test]
fn who_does_not_come_to_an_end_is_closed() {
    run(async {
        let shared = server("handshake_timeout: \"20ms\"", "");
        let peers: Vec<Peer> = (0..1000).map(|_| Peer::open(&shared)).collect();
        for mut peer in peers {
            // Some are closed before this reaches them.
            let _ = peer.stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await;
            let mut rest = Vec::new();
            peer.stream.read_to_end(&mut rest).await.unwrap();
            assert!(rest.is_empty());
            peer.task.await.unwrap();
        }
        assert_eq!(shared.client_count(), 0);
    });
}

#[test]
fn origins_are_compared_where_they_are_to_be() {
    run(async {
        let lists = "allowed_origins: [\"http://good.example\", \"https://other:8443\"]";
        for (block, origin, is_allowed) in [
            ("", "http://anywhere", true),
            ("same_origin: true", "http://A:80/", true),
            ("same_origin: true", "http://a", true),
            ("same_origin: true", "https://a:80", false),
            ("same_origin: true", "http://b", false),
            ("same_origin: true", "null", false),
            ("same_origin: true", "", true),
            (lists, "http://good.example:80", true),
            (lists, "HTTPS://OTHER:8443", true),
            (lists, "https://good.example", false),
            (lists, "http://good.example.evil", false),
        ] {
            let head = Peer::open(&server(block, "")).ask(&request(&format!("Origin: {origin}\r\n"))).await;
            let status = if is_allowed { "HTTP/1.1 101 " } else { "HTTP/1.1 403 Forbidden" };
            assert!(head.starts_with(status), "{block} {origin}: {head}");
        }
    });
}

#[test]
fn cookies_stand_for_what_connect_leaves_out() {
    run(async {
        let names = "user_cookie: u, pass_cookie: p, token_cookie: t";
        let users = "authorization { users: [{ user: a, password: b }, \
            { user: tcp, password: b, allowed_connection_types: [STANDARD] }, \
            { user: ws, password: b, allowed_connection_types: [WEBSOCKET] }] }";
        for (cookie, connect, is_in) in [
            ("u=a; p=b", "{}", true),
            ("u=a; p=c", "{}", false),
            ("u=x; p=b", "{\"user\":\"a\"}", true),
            ("u=ws; p=b", "{}", true),
            ("u=tcp; p=b", "{}", false),
            ("U=a; P=b", "{}", false),
        ] {
            let mut peer = Peer::upgraded(&server(names, users), &format!("Cookie: {cookie}\r\n")).await;
            peer.send(&format!("CONNECT {connect}\r\nPING\r\n")).await;
            if is_in {
                assert!(peer.until("PONG\r\n").await.ends_with("PONG\r\n"));
            } else {
                let (text, close) = peer.rest().await;
                assert!(text.ends_with("-ERR 'Authorization Violation'\r\n"), "{text}");
                assert_eq!(close.as_deref(), Some("1008 Authentication Failure"));
            }
        }
    });
}

#[test]
fn the_block_may_name_a_user_of_its_own() {
    run(async {
        for (block, rest, connect, is_in) in [
            ("authorization { user: w, pass: x }", "", "{\"user\":\"w\",\"pass\":\"x\"}", true),
            ("authorization { user: w, pass: x }", "", "{}", false),
            ("authorization { token: x }", "authorization { token: y }", "{\"auth_token\":\"x\"}", true),
            ("authorization { token: x }", "authorization { token: y }", "{\"auth_token\":\"y\"}", false),
            ("", "authorization { token: y }", "{\"auth_token\":\"y\"}", true),
            ("no_auth_user: a", "authorization { users: [{ user: a, password: b }] }", "{}", true),
            ("", "authorization { users: [{ user: a, password: b }] }", "{}", false),
        ] {
            let shared = server(block, rest);
            let mut peer = Peer::open(&shared);
            peer.ask(&request("X-Forwarded-For: 10.1.2.3\r\n")).await;
            let info = peer.until("\r\n").await;
            assert!(info.contains("\"auth_required\":true"), "{info}");
            let client = shared.clients().pop().unwrap();
            assert_eq!(client.label(), format!("10.1.2.3/pipe - wid:{}", client.id()));
            peer.send(&format!("CONNECT {connect}\r\nPING\r\n")).await;
            if is_in {
                peer.until("PONG\r\n").await;
            } else {
                assert_eq!(peer.rest().await.1.as_deref(), Some("1008 Authentication Failure"));
            }
        }
    });
}

#[test]
fn a_leaf_node_is_told_that_nobody_serves_it() {
    run(async {
        let path = request("").replace("GET / ", "GET /leafnode ");
        let mut peer = Peer::open(&server("", "leafnodes { port: -1 }"));
        assert!(peer.ask(&path).await.starts_with("HTTP/1.1 101 "));
        let (text, close) = peer.rest().await;
        let reason = "leaf node connections over WebSocket are not supported by JetKV yet";
        assert_eq!((text, close), (format!("-ERR '{reason}'\r\n"), Some(format!("1008 {reason}"))));
        let mut peer = Peer::open(&server("", ""));
        assert!(peer.ask(&path).await.starts_with("HTTP/1.1 101 "));
        assert_eq!(peer.rest().await, (String::new(), None));
    });
}

#[test]
fn upgrades_on_their_way_end_with_the_server() {
    run(async {
        let shared = server("", "");
        let mut peer = Peer::open(&shared);
        peer.bytes(b"GET / HTTP").await;
        tokio::task::yield_now().await;
        shared.enter(crate::state::Phase::Stopping);
        let mut rest = Vec::new();
        peer.stream.read_to_end(&mut rest).await.unwrap();
        peer.task.await.unwrap();
    });
}
