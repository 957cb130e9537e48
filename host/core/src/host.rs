//! The road of a call. Start reading here: [`Host::call`] is the whole life of a call on one screen.

use std::sync::Arc;

use tokio::time::Instant;

use crate::attempts::{Admitted, Guarding, after};
use crate::call::{Call, Caller};
use crate::catalog::{Catalog, Tool, accept};
use crate::check::authorize::Access;
use crate::check::repeat::{RepeatSettings, Repetition};
use crate::check::{self, Check};
use crate::guard::breaker::Registry;
use crate::limits::HostLimits;
use crate::tell::{CallError, Outcome, Sink, Trail};

/// A set of tools, and everything that is needed to run a call of one of them.
pub struct Host {
    catalog: Catalog,
    access: Access,
    repetition: Arc<Repetition>,
    checks: Vec<Arc<dyn Check>>,
    guarding: Arc<Guarding>,
    sinks: Arc<[Arc<dyn Sink>]>,
}

impl Host {
    /// A host of these tools, with the default limits, no further checks and nobody listening.
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Host {
            catalog,
            access: Access::default(),
            repetition: Arc::default(),
            checks: Vec::new(),
            guarding: Arc::new(Guarding::new(HostLimits::default())),
            sinks: Arc::new([]),
        }
    }

    /// Sets what all calls together may use.
    #[must_use]
    pub fn with_limits(mut self, limits: HostLimits) -> Self {
        self.guarding = Arc::new(Guarding::new(limits));
        self
    }

    /// Sets who may use which tool.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Sets when a session that goes round in circles is told so, and stopped.
    #[must_use]
    pub fn with_repetition(mut self, settings: RepeatSettings) -> Self {
        self.repetition = Arc::new(Repetition::new(settings));
        self
    }

    /// Adds a check, behind those that are there.
    #[must_use]
    pub fn with_check(mut self, check: Arc<dyn Check>) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds a listener.
    #[must_use]
    pub fn with_sink(mut self, sink: Arc<dyn Sink>) -> Self {
        self.sinks = self.sinks.iter().cloned().chain([sink]).collect();
        self
    }

    /// The tools that a caller may use.
    pub fn tools_of(&self, caller: &Caller) -> impl Iterator<Item = &Arc<Tool>> {
        self.catalog.tools().filter(|tool| self.access.allows(caller, &tool.name))
    }

    /// The tools.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The breakers of its tools, for an operator.
    #[must_use]
    pub fn breakers(&self) -> &Registry {
        &self.guarding.breakers
    }

    /// Calls that run, and calls that wait for a place.
    #[must_use]
    pub fn in_use(&self) -> (usize, usize) {
        self.guarding.slots.in_use()
    }

    /// Runs a call, from the first look at it to its outcome. There is always an outcome; a failure is one too.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call. A tool that only computes or reads is stopped with it; an attempt of a tool
    /// that may change something goes on to its own end, so that nobody is left with half of an effect, and is not followed
    /// by another one.
    pub async fn call(&self, call: Call) -> Outcome {
        let mut trail = Trail::start(&call, self.sinks.clone());
        match self.admit(call, &mut trail).await {
            Ok(admitted) => admitted.outcome(trail).await,
            Err(error) => trail.end(Err(error)),
        }
    }

    /// From the request to a call that may run, and has a place to run in.
    async fn admit(&self, call: Call, trail: &mut Trail) -> Result<Admitted, CallError> {
        let tool = self.catalog.find_among(&call.tool, |tool| self.access.allows(&call.caller, tool))?;
        let accepted = accept(tool, call)?;
        trail.report.cast = accepted.cast.clone();
        trail.repeats = self.repetition.judge(&accepted)?;
        let call = Arc::new(check::permit(&self.checks, accepted).await?);

        let asked = Instant::now();
        let (name, caller) = (&call.tool.name, &call.call.caller.id);
        self.guarding.rates.admit(asked, name, caller, &call.tool.guards.rate)?;
        let slot = self.guarding.slots.take(call.tool.limits.call_time_max).await;
        let now = Instant::now();
        trail.report.waited = now - asked;
        let deadline = after(asked, call.tool.limits.call_time_max);
        Ok(Admitted { call, guarding: self.guarding.clone(), now, deadline, slot: slot? })
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("catalog", &self.catalog).finish_non_exhaustive()
    }
}
