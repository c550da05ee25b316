//! What each request and each response holds. `type` is in all of them.

use super::{Field, Kind, field, required};

const TEXTS: Kind = Kind::List(&Kind::Text, None);
const NAMES_OF_CLUSTER: Kind = Kind::List(&Kind::Name(32), Some((2, 20)));
const INTEGER: Kind = Kind::Integer(None);

const INSTANCE_ID: Field = required("instance_id", Kind::SomeText, "The instance.");
const SERVER_NAME: Field = required("name", Kind::SomeText, "The name by which the server goes.");
const WHICH_INSTANCE: Field = field(
    "instance_id",
    Kind::Text,
    "The instance in which the server is looked for; without it, all of them.",
);
const JETSTREAM: Field = field("jetstream", Kind::Bool, "Whether JetStream is on.");
const DESCRIPTION: Field =
    field("description", Kind::Text, "What the instance is for, in the caller's words.");
const SNIPPETS: Field = field(
    "snippets",
    Kind::Map(&Kind::Text),
    "Pieces of configuration, each a template, by the place where they belong.",
);
const TEMPLATE: Field =
    field("template", Kind::Text, "A template for the whole configuration, instead of the service's own.");
const TLS: Field =
    field("tls", Kind::Object(TLS_OPTIONS), "Asks for TLS with certificates that the service makes.");
const TRACE: Field = field("trace", Kind::Bool, "Asks for captures, which this service does not make.");
const PROXY: Field =
    field("proxy", Kind::Bool, "Asks for a capturing proxy, which this service does not have.");
const WITH_TOXICS: Field = field(
    "toxics",
    Kind::Bool,
    "Puts a proxy in front of the port for clients, so that toxics can act there.",
);

const TLS_OPTIONS: &[Field] = &[
    field(
        "mode",
        Kind::Text,
        "`server`: only the server shows a certificate; else clients show theirs, too.",
    ),
    field(
        "sans",
        TEXTS,
        "Names and addresses in the server's certificate; by default localhost, 127.0.0.1 and ::1.",
    ),
    field("handshake_first", Kind::Bool, "Whether the handshake comes before INFO."),
    field("timeout", Kind::Number, "Seconds that a handshake may take; by default 2."),
];

pub(super) const NOTHING: &[Field] = &[];
pub(super) const CREATE_SERVER: &[Field] = &[
    JETSTREAM,
    DESCRIPTION,
    SNIPPETS,
    TEMPLATE,
    TLS,
    field("name", Kind::Name(32), "The server's name; by default n1."),
    TRACE,
    PROXY,
    WITH_TOXICS,
];
pub(super) const CREATE_CLUSTER: &[Field] = &[
    field("servers", Kind::Integer(Some((2, 20))), "How many servers."),
    JETSTREAM,
    DESCRIPTION,
    SNIPPETS,
    TEMPLATE,
    TLS,
    field("cluster_name", Kind::Name(28), "The cluster's name."),
    field("server_names", NAMES_OF_CLUSTER, "The servers' names."),
    TRACE,
    PROXY,
    WITH_TOXICS,
];
pub(super) const CREATE_SUPER_CLUSTER: &[Field] = &[
    field("servers", Kind::Integer(Some((2, 20))), "How many servers in each cluster."),
    field("clusters", Kind::Integer(Some((2, 10))), "How many clusters."),
    JETSTREAM,
    DESCRIPTION,
    SNIPPETS,
    TEMPLATE,
    TLS,
    field("cluster_list", Kind::List(&Kind::Object(LISTED_CLUSTER), Some((2, 10))), "Each cluster."),
    TRACE,
    PROXY,
    WITH_TOXICS,
];
const LISTED_CLUSTER: &[Field] = &[
    field("name", Kind::Name(28), "The cluster's name."),
    field("servers", Kind::Integer(Some((1, 20))), "How many servers."),
    field("server_names", Kind::List(&Kind::Name(32), Some((1, 20))), "The servers' names."),
];
pub(super) const SERVER: &[Field] = &[SERVER_NAME, WHICH_INSTANCE];
pub(super) const INSTANCE: &[Field] = &[INSTANCE_ID];
pub(super) const STATUS: &[Field] =
    &[field("instance_id", Kind::Text, "The instance; without it, all of them.")];
pub(super) const UPDATE: &[Field] = &[
    SERVER_NAME,
    WHICH_INSTANCE,
    SNIPPETS,
    TEMPLATE,
    field("tls_timeout", Kind::Number, "Seconds that a handshake may take from now on."),
];
pub(super) const CLOCK: &[Field] = &[field("extra", TEXTS, "Subjects of further clocks.")];

const MANAGED_SERVER: &[Field] = &[
    field("name", Kind::Text, "The server's name."),
    field("cluster", Kind::Text, "The cluster; empty for a single server."),
    field("port", INTEGER, "The port for clients, or of the proxy in front of it."),
    field("ports", Kind::Map(&INTEGER), "Further ports, by what listens there."),
    field("url", Kind::Text, "Where clients connect; a client library fills it in."),
    field("advertise", Kind::Text, "The host that clients are told."),
    field("running", Kind::Bool, "Whether the server runs."),
    field("trace_url", Kind::Text, "Where traffic is captured; a client library fills it in."),
    field(
        "version",
        Kind::Text,
        "The version of nats-server that the server stands in for; in a status alone.",
    ),
];
const LINK_NAME: Field = field("name", Kind::Text, "The link's name, client:<server>.");
const LINK_KIND: Field = field("kind", Kind::Text, "What goes over it: client.");
const LINK_FROM: Field = field("from", Kind::Text, "Who connects; empty for clients.");
const LINK_TO: Field = field("to", Kind::Text, "The server behind it.");
const LINK_PROXY: Field = field("proxy", Kind::Text, "Host and port of the proxy.");
const LINK_UPSTREAM: Field = field("upstream", Kind::Text, "Host and port that the proxy connects to.");
const LINK: &[Field] = &[LINK_NAME, LINK_KIND, LINK_FROM, LINK_TO, LINK_PROXY, LINK_UPSTREAM];
const LINKS: Field =
    field("links", Kind::List(&Kind::Object(LINK), None), "The links that toxics can act on.");
const TLS_MATERIAL: &[Field] = &[
    field("ca_pem", Kind::Text, "The certificate of the authority."),
    field("client_cert_pem", Kind::Text, "A client's certificate, where clients must show one."),
    field("client_key_pem", Kind::Text, "The key of that certificate."),
];
pub(super) const CREATED: &[Field] = &[
    field("id", Kind::Text, "The instance's id."),
    DESCRIPTION,
    field("kind", Kind::Text, "What the instance is: server."),
    field("servers", Kind::List(&Kind::Object(MANAGED_SERVER), None), "Its servers."),
    field("tls", Kind::Object(TLS_MATERIAL), "What a client needs for TLS."),
    LINKS,
];
pub(super) const SHUT_DOWN: &[Field] = &[field("shutdown", Kind::Bool, "That it is done.")];
pub(super) const STARTED: &[Field] = &[field("started", Kind::Bool, "That it is done.")];
pub(super) const UPDATED: &[Field] = &[field("updated", Kind::Bool, "That it is done.")];
pub(super) const RELOADED: &[Field] = &[field("reloaded", Kind::Bool, "That it is done.")];
pub(super) const DESTROYED: &[Field] = &[field("destroyed", Kind::Bool, "That it is done.")];
const STATE: &[Field] = &[
    field("name", Kind::Text, "The server's name."),
    field("running", Kind::Bool, "Whether it runs now."),
    field("error", Kind::Text, "Why it could not be brought there."),
];
pub(super) const STATES: &[Field] =
    &[field("servers", Kind::List(&Kind::Object(STATE), None), "How each server is now.")];
const SUMMARY: &[Field] = &[
    field("id", Kind::Text, "The instance's id."),
    DESCRIPTION,
    field("kind", Kind::Text, "What the instance is: server."),
    field("cluster", Kind::Text, "The cluster's name; a single server has none."),
    field("servers", INTEGER, "How many servers it has."),
    field("created", Kind::Moment, "Since when there is one."),
    JETSTREAM,
    TRACE,
    PROXY,
    WITH_TOXICS,
];
pub(super) const INSTANCES: &[Field] =
    &[field("instances", Kind::List(&Kind::Object(SUMMARY), None), "All instances.")];
const INSTANCE_STATUS: &[Field] = &[
    field("id", Kind::Text, "The instance's id."),
    DESCRIPTION,
    field("kind", Kind::Text, "What the instance is: server."),
    field("servers", Kind::List(&Kind::Object(MANAGED_SERVER), None), "Its servers."),
    field("shaping_sets", TEXTS, "Sets of rules that shape traffic; none here."),
    field("backend", Kind::Text, "What runs the servers."),
    field("capabilities", TEXTS, "What that can do beyond starting and stopping."),
    field("agent", Kind::Text, "What stands in front of the servers."),
    field("agent_capabilities", TEXTS, "What that can do: toxics."),
    LINKS,
    field("toxics", Kind::List(&Kind::Object(ACTIVE_TOXIC), None), "The toxics on its links."),
    field("events_seq", INTEGER, "The latest event; this service stores none."),
];
pub(super) const STATUSES: &[Field] =
    &[field("instances", Kind::List(&Kind::Object(INSTANCE_STATUS), None), "The instances asked for.")];
const PARTICIPANT: &[Field] = &[
    field("kind", Kind::Text, "service or extra."),
    field("instance_id", Kind::Text, "The instance whose clock it is."),
    field("subject", Kind::Text, "The subject that was asked."),
    field("reference", Kind::Bool, "Whether the others are compared with this one."),
    field("shared_clock", Kind::Bool, "Whether it is the service's clock."),
    field("offset", INTEGER, "Nanoseconds that it is ahead."),
    field("round_trip", INTEGER, "Nanoseconds that asking took."),
    field("bound", INTEGER, "Nanoseconds that the offset may be off."),
    field("error", Kind::Text, "Why nothing is known of it."),
];
pub(super) const CLOCKS: &[Field] =
    &[field("participants", Kind::List(&Kind::Object(PARTICIPANT), None), "Whose clocks are known.")];
const ENDPOINT_SCHEMA: &[Field] = &[
    field("name", Kind::Text, "The endpoint's subject behind that of the service."),
    field("description", Kind::Text, "What it does."),
    field("request", Kind::AnyObject, "The JSON Schema of its request."),
    field("response", Kind::AnyObject, "The JSON Schema of its response."),
];
pub(super) const SCHEMAS: &[Field] =
    &[field("endpoints", Kind::List(&Kind::Object(ENDPOINT_SCHEMA), None), "All endpoints, by name.")];

const SHAPING_SET: &[Field] = &[
    field("id", Kind::Text, "The set's id."),
    field("connection_name", Kind::Text, "Whose traffic it shapes."),
    field("server", Kind::Text, "At which server."),
    field("rules", Kind::Any, "Its rules."),
];
pub(super) const SHAPE_SET: &[Field] =
    &[INSTANCE_ID, field("set", Kind::Object(SHAPING_SET), "The set of rules.")];
pub(super) const SHAPE: &[Field] = &[INSTANCE_ID, field("set", Kind::Text, "The set's id.")];
pub(super) const SHAPE_ADDED: &[Field] = &[field("set", Kind::Text, "The set's id.")];
pub(super) const SHAPE_SETS: &[Field] =
    &[field("sets", Kind::List(&Kind::AnyObject, None), "The sets of rules.")];
pub(super) const CLEARED: &[Field] = &[field("cleared", TEXTS, "The names of what was taken away.")];

/// Which links a toxic acts on.
pub(super) const SELECTOR: &[Field] = &[
    field("kind", Kind::Text, "client, route or gateway; a single server has links of clients alone."),
    field("from", Kind::Text, "Who connects."),
    field("to", Kind::Text, "The server behind the link."),
    field("node", Kind::Text, "A server, all of whose links are meant."),
    field("direction", Kind::Text, "to the server, from the server, or both, which is the default."),
];
const ACTIVE_TOXIC: &[Field] = &[
    field("name", Kind::Text, "The toxic's name."),
    field("selector", Kind::Object(SELECTOR), "Which links it acts on, as it was asked for."),
    field("type", Kind::Text, "What it does."),
    field("attributes", Kind::AnyObject, "How, by the attributes of its type."),
    field("toxicity", Kind::Number, "How likely it acts, from 0 to 1."),
    field("links", TEXTS, "The names of these links."),
    field("since", Kind::Moment, "Since when it is there."),
];
const LINK_TOXIC: &[Field] = &[
    field("name", Kind::Text, "The toxic's name."),
    field("type", Kind::Text, "What it does."),
    field("direction", Kind::Text, "to, from or both."),
    field("node", Kind::Text, "Whose connections it is confined to; none here."),
    field("attributes", Kind::AnyObject, "How, by the attributes of its type."),
    field("toxicity", Kind::Number, "How likely it acts, from 0 to 1."),
    field("since", Kind::Moment, "Since when it is there."),
];
const LINK_TOXICS: &[Field] = &[
    LINK_NAME,
    LINK_KIND,
    LINK_FROM,
    LINK_TO,
    LINK_PROXY,
    LINK_UPSTREAM,
    field("toxics", Kind::List(&Kind::Object(LINK_TOXIC), None), "The toxics on it."),
];
pub(super) const TOXIC_ADD: &[Field] = &[INSTANCE_ID, field("toxic", Kind::Toxic, "The toxic.")];
pub(super) const TOXIC_ADDED: &[Field] =
    &[field("toxic", Kind::Object(ACTIVE_TOXIC), "The toxic as it acts now.")];
pub(super) const TOXIC_REMOVE: &[Field] = &[INSTANCE_ID, field("name", Kind::Text, "The toxic's name.")];
pub(super) const TOXIC_REMOVED: &[Field] = &[field("removed", Kind::Text, "The toxic's name.")];
pub(super) const TOXIC_REPORT: &[Field] = &[
    field("links", Kind::List(&Kind::Object(LINK_TOXICS), None), "All links, with the toxics on each."),
    field(
        "toxics",
        Kind::List(&Kind::Object(ACTIVE_TOXIC), None),
        "All toxics, in the order in which they came.",
    ),
];
/// A toxic that is to be added; its attributes are those of its type.
pub(super) const TOXIC: &[Field] = &[
    field("name", Kind::Text, "Its name, of which there is no other at the instance."),
    field("selector", Kind::Object(SELECTOR), "Which links it acts on; all, where it says nothing."),
    field("type", Kind::Word(TOXIC_TYPES), "What it does."),
    field("attributes", Kind::AnyObject, "How, by the attributes of its type."),
    field("toxicity", Kind::Number, "How likely it acts, from 0 to 1; by default it does."),
];

/// A type of toxics, with its attributes.
#[derive(Clone, Copy, Debug)]
pub(in crate::tester) struct ToxicType {
    pub(in crate::tester) name: &'static str,
    pub(in crate::tester) attributes: &'static [Attribute],
}

/// An attribute of a type of toxics.
#[derive(Clone, Copy, Debug)]
pub(in crate::tester) struct Attribute {
    pub(in crate::tester) name: &'static str,
    pub(in crate::tester) bounds: Bounds,
    /// What it is where it is left out; without one it must be there.
    pub(in crate::tester) default: Option<i64>,
    pub(in crate::tester) about: &'static str,
}

/// What an attribute may be.
#[derive(Clone, Copy, Debug)]
pub(in crate::tester) enum Bounds {
    /// An integer from here to there.
    Integer(i64, i64),
    /// More than 0 and less than 1.
    Fraction,
}

/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;
const MINUTE_US: i64 = 60_000_000;
const SLICE_BYTES_MAX: i64 = 1 << 20;
const LIMIT_BYTES_MAX: i64 = 1 << 50;
const RATE_MAX: i64 = 1_000_000_000;

const fn optional(name: &'static str, min: i64, max: i64, default: i64, about: &'static str) -> Attribute {
    Attribute { name, bounds: Bounds::Integer(min, max), default: Some(default), about }
}

const fn needed(name: &'static str, min: i64, max: i64, about: &'static str) -> Attribute {
    Attribute { name, bounds: Bounds::Integer(min, max), default: None, about }
}

/// All types, by name.
pub(in crate::tester) const TOXICS: &[ToxicType] = &[
    ToxicType { name: "bandwidth", attributes: &[needed("rate", 1, RATE_MAX, "Kilobytes in a second.")] },
    ToxicType { name: "cut", attributes: &[] },
    ToxicType {
        name: "latency",
        attributes: &[
            optional("latency", 0, DAY_MS, 0, "Milliseconds that all comes later."),
            optional("jitter", 0, DAY_MS, 0, "Milliseconds by which that is more or less, by chance."),
        ],
    },
    ToxicType {
        name: "limit_data",
        attributes: &[optional(
            "bytes",
            0,
            LIMIT_BYTES_MAX,
            0,
            "Bytes that pass before the connection ends.",
        )],
    },
    ToxicType {
        name: "lossy",
        attributes: &[
            Attribute {
                name: "loss",
                bounds: Bounds::Fraction,
                default: None,
                about: "How likely a segment is lost.",
            },
            optional("rto", 1, DAY_MS, 200, "Milliseconds until a lost segment is sent again."),
            optional("max_rto", 1, DAY_MS, 3200, "Milliseconds that such a wait is at most, as it doubles."),
        ],
    },
    ToxicType {
        name: "reset_peer",
        attributes: &[optional("timeout", 0, DAY_MS, 0, "Milliseconds from the next data to the reset.")],
    },
    ToxicType {
        name: "slicer",
        attributes: &[
            needed("average_size", 1, SLICE_BYTES_MAX, "Bytes of a slice."),
            optional(
                "size_variation",
                0,
                SLICE_BYTES_MAX,
                0,
                "Bytes by which that is more or less, by chance.",
            ),
            optional("delay", 0, MINUTE_US, 0, "Microseconds between two slices."),
        ],
    },
    ToxicType {
        name: "slow_close",
        attributes: &[optional(
            "delay",
            0,
            DAY_MS,
            0,
            "Milliseconds that the end of a connection comes later.",
        )],
    },
    ToxicType {
        name: "timeout",
        attributes: &[optional(
            "timeout",
            0,
            DAY_MS,
            0,
            "Milliseconds without data after which the connection ends; 0: it does not.",
        )],
    },
];
const TOXIC_TYPES: &[&str] =
    &["bandwidth", "cut", "latency", "limit_data", "lossy", "reset_peer", "slicer", "slow_close", "timeout"];
