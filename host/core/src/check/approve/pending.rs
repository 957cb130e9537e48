//! Which questions wait? Each is asked once, however many equal calls wait for its answer.
//!
//! A question lives in the futures of the calls that wait for it. When the last of them is dropped it is dropped too, and is
//! no longer pending.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use super::approver::Passes;
use super::question::{Answer, Choice, Question};
use crate::guard::replay::RecordKey;
use crate::tell::{CallError, ErrorKind, Stage};

/// The most answers for a session that are kept in mind; beyond that the oldest is forgotten.
const SESSION_ANSWERS_MAX: usize = 10_000;

/// The most calls that wait for one question. Each holds its arguments, and all of them wake at its answer.
const JOINED_MAX: usize = 1_024;

/// When it may help to come again, where too many wait.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What a call is known by.
pub(super) type Bound = [u8; 32];

type Asked = Shared<BoxFuture<'static, Arc<Settled>>>;

/// The questions that wait.
pub(super) struct Pending {
    pending_max: usize,
    waiting: Arc<Mutex<HashMap<Bound, Waiting>>>,
}

struct Waiting {
    question: Arc<Question>,
    asked: Option<WeakShared<BoxFuture<'static, Arc<Settled>>>>,
}

/// How a question ended.
pub(super) enum Settled {
    /// Somebody answered. What lets one call run is taken by one: by its idempotency key, where it has one.
    Answered { answer: Answer, taken: Mutex<Option<Option<RecordKey>>> },
    /// Nobody did in time; those who were asked may have said why.
    Expired(Passes),
    /// Nobody could be asked.
    Unasked(Passes),
}

impl Settled {
    pub(super) fn answered(answer: Answer) -> Self {
        Settled::Answered { answer, taken: Mutex::default() }
    }

    /// Takes the answer for a call. Calls with the same idempotency key have one effect together, and take it together.
    pub(super) fn take(&self, key: Option<RecordKey>) -> bool {
        let Settled::Answered { taken, .. } = self else { return false };
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        match &*taken {
            None => {
                *taken = Some(key);
                true
            }
            Some(by) => key.is_some() && *by == key,
        }
    }
}

impl Choice {
    /// Whether the answer lets one call do something, and no other.
    pub(super) fn is_for_one(&self) -> bool {
        matches!(self, Choice::Allow | Choice::Edit { .. })
    }
}

/// Takes a question out of the list when it is dropped.
struct Listed {
    waiting: Arc<Mutex<HashMap<Bound, Waiting>>>,
    bound: Bound,
    id: String,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.get(&self.bound).is_some_and(|waiting| waiting.question.id == self.id) {
            waiting.remove(&self.bound);
        }
    }
}

impl Pending {
    pub(super) fn new(pending_max: usize) -> Self {
        Pending { pending_max, waiting: Arc::default() }
    }

    /// The questions of another one, and as many of them as there may be here.
    pub(super) fn sharing(&self, other: &Pending) -> Self {
        Pending { pending_max: self.pending_max, waiting: other.waiting.clone() }
    }

    pub(super) fn questions(&self) -> Vec<Arc<Question>> {
        self.lock().values().map(|waiting| waiting.question.clone()).collect()
    }

    /// Joins the question that waits for this call, or asks it.
    pub(super) fn join<F>(
        &self,
        bound: Bound,
        make: impl FnOnce() -> Question,
        ask: impl FnOnce(Arc<Question>) -> F,
    ) -> Result<(Arc<Question>, Asked), CallError>
    where
        F: Future<Output = Settled> + Send + 'static,
    {
        let mut waiting = self.lock();
        if let Some(known) = waiting.get(&bound)
            && let Some(asked) = known.asked.as_ref().and_then(WeakShared::upgrade)
        {
            // This one is counted already.
            return match asked.strong_count() {
                Some(count) if count > JOINED_MAX => Err(crowded()),
                _ => Ok((known.question.clone(), asked)),
            };
        }
        if waiting.len() >= self.pending_max {
            return Err(self.full());
        }
        let question = Arc::new(make());
        let listed = Listed { waiting: self.waiting.clone(), bound, id: question.id.clone() };
        let asking = ask(question.clone());
        let asked = async move {
            let settled = Arc::new(asking.await);
            drop(listed);
            settled
        };
        let asked = asked.boxed().shared();
        waiting.insert(bound, Waiting { question: question.clone(), asked: asked.downgrade() });
        Ok((question, asked))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Bound, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn full(&self) -> CallError {
        let words = format!("{} questions wait for an answer already", self.pending_max);
        CallError::new(ErrorKind::Busy, Stage::Check, words)
            .with_help("call again later, or raise `approval.max_pending`")
            .retry_after(AGAIN_AFTER)
    }
}

fn crowded() -> CallError {
    let words = format!("{JOINED_MAX} equal calls wait for the answer to one question already");
    CallError::new(ErrorKind::Busy, Stage::Check, words)
        .with_help("wait for the answer to one of them")
        .retry_after(AGAIN_AFTER)
}

/// What was allowed for a session: each call by what it is bound to, which has the session in it.
#[derive(Clone, Default)]
pub(super) struct Session {
    known: Arc<Mutex<(HashSet<Bound>, VecDeque<Bound>)>>,
}

impl Session {
    pub(super) fn knows(&self, bound: &Bound) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).0.contains(bound)
    }

    pub(super) fn learn(&self, bound: Bound) {
        let (known, order) = &mut *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert(bound) {
            order.push_back(bound);
        }
        if order.len() > SESSION_ANSWERS_MAX
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
    }
}
