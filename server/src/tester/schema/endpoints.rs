//! The endpoints, in the order in which discovery lists them.

use super::Field;
use super::types as t;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tester) enum Verb {
    CreateServer,
    CreateCluster,
    CreateSuperCluster,
    StopServer,
    StopInstance,
    StartServer,
    StartInstance,
    UpdateServer,
    ReloadServer,
    ShapeSet,
    ShapeClear,
    ShapeReport,
    ShapeList,
    ToxicAdd,
    ToxicRemove,
    ToxicClear,
    ToxicReport,
    Status,
    Reset,
    Destroy,
    List,
    Clock,
    Schema,
}

/// An endpoint of the service.
#[derive(Clone, Copy, Debug)]
pub(in crate::tester) struct Endpoint {
    pub(in crate::tester) verb: Verb,
    /// Its subject behind `tester.`.
    pub(in crate::tester) name: &'static str,
    pub(in crate::tester) about: &'static str,
    /// What its request and its response are called, and what they hold.
    pub(in crate::tester) request: (&'static str, &'static [Field]),
    pub(in crate::tester) response: (&'static str, &'static [Field]),
}

const fn endpoint(
    verb: Verb,
    name: &'static str,
    about: &'static str,
    request: (&'static str, &'static [Field]),
    response: (&'static str, &'static [Field]),
) -> Endpoint {
    Endpoint { verb, name, about, request, response }
}

/// All of them.
pub(in crate::tester) const ENDPOINTS: &[Endpoint] = &[
    endpoint(
        Verb::CreateServer,
        "create.server",
        "Starts a server, as an instance of its own.",
        ("create_server_request", t::CREATE_SERVER),
        ("create_response", t::CREATED),
    ),
    endpoint(
        Verb::CreateCluster,
        "create.cluster",
        "Refused: this service runs single servers.",
        ("create_cluster_request", t::CREATE_CLUSTER),
        ("create_response", t::CREATED),
    ),
    endpoint(
        Verb::CreateSuperCluster,
        "create.super-cluster",
        "Refused: this service runs single servers.",
        ("create_super_cluster_request", t::CREATE_SUPER_CLUSTER),
        ("create_response", t::CREATED),
    ),
    endpoint(
        Verb::StopServer,
        "stop.server",
        "Stops a server; what it stored and its configuration stay.",
        ("stop_server_request", t::SERVER),
        ("stop_server_response", t::SHUT_DOWN),
    ),
    endpoint(
        Verb::StopInstance,
        "stop.instance",
        "Stops the servers of an instance; what they stored and their configurations stay.",
        ("stop_instance_request", t::INSTANCE),
        ("stop_instance_response", t::STATES),
    ),
    endpoint(
        Verb::StartServer,
        "start.server",
        "Starts a server again that was stopped.",
        ("start_server_request", t::SERVER),
        ("start_server_response", t::STARTED),
    ),
    endpoint(
        Verb::StartInstance,
        "start.instance",
        "Starts the servers of an instance again that were stopped.",
        ("start_instance_request", t::INSTANCE),
        ("start_instance_response", t::STATES),
    ),
    endpoint(
        Verb::UpdateServer,
        "update.server",
        "Writes another configuration for a server, which it reads when it is reloaded or started.",
        ("update_server_request", t::UPDATE),
        ("update_server_response", t::UPDATED),
    ),
    endpoint(
        Verb::ReloadServer,
        "reload.server",
        "Has a running server read its configuration again.",
        ("reload_server_request", t::SERVER),
        ("reload_server_response", t::RELOADED),
    ),
    endpoint(
        Verb::ShapeSet,
        "shape.set",
        "Refused: this service captures no traffic.",
        ("shape_set_request", t::SHAPE_SET),
        ("shape_set_response", t::SHAPE_ADDED),
    ),
    endpoint(
        Verb::ShapeClear,
        "shape.clear",
        "Refused: this service captures no traffic.",
        ("shape_clear_request", t::SHAPE),
        ("shape_clear_response", t::CLEARED),
    ),
    endpoint(
        Verb::ShapeReport,
        "shape.report",
        "Refused: this service captures no traffic.",
        ("shape_report_request", t::SHAPE),
        ("shape_report_response", t::SHAPE_SETS),
    ),
    endpoint(
        Verb::ShapeList,
        "shape.list",
        "Refused: this service captures no traffic.",
        ("shape_list_request", t::SHAPE),
        ("shape_list_response", t::SHAPE_SETS),
    ),
    endpoint(
        Verb::ToxicAdd,
        "toxic.add",
        "Puts a toxic on links of an instance that was created with toxics.",
        ("toxic_add_request", t::TOXIC_ADD),
        ("toxic_add_response", t::TOXIC_ADDED),
    ),
    endpoint(
        Verb::ToxicRemove,
        "toxic.remove",
        "Takes one toxic away.",
        ("toxic_remove_request", t::TOXIC_REMOVE),
        ("toxic_remove_response", t::TOXIC_REMOVED),
    ),
    endpoint(
        Verb::ToxicClear,
        "toxic.clear",
        "Takes all toxics of an instance away.",
        ("toxic_clear_request", t::INSTANCE),
        ("toxic_clear_response", t::CLEARED),
    ),
    endpoint(
        Verb::ToxicReport,
        "toxic.report",
        "Tells which toxics are on which links of an instance.",
        ("toxic_report_request", t::INSTANCE),
        ("toxic_report_response", t::TOXIC_REPORT),
    ),
    endpoint(
        Verb::Status,
        "status",
        "Tells how one instance is, or all of them.",
        ("status_request", t::STATUS),
        ("status_response", t::STATUSES),
    ),
    endpoint(
        Verb::Reset,
        "reset",
        "Takes all instances away.",
        ("reset_request", t::NOTHING),
        ("reset_response", t::SHUT_DOWN),
    ),
    endpoint(
        Verb::Destroy,
        "destroy",
        "Takes one instance away, with all that it stored.",
        ("destroy_request", t::INSTANCE),
        ("destroy_response", t::DESTROYED),
    ),
    endpoint(
        Verb::List,
        "list",
        "Tells which instances there are.",
        ("list_request", t::NOTHING),
        ("list_response", t::INSTANCES),
    ),
    endpoint(
        Verb::Clock,
        "clock",
        "Tells whose clock is how far from the service's.",
        ("clock_request", t::CLOCK),
        ("clock_response", t::CLOCKS),
    ),
    endpoint(
        Verb::Schema,
        "schema",
        "Gives the JSON Schemas of all requests and responses.",
        ("schema_request", t::NOTHING),
        ("schema_response", t::SCHEMAS),
    ),
];
