//! The step that answers a question about a client.

use super::super::action::WAIT_LIMIT;
use super::super::callout;
use super::super::connections::publication;
use super::Player;
use crate::Result;
use crate::wire::Frame;

impl Player<'_> {
    /// Waits for a question on a connection, records it, and answers.
    pub(super) fn vouch(&mut self, conn: &str, how: &str) -> Result<()> {
        let how = callout::How::read(&self.text(how)?)?;
        let Some(frame) = self.client(conn)?.next(WAIT_LIMIT) else {
            self.timed_out("a question about a client");
            return Ok(());
        };
        let Frame::Message(message) = &frame else {
            self.record(&[frame], None);
            return Ok(());
        };
        let question = callout::Question::read(&how, message.headers.as_deref(), &message.payload)?;
        self.line(format!("asked on {}", message.subject));
        for line in self.normaliser.json(&question.claims) {
            self.line(line);
        }
        let answer = question.answer(&how)?;
        let reply = message.reply.clone().unwrap_or_default();
        self.client(conn)?.send(&publication(&reply, None, &[], &answer));
        Ok(())
    }
}
