//! The command line of `jetkv lab serve`.

use std::net::IpAddr;
use std::path::PathBuf;

/// What `--help` shows.
pub(super) const USAGE: &str = "\
Usage: jetkv lab serve [options]

Starts servers for tests when it is asked to, as the NATS testing framework (NTF) does: a micro service on tester.>.
Prints the URL for TESTER_NATS_URL, and runs until SIGINT or SIGTERM.

    jetkv lab serve --port 4222 &
    TESTER_NATS_URL=nats://127.0.0.1:4222 go test ./...

Options:
    --port <port>       where the service's own server listens; 0, the default, is a free one
    --host <address>    where that and all servers listen (127.0.0.1); beyond this machine with a token only
    --token <token>     what clients of the service show (nats://token@host:port); by default $JETKV_LAB_TOKEN
    --url <url>         serve on a server that runs elsewhere: nats://[user[:password]@]host[:port]
    --advertise <host>  the host that servers tell their clients
    --ports <low-high>  the ports of servers (20000-32767)
    --dir <folder>      where servers store (a folder that is removed at the end, below the system's one for that)
";
const PORTS: (u16, u16) = (20_000, 32_767);

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServeOptions {
    pub(super) host: IpAddr,
    pub(super) port: u16,
    pub(super) token: Option<String>,
    pub(super) url: Option<String>,
    pub(super) advertise: Option<String>,
    pub(super) ports: (u16, u16),
    pub(super) dir: Option<PathBuf>,
}

impl ServeOptions {
    pub(super) fn parse(arguments: &[String], token: Option<String>) -> Result<Self, String> {
        let mut options = Self {
            host: IpAddr::from([127, 0, 0, 1]),
            port: 0,
            token,
            url: None,
            advertise: None,
            ports: PORTS,
            dir: None,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let (flag, given) = argument.split_once('=').map_or((&**argument, None), |(a, b)| (a, Some(b)));
            let mut value = || {
                let value = given.map(str::to_owned).or_else(|| rest.next().cloned());
                value.ok_or_else(|| format!("{flag} needs a value"))
            };
            match flag {
                "--port" => options.port = number(&value()?)?,
                "--host" => {
                    let host = value()?;
                    let host = if host == "localhost" { "127.0.0.1" } else { &host };
                    options.host = host.parse().map_err(|_| format!("{host} is no address"))?;
                }
                "--token" => options.token = Some(value()?),
                "--url" => options.url = Some(value()?),
                "--advertise" => options.advertise = Some(value()?),
                "--dir" => options.dir = Some(value()?.into()),
                "--ports" => {
                    let range = value()?;
                    let ends =
                        range.split_once('-').ok_or_else(|| format!("{range} is no range of ports"))?;
                    options.ports = (number(ends.0)?, number(ends.1)?);
                }
                _ => return Err(format!("unknown option {argument}\n{USAGE}")),
            }
        }
        options.check()
    }

    fn check(self) -> Result<Self, String> {
        let (low, high) = self.ports;
        if low == 0 || low > high {
            return Err(format!("{low}-{high} is no range of ports"));
        }
        if !self.host.is_loopback() && self.token.is_none() {
            let host = self.host;
            return Err(format!(
                "whoever reaches the service may run servers: it listens on {host} only with a token (--token, or JETKV_LAB_TOKEN)"
            ));
        }
        let is_plain =
            |token: &String| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if self.token.as_ref().is_some_and(|token| !is_plain(token)) {
            return Err("a token has letters, digits and signs, without blanks".to_owned());
        }
        if self.url.is_some() && self.port != 0 {
            return Err("--port is of the service's own server, and --url asks for none".to_owned());
        }
        Ok(self)
    }
}

fn number(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text} is no port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ServeOptions, String> {
        let arguments: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        ServeOptions::parse(&arguments, None)
    }

    #[test]
    fn a_service_stays_on_this_machine_without_a_token() {
        let options = parse("--port=4222 --ports 25000-25010").unwrap();
        assert_eq!((options.port, options.ports), (4222, (25_000, 25_010)));
        assert!(options.host.is_loopback());
        assert!(parse("--host ::1").is_ok() && parse("--host localhost").is_ok());
        assert!(parse("--host 0.0.0.0").is_err());
        assert_eq!(parse("--host 0.0.0.0 --token t").unwrap().token.as_deref(), Some("t"));
        for wrong in [
            "--host x",
            "--ports 5",
            "--ports 9-8",
            "--ports 0-8",
            "--port",
            "--other",
            "more",
            "--url u --port 5",
            "--token=",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
