//! Differences between two sets of options, in the order in which nats-server v2.15.2 looks at them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use super::{Action, Change, ReloadError};
use crate::options::jetstream_model::TpmOptions;
use crate::options::model::WriteTimeout;
use crate::options::redact::REDACTED;
use jetkv_go_compat::GoDuration;

/// nats-server's fields of options, in its order, which is the order of its log lines; `Debug` is the name in its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    ServerName,
    Host,
    Port,
    ClientAdvertise,
    Trace,
    Debug,
    TraceVerbose,
    TraceHeaders,
    NoSublistCache,
    NoHeaderSupport,
    Logtime,
    LogtimeUTC,
    MaxConn,
    MaxSubs,
    MaxSubTokens,
    Nkeys,
    Users,
    Accounts,
    NoAuthUser,
    DefaultSentinel,
    SystemAccount,
    NoSystemAccount,
    Username,
    Password,
    ProxyRequired,
    ProxyProtocol,
    Authorization,
    AuthCallout,
    PingInterval,
    MaxPingsOut,
    HTTPHost,
    HTTPPort,
    HTTPBasePath,
    HTTPSPort,
    AuthTimeout,
    MaxControlLine,
    MaxPayload,
    MaxPending,
    NoFastProducerStall,
    Cluster,
    LeafNode,
    JetStream,
    NoJetStreamStrict,
    JetStreamMaxMemory,
    JetStreamMaxStore,
    JetStreamDomain,
    JetStreamExtHint,
    JetStreamKey,
    JetStreamOldKey,
    JetStreamCipher,
    JetStreamUniqueTag,
    JetStreamLimits,
    JetStreamTpm,
    JetStreamMaxCatchup,
    JetStreamRequestQueueLimit,
    JetStreamInfoQueueLimit,
    JetStreamConcurrentIOs,
    StreamMaxBufferedMsgs,
    StreamMaxBufferedSize,
    StoreDir,
    SyncInterval,
    SyncAlways,
    JsAccDefaultDomain,
    Websocket,
    PidFile,
    PortsFileDir,
    LogFile,
    LogSizeLimit,
    LogMaxFiles,
    Syslog,
    RemoteSyslog,
    TLSTimeout,
    TLSMap,
    TLSConfig,
    TLSPinnedCerts,
    TLSRateLimit,
    TLSHandshakeFirst,
    TLSHandshakeFirstFallback,
    AllowNonTLS,
    WriteDeadline,
    WriteTimeout,
    MaxClosedClients,
    LameDuckDuration,
    LameDuckGracePeriod,
    MaxTracedMsgLen,
    TrustedKeys,
    TrustedOperators,
    AccountResolver,
    AccountResolverTLSConfig,
    ConnectErrorReports,
    ReconnectErrorReports,
    Tags,
    Metadata,
    FeatureFlags,
    Proxies,
    /// What is found out when all fields have been looked at.
    Last,
}

/// The values that one option has.
pub(super) struct Pair<'a, T> {
    pub(super) old: &'a T,
    pub(super) new: &'a T,
}

impl<T: PartialEq> Pair<'_, T> {
    pub(super) fn differ(&self) -> bool {
        self.old != self.new
    }
}

/// Takes two structs apart into a [`Pair`] for each field. It does not compile as long as a field is not listed, and
/// warns when one is listed and nothing is done with it.
macro_rules! pairs {
    ($old:ident, $new:ident => $kind:ident { $($field:ident),+ $(,)? }) => {
        let $kind { $($field),+ } = $old;
        $(let $field = Pair { old: $field, new: &$new.$field };)+
    };
}
pub(super) use pairs;

/// What was found so far.
#[derive(Default)]
pub(super) struct Differences(Vec<(Field, Result<Change, ReloadError>)>);

impl Differences {
    /// The changes in order, or why there can be none.
    pub(super) fn in_order(mut self) -> Result<Vec<Change>, ReloadError> {
        self.0.sort_by_key(|(field, _)| *field);
        self.0.into_iter().map(|(_, found)| found).collect()
    }

    /// A change, with its line.
    pub(super) fn change(&mut self, field: Field, action: Action, line: impl Into<String>) {
        self.0.push((field, Ok(Change { action, line: line.into() })));
    }

    /// A change of which the log says nothing.
    pub(super) fn quiet(&mut self, field: Field, action: Action) {
        self.change(field, action, "");
    }

    /// A change that cannot be.
    pub(super) fn refuse(&mut self, field: Field, what: impl Display) {
        self.fail(field, format!("config reload not supported for {what}"));
    }

    /// A value that cannot be.
    pub(super) fn fail(&mut self, field: Field, text: String) {
        self.0.push((field, Err(ReloadError(text))));
    }

    /// An option that a running server cannot change.
    pub(super) fn fixed<T: PartialEq>(
        &mut self,
        field: Field,
        pair: Pair<'_, T>,
        shown: impl Fn(&T) -> String,
    ) {
        if pair.differ() {
            self.refuse(field, format!("{field:?}: old={}, new={}", shown(pair.old), shown(pair.new)));
        }
    }

    /// An option that is logged with its name and new value.
    pub(super) fn value<T: PartialEq>(
        &mut self,
        field: Field,
        action: Action,
        name: &str,
        pair: Pair<'_, T>,
        shown: impl Fn(&T) -> String,
    ) {
        if pair.differ() {
            self.change(field, action, format!("Reloaded: {name} = {}", shown(pair.new)));
        }
    }

    /// An option that is logged without its value, and asks for nothing.
    pub(super) fn name<T: PartialEq>(&mut self, field: Field, name: &str, pair: Pair<'_, T>) {
        if pair.differ() {
            self.change(field, Action::Nothing, format!("Reloaded: {name}"));
        }
    }
}

/// How values appear in log lines and errors.
pub(super) struct Shown;

impl Shown {
    pub(super) fn plain<T: Display>(value: &T) -> String {
        value.to_string()
    }

    pub(super) fn text(value: &Option<String>) -> String {
        value.clone().unwrap_or_default()
    }

    /// Not the value itself, which nats-server shows.
    pub(super) fn secret(value: &Option<String>) -> String {
        value.as_ref().map(|_| REDACTED.to_owned()).unwrap_or_default()
    }

    pub(super) fn sealed_key(value: &TpmOptions) -> String {
        let TpmOptions { keys_file, key_password, root_password, register } = value;
        let [file, key, root] =
            [Self::text(keys_file), Self::secret(key_password), Self::secret(root_password)];
        format!("{{{file} {key} {root} {register}}}")
    }

    pub(super) fn path(value: &Option<PathBuf>) -> String {
        value.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }

    pub(super) fn duration(value: &Duration) -> String {
        GoDuration::from(*value).to_string()
    }

    pub(super) fn port(value: &Option<u16>) -> String {
        match value {
            None => "0".to_owned(),
            Some(0) => "-1".to_owned(),
            Some(port) => port.to_string(),
        }
    }

    pub(super) fn map<T: Display>(value: &BTreeMap<String, T>) -> String {
        let entries: Vec<String> = value.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        format!("map[{}]", entries.join(" "))
    }

    pub(super) fn write_timeout(value: &WriteTimeout) -> String {
        let name = match value {
            WriteTimeout::Default => "",
            WriteTimeout::Close => "close",
            WriteTimeout::Retry => "retry",
        };
        name.to_owned()
    }
}
