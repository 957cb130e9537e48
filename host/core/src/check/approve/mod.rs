//! Does a person agree? Rules decide what they can; where they ask, somebody is asked before the call holds anything.
//!
//! 1. The [`rules`] say deny, ask or allow; deny beats everything. Where no rule fits, what destroys is asked about.
//! 2. A [`Question`] shows the call as it will run, and is bound to it by a hash.
//! 3. The approvers are asked one after the other. Equal calls of one caller join the question that waits already; an answer
//!    that lets one call run lets one run, and the others ask again.
//! 4. What was answered is final for that call and those arguments. An edit goes the whole road again, rules included.

// What the operator says
pub mod matcher;
pub mod rules;

// What is asked
mod question;
pub mod shown;

// Who is asked
mod approver;
mod pending;

// What came of it
mod decision;
mod refusal;

// The same for what a running tool does
mod about;
mod leave;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;

pub use self::approver::{Approver, Pass};
pub use self::decision::{Decided, Decision};
pub use self::question::{Answer, Choice, Question, Risk};
pub use self::rules::Rules;

pub(crate) use self::leave::{Doing, Leave};
pub(crate) use self::refusal::refused;

use self::about::About;
use self::approver::{Approvers, Passes};
use self::pending::{Bound, Pending, Session, Settled};
use self::question::{Why, hex};
use self::refusal::{because, declined, denied, expired, unasked};
use self::rules::{Action, Misfit, Placed, Rule, Subject};
use crate::batch::Class;
use crate::call::{AcceptedCall, PermittedCall};
use crate::effect::EffectClass;
use crate::secret::Masker;
use crate::tell::{CallError, Event, Output, Teller, Trail};

/// How long a question waits for its answer, unless it is said otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(300);

/// How many questions may wait at once, unless it is said otherwise.
pub const PENDING_MAX: usize = 100;

/// The most rounds of one call: how often its arguments may be edited, and how often it may be asked about again.
pub(crate) const ROUNDS_MAX: usize = 10;

/// The longest that the rulebook may take.
const RULEBOOK_TIME_MAX: Duration = Duration::from_secs(10);

/// The longest reason that is handed on to the one who called, in bytes.
const REASON_BYTES_MAX: usize = 2 << 10;

/// Who writes down what was answered for longer than once.
pub trait Rulebook: Send + Sync {
    /// Writes the rule down, so that it holds for later hosts too.
    ///
    /// # Errors
    /// Why it cannot be written.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the rule written whole, or not at all.
    fn write<'a>(&'a self, rule: &'a Rule, question: &'a Question) -> BoxFuture<'a, Result<(), String>>;

    /// Keeps for other hosts that a question was answered for its session. By default only this host knows.
    ///
    /// # Errors
    /// Why it cannot be kept.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it kept, or not.
    fn remember<'a>(&'a self, _question: &'a Question) -> BoxFuture<'a, Result<(), String>> {
        async { Ok(()) }.boxed()
    }

    /// Whether a question of this hash was answered for its session, by another host.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    fn remembers<'a>(&'a self, _hash: &'a str) -> BoxFuture<'a, bool> {
        async { false }.boxed()
    }
}

/// The rules of a host, and those who can be asked. By default there are neither.
pub struct Approval {
    rules: RwLock<Arc<Rules>>,
    approvers: Approvers,
    rulebook: Option<Arc<dyn Rulebook>>,
    timeout: Duration,
    pending: Pending,
    session: Session,
}

/// What came of asking.
pub(crate) enum Verdict {
    /// The call may run.
    Run(Arc<PermittedCall>),
    /// It does not run: this is its result.
    Answered(Output),
    /// It is to be judged again with these arguments.
    Edited(Box<AcceptedCall>, Value),
}

impl Verdict {
    fn run(call: AcceptedCall) -> Self {
        Verdict::Run(Arc::new(PermittedCall::new(call)))
    }
}

/// What was said of a call before it is judged: by the memory of its session, and by the one who edited it.
#[derive(Default)]
pub(crate) struct Said {
    /// Why somebody has to look at it, whatever rules allow.
    pub(crate) doubt: Option<String>,
    /// The arguments that somebody wrote: they need not be asked about again.
    pub(crate) edited: Option<Value>,
    /// What was wrong with an edit.
    pub(crate) fault: Option<String>,
}

/// What the rules say of a call, and why: for an operator who asks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained {
    /// What is to be done.
    pub action: Action,
    /// The rule that decides; none where the effect class does.
    pub by: Option<String>,
    /// Every rule, in the order in which they are tried.
    pub rules: Vec<Tried>,
}

/// What became of one rule when a call was explained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// Its group.
    pub group: &'static str,
    /// What it is called.
    pub rule: String,
    /// Whether it only tells what it would decide.
    pub shadow: bool,
    /// What keeps it from fitting the call; none where it fits.
    pub misfit: Option<String>,
}

impl Default for Approval {
    fn default() -> Self {
        Approval::new(Rules::default())
    }
}

impl Approval {
    /// These rules, and nobody who can be asked.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Approval {
            rules: RwLock::new(Arc::new(rules)),
            approvers: Approvers::default(),
            rulebook: None,
            timeout: TIMEOUT,
            pending: Pending::new(PENDING_MAX),
            session: Session::default(),
        }
    }

    /// Adds one who is asked when those before have no answer.
    #[must_use]
    pub fn then(mut self, approver: Arc<dyn Approver>) -> Self {
        self.approvers.chain.push(approver);
        self
    }

    /// Adds one who is asked at the same time as the others: the first answer counts.
    #[must_use]
    pub fn beside(mut self, approver: Arc<dyn Approver>) -> Self {
        self.approvers.beside.push(approver);
        self
    }

    /// Sets who writes down the rules of those who answer "always".
    #[must_use]
    pub fn writing(mut self, rulebook: Arc<dyn Rulebook>) -> Self {
        self.rulebook = Some(rulebook);
        self
    }

    /// Sets how long a question waits, and how many may wait at once.
    #[must_use]
    pub fn waiting(mut self, timeout: Duration, pending_max: usize) -> Self {
        self.timeout = timeout;
        self.pending = Pending::new(pending_max);
        self
    }

    /// The same rules and approvers, with what another one has in mind: what was allowed for sessions, and the questions that
    /// wait, which go on with those who were asked.
    #[must_use]
    pub(crate) fn remembering(&self, before: &Approval) -> Self {
        Approval {
            rules: RwLock::new(self.rules()),
            approvers: self.approvers.clone(),
            rulebook: self.rulebook.clone(),
            timeout: self.timeout,
            pending: self.pending.sharing(&before.pending),
            session: before.session.clone(),
        }
    }

    /// The rules, with those that were written down meanwhile.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether somebody is asked beside those who are asked one after the other.
    #[must_use]
    pub fn asks_beside(&self) -> bool {
        !self.approvers.beside.is_empty()
    }

    /// The questions that wait for an answer.
    #[must_use]
    pub fn pending(&self) -> Vec<Arc<Question>> {
        self.pending.questions()
    }

    /// What the rules say of a call. Nobody is asked.
    #[must_use]
    pub fn explain(&self, call: &AcceptedCall) -> Explained {
        self.explained(&Subject::of(call))
    }

    /// The same of a call in a batch, in which it has this class.
    pub(crate) fn explain_in_class(&self, call: &AcceptedCall, class: &Class) -> Explained {
        self.explained(&Subject::of(call).in_class(class))
    }

    fn explained(&self, subject: &Subject<'_>) -> Explained {
        let rules = self.rules();
        let ruling = rules.rule_on(subject);
        let said = |placed: Placed<'_>| {
            let misfit = placed.misfit(subject).as_ref().map(Misfit::to_string);
            Tried { group: placed.group, rule: placed.title(), shadow: placed.rule.shadow, misfit }
        };
        let by = ruling.by.map(|placed| placed.title());
        Explained { action: ruling.action, by, rules: rules.placed().map(said).collect() }
    }

    /// Whether a rule denies the call. Nobody is asked.
    pub(crate) fn denies(&self, call: &AcceptedCall) -> bool {
        self.rules().rule_on(&Subject::of(call)).action == Action::Deny
    }

    /// Judges a call, and asks somebody where the rules say so.
    ///
    /// # Errors
    /// [`ErrorKind::Declined`], [`ErrorKind::ApprovalTimedOut`], [`ErrorKind::RepeatedCall`] where nobody can be asked about
    /// a doubt, [`ErrorKind::Busy`] when too many questions wait.
    ///
    /// # Cancel safety
    /// Dropping the future takes the question back, unless an equal call waits for it too.
    pub(crate) async fn decide(
        self: &Arc<Self>,
        call: AcceptedCall,
        said: &Said,
        trail: &mut Trail,
    ) -> Result<Verdict, CallError> {
        let rules = self.rules();
        let subject = Subject::of(&call);
        if rules.is_empty() && said.doubt.is_none() && subject.effect < EffectClass::Destroys {
            return Ok(Verdict::run(call));
        }
        let ruling = rules.rule_on(&subject);
        ruling.shadows.iter().for_each(|placed| trail.decided(Decision::of_rule(About::call(&call), placed)));
        match (ruling.action, ruling.by) {
            (Action::Deny, Some(placed)) => {
                trail.decided(Decision::of_rule(About::call(&call), &placed));
                return Err(denied(About::call(&call), &placed));
            }
            (Action::Allow, by) if said.doubt.is_none() => {
                by.into_iter().for_each(|placed| trail.decided(Decision::of_rule(About::call(&call), &placed)));
                return Ok(Verdict::run(call));
            }
            _ => {}
        }
        if said.edited.as_ref().is_some_and(|edited| matcher::same(edited, &call.arguments)) {
            // Whoever wrote these arguments has allowed them.
            return Ok(Verdict::run(call));
        }
        let rule = ruling.by.map(|placed| placed.title());
        let words = said.doubt.clone().or_else(|| ruling.by.and_then(|placed| placed.rule.reason.clone()));
        let words = words.unwrap_or_else(|| match &rule {
            Some(rule) => format!("the rule `{rule}` asks"),
            None if call.tool.effect < EffectClass::Destroys => "it is in the class `destructive` of its batch".into(),
            None => "a tool that may destroy something is asked about".into(),
        });
        let (doubt, lasting) = (said.doubt.is_some(), self.rulebook.is_some());
        let why = Why { words, fault: said.fault.clone(), doubt, lasting };
        // Boxed, because few calls are asked about, and each that waits for anything holds room for what it could come to.
        Box::pin(self.ask(call, &why, rule, trail)).await
    }

    /// Asks, and says what comes of the answer.
    async fn ask(
        self: &Arc<Self>,
        call: AcceptedCall,
        why: &Why,
        rule: Option<String>,
        trail: &mut Trail,
    ) -> Result<Verdict, CallError> {
        let teller = trail.teller.clone();
        let mut decided = |decision| trail.decided(decision);
        match self.answer_to(About::call(&call), why, rule, &teller, &mut decided).await? {
            Choice::Edit { arguments } => Ok(Verdict::Edited(Box::new(call), arguments)),
            Choice::Answer { value } => {
                let notes = vec!["the tool did not run: somebody answered instead of it".into()];
                Ok(Verdict::Answered(Output { value, notes, ..Output::default() }))
            }
            _ => Ok(Verdict::run(call)),
        }
    }

    /// Asks, until there is an answer that is for this call, or this effect of it. It is no denial.
    async fn answer_to(
        self: &Arc<Self>,
        about: About<'_>,
        why: &Why,
        rule: Option<String>,
        teller: &Teller,
        decided: &mut (dyn FnMut(Decision) + Send),
    ) -> Result<Choice, CallError> {
        let bound = about.binding(why.doubt);
        let decision = |what, by: &str| Decision { rule: rule.clone(), ..Decision::about(about, what, by) };
        if self.was_allowed_for_session(about.call, bound).await {
            decided(decision(Decided::AllowedForSession, "an earlier answer"));
            return Ok(Choice::AllowSession);
        }
        for _ in 0..ROUNDS_MAX {
            let _turn = match &about.call.call.inside {
                // One about an effect has had its turn. Boxed, because few calls wait for theirs.
                Some(around) if about.effect.is_none() => {
                    Some(Box::pin(around.tree().questions.turn(about.call, about.stage())).await?)
                }
                _ => None,
            };
            let make = || Question::about(about, why.clone(), self.timeout, &teller.masker());
            let (question, asked) = self.pending.join(bound, make, |question| self.clone().settle(question))?;
            teller.tell(&Event::Question { question: &question });
            let settled = asked.await;
            let told = |what, by: &str| Decision { question: Some(question.id.clone()), ..decision(what, by) };
            let answer = match &*settled {
                Settled::Answered { answer, .. } => answer,
                Settled::Expired(passes) => {
                    let behind = passes.words(&teller.masker());
                    decided(Decision { why: behind.clone(), ..told(Decided::Expired, "nobody") });
                    return Err(because(expired(about, self.timeout), behind));
                }
                Settled::Unasked(passes) => {
                    let behind = passes.words(&teller.masker());
                    decided(Decision { why: behind.clone(), ..told(Decided::Unasked, "nobody") });
                    return Err(because(unasked(about, why), behind));
                }
            };
            // Calls with one key have one effect together. A key that cannot be made was refused before anybody is asked.
            let asks = if about.effect.is_none() { about.call.asks().ok().flatten() } else { None };
            if answer.choice.is_for_one() && !settled.take(asks.map(|asks| asks.key.clone())) {
                continue;
            }
            let what = match &answer.choice {
                Choice::Allow => Decided::Allowed,
                Choice::AllowSession => {
                    self.session.learn(bound);
                    Decided::AllowedForSession
                }
                Choice::AllowAlways => Decided::AllowedAlways,
                Choice::Edit { .. } => Decided::Edited,
                Choice::Answer { .. } => Decided::Answered,
                Choice::Deny { reason } => {
                    let reason = reason.as_deref().map(|reason| cut(reason.trim()).to_owned());
                    let reason = reason.filter(|reason| !reason.is_empty());
                    decided(Decision { why: reason.clone(), ..told(Decided::Denied, &answer.by) });
                    return Err(declined(about, reason.as_deref()));
                }
            };
            decided(told(what, &answer.by));
            return Ok(answer.choice.clone());
        }
        Err(refused(about.call, "equal calls wait for the same answer; call again later"))
    }

    /// Whether somebody has allowed the same call until its session ends.
    async fn was_allowed_for_session(&self, call: &AcceptedCall, bound: Bound) -> bool {
        if self.session.knows(&bound) {
            return true;
        }
        match &self.rulebook {
            Some(rulebook) if call.call.caller.session.is_some() => {
                in_time(rulebook.remembers(&hex(&bound)).map(Ok)).await.unwrap_or(false)
            }
            _ => false,
        }
    }

    /// From a question to its answer. It belongs to all calls that wait for it.
    async fn settle(self: Arc<Self>, question: Arc<Question>) -> Settled {
        let passes = Passes::default();
        let mut answer = match tokio::time::timeout(self.timeout, self.approvers.ask(&question, &passes)).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Settled::Unasked(passes),
            Err(_) => return Settled::Expired(passes),
        };
        answer.choice = match (answer.choice, &question.always) {
            (Choice::AllowAlways, Some(rule)) if self.keep(rule, &question).await => Choice::AllowAlways,
            // What cannot be allowed for longer is allowed this once.
            (Choice::AllowAlways, _) => Choice::Allow,
            (Choice::AllowSession, _) if !question.session => Choice::Allow,
            (Choice::Edit { .. } | Choice::Answer { .. }, _) if question.doing.is_some() => {
                let reason = "what a running tool does can be allowed or denied, and not edited or answered";
                Choice::Deny { reason: Some(reason.into()) }
            }
            (choice, _) => choice,
        };
        if let (Choice::AllowSession, Some(rulebook)) = (&answer.choice, &self.rulebook)
            && let Err(error) = in_time(rulebook.remember(&question)).await
        {
            tracing::warn!(question = question.id, error, "only this host knows that it was allowed for the session");
        }
        Settled::answered(answer)
    }

    /// Keeps a rule, for this host and for later ones.
    async fn keep(&self, rule: &Rule, question: &Question) -> bool {
        let Some(rulebook) = &self.rulebook else { return false };
        if let Err(error) = in_time(rulebook.write(rule, question)).await {
            tracing::warn!(question = question.id, error, "the rule is not written down");
            return false;
        }
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut rules).always.push(rule.clone());
        true
    }
}

/// Waits for the rulebook, but not for ever: whoever has answered, or can be asked, is not held up by it.
fn in_time<'r, T: 'r>(asked: impl Future<Output = Result<T, String>> + Send + 'r) -> BoxFuture<'r, Result<T, String>> {
    let late = || format!("the rulebook did not answer within {}s", RULEBOOK_TIME_MAX.as_secs());
    tokio::time::timeout(RULEBOOK_TIME_MAX, asked).map(move |ended| ended.unwrap_or_else(|_| Err(late()))).boxed()
}

/// The arguments that somebody who saw the masked ones has written.
///
/// # Errors
/// A mask stands where no secret was.
pub(crate) fn edited(arguments: Value, call: &AcceptedCall, masker: &Masker) -> Result<Value, String> {
    shown::unmasked(arguments, &shown::masked_for(call, masker), &call.arguments)
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(REASON_BYTES_MAX)).unwrap_or_default()
}
