//! Is a server well enough to be sent something? A driver asks before anything leaves the host, and says how it ended.
//!
//! The breaker of a tool watches the tool. Where the host owns the connection it sees more: which server it was that failed.
//! So each server that a tool sends to has a breaker of its own, by the same settings, and what was counted there is not
//! counted against the tool: one dead server must not take with it a tool that also talks to healthy ones. A tool that talks
//! to that server alone loses nothing by it: its calls run as far as the request, which is refused at once.
//!
//! What the end of the attempt cuts off counts for nothing: how much time the tool had left to the server is the tool's affair,
//! and its own breaker has that. A driver that lets servers take their time gives them less than the attempt has.
//!
//! A driver asks behind the grant and in front of the gate. What is not granted says nothing about the server. And the gate
//! writes down, for the ledger too, that what passes it may happen from now on: what is not to be sent must not get so far.

use crate::effect::Gate;
use crate::guard::breaker::{Breaker, Key, Outcome, Permit};
use crate::run::Attempt;
use crate::tell::{CallError, Stage};

/// Leave to send something to a server once. Dropping it says that nobody waited for the end, which counts for nothing.
#[derive(Debug)]
#[must_use = "say how it ended: `finish` or `left`"]
pub struct Contact {
    /// Nothing where nobody watches the server.
    permit: Option<Permit>,
    gate: Gate,
}

impl Attempt {
    /// Asks whether a server, by host name and port, is well enough to be sent something. Every driver that owns its
    /// connections does, once for each exchange.
    ///
    /// ```
    /// use serde_json::json;
    /// use toolpost_core::guard::breaker::Outcome;
    /// use toolpost_core::{Call, Catalog, Host, Native};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut catalog = Catalog::default();
    /// catalog.add(Native::new("ask", "Asks a service").run(|attempt| async move {
    ///     let contact = attempt.contact("api.example.com:443")?;
    ///     // Here something is sent, and no answer comes.
    ///     contact.finish(Outcome::Failure("no_answer"));
    ///     Ok(json!("nobody is there"))
    /// }))?;
    /// let host = Host::new(catalog);
    /// for _ in 0..5 {
    ///     host.call(Call::new("ask", json!({}))).await.result?;
    /// }
    /// let error = host.call(Call::new("ask", json!({}))).await.result.unwrap_err();
    /// assert!(error.message.starts_with("`api.example.com:443` failed too often and is left alone"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::CircuitOpen`](crate::ErrorKind::CircuitOpen): it is left alone for now, or switched off. What was to be
    /// sent is written down by [`Attempt::refuse`] with this error.
    pub fn contact(&self, authority: &str) -> Result<Contact, CallError> {
        let tool = &self.call.tool;
        let key = Key::egress(tool.key(), authority);
        // By way of the host, so that attempts which send nothing carry nothing for it.
        let breakers = self.ties.host.host().map(|host| host.breakers());
        let breaker = breakers.and_then(|all| tool.guards.watching(&key, &all, tool.limits.attempt_time_max));
        let permit = breaker.as_ref().map(Breaker::acquire).transpose();
        // The call has come further than the guards.
        let permit = permit.map_err(|rejection| CallError { stage: Stage::Run, ..rejection.into_error(&key) })?;
        Ok(Contact { permit, gate: self.gate.clone() })
    }
}

impl Contact {
    /// Says what came of it.
    pub fn finish(self, outcome: Outcome) {
        let Some(permit) = self.permit else { return };
        if matches!(outcome, Outcome::Failure(_) | Outcome::Throttled { .. }) {
            self.gate.server_failed();
        }
        permit.finish(outcome);
    }

    /// Says that the server was answering well, and that nobody wants the rest. When it is not the tool that does not want
    /// it, but the end of the attempt that has cut it off, nothing is known about the rest, and nothing counts.
    pub fn left(self) {
        if self.gate.check().is_ok() {
            self.finish(Outcome::Success);
        }
    }
}
