//! The command line as a whole: what the program is asked to do, and with which options.

use std::path::Path;

use super::config::tls::{self, TlsFlags};
use super::config::{ConfigError, Draft, WebsocketDraft};
use super::defaults;
use super::flags::{self, Flag, FlagValue, Given};
use super::lab_model;
use super::listener_model::Unserved;
use super::listening::{port, unserved_listeners};
use super::look_model;
use super::model::Options;
use super::signal_request::SignalRequest;
use super::tls_model::TlsOptions;
use super::usage;
use super::validate::{self, Purpose, host_and_port};
use super::websocket_model::WebsocketOptions;
use jetkv_go_compat::quoted;
use jetkv_go_compat::version::SERVER_VERSION;

/// Name in messages of the command line; tools look for it.
const PROGRAM: &str = "nats-server";

/// What a command line asks for.
///
/// ```
/// use jetkv::options::{Command, CommandLine, Message, OptionsError, SignalRequest};
///
/// let asked = |words: &[&str]| {
///     Command::from_arguments(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
/// };
/// let Command::Run(line) = asked(&["-p", "4333", "-js"]) else { panic!() };
/// let line: &CommandLine = &line;
/// assert!(line.options.port == 4333 && line.options.jetstream.enabled);
/// assert!(matches!(line.reload(), Err(OptionsError::NoFile)));
///
/// let Command::Print(message) = asked(&["--version"]) else { panic!() };
/// let message: Message = message;
/// assert_eq!(message.exit_code, 0);
///
/// let Command::Signal(request) = asked(&["--signal", "reload=/no/such/file.pid"]) else { panic!() };
/// let request: SignalRequest = request;
/// assert!(request.send().is_err());
/// ```
#[derive(Debug)]
pub enum Command {
    /// Run a server.
    Run(Box<CommandLine>),
    /// Send a signal to a running server.
    Signal(SignalRequest),
    /// Ask the test lab of a running server; these are the words behind `lab`.
    Lab(Vec<String>),
    /// Print something and end.
    Print(Message),
}

/// What to print, where, and how to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// For standard output. Empty: nothing.
    pub stdout: String,
    /// For standard error. Empty: nothing.
    pub stderr: String,
    /// The program's exit code.
    pub exit_code: u8,
}

/// A command line that runs a server: its options, and what is needed to read them again.
#[derive(Debug)]
pub struct CommandLine {
    /// Options from flags, file and defaults.
    pub options: Options,
    /// Warnings about the configuration file, for standard error, every line ended.
    pub warnings: String,
    given: Vec<Given>,
}

/// Why options cannot be used.
///
/// ```
/// use jetkv::options::{ConfigError, Options, OptionsError, ParseError, Reference, Report};
///
/// let error = Options::from_config_text("max_paylaod: 5").unwrap_err();
/// let OptionsError::Config(ConfigError::Report(report)) = error else { panic!("{error}") };
/// let report: Report = report;
/// assert!(report.to_string().contains("unknown field"), "{report}");
///
/// let error = Options::from_config_text("port: $NO_SUCH_VARIABLE").unwrap_err();
/// assert!(matches!(error, OptionsError::Config(ConfigError::Parse(_))), "{error}");
/// let reference = Reference::Include { name: "other.conf".to_owned() };
/// assert!(reference.to_string().contains("other.conf"));
/// let _: Option<ParseError> = None;
/// ```
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The configuration file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Options contradict each other.
    #[error("{0}")]
    Invalid(String),
    /// The server was started without a configuration file.
    #[error("can only reload config when a file is provided using -c or --config")]
    NoFile,
}

impl Command {
    /// Understands arguments (without the program's own name).
    pub fn from_arguments(arguments: &[String]) -> Self {
        if let Some((word, rest)) = arguments.split_first()
            && word == "lab"
        {
            return Self::Lab(rest.to_vec());
        }
        let (given, rest) = match flags::parse(arguments) {
            Ok(parsed) => parsed,
            // As nats-server does: the flags are shown and nothing counts as failed.
            Err(line) => {
                return Self::Print(Message {
                    stdout: usage::TEXT.to_owned(),
                    stderr: format!("{line}\n"),
                    exit_code: 0,
                });
            }
        };
        let is_on = |flag| last(&given, flag) == Some(&FlagValue::Switch(true));
        if is_on(Flag::Version) {
            return Self::version();
        }
        if is_on(Flag::Help) {
            return Self::out(usage::TEXT);
        }
        if is_on(Flag::HelpTls) {
            return Self::failure("option --help_tls is not supported by JetKV yet");
        }
        match rest.first().map(|word| (word, word.to_lowercase())) {
            Some((_, word)) if word == "version" => return Self::version(),
            Some((_, word)) if word == "help" => return Self::out(usage::TEXT),
            Some((word, _)) => return Self::failure(&format!("unrecognized command: {}", quoted(word))),
            None => {}
        }
        if let Some(FlagValue::Text(text)) = last(&given, Flag::Signal)
            && !text.is_empty()
        {
            return match SignalRequest::parse(text) {
                Ok(request) => Self::Signal(request),
                Err(error) => Self::failure(&error),
            };
        }
        if let Some(name) = unsupported(&given) {
            let dashes = if name.len() == 1 { "-" } else { "--" };
            return Self::failure(&format!(
                "option {dashes}{name} is not supported by JetKV: the profiles are of Go's runtime"
            ));
        }
        let check_only = is_on(Flag::CheckConfig);
        Self::run(given, check_only)
    }

    fn run(given: Vec<Given>, check_only: bool) -> Self {
        let config_file = config_file(&given).map(str::to_owned);
        if check_only && config_file.is_none() {
            return Self::failure("must specify [-c, --config] option to check configuration file syntax");
        }
        match CommandLine::load(given, config_file.as_deref()) {
            Ok(line) if check_only => {
                let (file, digest) = (&line.options.config_file, &line.options.config_digest);
                if !line.warnings.is_empty() {
                    return Self::failure(&line.warnings);
                }
                if let Some(address) = &line.options.client_advertise
                    && let Err(reason) = host_and_port(address, line.options.port)
                {
                    return Self::failure(&format!("invalid client_advertise {}: {reason}", quoted(address)));
                }
                Self::Print(Message {
                    stdout: String::new(),
                    stderr: format!(
                        "{PROGRAM}: configuration file {} is valid ({})\n",
                        file.as_deref().unwrap_or_default(),
                        digest.as_deref().unwrap_or_default(),
                    ),
                    exit_code: 0,
                })
            }
            Ok(line) => Self::Run(Box::new(line)),
            Err(error) => Self::failure(&error.to_string()),
        }
    }

    fn version() -> Self {
        Self::Print(Message {
            stdout: format!("{PROGRAM}: v{SERVER_VERSION}\n"),
            // Tools take all of standard output for the version that they know.
            stderr: concat!("jetkv: v", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
            exit_code: 0,
        })
    }

    fn out(text: &str) -> Self {
        Self::Print(Message { stdout: text.to_owned(), stderr: String::new(), exit_code: 0 })
    }

    fn failure(text: &str) -> Self {
        Self::Print(Message { stdout: String::new(), stderr: format!("{PROGRAM}: {text}\n"), exit_code: 1 })
    }
}

impl CommandLine {
    fn load(given: Vec<Given>, config_file: Option<&str>) -> Result<Self, OptionsError> {
        let mut draft = Draft::default();
        // The file is compared with the flags (two storage directories are one too many), then the flags win.
        apply(given.iter(), &mut draft);
        let mut warnings = String::new();
        if let Some(path) = config_file {
            let report = draft.read_file(path)?;
            warnings = report.to_string();
            apply(given.iter(), &mut draft);
        }
        look_around(&mut draft)?;
        Ok(Self { options: finish(draft, Purpose::Start)?, warnings, given })
    }

    /// Reads the configuration file again, for a reload. Most flags win over it again; those that nats-server v2.15.2
    /// forgets (observed) are forgotten here, too.
    pub fn reload(&self) -> Result<Options, OptionsError> {
        let Some(path) = &self.options.config_file else { return Err(OptionsError::NoFile) };
        let mut draft = Draft::default();
        draft.read_file(path)?;
        apply(self.given.iter().filter(|one| one.flag.holds_after_reload()), &mut draft);
        look_around(&mut draft)?;
        finish(draft, Purpose::Reload)
    }
}

/// Reads what the environment says.
fn look_around(draft: &mut Draft) -> Result<(), OptionsError> {
    let var = |name: &str| std::env::var_os(name);
    draft.options.look = look_model::from_environment(var).map_err(OptionsError::Invalid)?;
    lab_model::from_environment(&mut draft.options.lab, var).map_err(OptionsError::Invalid)
}

impl Options {
    /// Options from a configuration text, for servers within a program.
    pub fn from_config_text(text: &str) -> Result<Self, OptionsError> {
        let mut draft = Draft::default();
        draft.read_text(text)?;
        finish(draft, Purpose::Start)
    }
}

fn last(given: &[Given], flag: Flag) -> Option<&FlagValue> {
    given.iter().rev().find(|one| one.flag == flag).map(|one| &one.value)
}

fn config_file(given: &[Given]) -> Option<&str> {
    match last(given, Flag::ConfigFile) {
        Some(FlagValue::Text(path)) if !path.is_empty() => Some(path),
        _ => None,
    }
}

/// Name of a flag whose feature is not there, unless its value turns it off.
fn unsupported(given: &[Given]) -> Option<&'static str> {
    let is_off = |value: &FlagValue| match value {
        FlagValue::Switch(on) => !on,
        FlagValue::Number(number) => *number == 0,
        FlagValue::Text(text) => text.is_empty(),
    };
    given.iter().find(|one| one.flag == Flag::Unsupported && !is_off(&one.value)).map(|one| one.name)
}

/// Lets flags win over what the draft holds.
fn apply<'a>(given: impl Iterator<Item = &'a Given> + Clone, draft: &mut Draft) {
    // Switches for several things at once win over those for one.
    let is_combined = |flag| matches!(flag, Flag::DebugTrace | Flag::DebugTraceVerbose | Flag::TraceVerbose);
    for one in given.clone().filter(|one| !is_combined(one.flag)) {
        match &one.value {
            FlagValue::Switch(on) => apply_switch(one.flag, *on, draft),
            FlagValue::Number(number) => apply_number(one.flag, *number, draft),
            FlagValue::Text(text) => apply_text(one.flag, text, draft),
        }
    }
    for flag in [Flag::DebugTrace, Flag::DebugTraceVerbose, Flag::TraceVerbose] {
        let of_flag = given.clone().filter(|one| one.flag == flag);
        if let Some(FlagValue::Switch(on)) = of_flag.last().map(|one| &one.value) {
            apply_switch(flag, *on, draft);
        }
    }
}

fn apply_switch(flag: Flag, on: bool, draft: &mut Draft) {
    match flag {
        Flag::Tls => draft.tls_flags.on = Some(on),
        Flag::TlsVerify => (draft.tls_flags.any, draft.tls_flags.verify) = (true, on),
        _ => {}
    }
    let log = &mut draft.options.log;
    let names: &[&'static str] = match flag {
        Flag::Debug => &["Debug"],
        Flag::Trace => &["Trace"],
        Flag::DebugTrace => &["Debug", "Trace"],
        Flag::TraceVerbose => &["Trace", "TraceVerbose"],
        Flag::DebugTraceVerbose => &["Debug", "Trace", "TraceVerbose"],
        Flag::LogTime => &["Logtime"],
        Flag::LogTimeUtc => &["LogtimeUTC"],
        Flag::JetStream => &["JetStream"],
        Flag::Syslog => &["Syslog"],
        _ => &[],
    };
    for name in names {
        match *name {
            "Debug" => log.debug = on,
            "Trace" => log.trace = on,
            "TraceVerbose" => log.trace_verbose = on,
            "Logtime" => log.time = on,
            "LogtimeUTC" => log.time_utc = on,
            "Syslog" => log.syslog = on,
            _ => draft.options.jetstream.enabled = on,
        }
        draft.options.origin.in_command_line.insert(name, on);
    }
}

fn apply_number(flag: Flag, number: i64, draft: &mut Draft) {
    match flag {
        Flag::Port => draft.port = number,
        Flag::HttpPort => draft.http_port = number,
        Flag::HttpsPort => draft.https_port = number,
        Flag::LogSizeLimit => {
            draft.options.log.file_size_limit_bytes = u64::try_from(number).unwrap_or(0);
        }
        Flag::MaxTracedMsgLen => {
            draft.options.log.max_traced_msg_len = usize::try_from(number).unwrap_or(0);
        }
        _ => {}
    }
}

fn apply_text(flag: Flag, text: &str, draft: &mut Draft) {
    if matches!(flag, Flag::TlsCert | Flag::TlsKey | Flag::TlsAuthorities) {
        let flags = &mut draft.tls_flags;
        flags.any = true;
        let slot = match flag {
            Flag::TlsCert => &mut flags.cert,
            Flag::TlsKey => &mut flags.key,
            _ => &mut flags.ca,
        };
        text.clone_into(slot);
        return;
    }
    let options = &mut draft.options;
    let given = (!text.is_empty()).then(|| text.to_owned());
    match flag {
        Flag::ClusterListen => draft.cluster_flags.listen = Some(text.to_owned()),
        Flag::ClusterName => draft.cluster_flags.name = Some(text.to_owned()),
        Flag::ClusterAdvertise => draft.cluster_flags.advertise = Some(text.to_owned()),
        Flag::Routes => text.clone_into(&mut draft.cluster_flags.routes),
        Flag::Host => options.host = given.unwrap_or_else(|| defaults::HOST.to_owned()),
        Flag::ServerName => options.server_name = given,
        Flag::ClientAdvertise => options.client_advertise = given,
        Flag::LogFile => options.log.file = given.map(Into::into),
        Flag::RemoteSyslog => options.log.remote_syslog = given,
        Flag::PidFile => options.pid_file = given.map(Into::into),
        Flag::PortsFileDir => options.ports_file_dir = given.map(Into::into),
        Flag::StoreDir => options.jetstream.store_dir = given.map(Into::into),
        Flag::User => options.auth.username = given,
        Flag::Pass => options.auth.password = given,
        Flag::Auth => options.auth.token = given,
        _ => {}
    }
}

/// What flags make of TLS, if they say anything of it. The error is nats-server's text.
fn tls_of_flags(flags: &TlsFlags) -> Result<Option<Option<TlsOptions>>, String> {
    if flags.on == Some(false) {
        return Ok(Some(None));
    }
    if flags.on.is_none() && !flags.any {
        return Ok(None);
    }
    if flags.cert.is_empty() {
        return Err("TLS Server certificate must be present and valid".to_owned());
    }
    if flags.key.is_empty() {
        return Err("TLS Server private key must be present and valid".to_owned());
    }
    let ca = (!flags.ca.is_empty()).then(|| Path::new(&flags.ca));
    tls::from_flags(Path::new(&flags.cert), Path::new(&flags.key), ca, flags.verify).map(Some).map(Some)
}

/// The port of the monitoring pages as given, with or without TLS, which a running server has no need of: whether there are
/// certificates is found out where the port is opened. The error is nats-server's text.
fn http_port(http: i64, https: i64, options: &Options, purpose: Purpose) -> Result<i64, String> {
    let refused = |reason: &str| Err(format!("Can't start monitoring: {reason}"));
    match (http, https) {
        (http, 0) => Ok(http),
        (0, https) if options.tls.is_some() || purpose == Purpose::Reload => Ok(https),
        (0, _) => refused("TLS cert and key required for HTTPS"),
        (http, https) => refused(&format!("can't specify both HTTP ({http}) and HTTPs ({https}) ports")),
    }
}

fn finish(mut draft: Draft, purpose: Purpose) -> Result<Options, OptionsError> {
    let cluster_flags = std::mem::take(&mut draft.cluster_flags);
    cluster_flags.apply(&mut draft.listeners).map_err(OptionsError::Invalid)?;
    let mut options = draft.options;
    options.port = port(draft.port, defaults::PORT).map_err(|error| {
        let (host, port) = (&options.host, draft.port);
        OptionsError::Invalid(format!("Error listening on port: {host}:{port}, \"{error}\""))
    })?;
    options.monitor.host = draft.http_host.unwrap_or_else(|| options.host.clone());
    if let Some(tls) = tls_of_flags(&draft.tls_flags).map_err(OptionsError::Invalid)? {
        options.tls = tls;
    }
    // The handshake takes of the time that there is.
    let after_handshake =
        options.tls.as_ref().map(|tls| tls.timeout.saturating_add(defaults::AUTH_AFTER_TLS));
    options.auth.timeout = draft.auth_timeout.or(after_handshake).unwrap_or(options.auth.timeout);
    options.monitor.secure = draft.https_port != 0;
    let http_port = http_port(draft.http_port, draft.https_port, &options, purpose);
    let http_port = http_port.map_err(OptionsError::Invalid)?;
    options.monitor.port = match http_port {
        0 => None,
        given => Some(port(given, 0).map_err(|error| {
            OptionsError::Invalid(format!(
                "Can't start monitoring: can't listen to the monitor port: {error}"
            ))
        })?),
    };
    options.monitor.base_path = clean_path(&options.monitor.base_path);
    if options.jetstream.info_queue_limit == 0 {
        options.jetstream.info_queue_limit = options.jetstream.request_queue_limit;
    }
    options.websocket = websocket(draft.websocket).map_err(OptionsError::Invalid)?;
    lab_model::confine(&mut options).map_err(OptionsError::Invalid)?;
    if !draft.no_stapling {
        validate::check_stapling(&options).map_err(OptionsError::Invalid)?;
    }
    validate::check(&options, purpose).map_err(OptionsError::Invalid)?;
    let cluster = draft.listeners.iter().find(|listener| listener.feature == Unserved::Cluster);
    options.cluster_name = cluster.map(|listener| listener.name.clone()).filter(|name| !name.is_empty());
    options.unserved_listeners =
        unserved_listeners(draft.listeners, &options).map_err(OptionsError::Invalid)?;
    Ok(options)
}

/// The listener for clients that speak WebSocket, where it has a port.
fn websocket(draft: WebsocketDraft) -> Result<Option<WebsocketOptions>, String> {
    let WebsocketDraft { mut options, port: given } = draft;
    if given == 0 {
        return Ok(None);
    }
    if options.host.is_empty() {
        defaults::HOST.clone_into(&mut options.host);
    }
    options.port =
        port(given, 0).map_err(|error| format!("Unable to listen for websocket connections: {error}"))?;
    Ok(Some(options))
}

/// A path with a leading slash and without empty, `.` and `..` parts.
fn clean_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{Command, CommandLine};

    /// Options of a command line that runs a server with this configuration file.
    fn line(config: &str, flags: &str) -> CommandLine {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config).unwrap();
        let mut arguments = vec!["-c".to_owned(), file.path().display().to_string()];
        arguments.extend(flags.split_whitespace().map(str::to_owned));
        match Command::from_arguments(&arguments) {
            Command::Run(line) => *line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let options = line("port: 1\nhttp: 2\ndebug: true\nhost: a\nmax_payload: 5", "-p 3 -D=false").options;
        assert_eq!((options.port, options.monitor.port), (3, Some(2)));
        assert_eq!((options.host.as_str(), options.monitor.host.as_str()), ("a", "a"));
        assert!(!options.log.debug);
        assert_eq!(
            (options.limits.max_payload_bytes, options.limits.max_control_line_bytes),
            (Some(5), 4096)
        );
    }

    #[test]
    fn ports_are_free_ones_or_defaults_by_their_sign() {
        let options = line("port: -1\nhttp_port: -1", "").options;
        assert_eq!((options.port, options.monitor.port), (0, Some(0)));
        let options = line("port: 7", "-p 0").options;
        assert_eq!((options.port, options.monitor.port), (4222, None));
    }

    #[test]
    fn a_negative_payload_is_no_limit_and_is_shown_as_minus_one() {
        let limits = line("max_payload: -1\nmax_pending: 1KB", "").options.limits;
        assert_eq!((limits.max_payload_bytes, limits.shown_max_payload()), (None, -1));
    }

    #[test]
    fn combined_switches_win_over_single_ones() {
        let log = line("logtime: false", "-DV -D=false").options.log;
        assert!(log.debug && log.trace && !log.trace_verbose && !log.time);
        let log = line("", "-DVV -T=false").options.log;
        assert!(log.debug && log.trace && log.trace_verbose && !log.time);
    }

    #[test]
    fn zero_means_the_default_except_for_connections() {
        let options =
            line("max_connections: 0\nmax_pending: 0\nping_max: 0\nping_interval: \"0s\"", "").options;
        assert_eq!(options.limits.max_connections, -1);
        assert_eq!(options.limits.max_pending_bytes, 64 * 1024 * 1024);
        assert_eq!((options.limits.ping_max, options.limits.ping_interval.as_secs()), (2, 120));
    }

    #[test]
    fn a_reload_takes_the_file_anew_and_the_flags_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        std::fs::write(file.path(), "max_payload: 5").unwrap();
        let arguments: Vec<String> =
            ["-c", &path, "-js", "-sd", "/y", "-n", "x", "-logtime_utc"].map(str::to_owned).into();
        let Command::Run(line) = Command::from_arguments(&arguments) else { panic!() };
        std::fs::write(file.path(), "max_payload: 6\njetstream {}").unwrap();
        let options = line.reload().unwrap();
        assert_eq!(options.limits.max_payload_bytes, Some(6));
        assert_eq!(
            (options.server_name.as_deref(), options.log.time_utc),
            (None, false),
            "flags that are forgotten"
        );
        assert_eq!(options.jetstream.store_dir.as_deref(), Some("/y".as_ref()));
    }

    #[test]
    fn base_paths_are_cleaned() {
        for (given, clean) in [("", "/"), ("a", "/a"), ("/a/", "/a"), ("//a/../b/./c", "/b/c")] {
            assert_eq!(super::clean_path(given), clean, "{given}");
        }
    }
}
