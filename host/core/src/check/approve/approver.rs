//! Who is asked? Approvers in a chain, one after the other: one that cannot answer passes the question on.
//!
//! An approver that fails never allows, and never blocks: the next one is asked, and where there is none the call is refused.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};

use super::question::{Answer, Question};

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

/// All who can be asked.
#[derive(Clone, Default)]
pub(super) struct Approvers {
    /// One after the other.
    pub(super) chain: Vec<Arc<dyn Approver>>,
    /// At the same time as the chain: whoever answers first has answered.
    pub(super) beside: Vec<Arc<dyn Approver>>,
}

impl Approvers {
    /// The first answer; or why nobody has one.
    pub(super) async fn ask(&self, question: &Question) -> Result<Answer, Vec<Pass>> {
        let chain = pin!(in_turn(&self.chain, question));
        let beside = pin!(at_once(&self.beside, question));
        match select(chain, beside).await {
            Either::Left((Ok(answer), _)) | Either::Right((Ok(answer), _)) => Ok(answer),
            Either::Left((Err(passes), others)) => others.await.map_err(|more| [passes, more].concat()),
            Either::Right((Err(passes), others)) => others.await.map_err(|more| [more, passes].concat()),
        }
    }
}

async fn in_turn(approvers: &[Arc<dyn Approver>], question: &Question) -> Result<Answer, Vec<Pass>> {
    let mut passes = Vec::new();
    for approver in approvers {
        match one(approver, question).await {
            Ok(answer) => return Ok(answer),
            Err(pass) => passes.push(pass),
        }
    }
    Err(passes)
}

async fn at_once(approvers: &[Arc<dyn Approver>], question: &Question) -> Result<Answer, Vec<Pass>> {
    let mut asked: Vec<_> = approvers.iter().map(|approver| one(approver, question).boxed()).collect();
    let mut passes = Vec::new();
    while !asked.is_empty() {
        let (answer, _, rest) = futures_util::future::select_all(asked).await;
        match answer {
            Ok(answer) => return Ok(answer),
            Err(pass) => passes.push(pass),
        }
        asked = rest;
    }
    Err(passes)
}

async fn one(approver: &Arc<dyn Approver>, question: &Question) -> Result<Answer, Pass> {
    let asked = AssertUnwindSafe(async { approver.ask(question).await });
    asked.catch_unwind().await.unwrap_or_else(|_| Err(Pass::new("an approver", "it panicked")))
}
