//! The command line by Go's flag rules: `-x` is `--x`, `-x=v` is `-x v`, switches take no next argument, names are
//! whole (`-DV` is one), and the first argument that is no flag ends them, as does `--`.

use jetkv_go_compat::quoted;

/// What a flag sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    Auth,
    CheckConfig,
    ClientAdvertise,
    ClusterAdvertise,
    ClusterListen,
    ClusterName,
    ConfigFile,
    ConnectRetries,
    Debug,
    DebugTrace,
    DebugTraceVerbose,
    Help,
    HelpTls,
    Host,
    HttpPort,
    HttpsPort,
    JetStream,
    LogFile,
    LogSizeLimit,
    LogTime,
    LogTimeUtc,
    MaxTracedMsgLen,
    NoAdvertise,
    Pass,
    PidFile,
    Port,
    PortsFileDir,
    RemoteSyslog,
    Routes,
    ServerName,
    Signal,
    StoreDir,
    Syslog,
    Tls,
    TlsAuthorities,
    TlsCert,
    TlsKey,
    TlsVerify,
    Trace,
    TraceVerbose,
    User,
    Version,
    /// A flag of nats-server whose feature is not there.
    Unsupported,
}

impl Flag {
    /// Whether the flag wins over the file at a reload, too. nats-server v2.15.2 forgets some (observed): where the
    /// option cannot change then, the file has to repeat what the flag said.
    pub(crate) fn holds_after_reload(self) -> bool {
        !matches!(
            self,
            Self::ClusterName
                | Self::ServerName
                | Self::RemoteSyslog
                | Self::LogSizeLimit
                | Self::LogTimeUtc
                | Self::MaxTracedMsgLen
        )
    }
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Switch,
    Number,
    Text,
}

/// A flag's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FlagValue {
    Switch(bool),
    Number(i64),
    Text(String),
}

/// A flag as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) flag: Flag,
    /// Its name without dashes, as given.
    pub(crate) name: &'static str,
    pub(crate) value: FlagValue,
}

/// Every flag of nats-server v2.15.2, sorted by name.
const FLAGS: [(&str, Flag, Kind); 64] = [
    ("D", Flag::Debug, Kind::Switch),
    ("DV", Flag::DebugTrace, Kind::Switch),
    ("DVV", Flag::DebugTraceVerbose, Kind::Switch),
    ("P", Flag::PidFile, Kind::Text),
    ("T", Flag::LogTime, Kind::Switch),
    ("V", Flag::Trace, Kind::Switch),
    ("VV", Flag::TraceVerbose, Kind::Switch),
    ("a", Flag::Host, Kind::Text),
    ("addr", Flag::Host, Kind::Text),
    ("auth", Flag::Auth, Kind::Text),
    ("c", Flag::ConfigFile, Kind::Text),
    ("client_advertise", Flag::ClientAdvertise, Kind::Text),
    ("cluster", Flag::ClusterListen, Kind::Text),
    ("cluster_advertise", Flag::ClusterAdvertise, Kind::Text),
    ("cluster_listen", Flag::ClusterListen, Kind::Text),
    ("cluster_name", Flag::ClusterName, Kind::Text),
    ("config", Flag::ConfigFile, Kind::Text),
    ("connect_retries", Flag::ConnectRetries, Kind::Number),
    ("debug", Flag::Debug, Kind::Switch),
    ("h", Flag::Help, Kind::Switch),
    ("help", Flag::Help, Kind::Switch),
    ("help_tls", Flag::HelpTls, Kind::Switch),
    ("http_port", Flag::HttpPort, Kind::Number),
    ("https_port", Flag::HttpsPort, Kind::Number),
    ("jetstream", Flag::JetStream, Kind::Switch),
    ("js", Flag::JetStream, Kind::Switch),
    ("l", Flag::LogFile, Kind::Text),
    ("log", Flag::LogFile, Kind::Text),
    ("log_size_limit", Flag::LogSizeLimit, Kind::Number),
    ("logtime", Flag::LogTime, Kind::Switch),
    ("logtime_utc", Flag::LogTimeUtc, Kind::Switch),
    ("m", Flag::HttpPort, Kind::Number),
    ("max_traced_msg_len", Flag::MaxTracedMsgLen, Kind::Number),
    ("ms", Flag::HttpsPort, Kind::Number),
    ("n", Flag::ServerName, Kind::Text),
    ("name", Flag::ServerName, Kind::Text),
    ("net", Flag::Host, Kind::Text),
    ("no_advertise", Flag::NoAdvertise, Kind::Switch),
    ("p", Flag::Port, Kind::Number),
    ("pass", Flag::Pass, Kind::Text),
    ("pid", Flag::PidFile, Kind::Text),
    ("port", Flag::Port, Kind::Number),
    ("ports_file_dir", Flag::PortsFileDir, Kind::Text),
    ("profile", Flag::Unsupported, Kind::Number),
    ("r", Flag::RemoteSyslog, Kind::Text),
    ("remote_syslog", Flag::RemoteSyslog, Kind::Text),
    ("routes", Flag::Routes, Kind::Text),
    ("s", Flag::Syslog, Kind::Switch),
    ("sd", Flag::StoreDir, Kind::Text),
    ("server_name", Flag::ServerName, Kind::Text),
    ("signal", Flag::Signal, Kind::Text),
    ("sl", Flag::Signal, Kind::Text),
    ("store_dir", Flag::StoreDir, Kind::Text),
    ("syslog", Flag::Syslog, Kind::Switch),
    ("t", Flag::CheckConfig, Kind::Switch),
    ("tls", Flag::Tls, Kind::Switch),
    ("tlscacert", Flag::TlsAuthorities, Kind::Text),
    ("tlscert", Flag::TlsCert, Kind::Text),
    ("tlskey", Flag::TlsKey, Kind::Text),
    ("tlsverify", Flag::TlsVerify, Kind::Switch),
    ("trace", Flag::Trace, Kind::Switch),
    ("user", Flag::User, Kind::Text),
    ("v", Flag::Version, Kind::Switch),
    ("version", Flag::Version, Kind::Switch),
];

/// The flags of a command line, in the order given, and the arguments after them. The error is the line to print.
pub(crate) fn parse(arguments: &[String]) -> Result<(Vec<Given>, &[String]), String> {
    let mut given = Vec::new();
    let mut rest = arguments;
    while let Some((argument, after)) = rest.split_first() {
        let Some(text) = argument.strip_prefix('-').filter(|text| !text.is_empty()) else { break };
        let text = text.strip_prefix('-').unwrap_or(text);
        rest = after;
        if text.is_empty() {
            break;
        }
        if text.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {argument}"));
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let Some((name, flag, kind)) = FLAGS.iter().find(|(known, _, _)| *known == name) else {
            return Err(format!("flag provided but not defined: -{name}"));
        };
        let value = match (kind, value) {
            (Kind::Switch, None) => FlagValue::Switch(true),
            (Kind::Switch, Some(value)) => FlagValue::Switch(switch(name, value)?),
            (_, Some(value)) => typed(*kind, name, value)?,
            (_, None) => {
                let Some((value, after)) = rest.split_first() else {
                    return Err(format!("flag needs an argument: -{name}"));
                };
                rest = after;
                typed(*kind, name, value)?
            }
        };
        given.push(Given { flag: *flag, name, value });
    }
    Ok((given, rest))
}

fn switch(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("invalid boolean value {} for -{name}: parse error", quoted(value))),
    }
}

fn typed(kind: Kind, name: &str, value: &str) -> Result<FlagValue, String> {
    if kind != Kind::Number {
        return Ok(FlagValue::Text(value.to_owned()));
    }
    number(value)
        .map(FlagValue::Number)
        .map_err(|reason| format!("invalid value {} for flag -{name}: {reason}", quoted(value)))
}

/// An integer as Go writes them: decimal, or with the prefix of another base.
fn number(text: &str) -> Result<i64, &'static str> {
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(rest) if text.starts_with('-') => ("-", rest),
        Some(rest) => ("", rest),
        None => ("", text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, lower.get(2..).unwrap_or_default()),
        Some("0b") => (2, lower.get(2..).unwrap_or_default()),
        Some("0o") => (8, lower.get(2..).unwrap_or_default()),
        Some(_) if lower.starts_with('0') => (8, lower.get(1..).unwrap_or_default()),
        _ => (10, lower.as_str()),
    };
    if digits.starts_with(['+', '-']) {
        return Err("parse error");
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).map_err(|error| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
        _ => "parse error",
    })
}

#[cfg(test)]
mod tests {
    use super::{FLAGS, FlagValue, parse};

    fn arguments(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// `name=value` of every flag given, and the arguments left.
    fn shown(line: &str) -> Result<String, String> {
        let arguments = arguments(line);
        let (given, rest) = parse(&arguments)?;
        let mut words: Vec<String> = given
            .iter()
            .map(|given| match &given.value {
                FlagValue::Switch(value) => format!("{}={value}", given.name),
                FlagValue::Number(value) => format!("{}={value}", given.name),
                FlagValue::Text(value) => format!("{}={value}", given.name),
            })
            .collect();
        words.extend(rest.iter().map(|word| format!("[{word}]")));
        Ok(words.join(" "))
    }

    #[test]
    fn follows_go_rules() {
        for (line, expected) in [
            ("-p 4333 --port=4334", "p=4333 port=4334"),
            ("-sd=/x -js", "sd=/x js=true"),
            ("-DV -VV=false", "DV=true VV=false"),
            ("-D false", "D=true [false]"),
            ("-p -1 x -D", "p=-1 [x] [-D]"),
            ("-D -- -V", "D=true [-V]"),
            ("- -D", "[-] [-D]"),
            ("-p 0x10 -m 010 -p 0b11", "p=16 m=8 p=3"),
            ("-n= -c a=b", "n= c=a=b"),
        ] {
            assert_eq!(shown(line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn refuses_with_go_texts() {
        for (line, expected) in [
            ("-foo", "flag provided but not defined: -foo"),
            ("--foo=1", "flag provided but not defined: -foo"),
            ("-DX", "flag provided but not defined: -DX"),
            ("-p", "flag needs an argument: -p"),
            ("--signal", "flag needs an argument: -signal"),
            ("-p abc", "invalid value \"abc\" for flag -p: parse error"),
            ("-p=", "invalid value \"\" for flag -p: parse error"),
            (
                "-p=99999999999999999999",
                "invalid value \"99999999999999999999\" for flag -p: value out of range",
            ),
            ("-D=x", "invalid boolean value \"x\" for -D: parse error"),
            ("---x", "bad flag syntax: ---x"),
            ("-=x", "bad flag syntax: -=x"),
        ] {
            assert_eq!(shown(line), Err(expected.to_owned()), "{line}");
        }
    }

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(FLAGS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
