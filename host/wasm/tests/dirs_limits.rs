//! How much a tool may write, make and hold, and that nothing is written behind the end of its call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::HashSet;
use std::time::Duration;

use common::disk::{Ground, content, effects, host, limited, log, paths, step, steps};
use common::{prebuilt, span, strict};
use serde_json::{Value, json};
use toolpost_core::catalog::settings::{LimitSettings, ToolSettings};
use toolpost_core::{Catalog, ErrorKind, Host};

fn granted(ground: &Ground, more: Value) -> Host {
    let mut grant = ground.grant("write");
    grant.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    host(json!([grant]))
}

#[tokio::test]
async fn an_attempt_writes_no_more_than_its_grant_allows_and_the_next_one_as_much_again() {
    let ground = Ground::new();
    let host = granted(&ground, json!({"max_bytes": 15}));
    let what = json!([
        {"write": content("/data/b", "0123456789")}, {"append": content("/data/b", "0123456789")},
        {"append": content("/data/b", "abcde")}, {"set-size": {"path": "/data/b", "number": 100}},
        {"set-size": {"path": "/data/b", "number": 3}}, {"append": content("/data/b", "f")},
    ]);
    let (done, outcome) = steps(&host, what).await;
    assert_eq!((done[0].as_str(), done[2].as_str(), done[4].as_str()), ("", "", ""));
    assert!([1, 3, 5].iter().all(|at| done[*at].starts_with('!')), "{done:?}");
    assert_eq!(ground.read("data/b"), "012");
    let line = "warn: the tool may write 15 B in `/data`, and no more; the operator can raise `max_bytes` in the grant of \
                `/data`\n";
    assert_eq!(log(&outcome), line.repeat(3));
    assert_eq!(step(&host, json!({"write": content("/data/b", "0123456789")})).await.0, "");
}

#[tokio::test]
async fn a_file_becomes_no_longer_than_its_grant_allows() {
    let ground = Ground::new();
    let host = granted(&ground, json!({"max_file": 10}));
    let what = json!([
        {"write": content("/data/b", "01234567")},
        {"append": content("/data/b", "89a")},
        {"write-at": {"path": "/data/b", "offset": 8, "text": "89a"}},
        {"write-at": {"path": "/data/b", "offset": 1_u64 << 40, "text": "x"}},
        {"set-size": {"path": "/data/b", "number": 11}},
        {"append": content("/data/b", "89")},
    ]);
    let (done, outcome) = steps(&host, what).await;
    assert_eq!((done[0].as_str(), done[5].as_str()), ("", ""));
    assert!(done[1..5].iter().all(|done| done.starts_with('!')), "{done:?}");
    assert_eq!(ground.read("data/b"), "0123456789");
    let line = "warn: `/data/b` would become longer than the 10 B that a file may have; the operator can raise `max_file` in \
                the grant of `/data`\n";
    assert_eq!(log(&outcome), line.repeat(4));
    let refused = effects(&outcome).iter().filter(|effect| effect.ends_with("Refused")).count();
    assert_eq!(refused, 4, "{:?}", effects(&outcome));
}

#[tokio::test]
async fn a_hole_counts_as_written_however_it_is_made() {
    let ground = Ground::new();
    let host = granted(&ground, json!({"max_bytes": 15}));
    let what = json!([
        {"write-at": {"path": "/data/a.txt", "offset": 8, "text": "89"}},
        {"write-at": {"path": "/data/a.txt", "offset": 30, "text": "x"}},
        {"set-size": {"path": "/data/a.txt", "number": 40}},
        {"write-at": {"path": "/data/a.txt", "offset": 0, "text": "INSIDE"}},
    ]);
    let (done, outcome) = steps(&host, what).await;
    assert_eq!((done[0].as_str(), done[3].as_str()), ("", ""));
    assert!(done[1].starts_with('!') && done[2].starts_with('!'), "{done:?}");
    assert_eq!(ground.read("data/a.txt"), "INSIDE\0\089");
    assert!(log(&outcome).starts_with("warn: the tool may write 15 B in `/data`, and no more"), "{}", log(&outcome));
}

#[tokio::test]
async fn an_attempt_makes_no_more_files_and_folders_than_its_grant_allows() {
    let ground = Ground::new();
    let host = granted(&ground, json!({"max_files": 3}));
    let what = json!([
        {"make-folder": "/data/f"}, {"write": content("/data/f/b", "x")}, {"link": paths("/data/a.txt", "/data/c")},
        {"write": content("/data/d", "x")}, {"make-folder": "/data/e"}, {"link": paths("/data/a.txt", "/data/g")},
        {"write": content("/data/f/b", "over")},
    ]);
    let (done, outcome) = steps(&host, what).await;
    assert!(done[..3].iter().chain(&done[6..]).all(String::is_empty), "{done:?}");
    assert!(done[3..6].iter().all(|done| done.starts_with('!')), "{done:?}");
    let line = "warn: the tool may make 3 files and folders in `/data`, and no more; the operator can raise `max_files` in the \
                grant of `/data`\n";
    assert_eq!(log(&outcome), line.repeat(3));
}

#[tokio::test]
async fn a_tool_that_fails_on_its_quota_says_which() {
    let ground = Ground::new();
    let grants = json!({"dirs": [ground.grant_with(json!({"access": "write", "max_file": 3}))]});
    let settings = ToolSettings { grants: serde_json::from_value(grants).unwrap(), ..ToolSettings::default() };
    let files = prebuilt("files");
    let mut catalog = Catalog::default();
    for function in &files.functions {
        catalog.add(files.tool(function, &strict(), &settings).unwrap()).unwrap();
    }
    let call = common::call(&Host::new(catalog), "files_write", json!({"path": "/data/b", "text": "long"})).await;
    let error = call.result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::QuotaExceeded, "{error:?}");
    assert!(error.message.starts_with("`/data/b` would become longer than the 3 B that a file may have"), "{error:?}");
}

#[tokio::test]
async fn a_tool_holds_so_many_files_and_gives_them_back() {
    let ground = Ground::new();
    let host = ground.host("read");
    let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
    for _ in 0..20 {
        let what =
            json!([{"hold": {"path": "/data/a.txt", "number": 60}}, {"hold": {"path": "/data/a.txt", "number": 10}}]);
        let done = steps(&host, what).await.0;
        assert_eq!(done, ["", "!OutOfMemory"]);
    }
    let after = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(after < before + 60, "{before} {after}");
}

#[tokio::test]
async fn nothing_is_written_behind_the_end_of_a_call() {
    let ground = Ground::new();
    let limits = LimitSettings { time: span("60ms"), fuel: Some(u64::MAX), ..LimitSettings::default() };
    let grant = ground.grant_with(json!({"access": "write", "max_bytes": "1 TiB", "max_file": "1 TiB"}));
    let host = limited(json!([grant]), limits);
    let mut written = 0;
    for round in 0..15 {
        let path = format!("/data/log{round}");
        let outcome = common::call(&host, "disk_steps", json!({"steps": [{"write-on": path}]})).await;
        let length = || std::fs::metadata(ground.dir.path().join(&path[1..])).map(|it| it.len()).unwrap_or_default();
        let at_end = length();
        // It has written something, so nobody says that it did not happen.
        let kind = common::kind(&outcome).unwrap();
        assert!(matches!(kind, ErrorKind::OutcomeUnknown | ErrorKind::TimedOut), "{kind:?}");
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(length(), at_end, "in round {round}");
        written += at_end;
        // Two passed the gate, and what became of them is known.
        let wanted = [format!("files.create {path} Done"), format!("files.append {path} Done")];
        assert!(effects(&outcome).iter().all(|it| wanted.contains(it)), "{:?}", effects(&outcome));
    }
    assert!(written > 0, "nothing was written at all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_of_a_call_that_is_ended_anywhere_has_what_is_on_the_disk() {
    let mut open = 0;
    for _ in 0..150 {
        let ground = Ground::new();
        std::fs::remove_file(ground.path("data/a.txt")).unwrap();
        let time = format!("{}us", fastrand::u32(500..30_000));
        let limits = LimitSettings { time: span(&time), ..LimitSettings::default() };
        let host = limited(json!([ground.grant("write")]), limits);
        let what = json!({"folder": "/data", "count": 1_000, "bytes": 10});
        let outcome = common::call(&host, "disk_write_many", what).await;
        let on_disk = || ground.everything().into_iter().filter(|it| it.starts_with("data/")).collect::<Vec<_>>();
        let at_end = on_disk();
        let of = |fate: &str| {
            let made = effects(&outcome).into_iter().filter(|it| it.starts_with("files.create ") && it.ends_with(fate));
            made.map(|it| it.split(' ').nth(1).unwrap()[1..].to_owned()).collect::<HashSet<_>>()
        };
        let (done, unknown) = (of("Done"), of("Indeterminate"));
        let there: HashSet<_> = at_end.iter().map(|it| it.split(' ').next().unwrap().to_owned()).collect();
        assert!(done.is_subset(&there), "after {time}: {:?}", done.difference(&there));
        assert!(there.difference(&done).all(|it| unknown.contains(it)), "after {time}: {:?}", there.difference(&done));
        assert!(unknown.len() <= 1, "after {time}: {unknown:?}");
        open += unknown.len();
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(on_disk(), at_end, "after {time}");
    }
    common::figure(&format!("{open} of 150 calls have left a file of which nobody knows"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_dropped_half_way_writes_no_more() {
    let ground = Ground::new();
    let limits = LimitSettings { time: span("200ms"), fuel: Some(u64::MAX), ..LimitSettings::default() };
    let host = limited(json!([ground.grant("append")]), limits);
    let arguments = json!({"steps": [{"write-on": "/data/log"}]});
    let dropped = tokio::time::timeout(Duration::from_millis(50), common::call(&host, "disk_steps", arguments)).await;
    assert!(dropped.is_err());
    // What may write runs to its own end, and not beyond it.
    common::assert_idle(&host).await;
    let length = || std::fs::metadata(ground.path("data/log")).unwrap().len();
    let at_end = length();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(length(), at_end);
}

#[tokio::test]
async fn many_calls_work_on_files_at_once() {
    let ground = Ground::new();
    let host = ground.host("write");
    let calls = (0..100).map(|number| {
        let (host, path) = (host.clone(), format!("/data/f{number}"));
        tokio::spawn(async move {
            let what = json!([{"write": content(&path, &path)}, {"read": path}, {"names": "/data"}, {"remove": path}]);
            steps(&host, what).await.0[1] == path
        })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(call.await.unwrap());
    }
    assert_eq!(ground.everything().len(), 4);
}
