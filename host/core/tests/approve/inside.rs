//! Questions about calls that a tool makes: how many of them, and who is behind them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::sleep;
use toolpost_core::catalog::shape::{Integer, Shape};
use toolpost_core::check::approve::{Approval, Choice};
use toolpost_core::{Attempt, CallError, Catalog, Effect, EffectClass, Host, HostLimits, Native, Tool};

use crate::{Person, call_in, rules};

fn tool<R>(name: &str, run: impl Fn(Attempt) -> R + Send + Sync + 'static) -> Tool
where
    R: Future<Output = Result<Value, CallError>> + Send + 'static,
{
    let number = Shape::Option(Box::new(Shape::Integer(Integer::U64)));
    Native::new(name, "").effect(EffectClass::Writes).parameter("number", number).run(run)
}

/// Makes so many calls of a tool at once, and says what each came to.
fn gives_out(name: &str, count: u64, inner: &'static str) -> Tool {
    tool(name, move |attempt| async move {
        let first = attempt.call.arguments["number"].as_u64().unwrap_or_default() * count;
        let calls = (first..first + count).map(|number| attempt.call(inner, json!({ "number": number })));
        let outcomes = join_all(calls).await;
        let value = |outcome: toolpost_core::Outcome| match outcome.result {
            Ok(output) => output.value,
            Err(error) => format!("{}: {}", error.kind.name(), error.message).into(),
        };
        Ok(outcomes.into_iter().map(value).collect())
    })
}

fn host(tools: impl IntoIterator<Item = Tool>, person: &Arc<Person>, asked: Value) -> Host {
    let mut catalog = Catalog::default();
    tools.into_iter().for_each(|tool| catalog.add(tool).unwrap());
    let limits = HostLimits { max_parallel: 256, ..HostLimits::default() };
    let approval = Approval::new(rules(json!({ "ask": [asked] }))).then(person.clone());
    Host::new(catalog).with_approval(approval).with_limits(limits)
}

fn write() -> Effect {
    let (class, action) = (EffectClass::Writes, "files.write".into());
    Effect { class, action, target: "/a".into(), detail: None }
}

#[tokio::test(start_paused = true)]
async fn a_tree_of_calls_has_no_more_questions_than_one_attempt_and_few_at_once() {
    // Those about calls, and those about what they do.
    for asked in [json!({"tools": ["inner"]}), json!({"does": {}})] {
        let person = Person::slow(std::iter::repeat_n(Choice::Allow, 500));
        let inner = tool("inner", |attempt| async move {
            let number = attempt.call.arguments["number"].to_string();
            attempt.pass(Effect { target: number, ..write() }).await?.done();
            Ok(json!("done"))
        });
        let tools = [gives_out("outer", 4, "middle"), gives_out("middle", 32, "inner"), inner];
        let host = host(tools, &person, asked.clone());
        let tree = tokio::spawn({
            let host = host.clone();
            async move { call_in(&host, None, "outer", json!({})).await }
        });
        sleep(Duration::from_millis(20)).await;
        assert_eq!((person.times(), host.approval().pending().len()), (8, 8), "{asked}");
        // Others can be asked about meanwhile.
        let other = tokio::spawn({
            let host = host.clone();
            async move { call_in(&host, None, "inner", json!({"number": 1_000})).await }
        });
        sleep(Duration::from_millis(20)).await;
        assert_eq!(person.times(), 9, "{asked}");
        person.go.add_permits(500);
        assert!(other.await.unwrap().result.is_ok());
        let answers = tree.await.unwrap().result.unwrap().value.to_string();
        assert_eq!((person.times(), answers.matches("\"done\"").count()), (101, 100), "{asked}");
        assert_eq!(answers.matches("quota_exceeded").count(), 28, "{answers}");
        let told = "`outer` and what it calls have had the 100 questions asked that one attempt may ask; an \
                    `[[approval.allow]]` rule in place of the one that asks needs no question";
        assert!(answers.contains(told), "{answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_about_a_call_inside_says_which_tools_make_it_and_its_answer_is_for_that_way() {
    let person = Person::quick(std::iter::repeat_n(Choice::AllowSession, 10));
    let inner = tool("inner", |attempt| async move {
        attempt.pass(write()).await?.done();
        Ok(json!("done"))
    });
    let tools = [gives_out("outer", 1, "middle"), gives_out("middle", 1, "inner"), inner];
    let host = host(tools, &person, json!({"tools": ["inner"]}));
    // Each way to the same call is asked about, once in the session.
    for (tool, way) in [("outer", ["outer", "middle"].as_slice()), ("middle", &["middle"]), ("inner", &[])] {
        let times = person.times();
        for _ in 0..2 {
            let outcome = call_in(&host, Some("s"), tool, json!({"number": 0})).await;
            assert!(outcome.result.unwrap().value.to_string().contains("\"done\""));
        }
        assert_eq!((person.times(), person.last().inside), (times + 1, way.iter().map(|&it| it.into()).collect()));
    }
    let plain = serde_json::to_value(person.last()).unwrap();
    assert!(plain.get("inside").is_none(), "{plain}");
    // The same for what it does.
    let person = Person::quick(std::iter::repeat_n(Choice::AllowSession, 10));
    let inner = tool("inner", |attempt| async move {
        attempt.pass(write()).await?.done();
        Ok(json!("done"))
    });
    let host = self::host([gives_out("middle", 1, "inner"), inner], &person, json!({"does": {}}));
    call_in(&host, Some("s"), "inner", json!({"number": 0})).await.result.unwrap();
    call_in(&host, Some("s"), "middle", json!({})).await.result.unwrap();
    assert_eq!((person.times(), person.last().inside), (2, vec!["middle".to_owned()]));
}
