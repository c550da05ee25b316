//! The steps that connect in another way than over bare TCP.

use super::super::action::{Action, Outgoing, WAIT_LIMIT};
use super::super::certificates;
use super::super::connections::Client;
use super::Player;
use crate::Result;
use crate::secure::{Offers, Trust};
use crate::wire::{Connection, Frame};

impl Player<'_> {
    /// Connects under TLS, over a WebSocket, or both.
    pub(super) fn act_secured(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Secure { conn, first, silent, shows, offers, fields } => {
                let port = self.server()?.port("nats").ok_or("the server has no port")?;
                let offers = Offers::parse(&self.text(offers)?);
                let trust = self.trust(shows.as_deref(), &offers)?;
                match Connection::secure(port, *first, &trust) {
                    Ok((info, connection)) => {
                        if let Some(agreed) = connection.agreed().filter(|_| offers.is_some()) {
                            self.line(format!("(agreed on {agreed})"));
                        }
                        let client = Client::over(conn, connection, !silent).after(info.map(Frame::Info));
                        if *silent {
                            self.hear_info(conn, client);
                        } else {
                            self.introduce(conn, client, fields)?;
                        }
                    }
                    Err(_) => self.line("(no handshake)"),
                }
            }
            Action::Upgrade { conn, secure, shows, request } => {
                let trust = secure.then(|| self.trust(shows.as_deref(), &Offers::default())).transpose()?;
                self.upgrade(conn, request, trust.as_ref())?;
            }
            _ => {}
        }
        Ok(())
    }

    fn trust(&self, shows: Option<&str>, offers: &Offers) -> Result<Trust> {
        certificates::trust(&self.case.options.files, shows, offers)
    }

    fn upgrade(&mut self, conn: &str, request: &Outgoing, trust: Option<&Trust>) -> Result<()> {
        let port = self.server()?.port("websocket").ok_or("the server has no port for WebSocket")?;
        let headers: Result<Vec<String>> = request.headers.iter().map(|header| self.text(header)).collect();
        let line = self.text(&request.payload)?;
        let (answer, connection) = match Connection::upgrade(port, &line, &headers?, trust) {
            Ok(upgraded) => upgraded,
            // Under TLS a client may be sent away before it has said anything.
            Err(_) if trust.is_some() => {
                self.line("(no upgrade)");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for line in &answer {
            let line = self.normaliser.text(line);
            self.line(line);
        }
        if let Some(connection) = connection {
            let client = Client::over(conn, connection, false);
            self.hear_info(conn, client);
        }
        Ok(())
    }

    fn hear_info(&mut self, conn: &str, mut client: Client) {
        let frames: Vec<Frame> = client.next(WAIT_LIMIT).into_iter().collect();
        self.record(&frames, None);
        self.clients.insert(conn.to_string(), client);
    }
}
