//! Tools that a session or a task brings along: what they stand above, and what they share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use toolpost_core::catalog::{Selection, SetName, ToolSet};
use toolpost_core::check::approve::{Answer, Approval, Approver, Choice, Pass, Question};
use toolpost_core::check::authorize::{Access, Pattern};
use toolpost_core::guard::GuardSettings;
use toolpost_core::{Call, Caller, Catalog, Effect, EffectClass, ErrorKind, Host, Native, Tool};

fn guard(settings: Value) -> GuardSettings {
    serde_json::from_value(settings).unwrap()
}

/// A tool that says which one it is.
fn tool(name: &str, says: &'static str) -> Tool {
    Native::new(name, "").effect(EffectClass::Pure).run(move |_| async move { Ok(json!(says)) })
}

/// A tool that calls another one, and says what that said.
fn asker(name: &str, asks: &'static str) -> Tool {
    Native::new(name, "")
        .effect(EffectClass::Writes)
        .run(move |attempt| async move { attempt.call(asks, json!({})).await.result.map(|output| output.value) })
}

fn catalog(tools: impl IntoIterator<Item = Tool>) -> Catalog {
    let mut catalog = Catalog::default();
    tools.into_iter().for_each(|tool| catalog.add(tool).unwrap());
    catalog
}

fn set(name: &str, tools: impl IntoIterator<Item = Tool>) -> ToolSet {
    ToolSet::new(name, catalog(tools)).unwrap()
}

async fn says(host: &Host, tool: &str) -> Result<String, ErrorKind> {
    let outcome = host.call(Call::new(tool, json!({}))).await;
    outcome.result.map(|output| output.value.as_str().unwrap().to_owned()).map_err(|error| error.kind)
}

fn names(host: &Host) -> Vec<String> {
    host.tools_of(&Caller::default()).iter().map(|tool| tool.name.clone()).collect()
}

#[tokio::test]
async fn what_a_task_brings_comes_before_what_its_session_has_and_that_before_the_host() {
    let host = Host::new(catalog([tool("a", "host"), tool("b", "host"), tool("c", "host")]));
    let session = host.scoped(set("session-1", [tool("b", "session"), tool("c", "session")])).unwrap();
    let task = session.scoped(set("task-1", [tool("c", "task"), tool("d", "task")])).unwrap();
    for (level, said) in
        [(&host, ["host"; 3]), (&session, ["host", "session", "session"]), (&task, ["host", "session", "task"])]
    {
        for (name, said) in ["a", "b", "c"].into_iter().zip(said) {
            assert_eq!(says(level, name).await.unwrap(), said, "{name}");
        }
    }
    assert_eq!(
        (names(&host), names(&task)),
        (vec!["a".into(), "b".into(), "c".into()], ["a", "b", "c", "d"].map(String::from).into())
    );
    assert_eq!(says(&session, "d").await, Err(ErrorKind::UnknownTool));
}

#[tokio::test]
async fn a_set_may_stand_in_place_of_the_hosts_tools_or_beside_some() {
    let host = Host::new(catalog([tool("a_one", "host"), tool("b_one", "host")]));
    let own = || set("own", [tool("mine", "set")]);
    assert_eq!(names(&host.scoped(own().instead()).unwrap()), ["mine"]);
    let chosen = Selection { names: vec![Pattern::new("b_*").unwrap()], labels: Vec::new() };
    let beside = host.scoped(own().beside(chosen)).unwrap();
    assert_eq!(names(&beside), ["b_one", "mine"]);
    assert_eq!(says(&beside, "a_one").await, Err(ErrorKind::UnknownTool));
    assert_eq!(says(&beside, "b_one").await.unwrap(), "host");
}

#[test]
fn a_set_has_a_name_of_its_own() {
    for name in ["", "A", "a/b", "a b", &"x".repeat(41)] {
        let error = ToolSet::new(name, Catalog::default()).unwrap_err();
        assert!(error.contains("a name has 1 to 40 characters of a-z, 0-9, _ and -"), "{error}");
    }
    let host = Host::new(Catalog::default()).scoped(set("one", [])).unwrap();
    assert_eq!(host.scoped(set("one", [])).err().unwrap(), "a set of tools named `one` is there already");
    let other = set("other", []);
    assert_eq!(SetName::as_str(other.name()), "other");
    assert!(host.scoped(other).is_ok());
}

#[tokio::test]
async fn a_tool_of_the_host_does_not_call_what_a_session_has_brought_and_one_of_the_session_calls_both() {
    let host = Host::new(catalog([tool("a", "host"), tool("b", "host"), asker("ask", "a")]));
    let session = host
        .scoped(set("s", [tool("a", "session"), asker("ask_a", "a"), asker("ask_b", "b"), asker("ask_ask", "ask")]));
    let session = session.unwrap();
    assert_eq!(says(&session, "a").await.unwrap(), "session");
    assert_eq!(says(&session, "ask").await.unwrap(), "host");
    assert_eq!(says(&session, "ask_a").await.unwrap(), "session");
    assert_eq!(says(&session, "ask_b").await.unwrap(), "host");
    assert_eq!(says(&session, "ask_ask").await.unwrap(), "host");
    // Nor is it held for one that is inside of itself.
    let session = host.scoped(set("t", [asker("ask", "b"), asker("a", "ask")])).unwrap();
    assert_eq!(says(&session, "a").await.unwrap(), "host");
}

/// A tool with such guards that counts its runs, and fails where it is to.
fn counted(runs: &Arc<AtomicU32>, fails: bool, settings: &Value) -> Tool {
    let runs = runs.clone();
    Native::new("x", "").effect(EffectClass::Writes).guard(guard(settings.clone())).run(move |_| {
        let number = runs.fetch_add(1, SeqCst);
        async move {
            if fails {
                return Err(toolpost_core::CallError::new(
                    ErrorKind::ToolFailed { retryable: true },
                    toolpost_core::Stage::Run,
                    "no",
                ));
            }
            Ok(json!(number.to_string()))
        }
    })
}

#[tokio::test]
async fn what_is_learned_of_a_tool_is_not_learned_of_one_with_its_name() {
    let (own, brought) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    // Idempotency keys.
    let keyed = json!({"idempotency": {"key": "args"}});
    let host = Host::new(catalog([counted(&own, false, &keyed)]));
    let session = || host.scoped(set("s", [counted(&brought, false, &keyed)])).unwrap();
    for _ in 0..3 {
        says(&host, "x").await.unwrap();
        says(&session(), "x").await.unwrap();
    }
    assert_eq!((own.load(SeqCst), brought.load(SeqCst)), (1, 1), "once each, also where the set is made anew");
    // Breakers.
    let breaker = json!({"breaker": {"kind": "standard", "consecutive": 2}, "retry": {"max_attempts": 1}});
    let host = Host::new(catalog([counted(&own, false, &breaker)]));
    let session = host.scoped(set("s", [counted(&brought, true, &breaker)])).unwrap();
    for _ in 0..2 {
        assert_eq!(says(&session, "x").await, Err(ErrorKind::ToolFailed { retryable: true }));
    }
    assert_eq!(says(&session, "x").await, Err(ErrorKind::CircuitOpen));
    assert!(says(&host, "x").await.is_ok());
    // Rates.
    let rate = json!({"rate": {"tool": "1/min"}});
    let host = Host::new(catalog([counted(&own, false, &rate)]));
    let session = host.scoped(set("s", [counted(&brought, false, &rate)])).unwrap();
    assert!(says(&session, "x").await.is_ok() && says(&host, "x").await.is_ok());
    assert_eq!(
        (says(&session, "x").await, says(&host, "x").await),
        (Err(ErrorKind::RateLimited), Err(ErrorKind::RateLimited))
    );
}

/// Allows everything for the session, and counts how often it is asked.
#[derive(Default)]
struct Willing(AtomicU32);

impl Approver for Willing {
    fn ask<'a>(&'a self, _: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
        self.0.fetch_add(1, SeqCst);
        std::future::ready(Ok(Answer { choice: Choice::AllowSession, by: "ann".into() })).boxed()
    }
}

#[tokio::test]
async fn what_was_allowed_to_a_tool_of_the_host_was_not_allowed_to_one_with_its_name() {
    let drop = |says: &'static str| {
        Native::new("drop", "").effect(EffectClass::Destroys).run(move |_| async move { Ok(json!(says)) })
    };
    let willing = Arc::new(Willing::default());
    let host = Host::new(catalog([drop("host")])).with_approval(Approval::default().then(willing.clone()));
    let session = host.scoped(set("s", [drop("session")])).unwrap();
    let call = || Call::new("drop", json!({})).by(Caller { session: Some("s".into()), ..Caller::named("bob") });
    for (level, says, asked) in
        [(&host, "host", 1), (&host, "host", 1), (&session, "session", 2), (&session, "session", 2)]
    {
        assert_eq!(level.call(call()).await.result.unwrap().value, says);
        assert_eq!(willing.0.load(SeqCst), asked);
    }
}

#[tokio::test]
async fn rules_and_budgets_are_those_of_the_host_also_when_it_is_changed_later() {
    let host = Host::new(catalog([tool("a", "host"), tool("b", "host")]));
    let session = host.scoped(set("s", [tool("b", "session"), tool("c", "session")])).unwrap();
    assert_eq!(names(&session), ["a", "b", "c"]);
    let access: Access = serde_json::from_value(json!([{"tools": ["b", "c", "d"]}])).unwrap();
    host.replace(&Host::new(catalog([tool("b", "new"), tool("d", "new")])).with_access(access));
    assert_eq!(
        (names(&host), names(&session)),
        (vec!["b".into(), "d".into()], ["b", "c", "d"].map(String::from).into())
    );
    assert_eq!(
        (says(&session, "b").await.unwrap(), says(&session, "d").await.unwrap()),
        ("session".into(), "new".into())
    );
    assert_eq!(says(&session, "a").await, Err(ErrorKind::UnknownTool));
    // What it uses is used of the same account.
    let used = host.usage_of_caller(&Caller::default()).calls;
    says(&session, "c").await.unwrap();
    assert_eq!(host.usage_of_caller(&Caller::default()).calls, used + 1);
    // A host that is replaced by way of its session is the same one.
    session.replace(&Host::new(catalog([tool("e", "newer")])));
    assert_eq!((names(&host), names(&session)), (vec!["e".into()], ["b", "c", "e"].map(String::from).into()));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stops_its_tasks_leaves_those_of_a_session_their_right_to_go_on() {
    let writes = Native::new("write", "").effect(EffectClass::Writes).run(|attempt| async move {
        for target in ["a", "b"] {
            let class = EffectClass::Writes;
            let effect = Effect { class, action: "files.write".into(), target: target.into(), detail: None };
            attempt.pass(effect).await?.done();
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        Ok(json!("written"))
    });
    let host = Host::new(catalog([tool("a", "host")]));
    let session = host.scoped(set("s", [writes])).unwrap();
    let task = session.spawn(Call::new("write", json!({}))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(host.tasks().stop(Duration::from_secs(1)).await);
    let ended = task.wait().await.unwrap().unwrap().result().unwrap();
    assert_eq!(ended.map(|output| output.value).map_err(|error| error.kind), Ok(json!("written")));
    // And it can be stopped itself, where it can wait for what it runs.
    session.spawn(Call::new("write", json!({}))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!session.tasks().stop(Duration::from_secs(1)).await && session.tasks().stop(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn a_task_is_run_with_the_tools_that_it_was_made_with() {
    let host = Host::new(catalog([tool("a", "host")]));
    let session = host.scoped(set("s", [tool("a", "session")])).unwrap();
    let ended = |host: Host| async move {
        let task = host.spawn(Call::new("a", json!({}))).await.unwrap();
        task.wait().await.unwrap().unwrap().result().unwrap().unwrap().value
    };
    assert_eq!((ended(host.clone()).await, ended(session.clone()).await), (json!("host"), json!("session")));
    // Another host of the same store leaves it alone.
    let filed = session.file(Call::new("a", json!({}))).await.unwrap();
    host.run_tasks();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let standing = |sheet: toolpost_core::task::Sheet| sheet.standing();
    assert_eq!(filed.look().await.unwrap().map(standing), Some(toolpost_core::task::Standing::Queued));
    session.run_tasks();
    assert_eq!(filed.wait().await.unwrap().unwrap().result().unwrap().unwrap().value, "session");
}
