//! Approval: what rules say, what a person sees and answers, and what follows from it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod answers;
mod effects;
mod inside;
mod intents;
mod lessons;
mod rules;
mod shown;
mod waiting;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::check::approve::rules::Rule;
use toolpost_core::check::approve::{Answer, Approval, Approver, Choice, Pass, Question, Rulebook, Rules};
use toolpost_core::guard::GuardSettings;
use toolpost_core::{Call, Caller, Catalog, EffectClass, Host, Native, Outcome};

/// Somebody who gives the prepared answers one after the other, each when it is let go; without one left, they pass.
pub(crate) struct Person {
    answers: Mutex<VecDeque<Choice>>,
    pub(crate) asked: Mutex<Vec<Question>>,
    pub(crate) go: Semaphore,
}

impl Person {
    /// Answers at once.
    pub(crate) fn quick(answers: impl IntoIterator<Item = Choice>) -> Arc<Self> {
        let person = Self::slow(answers);
        person.go.add_permits(1_000);
        person
    }

    /// Answers only when let go.
    pub(crate) fn slow(answers: impl IntoIterator<Item = Choice>) -> Arc<Self> {
        Arc::new(Person {
            answers: Mutex::new(answers.into_iter().collect()),
            asked: Mutex::default(),
            go: Semaphore::new(0),
        })
    }

    pub(crate) fn times(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> Question {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

impl Approver for Person {
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
        async move {
            self.asked.lock().unwrap().push(question.clone());
            self.go.acquire().await.unwrap().forget();
            let choice = self.answers.lock().unwrap().pop_front();
            choice.map(|choice| Answer { choice, by: "ann".into() }).ok_or_else(|| Pass::new("person", "out to lunch"))
        }
        .boxed()
    }
}

/// Keeps the rules that are written down.
#[derive(Default)]
pub(crate) struct Book(pub(crate) Mutex<Vec<Rule>>);

impl Rulebook for Book {
    fn write<'a>(&'a self, rule: &'a Rule, _: &'a Question) -> BoxFuture<'a, Result<(), String>> {
        self.0.lock().unwrap().push(rule.clone());
        async { Ok(()) }.boxed()
    }
}

pub(crate) fn deny(reason: &str) -> Choice {
    Choice::Deny { reason: Some(reason.into()) }
}

pub(crate) fn rules(rules: Value) -> Rules {
    serde_json::from_value(rules).unwrap()
}

/// A host with `delete` (destroys), `write` and `read`, which answer with their arguments; and how often one ran.
pub(crate) fn host(approval: Approval) -> (Host, Arc<AtomicU32>) {
    host_with(approval, GuardSettings::default())
}

pub(crate) fn host_with(approval: Approval, guard: GuardSettings) -> (Host, Arc<AtomicU32>) {
    let runs = Arc::new(AtomicU32::new(0));
    let mut catalog = Catalog::default();
    for (name, effect) in
        [("delete", EffectClass::Destroys), ("write", EffectClass::Writes), ("read", EffectClass::Reads)]
    {
        let runs = runs.clone();
        let tool = Native::new(name, "")
            .parameter("path", Shape::String)
            .parameter("count", Shape::Option(Box::new(Shape::Integer(Integer::U64))))
            .parameter("token", Shape::Option(Box::new(Shape::String)))
            .effect(effect)
            .guard(guard.clone())
            .run(move |attempt| {
                runs.fetch_add(1, SeqCst);
                async move { Ok(attempt.call.arguments.clone()) }
            });
        catalog.add(tool).unwrap();
    }
    (Host::new(catalog).with_approval(approval), runs)
}

pub(crate) async fn call(host: &Host, tool: &str, path: &str) -> Outcome {
    call_in(host, None, tool, json!({"path": path})).await
}

pub(crate) async fn call_in(host: &Host, session: Option<&str>, tool: &str, arguments: Value) -> Outcome {
    let caller = Caller { session: session.map(str::to_owned), ..Caller::named("agent") };
    host.call(Call::new(tool, arguments).by(caller)).await
}
