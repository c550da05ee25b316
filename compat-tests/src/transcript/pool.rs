//! Servers shared by cases with equal options.

use crate::Result;
use crate::process::{Program, Server, ServerOptions};

/// How many idle servers are kept.
const IDLE_MAX: usize = 3;

/// Running servers of one program that no case is using.
#[derive(Debug)]
pub struct Pool {
    program: Program,
    idle: Vec<(ServerOptions, Server)>,
}

impl Pool {
    /// Of servers that run `program`.
    pub fn new(program: &Program) -> Self {
        Self { program: program.clone(), idle: Vec::new() }
    }

    /// The program its servers run.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// An idle server with these options, or a new one.
    ///
    /// # Errors
    /// When it does not start.
    pub fn take(&mut self, options: &ServerOptions, fresh: bool) -> Result<Server> {
        let found = self.idle.iter().position(|(known, _)| known == options).filter(|_| !fresh);
        match found {
            Some(at) => Ok(self.idle.remove(at).1),
            None => Server::start(&self.program, options),
        }
    }

    /// Takes a server back if no case can tell that it was used: it is alive and never had a stream.
    ///
    /// Deleting the streams would not do: nats-server removes folders some time after it has answered, and a stream
    /// made again meanwhile finds old messages or no folder.
    pub fn give_back(&mut self, options: &ServerOptions, had_streams: bool, mut server: Server) {
        if had_streams || !server.is_alive() {
            return;
        }
        if self.idle.len() >= IDLE_MAX {
            self.idle.remove(0);
        }
        self.idle.push((options.clone(), server));
    }
}
