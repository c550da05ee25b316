//! `jetkv lab <group> <verb>`: a request from the command line, to a server that runs elsewhere.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use jetkv_go_compat::GoDuration;
use jetkv_protocol::{ConnectOptions, ServerInfo, ServerOp, ServerParser, Step, encode};
use serde_json::{Map, Value};

use crate::faults::LAB;
use crate::options::Message;

const USAGE: &str = "\
Usage: jetkv lab <group> <verb> [name=value ...] [options]

Asks the test lab of a running server, and prints its answer as JSON.

    jetkv lab time get
    jetkv lab time advance by=1h30m
    jetkv lab time next stream=KV_b
    jetkv lab state reset
    jetkv lab serve --help        starts servers for tests when asked to, as NTF does

A value is JSON where it can be read so, else text.

Options:
    --server <url>      nats://[user[:password]@]host[:port]; by default $NATS_URL, else nats://127.0.0.1:4222
    --token <token>     the lab's token; by default $JETKV_LAB_TOKEN
    --timeout <time>    how long the answer is waited for (60s)
";
/// Where the answer comes.
const INBOX: &[u8] = b"_INBOX.jetkv.lab";
const DEFAULT_PORT: u16 = 4222;
const TIMEOUT: Duration = Duration::from_secs(60);

/// A request and where it goes.
#[derive(Debug, PartialEq, Eq)]
struct Command {
    subject: String,
    body: String,
    server: String,
    token: Option<String>,
    timeout: Duration,
}

/// Carries out what stands behind `lab` on the command line; tells what to print and how to end.
#[must_use]
pub fn run(arguments: &[String]) -> Message {
    if arguments.iter().any(|argument| matches!(argument.as_str(), "-h" | "--help" | "help")) {
        return Message { stdout: USAGE.to_owned(), stderr: String::new(), exit_code: 0 };
    }
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let answer = Command::parse(arguments, var).and_then(|command| command.ask());
    match answer {
        Ok(answer) => {
            let failed =
                serde_json::from_slice::<Value>(&answer).is_ok_and(|json| json.get("error").is_some());
            let stdout = format!("{}\n", String::from_utf8_lossy(&answer));
            Message { stdout, stderr: String::new(), exit_code: u8::from(failed) }
        }
        Err(error) => {
            Message { stdout: String::new(), stderr: format!("jetkv lab: {error}\n"), exit_code: 1 }
        }
    }
}

impl Command {
    fn parse(arguments: &[String], var: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut words = Vec::new();
        let mut fields = Map::new();
        let (mut server, mut token, mut timeout) = (None, None, TIMEOUT);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let (flag, given) = argument.split_once('=').map_or((&**argument, None), |(a, b)| (a, Some(b)));
            let mut value = || {
                let value = given.map(str::to_owned).or_else(|| rest.next().cloned());
                value.ok_or_else(|| format!("{flag} needs a value"))
            };
            match flag {
                "--server" | "-s" => server = Some(value()?),
                "--token" => token = Some(value()?),
                "--timeout" => timeout = GoDuration::parse(&value()?)?.as_duration(),
                _ if flag.starts_with('-') => return Err(format!("unknown option {flag}\n{USAGE}")),
                name => match given {
                    Some(value) => {
                        let read = serde_json::from_str(value);
                        fields.insert(name.to_owned(), read.unwrap_or_else(|_| Value::from(value)));
                    }
                    None => words.push(name.to_ascii_uppercase()),
                },
            }
        }
        let [group, verb] = words.as_slice() else {
            return Err(format!("a group and a verb are needed\n{USAGE}"));
        };
        if let Some(odd) = words.iter().find(|word| !word.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            return Err(format!("{odd} is no group and no verb\n{USAGE}"));
        }
        Ok(Self {
            subject: format!("{LAB}{group}.{verb}"),
            body: Value::Object(fields).to_string(),
            server: server.or_else(|| var("NATS_URL")).unwrap_or_else(|| "127.0.0.1".to_owned()),
            token: token.or_else(|| var("JETKV_LAB_TOKEN")),
            timeout,
        })
    }

    /// Makes the request, and gives the answer's bytes.
    fn ask(&self) -> Result<Vec<u8>, String> {
        let Place { user, password, address } = Place::parse(&self.server)?;
        let socket = TcpStream::connect(&address).map_err(|error| format!("{address}: {error}"))?;
        let mut wire = Wire {
            socket,
            parser: ServerParser::new(),
            received: Vec::new(),
            until: Instant::now() + self.timeout,
        };
        let info = wire.next(|op| match op {
            ServerOp::Info(json) => Some(ServerInfo::from_json(json).map_err(|error| error.to_string())),
            _ => None,
        })??;
        if info.tls_required {
            return Err(format!("{address} wants TLS, which this command does not speak"));
        }
        wire.send(&self.request(user, password))?;
        wire.next(|op| match op {
            ServerOp::Msg { headers, .. } if headers.starts_with(b"NATS/1.0 503") => {
                Some(Err("the server has no test lab: start it with JETKV_LAB=1".to_owned()))
            }
            ServerOp::Msg { payload, .. } => Some(Ok(payload.to_vec())),
            ServerOp::Err(text) => Some(Err(String::from_utf8_lossy(text).into_owned())),
            _ => None,
        })?
    }

    fn request(&self, user: String, password: String) -> Vec<u8> {
        let (user, auth_token) =
            if password.is_empty() { (String::new(), user) } else { (user, String::new()) };
        let connect = ConnectOptions {
            user,
            pass: password,
            auth_token,
            verbose: false,
            pedantic: false,
            headers: true,
            no_responders: true,
            name: "jetkv lab".to_owned(),
            ..ConnectOptions::default()
        };
        let headers =
            self.token.as_ref().map(|token| format!("NATS/1.0\r\nAuthorization: Bearer {token}\r\n\r\n"));
        let mut bytes = Vec::new();
        encode::connect(&mut bytes, connect.to_json().as_bytes());
        encode::sub(&mut bytes, INBOX, None, b"1");
        let headers = headers.unwrap_or_default();
        encode::publish(
            &mut bytes,
            self.subject.as_bytes(),
            Some(INBOX),
            headers.as_bytes(),
            self.body.as_bytes(),
        );
        bytes
    }
}

/// Where a server is, and who asks.
pub(crate) struct Place {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) address: String,
}

impl Place {
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let rest = match url.split_once("://") {
            Some(("nats", rest)) => rest,
            Some((scheme, _)) => return Err(format!("this command does not speak {scheme}")),
            None => url,
        };
        let (who, host) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) = who.split_once(':').unwrap_or((who, ""));
        let host = host.trim_end_matches('/');
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { host.to_owned() } else { format!("{host}:{DEFAULT_PORT}") };
        Ok(Self { user: user.to_owned(), password: password.to_owned(), address })
    }
}

/// A connection that reads what a server sends.
struct Wire {
    socket: TcpStream,
    parser: ServerParser,
    received: Vec<u8>,
    until: Instant,
}

impl Wire {
    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.socket.write_all(bytes).map_err(|error| error.to_string())
    }

    /// Reads on until something is found in an operation. A PING is answered meanwhile.
    fn next<T>(&mut self, find: impl Fn(ServerOp<'_>) -> Option<T>) -> Result<T, String> {
        loop {
            let step = self.parser.parse(&self.received).map_err(|error| error.to_string())?;
            let Step::Op { op, consumed } = step else {
                self.read()?;
                continue;
            };
            let (is_ping, found) = (op == ServerOp::Ping, find(op));
            self.received.drain(..consumed);
            if let Some(found) = found {
                return Ok(found);
            }
            if is_ping {
                self.send(encode::PONG)?;
            }
        }
    }

    fn read(&mut self) -> Result<(), String> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("no answer in time".to_owned());
        }
        let mut bytes = [0; 4096];
        let read = self.socket.set_read_timeout(Some(left)).and_then(|()| self.socket.read(&mut bytes));
        match read {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(count) => {
                self.received.extend_from_slice(bytes.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                Err("no answer in time".to_owned())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Command, String> {
        let arguments: Vec<String> = text.split(' ').map(str::to_owned).collect();
        Command::parse(&arguments, |name| (name == "NATS_URL").then(|| "nats://h:1".to_owned()))
    }

    #[test]
    fn a_request_is_words_and_fields() {
        let command = parse("time advance by=1h what=wall --token t --timeout=5s").unwrap();
        assert_eq!(command.subject, "$JETKV.LAB.TIME.ADVANCE");
        assert_eq!(command.body, r#"{"by":"1h","what":"wall"}"#);
        assert_eq!((command.server.as_str(), command.token.as_deref()), ("nats://h:1", Some("t")));
        assert_eq!(command.timeout, Duration::from_secs(5));
        assert_eq!(parse(r#"state reset keep=["clock"] -s x"#).unwrap().body, r#"{"keep":["clock"]}"#);
        for wrong in
            ["time", "time advance now by=1h", "time advance --by 1h", "time ad.vance", "time get --token"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_server_is_named_in_several_ways() {
        for (url, user, password, address) in [
            ("h", "", "", "h:4222"),
            ("nats://u:p@h:5", "u", "p", "h:5"),
            ("nats://t@[::1]:5/", "t", "", "[::1]:5"),
            ("[::1]", "", "", "[::1]:4222"),
        ] {
            let place = Place::parse(url).unwrap();
            assert_eq!((&*place.user, &*place.password, &*place.address), (user, password, address), "{url}");
        }
        assert!(Place::parse("tls://h").is_err());
    }
}
