//! May the tool have this effect? Rules are tried, and where they ask, the attempt waits for a person: its place is free for
//! others meanwhile, its clock stands still, and a guest is left where it is.
//!
//! The question is held in a task of its own. So it goes on while the guest that waits for it is not run, and whoever has
//! stepped out steps in again, also where nobody wants the answer any more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tracing::Instrument as _;

use super::Attempt;
use crate::call::AcceptedCall;
use crate::check::approve::{Decision, Doing, Leave};
use crate::effect::{EFFECTS_LISTED_MAX, Intent};
use crate::host::Host;
use crate::tell::{CallError, ErrorKind, Event, Stage};

/// The most questions that one attempt asks with all that it calls, and how many of them wait at once.
const QUESTIONS_MAX: usize = 100;
const QUESTIONS_AT_ONCE_MAX: usize = 8;

/// How often a person has allowed each effect of a call. What was allowed in one attempt is not asked about again when the
/// next one comes to the same point; what an attempt does more often than that is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaves(Arc<Mutex<HashMap<[u8; 32], u32>>>);

impl Leaves {
    /// One more time. Says the how-maniest; nothing where too many are counted already.
    fn count(&self, identity: [u8; 32]) -> Option<u32> {
        let mut counts = self.counts();
        if counts.len() >= EFFECTS_LISTED_MAX && !counts.contains_key(&identity) {
            return None;
        }
        let count = counts.entry(identity).or_default();
        *count += 1;
        Some(*count)
    }

    fn counted(&self, identity: &[u8; 32]) -> u32 {
        self.counts().get(identity).copied().unwrap_or_default()
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<[u8; 32], u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The questions about an attempt that is inside of no other: about what it does, and about all calls inside of it and what they
/// do, however deep. Else a tool would have as many questions as it can make calls, and nobody else would be asked.
#[derive(Debug)]
pub(crate) struct Questions {
    asked: AtomicUsize,
    at_once: Semaphore,
}

impl Default for Questions {
    fn default() -> Self {
        Questions { asked: AtomicUsize::new(0), at_once: Semaphore::new(QUESTIONS_AT_ONCE_MAX) }
    }
}

impl Questions {
    /// Waits until one more may be asked.
    ///
    /// # Errors
    /// There were as many as there may be.
    ///
    /// # Cancel safety
    /// Dropping the future asks nothing.
    pub(crate) async fn turn(&self, call: &AcceptedCall, stage: Stage) -> Result<SemaphorePermit<'_>, CallError> {
        let turn = self.at_once.acquire().await;
        let turn = turn.map_err(|closed| crate::bug!(stage, "questions are asked no more: {closed}"))?;
        if self.asked.fetch_add(1, Ordering::Relaxed) < QUESTIONS_MAX {
            return Ok(turn);
        }
        let (who, help) = match &call.call.inside {
            Some(inside) => {
                let first = inside.tools().first().copied().unwrap_or_default().to_owned();
                (format!("`{first}` and what it calls have"), " in place of the one that asks needs no question")
            }
            None => ("the tool has".into(), " with the same `does`, in place of the one that asks, needs no question"),
        };
        let words = format!("{who} had the {QUESTIONS_MAX} questions asked that one attempt may ask");
        let help = format!("an `[[approval.allow]]` rule{help}");
        Err(CallError::new(ErrorKind::QuotaExceeded, stage, words).with_help(help))
    }
}

impl Attempt {
    /// # Errors
    /// Rules deny it, or the one who was asked; or nobody could be asked.
    ///
    /// # Cancel safety
    /// Dropping the future takes the question back.
    pub(super) async fn leave_for(&self, intent: &Intent) -> Result<(), CallError> {
        let Some(host) = self.ties().host.host() else { return Ok(()) };
        let (leave, decisions) = host.approval().leave(&self.call, intent);
        decisions.into_iter().for_each(|decision| self.decided(&decision));
        let doing = match leave {
            Leave::Given => return Ok(()),
            Leave::Denied(why) => return Err(why),
            Leave::Asked(doing) => doing,
        };
        let allowed = &self.ties().leaves;
        // What is not known yet may be something else than what was allowed.
        let identity = intent.is_whole().then(|| intent.identity());
        let is_allowed = |identity| self.asking.count(identity).is_some_and(|it| it <= allowed.counted(&identity));
        if identity.is_some_and(is_allowed) {
            return Ok(());
        }
        let _turn = self.ties().tree.questions.turn(&self.call, Stage::Run).await?;
        let (wanted, unwanted) = oneshot::channel();
        let question = self.clone().question(host, intent.clone(), doing, unwanted);
        let answered = tokio::spawn(question.in_current_span()).await;
        drop(wanted);
        answered.unwrap_or_else(|error| Err(crate::bug!(Stage::Run, "a question ended without an answer: {error}")))?;
        if let Some(identity) = identity {
            allowed.count(identity);
        }
        Ok(())
    }

    async fn question(
        self,
        host: Host,
        intent: Intent,
        doing: Doing,
        unwanted: oneshot::Receiver<()>,
    ) -> Result<(), CallError> {
        let (approval, guarding) = (host.approval(), host.guarding());
        let away = self.ties().seat.step_out(&guarding.slots);
        let standing = self.clock.stop();
        let mut decided = |decision: Decision| self.decided(&decision);
        let answered = tokio::select! {
            biased;
            () = self.gate().closed() => self.gate().check(),
            _ = unwanted => Ok(()),
            answered = approval.ask_leave(&self.call, &intent, doing, &self.teller, &mut decided) => answered,
        };
        // Whatever was answered, the tool goes on, and does so in a place; the wait for it does not count as its time.
        if let Some(away) = away {
            away.step_in(&guarding.slots).await;
        }
        drop(standing);
        answered
    }

    fn decided(&self, decision: &Decision) {
        if self.gate().decided(decision) {
            self.teller.tell(&Event::Decision { decision });
        }
    }
}
