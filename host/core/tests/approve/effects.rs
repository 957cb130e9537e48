//! Rules about what a running tool does: each effect is judged, with the exact effect in hand.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, advance, sleep};
use toolpost_core::catalog::shape::Shape;
use toolpost_core::check::approve::rules::Rule;
use toolpost_core::check::approve::{Approval, Choice, Decided, Risk, Rules};
use toolpost_core::effect::Fate;
use toolpost_core::{CallError, Catalog, Effect, EffectClass, ErrorKind, Host, HostLimits, Native, Outcome, Stage};

use crate::{Book, Person, call_in, deny, rules};

const MS: Duration = Duration::from_millis(1);

/// Deletes the files that it is given, one after the other, each after a pause; one that ends in `!` only the second time.
fn eraser(guard: Value) -> toolpost_core::Tool {
    let limits = serde_json::from_value(json!({"time": "100ms", "call_time": "300ms"})).unwrap();
    let tool = Native::new("erase", "Deletes files").parameter("paths", Shape::List(Box::new(Shape::String)));
    let tool = tool.effect(EffectClass::Writes).limits(limits).guard(serde_json::from_value(guard).unwrap());
    tool.run(|attempt| async move {
        let paths: Vec<String> = serde_json::from_value(attempt.call.arguments["paths"].clone()).unwrap();
        for path in &paths {
            sleep(10 * MS).await;
            let (path, fails) =
                path.strip_suffix('!').map_or((path.as_str(), false), |path| (path, attempt.number == 1));
            let (class, action) = (EffectClass::Writes, "files.delete".into());
            let passage = attempt.pass(Effect { class, action, target: path.into(), detail: None }).await?;
            if fails {
                passage.failed();
                return Err(CallError::new(ErrorKind::ToolFailed { retryable: true }, Stage::Run, "busy"));
            }
            passage.done();
        }
        Ok(json!(paths.len()))
    })
}

fn host(approval: Approval, guard: Value, limits: HostLimits) -> Host {
    let mut catalog = Catalog::default();
    catalog.add(eraser(guard)).unwrap();
    Host::new(catalog).with_limits(limits).with_approval(approval)
}

fn quiet(approval: Approval) -> Host {
    host(approval, json!({}), HostLimits::default())
}

fn asking() -> Rules {
    rules(json!({"ask": [{"does": {"action": "files.delete", "target": "/notes/*"}, "reason": "notes are dear"}]}))
}

async fn erase(host: &Host, paths: &str) -> Outcome {
    let paths: Vec<&str> = paths.split(',').collect();
    call_in(host, Some("s"), "erase", json!({"paths": paths})).await
}

fn fates(outcome: &Outcome) -> Vec<(&str, Fate)> {
    outcome.report.effects.iter().map(|record| (record.effect.target.as_str(), record.fate)).collect()
}

fn error(outcome: &Outcome) -> (ErrorKind, &str) {
    let error = outcome.result.as_ref().unwrap_err();
    (error.kind, error.message.as_str())
}

#[tokio::test(start_paused = true)]
async fn only_the_effect_that_a_rule_names_is_asked_about_and_what_is_allowed_happens() {
    let person = Person::quick([Choice::Allow]);
    let outcome = erase(&quiet(Approval::new(asking()).then(person.clone())), "/tmp/x,/notes/a.md").await;
    assert_eq!(outcome.result.as_ref().unwrap().value, json!(2));
    assert_eq!(fates(&outcome), [("/tmp/x", Fate::Done), ("/notes/a.md", Fate::Done)]);
    let question = person.last();
    let doing = question.doing.unwrap();
    assert_eq!((doing.action.as_str(), doing.target.as_str()), ("files.delete", "/notes/a.md"));
    assert_eq!((question.why.as_str(), question.risk, person.times()), ("notes are dear", Risk::Medium, 1));
    let decision = outcome.report.decisions.last().unwrap();
    assert_eq!((decision.what, decision.by.as_str()), (Decided::Allowed, "ann"));
    assert_eq!(decision.effect.as_deref(), Some("files.delete /notes/a.md"));
}

#[tokio::test(start_paused = true)]
async fn what_is_declined_does_not_happen_and_the_caller_is_told_why() {
    let person = Person::quick([deny("not that one")]);
    let outcome = erase(&quiet(Approval::new(asking()).then(person)), "/tmp/x,/notes/a.md").await;
    assert_eq!(fates(&outcome), [("/tmp/x", Fate::Done), ("/notes/a.md", Fate::Refused)]);
    let (kind, message) = error(&outcome);
    assert_eq!(kind, ErrorKind::Declined);
    assert!(message.starts_with("`files.delete /notes/a.md` of `erase` was declined: not that one"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_denies_an_effect_lets_nobody_allow_it() {
    let person = Person::quick([Choice::Allow]);
    let denying = json!({
        "deny": [{"name": "dear", "does": {"action": "files.*", "target": {"path": "/notes/*"}}}],
        "allow": [{"does": {}}],
        "ask": [{"does": {}}],
    });
    let host = quiet(Approval::new(rules(denying)).then(person.clone()));
    let outcome = erase(&host, "/tmp/../notes/a.md").await;
    assert_eq!((fates(&outcome), person.times()), (vec![("/tmp/../notes/a.md", Fate::Refused)], 0));
    assert!(error(&outcome).1.contains("is denied by the rule `dear`"), "{}", error(&outcome).1);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_can_be_asked_it_is_refused_in_words_that_help() {
    let outcome = erase(&quiet(Approval::new(asking())), "/notes/a.md").await;
    let (kind, message) = error(&outcome);
    assert_eq!((kind, fates(&outcome)), (ErrorKind::Declined, vec![("/notes/a.md", Fate::Refused)]));
    assert!(message.contains("nobody can be asked"), "{message}");
    assert_eq!(outcome.report.decisions.last().unwrap().what, Decided::Unasked);
}

#[tokio::test(start_paused = true)]
async fn the_clock_stands_still_while_somebody_thinks_and_others_run_in_the_place() {
    let person = Person::slow([Choice::Allow]);
    let limits = HostLimits { max_parallel: 1, ..HostLimits::default() };
    let host = Arc::new(host(Approval::new(asking()).then(person.clone()), json!({}), limits));
    let asked = tokio::spawn({
        let host = host.clone();
        async move { erase(&host, "/notes/a.md,/tmp/x").await }
    });
    sleep(200 * MS).await;
    assert_eq!((person.times(), host.in_use()), (1, (0, 0)), "who waits for a person holds no place");
    let other = erase(&host, "/tmp/y").await;
    assert_eq!(fates(&other), [("/tmp/y", Fate::Done)]);
    sleep(1_000 * MS).await;
    person.go.add_permits(1);
    let outcome = asked.await.unwrap();
    assert_eq!(fates(&outcome), [("/notes/a.md", Fate::Done), ("/tmp/x", Fate::Done)]);
    assert!(outcome.report.attempts[0].time < 100 * MS, "{:?}", outcome.report.attempts[0].time);
    assert_eq!(host.in_use(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_waits_for_a_place_before_all_others_and_not_beyond_its_time() {
    let person = Person::slow([Choice::Allow]);
    let limits = HostLimits { max_parallel: 1, ..HostLimits::default() };
    let host = Arc::new(host(Approval::new(asking()).then(person.clone()), json!({}), limits));
    let call = |paths: &'static str| {
        let host = host.clone();
        tokio::spawn(async move { (erase(&host, paths).await, Instant::now()) })
    };
    let asked = call("/notes/a.md");
    sleep(50 * MS).await;
    let (runs, waits) = (call("/a,/b,/c,/d"), call("/e"));
    sleep(5 * MS).await;
    person.go.add_permits(1);
    let (asked, runs, waits) = (asked.await.unwrap(), runs.await.unwrap(), waits.await.unwrap());
    assert_eq!(fates(&asked.0), [("/notes/a.md", Fate::Done)]);
    assert!(runs.1 <= asked.1 && asked.1 < waits.1);
}

#[tokio::test(start_paused = true)]
async fn what_was_allowed_once_is_not_asked_about_again_when_it_is_tried_again() {
    let person = Person::quick([Choice::Allow, Choice::Allow]);
    let settings = json!({"retry": {"max_attempts": 2}, "idempotency": {"idempotent": true}});
    let host = host(Approval::new(asking()).then(person.clone()), settings, HostLimits::default());
    let outcome = erase(&host, "/notes/a.md!").await;
    assert_eq!(fates(&outcome), [("/notes/a.md", Fate::Failed), ("/notes/a.md", Fate::Done)], "{:?}", outcome.result);
    assert_eq!(person.times(), 1);
    // But what is done twice is asked about twice.
    let outcome = erase(&host, "/notes/b.md,/notes/b.md").await;
    assert_eq!((fates(&outcome).len(), person.times()), (2, 3), "{:?}", outcome.result);
    assert_eq!(fates(&outcome)[1].1, Fate::Refused, "nobody answered the second time");
}

#[tokio::test(start_paused = true)]
async fn it_can_be_allowed_for_the_session_and_for_ever_and_an_effect_is_not_edited() {
    let person = Person::quick([Choice::AllowSession, Choice::AllowAlways, Choice::Edit { arguments: json!({}) }]);
    let book = Arc::new(Book::default());
    let host = quiet(Approval::new(asking()).then(person.clone()).writing(book.clone()));
    for _ in 0..2 {
        assert_eq!(fates(&erase(&host, "/notes/a.md,/notes/a.md").await), [("/notes/a.md", Fate::Done); 2]);
    }
    assert_eq!(person.times(), 1);
    for _ in 0..2 {
        assert_eq!(fates(&erase(&host, "/notes/*").await), [("/notes/*", Fate::Done)]);
    }
    assert_eq!(person.times(), 2);
    let written: Vec<Rule> = book.0.lock().unwrap().clone();
    let does = serde_json::to_value(&written[0]).unwrap()["does"].clone();
    assert_eq!(does, json!({"action": "files.delete", "target": {"equals": "/notes/*"}}));
    let outcome = erase(&host, "/notes/b.md").await;
    assert!(error(&outcome).1.contains("can be allowed or denied, and not edited"), "{}", error(&outcome).1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_takes_the_question_back_where_nothing_may_be_left_half_done() {
    let person = Person::slow([Choice::Allow]);
    let approval = Approval::new(asking()).then(person.clone()).waiting(Duration::from_secs(60), 10);
    let host = Arc::new(quiet(approval));
    let waits = tokio::spawn({
        let host = host.clone();
        async move { erase(&host, "/notes/a.md").await }
    });
    sleep(50 * MS).await;
    assert_eq!(host.approval().pending().len(), 1);
    waits.abort();
    // The tool may change something, so it goes on to its own end: the question expires, and it is refused.
    advance(Duration::from_secs(61)).await;
    sleep(50 * MS).await;
    assert_eq!((host.approval().pending().len(), host.in_use()), (0, (0, 0)));
}

#[test]
fn a_rule_about_effects_is_tested_with_its_own_examples() {
    let rule = |example: Value| {
        serde_json::from_value::<Rules>(json!({"ask": [
            {"does": {"action": "net.post", "target": "https://api.example.com/orders*"}, "match": [example]},
        ]}))
    };
    let does = json!({"action": "net.post", "target": "https://api.example.com/orders/7"});
    assert!(rule(json!({"tool": "shop_order", "does": does})).is_ok());
    let other = json!({"action": "net.get", "target": "https://api.example.com/orders/7"});
    let fault = rule(json!({"tool": "shop_order", "does": other})).unwrap_err().to_string();
    assert!(fault.contains("the tool does something else"), "{fault}");
    let fault = rule(json!({"tool": "shop_order"})).unwrap_err().to_string();
    assert!(fault.contains("must say what it `does`"), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn who_was_refused_goes_on_in_a_place() {
    let limits = HostLimits { max_parallel: 1, ..HostLimits::default() };
    let mut catalog = Catalog::default();
    let tool = Native::new("try", "Tries, and works on").effect(EffectClass::Writes).run(|attempt| async move {
        let (class, action) = (EffectClass::Writes, "files.delete".into());
        let refused = attempt.pass(Effect { class, action, target: "/notes/a.md".into(), detail: None }).await;
        sleep(100 * MS).await;
        Ok(json!(refused.is_err()))
    });
    catalog.add(tool).unwrap();
    let host = Arc::new(Host::new(catalog).with_limits(limits).with_approval(Approval::new(asking())));
    let call = || {
        let host = host.clone();
        tokio::spawn(async move { call_in(&host, None, "try", json!({})).await.result.unwrap().value })
    };
    let (first, second) = (call(), call());
    sleep(50 * MS).await;
    assert_eq!(host.in_use(), (1, 1), "one works, and one waits for its place");
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (json!(true), json!(true)));
}
