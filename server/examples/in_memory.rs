//! A server in this process, and a client that reaches it without a port.

use jetkv::Server;
use jetkv::options::Options;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Whoever else connects does so on a free port of this machine alone.
    let options = Options { host: "127.0.0.1".to_owned(), port: 0, ..Options::default() };
    let server = Server::start(options)?;
    let (reading, mut writing) = tokio::io::split(server.connect_in_memory());
    let mut lines = BufReader::new(reading).lines();
    println!("{}", lines.next_line().await?.unwrap_or_default());
    writing
        .write_all(b"CONNECT {\"verbose\":false}\r\nSUB greetings 1\r\nPUB greetings 5\r\nhello\r\n")
        .await?;
    while let Some(line) = lines.next_line().await? {
        println!("{line}");
        if line == "hello" {
            break;
        }
    }
    server.shutdown();
    Ok(())
}
