//! Resources of a component as handles: whose they are, how long they are good for something, and what an instance is set up with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::keep::{Said, call_by, call_in, instance, message, notes, value};
use common::{kind, prebuilt_file};
use serde_json::{Value, json};
use toolpost_core::catalog::shape::Shape;
use toolpost_core::{ErrorKind, Host, Lifetime, Outcome, Stage};
use toolpost_wasm::{Component, Engine, EngineOptions};

fn engine() -> Engine {
    Engine::new(&EngineOptions { max_parallel: 8, ..EngineOptions::default() }).unwrap()
}

fn basket(engine: &Engine) -> Component {
    engine.load_file("basket", &prebuilt_file("basket")).unwrap()
}

fn prices() -> Value {
    json!({"currency": "EUR", "prices": [["apple", 40], ["bread", 250]]})
}

fn shop(engine: &Engine) -> Host {
    Said::keeping(json!("session")).set_up(prices()).host(&basket(engine))
}

async fn does(host: &Host, tool: &str, arguments: Value) -> Outcome {
    call_in(host, "s", &format!("basket_{tool}"), arguments).await
}

async fn new_basket(host: &Host) -> Value {
    value(&does(host, "basket_new", json!({})).await)
}

async fn put(host: &Host, basket: &Value, item: &str, count: u32) -> Outcome {
    does(host, "basket_add", json!({"self": basket, "item": item, "count": count})).await
}

#[tokio::test]
async fn a_resource_is_made_used_and_used_up_over_several_calls() {
    let engine = engine();
    let host = shop(&engine);
    let (one, other) = (new_basket(&host).await, new_basket(&host).await);
    assert_ne!(one, other);
    let text = one.as_str().unwrap();
    assert!(text.starts_with("basket_") && text.len() == "basket_".len() + 32, "{text}");
    assert_eq!(value(&put(&host, &one, "apple", 3).await), json!(120));
    assert_eq!(value(&put(&host, &one, "bread", 1).await), json!(370));
    assert_eq!(value(&put(&host, &other, "bread", 2).await), json!(500));
    let lines = json!([{"item": "apple", "count": 3, "cents": 120}, {"item": "bread", "count": 1, "cents": 250}]);
    assert_eq!(value(&does(&host, "basket_lines", json!({"self": one})).await), lines);
    let both = value(&does(&host, "basket_merge", json!({"one": one, "other": other})).await);
    let receipt = value(&does(&host, "checkout", json!({"basket": both})).await);
    assert_eq!((&receipt["cents"], &receipt["currency"], &receipt["number"]), (&json!(870), &json!("EUR"), &json!(1)));
    let last = does(&host, "prices", json!({})).await;
    assert_eq!((value(&last), instance(&last).calls_before), (json!([["apple", 40], ["bread", 250]]), 8));
}

#[tokio::test]
async fn a_handle_is_good_for_nothing_once_it_is_used_up_or_let_go_of() {
    let engine = engine();
    let host = shop(&engine);
    let (one, other) = (new_basket(&host).await, new_basket(&host).await);
    put(&host, &one, "apple", 1).await;
    assert!(does(&host, "checkout", json!({"basket": one})).await.result.is_ok());
    assert_eq!(value(&does(&host, "basket_drop", json!({"self": other})).await), json!(null));
    for gone in [one, other] {
        let outcome = put(&host, &gone, "apple", 1).await;
        let error = outcome.result.as_ref().unwrap_err();
        assert_eq!((error.kind, error.stage), (ErrorKind::InvalidArguments, Stage::Run));
        assert_eq!(
            error.message,
            format!(
                "the handle `{}` stands for no `basket` of this session: it was used up or let go of, or belongs to another \
                 session; get a new one",
                gone.as_str().unwrap()
            )
        );
        assert_eq!((outcome.report.attempts.len(), instance(&outcome).retired), (1, None));
    }
    // The instance is as it was.
    assert_eq!(value(&put(&host, &new_basket(&host).await, "apple", 2).await), json!(80));
}

#[tokio::test]
async fn a_handle_means_nothing_to_another_session_another_caller_or_another_component() {
    let engine = engine();
    let host = shop(&engine);
    let basket = new_basket(&host).await;
    let lines = json!({"self": basket});
    for (caller, session) in [("ann", "other"), ("bob", "s"), ("", "s")] {
        // Whether it has an instance of its own or not.
        for _ in 0..2 {
            let outcome = call_by(&host, caller, session, "basket_basket_lines", lines.clone()).await;
            assert_eq!(kind(&outcome), Some(ErrorKind::InvalidArguments), "{caller} {session}");
            call_by(&host, caller, session, "basket_prices", json!({})).await;
        }
    }
    assert_eq!(
        kind(&call_in(&shop(&engine), "s", "basket_basket_lines", lines.clone()).await),
        Some(ErrorKind::InvalidArguments)
    );
    assert_eq!(value(&does(&host, "basket_lines", lines).await), json!([]));
}

#[tokio::test]
async fn what_is_used_up_cannot_stand_twice_in_one_call() {
    let engine = engine();
    let host = shop(&engine);
    let basket = new_basket(&host).await;
    let outcome = does(&host, "basket_merge", json!({"one": basket, "other": basket})).await;
    let text = basket.as_str().unwrap();
    assert_eq!(message(&outcome), format!("`{text}` is used up by this call, and stands in it more than once"));
    assert_eq!(value(&put(&host, &basket, "apple", 1).await), json!(40));
}

#[tokio::test(start_paused = true)]
async fn with_the_instance_go_its_handles_and_the_caller_is_told_why() {
    let engine = engine();
    let said = Said::keeping(json!({"kind": "session", "idle": "5m"})).set_up(prices());
    let host = said.host(&basket(&engine));
    let basket = new_basket(&host).await;
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert_eq!(engine.live_instances(), Some(0));
    let words = format!(
        "the handle `{}` stands for no `basket` of this session: what the session had is gone (it was not called for too \
         long); get a new one",
        basket.as_str().unwrap()
    );
    for _ in 0..2 {
        let outcome = put(&host, &basket, "apple", 1).await;
        assert_eq!(message(&outcome), words);
        assert_eq!(engine.live_instances(), Some(0), "nothing is made for a call that cannot be served");
    }
    let outcome = does(&host, "basket_new", json!({})).await;
    assert_eq!(
        notes(&outcome),
        ["the tool began anew: what it kept for the session before is gone (it was not called for too long)"]
    );
}

#[tokio::test]
async fn handles_are_bounded_and_room_is_made_by_letting_go() {
    let engine = engine();
    let host = shop(&engine);
    let mut baskets = Vec::new();
    for _ in 0..1_000 {
        baskets.push(new_basket(&host).await);
    }
    assert_eq!(baskets.iter().map(Value::to_string).collect::<BTreeSet<_>>().len(), 1_000);
    let outcome = does(&host, "basket_new", json!({})).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::QuotaExceeded));
    assert_eq!(
        message(&outcome),
        "the session has 1000 handles to what the component keeps for it, and gets no more; let go of those that are not \
         needed any more"
    );
    assert!(does(&host, "basket_drop", json!({"self": baskets[7]})).await.result.is_ok());
    assert!(does(&host, "basket_new", json!({})).await.result.is_ok());
    assert!(put(&host, &baskets[8], "apple", 1).await.result.is_ok());
}

#[test]
fn tools_of_resources_are_there_where_instances_are_kept_for_sessions_and_refused_by_name_elsewhere() {
    let engine = engine();
    let guest = basket(&engine);
    let names = |lifetime| guest.functions_for(lifetime).map(|function| guest.tool_name(function)).collect::<Vec<_>>();
    let refused = |lifetime| guest.refused_for(lifetime).map(|refusal| refusal.function.clone()).collect::<Vec<_>>();
    for lifetime in [Lifetime::Fresh, Lifetime::Warm] {
        assert_eq!(names(lifetime), ["basket_prices"]);
        let interface = "example:basket/baskets";
        let functions = ["checkout", "basket.new", "basket.add", "basket.lines", "basket.merge"];
        let expected: BTreeSet<String> = functions.map(|name| format!("{interface}#{name}")).into();
        assert_eq!(refused(lifetime).into_iter().collect::<BTreeSet<_>>(), expected);
    }
    assert_eq!(refused(Lifetime::Session), Vec::<String>::new());
    let all = ["basket_add", "basket_drop", "basket_lines", "basket_merge", "basket_new", "checkout", "prices"];
    let expected: BTreeSet<String> = all.map(|name| format!("basket_{name}")).into();
    assert_eq!(names(Lifetime::Session).into_iter().collect::<BTreeSet<_>>(), expected);
    // Not by another way either.
    let add = guest.functions_for(Lifetime::Session).find(|function| function.name == "basket.add").unwrap();
    assert_eq!(
        guest.tool(add, &Said::keeping(json!("warm")).set_up(prices()).base(), &Default::default()).unwrap_err(),
        "it takes or gives handles to a `basket`, which live in a session: `lifetime = \"session\"` of its component would \
         keep them there"
    );
    assert_eq!(
        add.docs.as_deref(),
        Some("Puts something into the basket. Returns what everything in it costs now, in cents.")
    );
    assert_eq!(Shape::wit_fields(&add.parameters), "self: borrow<basket>, item: string, count: option<u32>");
    let schema = toolpost_core::catalog::schema::input_schema(&add.parameters);
    assert_eq!(
        schema["properties"]["self"],
        json!({
            "type": "string",
            "pattern": "^basket_[0-9a-f]{32}$",
            "description": "a handle to a `basket`, as a tool has returned it in this session; it is only lent, and good for \
                            other calls",
        })
    );
}

#[tokio::test]
async fn an_instance_is_set_up_once_and_every_fresh_one_anew() {
    let engine = engine();
    let guest = basket(&engine);
    for (keep, calls_before) in [("fresh", None), ("warm", Some(1)), ("session", Some(1))] {
        let host = Said::keeping(json!(keep)).set_up(prices()).host(&guest);
        let fuel = |outcome: &Outcome| outcome.report.attempts[0].fuel;
        let first = does(&host, "prices", json!({})).await;
        let next = does(&host, "prices", json!({})).await;
        assert_eq!((value(&first), value(&next)), (json!([["apple", 40], ["bread", 250]]), value(&first)));
        assert_eq!(next.report.attempts[0].instance.map(|instance| instance.calls_before), calls_before);
        assert_eq!(fuel(&next) < fuel(&first), keep != "fresh", "{keep}: {} and {}", fuel(&first), fuel(&next));
    }
}

#[tokio::test]
async fn a_setup_that_fails_fails_the_call_and_leaves_nothing_behind() {
    let engine = engine();
    let guest = basket(&engine);
    for keep in ["fresh", "warm", "session"] {
        let host = Said::keeping(json!(keep)).set_up(json!({"currency": "EUR", "prices": []})).host(&guest);
        for _ in 0..2 {
            let outcome = does(&host, "prices", json!({})).await;
            assert_eq!(kind(&outcome), Some(ErrorKind::ToolFailed { retryable: false }));
            assert_eq!(
                message(&outcome),
                "the `setup` of its component failed: a shop without prices sells nothing; the operator says in `setup` what it \
                 is set up with"
            );
        }
        assert_eq!((engine.kept_instances(), engine.live_instances()), (0, Some(0)));
    }
}

#[test]
fn what_settings_say_of_setup_must_be_what_it_takes() {
    let engine = engine();
    let guest = basket(&engine);
    let takes = |setup: Value| guest.takes_setup(&serde_json::from_value(setup).unwrap()).unwrap_err();
    let head = "its `setup` takes (currency: string, prices: list<tuple<string, u32>>, max-lines: option<u32>), and `setup` of \
                its settings does not fit: ";
    assert_eq!(
        takes(json!({"currency": 3, "prices": [["apple", -1]], "max-line": 1})),
        format!(
            "{head}`max-line`: expected no such field; did you mean `max_lines`?, got 1; `currency`: expected a string, got 3; \
             `prices.0.1`: expected an integer from 0 to 4294967295, got -1"
        )
    );
    assert!(takes(json!({})).starts_with(&format!("{head}`currency`: ")));
    let text = common::prebuilt("text");
    assert_eq!(text.takes_setup(&serde_json::from_value(json!({})).unwrap()), Ok(()));
    assert_eq!(
        text.takes_setup(&serde_json::from_value(json!({"a": 1})).unwrap()).unwrap_err(),
        "`setup` is of no use to it: it exports no function `setup`; take it out"
    );
    assert!(guest.functions_for(Lifetime::Session).all(|function| function.name != "setup"), "it is no tool");
}
