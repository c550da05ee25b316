use super::*;

const CONNECTED: Limits = Limits {
    max_control_line: DEFAULT_MAX_CONTROL_LINE,
    max_payload: DEFAULT_MAX_PAYLOAD,
    headers: true,
    connect_first: false,
};

fn parse(bytes: &[u8]) -> Result<Parsed<'_>, ProtocolError> {
    Parser::new(CONNECTED).parse(bytes)
}

fn sub_line(argument_bytes: usize, end: &str) -> Vec<u8> {
    format!("SUB {} 1{end}", "a".repeat(argument_bytes - 2)).into_bytes()
}

#[test]
fn a_publish_points_into_the_buffer() {
    let bytes = b"HPUB foo bar 12 17\r\nNATS/1.0\r\n\r\nhello\r\nrest";
    let publish =
        Publish { subject: b"foo", reply: Some(b"bar"), headers: b"NATS/1.0\r\n\r\n", payload: b"hello" };
    assert_eq!(publish.size_bytes(), 17);
    let parsed = parse(bytes).unwrap();
    assert_eq!(parsed, Step::Op { op: ClientOp::Pub(publish), consumed: 39 });
    let Step::Op { op: ClientOp::Pub(publish), .. } = parsed else { panic!("no publish") };
    assert!(bytes.as_ptr_range().contains(&publish.payload.as_ptr()));
}

#[test]
fn the_limit_is_for_the_arguments_alone() {
    assert!(matches!(parse(&sub_line(4096, "\r\n")), Ok(Step::Op { .. })));
    assert_eq!(parse(&sub_line(4097, "\r\n")), Err(ProtocolError::ControlLineTooLong));
    assert_eq!(parse(&sub_line(4096, "")), Ok(Step::Incomplete { need: 4101 }));
    assert_eq!(parse(&sub_line(4096, "\r")), Ok(Step::Incomplete { need: 4102 }));
    assert_eq!(parse(&sub_line(4097, "")), Err(ProtocolError::ControlLineTooLong));
    let unlimited = [b"INFO ".as_slice(), &[b'a'; 100_000]].concat();
    assert_eq!(parse(&unlimited), Err(ProtocolError::ControlLineTooLong));
}

#[test]
fn filler_is_bounded_too() {
    let filler = |head: &str, count: usize| [head.as_bytes(), " ".repeat(count).as_bytes()].concat();
    for head in ["PING", "+OK", "PUB", "CONNECT"] {
        assert!(matches!(parse(&filler(head, 4000)), Ok(Step::Incomplete { .. })), "{head}");
        assert_eq!(parse(&filler(head, 4200)), Err(ProtocolError::ControlLineTooLong), "{head}");
    }
}

#[test]
fn the_largest_message_passes_and_one_byte_more_is_refused_at_its_line() {
    let bytes = [b"PUB foo 1048576\r\n".as_slice(), &vec![b'x'; 1_048_576], b"\r\n"].concat();
    assert!(matches!(parse(&bytes), Ok(Step::Op { consumed, .. }) if consumed == bytes.len()));
    let refused = ProtocolError::PayloadTooLarge { size_bytes: 1_048_577, max_bytes: 1_048_576 };
    assert_eq!(parse(b"PUB foo 1048577\r\n"), Err(refused.clone()));
    assert_eq!(parse(b"HPUB foo 2 1048577\r\n"), Err(refused));
}

#[test]
fn what_is_missing_of_a_message_is_known_from_its_line() {
    let bytes = b"PUB foo 5\r\nhello\r\n";
    let mut parser = Parser::new(CONNECTED);
    for length in 0..11 {
        assert_eq!(parser.parse(&bytes[..length]), Ok(Step::Incomplete { need: length + 1 }));
    }
    for length in 11..17 {
        assert_eq!(parser.parse(&bytes[..length]), Ok(Step::Incomplete { need: 17 }));
    }
    assert_eq!(parser.parse(&bytes[..17]), Ok(Step::Incomplete { need: 18 }));
    assert!(matches!(parser.parse(bytes), Ok(Step::Op { consumed: 18, .. })));
    assert_eq!(parser.parse(b""), Ok(Step::Incomplete { need: 1 }));
    // One byte tells that it does not end as it should.
    assert_eq!(Parser::new(CONNECTED).parse(b"PUB foo 5\r\nhellox"), Err(ProtocolError::UnknownOperation));
}

#[test]
fn a_wrong_byte_is_refused_as_soon_as_it_is_there() {
    for bytes in [b"X".as_slice(), b"PUX", b"SUBx", b"\r", b" ", b"PUB a 1\r\nxy", b"PUB a 1\r\nx\ry"] {
        assert_eq!(parse(bytes), Err(ProtocolError::UnknownOperation), "{}", bytes.escape_ascii());
        let before = bytes.len() - 1;
        assert!(matches!(parse(&bytes[..before]), Ok(Step::Incomplete { .. })), "{}", bytes.escape_ascii());
    }
}

#[test]
fn headers_need_a_connect_that_asks_for_them() {
    let mut parser = Parser::default();
    assert_eq!(parser.parse(b"HPUB a 0 0\r\n"), Err(ProtocolError::HeadersNotSupported));
    let mut parser = Parser::default();
    parser.set_headers(true);
    assert!(matches!(parser.parse(b"HPUB a 0 0\r\n\r\n"), Ok(Step::Op { .. })));
}

#[test]
fn connect_comes_first_where_it_must() {
    let mut parser = Parser::new(Limits { connect_first: true, ..Limits::default() });
    assert_eq!(parser.parse(b"P"), Err(ProtocolError::ConnectExpected));
    let mut parser = Parser::new(Limits { connect_first: true, ..Limits::default() });
    assert!(matches!(parser.parse(b"connect {}\r\n"), Ok(Step::Op { .. })));
    assert!(matches!(parser.parse(b"PING\r\n"), Ok(Step::Op { op: ClientOp::Ping, .. })));
    assert!(!parser.limits().connect_first);
}

#[test]
fn what_a_server_sends_is_read() {
    let bytes = b"INFO {} \r\nHMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n-ERR 'Stale Connection'\r\n";
    let mut parser = ServerParser::new();
    let Ok(Step::Op { op, consumed }) = parser.parse(bytes) else { panic!("no INFO") };
    assert_eq!(op, ServerOp::Info(b"{}"));
    let rest = &bytes[consumed..];
    let Ok(Step::Op { op, consumed }) = parser.parse(rest) else { panic!("no HMSG") };
    let (headers, payload) = (b"NATS/1.0\r\n\r\n".as_slice(), b"hi".as_slice());
    assert_eq!(op, ServerOp::Msg { subject: b"a", sid: b"1", reply: Some(b"r"), headers, payload });
    let Ok(Step::Op { op, .. }) = parser.parse(&rest[consumed..]) else { panic!("no -ERR") };
    assert_eq!(op, ServerOp::Err(b"Stale Connection"));
    assert!(ServerParser::new().parse(b"HMSG a 1 3 2\r\n").is_err());
    assert!(ServerParser::new().parse(b"PUB a 0\r\n\r\n").is_err());
}
