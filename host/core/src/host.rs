//! The road of a call. Start reading here: [`Host::call`], and below it each stretch of the road in its order.

mod level;
mod made;

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use self::level::Level;
use crate::attempts::{Admitted, Guarding};
use crate::batch::{BatchSettings, Classes, Planned, Turn};
use crate::call::{AcceptedCall, Call, Caller, PermittedCall};
use crate::catalog::{Catalog, Lifetime, Tool, accept};
use crate::check::approve::{self, Approval, Explained, Said, Verdict};
use crate::check::authorize::Access;
use crate::check::repeat::Repetition;
use crate::check::{self, Check};
use crate::deadline::Deadline;
use crate::guard::breaker::Registry;
use crate::guard::cache::{Asked, ResultCache};
use crate::guard::replay::{Claimed, Ledger};
use crate::guard::retry::Fence;
use crate::guard::slot::Slots;
use crate::guard::turn;
use crate::guard::usage::{Accounts, BudgetSettings, Usage};
use crate::inside::{self, Inside};
use crate::secret::Secrets;
use crate::task::Tasks;
use crate::tell::{Artifacts, CallError, ErrorKind, Outcome, Output, Trail, Voice};

/// A set of tools, and everything that is needed to run a call of one of them. A clone is the same host.
#[derive(Clone)]
pub struct Host(Arc<Level>);

/// The way back to a host, for what must not keep it alive.
#[derive(Clone)]
pub(crate) struct HostRef(Weak<Level>);

impl std::fmt::Debug for HostRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostRef(..)")
    }
}

impl HostRef {
    pub(crate) fn host(&self) -> Option<Host> {
        self.0.upgrade().map(Host)
    }
}

/// What a call finds on its road. A call that has begun keeps what it found, whatever changes meanwhile.
#[derive(Clone)]
struct Rooms {
    catalog: Catalog,
    access: Access,
    repetition: Arc<Repetition>,
    checks: Vec<Arc<dyn Check>>,
    approval: Arc<Approval>,
    budgets: BudgetSettings,
    accounts: Arc<Accounts>,
    cache: Arc<ResultCache>,
    ledger: Arc<Ledger>,
    guarding: Arc<Guarding>,
    artifacts: Option<Arc<dyn Artifacts>>,
    tasks: Arc<Tasks>,
    voice: Arc<Voice>,
    batches: BatchSettings,
}

/// A call behind all that decides whether it runs.
enum Admission {
    /// It runs.
    Run(Box<Admitted>),
    /// It does not have to: this is its result.
    Answered(Output),
}

impl Host {
    pub(crate) fn downgrade(&self) -> HostRef {
        HostRef(Arc::downgrade(&self.0))
    }

    /// Takes over what another host is made of: its tools, limits, access, checks and listeners, all at once.
    ///
    /// Calls that have begun go on with what they found. What was learned stays: breakers, rates, retry budgets, what each
    /// session did and was allowed, what was used, the questions that wait, how long a tool takes. The places are the same
    /// ones: a call that runs takes one of the new limit's.
    pub fn replace(&self, by: &Host) {
        let by = by.rooms();
        let mut rooms = self.ground();
        for tool in rooms.catalog.tools() {
            tool.guards.retire();
        }
        *rooms = Arc::new(rooms.replaced(&by));
    }

    /// The tools that a caller may use, by name.
    #[must_use]
    pub fn tools_of(&self, caller: &Caller) -> Vec<Arc<Tool>> {
        let rooms = self.rooms();
        let access = rooms.access.of(caller);
        rooms.catalog.tools().filter(|tool| access.allows(&tool.name)).cloned().collect()
    }

    /// The tools.
    #[must_use]
    pub fn catalog(&self) -> Catalog {
        self.rooms().catalog.clone()
    }

    /// The rules, and the questions that wait for an answer.
    #[must_use]
    pub fn approval(&self) -> Arc<Approval> {
        self.rooms().approval.clone()
    }

    /// What all calls share while they run.
    pub(crate) fn guarding(&self) -> Arc<Guarding> {
        self.rooms().guarding.clone()
    }

    /// Accepts a call, as its road does. Nothing is told of it.
    pub(crate) fn accepted(&self, call: Call) -> Result<AcceptedCall, CallError> {
        self.rooms().accept(call)
    }

    /// What the rules say of a call, and why. Nobody is asked, and nothing runs.
    ///
    /// # Errors
    /// The tool is not known to the caller, or the arguments do not fit it.
    pub fn explain(&self, call: Call) -> Result<Explained, CallError> {
        let rooms = self.rooms();
        Ok(rooms.approval.explain(&rooms.accept(call)?))
    }

    /// The same of a call in a batch, by the class that it has there.
    ///
    /// # Errors
    /// As for [`explain`](Self::explain).
    pub fn explain_in_batch(&self, call: Call, classes: &Classes) -> Result<Explained, CallError> {
        let rooms = self.rooms();
        let call = rooms.accept(call)?;
        Ok(rooms.approval.explain_in_class(&call, &classes.of(&call.tool)))
    }

    /// The breakers of its tools, for an operator.
    #[must_use]
    pub fn breakers(&self) -> Arc<Registry> {
        self.rooms().guarding.breakers.clone()
    }

    /// What a caller has used, in all its sessions: in the current span of its budget, where that begins anew.
    #[must_use]
    pub fn usage_of_caller(&self, caller: &Caller) -> Usage {
        let rooms = self.rooms();
        rooms.accounts.of_caller(&rooms.budgets, caller)
    }

    /// What the session of a caller has used: in the current span of its budget, where that begins anew.
    #[must_use]
    pub fn usage_of_session(&self, caller: &Caller) -> Usage {
        let rooms = self.rooms();
        rooms.accounts.of_session(&rooms.budgets, caller)
    }

    /// The idempotency keys of its calls, for an operator.
    #[must_use]
    pub fn ledger(&self) -> Arc<Ledger> {
        self.rooms().ledger.clone()
    }

    /// The calls that are made as tasks, for an operator.
    #[must_use]
    pub fn tasks(&self) -> Arc<Tasks> {
        self.rooms().tasks.clone()
    }

    /// Its secrets.
    #[must_use]
    pub fn secrets(&self) -> Arc<Secrets> {
        self.rooms().voice.secrets().clone()
    }

    /// Calls that run, and calls that wait for a place.
    #[must_use]
    pub fn in_use(&self) -> (usize, usize) {
        self.rooms().guarding.slots.in_use()
    }

    /// The places of its calls, for an operator.
    #[must_use]
    pub fn places(&self) -> Arc<Slots> {
        self.rooms().guarding.slots.clone()
    }

    /// Waits until all that was told of its calls is where it goes, for a program that is about to end. The wait is bounded.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting, and nothing else.
    pub async fn flush(&self) {
        let voice = self.rooms().voice.clone();
        voice.flush().await;
    }

    /// How batches run.
    #[must_use]
    pub fn batches(&self) -> BatchSettings {
        self.rooms().batches.clone()
    }

    /// Runs a call, from the first look at it to its outcome. There is always an outcome; a failure is one too.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call. A tool that only computes or reads is stopped with it; an attempt of a tool
    /// that may change something goes on to its own end, so that nobody is left with half of an effect, and is not followed
    /// by another one. A call inside of another one ends with the attempt around it in any case.
    pub fn call(&self, call: Call) -> impl Future<Output = Outcome> + Send + '_ {
        let around = call.inside.clone().map(|around| (around, call.id.clone(), call.tool.clone()));
        async move {
            let road = pin!(self.clone().walk(call));
            match around {
                None => road.await,
                Some((around, id, tool)) => around.bound(id, tool, road).await,
            }
        }
    }

    /// The road itself.
    #[expect(clippy::manual_async_fn, reason = "what waits would keep what it was called with twice")]
    pub(crate) fn walk(self, call: Call) -> impl Future<Output = Outcome> + Send {
        async move {
            let rooms = self.rooms();
            let voice = call.task.as_ref().map_or_else(|| rooms.voice.clone(), |task| task.hears(&rooms.voice));
            let mut trail = Trail::start(&call, rooms.catalog.get(&call.tool), voice, rooms.artifacts.clone());
            let span = trail.span.clone();
            let wanted = call.wanted.clone();
            // A future of its own: what waits holds room for the longest part of its road, not for all of them.
            let admitted = async {
                let admitting = pin!(span.around(rooms.admit(call, &mut trail)));
                if wanted.is_always() { admitting.await } else { wanted.while_it_is(admitting).await }
            };
            match admitted.await {
                Ok(Admission::Run(admitted)) => span.around(admitted.outcome(self, trail)).await,
                Ok(Admission::Answered(output)) => trail.end(Ok(output)).await,
                Err(error) => trail.end(Err(error)).await,
            }
        }
    }
}

impl Rooms {
    /// Tells through this voice from now on, also what breakers do.
    fn speak_with(&mut self, voice: Voice) {
        self.voice = Arc::new(voice);
        self.guarding.herald.speak_with(self.voice.clone());
    }

    /// What another host says, and what was learned here. Each room stands here by name, so that none is forgotten.
    fn replaced(&self, by: &Rooms) -> Rooms {
        let Rooms { catalog, access, repetition, checks, approval, cache, budgets, .. } = by;
        let Rooms { accounts: _, ledger: _, tasks: _, guarding, artifacts, voice, batches, .. } = by;
        for tool in catalog.tools() {
            let before = self.catalog.find(&tool.name).ok();
            if let Some(before) = before.filter(|before| before.origin == tool.origin) {
                tool.guards.follow(&before.guards);
            }
        }
        self.guarding.slots.share_by(guarding.slots.shares());
        self.guarding.slots.resize(guarding.slots.limits());
        self.cache.resize(cache.bytes_max());
        let voice = Arc::new(voice.beside(&self.voice));
        self.guarding.herald.speak_with(voice.clone());
        Rooms {
            catalog: catalog.clone(),
            access: access.clone(),
            repetition: Arc::new(self.repetition.judging_by(repetition.settings())),
            checks: checks.clone(),
            approval: Arc::new(approval.remembering(&self.approval)),
            cache: self.cache.clone(),
            budgets: budgets.clone(),
            accounts: self.accounts.clone(),
            ledger: self.ledger.clone(),
            guarding: self.guarding.clone(),
            artifacts: artifacts.clone(),
            tasks: self.tasks.clone(),
            voice,
            batches: batches.clone(),
        }
    }

    /// From the request to a call that may run, and has a place to run in.
    async fn admit(&self, call: Call, trail: &mut Trail) -> Result<Admission, CallError> {
        let call = match self.judge(call, trail).await? {
            ControlFlow::Continue(call) => call,
            ControlFlow::Break(output) => return Ok(Admission::Answered(output)),
        };
        if let Some(turn) = &call.call.turn {
            // Boxed: few calls are in a batch.
            Box::pin(self.turn_of(&call, turn, trail)).await?;
        }
        if may_be_known(&call) {
            match self.cache.ask(&call).await {
                Asked::Known(output) => return Ok(Admission::Answered(trail.cached(output))),
                Asked::Unknown(fill) => trail.fill = fill,
            }
        }

        let asked = Instant::now();
        let (key, caller, around) = (call.tool.key(), &call.call.caller, call.call.inside.as_ref());
        trail.bill = Some(self.accounts.open(&self.budgets, caller, call.tool.guards.price, around.is_some())?);
        self.guarding.rates.admit(asked, &key, &caller.id, &call.tool.guards.rate)?;
        let deadline =
            Deadline::new(asked, call.tool.limits.call_time_max, around.map(Inside::clock), call.call.wanted.until);
        let need = self.catalog.need(&call.tool);
        // Before the place: twins that wait must not hold those that their leader needs. But what would find no place is not
        // written down first.
        let has_room = || self.guarding.slots.look(&need, around.map(Inside::around).as_ref(), caller, deadline);
        let ticket = match self.ledger.claim(&call, deadline.at, &mut trail.report, has_room).await? {
            Claimed::Ticket(ticket) => Some(ticket),
            Claimed::Unkeyed => None,
            Claimed::Answered(output) => return Ok(Admission::Answered(output)),
        };
        // Before the place, too: whose turn it is not yet holds none. Boxed, because few calls wait here.
        let Guarding { slots, turns, .. } = &*self.guarding;
        let turn = match call.tool.lifetime {
            Lifetime::Session => Box::pin(turns.take(&call, slots.limits().max_waiting, deadline)).await,
            Lifetime::Fresh | Lifetime::Warm => Ok(None),
        };
        let room = match turn {
            Ok(turn) => {
                let slot = slots.take(&need, around.map(Inside::around).as_ref(), caller, deadline).await;
                slot.map(|slot| (turn, slot))
            }
            Err(why) => Err(why),
        };
        trail.report.waited = asked.elapsed();
        match (room, ticket) {
            (Ok((turn, slot)), ticket) => {
                let guarding = self.guarding.clone();
                Ok(Admission::Run(Box::new(Admitted { call, guarding, deadline, need, turn, slot, ticket })))
            }
            (Err(busy), None) => Err(busy),
            (Err(busy), Some(ticket)) => {
                let settings = &call.tool.guards.idempotency;
                ticket.settle(settings, Err(busy), Fence::Nothing).await.map(Admission::Answered)
            }
        }
    }

    /// May it run? Arguments that somebody has edited go the whole way again. What was answered instead ends the road.
    async fn judge(&self, call: Call, trail: &mut Trail) -> Result<ControlFlow<Output, Arc<PermittedCall>>, CallError> {
        let (mut accepted, doubt) = self.check(call, trail).await?;
        // What was done before is not asked about again. What is denied stays denied.
        if let Some(known) = self.ledger.peek(&accepted, &mut trail.report).await.transpose() {
            if !self.approval.denies(&accepted) {
                return known.map(ControlFlow::Break);
            }
            trail.report.idempotency = None;
        }
        // A result that is known is no new effect, so nobody is asked about it. What is denied stays denied.
        if doubt.is_none()
            && may_be_known(&accepted)
            && let Some(output) = self.cache.known(&accepted)
            && !self.approval.denies(&accepted)
        {
            return Ok(ControlFlow::Break(trail.cached(output)));
        }
        let mut said = Said { doubt, ..Said::default() };
        for _ in 0..approve::ROUNDS_MAX {
            let around = accepted.call.inside.clone();
            let deciding = self.approval.decide(accepted, &said, trail);
            let decided = match &around {
                None => deciding.await?,
                // Boxed: calls inside of one another need little room.
                Some(around) => Box::pin(around.stands_still(&self.guarding, deciding)).await?,
            };
            let (before, edit) = match decided {
                Verdict::Run(call) => return Ok(ControlFlow::Continue(call)),
                Verdict::Answered(output) => return Ok(ControlFlow::Break(output)),
                Verdict::Edited(before, edit) => (before, edit),
            };
            let edited = match approve::edited(edit, &before, &trail.teller.masker()) {
                Ok(edited) => edited,
                Err(fault) => {
                    (accepted, said.fault) = (*before, Some(fault));
                    continue;
                }
            };
            let again = Call { arguments: edited.clone().into(), ..before.call.clone() };
            match Box::pin(self.check(again, trail)).await {
                Ok((call, doubt)) => (accepted, said) = (call, Said { doubt, edited: Some(edited), fault: None }),
                // Whoever mistyped is asked again, and told so.
                Err(error) if error.kind == ErrorKind::InvalidArguments => {
                    (accepted, said.fault) = (*before, Some(error.message));
                }
                Err(error) => return Err(error),
            }
        }
        Err(approve::refused(&accepted, "its arguments were edited too often"))
    }

    /// From the request to a call that only rules and people can still refuse; and why they have to look at it, if so.
    async fn check(&self, call: Call, trail: &mut Trail) -> Result<(AcceptedCall, Option<String>), CallError> {
        if trail.repeats.is_none() {
            // Before its tool is known: a session that asks for tools which there are not fails, too.
            trail.repeats = self.repetition.begin(&call)?;
        }
        let accepted = self.accept(call)?;
        trail.accepted(&accepted);
        turn::names_session(&accepted)?;
        inside::judge(&accepted, &self.guarding.slots)?;
        let doubt = trail.repeats.as_mut().map_or(Ok(None), |session| session.judge(&accepted))?;
        check::ask_all(&self.checks, &accepted).await?;
        Ok((accepted, doubt))
    }

    /// Waits until the earlier calls of its batch are out of its way.
    async fn turn_of(&self, call: &PermittedCall, turn: &Turn, trail: &mut Trail) -> Result<(), CallError> {
        let came = Instant::now();
        turn.comes(Planned::of(call, turn.classes(), self.catalog.seen_by(&call.tool)).await).await?;
        trail.report.turn = came.elapsed();
        Ok(())
    }

    fn accept(&self, call: Call) -> Result<AcceptedCall, CallError> {
        let access = self.access.of(&call.caller);
        let tool = self.catalog.find_among(&call.tool, |tool| access.allows(tool))?;
        accept(tool, call).map(|accepted| accepted.with_keys_of(self.voice.secrets()))
    }
}

/// Whether its result may be one that is known: not where earlier calls of its batch may change it.
fn may_be_known(call: &AcceptedCall) -> bool {
    call.call.turn.as_ref().is_none_or(|turn| !turn.is_behind_others())
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("catalog", &self.catalog()).finish_non_exhaustive()
    }
}
