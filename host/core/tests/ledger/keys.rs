//! Which calls are the same?

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use toolpost_core::catalog::SecretArguments;
use toolpost_core::guard::replay::settings::{CustomKey, KeyFrom};
use toolpost_core::guard::replay::{CallKey, How, IdempotencySettings, Memory};
use toolpost_core::{AcceptedCall, Call, CallError, CallId, Caller, EffectClass, ErrorKind, Host};

use crate::work::{guard, host, host_on, how, keyed, tool};

fn with(idempotency: &Value) -> (Host, Arc<std::sync::atomic::AtomicU32>) {
    host(EffectClass::Writes, json!({"idempotency": idempotency}), |run, _| async move { Ok(json!(run)) })
}

fn call(arguments: Value) -> Call {
    Call::new("work", arguments).by(Caller::named("ann"))
}

/// The second call gets the first one's answer, or is refused, or runs for itself.
async fn check(idempotency: Value, calls: [Call; 2], second: Result<How, ErrorKind>) {
    let (host, _) = with(&idempotency);
    let [one, two] = calls;
    let one = host.call(one).await;
    assert!(one.result.is_ok(), "{idempotency}: {:?}", one.result);
    let two = host.call(two).await;
    let told = match &two.result {
        Ok(_) => Ok(how(&two).unwrap_or(How::New)),
        Err(error) => Err(error.kind),
    };
    assert_eq!(told, second, "{idempotency}");
    let runs = if second == Ok(How::New) { 2 } else { 1 };
    if let Ok(output) = two.result {
        assert_eq!(output.value, json!(runs), "{idempotency}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_key_every_call_stands_for_itself() {
    check(json!({}), [call(json!({"n": 1})), call(json!({"n": 1}))], Ok(How::New)).await;
    let (host, _) = with(&json!({}));
    assert_eq!(host.call(call(json!({"n": 1}))).await.report.idempotency, None);
}

#[tokio::test(start_paused = true)]
async fn all_arguments_make_a_key_however_they_were_written() {
    let args = json!({"key": "args"});
    let one = || call(json!({"n": 1}));
    for same in [json!({"n": 1}), json!({"n": "1"}), json!({"n": 1.0}), json!({"note": null, "n": 1})] {
        check(args.clone(), [one(), call(same)], Ok(How::Replayed)).await;
    }
    for another in [json!({"n": 2}), json!({"n": 1, "note": ""})] {
        check(args.clone(), [one(), call(another)], Ok(How::New)).await;
    }
    // Neighbours that a 64-bit float cannot tell apart.
    let [one, two] = [9_007_199_254_740_993_u64, 9_007_199_254_740_992].map(|n| call(json!({"n": n})));
    check(args, [one, two], Ok(How::New)).await;
}

#[tokio::test(start_paused = true)]
async fn named_fields_make_a_key_and_the_others_must_be_the_same_too() {
    let fields = json!({"key": {"fields": ["/n"]}});
    let one = || call(json!({"n": 1, "note": "a"}));
    check(fields.clone(), [one(), one()], Ok(How::Replayed)).await;
    check(fields.clone(), [one(), call(json!({"n": 2, "note": "a"}))], Ok(How::New)).await;
    check(fields, [one(), call(json!({"n": 1, "note": "b"}))], Err(ErrorKind::KeyReused)).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_field_of_its_key_is_refused() {
    let (host, runs) = with(&json!({"key": {"fields": ["/n", "/note"]}}));
    for arguments in [json!({"n": 1}), json!({"n": 1, "note": null})] {
        let error = host.call(call(arguments)).await.result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArguments);
        let told = "`work` needs the field `/note` to know a repeated call; call it with that field";
        assert_eq!(error.message, told);
    }
    assert_eq!(runs.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn the_key_that_a_caller_gives_counts_unless_settings_say_otherwise() {
    for settings in [json!({}), json!({"key": "caller"})] {
        check(settings.clone(), [keyed(1, "k"), keyed(1, "k")], Ok(How::Replayed)).await;
        check(settings.clone(), [keyed(1, "k"), keyed(1, "l")], Ok(How::New)).await;
        check(settings, [keyed(1, "k"), keyed(2, "k")], Err(ErrorKind::KeyReused)).await;
    }
    // A new key does not get an agent around the rule of its operator.
    check(json!({"key": "args"}), [keyed(1, "k"), keyed(1, "l")], Ok(How::Replayed)).await;

    let (host, _) = with(&json!({"key": "caller"}));
    let error = host.call(call(json!({"n": 1}))).await.result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArguments);
    let told = "`work` is only called with an idempotency key; give one that is the same when you repeat the call, and new \
                otherwise";
    assert_eq!(error.message, told);
    for key in [String::new(), "k".repeat(256)] {
        let error = host.call(keyed(1, &key)).await.result.unwrap_err();
        let told = format!("the idempotency key of the call of `work` has {} bytes; give one of 1 to 255", key.len());
        assert_eq!((error.kind, error.message), (ErrorKind::InvalidArguments, told));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_a_caller_gives_to_a_tool_that_only_reads_does_not_count() {
    for class in [EffectClass::Pure, EffectClass::Reads] {
        let (host, _) = host(class, json!({}), |run, _| async move { Ok(json!(run)) });
        for run in 1..3 {
            let outcome = host.call(keyed(1, "k")).await;
            assert_eq!((how(&outcome), outcome.result.unwrap().value), (None, json!(run)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_made_again_with_its_id_is_the_same_and_one_like_it_is_not() {
    let settings = json!({"key": "call"});
    let id = |id: &str| Call { id: CallId::given(id), ..call(json!({"n": 1})) };
    check(settings.clone(), [id("a"), id("a")], Ok(How::Replayed)).await;
    check(settings, [id("a"), id("b")], Ok(How::New)).await;
}

#[tokio::test(start_paused = true)]
async fn callers_and_sessions_are_kept_apart_as_the_scope_says() {
    let by = |id: &str, session: Option<&str>| {
        Call::new("work", json!({"n": 1})).by(Caller { session: session.map(str::to_owned), ..Caller::named(id) })
    };
    let ann = || by("ann", Some("1"));
    for (scope, another_session, another_caller) in [
        (None, How::Replayed, How::New),
        (Some(json!(["caller"])), How::Replayed, How::New),
        (Some(json!(["caller", "session"])), How::New, How::New),
        (Some(json!(["session"])), How::New, How::Replayed),
        (Some(json!([])), How::Replayed, How::Replayed),
    ] {
        let mut settings = json!({"key": "args"});
        if let Some(scope) = scope {
            settings["scope"] = scope;
        }
        check(settings.clone(), [ann(), ann()], Ok(How::Replayed)).await;
        check(settings.clone(), [ann(), by("ann", Some("2"))], Ok(another_session)).await;
        check(settings.clone(), [ann(), by("ann", None)], Ok(another_session)).await;
        check(settings, [ann(), by("bob", Some("1"))], Ok(another_caller)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_embedder_may_say_what_makes_calls_the_same() {
    struct Odd;
    impl CallKey for Odd {
        fn key(&self, call: &AcceptedCall) -> Result<Option<String>, CallError> {
            let n = call.arguments["n"].as_u64().unwrap_or_default();
            Ok((n % 2 == 1).then(|| n.to_string()))
        }
    }
    let (mut tool, runs) = tool(EffectClass::Writes, json!({}), |run, _| async move { Ok(json!(run)) });
    let key = Some(KeyFrom::Custom(CustomKey(Arc::new(Odd))));
    let settings = IdempotencySettings { key, ..IdempotencySettings::default() };
    tool.guards.idempotency = tool.guards.idempotency.with(&settings);
    let host = host_on(Arc::new(Memory::default()), tool);
    for (n, wanted) in [(1, Some(How::New)), (1, Some(How::Replayed)), (2, None), (2, None)] {
        assert_eq!(how(&host.call(call(json!({"n": n}))).await), wanted, "{n}");
    }
    assert_eq!(runs.load(std::sync::atomic::Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_in_a_key_only_as_a_hash_that_nobody_else_can_make() {
    let store = Arc::new(Memory::default());
    let [one, other] = [0, 1].map(|_| {
        let settings = json!({"idempotency": {"key": "args"}});
        let (mut tool, _) = tool(EffectClass::Writes, settings, |run, _| async move { Ok(json!(run)) });
        tool.secret_arguments = SecretArguments::find(&["/note".into()], &tool.parameters).unwrap();
        host_on(store.clone(), tool)
    });
    let call = |note: &str| call(json!({"n": 1, "note": note}));
    for (host, note, wanted) in [
        (&one, "secret", How::New),
        (&one, "secret", How::Replayed),
        (&one, "another", How::New),
        (&other, "secret", How::New),
        (&other, "secret", How::Replayed),
    ] {
        assert_eq!(how(&host.call(call(note)).await), Some(wanted), "{note}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_has_a_key_of_plain_characters_from_which_nothing_can_be_read() {
    let mut keys = BTreeSet::new();
    for (hash, length) in [("blake3", 52), ("sha256", 52), ("sha512", 103)] {
        let (host, _) = with(&json!({"key": {"fields": ["/n"]}, "hash": hash}));
        let outcome = host.call(call(json!({"n": 1}))).await;
        let key = outcome.report.idempotency.unwrap().key.to_string();
        let digits = key.strip_prefix("v1/work/fields/").unwrap();
        assert_eq!(digits.len(), length, "{key}");
        assert!(digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'v')), "{key}");
        keys.insert(key);
    }
    assert_eq!(keys.len(), 3);
}

#[test]
fn settings_say_what_they_expect() {
    let told = |idempotency: Value| {
        let settings = json!({"idempotency": idempotency});
        serde_json::from_value::<toolpost_core::guard::GuardSettings>(settings).unwrap_err().to_string()
    };
    let expected = "\"args\", \"caller\", \"call\", \"none\", or { fields = [\"/order_id\"] }";
    assert_eq!(told(json!({"key": "arguments"})), format!("invalid value: string \"arguments\", expected {expected}"));
    assert_eq!(told(json!({"key": {"fields": []}})), "expected from 1 to 32 fields");
    assert_eq!(told(json!({"key": {"fields": ["n"]}})), "`n` is no JSON pointer; write `/n`");
    assert_eq!(told(json!({"ttl": "366days"})), "expected at most 365 days");
    for wrong in [json!({"scope": ["agent"]}), json!({"hash": "md5"}), json!({"on_crash": "retry"}), json!({"keys": 1})]
    {
        assert!(told(wrong.clone()).starts_with("unknown "), "{wrong}");
    }
    let all = json!({
        "key": {"fields": ["/a", "/b/0"]}, "hash": "sha512", "scope": ["session"], "on_conflict": "reject",
        "on_crash": "rerun", "idempotent": true, "ttl": "365days", "keep_errors": false, "keep": "fact",
    });
    guard(json!({"idempotency": all}));
}
