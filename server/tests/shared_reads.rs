//! A read that is worth very many deliveries is handled in several turns.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Wire, options, start};

const RECEIVERS: usize = 300;
const MESSAGES: usize = 300;

#[test]
fn a_read_for_very_many_receivers_is_handled_whole_and_in_order() {
    let server = start(options());
    let mut receiver = Wire::client(&server);
    // Numbers of four digits, so that all deliveries are of one length.
    for sid in 1000..1000 + RECEIVERS {
        receiver.send(&format!("SUB a {sid}\r\n"));
    }
    receiver.send("PING\r\n");
    receiver.expect("PONG\r\n");
    let mut publisher = Wire::client(&server);
    let burst: String = (0..MESSAGES).map(|number| format!("PUB a 4\r\n{number:04}\r\n")).collect();
    publisher.send(&format!("{burst}PING\r\n"));
    let delivery = "MSG a 1000 4\r\n0000\r\n".len();
    let got = receiver.take(delivery * RECEIVERS * MESSAGES);
    for (at, one) in got.chunks(delivery).enumerate() {
        let number = format!("4\r\n{:04}\r\n", at / RECEIVERS);
        assert!(one.ends_with(number.as_bytes()), "{at}: {}", String::from_utf8_lossy(one));
    }
    publisher.expect("PONG\r\n");
}
