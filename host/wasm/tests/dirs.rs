//! Folders of the host: what is granted is done and written down, what is not is refused and says what would allow it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::disk::{self, Ground, content, effects, host, log, paths, step, steps};
use serde_json::json;
use toolpost_core::catalog::grants::GrantSettings;
use toolpost_core::catalog::settings::ToolSettings;
use toolpost_core::{EffectClass, ErrorKind};

#[tokio::test]
async fn what_the_standard_library_promises_of_files_is_kept() {
    let ground = Ground::new();
    let outcome = common::call(&ground.host("write"), "disk_trial", json!({"folder": "/data"})).await;
    assert_eq!(outcome.result.unwrap().value, json!([]));
    assert_eq!(ground.everything().len(), 4, "{:?}", ground.everything());
}

#[tokio::test]
async fn a_tool_without_a_grant_has_no_folder() {
    let done = step(&host(json!([])), json!({"read": "/data/a.txt"})).await.0;
    assert_eq!(done, "!NotFound");
}

#[tokio::test]
async fn every_effect_is_in_the_report_with_the_path_that_the_tool_knows() {
    let ground = Ground::new();
    let all = json!([
        {"read": "/data/a.txt"},
        {"write": content("/data/b", "new")},
        {"append": content("/data/b", " and more")},
        {"write": content("/data/b", "over")},
        {"make-folder": "/data/f"},
        {"rename": paths("/data/b", "/data/f/c")},
        {"link": paths("/data/f/c", "/data/d")},
        {"names": "/data/f"},
        {"set-size": {"path": "/data/d", "number": 2}},
        {"set-time": {"path": "/data/d", "number": 5}},
        {"remove": "/data/d"},
        {"remove": "/data/f/c"},
        {"remove-folder": "/data/f"},
        {"stat": "/data/a.txt"},
    ]);
    let (done, outcome) = steps(&ground.host("write"), all).await;
    assert_eq!(done, ["inside", "", "", "", "", "", "", "c", "", "", "", "", "", "file 6"]);
    let wanted = [
        "files.read /data/a.txt",
        "files.create /data/b",
        "files.write /data/b",
        "files.append /data/b",
        "files.write /data/b",
        "files.mkdir /data/f",
        "files.rename /data/b",
        "files.create /data/d",
        "files.list /data/f",
        "files.write /data/d",
        "files.read /data/d",
        "files.write /data/d",
        "files.delete /data/d",
        "files.delete /data/f/c",
        "files.delete /data/f",
    ];
    assert_eq!(effects(&outcome), wanted.map(|effect| format!("{effect} Done")));
    let details: Vec<_> = outcome.report.effects.iter().filter_map(|it| it.effect.detail.as_deref()).collect();
    assert_eq!(
        details,
        ["emptied", "to /data/f/c", "a second name for /data/f/c", "2 bytes long", "its times", "a folder"]
    );
    let classes: Vec<_> = outcome.report.effects.iter().map(|it| it.effect.class).collect();
    assert_eq!((classes[0], classes[1], classes[8]), (EffectClass::Reads, EffectClass::Writes, EffectClass::Reads));
}

#[tokio::test]
async fn each_access_allows_what_it_says_and_no_more() {
    let attempts = [
        ("list", json!({"names": "/data"})),
        ("list", json!({"stat": "/data/a.txt"})),
        ("read", json!({"read": "/data/a.txt"})),
        ("append", json!({"create": content("/data/new", "x")})),
        ("append", json!({"write": content("/data/new", "x")})),
        ("append", json!({"append": content("/data/a.txt", " and more")})),
        ("append", json!({"make-folder": "/data/f"})),
        ("write", json!({"write": content("/data/a.txt", "over")})),
        ("write", json!({"write-at": {"path": "/data/a.txt", "offset": 1, "text": "x"}})),
        ("write", json!({"set-size": {"path": "/data/a.txt", "number": 2}})),
        ("write", json!({"set-time": {"path": "/data/a.txt", "number": 2}})),
        ("write", json!({"remove": "/data/a.txt"})),
        ("write", json!({"remove-folder": "/data/empty"})),
        ("write", json!({"rename": paths("/data/a.txt", "/data/b")})),
        ("write", json!({"link": paths("/data/a.txt", "/data/b")})),
    ];
    let accesses = ["list", "read", "append", "write"];
    for (needed, attempt) in attempts {
        let needed = accesses.iter().position(|it| *it == needed).unwrap();
        for (given, access) in accesses.iter().enumerate() {
            let ground = Ground::new();
            ground.write("data/empty/x", "");
            std::fs::remove_file(ground.path("data/empty/x")).unwrap();
            let before = ground.everything();
            let (done, outcome) = step(&ground.host(access), attempt.clone()).await;
            if given >= needed {
                assert!(!done.starts_with('!'), "{access}: {attempt}: {done}");
                continue;
            }
            // What fails while it is written is, to the C library of a guest, an error of input and output.
            let is_late = access == &"append" && attempt.get("write-at").is_some();
            assert_eq!(done, if is_late { "!Uncategorized" } else { "!PermissionDenied" }, "{access}: {attempt}");
            assert_eq!(ground.everything(), before, "{access}: {attempt}");
            let (last, log) = (effects(&outcome).pop().unwrap(), log(&outcome));
            assert!(last.ends_with(" Refused"), "{access}: {attempt}: {last}");
            // Some take several steps, of which the first fails.
            let line =
                |access| format!("; the operator can allow it with `access = \"{access}\"` in the grant of `/data`\n");
            let of_this = accesses[given + 1..=needed].iter().map(line);
            assert!(of_this.into_iter().any(|line| log.ends_with(&line)), "{access}: {attempt}: {log}");
        }
    }
}

#[tokio::test]
async fn a_tool_that_fails_on_a_refusal_tells_its_caller_the_line_that_would_allow_it() {
    let ground = Ground::new();
    let grants: GrantSettings = serde_json::from_value(json!({"dirs": [ground.grant("read")]})).unwrap();
    let settings = ToolSettings { grants, ..ToolSettings::default() };
    let files = common::prebuilt("files");
    let mut catalog = toolpost_core::Catalog::default();
    for function in &files.functions {
        catalog.add(files.tool(function, &common::strict(), &settings).unwrap()).unwrap();
    }
    let host = toolpost_core::Host::new(catalog);
    let outcome = common::call(&host, "files_write", json!({"path": "/data/a.txt", "text": "x"})).await;
    let error = outcome.result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::CapabilityDenied);
    assert_eq!(
        error.message,
        "the tool may not change `/data/a.txt`; the operator can allow it with `access = \"write\"` in the grant of \
         `/data`; the tool ended with: `/data/a.txt`: Operation not permitted (os error 63)"
    );
}

#[tokio::test]
async fn what_is_appended_by_two_calls_at_once_is_all_there() {
    let ground = Ground::new();
    let host = ground.host("append");
    let text = "x".repeat(99) + "\n";
    let many = json!(vec![json!({"append": content("/data/log", &text)}); 50]);
    let _ = tokio::join!(steps(&host, many.clone()), steps(&host, many.clone()), steps(&host, many));
    assert!(ground.read("data/log") == text.repeat(150), "{} bytes", ground.read("data/log").len());
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_no_grant() {
    let ground = Ground::new();
    for (path, why) in [("nowhere", "No such file"), ("data/a.txt", "Not a directory")] {
        let dirs = json!({"dirs": [{"host": ground.path(path), "guest": "/x"}]});
        let grants = serde_json::from_value(dirs).unwrap();
        let disk = common::prebuilt("disk");
        let settings = ToolSettings { grants, ..ToolSettings::default() };
        let error = disk.tool(&disk.functions[0], &common::strict(), &settings).unwrap_err();
        assert!(error.contains("granted as `/x`, cannot be opened") && error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_grant_for_who_asks_for_no_files_is_an_error() {
    let ground = Ground::new();
    let grants = serde_json::from_value(json!({"dirs": [ground.grant("read")]})).unwrap();
    let settings = ToolSettings { grants, ..ToolSettings::default() };
    let guest = common::component(
        r#"(component (core module $m (func (export "f")))
      (core instance $i (instantiate $m)) (func $f (canon lift (core func $i "f"))) (export "f" (func $f)))"#,
    );
    let error = guest.tool(&guest.functions[0], &common::strict(), &settings).unwrap_err();
    assert_eq!(
        error,
        "`grants.dirs` is of no use to it: it does not import `wasi:filesystem/preopens`; take the grant out"
    );
}

#[test]
fn how_far_a_tool_reaches_follows_from_what_it_was_granted() {
    let ground = Ground::new();
    for (access, effect) in [("list", "reads"), ("read", "reads"), ("append", "writes"), ("write", "writes")] {
        let host = ground.host(access);
        let catalog = host.catalog();
        let tool = catalog.tools().find(|tool| tool.name == "disk_steps").unwrap();
        assert_eq!(tool.effect.name(), effect);
        assert!(tool.powers.contains(&"files (granted)".to_owned()), "{:?}", tool.powers);
        assert!(tool.powers.contains(&format!("dirs {access} /data")), "{:?}", tool.powers);
    }
    assert_eq!(disk::host(json!([])).catalog().tools().next().unwrap().effect.name(), "pure");
}
