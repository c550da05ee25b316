//! Servers that are connected as leaf nodes.

use std::net::SocketAddr;

use jetkv::Server;
use jetkv::options::Options;
use jetkv_testing::{WAIT_MAX, eventually};
use serde_json::Value;

use super::options;

/// Waits for those who are slow to say who they are.
pub fn patient(mut options: Options) -> Options {
    options.unserved_listeners.iter_mut().for_each(|listener| listener.auth_timeout = 2 * WAIT_MAX);
    options
}

/// Options of a server on a port of its own that are written as a whole.
pub fn written(text: &str) -> Options {
    let read = patient(Options::from_config_text(text).unwrap());
    Options { host: "127.0.0.1".to_owned(), port: 0, limits: options().limits, ..read }
}

/// Where leaf nodes connect to.
pub fn leaf_address(hub: &Server) -> SocketAddr {
    let (_, page) = hub.page("/varz", "");
    let page: Value = serde_json::from_str(&page).unwrap();
    let port = page["leaf"]["port"].as_u64().unwrap();
    SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()))
}

pub fn leafs(server: &Server) -> Vec<Value> {
    let (_, page) = server.page("/leafz", "subs=1");
    let page: Value = serde_json::from_str(&page).unwrap();
    page["leafs"].as_array().unwrap().clone()
}

/// Waits until a server knows that another one listens to something, or no longer does.
pub fn until_heard(server: &Server, subject: &str, is_heard: bool) {
    eventually(subject, || {
        let leafs = leafs(server);
        let listed = |leaf: &Value| {
            let list = leaf["subscriptions_list"].as_array();
            list.is_some_and(|list| list.iter().any(|known| known == subject))
        };
        !leafs.is_empty() && leafs.iter().any(listed) == is_heard
    });
}
