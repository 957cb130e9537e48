//! What nobody may see: a secret that a tool repeats wherever it can, and the masker by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use proptest::prelude::*;
use serde_json::{Value, json};
use toolpost_core::catalog::SecretArguments;
use toolpost_core::catalog::settings::{Bytes, LimitSettings};
use toolpost_core::catalog::shape::{Field, Integer, Shape};
use toolpost_core::guard::GuardSettings;
use toolpost_core::secret::{SecretError, SecretSource};
use toolpost_core::tell::artifact::InMemory;
use toolpost_core::{
    Attempt, Call, CallError, Catalog, Effect, EffectClass, ErrorKind, Host, Level, Masker, Native, Outcome, Secret,
    Secrets, Sink, Stage, Told,
};

/// With characters that every encoding has its own way with.
const SECRET: &str = "pa$$ wörd/\"with\\all+of=it\n😀 7";

/// The value, in every form in which a tool may say it.
fn forms(value: &str) -> Vec<String> {
    let json = Value::from(value).to_string();
    let ascii = |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
    let ascii: String = json.chars().map(|c| if c.is_ascii() { c.into() } else { ascii(c) }).collect();
    let url = url(value);
    let mut forms = vec![value.into(), lower(&url), url.replace("%20", "+"), url];
    forms.extend([&json, &ascii].map(|json| json[1..json.len() - 1].to_owned()));
    forms.extend(value.bytes().map(|byte| format!("{byte:02x}")).reduce(|text, byte| text + &byte));
    for engine in [STANDARD, URL_SAFE] {
        forms.extend(["", "x", "xy"].map(|before| engine.encode(format!("{before}{value}{before}"))));
    }
    forms
}

/// Whether a form is left in a text: of base64, what does not also stand for what is beside the value.
fn is_left(form: &str, text: &str) -> bool {
    text.contains(form.get(4..form.len() - 8).unwrap())
}

/// With the digits of its escapes in lower case.
fn lower(url: &str) -> String {
    let mut digits = 0;
    let lower = |c: char| {
        digits = if c == '%' { 3_u32 } else { digits.saturating_sub(1) };
        if digits > 0 { c.to_ascii_lowercase() } else { c }
    };
    url.chars().map(lower).collect()
}

fn url(value: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value.bytes().map(|byte| if safe(byte) { char::from(byte).into() } else { format!("%{byte:02X}") }).collect()
}

#[track_caller]
fn absent(value: &str, from: &str) {
    for form in forms(value) {
        assert!(!is_left(&form, from), "{form:?} is in:\n{from}");
    }
    // A beginning is as bad.
    assert!(!from.contains(&value[..8]), "the beginning is in:\n{from}");
}

fn masker(secrets: &[&str]) -> Masker {
    let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new((*secret).into()).unwrap()).collect();
    Masker::new(&secrets).unwrap()
}

/// A source whose value changes with each reading.
#[derive(Default)]
struct Changing {
    reads: AtomicU32,
    hangs: bool,
}

impl SecretSource for Changing {
    fn read(&self) -> BoxFuture<'_, Result<Secret, SecretError>> {
        let number = self.reads.fetch_add(1, SeqCst) + 1;
        let hangs = self.hangs;
        async move {
            if hangs {
                futures_util::future::pending::<()>().await;
            }
            Secret::new(format!("secret number {number}"))
        }
        .boxed()
    }
}

struct Fixed(&'static str);

impl SecretSource for Fixed {
    fn read(&self) -> BoxFuture<'_, Result<Secret, SecretError>> {
        async { Secret::new(self.0.into()) }.boxed()
    }
}

fn secrets(sources: impl IntoIterator<Item = (&'static str, Arc<dyn SecretSource>)>) -> Arc<Secrets> {
    let sources: BTreeMap<_, _> = sources.into_iter().map(|(name, source)| (name.to_owned(), source)).collect();
    Arc::new(Secrets::new(sources))
}

/// Writes down all of every event.
#[derive(Default)]
struct Everything(Mutex<String>);

impl Sink for Everything {
    fn tell(&self, told: &Told<'_>) {
        *self.0.lock().unwrap() += &format!("{:?}\n", told.event);
    }
}

/// Repeats its secret wherever a tool can say something, then ends as the call wants it.
async fn leak(attempt: Attempt) -> Result<Value, CallError> {
    let secret = attempt.secret("TOKEN").await?;
    let value = secret.reveal();
    for form in forms(value) {
        attempt.log(Level::Info, &format!("log <{form}>"));
        attempt.progress(1, None, Some(&format!("{}<{form}>", "x".repeat(1_010))));
        let (part, rest) = form.split_at(form.floor_char_boundary(form.len() / 2));
        attempt.emit(&format!("part <{part}")).await;
        attempt.emit(&format!("{rest}>")).await;
        attempt.meter.stdout.write(format!("out <{part}").as_bytes());
        attempt.meter.stdout.write(format!("{rest}>\n").as_bytes());
        for byte in form.bytes() {
            attempt.meter.stderr.write(&[byte]);
        }
    }
    let target = format!("https://api.example.com/v1/users?token={}", url(value));
    let detail = Some(format!("Authorization: Bearer {value}"));
    let effect = Effect { class: EffectClass::Open, action: "net.post".into(), target, detail };
    attempt.pass(effect).await?.done();
    let all: Vec<Value> = forms(value).into_iter().map(|form| json!({form.clone(): [form]})).collect();
    match attempt.call.arguments["end"].as_u64() {
        Some(0) => Ok(json!({"all": all, "text": forms(value).join(" and ").repeat(20)})),
        Some(1) => Err(CallError::new(ErrorKind::ToolFailed { retryable: false }, Stage::Run, forms(value).concat())
            .with_detail(json!(all))
            .because(format!("source {value}"))),
        _ => panic!("it panics with {value}"),
    }
}

fn leaking(limits: LimitSettings) -> (Host, Arc<Everything>, Arc<InMemory>) {
    let tool = Native::new("leak", "")
        .parameter("end", Shape::Integer(Integer::U8))
        .parameter("text", Shape::Option(Box::new(Shape::String)))
        .effect(EffectClass::Writes)
        .limits(limits)
        .secret("TOKEN")
        .run(leak);
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    let (told, artifacts) = (Arc::new(Everything::default()), Arc::new(InMemory::new(1 << 20)));
    let secrets = secrets([("TOKEN", Arc::new(Fixed(SECRET)) as Arc<dyn SecretSource>)]);
    let host = Host::new(catalog).with_secrets(secrets).with_sink(told.clone()).with_artifacts(artifacts.clone());
    (host, told, artifacts)
}

fn shown(outcome: &Outcome) -> String {
    let result = outcome.result.as_ref().map_or_else(|error| json!(error), |output| json!(output));
    format!("{outcome:?}\n{result}\n{}", json!(outcome.report))
}

#[tokio::test]
async fn a_secret_that_a_tool_repeats_everywhere_leaves_the_host_nowhere() {
    for end in 0..3 {
        let (host, told, _) = leaking(LimitSettings::default());
        let outcome = host.call(Call::new("leak", json!({"end": end}))).await;
        assert_eq!(outcome.failed().is_some(), end > 0);
        let told = told.0.lock().unwrap().clone();
        for marker in ["log <***>", "out <***>", "Progress", "Partial", "net.post"] {
            assert!(shown(&outcome).contains(marker) || told.contains(marker), "{marker}: {told}");
        }
        absent(SECRET, &shown(&outcome));
        absent(SECRET, &told);
    }
}

#[tokio::test]
async fn what_is_cut_or_kept_holds_no_part_of_a_secret() {
    for (reader, stdio) in (1_024..1_100).map(|reader| (reader, reader - 1_000)) {
        let bytes = |bytes| Some(Bytes(bytes));
        let (host, told, artifacts) = leaking(LimitSettings {
            reader: bytes(reader),
            stdio: bytes(stdio),
            log: bytes(stdio),
            ..Default::default()
        });
        let outcome = host.call(Call::new("leak", json!({"end": 0}))).await;
        let name = outcome.report.truncated.clone().unwrap().artifact.unwrap();
        absent(SECRET, std::str::from_utf8(&artifacts.get(&name).unwrap()).unwrap());
        absent(SECRET, &shown(&outcome));
        absent(SECRET, &told.0.lock().unwrap());
    }
}

#[tokio::test]
async fn mask_values_never_hosts_paths_verbs() {
    let (host, told, _) = leaking(LimitSettings::default());
    let outcome = host.call(Call::new("leak", json!({"end": 0}))).await;
    let effect = &outcome.report.effects[0].effect;
    assert_eq!(effect.action, "net.post");
    assert_eq!(effect.target, "https://api.example.com/v1/users?token=***");
    assert_eq!(effect.detail.as_deref(), Some("Authorization: Bearer ***"));
    assert!(told.0.lock().unwrap().contains("https://api.example.com/v1/users?token=***"));
}

#[tokio::test]
async fn a_secret_in_the_arguments_is_masked_once_the_host_knows_it() {
    let (host, told, _) = leaking(LimitSettings::default());
    host.call(Call::new("leak", json!({"end": 0}))).await;
    told.0.lock().unwrap().clear();
    // As text, as a value, in a name, and where a fault shortens what it shows.
    for arguments in [
        json!({"end": 0, "text": SECRET}).into(),
        toolpost_core::Arguments::Text(json!({"end": 0, "text": SECRET}).to_string()),
        json!({"end": SECRET}).into(),
        json!({"end": {"x".repeat(40): SECRET}}).into(),
    ] {
        let outcome = host.call(Call::new("leak", arguments)).await;
        absent(SECRET, &shown(&outcome));
    }
    let outcome = host.call(Call::new(SECRET, json!({}))).await;
    absent(SECRET, &shown(&outcome));
    absent(SECRET, &told.0.lock().unwrap());
}

#[tokio::test]
async fn a_tool_gets_the_secrets_that_it_was_granted_and_no_others() {
    let tool = Native::new("ask", "").run(|attempt| async move { attempt.secret("TOKEN").await.map(|_| json!(1)) });
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    let missing = Native::new("miss", "").secret("TOKE");
    catalog.add(missing.run(|attempt| async move { attempt.secret("TOKE").await.map(|_| json!(1)) })).unwrap();
    let host = Host::new(catalog).with_secrets(secrets([("TOKEN", Arc::new(Fixed(SECRET)) as Arc<dyn SecretSource>)]));
    let error = host.call(Call::new("ask", json!({}))).await.result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::CapabilityDenied);
    assert_eq!(
        error.message,
        "the tool has not been granted the secret `TOKEN`; `Native::secret(\"TOKEN\")` would grant it"
    );
    let error = host.call(Call::new("miss", json!({}))).await.result.unwrap_err();
    assert_eq!(error.message, "the secret `TOKE` cannot be had; the host's log says more");
    assert_eq!(error.source.unwrap().to_string(), "no secret is named `TOKE`; did you mean `TOKEN`?");
}

#[test]
fn what_is_too_short_to_be_masked_is_no_secret() {
    let why = |value: &str| Secret::new(value.into()).err().map(|error| error.to_string());
    assert_eq!(why(""), Some("it is empty".into()));
    assert_eq!(why("1234567"), Some("it is shorter than 8 bytes, so it could not be masked".into()));
    assert_eq!(why("12345678"), None);
    assert_eq!(why(&"x".repeat(8_193)), Some("it is longer than 8192 bytes".into()));
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_read_again_after_five_minutes_and_the_one_before_stays_masked() {
    let source = Arc::new(Changing::default());
    let secrets = secrets([("A", source.clone() as Arc<dyn SecretSource>)]);
    assert!(secrets.masker().is_empty());
    let (one, other) = tokio::join!(secrets.get("A"), secrets.get("A"));
    assert_eq!((one.unwrap().reveal(), other.unwrap().reveal()), ("secret number 1", "secret number 1"));
    tokio::time::advance(Duration::from_secs(299)).await;
    assert_eq!(secrets.get("A").await.unwrap().reveal(), "secret number 1");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(secrets.get("A").await.unwrap().reveal(), "secret number 2");
    assert_eq!(secrets.masker().text("secret number 1, secret number 2"), "***, ***");
    assert_eq!(source.reads.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_does_not_answer_is_given_up_and_asked_again() {
    let source = Arc::new(Changing { hangs: true, ..Changing::default() });
    let secrets = secrets([("A", source.clone() as Arc<dyn SecretSource>)]);
    for reads in 1..3 {
        // For a moment it is left alone: whoever asks meanwhile is told the same.
        for _ in 0..2 {
            let error = secrets.get("A").await.unwrap_err();
            assert_eq!(error.to_string(), "the secret `A` cannot be had: it did not come within 10 s");
            assert_eq!(source.reads.load(SeqCst), reads);
        }
        tokio::time::advance(Duration::from_secs(3)).await;
    }
}

#[test]
fn of_two_secrets_that_begin_alike_the_longer_one_is_masked_whole() {
    let masker = masker(&["abcdefgh", "abcdefghijkl"]);
    assert_eq!(masker.text("abcdefghijkl abcdefghi abcdefg"), "*** ***i abcdefg");
}

#[test]
fn a_number_can_be_a_secret() {
    let masker = masker(&["1234567890"]);
    let mut value = json!({"n": [1_234_567_890, 7, 12_345_678_901_u64]});
    masker.value_in(&mut value);
    assert_eq!(value, json!({"n": ["***", 7, "***"]}));
}

#[test]
fn secret_arguments_are_found_by_pointer_or_told_why_not() {
    let user = Shape::Record(vec![Field::new("user-name", Shape::String), Field::new("pass-word", Shape::String)]);
    let parameters = [
        Field::new("api-key", Shape::Option(Box::new(Shape::String))),
        Field::new("users", Shape::List(Box::new(user))),
    ];
    let find = |pointers: &[&str]| {
        let pointers: Vec<String> = pointers.iter().map(|pointer| (*pointer).into()).collect();
        SecretArguments::find(&pointers, &parameters)
    };
    let arguments = json!({"api_key": "k", "users": [{"user_name": "a", "pass_word": "p"}]});
    let replaced = |pointers: &[&str]| find(pointers).unwrap().replace(&arguments, |_| json!(0)).into_owned();
    assert_eq!(replaced(&["/api-key"])["api_key"], json!(0));
    assert_eq!(replaced(&["/users/*/pass_word"])["users"], json!([{"user_name": "a", "pass_word": 0}]));
    assert_eq!(replaced(&[]), arguments);
    for (pointer, why) in [
        ("api_key", "`api_key` of `secret_arguments` is no JSON pointer; write for example \"/password\""),
        ("/api_kee", "`secret_arguments` speaks of `/api_kee`, but there is no `api_kee`; did you mean `api_key`?"),
        (
            "/users/*/password",
            "`secret_arguments` speaks of `/users/*/password`, but there is no `password`; did you mean `pass_word`?",
        ),
        (
            "/users/0",
            "`secret_arguments` speaks of `/users/0`, but `0` leads nowhere: a pointer goes through records by name, and through lists by `*`",
        ),
        (
            "/api_key/x",
            "`secret_arguments` speaks of `/api_key/x`, but `x` leads nowhere: a pointer goes through records by name, and through lists by `*`",
        ),
    ] {
        assert_eq!(find(&[pointer]).unwrap_err(), why);
    }
}

#[tokio::test]
async fn a_secret_argument_reaches_the_tool_and_nobody_else() {
    let mut tool = Native::new("login", "")
        .parameter("user", Shape::String)
        .parameter("password", Shape::String)
        .effect(EffectClass::Pure)
        .run(|attempt| async move { Ok(json!(attempt.call.arguments["password"].as_str().map(str::len))) });
    tool.secret_arguments = SecretArguments::find(&["/password".into()], &tool.parameters).unwrap();
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    let told = Arc::new(Everything::default());
    let host = Host::new(catalog).with_sink(told.clone());
    // Right; cast from a number; wrong in its type, in its place, in its name; no JSON at all.
    let cases = [
        (json!({"user": "ann", "password": "hunter2hunter2"}).to_string(), Ok(json!(14))),
        (json!({"user": "ann", "Password": 4_711_471_147_114_711_u64}).to_string(), Ok(json!(16))),
        (json!({"user": "ann", "password": ["hunter2hunter2", "4711471147114711"]}).to_string(), Err(())),
        (json!(["hunter2hunter2"]).to_string(), Err(())),
        (json!({"user": "ann", "passwort": "hunter2hunter2"}).to_string(), Err(())),
        ("{\"user\": \"ann\", \"password\": \"hunter2hunter2\"".to_owned(), Err(())),
    ];
    for (arguments, result) in cases {
        let outcome = host.call(Call::new("login", arguments.as_str())).await;
        let shown = shown(&outcome) + &told.0.lock().unwrap();
        // Of the number more than an id may have by chance.
        assert!(!shown.contains("hunter2") && !shown.contains("47114711"), "{arguments}: {shown}");
        match (outcome.result, result) {
            (Ok(output), Ok(wanted)) => assert_eq!(output.value, wanted),
            (Err(error), Err(())) => assert_eq!(error.kind, ErrorKind::InvalidArguments),
            (result, _) => panic!("{arguments}: {result:?}"),
        }
    }
    let told = told.0.lock().unwrap();
    assert!(told.contains("String(\"ann\")"), "what is no secret is shown: {told}");
}

#[tokio::test]
async fn what_the_cache_keeps_was_masked_before() {
    let guard: GuardSettings = serde_json::from_value(json!({"cache": true})).unwrap();
    let tool = Native::new("leak", "").effect(EffectClass::Pure).guard(guard).secret("TOKEN");
    let tool = tool.run(|attempt| async move { Ok(json!(attempt.secret("TOKEN").await?.reveal())) });
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    let host = Host::new(catalog).with_secrets(secrets([("TOKEN", Arc::new(Fixed(SECRET)) as Arc<dyn SecretSource>)]));
    for cached in [false, true] {
        let outcome = host.call(Call::new("leak", json!({}))).await;
        assert_eq!((outcome.result.unwrap().value, outcome.report.cached), (json!("***"), cached));
    }
}

/// What comes out of a stream that is written in these pieces.
fn streamed(masked: &Host, pieces: Vec<Vec<u8>>) -> BoxFuture<'static, (String, String)> {
    let pieces = json!(pieces.iter().map(|piece| STANDARD.encode(piece)).collect::<Vec<_>>());
    let host = masked.clone();
    async move {
        let outcome = host.call(Call::new("write", json!({"pieces": pieces}))).await;
        (outcome.report.attempts[0].stdout.text.clone(), outcome.result.unwrap().value.as_str().unwrap().to_owned())
    }
    .boxed()
}

fn writing() -> Host {
    let pieces = Shape::List(Box::new(Shape::Bytes));
    let tool =
        Native::new("write", "").parameter("pieces", pieces).effect(EffectClass::Pure).run(|attempt| async move {
            let mut all = Vec::new();
            for piece in attempt.call.arguments["pieces"].as_array().unwrap() {
                let piece = STANDARD.decode(piece.as_str().unwrap()).unwrap();
                attempt.meter.stdout.write(&piece);
                all.extend(piece);
            }
            Ok(json!(String::from_utf8_lossy(&all)))
        });
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    let secrets = Arc::new(Secrets::default());
    for (name, value) in [("A", "abcabcabd"), ("B", "abcabcabdabc"), ("C", "bdabcabcx")] {
        secrets.learn(name, &Arc::new(Secret::new(value.into()).unwrap())).unwrap();
    }
    Host::new(catalog).with_secrets(secrets)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_in_pieces_is_masked_like_the_text_as_a_whole(
        words in prop::collection::vec("abcabcabd|abcabcabdabc|bdabcabcx|[abcdx]{1,4}", 0..8),
        cuts in prop::collection::vec(0_usize..60, 0..6),
    ) {
        let text = words.concat();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| text.as_bytes()[cut[0]..cut[1]].to_vec()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (streamed, whole) = runtime.block_on(streamed(&writing(), pieces));
        prop_assert_eq!(streamed, whole);
    }

    #[test]
    fn no_form_of_a_random_secret_is_left(secret in "[ -~é😀\n]{8,24}", before in ".{0,3}", after in ".{0,3}") {
        let masker = masker(&[&secret]);
        let json = Value::from(secret.as_str()).to_string();
        let whole = format!("{before}{secret}{after}");
        for engine in [STANDARD, URL_SAFE] {
            let masked = masker.text(&engine.encode(&whole)).into_owned();
            prop_assert!(masked.contains("***"), "{masked}");
            // What is left of it are bits that it shares with its neighbours.
            prop_assert!(masked.len() <= engine.encode(format!("{before}{after}")).len() + 3 + 8, "{masked}");
        }
        for form in [secret.clone(), json[1..json.len() - 1].to_owned(), url(&secret)] {
            let masked = masker.text(&form).into_owned();
            prop_assert!(masked == "***" || !masked.contains(&form), "{masked}");
        }
    }
}

#[tokio::test]
async fn the_key_of_a_call_with_a_secret_argument_cannot_be_guessed_without_the_key_of_the_host() {
    let key = async |host_key: u8, password: &str| {
        let guard: GuardSettings = serde_json::from_value(json!({"idempotency": {"key": "args"}})).unwrap();
        let tool =
            Native::new("login", "").parameter("password", Shape::String).effect(EffectClass::Writes).guard(guard);
        let mut tool = tool.run(|_| async { Ok(json!(1)) });
        tool.secret_arguments = SecretArguments::find(&["/password".into()], &tool.parameters).unwrap();
        let mut catalog = Catalog::default();
        catalog.add(tool).unwrap();
        let secrets = Arc::new(Secrets::default().with_key([host_key; 32]));
        let host = Host::new(catalog).with_secrets(secrets);
        let outcome = host.call(Call::new("login", json!({"password": password}))).await;
        outcome.report.idempotency.unwrap().key.to_string()
    };
    let first = key(1, "hunter2hunter2").await;
    assert_eq!(first, key(1, "hunter2hunter2").await);
    assert_ne!(first, key(1, "hunter3hunter3").await);
    assert_ne!(first, key(2, "hunter2hunter2").await);
}
