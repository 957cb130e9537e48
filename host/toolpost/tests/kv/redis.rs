//! What only a server can do: be short of connections, go away, and come back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};
use toolpost::core::effect::Fate;
use toolpost::kv::redis::Redis;
use toolpost::wasm::kv::{Backend as _, Change, Changed, Fault};
use toolpost::{Builder, Call, ErrorKind, Host, Outcome, Settings};

use crate::conformance::{scope, set};
use crate::server::{PASSWORD, RedisServer, free, vault};
use crate::{Made, skipped};

pub(crate) async fn of_its_own() -> Option<Made> {
    let server = RedisServer::start().await?;
    let kept = Redis::new(server.vault(), "URL".into(), 8, Duration::from_secs(5));
    Some((Arc::new(kept), Some(Box::new(server))))
}

/// A host whose `keys` has a bucket on that server, and the folder of its settings.
async fn host(address: std::net::SocketAddr, more: &str, guard: &str) -> (Host, TempDir) {
    let folder = TempDir::new().unwrap();
    let password = PASSWORD.replace(' ', "%20");
    std::fs::write(folder.path().join("url"), format!("redis://:{password}@{address}/0")).unwrap();
    let guest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest-examples/prebuilt/keys.wasm");
    let settings = format!(
        "[store]\ndir = \"kept\"\n[secrets]\nURL = {{ file = \"url\" }}\n[host]\nmax_parallel = 200\n\
         [kv.shared]\nkind = \"redis\"\nurl = \"${{secret:URL}}\"\n{more}\n\
         [components.keys]\npath = \"{guest}\"\ngrants.kv = [{{ bucket = \"b\", store = \"shared\", access = \"write\" }}]\n{guard}\n"
    );
    let settings = Settings::parse(&settings, &folder.path().join("toolpost.toml")).unwrap();
    (Builder::new().settings(settings).build().await.unwrap(), folder)
}

async fn count(host: &Host) -> Outcome {
    let call = host.call(Call::new("keys_count", json!({"bucket": "b", "key": "n"})));
    timeout(Duration::from_secs(20), call).await.expect("it does not hang")
}

fn fates(outcome: &Outcome) -> Vec<Fate> {
    outcome.report.effects.iter().map(|effect| effect.fate).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_run_at_once_never_have_more_connections_than_the_pool() {
    let Some(server) = RedisServer::start().await else { return skipped("redis-server") };
    let (host, _folder) = host(server.address(), "pool = 4\ntimeout = \"20s\"", "").await;
    let before: u64 = number(&server.ask(&["INFO", "stats"]).await, "total_connections_received");
    let outcomes = join_all((0..200).map(|_| count(&host))).await;
    let mut sums: Vec<i64> = outcomes.into_iter().map(|it| it.result.unwrap().value.as_i64().unwrap()).collect();
    sums.sort_unstable();
    assert_eq!(sums, (1..=200).collect::<Vec<_>>());
    // That of the question itself is one of them, too.
    let made = number(&server.ask(&["INFO", "stats"]).await, "total_connections_received") - before;
    assert!((2..=5).contains(&made), "{made}");
}

fn number(info: &str, key: &str) -> u64 {
    let line = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{key}: {info}")).trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_fails_the_call_and_is_then_left_alone() {
    let (host, _folder) =
        host(free(), "", "guard.breaker = { kind = \"standard\", consecutive = 3 }\nguard.retry.max_attempts = 1")
            .await;
    for _ in 0..3 {
        let outcome = count(&host).await;
        let error = outcome.result.as_ref().unwrap_err();
        assert!(matches!(error.kind, ErrorKind::ToolFailed { .. }), "{error:?}");
        assert_eq!(error.message, "unavailable: the store does not answer");
        assert_eq!(fates(&outcome), [Fate::Failed]);
    }
    let outcome = count(&host).await;
    let error = outcome.result.as_ref().unwrap_err();
    assert_eq!(error.kind, ErrorKind::CircuitOpen, "{error:?}");
    assert!(error.message.starts_with("`kv.shared` failed too often and is left alone"), "{}", error.message);
    assert_eq!(fates(&outcome), [Fate::Refused]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_in_the_middle_fails_its_calls_at_once_and_is_used_again_when_it_is_back() {
    let Some(server) = RedisServer::start().await else { return skipped("redis-server") };
    let address = server.address();
    let (host, _folder) = host(
        address,
        "pool = 4\ntimeout = \"2s\"",
        "guard.breaker = { kind = \"none\" }\nguard.retry.max_attempts = 1",
    )
    .await;
    assert_eq!(count(&host).await.result.unwrap().value, json!(1));
    server.freeze();
    let begun = Instant::now();
    let calls = (0..20).map(|_| {
        let host = host.clone();
        tokio::spawn(async move { count(&host).await })
    });
    let calls: Vec<_> = calls.collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(server);
    for call in calls {
        let outcome = call.await.unwrap();
        let error = outcome.result.as_ref().unwrap_err();
        assert!(matches!(error.kind, ErrorKind::ToolFailed { .. }), "{error:?}");
        assert!(matches!(fates(&outcome)[..], [Fate::Indeterminate | Fate::Failed]), "{outcome:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let Some(_server) = RedisServer::start_at(address).await else { return skipped("redis-server") };
    // Nothing was kept; what counts is that the pool is whole again.
    let outcomes = join_all((0..20).map(|_| count(&host))).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_waited_for_no_longer_than_its_time() {
    let Some(server) = RedisServer::start().await else { return skipped("redis-server") };
    let (host, _folder) = host(server.address(), "timeout = \"300ms\"", "guard.retry.max_attempts = 1").await;
    assert_eq!(count(&host).await.result.unwrap().value, json!(1));
    server.freeze();
    let begun = Instant::now();
    let outcome = count(&host).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(matches!(outcome.result.as_ref().unwrap_err().kind, ErrorKind::ToolFailed { .. }));
    // Nobody knows what the server has made of it.
    assert_eq!(fates(&outcome), [Fate::Indeterminate]);
    assert!(outcome.report.attempts[0].log.text.contains("the store `shared`: it did not answer within 300 ms"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_leaves_its_connection_to_nobody() {
    let Some(server) = RedisServer::start().await else { return skipped("redis-server") };
    let kept = Arc::new(Redis::new(server.vault(), "URL".into(), 1, Duration::from_secs(5)));
    let scope = scope("s");
    kept.change(&scope, vec![set("a", "1")]).await.remove(0).unwrap();
    for _ in 0..50 {
        let keys = ["a".to_owned()];
        let _ = timeout(Duration::from_micros(100), kept.get(&scope, &keys)).await;
        // Were it not so, this would get the answer to the question before.
        let sum = kept.change(&scope, vec![("n".into(), Change::Add(1))]).await.remove(0);
        assert!(matches!(sum, Ok(Changed::Sum(_))), "{sum:?}");
    }
    assert_eq!(kept.get(&scope, &["n".to_owned()]).await.unwrap()[0].as_ref().unwrap().value, b"50");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_word_of_a_fault_has_the_password_in_it() {
    let Some(server) = RedisServer::start().await else { return skipped("redis-server") };
    let wrong = "another password";
    let url = format!("redis://:{}@{}/0", wrong.replace(' ', "%20"), server.address());
    for url in [url, format!("redis://:{PASSWORD}@"), format!("gopher://:{PASSWORD}@127.0.0.1/")] {
        let kept = Redis::new(vault(&url), "URL".into(), 1, Duration::from_secs(5));
        let made = kept.change(&scope("s"), vec![set("a", "1")]).await.remove(0);
        let Err(Fault::Away(why)) = made else { panic!("{made:?}") };
        assert!(!why.contains("password that") && !why.contains(wrong) && !why.is_empty(), "{why}");
    }
}

#[test]
fn settings_that_cannot_be_meant_are_errors() {
    let fault = |text: &str| {
        let read = Settings::parse(text, "toolpost.toml".as_ref());
        read.err().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let server = |more: &str| fault(&format!("[kv.shared]\nkind = \"redis\"\n{more}"));
    assert_eq!(fault("[kv.a]\nkind = \"memory\"\n[kv.b]\nkind = \"sqlite\"\ntimeout = \"1s\""), "");
    assert_eq!(server("url = \"${secret:URL}\""), "");
    for url in ["redis://:geheimes-wort@host/", "${secret:}", "${secret:A B}", "URL", ""] {
        let told = server(&format!("url = \"{url}\""));
        assert!(told.contains("expected the name of a secret: put it into `[secrets]`"), "{told}");
        assert!(!told.contains("geheimes"), "{told}");
    }
    assert!(server("").contains("missing field `url`"));
    assert!(server("url = \"${secret:URL}\"\npool = 0").contains("from 1 to 1000"));
    let table =
        "kind = \"dynamodb\"\ntable = \"t\"\nregion = \"r\"\naccess_key = \"A\"\nsecret_key = \"${secret:KEY}\"";
    assert_eq!(fault(&format!("[kv.a]\n{table}\nendpoint = \"http://127.0.0.1:8000\"")), "");
    assert!(fault(&format!("[kv.a]\n{table}\nendpoint = \"127.0.0.1\"")).contains("is no URL of a service"));
    assert!(fault("[kv.a]\nkind = \"dynamodb\"").contains("missing field `table`"));
    assert!(fault("[kv.a]\nkind = \"memory\"\npool = 3").contains("unknown key `pool`"));
    assert!(fault("[kv.a]\nkind = \"mongo\"").contains("unknown variant `mongo`"));
    assert!(fault("[kv.\"a b\"]\nkind = \"memory\"").contains("is no name"));
    assert!(fault("[kv.a]").contains("missing field `kind`"));
}

#[tokio::test]
async fn a_store_whose_secret_is_not_there_is_a_fault() {
    let text = "[store]\ndir = \"kept\"\n[kv.shared]\nkind = \"redis\"\nurl = \"${secret:URL}\"";
    let folder = TempDir::new().unwrap();
    let settings = Settings::parse(text, &folder.path().join("toolpost.toml")).unwrap();
    let loaded = Builder::new().settings(settings).load().await;
    let told: Vec<String> = loaded.faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["the settings: the store `shared` of `[kv]` needs the secret `URL`, which is not in `[secrets]`"]
    );
}
