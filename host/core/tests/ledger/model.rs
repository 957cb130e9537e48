//! Any number of owners, twins and operators at once, in any order of their looks and swaps: each step must come to what a
//! small model says that does one step after the other, in the order in which the steps took effect.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use proptest::prelude::*;
use tokio::time::Instant;
use toolpost_core::guard::replay::settings::OnCrash;
use toolpost_core::guard::replay::{
    Asked, Begin, Book, Decision, Fenced, Fingerprint, LedgerFailure, LedgerStore, Listed, Query, Record, RecordKey,
    Release, Seen, Standing,
};

use crate::conformance::{asked, ending, of_claim};

/// Long against everything else, so that claims are not forgotten here.
const LEASE_MS: u64 = 10;
const TTL_MS: u64 = 40;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// With these arguments, and this rule for what is unknown; behind a look, or without one.
    Begin {
        other: bool,
        rerun: bool,
        looks: bool,
    },
    Renew,
    Mark,
    Complete(u8),
    Release(Release),
    Resolve(Option<u8>),
    Forget,
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    /// An actor begins its next step, or takes the next look or swap of the one that it is at.
    Act(usize),
    /// Time goes on.
    Wait(u64),
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
enum Came {
    Acquired { taken_over: bool, effects: bool },
    Running,
    Finished(u8),
    Other,
    Unknown,
    Fenced(Fenced),
    Standing(Option<Standing>),
}

// ------------------------------------------------------------------------------------------------ the model

/// The one record of the model, with the actor that owns it and how often it was claimed.
#[derive(Clone, Debug)]
struct Held {
    other: bool,
    state: Model,
    /// The claim: which actor's, and its so-maniest. None behind an operator's word.
    owner: Option<(usize, u64)>,
    /// Whether something may have been changed under the key.
    touched: bool,
    expires: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Model {
    Claimed(u64),
    Effects(u64),
    Done(u8),
    Unknown,
}

const LONG: u64 = 1_000_000;

/// One step, at once.
fn model(held: &mut Option<Held>, actor: usize, claim: u64, step: Step, now: u64) -> Came {
    if held.as_ref().is_some_and(|held| held.expires <= now) {
        *held = None;
    }
    if let Step::Begin { other, rerun, .. } = step {
        let Some(record) = held else {
            let state = Model::Claimed(now + LEASE_MS);
            *held = Some(Held { other, state, owner: Some((actor, claim)), touched: false, expires: now + LONG });
            return Came::Acquired { taken_over: false, effects: false };
        };
        if record.other != other {
            return Came::Other;
        }
        let state = match record.state {
            Model::Done(answer) => return Came::Finished(answer),
            Model::Unknown => return Came::Unknown,
            Model::Claimed(lease) | Model::Effects(lease) if lease > now => return Came::Running,
            Model::Claimed(_) => Model::Claimed(now + LEASE_MS),
            Model::Effects(_) if rerun => Model::Effects(now + LEASE_MS),
            Model::Effects(_) => {
                record.state = Model::Unknown;
                return Came::Unknown;
            }
        };
        record.owner = Some((actor, claim));
        record.state = state;
        return Came::Acquired { taken_over: true, effects: record.touched };
    }
    if let Step::Resolve(_) | Step::Forget = step {
        let Some(record) = held else { return Came::Standing(None) };
        let standing = match record.state {
            Model::Claimed(lease) | Model::Effects(lease) if lease > now => Standing::Running,
            Model::Claimed(_) => Standing::Left,
            Model::Effects(_) | Model::Unknown => Standing::Unknown,
            Model::Done(_) => Standing::Done,
        };
        match step {
            Step::Resolve(Some(answer)) if standing == Standing::Unknown => {
                (record.state, record.owner, record.expires) = (Model::Done(answer), None, now + TTL_MS);
            }
            Step::Resolve(None) if standing == Standing::Unknown => {
                (record.state, record.owner) = (Model::Claimed(now), None);
            }
            Step::Forget if standing != Standing::Running => *held = None,
            _ => {}
        }
        return Came::Standing(Some(standing));
    }
    let mine = held.as_mut().filter(|record| claim > 0 && record.owner == Some((actor, claim)));
    let Some(record) = mine else { return Came::Fenced(Fenced::Lost) };
    record.touched |= matches!((step, record.state), (Step::Mark, Model::Claimed(_) | Model::Effects(_)));
    let next = match (step, record.state) {
        (Step::Renew, Model::Claimed(_)) => Model::Claimed(now + LEASE_MS),
        (Step::Renew, Model::Effects(_)) => Model::Effects(now + LEASE_MS),
        (Step::Mark, Model::Claimed(lease) | Model::Effects(lease)) => Model::Effects(lease),
        (Step::Complete(answer), Model::Done(known)) if answer == known => return Came::Fenced(Fenced::Held),
        (Step::Complete(answer), Model::Claimed(_) | Model::Effects(_) | Model::Unknown) => {
            record.expires = now + TTL_MS;
            Model::Done(answer)
        }
        (Step::Release(Release::Free), Model::Claimed(_) | Model::Effects(_) | Model::Unknown) => {
            *held = None;
            return Came::Fenced(Fenced::Held);
        }
        (Step::Release(Release::Rerun), Model::Claimed(_) | Model::Effects(_) | Model::Unknown) => Model::Claimed(now),
        (Step::Release(Release::Unknown), Model::Claimed(_) | Model::Effects(_) | Model::Unknown) => Model::Unknown,
        _ => return Came::Fenced(Fenced::Lost),
    };
    record.state = next;
    Came::Fenced(Fenced::Held)
}

// ------------------------------------------------------------------------------------------- the real thing

/// A store whose every look and swap is a turn of its own.
struct Turns {
    epoch: Instant,
    records: Mutex<HashMap<RecordKey, Arc<Record>>>,
}

impl Turns {
    fn now(&self) -> u64 {
        LONG + self.epoch.elapsed().as_millis() as u64
    }
}

async fn turn() {
    let mut first = true;
    poll_fn(|_| if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) }).await;
}

impl LedgerStore for Turns {
    fn get<'a>(&'a self, key: &'a RecordKey) -> BoxFuture<'a, Result<Seen, LedgerFailure>> {
        async move {
            turn().await;
            let record = self.records.lock().unwrap().get(key).cloned();
            Ok(Seen { record, now_ms: self.now() })
        }
        .boxed()
    }

    fn swap<'a>(
        &'a self,
        key: &'a RecordKey,
        expected: Option<u64>,
        record: Option<Arc<Record>>,
    ) -> BoxFuture<'a, Result<bool, LedgerFailure>> {
        async move {
            turn().await;
            let mut records = self.records.lock().unwrap();
            if records.get(key).map(|record| record.version) != expected {
                return Ok(false);
            }
            match record {
                Some(record) => drop(records.insert(key.clone(), record)),
                None => drop(records.remove(key)),
            }
            Ok(true)
        }
        .boxed()
    }

    fn list<'a>(&'a self, _: &'a Query) -> BoxFuture<'a, Result<Listed, LedgerFailure>> {
        async { Err(LedgerFailure::new("not here")) }.boxed()
    }
}

/// What came of a step, and the fence that it got.
type Run = Pin<Box<dyn Future<Output = (Came, Option<u64>)>>>;

fn run(book: Book, step: Step, mine: Arc<Asked>, fence: u64) -> Run {
    let milliseconds = Duration::from_millis;
    let answer = |answer: u8| ending(&answer.to_string());
    async move {
        let key = &mine.key;
        let came = match step {
            Step::Begin { looks, .. } => {
                if looks {
                    book.look(&mine).await.unwrap();
                }
                match book.begin(&mine, milliseconds(LEASE_MS)).await.unwrap() {
                    Begin::Acquired { fence, taken_over, effects, .. } => {
                        return (Came::Acquired { taken_over, effects }, Some(fence));
                    }
                    Begin::Running { .. } => Came::Running,
                    Begin::Finished(told) => Came::Finished((0..3).find(|known| answer(*known) == told).unwrap()),
                    Begin::OtherArguments => Came::Other,
                    Begin::Unknown { .. } => Came::Unknown,
                }
            }
            Step::Renew => Came::Fenced(book.renew(key, fence, milliseconds(LEASE_MS)).await.unwrap()),
            Step::Mark => Came::Fenced(book.mark_effects(&*mine, fence, "e").await.unwrap()),
            Step::Complete(end) => {
                Came::Fenced(book.complete(&*mine, fence, &answer(end), milliseconds(TTL_MS)).await.unwrap())
            }
            Step::Release(release) => Came::Fenced(book.release(&*mine, fence, release).await.unwrap()),
            Step::Resolve(end) => {
                let decision = end.map_or(Decision::Rerun, |end| Decision::Ended(answer(end)));
                Came::Standing(book.resolve(key, &decision, milliseconds(TTL_MS)).await.unwrap())
            }
            Step::Forget => Came::Standing(book.forget(key).await.unwrap()),
        };
        (came, None)
    }
    .boxed_local()
}

struct Actor {
    steps: Vec<Step>,
    /// What it asked with last, and knows since.
    asked: Arc<Asked>,
    fence: u64,
    claims: u64,
    at: Option<(Step, Run)>,
}

/// Runs the actors turn by turn. A step takes effect in the turn in which it ends: with its last look, or its swap; the time
/// that counts for it is that of its last look.
fn check(plans: Vec<Vec<Step>>, turns: &[Turn]) {
    let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _clock = clock.enter();
    let store = Arc::new(Turns { epoch: Instant::now(), records: Mutex::default() });
    let book = Book::new(store.clone());
    let mut actors: Vec<Actor> = plans
        .into_iter()
        .map(|mut steps| {
            steps.reverse();
            Actor { steps, asked: Arc::new(asked("k")), fence: 0, claims: 0, at: None }
        })
        .collect();
    let mut held = None;
    let mut history = Vec::new();
    // The turns that are left at the end bring every step to its own.
    let rest = (0..2_000).map(|at| Turn::Act(at % actors.len().max(1))).collect::<Vec<_>>();
    for turn in turns.iter().chain(&rest) {
        match *turn {
            Turn::Wait(span) => {
                // Not in the middle of a step: what it has seen is of its time, and the model's steps are at once.
                if actors.iter().all(|actor| actor.at.is_none()) {
                    clock.block_on(tokio::time::advance(Duration::from_millis(span)));
                }
            }
            Turn::Act(index) => {
                let Some(actor) = actors.get_mut(index) else { continue };
                if actor.at.is_none() {
                    let Some(step) = actor.steps.pop() else { continue };
                    if let Step::Begin { other, rerun, .. } = step {
                        let on_crash = if rerun { OnCrash::Rerun } else { OnCrash::Unknown };
                        let asked = Asked { on_crash, ..asked("k") };
                        let fingerprint = Fingerprint([u8::from(other); 32]);
                        actor.asked = Arc::new(of_claim(asked, |claim| claim.fingerprint = fingerprint));
                    }
                    actor.at = Some((step, run(book.clone(), step, actor.asked.clone(), actor.fence)));
                }
                let Some((step, running)) = &mut actor.at else { continue };
                let step = *step;
                if let Poll::Ready((came, fence)) = running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    actor.at = None;
                    let claim = if matches!(step, Step::Begin { .. }) { actor.claims + 1 } else { actor.claims };
                    let wanted = model(&mut held, index, claim, step, store.now());
                    history.push((index, step, came.clone()));
                    assert_eq!(came, wanted, "{history:#?}");
                    if let Some(fence) = fence {
                        (actor.fence, actor.claims) = (fence, claim);
                    }
                }
            }
        }
    }
    assert!(actors.iter().all(|actor| actor.at.is_none() && actor.steps.is_empty()), "every step has ended");
}

fn step() -> impl Strategy<Value = Step> {
    let release = prop_oneof![Just(Release::Free), Just(Release::Rerun), Just(Release::Unknown)];
    prop_oneof![
        6 => (prop::bool::weighted(0.1), any::<bool>(), any::<bool>())
            .prop_map(|(other, rerun, looks)| Step::Begin { other, rerun, looks }),
        2 => Just(Step::Renew),
        3 => Just(Step::Mark),
        3 => (0..3_u8).prop_map(Step::Complete),
        2 => release.prop_map(Step::Release),
        1 => prop::option::of(0..3_u8).prop_map(Step::Resolve),
        1 => Just(Step::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn steps_at_the_same_time_come_to_the_same_as_one_after_the_other(
        plans in prop::collection::vec(prop::collection::vec(step(), 1..12), 1..5),
        turns in prop::collection::vec(
            prop_oneof![8 => (0..5_usize).prop_map(Turn::Act), 2 => (1..15_u64).prop_map(Turn::Wait)],
            0..200,
        ),
    ) {
        check(plans, &turns);
    }
}
