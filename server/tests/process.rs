//! The program as a process: its files, its log, and what signals do to it. Lines as measured on nats-server v2.15.2.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Instant;

use jetkv_testing::{WAIT_MAX, http, until};

/// A server in a directory of its own; killed when dropped.
struct Running {
    process: Child,
    directory: tempfile::TempDir,
}

impl Running {
    /// Starts a server with this configuration and waits until it is ready.
    fn start(config: &str, flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("c.conf"), config).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_jetkv"))
            .args(["-c", "c.conf", "-l", "log", "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", "."])
            .args(flags)
            .current_dir(directory.path())
            .spawn()
            .unwrap();
        let running = Self { process, directory };
        running.wait_for("log", "[INF] Server is ready");
        running
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn wait_for(&self, file: &str, text: &str) {
        until(text, || {
            let found = std::fs::read_to_string(self.path(file)).unwrap_or_default();
            if found.contains(text) { Ok(()) } else { Err(found) }
        });
    }

    /// Where clients connect, as the ports file says.
    fn client_address(&self) -> String {
        self.address("nats")
    }

    fn address(&self, scheme: &str) -> String {
        let files = ports_files(self.directory.path());
        let text = std::fs::read_to_string(&files[0]).unwrap();
        let prefix = format!("{scheme}://");
        text.split('"').find_map(|word| word.strip_prefix(&prefix)).unwrap().to_owned()
    }

    /// Sends a signal with the program itself.
    fn signal(&self, command: &str) {
        let target = format!("{command}={}", self.process.id());
        let sent = Command::new(env!("CARGO_BIN_EXE_jetkv")).args(["--signal", &target]).status().unwrap();
        assert!(sent.success());
    }

    fn wait_for_end(&mut self) -> ExitStatus {
        until("the server ends", || self.process.try_wait().unwrap().ok_or("it runs"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ports_files(directory: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "ports")).collect()
}

#[test]
fn the_ports_file_lives_as_long_as_the_server_and_the_pid_file_longer() {
    let mut server = Running::start("max_payload: 100KB", &["-P", "pid"]);
    let files = ports_files(server.directory.path());
    let name = format!("nats-server_{}.ports", server.process.id());
    assert_eq!(files[0].file_name().unwrap().to_str(), Some(name.as_str()));
    let text = std::fs::read_to_string(&files[0]).unwrap();
    assert!(text.starts_with("{\"nats\":[\"nats://127.0.0.1:"), "{text}");
    server.signal("term");
    assert_eq!(server.wait_for_end().code(), Some(0));
    assert!(ports_files(server.directory.path()).is_empty());
    let pid = std::fs::read_to_string(server.path("pid")).unwrap();
    assert_eq!(pid, server.process.id().to_string());
    assert_eq!(std::fs::metadata(server.path("pid")).unwrap().permissions().mode() & 0o777, 0o600);
    server.wait_for("log", "[INF] Trapped \"terminated\" signal");
    server.wait_for("log", "[INF] Initiating Shutdown...");
    server.wait_for("log", "[INF] Server Exiting..");
}

#[test]
fn a_reload_takes_what_can_change_and_refuses_the_rest() {
    let server = Running::start("max_payload: 100KB", &[]);
    std::fs::write(server.path("c.conf"), "max_payload: 1024\ndebug: true").unwrap();
    server.signal("reload");
    server.wait_for("log", "[INF] Trapped \"hangup\" signal");
    server.wait_for("log", "[INF] Reloaded: debug = true");
    server.wait_for("log", "[INF] Reloaded: max_payload = 1024");
    server.wait_for("log", "[INF] Reloaded server configuration (sha256:");
    std::fs::write(server.path("c.conf"), "server_name: x").unwrap();
    server.signal("reload");
    server.wait_for(
        "log",
        "[ERR] Failed to reload server configuration: config reload not supported for ServerName: old=, new=x",
    );
    std::fs::write(server.path("c.conf"), "xyz: 1").unwrap();
    server.signal("reload");
    server.wait_for("log", "[ERR] Failed to reload server configuration: c.conf:1:0: unknown field \"xyz\"");
}

#[test]
fn the_log_file_is_opened_again_after_it_was_moved() {
    let mut server = Running::start("max_payload: 100KB", &[]);
    std::fs::rename(server.path("log"), server.path("old")).unwrap();
    server.signal("reopen");
    server.wait_for("old", "[INF] Trapped \"user defined signal 1\" signal");
    server.wait_for("log", "[INF] File log re-opened");
    server.signal("quit");
    assert_eq!(server.wait_for_end().code(), Some(0));
}

#[test]
fn a_connection_over_the_limit_of_its_account_is_told_of_twice() {
    let config = "accounts { A { users: [ { user: u, password: p } ], limits { max_conn: 0 } } }";
    let mut running = Running::start(config, &["-D"]);
    let mut client = TcpStream::connect(running.client_address()).unwrap();
    client.write_all(b"CONNECT {\"user\":\"u\",\"pass\":\"p\"}\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("-ERR 'maximum account active connections exceeded'\r\n"), "{answer}");
    running.signal("term");
    running.wait_for_end();
    let log = std::fs::read_to_string(running.path("log")).unwrap();
    let lines = log.lines().filter(|line| line.to_lowercase().contains("maximum account"));
    let said: Vec<&str> = lines.filter_map(|line| line.split(" - ").nth(2)).collect();
    let closed = "Client connection closed: Maximum Account Connections Exceeded";
    let error = "maximum account active connections exceeded";
    assert_eq!(said, [error, closed, error]);
}

#[test]
fn lame_duck_mode_without_clients_ends_at_once() {
    let mut server = Running::start("max_payload: 100KB", &[]);
    server.signal("ldm");
    server.wait_for("log", "[INF] Entering lame duck mode, stop accepting new clients");
    assert_eq!(server.wait_for_end().code(), Some(0));
}

#[test]
fn lame_duck_mode_outlasts_a_polite_end_but_not_an_interrupt() {
    let mut server = Running::start("max_payload: 100KB", &[]);
    let mut client = TcpStream::connect(server.client_address()).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    client.write_all(b"CONNECT {\"protocol\":1}\r\nPING\r\n").unwrap();
    let mut answers = BufReader::new(client).lines().map(Result::unwrap);
    assert!(answers.any(|line| line == "PONG"));
    server.signal("ldm");
    assert!(answers.any(|line| line.starts_with("INFO ") && line.contains("\"ldm\":true")));
    server.signal("term");
    server.wait_for("log", "[INF] Trapped \"terminated\" signal");
    assert!(server.process.try_wait().unwrap().is_none());
    server.signal("quit");
    assert_eq!(server.wait_for_end().code(), Some(0));
}

#[test]
fn sigquit_ends_the_process_at_once() {
    let mut server = Running::start("max_payload: 100KB", &[]);
    let pid = rustix::process::Pid::from_child(&server.process);
    rustix::process::kill_process(pid, rustix::process::Signal::QUIT).unwrap();
    assert_eq!(server.wait_for_end().code(), Some(2));
}

#[test]
fn secrets_of_the_command_line_are_on_no_page() {
    let server = Running::start("max_payload: 100KB", &["--user", "ada", "--pass=s3cr3t", "-m", "-1"]);
    let pages = server.address("http");
    for path in ["/debug/vars", "/varz", "/connz?auth=1", "/accountz?acc=$G"] {
        let answer = http::get(&*pages, path).unwrap();
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.text().contains("s3cr3t"), "{path}: {}", answer.text());
    }
    assert!(http::get(&*pages, "/debug/vars").unwrap().text().contains("\"--pass=[REDACTED]\""));
}

#[test]
fn monitoring_on_all_interfaces_answers_on_ipv6_too() {
    let server = Running::start("http: \"0.0.0.0:-1\"", &[]);
    let port = server.address("http").rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(http::get(format!("127.0.0.1:{port}"), "/healthz").unwrap().status, 200);
    // Not every machine has IPv6.
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        assert_eq!(http::get(format!("[::1]:{port}"), "/healthz").unwrap().status, 200);
    }
}

#[test]
fn a_log_that_grows_is_kept_in_as_many_files_as_configured() {
    let config = "debug: true, trace: true, log_size_limit: 3000, log_max_num: 3";
    let mut server = Running::start(config, &[]);
    let directory = server.directory.path().to_owned();
    let client = TcpStream::connect(server.client_address()).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let mut client = BufReader::new(client);
    client.get_mut().write_all(b"CONNECT {\"verbose\":false}\r\n").unwrap();
    let files = || {
        let entries = std::fs::read_dir(&directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("log")).collect();
        names.sort_unstable();
        names
    };
    let first = {
        let started = Instant::now();
        while files().len() < 3 {
            assert!(started.elapsed() < WAIT_MAX, "{:?}", files());
            client.get_mut().write_all(b"PING\r\n").unwrap();
            let mut line = String::new();
            while line != "PONG\r\n" {
                line.clear();
                assert!(client.read_line(&mut line).unwrap() > 0);
            }
        }
        files()[1].clone()
    };
    // log.2026.11.22.21.49.34.123456789
    assert_eq!(first.split('.').skip(1).filter(|part| part.parse::<u32>().is_ok()).count(), 7, "{first}");
    let started = Instant::now();
    while files().contains(&first) {
        assert!(started.elapsed() < WAIT_MAX, "{:?}", files());
        client.get_mut().write_all(b"PING\r\n").unwrap();
        client.read_line(&mut String::new()).unwrap();
    }
    server.signal("term");
    server.wait_for_end();
    assert_eq!(files().len(), 3, "{:?}", files());
}

#[test]
fn a_request_for_what_is_not_there_is_told_why_and_leaves_a_line() {
    let users =
        "accounts { SYS { users: [ {user: s, password: p} ] } }, system_account: SYS, no_auth_user: s";
    let server = Running::start(users, &[]);
    let client = TcpStream::connect(server.client_address()).unwrap();
    client.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let mut client = BufReader::new(client);
    let asked = "CONNECT {}\r\nSUB r 1\r\nPUB $SYS.REQ.SERVER.PING.PROFILEZ r 15\r\n{\"name\":\"heap\"}\r\n";
    client.get_mut().write_all(asked.as_bytes()).unwrap();
    let mut line = String::new();
    while !line.contains("\"profile\"") {
        line.clear();
        assert!(client.read_line(&mut line).unwrap() > 0);
    }
    let reason = "is not supported by JetKV: the profiles are of Go's runtime";
    assert!(line.contains(reason), "{line}");
    server.wait_for("log", &format!("[WRN] Refused: Profile \"heap\" {reason}"));
}

#[test]
fn a_second_server_on_the_same_store_says_so() {
    let first = Running::start("max_payload: 100KB", &["-js", "-sd", "store"]);
    let store = first.path("store").display().to_string();
    let second = Running::start("max_payload: 100KB", &["-js", "-sd", &store]);
    let said = "is in use by another server";
    second.wait_for("log", said);
    assert!(!std::fs::read_to_string(first.path("log")).unwrap().contains(said));
}

#[test]
fn signals_that_programs_in_go_do_not_heed_do_not_end_the_server() {
    use rustix::process::{Pid, Signal, kill_process};
    let mut server = Running::start("max_payload: 100KB", &[]);
    let pid = Pid::from_raw(i32::try_from(server.process.id()).unwrap()).unwrap();
    for signal in
        [Signal::ALARM, Signal::VTALARM, Signal::PROF, Signal::IO, Signal::XCPU, Signal::XFSZ, Signal::POWER]
    {
        kill_process(pid, signal).unwrap();
    }
    // It heeds the next one, so it has seen those before.
    server.signal("reload");
    server.wait_for("log", "[INF] Reloaded server configuration");
    assert!(server.process.try_wait().unwrap().is_none());
}

#[test]
fn a_server_without_descriptors_left_serves_again_when_there_are_some() {
    let directory = tempfile::tempdir().unwrap();
    let command = "ulimit -Sn 32; ulimit -Hn 48; exec \"$0\" -a 127.0.0.1 -p -1 -l log --ports_file_dir .";
    let process = Command::new("sh")
        .args(["-c", command, env!("CARGO_BIN_EXE_jetkv")])
        .current_dir(directory.path())
        .spawn()
        .unwrap();
    let server = Running { process, directory };
    server.wait_for("log", "[INF] Server is ready");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.process.id())).unwrap();
    let limit = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(limit.split_whitespace().nth(3), Some("48"), "the soft limit is the hard one");
    let address = server.client_address();
    let mut connections: Vec<_> = (0..60).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let text = format!(
        "[ERR] Temporary Client Accept Error(accept tcp {address}: accept4: too many open files), sleeping 20ms"
    );
    server.wait_for("log", &text);
    connections.drain(..30);
    // All that waited are served in the end.
    for connection in connections {
        let mut info = String::new();
        BufReader::new(connection).read_line(&mut info).unwrap();
        assert!(info.starts_with("INFO {"), "{info}");
    }
}

/// A client that has CONNECT behind it.
struct Caller {
    socket: BufReader<TcpStream>,
    inbox: String,
}

impl Caller {
    fn connect(address: &str) -> Self {
        let socket = BufReader::new(TcpStream::connect(address).unwrap());
        // No two clients have the same address.
        let inbox = format!("inbox.{}", socket.get_ref().local_addr().unwrap().port());
        let mut caller = Self { socket, inbox };
        let login = "CONNECT {\"user\":\"ada\",\"pass\":\"secret\",\"verbose\":false}";
        caller.send(&format!("{login}\r\nSUB {} 1\r\nPING\r\n", caller.inbox));
        assert!(caller.line().starts_with("INFO "));
        assert_eq!(caller.line(), "PONG\r\n");
        caller
    }

    fn send(&mut self, text: &str) {
        self.socket.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn ask(&mut self, subject: &str, payload: &str) {
        let line = format!("PUB {subject} {} {}\r\n{payload}\r\n", self.inbox, payload.len());
        self.send(&line);
    }

    /// The payload of the next message.
    fn answer(&mut self) -> String {
        while !self.line().starts_with("MSG inbox.") {}
        self.line()
    }

    /// The next line. The PING that comes after two seconds is overlooked.
    fn line(&mut self) -> String {
        let mut line = String::new();
        while matches!(line.as_str(), "" | "PING\r\n") {
            line.clear();
            assert!(self.socket.read_line(&mut line).unwrap() > 0, "the server closed the connection");
        }
        line
    }
}

fn status_number(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_server_that_can_start_no_thread_syncs_compares_passwords_and_stops() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    const STREAMS: usize = 12;
    let password = bcrypt::hash("secret", 4).unwrap();
    let config = format!(
        "jetstream {{ store_dir: js, sync_interval: always }}\n\
         authorization {{ user: ada, password: \"{password}\" }}"
    );
    let mut server = Running::start(&config, &[]);
    let address = server.client_address();
    let mut callers: Vec<_> = (0..STREAMS).map(|_| Caller::connect(&address)).collect();
    for (number, caller) in callers.iter_mut().enumerate() {
        let stream = format!("{{\"name\":\"S{number}\",\"subjects\":[\"s.{number}\"]}}");
        caller.ask(&format!("$JS.API.STREAM.CREATE.S{number}"), &stream);
        assert!(caller.answer().contains("\"created\""));
        caller.ask(&format!("s.{number}"), "first");
        assert!(caller.answer().contains("\"seq\":1"));
    }
    // No room for the stack of a thread any more, but for what little a message takes.
    let pid = server.process.id();
    let threads = status_number(pid, "Threads:");
    let limit = Some((status_number(pid, "VmSize:") + 1024) * 1024);
    let process = Pid::from_raw(i32::try_from(pid).unwrap());
    prlimit(process, Resource::As, Rlimit { current: limit, maximum: limit }).unwrap();
    for round in 2..20 {
        for (number, caller) in callers.iter_mut().enumerate() {
            caller.ask(&format!("s.{number}"), "more");
        }
        for caller in &mut callers {
            let answer = caller.answer();
            assert!(answer.contains(&format!("\"seq\":{round}")), "round {round}: {answer}");
        }
    }
    assert!(status_number(pid, "Threads:") <= threads, "no thread came");
    let mut late = Caller::connect(&address);
    late.ask("$JS.API.STREAM.DELETE.S0", "");
    assert!(late.answer().contains("\"success\":true"));
    server.signal("term");
    assert_eq!(server.wait_for_end().code(), Some(0));
}

#[test]
fn streams_are_written_however_many_connections_there_are() {
    const LIMIT: usize = 160;
    let directory = tempfile::tempdir().unwrap();
    let command =
        format!("ulimit -n {LIMIT}; exec \"$0\" -a 127.0.0.1 -p -1 -js -sd store -l log --ports_file_dir .");
    let process = Command::new("sh")
        .args(["-c", &command, env!("CARGO_BIN_EXE_jetkv")])
        .current_dir(directory.path())
        .spawn()
        .unwrap();
    let server = Running { process, directory };
    server.wait_for("log", "[INF] Server is ready");
    let address = server.client_address();
    let mut caller = Caller::connect(&address);
    let mut ask = |subject: &str, payload: &str| {
        caller.ask(subject, payload);
        let answer = caller.answer();
        assert!(!answer.contains("error"), "{subject}: {answer}");
    };
    ask("$JS.API.STREAM.CREATE.S", r#"{"name":"S","subjects":["s"]}"#);
    let many: Vec<_> = (0..LIMIT * 2).map(|_| TcpStream::connect(&address).unwrap()).collect();
    server.wait_for("log", "accept4: too many open files");
    for number in 0..20 {
        let name = format!("T{number}");
        ask(
            &format!("$JS.API.STREAM.CREATE.{name}"),
            &format!(r#"{{"name":"{name}","subjects":["{name}"]}}"#),
        );
        let consumer =
            format!(r#"{{"stream_name":"{name}","config":{{"durable_name":"c","ack_policy":"explicit"}}}}"#);
        ask(&format!("$JS.API.CONSUMER.DURABLE.CREATE.{name}.c"), &consumer);
        ask(&name, "value");
        ask("s", "value");
        ask(&format!("$JS.API.STREAM.PURGE.{name}"), "");
    }
    drop(many);
    Caller::connect(&address);
}
