//! Many connections on several threads at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Wire, options, start};
use jetkv_testing::eventually;

const PUBLISHERS: usize = 4;
const SUBSCRIBERS: usize = 4;
const MESSAGES: usize = 5000;

#[test]
fn every_subscriber_gets_every_message_of_every_publisher_in_order() {
    let server = start(options());
    let mut subscribers: Vec<Wire> = (0..SUBSCRIBERS)
        .map(|_| {
            let mut wire = Wire::client(&server);
            wire.send("SUB p.* 1\r\nPING\r\n");
            wire.expect("PONG\r\n");
            wire
        })
        .collect();
    std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let mut wire = Wire::client(&server);
            scope.spawn(move || {
                for batch in (0..MESSAGES).collect::<Vec<_>>().chunks(37) {
                    let text: String =
                        batch.iter().map(|at| format!("PUB p.{publisher} 6\r\n{at:06}\r\n")).collect();
                    wire.send(&text);
                }
                wire.expect_nothing();
            });
        }
        for wire in &mut subscribers {
            scope.spawn(move || {
                let mut next = [0; PUBLISHERS];
                for _ in 0..PUBLISHERS * MESSAGES {
                    let line = wire.line();
                    let from: usize = line.strip_prefix("MSG p.").unwrap()[..1].parse().unwrap();
                    assert_eq!(wire.line(), format!("{:06}", next[from]));
                    next[from] += 1;
                }
            });
        }
    });
    let (sent, delivered) = ((PUBLISHERS * MESSAGES) as u64, (PUBLISHERS * MESSAGES * SUBSCRIBERS) as u64);
    // What has arrived may not have been counted yet.
    eventually("all is counted", || {
        let counts = server.monitor().counts().traffic;
        (counts.in_msgs, counts.out_msgs, counts.out_bytes) == (sent, delivered, delivered * 6)
    });
}

#[test]
fn a_queue_group_gets_each_message_once_while_members_come_and_go() {
    let server = start(options());
    let subscriptions = || server.monitor().counts().subscriptions;
    let own = subscriptions();
    let mut steady = Wire::client(&server);
    steady.send("SUB jobs q 1\r\nPING\r\n");
    steady.expect("PONG\r\n");
    let mut publisher = Wire::client(&server);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100 {
                let mut guest = Wire::client(&server);
                guest.send("SUB other q 1\r\nSUB jobs.other q 2\r\nUNSUB 1\r\nPING\r\n");
                guest.expect("PONG\r\n");
            }
        });
        scope.spawn(|| {
            for at in 0..2000 {
                publisher.send(&format!("PUB jobs 4\r\n{at:04}\r\n"));
            }
        });
        for at in 0..2000 {
            steady.expect(&format!("MSG jobs 1 4\r\n{at:04}\r\n"));
        }
    });
    eventually("the guests are gone", || subscriptions() == own + 1);
}
