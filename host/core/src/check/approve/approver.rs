//! Who is asked? Approvers in a chain, one after the other: one that cannot answer passes the question on.
//!
//! An approver that fails never allows, and never blocks: the next one is asked, and where there is none the call is refused.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};

use super::question::{Answer, Question};
use crate::secret::Masker;

/// Somebody who can be asked: a person at a terminal, a service, a program.
pub trait Approver: Send + Sync {
    /// Answers a question.
    ///
    /// # Errors
    /// Why this approver cannot answer; the next one is asked.
    ///
    /// # Cancel safety
    /// The future is dropped when the question has expired, was answered elsewhere, or nobody waits for it any more.
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>>;
}

/// Why an approver has no answer. It is for the operator's log, and not told to the one who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The approver.
    pub approver: String,
    /// Why it has no answer.
    pub why: String,
}

impl Pass {
    /// A reason.
    pub fn new(approver: impl Into<String>, why: impl Into<String>) -> Self {
        Pass { approver: approver.into(), why: why.into() }
    }
}

impl std::fmt::Display for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.approver, self.why)
    }
}

/// Why those who were asked had no answer, in the order in which they said so. It is there also when the time is over.
#[derive(Default)]
pub(super) struct Passes(Mutex<Vec<Pass>>);

impl Passes {
    fn add(&self, pass: Pass, question: &Question) {
        tracing::warn!(question = question.id, approver = pass.approver, why = pass.why, "an approver has no answer");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(pass);
    }

    /// All of them in words; none where nobody had passed.
    pub(super) fn words(&self, masker: &Masker) -> Option<String> {
        let passes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let words: Vec<String> = passes.iter().map(Pass::to_string).collect();
        (!words.is_empty()).then(|| masker.text(&words.join("; ")).into_owned())
    }
}

/// All who can be asked.
#[derive(Clone, Default)]
pub(super) struct Approvers {
    /// One after the other.
    pub(super) chain: Vec<Arc<dyn Approver>>,
    /// At the same time as the chain: whoever answers first has answered.
    pub(super) beside: Vec<Arc<dyn Approver>>,
}

impl Approvers {
    /// The first answer; why others have none is in the passes.
    pub(super) async fn ask(&self, question: &Question, passes: &Passes) -> Option<Answer> {
        let chain = pin!(in_turn(&self.chain, question, passes));
        let beside = pin!(at_once(&self.beside, question, passes));
        match select(chain, beside).await {
            Either::Left((Some(answer), _)) | Either::Right((Some(answer), _)) => Some(answer),
            Either::Left((None, others)) => others.await,
            Either::Right((None, others)) => others.await,
        }
    }
}

async fn in_turn(approvers: &[Arc<dyn Approver>], question: &Question, passes: &Passes) -> Option<Answer> {
    for approver in approvers {
        let answer = one(approver, question, passes).await;
        if answer.is_some() {
            return answer;
        }
    }
    None
}

async fn at_once(approvers: &[Arc<dyn Approver>], question: &Question, passes: &Passes) -> Option<Answer> {
    let mut asked: Vec<_> = approvers.iter().map(|approver| one(approver, question, passes).boxed()).collect();
    while !asked.is_empty() {
        let (answer, _, rest) = futures_util::future::select_all(asked).await;
        if answer.is_some() {
            return answer;
        }
        asked = rest;
    }
    None
}

async fn one(approver: &Arc<dyn Approver>, question: &Question, passes: &Passes) -> Option<Answer> {
    let asked = AssertUnwindSafe(async { approver.ask(question).await });
    let answer = asked.catch_unwind().await.unwrap_or_else(|_| Err(Pass::new("an approver", "it panicked")));
    answer.map_err(|pass| passes.add(pass, question)).ok()
}
