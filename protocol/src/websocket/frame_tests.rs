//! Frames as clients send them, whole and in pieces, and as nobody may.

use super::*;

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame_header(&mut out, first, payload.len());
    let mask = [1, 200, 3, 77];
    out[1] |= MASK_BIT;
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// What a reader says of bytes that come in pieces of `step`: data, and other pieces in words.
fn read_with(reader: &mut FrameReader, bytes: &[u8], step: usize) -> (Vec<u8>, Vec<String>) {
    let (mut data, mut others) = (Vec::new(), Vec::new());
    for piece in bytes.to_vec().chunks_mut(step) {
        let mut input = piece;
        loop {
            match reader.next(&mut input) {
                Ok(Some(Piece::Data { bytes, ends, .. })) => {
                    data.extend_from_slice(bytes);
                    if ends {
                        data.push(b'|');
                    }
                }
                Ok(Some(Piece::Ping(payload))) => others.push(format!("ping {}", payload.escape_ascii())),
                Ok(Some(Piece::Pong)) => others.push("pong".to_owned()),
                Ok(Some(Piece::Close(answer))) => others.push(format!("close {}", answer.escape_ascii())),
                Ok(None) => break,
                Err(error) => {
                    others.push(error.to_string());
                    return (data, others);
                }
            }
        }
    }
    (data, others)
}

fn read(bytes: &[u8]) -> (Vec<u8>, Vec<String>) {
    read_with(&mut FrameReader::new(true, true), bytes, bytes.len().max(1))
}

#[test]
fn messages_come_out_however_they_are_cut() {
    let long = vec![b'x'; 70_000];
    let sent = [
        frame(FINAL_BIT | BINARY, b"one"),
        frame(BINARY, b"t"),
        frame(FINAL_BIT | PING, b"hi"),
        frame(CONTINUATION, &[b'y'; 300]),
        frame(FINAL_BIT | PONG, b""),
        frame(FINAL_BIT | CONTINUATION, b""),
        frame(FINAL_BIT | TEXT, b""),
        frame(FINAL_BIT | TEXT, &long),
    ]
    .concat();
    let expected = [b"one|t".as_slice(), &[b'y'; 300], b"||", &long, b"|"].concat();
    for step in [1, 2, 3, 7, 13, 1000, sent.len()] {
        let (data, others) = read_with(&mut FrameReader::new(true, true), &sent, step);
        assert!(data == expected, "{step}");
        assert_eq!(others, ["ping hi", "pong"], "{step}");
    }
}

#[test]
fn what_the_server_sends_is_read_back() {
    for size in [0, 1, 125, 126, 4096, 65_535, 65_536, 200_000] {
        for frame_bytes_max in [None, Some(4096)] {
            let bytes = vec![7; size];
            let mut sent = Vec::new();
            Framing { frame_bytes_max, ..Framing::default() }.plain(&mut sent, &bytes);
            control_frame::close(&mut sent, &[3, 232]);
            let (mut data, others) = read_with(&mut FrameReader::new(false, false), &sent, 999);
            data.retain(|byte| *byte != b'|');
            assert!(data == bytes, "{size}");
            assert_eq!(others, ["close \\x03\\xe8"]);
        }
    }
}

#[test]
fn only_the_first_frame_of_a_deflated_message_says_so() {
    let framing = Framing { frame_bytes_max: Some(10), deflate: true, whole_deflated: false };
    let mut sent = Vec::new();
    framing.deflated(&mut sent, &[5; 25]);
    assert_eq!([sent[0], sent[12], sent[24]], [DEFLATED_BIT | BINARY, 0, FINAL_BIT]);
    assert_eq!([sent[1], sent[13], sent[25]], [10, 10, 5]);
    let mut whole = Vec::new();
    Framing { whole_deflated: true, ..framing }.deflated(&mut whole, &[5; 25]);
    assert_eq!(whole[..2], [FINAL_BIT | DEFLATED_BIT | BINARY, 25]);
}

#[test]
fn what_is_no_frame_is_refused_with_its_reason() {
    let long = [0; 126];
    for (bytes, reason) in [
        (vec![0xa2], "RSV2 and RSV3 must be clear"),
        (vec![0x82, 0x01], "mask bit missing"),
        (vec![0x83, 0x80], "unknown opcode 3"),
        (vec![0x8b, 0x80], "unknown opcode 11"),
        (frame(FINAL_BIT | CONTINUATION, b"a"), "invalid continuation frame"),
        (vec![0x09, 0x80], "control frame does not have final bit set"),
        (vec![0xc9, 0x80], "control frame must not be compressed"),
        (frame(FINAL_BIT | PING, &long), "control frame length bigger than maximum allowed of 125 bytes"),
        (
            [frame(BINARY, b"a"), frame(FINAL_BIT | BINARY, b"b")].concat(),
            "new message started before final frame for previous message was received",
        ),
        ([frame(BINARY, b"a"), frame(FINAL_BIT | DEFLATED_BIT, b"b")].concat(), "invalid continuation frame"),
        (vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], "invalid 64-bit payload length"),
        (frame(FINAL_BIT | CLOSE, b"1"), "close frame payload cannot be 1 byte"),
        (frame(FINAL_BIT | CLOSE, &[3, 237]), "invalid close status code 1005"),
    ] {
        let (_, others) = read(&bytes);
        assert_eq!(others, [reason], "{}", bytes.escape_ascii());
        let (_, others) = read_with(&mut FrameReader::new(true, true), &bytes, 1);
        assert_eq!(others, [reason], "{}", bytes.escape_ascii());
    }
    let deflated = frame(FINAL_BIT | DEFLATED_BIT | BINARY, b"a");
    let (_, others) = read_with(&mut FrameReader::new(true, false), &deflated, 99);
    assert_eq!(others, ["compressed frame received without negotiated permessage-deflate"]);
}

#[test]
fn a_length_that_never_comes_holds_no_memory() {
    let mut reader = FrameReader::new(true, true);
    let header = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    let (data, others) = read_with(&mut reader, &[header.as_slice(), b"abc"].concat(), 5);
    assert_eq!((data.as_slice(), others.len()), (b"abc".as_slice(), 0));
    assert_eq!(reader.control.capacity(), 0);
}
