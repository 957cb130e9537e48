//! A function of the host's own program that calls a component.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::timeout;
use toolpost::core::catalog::shape::Shape;
use toolpost::{Builder, Call, EffectClass, Host, Native, Settings};

async fn host(max_parallel: usize) -> Host {
    let prebuilt = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-examples/prebuilt");
    let settings = Settings::parse(&format!("[host]\nmax_parallel = {max_parallel}"), Path::new("toolpost.toml"));
    let longest = Native::new("longest", "The longer one of two texts, in words").effect(EffectClass::Pure);
    let longest = longest.parameter("one", Shape::String).parameter("other", Shape::String);
    let builder = Builder::new().settings(settings.unwrap()).in_memory().tools(prebuilt.join("text.wasm"));
    let builder = builder.native(longest, |attempt| async move {
        let texts = ["one", "other"].map(|name| attempt.call.arguments[name].clone());
        let counts = texts.each_ref().map(|text| attempt.call("text_word_count", json!({"text": text})));
        let mut words = Vec::new();
        for outcome in join_all(counts).await {
            words.push(outcome.result?.value["words"].as_u64());
        }
        Ok(if words[0] > words[1] { texts[0].clone() } else { texts[1].clone() })
    });
    builder.build().await.unwrap()
}

#[tokio::test]
async fn it_ends_with_any_number_of_places_because_it_lends_its_own() {
    for max_parallel in [1, 2, 7] {
        let host = host(max_parallel).await;
        let arguments = json!({"one": "a b c", "other": "d"});
        let calls = (0..32).map(|_| host.call(Call::new("longest", arguments.clone())));
        let outcomes = timeout(Duration::from_secs(60), join_all(calls)).await.expect("they wait for one another");
        for outcome in outcomes {
            assert_eq!(outcome.result.unwrap().value, json!("a b c"), "{max_parallel}");
        }
        assert_eq!(host.in_use(), (0, 0));
    }
}
