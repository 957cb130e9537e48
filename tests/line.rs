//! Connections over TCP as an operator meets them: what is granted, what is shown of it, and calls of the guest `line`.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use insta::assert_snapshot;
use tempfile::TempDir;
use toolpost_tests::{filters, page, prebuilt, toolpost};

/// A server on this machine that answers each line with its letters turned round.
fn mirror() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (mut reader, mut line) = (BufReader::new(&stream), String::new());
            while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                let turned: String = line.trim_end().chars().rev().collect();
                writeln!(&stream, "{turned}").expect("answered");
                line.clear();
            }
        }
    });
    port
}

/// A folder whose settings have `line`, with more about it.
fn folder(more: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = format!("[components.line]\npath = {:?}\n{more}\n", prebuilt("line"));
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    folder
}

fn run(folder: &TempDir, args: &[&str]) -> String {
    page(&toolpost(folder.path(), args))
}

#[test]
fn inspect_list_and_lock_show_what_is_granted() {
    let _filters = filters();
    let folder = folder(
        "grants.net = [{ tcp = \"DB.internal:5432\", private = true }, { tcp = \"[::1]:7\" }]\n\
         tools.listen.grants.net = []",
    );
    let sheet = run(&folder, &["inspect", &prebuilt("line")]);
    assert_snapshot!(sheet.lines().take(6).collect::<Vec<_>>().join("\n"), @"
    --- stdout
    line  [size]  [digest]
    effect  open (with what is granted)
    asks    clocks (given), standard input and output (captured), sockets (granted)
    grants  net tcp://db.internal:5432 (private networks too)
            net tcp://[::1]:7
    ");
    let list = run(&folder, &["list"]);
    let effect = |tool: &str| list.lines().find_map(|line| line.trim().strip_prefix(tool)?.split_whitespace().next());
    assert_eq!((effect("line_exchange"), effect("line_listen")), (Some("open"), Some("pure")), "{list}");
    assert_snapshot!(run(&folder, &["check"]), @"
    --- stdout
     TOOL         ASKS FOR, AND IS NOT GRANTED
     line_listen  sockets

    all is well: 1 component, 9 tools
    --- exit 0
    ");
    let locked = run(&folder, &["lock"]);
    assert!(locked.ends_with("--- exit 0"), "{locked}");
    let check = run(&folder, &["check"]);
    assert!(check.contains("all is well") && check.ends_with("--- exit 0"), "{check}");
    // What is locked is held against what is granted now.
    let settings = folder.path().join("toolpost.toml");
    let text = std::fs::read_to_string(&settings).expect("there").replace(":5432", ":5433");
    std::fs::write(&settings, text).expect("written");
    let check = run(&folder, &["lock"]);
    assert!(check.contains("new: net tcp://db.internal:5433 (private networks too)"), "{check}");
    assert!(check.contains("gone: net tcp://db.internal:5432 (private networks too)"), "{check}");
}

#[test]
fn a_connection_without_a_grant_is_refused_by_policy_and_shows_the_line_that_would_allow_it() {
    let folder = folder("");
    let exchange =
        |host: &str| run(&folder, &["call", "line_exchange", &format!("host={host}"), "port=5432", "text=x"]);
    assert_snapshot!(exchange("127.0.0.1"), @r#"
    --- stderr
    error: capability_denied: the tool may not connect to `tcp://127.0.0.1:5432`; the operator can allow it with `grants.net = [{ tcp = "127.0.0.1:5432" }]` in `[components.line]`; the tool ended with: permission denied
    --- exit 3
    "#);
    assert_snapshot!(exchange("db.internal"), @r#"
    --- stderr
    error: capability_denied: the tool may not look up `db.internal`; the operator can allow it with `grants.net = [{ tcp = "db.internal:PORT" }]` in `[components.line]`, with the port for PORT; the tool ended with: permission denied
    --- exit 3
    "#);
}

#[test]
fn a_call_with_a_grant_talks_to_a_name_of_this_machine_and_its_report_has_the_connection() {
    let port = mirror();
    let folder = folder(&format!("grants.net = [{{ tcp = \"localhost:{port}\", private = true }}]"));
    let args = ["call", "line_exchange", "host=localhost", &format!("port={port}"), "text=hello", "--json"];
    let output = toolpost(folder.path(), &args);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(0), "{answer}");
    assert!(answer.to_string().contains("olleh"), "{answer}");
    let effects = answer["report"]["effects"].as_array().expect("effects");
    let told: Vec<_> = effects.iter().map(|effect| (&effect["action"], &effect["target"])).collect();
    let connect = format!("tcp://localhost:{port}");
    let lookup = ("net.lookup".into(), "localhost".into());
    assert_eq!(told.first().copied(), Some((&lookup.0, &lookup.1)), "{answer}");
    // The name may have an address of each kind, and the server one of them.
    let done = effects.iter().find(|effect| effect["target"] == connect && effect["fate"] == "done");
    assert!(done.is_some_and(|effect| effect["action"] == "net.connect"), "{answer}");
}

#[test]
fn a_rule_may_deny_a_place_that_is_granted() {
    let port = mirror();
    let folder = folder(&format!(
        "grants.net = [{{ tcp = \"127.0.0.1:{port}\" }}]\n[[approval.deny]]\nname = \"not now\"\n\
         does = {{ action = \"net.connect\", target = \"tcp://127.0.0.1:{port}\" }}"
    ));
    let said = run(&folder, &["call", "line_exchange", "host=127.0.0.1", &format!("port={port}"), "text=x"]);
    assert!(said.contains("is denied by the rule `not now`") && said.ends_with("--- exit 3"), "{said}");
}
