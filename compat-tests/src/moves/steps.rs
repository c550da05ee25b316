//! The steps that are compared.

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    /// A request of a connection that is always there.
    Ask {
        /// Where to.
        subject: &'static str,
        /// Header lines.
        headers: &'static str,
        /// The body.
        body: &'static str,
    },
    /// A connection comes, with these fields of CONNECT.
    Open {
        /// Its name in other steps.
        name: &'static str,
        /// Fields.
        fields: &'static str,
    },
    /// A connection comes and is refused.
    Refused {
        /// Fields of CONNECT.
        fields: &'static str,
    },
    /// A connection says something.
    Send {
        /// Which.
        name: &'static str,
        /// What.
        text: &'static str,
    },
    /// A connection publishes, with its inbox as the reply subject.
    Publish {
        /// Which.
        name: &'static str,
        /// Where to.
        subject: &'static str,
        /// Header lines.
        headers: &'static str,
        /// The body.
        body: &'static str,
    },
    /// The last message with a reply subject that is no acknowledgement's is answered.
    Answer {
        /// By whom.
        name: &'static str,
        /// With this.
        body: &'static str,
    },
    /// A receiver that does not read gets more than it may.
    Overflow,
    /// The configuration is another, and read again.
    Reload {
        /// What stands there from the beginning.
        from: &'static str,
        /// What stands there now.
        to: &'static str,
    },
    /// A connection asks for messages of a consumer, in its inbox.
    Pull {
        /// Stream and consumer, with a dot between them.
        consumer: &'static str,
        /// What it asks for.
        body: &'static str,
    },
    /// The last delivery is acknowledged, and the answer waited for.
    Acknowledge {
        /// With this.
        body: &'static str,
    },
    /// A connection goes.
    Close {
        /// Which.
        name: &'static str,
    },
}

const fn ask(subject: &'static str, body: &'static str) -> Step {
    Step::Ask { subject, headers: "", body }
}

const fn put(subject: &'static str, headers: &'static str, body: &'static str) -> Step {
    Step::Ask { subject, headers, body }
}

const fn send(name: &'static str, text: &'static str) -> Step {
    Step::Send { name, text }
}

const fn publish(name: &'static str, subject: &'static str, body: &'static str) -> Step {
    Step::Publish { name, subject, headers: "", body }
}

const fn pull(consumer: &'static str, body: &'static str) -> Step {
    Step::Pull { consumer, body }
}

/// Of half the room of the account that has little.
const FILLER: &str = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\
    0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\
    0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\
    0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

/// All steps, each with a title. They build on each other.
pub const STEPS: &[(&str, Step)] = &[
    // Connections, and what they say.
    ("a client comes", Step::Open { name: "c", fields: r#""name":"c","user":"a","pass":"p""# }),
    (
        "a client of an account without any comes",
        Step::Open { name: "b", fields: r#""name":"b","user":"b","pass":"p""# },
    ),
    ("a subscription", send("c", "SUB foo 1\r\n")),
    ("a member of a queue group", send("c", "SUB foo.* q 2\r\n")),
    ("a message to a subscriber", send("c", "PUB foo 2\r\nhi\r\n")),
    ("a message to nobody", send("c", "PUB nobody 2\r\nhi\r\n")),
    ("a request to nobody", send("c", "PUB nobody foo 2\r\nhi\r\n")),
    ("the end of a subscription after a message", send("c", "UNSUB 2 1\r\nPUB foo.1 2\r\nhi\r\n")),
    ("the end of a subscription", send("c", "UNSUB 1\r\n")),
    ("a message that may not be", send("b", "PUB not 2\r\nhi\r\n")),
    ("a subscription that may not be", send("b", "SUB not 1\r\n")),
    ("a client without the right password", Step::Refused { fields: r#""user":"a","pass":"x""# }),
    (
        "the only client of an account",
        Step::Open { name: "l", fields: r#""name":"l","user":"l","pass":"p""# },
    ),
    ("a client too many for its account", Step::Refused { fields: r#""user":"l","pass":"p""# }),
    ("the last subscription of an account", send("l", "SUB a 1\r\n")),
    ("a subscription too many for its account", send("l", "SUB b 2\r\n")),
    ("the only client goes", Step::Close { name: "l" }),
    ("a payload that is too large", send("b", "PUB may 10001\r\n")),
    ("the user asks who it is", ask("$SYS.REQ.USER.INFO", "")),
    ("the user asks for numbers", ask("$SYS.REQ.ACCOUNT.PING.STATZ", "")),
    ("a receiver that is too slow", Step::Overflow),
    // Imports and exports.
    ("a client that serves others", Step::Open { name: "x", fields: r#""name":"x","user":"x","pass":"p""# }),
    ("a client that is served", Step::Open { name: "y", fields: r#""name":"y","user":"y","pass":"p""# }),
    ("a service", send("x", "SUB serve 1\r\n")),
    ("the inbox of a client that is served", send("y", "SUB in 1\r\n")),
    ("a request to another account", publish("y", "serve", "question")),
    ("an answer to another account", Step::Answer { name: "x", body: "answer" }),
    ("interest in news of another account", send("y", "SUB news 2\r\n")),
    ("news for another account", send("x", "PUB news 2\r\nhi\r\n")),
    ("the service ends", send("x", "UNSUB 1\r\n")),
    ("a request to another account, where nobody serves", publish("y", "serve", "question")),
    ("the client that is served goes", Step::Close { name: "y" }),
    ("the client that serves goes", Step::Close { name: "x" }),
    // An account with little room.
    ("a client with little room", Step::Open { name: "j", fields: r#""name":"j","user":"j","pass":"p""# }),
    ("its inbox", send("j", "SUB in 1\r\n")),
    (
        "its stream",
        publish("j", "$JS.API.STREAM.CREATE.JF", r#"{"name":"JF","subjects":["jf"],"storage":"file"}"#),
    ),
    (
        "one stream more than it may have",
        publish("j", "$JS.API.STREAM.CREATE.JM", r#"{"name":"JM","subjects":["jm"],"storage":"memory"}"#),
    ),
    (
        "its consumer",
        publish(
            "j",
            "$JS.API.CONSUMER.CREATE.JF.C",
            r#"{"stream_name":"JF","config":{"name":"C","durable_name":"C","ack_policy":"explicit","ack_wait":3600000000000}}"#,
        ),
    ),
    (
        "one consumer more than it may have",
        publish(
            "j",
            "$JS.API.CONSUMER.CREATE.JF.D",
            r#"{"stream_name":"JF","config":{"name":"D","durable_name":"D","ack_policy":"explicit","ack_wait":3600000000000}}"#,
        ),
    ),
    ("a put that fits", publish("j", "jf", FILLER)),
    ("a put up to its room", publish("j", "jf", FILLER)),
    ("a put over its room", publish("j", "jf", FILLER)),
    (
        "a stream that reserves more than there is",
        publish(
            "j",
            "$JS.API.STREAM.UPDATE.JF",
            r#"{"name":"JF","subjects":["jf"],"storage":"file","max_bytes":2000}"#,
        ),
    ),
    ("its numbers", publish("j", "$JS.API.INFO", "")),
    ("its stream is purged", publish("j", "$JS.API.STREAM.PURGE.JF", "")),
    ("its stream is deleted", publish("j", "$JS.API.STREAM.DELETE.JF", "")),
    ("the client with little room goes", Step::Close { name: "j" }),
    // Streams.
    (
        "a stream",
        ask(
            "$JS.API.STREAM.CREATE.S",
            r#"{"name":"S","subjects":["s.*"],"storage":"file","allow_direct":true}"#,
        ),
    ),
    (
        "the stream again",
        ask(
            "$JS.API.STREAM.CREATE.S",
            r#"{"name":"S","subjects":["s.*"],"storage":"file","allow_direct":true}"#,
        ),
    ),
    (
        "a stream with every option",
        ask(
            "$JS.API.STREAM.CREATE.M",
            r#"{"name":"M","description":"d","subjects":["m.>"],"storage":"memory","retention":"limits","max_consumers":3,"max_msgs":4,"max_bytes":4000,"max_age":3600000000000,"max_msgs_per_subject":2,"max_msg_size":100,"discard":"new","discard_new_per_subject":true,"duplicate_window":60000000000,"compression":"none","allow_rollup_hdrs":true,"allow_direct":true,"allow_msg_ttl":true,"deny_delete":false,"deny_purge":false,"first_seq":5,"consumer_limits":{"inactive_threshold":60000000000,"max_ack_pending":5},"metadata":{"k":"v"},"republish":{"src":"m.r.>","dest":"re.>"}}"#,
        ),
    ),
    (
        "a stream that retains for interest",
        ask("$JS.API.STREAM.CREATE.I", r#"{"name":"I","subjects":["i"],"retention":"interest"}"#),
    ),
    (
        "a stream that is a queue of work",
        ask("$JS.API.STREAM.CREATE.W", r#"{"name":"W","subjects":["w"],"retention":"workqueue"}"#),
    ),
    (
        "a stream of counters",
        ask(
            "$JS.API.STREAM.CREATE.C",
            r#"{"name":"C","subjects":["c.>"],"allow_msg_counter":true,"allow_direct":true,"storage":"file"}"#,
        ),
    ),
    (
        "a stream with batches and schedules",
        ask(
            "$JS.API.STREAM.CREATE.T",
            r#"{"name":"T","subjects":["t.>"],"allow_atomic":true,"allow_msg_schedules":true,"allow_msg_ttl":true,"allow_rollup_hdrs":true,"subject_delete_marker_ttl":3600000000000,"subject_transform":{"src":"t.in.*","dest":"t.out.{{wildcard(1)}}"},"persist_mode":"default","compression":"s2","max_age":7200000000000}"#,
        ),
    ),
    ("a count", put("c.1", "Nats-Incr: 5\r\n", "")),
    ("another count", put("c.1", "Nats-Incr: -2\r\n", "")),
    ("no count", put("c.1", "", "")),
    ("a put that is transformed", put("t.in.1", "", "x")),
    (
        "a schedule",
        put("t.s", "Nats-Schedule: @at 2200-01-01T00:00:00Z\r\nNats-Schedule-Target: t.later\r\n", "x"),
    ),
    ("the first of a batch", put("t.b", "Nats-Batch-Id: b\r\nNats-Batch-Sequence: 1\r\n", "x")),
    (
        "the last of a batch",
        put("t.b", "Nats-Batch-Id: b\r\nNats-Batch-Sequence: 2\r\nNats-Batch-Commit: 1\r\n", "x"),
    ),
    ("a stream too many", ask("$JS.API.STREAM.CREATE.X", r#"{"name":"X","subjects":["x"]}"#)),
    ("a stream that is not there", ask("$JS.API.STREAM.INFO.NONE", "")),
    (
        "a stream with a subject that is taken",
        ask("$JS.API.STREAM.UPDATE.I", r#"{"name":"I","subjects":["s.1"],"retention":"interest"}"#),
    ),
    ("the numbers of JetStream", ask("$JS.API.INFO", "")),
    ("a put", put("s.1", "", "one")),
    ("a put with an id", put("s.1", "Nats-Msg-Id: x\r\n", "two")),
    ("the same put again", put("s.1", "Nats-Msg-Id: x\r\n", "two")),
    ("a put that expects something else", put("s.1", "Nats-Expected-Last-Sequence: 9\r\n", "no")),
    ("a put that expects what is there", put("s.1", "Nats-Expected-Last-Subject-Sequence: 2\r\n", "three")),
    ("a put without an answer", send("c", "PUB s.2 1\r\nx\r\n")),
    (
        "a put that is too large",
        put(
            "m.1",
            "",
            "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789x",
        ),
    ),
    ("a put with a time to live", put("m.1", "Nats-TTL: 1h\r\n", "a")),
    ("a second put of the subject", put("m.1", "", "b")),
    ("a put over the limit of its subject", put("m.1", "", "c")),
    ("a put that is republished", put("m.r.1", "", "r")),
    ("a put up to the limit of the stream", put("m.2", "", "d")),
    ("a put over the limit of the stream", put("m.3", "", "e")),
    ("a rollup", put("m.1", "Nats-Rollup: sub\r\n", "f")),
    ("a put that nobody is interested in", put("i", "", "g")),
    ("a direct get", ask("$JS.API.DIRECT.GET.S.s.1", "")),
    ("a direct get by sequence", ask("$JS.API.DIRECT.GET.S", r#"{"seq":1}"#)),
    ("a direct get of what is not there", ask("$JS.API.DIRECT.GET.S.s.9", "")),
    ("a get", ask("$JS.API.STREAM.MSG.GET.S", r#"{"seq":1}"#)),
    ("a get of what is not there", ask("$JS.API.STREAM.MSG.GET.S", r#"{"seq":99}"#)),
    // Consumers.
    ("an inbox", send("c", "SUB in 10\r\nSUB push 11\r\n")),
    (
        "a pull consumer",
        ask(
            "$JS.API.CONSUMER.CREATE.S.P",
            r#"{"stream_name":"S","config":{"name":"P","durable_name":"P","ack_policy":"explicit","ack_wait":3600000000000}}"#,
        ),
    ),
    (
        "a consumer with every option",
        ask(
            "$JS.API.CONSUMER.CREATE.S.O",
            r#"{"stream_name":"S","config":{"name":"O","durable_name":"O","description":"d","deliver_policy":"by_start_sequence","opt_start_seq":2,"ack_policy":"explicit","ack_wait":3600000000000,"max_deliver":3,"backoff":[3600000000000,7200000000000],"filter_subjects":["s.1","s.2"],"replay_policy":"instant","sample_freq":"100%","max_waiting":2,"max_ack_pending":1,"max_batch":5,"max_expires":3600000000000,"max_bytes":1000,"headers_only":true,"inactive_threshold":3600000000000,"metadata":{"k":"v"}}}"#,
        ),
    ),
    (
        "a push consumer with flow control",
        ask(
            "$JS.API.CONSUMER.CREATE.S.F",
            r#"{"stream_name":"S","config":{"name":"F","deliver_subject":"push","ack_policy":"none","deliver_policy":"new","flow_control":true,"idle_heartbeat":3600000000000,"inactive_threshold":3600000000000,"rate_limit_bps":100000,"mem_storage":true}}"#,
        ),
    ),
    (
        "a consumer that waits for a receiver",
        ask(
            "$JS.API.CONSUMER.CREATE.S.N",
            r#"{"stream_name":"S","config":{"name":"N","deliver_subject":"none","deliver_group":"g","ack_policy":"all","ack_wait":3600000000000,"deliver_policy":"last","inactive_threshold":3600000000000}}"#,
        ),
    ),
    (
        "a consumer of the queue of work",
        ask(
            "$JS.API.CONSUMER.CREATE.W.Q",
            r#"{"stream_name":"W","config":{"name":"Q","durable_name":"Q","ack_policy":"explicit","ack_wait":3600000000000}}"#,
        ),
    ),
    (
        "a consumer that shares the queue",
        ask(
            "$JS.API.CONSUMER.CREATE.W.R",
            r#"{"stream_name":"W","config":{"name":"R","durable_name":"R","ack_policy":"explicit","ack_wait":3600000000000}}"#,
        ),
    ),
    (
        "a consumer for interest",
        ask(
            "$JS.API.CONSUMER.CREATE.I.J",
            r#"{"stream_name":"I","config":{"name":"J","durable_name":"J","ack_policy":"explicit","ack_wait":3600000000000}}"#,
        ),
    ),
    ("a consumer that is not there", ask("$JS.API.CONSUMER.INFO.S.NONE", "")),
    ("a put that is pushed", put("s.1", "", "push")),
    ("a put that is of interest", put("i", "", "h")),
    ("a put of work", put("w", "", "w")),
    ("a pull", pull("S.P", "1")),
    ("a negative acknowledgement", Step::Acknowledge { body: "-NAK {\"delay\":3600000000000}" }),
    ("another pull", pull("S.P", "1")),
    ("work in progress", Step::Acknowledge { body: "+WPI" }),
    ("an acknowledgement", Step::Acknowledge { body: "+ACK" }),
    ("the same acknowledgement again", Step::Acknowledge { body: "+ACK" }),
    ("a third pull", pull("S.P", "1")),
    ("a termination", Step::Acknowledge { body: "+TERM no" }),
    ("a pull that waits", pull("S.O", "{\"batch\":5,\"expires\":30000000000}")),
    ("an acknowledgement that is sampled", Step::Acknowledge { body: "+ACK" }),
    ("a pull that does not wait", pull("I.J", "{\"batch\":5,\"no_wait\":true}")),
    ("the acknowledgement of what was of interest", Step::Acknowledge { body: "+ACK" }),
    ("a pull of work", pull("W.Q", "1")),
    ("the end of the work", Step::Acknowledge { body: "+ACK" }),
    ("a pull that asks for too much", pull("S.O", "99")),
    ("a pull from a consumer that pushes", pull("S.F", "1")),
    ("a pull for the next", pull("S.P", "1")),
    ("an acknowledgement that asks for the next", send("c", "PUB $JS.ACK.S.P.1.4.4.1.0 4\r\n+ACK\r\n")),
    ("a pause", ask("$JS.API.CONSUMER.PAUSE.S.P", r#"{"pause_until":"2200-01-01T00:00:00Z"}"#)),
    ("the end of a pause", ask("$JS.API.CONSUMER.PAUSE.S.P", "{}")),
    ("a reset", ask("$JS.API.CONSUMER.RESET.S.P", r#"{"seq":1}"#)),
    (
        "an update of a consumer",
        ask(
            "$JS.API.CONSUMER.CREATE.S.P",
            r#"{"stream_name":"S","action":"update","config":{"name":"P","durable_name":"P","ack_policy":"explicit","ack_wait":3600000000000,"max_ack_pending":7,"description":"new"}}"#,
        ),
    ),
    ("a receiver for the one that waited", send("c", "SUB none g 12\r\n")),
    ("the receiver goes", send("c", "UNSUB 12\r\n")),
    ("the consumer that pushes loses its receiver", send("c", "UNSUB 11\r\n")),
    (
        "a consumer with a pinned group",
        ask(
            "$JS.API.CONSUMER.CREATE.S.G",
            r#"{"stream_name":"S","config":{"name":"G","durable_name":"G","ack_policy":"explicit","ack_wait":3600000000000,"priority_policy":"pinned_client","priority_groups":["g"],"priority_timeout":3600000000000}}"#,
        ),
    ),
    ("a pull that is pinned", pull("S.G", r#"{"batch":1,"group":"g"}"#)),
    ("the end of the pin", ask("$JS.API.CONSUMER.UNPIN.S.G", r#"{"group":"g"}"#)),
    (
        "a consumer that goes to its last delivery",
        ask(
            "$JS.API.CONSUMER.CREATE.S.D",
            r#"{"stream_name":"S","config":{"name":"D","durable_name":"D","ack_policy":"explicit","ack_wait":3600000000000,"max_deliver":1}}"#,
        ),
    ),
    ("its only delivery", pull("S.D", "1")),
    ("it is not acknowledged", Step::Acknowledge { body: "-NAK" }),
    (
        "a consumer too many",
        ask(
            "$JS.API.CONSUMER.CREATE.S.Z",
            r#"{"stream_name":"S","config":{"name":"Z","durable_name":"Z","ack_policy":"explicit","ack_wait":3600000000000}}"#,
        ),
    ),
    // Reloads.
    ("a reload of a limit", Step::Reload { from: "max_payload: 10000", to: "max_payload: 11000" }),
    ("a reload of an account", Step::Reload { from: "max_conn: 1,", to: "max_conn: 2," }),
    ("a reload of nothing", Step::Reload { from: "max_conn: 1,", to: "max_conn: 2," }),
    ("a reload that fails", Step::Reload { from: "server_name: moves", to: "server_name: other" }),
    // What goes.
    ("a message is deleted", ask("$JS.API.STREAM.MSG.DELETE.S", r#"{"seq":2}"#)),
    ("a message that is not there is deleted", ask("$JS.API.STREAM.MSG.DELETE.S", r#"{"seq":2}"#)),
    ("a purge of a subject", ask("$JS.API.STREAM.PURGE.S", r#"{"filter":"s.2"}"#)),
    ("a purge", ask("$JS.API.STREAM.PURGE.S", "")),
    (
        "an update of a stream",
        ask(
            "$JS.API.STREAM.UPDATE.S",
            r#"{"name":"S","subjects":["s.*","t"],"storage":"file","allow_direct":false,"max_msgs":10,"description":"d"}"#,
        ),
    ),
    (
        "an update that may not be",
        ask("$JS.API.STREAM.UPDATE.S", r#"{"name":"S","subjects":["s.*"],"storage":"memory"}"#),
    ),
    (
        "a seal",
        ask(
            "$JS.API.STREAM.UPDATE.W",
            r#"{"name":"W","subjects":["w"],"retention":"workqueue","sealed":true}"#,
        ),
    ),
    ("a put after the seal", put("w", "", "no")),
    ("a consumer is deleted", ask("$JS.API.CONSUMER.DELETE.S.P", "")),
    ("a consumer that is not there is deleted", ask("$JS.API.CONSUMER.DELETE.S.P", "")),
    ("a consumer with a waiting pull is deleted", ask("$JS.API.CONSUMER.DELETE.S.O", "")),
    ("a stream is deleted", ask("$JS.API.STREAM.DELETE.S", "")),
    ("a stream that is not there is deleted", ask("$JS.API.STREAM.DELETE.S", "")),
    ("a request that makes no sense", ask("$JS.API.STREAM.CREATE.X", "{")),
    ("a client goes", Step::Close { name: "c" }),
];
