//! Approval with a store and over the network: questions that other processes answer, rules that are written down, the web
//! hook with its signatures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use toolpost::approve::{Answered, Book, Desk, SIGNATURE, Seal, State};
use toolpost::core::check::approve::{Answer, Choice, Decided, Question};
use toolpost::{Builder, Call, Caller, EffectClass, ErrorKind, Host, Native, Outcome, Settings, Store};

const SECRET: &str = "a secret of more than 16 bytes";

fn settings(folder: &Path, text: &str) -> Settings {
    Settings::parse(text, &folder.join("toolpost.toml")).unwrap()
}

fn builder(folder: &Path, text: &str) -> Builder {
    let tool = Native::new("wipe", "").effect(EffectClass::Destroys);
    let tool = tool.parameter("path", toolpost::core::catalog::shape::Shape::String);
    Builder::new()
        .settings(settings(folder, text))
        .in_memory()
        .native(tool, |attempt| async move { Ok(attempt.call.arguments["path"].clone()) })
}

async fn with_store(folder: &Path, text: &str) -> (Host, Arc<Store>) {
    let store = Arc::new(Store::at(folder.join("store")));
    (builder(folder, text).store(store.clone()).build().await.unwrap(), store)
}

fn wipe(host: &Host, path: &str) -> tokio::task::JoinHandle<Outcome> {
    let (host, call) = (host.clone(), Call::new("wipe", json!({"path": path})));
    tokio::spawn(async move { host.call(call).await })
}

/// The one question that waits in a store, as another process sees it.
async fn waits(store: &Store) -> (Desk, Question) {
    let desk = Desk::of(&Arc::new(Store::at(store.dir())));
    for _ in 0..200 {
        if let [filed] = &desk.pending().await.unwrap()[..] {
            return (desk, filed.question.clone());
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing is pending");
}

fn by(choice: Choice) -> Answer {
    Answer { choice, by: "bob".into() }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn another_process_answers_while_the_call_waits() {
    let folder = folder();
    let (host, store) = with_store(folder.path(), "").await;
    let call = wipe(&host, "/a");
    let (desk, question) = waits(&store).await;
    assert_eq!(question.arguments, json!({"path": "/a"}));
    assert_eq!(desk.answer(&question, &by(Choice::Allow)).await.unwrap(), Answered::Taken);
    let outcome = call.await.unwrap();
    assert_eq!(outcome.result.unwrap().value, json!("/a"));
    assert_eq!(outcome.report.decisions[0].by, "bob");

    let call = wipe(&host, "/a");
    let (desk, question) = waits(&store).await;
    let edit = Choice::Edit { arguments: json!({"path": "/b"}) };
    assert_eq!(desk.answer(&question, &by(edit)).await.unwrap(), Answered::Taken);
    assert_eq!(call.await.unwrap().result.unwrap().value, json!("/b"));
}

#[tokio::test]
async fn approving_what_is_not_pending_is_a_no_op_with_a_clear_answer() {
    let folder = folder();
    let (host, store) = with_store(folder.path(), "approval.timeout = \"1s\"").await;
    let call = wipe(&host, "/a");
    let (desk, question) = waits(&store).await;
    let denial = by(Choice::Deny { reason: Some("no".into()) });

    // Somebody who was shown something else.
    let other = Question { hash: "other".into(), ..question.clone() };
    assert_eq!(desk.answer(&other, &by(Choice::Allow)).await.unwrap(), Answered::Changed);
    assert_eq!(desk.answer(&question, &denial).await.unwrap(), Answered::Taken);
    // The click that comes second.
    let late = desk.answer(&question, &by(Choice::Allow)).await.unwrap();
    assert_eq!(late, Answered::NotPending(State::Answered(denial)));
    assert_eq!(call.await.unwrap().result.unwrap_err().kind, ErrorKind::Declined);
    // The same call again is another question.
    let again = wipe(&host, "/a");
    let (_, second) = waits(&store).await;
    assert_ne!(second.id, question.id);
    let never = Question { id: "ask_never".into(), ..second.clone() };
    assert_eq!(desk.answer(&never, &by(Choice::Allow)).await.unwrap(), Answered::NotPending(State::Closed));
    assert_eq!(again.await.unwrap().result.unwrap_err().kind, ErrorKind::ApprovalTimedOut);
    assert_eq!(desk.answer(&second, &by(Choice::Allow)).await.unwrap(), Answered::NotPending(State::Expired));
}

#[tokio::test]
async fn a_question_is_taken_back_when_nobody_waits_for_it_any_more() {
    let folder = folder();
    let (host, store) = with_store(folder.path(), "").await;
    let call = wipe(&host, "/a");
    let (desk, question) = waits(&store).await;
    call.abort();
    let closed = async {
        while !desk.pending().await.unwrap().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), closed).await.unwrap();
    assert_eq!(desk.answer(&question, &by(Choice::Allow)).await.unwrap(), Answered::NotPending(State::Closed));
    assert_eq!(desk.find(&question.id).await.unwrap()[0].state, State::Closed);
    assert_eq!(desk.find(&question.id[4..8]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_counts_once_however_many_give_it_at_once() {
    let folder = folder();
    let (host, store) = with_store(folder.path(), "").await;
    let call = wipe(&host, "/a");
    let (_, question) = waits(&store).await;
    let answers = (0..20).map(|at| {
        let (desk, question) = (Desk::of(&Arc::new(Store::at(store.dir()))), question.clone());
        tokio::spawn(async move {
            let reason = Some(at.to_string());
            desk.answer(&question, &by(Choice::Deny { reason })).await.unwrap() == Answered::Taken
        })
    });
    let mut taken = Vec::new();
    for (at, answer) in answers.collect::<Vec<_>>().into_iter().enumerate() {
        if answer.await.unwrap() {
            taken.push(at);
        }
    }
    assert_eq!(taken.len(), 1);
    let error = call.await.unwrap().result.unwrap_err();
    assert!(error.message.contains(&format!("declined: {};", taken[0])), "{error}");
}

#[tokio::test]
async fn always_is_a_rule_in_the_store_that_later_hosts_follow() {
    let folder = folder();
    let (host, store) = with_store(folder.path(), "").await;
    let path = "/a\u{202e}b \"quoted\" \\ and\nmore";
    let call = wipe(&host, path);
    let (desk, question) = waits(&store).await;
    assert!(question.always.is_some());
    desk.answer(&question, &by(Choice::AllowAlways)).await.unwrap();
    assert_eq!(call.await.unwrap().report.decisions[0].what, Decided::AllowedAlways);

    let (later, _) = with_store(folder.path(), "").await;
    let outcome = wipe(&later, path).await.unwrap();
    assert_eq!(outcome.report.decisions[0].rule, Some(format!("always-{}", question.id)));
    assert!(outcome.result.is_ok());
    let file = std::fs::read_to_string(Book::of(&store).file()).unwrap();
    assert!(file.starts_with("# What was answered with \"always\"."), "{file}");
    assert!(file.contains(r"#     | /a\u{202e}b"), "{file}");
    // Other arguments are asked about.
    let call = wipe(&later, "/a");
    let (desk, question) = waits(&store).await;
    desk.answer(&question, &by(Choice::AllowAlways)).await.unwrap();
    assert!(call.await.unwrap().result.is_ok());
    assert_eq!(Book::of(&store).read().unwrap().always.len(), 2);
    // And an operator's denial beats both.
    let (strict, _) = with_store(folder.path(), "[[approval.deny]]\ntools = [\"wipe\"]").await;
    assert_eq!(wipe(&strict, "/a").await.unwrap().result.unwrap_err().kind, ErrorKind::Declined);
}

#[tokio::test]
async fn an_answer_for_the_session_holds_for_every_host_with_the_store_and_for_no_other_session() {
    let folder = folder();
    let (first, store) = with_store(folder.path(), "").await;
    let in_session = |host: &Host, session: &str| {
        let caller = Caller { session: Some(session.into()), ..Caller::named("agent") };
        let (host, call) = (host.clone(), Call::new("wipe", json!({"path": "/a"})).by(caller));
        tokio::spawn(async move { host.call(call).await })
    };
    let call = in_session(&first, "s");
    let (desk, question) = waits(&store).await;
    assert_eq!(desk.answer(&question, &by(Choice::AllowSession)).await.unwrap(), Answered::Taken);
    assert!(call.await.unwrap().result.is_ok());
    let (second, _) = with_store(folder.path(), "approval.elsewhere = false").await;
    let outcome = in_session(&second, "s").await.unwrap();
    assert_eq!(outcome.report.decisions[0].what, Decided::AllowedForSession);
    assert_eq!(in_session(&second, "t").await.unwrap().result.unwrap_err().kind, ErrorKind::Declined);
}

#[tokio::test]
async fn rules_in_the_store_that_cannot_be_read_close_everything() {
    let folder = folder();
    std::fs::create_dir(folder.path().join("store")).unwrap();
    std::fs::write(folder.path().join("store/rules.toml"), "[[deny]]\ntools = [\"wipe\"]\ntool = 1\n").unwrap();
    let store = Arc::new(Store::at(folder.path().join("store")));
    let loaded = builder(folder.path(), "[[approval.allow]]").store(store).load().await;
    assert!(loaded.faults[0].to_string().contains("rules.toml:3: unknown key `tool`; did you mean `tools`?"));
    let error = wipe(&loaded.host, "/a").await.unwrap().result.unwrap_err();
    assert!(error.message.contains("the rules in the store cannot be read"), "{error}");
}

#[tokio::test]
async fn without_waiting_elsewhere_a_question_that_nobody_here_can_answer_is_refused_at_once() {
    let folder = folder();
    let (host, _) = with_store(folder.path(), "approval.elsewhere = false").await;
    let started = Instant::now();
    let error = wipe(&host, "/a").await.unwrap().result.unwrap_err();
    assert!(error.message.contains("nobody can be asked"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn faults_of_rules_have_their_lines_and_are_found_together() {
    let text = r#"[approval]
timeout = "30d"
max_pending = 0

[[approval.deny]]
tools = ["a["]

[[approval.deny]]
name = "no-etc"
arguments = { "/path" = "/etc/*" }
match = [{ tool = "x", arguments = { path = "/tmp" } }]

[[approval.allow]]
tool = ["x"]

[[approval.allow]]
arguments = { "/n" = { range = { min = 3, max = 1 } } }

[approval.webhook]
url = "http://example.com/hook"
secret = "in the clear"
"#;
    let faults = Settings::parse(text, Path::new("toolpost.toml")).unwrap_err();
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    let expected = [
        "toolpost.toml:2: a question may wait for 7 days at most",
        "toolpost.toml:3: expected a whole number from 1 to 10000",
        "toolpost.toml:6: `a[`: unclosed character class; missing ']'",
        "toolpost.toml:8: the rule does not fit its own example `x` with {\"path\":\"/tmp\"}: `/path` does not fit glob `/etc/*`",
        "toolpost.toml:14: unknown key `tool`; did you mean `tools`?",
        "toolpost.toml:17: no number is in this range: `min` is above `max`",
        "toolpost.toml:20: `http://example.com/hook` must be `https`, or `http` on this machine",
    ];
    for words in expected {
        assert!(faults.iter().any(|fault| fault == words), "{words}\n{faults:#?}");
    }
    assert!(faults.iter().any(|fault| fault.starts_with("toolpost.toml:21:")), "{faults:#?}");
}

/// A service that hands on what it is asked, and answers with what `answer` makes of it.
async fn service<A, R>(answer: A) -> (String, mpsc::UnboundedReceiver<(HeaderMap, Vec<u8>)>)
where
    A: Fn(Value) -> R + Clone + Send + Sync + 'static,
    R: IntoResponse + 'static,
{
    let (sender, receiver) = mpsc::unbounded_channel();
    let take = move |headers: HeaderMap, body: axum::body::Bytes| async move {
        sender.send((headers, body.to_vec())).unwrap();
        answer(serde_json::from_slice(&body).unwrap())
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", post(take))).await });
    (url, receiver)
}

fn hook(folder: &Path, url: &str, more: &str) -> String {
    std::fs::write(folder.join("secret"), format!("{SECRET}\n")).unwrap();
    format!("[approval.webhook]\nurl = \"{url}\"\nsecret = {{ file = \"secret\" }}\n{more}")
}

/// An answer to what was asked, and its signature.
fn signed(asked: &Value, answer: Value, secret: &str) -> (HeaderMap, String) {
    let mut sealed = json!({"question": asked["question"]["id"], "hash": asked["question"]["hash"], "by": "judge"});
    sealed.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
    let body = sealed.to_string();
    let mut headers = HeaderMap::new();
    headers.insert(SIGNATURE, Seal::new(secret.as_bytes()).unwrap().sign(body.as_bytes()).parse().unwrap());
    (headers, body)
}

async fn asked_over(text: &str, folder: &Path) -> Outcome {
    let host = builder(folder, text).build().await.unwrap();
    wipe(&host, "/a").await.unwrap()
}

#[tokio::test]
async fn a_web_hook_is_asked_with_a_signature_and_answers_at_once() {
    let folder = folder();
    let (url, mut asked) = service(|asked| signed(&asked, json!({"decision": "allow"}), SECRET)).await;
    let outcome = asked_over(&hook(folder.path(), &url, ""), folder.path()).await;
    assert_eq!(outcome.result.unwrap().value, json!("/a"));
    assert_eq!(outcome.report.decisions[0].by, "web hook: judge");
    let (headers, body) = asked.recv().await.unwrap();
    let signature = headers[SIGNATURE].to_str().unwrap();
    let seal = Seal::new(SECRET.as_bytes()).unwrap();
    assert_eq!(seal.verify(signature, &body), Ok(()));
    assert_eq!(seal.verify(signature, b"{}"), Err("the signature is not that of this body"));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["shown"], json!(["path: \"/a\""]));
    assert_eq!(body["question"]["effect"], "destroys");
    assert_eq!(body.get("callback"), None);
}

#[tokio::test]
async fn approvals_that_travel_are_sealed_with_a_mac_over_what_was_asked_and_verified_by_us() {
    type Make = fn(Value) -> (StatusCode, HeaderMap, String);
    fn ok((headers, body): (HeaderMap, String)) -> (StatusCode, HeaderMap, String) {
        (StatusCode::OK, headers, body)
    }
    let cases: [(Make, &str); 8] = [
        (
            |asked| ok((HeaderMap::new(), signed(&asked, json!({"decision": "allow"}), SECRET).1)),
            "its answer is not signed",
        ),
        (
            |asked| ok(signed(&asked, json!({"decision": "allow"}), "another secret of 16 bytes")),
            "the signature is not that of this body",
        ),
        (
            |asked| {
                let (headers, _) = signed(&asked, json!({"decision": "deny"}), SECRET);
                ok((headers, signed(&asked, json!({"decision": "allow"}), SECRET).1))
            },
            "the signature is not that of this body",
        ),
        (
            |asked| ok(signed(&asked, json!({"decision": "allow", "question": "ask_other"}), SECRET)),
            "the answer is to another question",
        ),
        (
            |asked| ok(signed(&asked, json!({"decision": "allow", "hash": "00"}), SECRET)),
            "the answer is to another question",
        ),
        (|asked| ok(signed(&asked, json!({"decision": "maybe"}), SECRET)), "the answer is none"),
        (|_| (StatusCode::INTERNAL_SERVER_ERROR, HeaderMap::new(), String::new()), "it answered with 500"),
        (|_| (StatusCode::ACCEPTED, HeaderMap::new(), String::new()), "it answers later, and"),
    ];
    for (make, words) in cases {
        let folder = folder();
        let (url, _asked) = service(make).await;
        let outcome = asked_over(&hook(folder.path(), &url, ""), folder.path()).await;
        let error = outcome.result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Declined);
        let behind = error.source.unwrap().to_string();
        assert!(behind.starts_with(&format!("web hook: {words}")), "{behind}\n{words}");
    }
}

#[tokio::test]
async fn an_approval_that_comes_later_is_sealed_for_its_question_and_of_single_use() {
    let folder = folder();
    let (url, mut asked) = service(|_| StatusCode::ACCEPTED).await;
    let text = hook(folder.path(), &url, "listen = \"127.0.0.1:0\"\n");
    let host = builder(folder.path(), &text).build().await.unwrap();
    let call = wipe(&host, "/a");
    let (_, body) = asked.recv().await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let (to, token) = (body["callback"]["url"].as_str().unwrap(), body["callback"]["token"].as_str().unwrap());
    assert_eq!(token.len(), 64);
    let client = reqwest::Client::new();
    let send = async |token: &str, secret: &str, answer: Value| {
        let (headers, body) = signed(&body, answer, secret);
        let request = client.post(to).headers(headers).bearer_auth(token).body(body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap()["error"].clone())
    };
    let allow = || json!({"decision": "allow"});
    let wrong = send(token, "another secret of 16 bytes", allow()).await;
    assert_eq!(wrong, (401, json!("the signature is not that of this body")));
    let guess = "0".repeat(64);
    assert_eq!(send(&guess, SECRET, allow()).await, (401, json!("the token is not that of this question")));
    assert_eq!(send("", SECRET, allow()).await.0, 401);
    assert_eq!(send(token, SECRET, json!({"decision": "allow", "hash": "0"})).await.0, 409);
    assert_eq!(send(token, SECRET, json!({"decision": "maybe"})).await.0, 400);
    assert!(!call.is_finished(), "none of these changed anything");
    assert_eq!(send(token, SECRET, json!({"decision": "edit", "arguments": {"path": "/b"}})).await, (200, Value::Null));
    assert_eq!(call.await.unwrap().result.unwrap().value, json!("/b"));
    let (status, why) = send(token, SECRET, allow()).await;
    assert_eq!(status, 410);
    assert!(why.as_str().unwrap().ends_with("is not pending; nothing was changed"), "{why}");
}

#[tokio::test]
async fn a_web_hook_is_asked_without_a_callback_where_nobody_can_listen_for_it() {
    let folder = folder();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = format!("listen = \"{}\"\n", taken.local_addr().unwrap());
    let (url, mut asked) = service(|asked| signed(&asked, json!({"decision": "allow"}), SECRET)).await;
    let outcome = asked_over(&hook(folder.path(), &url, &listen), folder.path()).await;
    assert_eq!(outcome.result.unwrap().value, json!("/a"));
    let body: Value = serde_json::from_slice(&asked.recv().await.unwrap().1).unwrap();
    assert_eq!(body.get("callback"), None);

    let (url, _asked) = service(|_| StatusCode::ACCEPTED).await;
    let outcome = asked_over(&hook(folder.path(), &url, &listen), folder.path()).await;
    let behind = outcome.result.unwrap_err().source.unwrap().to_string();
    assert!(behind.starts_with("web hook: it answers later, and `127.0.0.1:"), "{behind}");
}

#[test]
fn an_old_signature_and_a_short_secret_are_worth_nothing() {
    let seal = Seal::new(SECRET.as_bytes()).unwrap();
    let signature = seal.sign(b"x");
    assert_eq!(seal.verify(&signature, b"x"), Ok(()));
    // Made with `openssl dgst -sha256 -hmac` of `1700000000.x`.
    let code = "e6b00c1e1b65d471b5f6cf7e95f800a9446fd0fd735eb1e268e5e18c12a10c1f";
    let old = format!("t=1700000000,v1={code}");
    assert_eq!(seal.verify(&old, b"x"), Err("the signature is too old, or a clock is wrong"));
    let moved = format!("t=1700000001,v1={code}");
    assert_eq!(seal.verify(&moved, b"x"), Err("the signature is not that of this body"));
    for broken in ["", "t=1", "v1=00", "t=x,v1=00", "t=1,v1=zz"] {
        assert!(seal.verify(broken, b"x").is_err(), "{broken}");
    }
    assert!(Seal::new(b"short").is_err());
}

#[tokio::test]
async fn answers_that_are_on_their_way_arrive_after_the_settings_were_read_again() {
    let folder = folder();
    let (url, mut asked) = service(|_| StatusCode::ACCEPTED).await;
    let text = hook(folder.path(), &url, "listen = \"127.0.0.1:0\"\n");
    let loaded = builder(folder.path(), &text).load().await;
    let reloader = loaded.reloader(folder.path().join("toolpost.toml"));
    let mut question = async |path: &str| -> (tokio::task::JoinHandle<Outcome>, Value) {
        let call = wipe(&loaded.host, path);
        (call, serde_json::from_slice(&asked.recv().await.unwrap().1).unwrap())
    };
    let (before, first) = question("/a").await;
    reloader.reload_with(settings(folder.path(), &format!("host.max_parallel = 3\n{text}"))).await.unwrap();
    let (after, second) = question("/b").await;
    assert_eq!(first["callback"]["url"], second["callback"]["url"], "answers are taken at one place");
    for (call, question) in [(before, first), (after, second)] {
        let (headers, body) = signed(&question, json!({"decision": "allow"}), SECRET);
        let callback = |key: &str| question["callback"][key].as_str().unwrap();
        let request = reqwest::Client::new().post(callback("url")).headers(headers).bearer_auth(callback("token"));
        assert_eq!(request.body(body).send().await.unwrap().status().as_u16(), 200);
        assert!(call.await.unwrap().result.is_ok());
    }
}
