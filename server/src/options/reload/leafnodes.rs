//! What changes of leaf nodes.

use std::time::Duration;

use super::Action;
use super::differences::{Differences, Field, Pair, Shown, pairs};
use crate::options::leafnode_model::{LeafnodeOptions, LeafnodeRemote};
use crate::options::listener_model::{Unserved, UnservedListener};
use crate::options::remote_tls::RemoteTls;
use crate::options::tls_model::{HandshakeFirst, TlsOptions};

/// The block stays as it was, but for certificates, when a handshake comes, and the other servers. What is shown has no passwords.
pub(super) fn differ(
    (old, old_listeners): (&LeafnodeOptions, &[UnservedListener]),
    (new, new_listeners): (&LeafnodeOptions, &[UnservedListener]),
    found: &mut Differences,
) {
    pairs!(old, new => LeafnodeOptions {
        users, min_version, isolate, no_advertise, reconnect_interval, dial_timeout, write_deadline, tls, remotes,
    });
    let deadline = |time: &Option<Duration>| Shown::duration(&time.unwrap_or_default());
    let mut refuse = |name: &str, old: String, new: String| {
        if old != new {
            found.refuse(Field::LeafNode, format!("LeafNode: field \"{name}\": old={old}, new={new}"));
        }
    };
    // Where there was no listener, or is none any more, that is refused before.
    if let (Some(old), Some(new)) = (auth_timeout(old_listeners), auth_timeout(new_listeners)) {
        refuse("AuthTimeout", old, new);
    }
    let time = |tls: &Option<TlsOptions>| {
        tls.as_ref().map(|tls| tls.timeout.as_secs_f64().to_string()).unwrap_or_default()
    };
    if tls.old.is_some() && tls.new.is_some() {
        refuse("TLSTimeout", time(tls.old), time(tls.new));
    }
    let pinned = |tls: &Option<TlsOptions>| {
        let pinned = tls.iter().flat_map(|tls| &tls.pinned_certs).map(|one| format!("{one}:{{}}"));
        format!("map[{}]", pinned.collect::<Vec<_>>().join(" "))
    };
    refuse("TLSPinnedCerts", pinned(tls.old), pinned(tls.new));
    refuse("NoAdvertise", Shown::plain(no_advertise.old), Shown::plain(no_advertise.new));
    refuse(
        "ReconnectInterval",
        Shown::duration(reconnect_interval.old),
        Shown::duration(reconnect_interval.new),
    );
    refuse("WriteDeadline", deadline(write_deadline.old), deadline(write_deadline.new));
    refuse("MinVersion", Shown::text(min_version.old), Shown::text(min_version.new));
    refuse("IsolateLeafnodeInterest", Shown::plain(isolate.old), Shown::plain(isolate.new));
    refuse("DialTimeout", Shown::duration(dial_timeout.old), Shown::duration(dial_timeout.new));
    if users.differ() {
        found.refuse(Field::LeafNode, "LeafNode: field \"Users\" is not supported by JetKV yet");
    }
    handshakes(&tls, found);
    remotes_differ(remotes.old, remotes.new, found);
}

/// Seconds for those who come to say who they are; `None` without a listener.
fn auth_timeout(listeners: &[UnservedListener]) -> Option<String> {
    let listener = listeners.iter().find(|listener| listener.feature == Unserved::Leafnodes)?;
    Some(listener.auth_timeout.as_secs_f64().to_string())
}

fn handshakes(tls: &Pair<'_, Option<TlsOptions>>, found: &mut Differences) {
    let first = |tls: &Option<TlsOptions>| tls.as_ref().and_then(|tls| tls.handshake_first);
    if first(tls.old) == first(tls.new) {
        return;
    }
    let delay = match first(tls.new) {
        Some(HandshakeFirst::Within(delay)) => delay,
        _ => Duration::ZERO,
    };
    let lines = [
        format!("Reloaded: LeafNode TLS HandshakeFirst value is: {}", first(tls.new).is_some()),
        format!("Reloaded: LeafNode TLS HandshakeFirstFallback value is: {}", Shown::duration(&delay)),
    ];
    for line in lines {
        found.change(Field::LeafNode, Action::Nothing, line);
    }
}

/// Other servers may come, go, and be switched on and off; what is said of one that stays may change in how it is put under TLS.
fn remotes_differ(old: &[LeafnodeRemote], new: &[LeafnodeRemote], found: &mut Differences) {
    for before in old {
        let Some(now) = new.iter().find(|now| now.is_same(before)) else {
            let line = format!("Reloaded: LeafNode Remote {} removed", before.shown());
            found.change(Field::LeafNode, Action::Remotes, line);
            continue;
        };
        remote_differs(before, now, found);
    }
    if new.iter().any(|now| !old.iter().any(|before| now.is_same(before))) {
        found.quiet(Field::LeafNode, Action::Remotes);
    }
}

fn remote_differs(old: &LeafnodeRemote, new: &LeafnodeRemote, found: &mut Differences) {
    let shown = new.shown();
    pairs!(old, new => LeafnodeRemote {
        urls, no_randomize, account, credentials, seed, tls, hub, deny_imports, deny_exports, isolate,
        request_isolation, first_info_timeout, dial_timeout, disabled,
    });
    // These say which one it is.
    let _ = (urls, account, credentials, seed);
    let list = |subjects: &Vec<String>| format!("[{}]", subjects.join(" "));
    let time = |time: &Option<Duration>| Shown::duration(&time.unwrap_or_default());
    for (name, old, new) in [
        ("NoRandomize", Shown::plain(no_randomize.old), Shown::plain(no_randomize.new)),
        ("Hub", Shown::plain(hub.old), Shown::plain(hub.new)),
        ("DenyImports", list(deny_imports.old), list(deny_imports.new)),
        ("DenyExports", list(deny_exports.old), list(deny_exports.new)),
        ("LocalIsolation", Shown::plain(isolate.old), Shown::plain(isolate.new)),
        ("RequestIsolation", Shown::plain(request_isolation.old), Shown::plain(request_isolation.new)),
        (
            "FirstInfoTimeout",
            Shown::duration(first_info_timeout.old),
            Shown::duration(first_info_timeout.new),
        ),
        ("DialTimeout", time(dial_timeout.old), time(dial_timeout.new)),
    ] {
        if old != new {
            let text = format!("LeafNode: remote {shown}: field \"{name}\": old={old}, new={new}");
            found.refuse(Field::LeafNode, text);
        }
    }
    let first = |tls: &Option<RemoteTls>| tls.as_ref().is_some_and(|tls| tls.handshake_first);
    let (before, now) = (first(tls.old), first(tls.new));
    if before != now {
        let line = format!("Reloaded: LeafNode Remote {shown} TLS HandshakeFirst value is: {now}");
        found.change(Field::LeafNode, Action::Nothing, line);
    }
    if disabled.differ() {
        let line = format!("Reloaded: LeafNode Remote {shown} Disabled value is: {}", disabled.new);
        found.change(Field::LeafNode, Action::Remotes, line);
    }
}
