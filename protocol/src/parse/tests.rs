use super::*;

fn parse(bytes: &[u8]) -> Result<Parsed<'_>, ProtocolError> {
    Parser::new(Limits { headers: true, ..Limits::default() }).parse(bytes)
}

#[test]
fn a_publish_is_read() {
    let bytes = b"PUB foo bar 5\r\nhello\r\nrest";
    let op = ClientOp::Pub(Publish { subject: b"foo", reply: Some(b"bar"), headers: b"", payload: b"hello" });
    assert_eq!(parse(bytes), Ok(Step::Op { op, consumed: 22 }));
}
