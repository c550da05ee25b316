//! A client as the rest of the server knows it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jetkv_jetstream::WallNs;
use jetkv_protocol::{Rejection, encode};

use super::Client;
use crate::auth::DeliveryRules;
use crate::connections::{
    ClientType, CloseReason, ConnectionHandle, Identity, Peer, ReloadGuard, Secured, TraceOptions,
};
use crate::router::{Account, Subscription};
use crate::traffic::TrafficCounts;

impl ConnectionHandle for Client {
    fn id(&self) -> u64 {
        self.id()
    }

    fn peer(&self) -> Peer {
        self.proxied.get().copied().unwrap_or(self.peer)
    }

    fn client_type(&self) -> ClientType {
        if self.upgraded.is_some() { ClientType::Websocket } else { ClientType::Nats }
    }

    fn secured(&self) -> Option<&Secured> {
        self.tls.get()
    }

    fn started_at(&self) -> WallNs {
        self.started_at
    }

    fn identity(&self) -> Identity {
        self.identity.read().clone()
    }

    fn account(&self) -> Arc<Account> {
        Arc::clone(&self.identity.read().account)
    }

    fn label(&self) -> String {
        self.identity.read().label.clone()
    }

    fn rtt_ns(&self) -> i64 {
        self.rtt_ns.load(Ordering::Relaxed)
    }

    fn last_active(&self) -> WallNs {
        WallNs::from_ns(self.last_active_ns.load(Ordering::Relaxed))
    }

    fn traffic(&self) -> TrafficCounts {
        self.traffic.counts()
    }

    fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }

    fn set_traced(&self, options: Option<TraceOptions>) {
        if let Some(options) = options {
            *self.trace_options.lock() = options;
        }
        self.traced.store(options.is_some(), Ordering::Release);
        let is_noted = self.noted.load(Ordering::Relaxed);
        self.observed.store(options.is_some() || is_noted, Ordering::Release);
    }

    fn rules(&self) -> Option<Arc<DeliveryRules>> {
        self.rules.read().clone()
    }

    fn pending_bytes(&self) -> usize {
        self.out.pending_bytes()
    }

    fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.subs.lock().values().cloned().collect()
    }

    fn close(&self, reason: CloseReason) {
        self.out.close(reason);
    }

    fn ask_reload(&self, guard: ReloadGuard) {
        let mut reloading = self.reloading.lock();
        // The task is gone, or going.
        let Some(guards) = &mut *reloading else { return };
        guards.push(guard);
        self.reload.store(true, Ordering::Release);
        drop(reloading);
        self.out.wake();
    }

    fn send_away(self: Arc<Self>, rejection: &Rejection<'_>, reason: CloseReason) {
        let text = rejection.wire_text();
        if self.is_traced() {
            self.trace_out("-ERR", &text);
        }
        self.queue(|out| encode::err(out, &text));
        self.close(reason);
    }

    fn hold_back(self: Arc<Self>, held: bool) {
        if self.out.hold_back(held) {
            // What waited leaves.
            self.out.wake();
        }
    }

    fn closing(&self) -> Option<CloseReason> {
        self.out.closing()
    }

    fn send_info(self: Arc<Self>, json: &[u8]) {
        self.queue(|out| encode::info(out, json));
    }
}
