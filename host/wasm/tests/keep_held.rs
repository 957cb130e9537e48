//! What a guest holds from an earlier call: names of what is granted mean what the call may that uses them, and all that was open
//! is closed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use common::disk::{Ground, effects};
use common::keep::{Said, call_in, instance, message, value};
use common::line::{End, listening};
use common::{prebuilt_file, soon};
use serde_json::{Value, json};
use toolpost_core::catalog::grants::KvName;
use toolpost_core::{Catalog, EffectClass, Host, Native, Outcome};
use toolpost_wasm::kv::{Backend as _, Change, KvOptions, KvStore, Only, Scope, TIME_MAX};
use toolpost_wasm::{Component, Engine, EngineOptions, Memory};

fn engine() -> Engine {
    Engine::new(&EngineOptions { max_parallel: 8, ..EngineOptions::default() }).unwrap()
}

fn load(engine: &Engine, guest: &str) -> Component {
    engine.load_file(guest, &prebuilt_file(guest)).unwrap()
}

fn keeping(keep: &str, grants: Value) -> Said {
    Said::keeping(json!(keep)).granted(grants)
}

async fn does(host: &Host, tool: &str, arguments: Value) -> Outcome {
    call_in(host, "s", &format!("holder_{tool}"), arguments).await
}

/// The number of calls that the instance had served before.
fn before(outcome: &Outcome) -> u64 {
    instance(outcome).calls_before
}

const OPEN: Option<&str> = Some("the tool left something open");

#[tokio::test]
async fn a_plain_std_fs_guest_finds_its_folders_again_in_every_call() {
    let (engine, ground) = (engine(), Ground::new());
    for keep in ["session", "warm"] {
        let host = keeping(keep, json!({"dirs": [ground.grant("write")]})).host(&load(&engine, "files"));
        let calls = [
            ("write", json!({"path": "/data/b.txt", "text": "one two"})),
            ("read", json!({"path": "/data/b.txt", "from_line": null, "lines": null})),
            ("append", json!({"path": "/data/b.txt", "text": " three"})),
            ("list", json!({"path": "/data"})),
            ("search", json!({"path": "/data", "text": "three"})),
            ("patch", json!({"path": "/data/b.txt", "old": "one", "new": "1"})),
            ("move", json!({"source": "/data/b.txt", "target": "/data/c.txt"})),
            ("delete", json!({"path": "/data/c.txt"})),
        ];
        for (number, (tool, arguments)) in calls.into_iter().enumerate() {
            let outcome = call_in(&host, "s", &format!("files_{tool}"), arguments).await;
            assert!(outcome.result.is_ok(), "{keep} {tool}: {:?}", outcome.result);
            assert_eq!((before(&outcome), instance(&outcome).retired), (number as u64, None), "{keep} {tool}");
            assert!(!outcome.report.effects.is_empty(), "what is done is in the report of the call that does it");
        }
        assert_eq!(engine.kept_instances(), 1);
    }
}

#[tokio::test]
async fn a_folder_that_a_call_may_not_use_is_of_no_use_to_an_instance_that_has_it() {
    let (engine, ground) = (engine(), Ground::new());
    ground.write("data/b.txt", "other");
    for keep in ["session", "warm"] {
        let grant = ground.grant_with(json!({"access": "read", "only": "${args.path}"}));
        let holder = load(&engine, "holder");
        // Only the tools with a path can be narrowed by it.
        let said = keeping(keep, json!({"dirs": [grant]}));
        let base = said.base();
        let mut catalog = Catalog::default();
        for function in holder.functions.iter().filter(|it| ["open-file", "read"].contains(&it.name.as_str())) {
            catalog.add(holder.tool(function, &base, &Default::default()).unwrap()).unwrap();
        }
        let host = Host::new(catalog);
        for (number, file) in ["a.txt", "b.txt", "a.txt"].into_iter().enumerate() {
            let path = format!("/data/{file}");
            let outcome = does(&host, "read", json!({"path": path})).await;
            assert!(outcome.result.is_ok(), "{keep} {:?}", outcome.result);
            assert_eq!(effects(&outcome), [format!("files.read {path} Done")]);
            assert_eq!(before(&outcome), number as u64 * if keep == "warm" { 1 } else { 2 });
            // A failure is the end of a warm instance.
            if keep == "session" {
                let nothing = does(&host, "read", json!({"path": "/data/none.txt"})).await;
                assert!(nothing.result.is_err());
            }
        }
    }
}

#[tokio::test]
async fn a_file_that_was_open_is_closed_for_the_next_call_and_can_be_opened_again() {
    let (engine, ground) = (engine(), Ground::new());
    let holder = load(&engine, "holder");
    let host = keeping("session", json!({"dirs": [ground.grant("write")]})).host(&holder);
    let open = json!({"path": "/data/a.txt"});
    assert_eq!(value(&does(&host, "open_file", open.clone()).await), json!("insi"));
    let outcome = does(&host, "read_on", json!({})).await;
    assert!(outcome.result.is_err(), "it must not look like the end of the file: {:?}", outcome.result);
    assert_eq!((effects(&outcome), before(&outcome), instance(&outcome).retired), (Vec::new(), 1, None));
    assert_eq!(value(&does(&host, "open_file", open.clone()).await), json!("insi"));
    // Nothing that is written behind the end of its call gets anywhere.
    let path = json!({"path": "/data/log.txt"});
    assert!(does(&host, "open_to_write", path.clone()).await.result.is_ok());
    assert!(does(&host, "write_on", json!({"text": "late"})).await.result.is_err());
    assert_eq!(ground.read("data/log.txt"), "");
    assert!(does(&host, "let_go", json!({})).await.result.is_ok());
    assert_eq!(value(&does(&host, "read", json!({"path": "/data/a.txt"})).await), json!("inside"));
    let last = does(&host, "count", json!({})).await;
    assert_eq!((value(&last), before(&last)), (json!(1), 7));
    // One that is nobody's is not handed to the next caller with something open in it.
    let warm = keeping("warm", json!({"dirs": [ground.grant("write")]})).host(&holder);
    for _ in 0..2 {
        let outcome = does(&warm, "open_file", open.clone()).await;
        assert_eq!((value(&outcome), before(&outcome), instance(&outcome).retired), (json!("insi"), 0, OPEN));
    }
}

#[tokio::test]
async fn files_that_are_left_open_are_not_open_between_calls() {
    let (engine, ground) = (engine(), Ground::new());
    let host = keeping("session", json!({"dirs": [ground.grant("read")]})).host(&load(&engine, "holder"));
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for session in 0..8 {
        let path = json!({"path": "/data/a.txt"});
        let outcome = call_in(&host, &session.to_string(), "holder_open_file", path).await;
        assert!(outcome.result.is_ok());
    }
    assert_eq!(engine.kept_instances(), 8);
    soon("the files to be closed", || open() <= before + 4).await;
}

#[tokio::test]
async fn a_bucket_means_what_is_granted_to_the_call_that_uses_it() {
    let memory = Arc::new(Memory::default());
    let store = KvStore { backend: memory.clone(), is_server: false, time_max: TIME_MAX };
    let stores = [(KvName::parse("default").unwrap(), store)].into_iter().collect();
    let engine = Engine::new(&EngineOptions { kv: KvOptions { stores }, ..EngineOptions::default() }).unwrap();
    let scope = Scope { space: "holder/b".into(), now_ms: 0, keys_max: 100, bytes_max: 1 << 20 };
    for key in ["a", "b"] {
        let set = Change::Set { value: key.to_uppercase().into(), expires_ms: None, only: Only::Always };
        memory.change(&scope, vec![(key.into(), set)]).await.remove(0).unwrap();
    }
    let holder = load(&engine, "holder");
    for keep in ["session", "warm"] {
        let said = keeping(keep, json!({"kv": [{"bucket": "b", "only": "${args.key}"}]}));
        let base = said.base();
        let mut catalog = Catalog::default();
        for function in holder.functions.iter().filter(|it| ["open-bucket", "look-at"].contains(&it.name.as_str())) {
            catalog.add(holder.tool(function, &base, &Default::default()).unwrap()).unwrap();
        }
        let host = Host::new(catalog);
        let opened = does(&host, "open_bucket", json!({"bucket": "b", "key": "a"})).await;
        assert_eq!((opened.result.is_ok(), instance(&opened).retired), (true, None), "{keep}: a name is nothing open");
        // The bucket of before, and the key of this call.
        let looked = does(&host, "look_at", json!({"key": "b"})).await;
        assert_eq!((effects(&looked), before(&looked)), (vec!["kv.get b/b Done".to_owned()], 1));
        let looked = does(&host, "look_at", json!({"key": "a"})).await;
        assert_eq!((effects(&looked), before(&looked)), (vec!["kv.get b/a Done".to_owned()], 2));
    }
}

#[tokio::test]
async fn a_connection_ends_with_its_call() {
    let engine = engine();
    let (server, heard) = listening().await;
    let grant = json!({"net": [{"tcp": server.address.to_string()}]});
    for keep in ["session", "warm"] {
        let host = keeping(keep, grant.clone()).host(&load(&engine, "holder"));
        let to = json!({"address": server.address.to_string(), "text": "hello"});
        let outcome = does(&host, "connect", to).await;
        assert!(outcome.result.is_ok(), "{:?}", outcome.result);
        assert_eq!(instance(&outcome).retired, if keep == "warm" { OPEN } else { None });
        // As with a process that ends: what was sent arrives, and then there is no more.
        soon("the end of the connection", || !heard.lock().unwrap().is_empty()).await;
        assert_eq!(heard.lock().unwrap().drain(..).collect::<Vec<_>>(), [(5, End::Said)]);
        let late = does(&host, "send", json!({"text": "late"})).await;
        assert!(late.result.is_err());
        assert!(late.report.effects.is_empty(), "{:?}", late.report.effects);
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_call_of_another_tool_ends_with_the_call_that_made_it() {
    let engine = engine();
    let (begun, ended) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let slow = |begun: &Arc<AtomicU32>, ended: &Arc<AtomicU32>| {
        let (begun, ended) = (begun.clone(), ended.clone());
        Native::new("slow", "").effect(EffectClass::Reads).run(move |_| {
            begun.fetch_add(1, SeqCst);
            let ended = ended.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(60)).await;
                ended.fetch_add(1, SeqCst);
                Ok(json!("late"))
            }
        })
    };
    for keep in ["session", "warm"] {
        let mut catalog = Catalog::default();
        catalog.add(slow(&begun, &ended)).unwrap();
        let tools = keeping(keep, json!({"tools": ["slow"]})).tools(&load(&engine, "holder"));
        tools.into_iter().for_each(|tool| catalog.add(tool).unwrap());
        let host = Host::new(catalog);
        let outcome = does(&host, "start", json!({"tool": "slow", "arguments": "{}"})).await;
        assert!(outcome.result.is_ok(), "{:?}", outcome.result);
        assert_eq!(instance(&outcome).retired, if keep == "warm" { OPEN } else { None });
        let late = does(&host, "finish", json!({})).await;
        let words = if keep == "warm" { "nothing is held" } else { "the call that made it is over" };
        assert!(message(&late).contains(words), "{}", message(&late));
        common::assert_idle(&host).await;
    }
    assert_eq!(ended.load(SeqCst), 0);
}
