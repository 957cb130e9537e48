//! Effects that are more than what is told of them: rules are tried on all of their names, and an answer is for all of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use toolpost_core::check::approve::{Approval, Choice};
use toolpost_core::effect::{Fate, Intent};
use toolpost_core::{Attempt, Catalog, Effect, EffectClass, ErrorKind, Host, HostLimits, Native, Outcome};

use crate::{Book, Person, call_in, rules};

/// A host with a tool that does what the function says.
fn doing<F, W>(approval: Approval, act: F) -> Host
where
    F: Fn(Attempt) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Value, toolpost_core::CallError>> + Send + 'static,
{
    let mut catalog = Catalog::default();
    catalog.add(Native::new("act", "Acts").effect(EffectClass::Writes).run(act)).unwrap();
    let limits = HostLimits { max_parallel: 1, ..HostLimits::default() };
    Host::new(catalog).with_approval(approval).with_limits(limits)
}

async fn act(host: &Host) -> Outcome {
    call_in(host, Some("s"), "act", json!({})).await
}

fn effect(target: &str) -> Effect {
    Effect { class: EffectClass::Writes, action: "files.rename".into(), target: target.into(), detail: None }
}

/// What comes of one intent under these rules, with nobody to ask.
async fn fate(written: &Value, intent: Intent) -> Option<ErrorKind> {
    let host = doing(Approval::new(rules(written.clone())), move |attempt| {
        let intent = intent.clone();
        async move {
            attempt.pass(intent).await?.done();
            Ok(json!(null))
        }
    });
    act(&host).await.result.err().map(|error| error.kind)
}

#[tokio::test]
async fn what_stops_fits_any_of_the_names_and_what_lets_go_fits_them_all() {
    let both = || Intent::from(effect("/inbox/a")).on(["/inbox/a", "/secret/a"]);
    let deny = json!({"deny": [{"does": {"target": "/secret/*"}}]});
    assert_eq!(fate(&deny, both()).await, Some(ErrorKind::Declined));
    assert_eq!(fate(&deny, Intent::from(effect("/inbox/a"))).await, None);

    let asks_unless = |target: &str| json!({"always": [{"does": {"target": target}}], "ask": [{"does": {}}]});
    assert_eq!(fate(&asks_unless("/inbox/*"), both()).await, Some(ErrorKind::Declined), "only one of them is let go");
    assert_eq!(fate(&asks_unless("/*"), both()).await, None);
}

#[tokio::test]
async fn rules_see_what_an_effect_comes_to() {
    let over = || Intent::from(effect("/inbox/a")).on(["/inbox/a", "/notes/a"]).also("files.delete", "/notes/a");
    let deny = |target: &str| json!({"deny": [{"does": {"action": "files.delete", "target": target}}]});
    assert_eq!(fate(&deny("/notes/*"), over()).await, Some(ErrorKind::Declined));
    assert_eq!(fate(&deny("/inbox/*"), over()).await, None);
    let lets = |action: &str| json!({"always": [{"does": {"action": action}}], "ask": [{"does": {}}]});
    assert_eq!(fate(&lets("files.rename"), over()).await, Some(ErrorKind::Declined), "only a part of it is let go");
    assert_eq!(fate(&lets("files.*"), over()).await, None);
}

#[tokio::test]
async fn rules_see_what_is_cut_or_masked_where_it_is_told() {
    let deny = json!({"deny": [{"does": {"target": "*/end"}}]});
    let cut = Intent::from(effect("/a/very/long…")).on(["/a/very/long/way/to/the/end"]);
    assert_eq!(fate(&deny, cut).await, Some(ErrorKind::Declined));
}

/// Acts twice on something that is told alike, made of these parts; says how often somebody was asked.
async fn asked(first: &'static str, second: &'static str, answers: [Choice; 2]) -> usize {
    let person = Person::quick(answers);
    let approval = Approval::new(rules(json!({"ask": [{"does": {}}]}))).then(person.clone());
    let host = doing(approval.writing(Arc::new(Book::default())), move |attempt| async move {
        for part in [first, second] {
            let intent = Intent::from(effect("/a"));
            let intent = if part.is_empty() { intent.open_ended() } else { intent.made_of([part.as_bytes()]) };
            attempt.pass(intent).await?.done();
        }
        Ok(json!(null))
    });
    let outcome = act(&host).await;
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    person.times()
}

#[tokio::test]
async fn an_answer_for_the_session_is_for_all_that_it_is_made_of() {
    let session = || [Choice::AllowSession, Choice::AllowSession];
    assert_eq!(asked("the same", "the same", session()).await, 1);
    assert_eq!(asked("one", "another", session()).await, 2);
}

#[tokio::test]
async fn what_is_not_known_yet_can_only_be_allowed_once() {
    assert_eq!(asked("", "", [Choice::AllowSession, Choice::AllowSession]).await, 2);
    assert_eq!(asked("", "", [Choice::AllowAlways, Choice::AllowAlways]).await, 2);
    // A rule cannot say what it would be about.
    assert_eq!(asked("one", "one", [Choice::AllowAlways, Choice::AllowAlways]).await, 2);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_for_the_answer_any_more_goes_on_in_a_place() {
    let person = Person::slow([Choice::Allow]);
    let approval = Approval::new(rules(json!({"ask": [{"does": {}}]}))).then(person.clone());
    let host = doing(approval, |attempt| async move {
        let late = timeout(Duration::from_millis(50), attempt.pass(effect("/a"))).await;
        sleep(Duration::from_millis(100)).await;
        Ok(json!(late.is_err()))
    });
    let host = Arc::new(host);
    let call = tokio::spawn({
        let host = host.clone();
        async move { act(&host).await }
    });
    sleep(Duration::from_millis(20)).await;
    assert_eq!((person.times(), host.in_use()), (1, (0, 0)), "it is asked about, and holds no place");
    sleep(Duration::from_millis(60)).await;
    assert_eq!(host.in_use(), (1, 0), "it works on, and holds one");
    assert_eq!(host.approval().pending().len(), 0, "the question was taken back");
    let outcome = call.await.unwrap();
    assert_eq!(outcome.result.unwrap().value, json!(true));
}

#[tokio::test(start_paused = true)]
async fn one_attempt_has_so_many_questions_and_no_more_and_few_at_once() {
    let person = Person::slow(std::iter::repeat_n(Choice::Allow, 200));
    let approval = Approval::new(rules(json!({"ask": [{"does": {}}]}))).then(person.clone());
    let host = doing(approval, |attempt| async move {
        let asking = (0..101).map(|at| {
            let attempt = attempt.clone();
            tokio::spawn(async move { attempt.pass(effect(&format!("/{at}"))).await.map(|passage| passage.done()) })
        });
        let asking: Vec<_> = asking.collect();
        let mut last = None;
        for asked in asking {
            last = asked.await.unwrap().err().or(last);
        }
        Err(last.unwrap())
    });
    let host = Arc::new(host);
    let call = tokio::spawn({
        let host = host.clone();
        async move { act(&host).await }
    });
    sleep(Duration::from_millis(20)).await;
    assert_eq!(person.times(), 8);
    person.go.add_permits(200);
    let outcome = call.await.unwrap();
    let error = outcome.result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::QuotaExceeded);
    assert!(error.message.contains("the 100 questions"), "{}", error.message);
    let refused = outcome.report.effects.iter().filter(|record| record.fate == Fate::Refused).count();
    assert_eq!((person.times(), refused), (100, 1));
}
