//! Looking back: the calls that were made, the story of one of them, and an operator's orders, by the real binary.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;
use toolpost_tests::shop::{Manner, Shop};
use toolpost_tests::{command, filters, page, root, toolpost};

/// A folder with settings, in which nothing was called yet.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let guests = root().join("guest-examples/prebuilt").canonicalize().expect("there are guests");
    let components = ["text", "divide", "kitchen", "hostile"]
        .map(|name| format!("[components.{name}]\npath = \"{}/{name}.wasm\"\n", guests.display()));
    let settings = format!("[store]\ndir = \"kept\"\n{}", components.concat());
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    folder
}

fn run(folder: &Path, args: &[&str]) -> String {
    page(&toolpost(folder, args))
}

fn json(folder: &Path, args: &[&str]) -> Value {
    let output = toolpost(folder, args);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", page(&output)))
}

/// The story of a call that is made now.
fn story_of(folder: &Path, call: &[&str]) -> String {
    toolpost(folder, &[&["call"], call].concat());
    let calls = json(folder, &["log", "--json", "-n", "1"]);
    run(folder, &["show", calls["calls"][0]["call"].as_str().expect("an id")])
}

/// Times, taken out of tables and timelines with the blanks that line them up.
fn timeless() -> impl Drop {
    struct Both(Option<insta::internals::SettingsBindDropGuard>, Option<insta::internals::SettingsBindDropGuard>);
    impl Drop for Both {
        fn drop(&mut self) {
            // What was bound last goes first.
            drop(self.1.take());
            drop(self.0.take());
        }
    }
    let first = filters();
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r" *\+\d+(\.\d+)? m?s", "  +[at]");
    settings.add_filter(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "[moment]");
    settings.add_filter(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "[moment]");
    settings.add_filter(r" \d\d:\d\d:\d\d  [0-9a-v]{8} ", " [moment]  [call] ");
    settings.add_filter(r"\d+(\.\d+)? m?s\b", "[time]");
    settings.add_filter(r"fuel \d+", "fuel [fuel]");
    settings.add_filter(r"memory \d+(\.\d+)? [KM]iB", "memory [size]");
    settings.add_filter(r"\[time\] +(\d) +\d+", "[time]  $1  [fuel]");
    settings.add_filter(r"\d+-[0-9a-f]{8}", "[host]");
    settings.add_filter(r"(?m)^ +\d+: +0x.*\n", "");
    Both(Some(first), Some(settings.bind_to_scope()))
}

#[test]
fn where_nothing_was_called_there_is_nothing_to_list_and_nothing_is_made() {
    let (folder, _timeless) = (folder(), timeless());
    assert_snapshot!(run(folder.path(), &["log"]), @"
    --- stderr
    no such calls in kept
    --- exit 0
    ");
    assert_snapshot!(run(folder.path(), &["show", "call_1"]), @"
    --- stderr
    error: no call `call_1` is in kept; `toolpost log` lists those that are there
    --- exit 2
    ");
    assert_snapshot!(run(folder.path(), &["breakers"]), @"
    --- stderr
    no breaker has changed, and nothing is ordered, in kept
    --- exit 0
    ");
    assert!(!folder.path().join("kept").exists());
}

#[test]
fn the_log_lists_calls_by_tool_and_outcome() {
    let (folder, _timeless) = (folder(), timeless());
    for call in [
        &["call", "text_echo", "text=hello"][..],
        &["call", "divide_divide", "dividend=1", "divisor=0"],
        &["call", "nobody"],
        &["call", "text_echo", "text=again"],
    ] {
        toolpost(folder.path(), call);
    }
    assert_snapshot!(run(folder.path(), &["log"]), @"
    --- stdout
     UTC       CALL      TOOL           OUTCOME       TOOK     ATTEMPTS  FUEL
     [moment]  [call]  text_echo      ok            [time]  1  [fuel]
     [moment]  [call]  divide_divide  tool_failed   [time]  1  [fuel]
     [moment]  [call]  nobody         unknown_tool  [time]  0  [fuel]
     [moment]  [call]  text_echo      ok            [time]  1  [fuel]
    --- exit 0
    ");
    assert_snapshot!(run(folder.path(), &["log", "--failed", "--tool", "div*"]), @"
    --- stdout
     UTC       CALL      TOOL           OUTCOME      TOOK     ATTEMPTS  FUEL
     [moment]  [call]  divide_divide  tool_failed  [time]  1  [fuel]
    --- exit 0
    ");
    let calls = json(folder.path(), &["log", "--json", "--limit", "2"]);
    let tools: Vec<&str> =
        calls["calls"].as_array().expect("a list").iter().filter_map(|it| it["tool"].as_str()).collect();
    assert_eq!(tools, ["nobody", "text_echo"]);
}

#[test]
fn show_tells_the_story_of_a_call_as_a_timeline() {
    let (folder, _timeless) = (folder(), timeless());
    let echo = ["text_echo", "--args", r#"{"text": "hello",}"#];
    assert_snapshot!(story_of(folder.path(), &echo), @r#"
    --- stdout
    text_echo  [call]
    outcome    ok
    began      [moment] UTC
    took       [time], 1 attempt, fuel [fuel], 0 effects
    arguments  {"text":"hello"}
    result     "hello"

      +[at]  called
      +[at]  accepted
                                    repaired: trailing_comma
      +[at]  attempt 1
      +[at]  attempt 1 worked    [time], fuel [fuel], memory [size]
      +[at]  ok
    --- exit 0
    "#);
    assert_snapshot!(story_of(folder.path(), &["kitchen_chatter", "lines=1"]), @r#"
    --- stdout
    kitchen_chatter  [call]
    outcome    ok
    began      [moment] UTC
    took       [time], 1 attempt, fuel [fuel], 0 effects
    arguments  {"lines":1}

      +[at]  called
      +[at]  accepted
      +[at]  attempt 1
      +[at]    log debug         log, line 1
      +[at]    progress          1 of 1 line 1
      +[at]    partial result    7 B
      +[at]  attempt 1 worked    [time], fuel [fuel], memory [size]
                                    stdout standard output, line 1
                                    stderr standard error, line 1
      +[at]  ok
    --- exit 0
    "#);
}

#[test]
fn show_says_why_a_tool_failed_and_what_is_behind_it() {
    let (folder, _timeless) = (folder(), timeless());
    assert_snapshot!(story_of(folder.path(), &["divide_divide", "--args", r#"{"dividend": "1", "divisor": 0}"#]), @r#"
    --- stdout
    divide_divide  [call]
    outcome    tool_failed: cannot divide 1 by zero
    began      [moment] UTC
    took       [time], 1 attempt, fuel [fuel], 0 effects
    arguments  {"dividend":1.0,"divisor":0.0}

      +[at]  called
      +[at]  accepted
                                    cast /dividend: "1" to 1.0
      +[at]  attempt 1
      +[at]  attempt 1 failed    tool_failed; [time], fuel [fuel], memory [size]
      +[at]  tool_failed         at run
                                    not tried again: not retryable
    --- exit 0
    "#);
    assert_snapshot!(story_of(folder.path(), &["hostile_panic", "message=oh no"]), @r#"
    --- stdout
    hostile_panic  [call]
    outcome    trapped: the tool trapped: it gave up (`unreachable`), as a panic does; it wrote:
               thread '<unnamed>' (1) panicked at hostile/src/lib.rs:77:9:
               oh no
    began      [moment] UTC
    took       [time], 1 attempt, fuel [fuel], 0 effects
    arguments  {"message":"oh no"}

      +[at]  called
      +[at]  accepted
      +[at]  attempt 1
      +[at]  attempt 1 failed    trapped; [time], fuel [fuel], memory [size]
                                    stderr thread '<unnamed>' (1) panicked at hostile/src/lib.rs:77:9:
                                    stderr oh no
      +[at]  trapped             at run
                                    not tried again: not retryable
                                    because: error while executing at wasm backtrace:
    --- exit 0
    "#);
}

#[test]
fn show_tells_also_of_a_call_that_never_ran() {
    let (folder, _timeless) = (folder(), timeless());
    assert_snapshot!(story_of(folder.path(), &["nobody"]), @"
    --- stdout
    nobody  [call]
    outcome    unknown_tool: no tool is named `nobody`
    began      [moment] UTC
    took       [time], 0 attempts, fuel [fuel], 0 effects

      +[at]  called
      +[at]  unknown_tool        at find
    --- exit 0
    ");
    assert_snapshot!(story_of(folder.path(), &["divide_divide", "--args", r#"{"dividend": [], "divisor": 0}"#]), @r#"
    --- stdout
    divide_divide  [call]
    outcome    invalid_arguments: the arguments of `divide_divide` cannot be used: at `/dividend`: expected a number that a 64-bit float can hold, got []
    began      [moment] UTC
    took       [time], 0 attempts, fuel [fuel], 0 effects
    arguments  {"dividend":[],"divisor":0}

      +[at]  called
      +[at]  invalid_arguments   at accept
    --- exit 0
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn show_tells_of_an_order_that_was_edited_tried_three_times_and_cut() {
    let shop = Shop::open(([127, 0, 0, 1], 0).into(), Manner::Reliable(2), true).await.expect("a shop");
    let cut = ("limits.time = \"5s\"", "limits = { time = \"5s\", reader = \"1 KiB\" }");
    let folder = shop.settings(&[cut, ("[[approval.ask]]", "[approval]\ntimeout = \"20s\"\n[[approval.ask]]")]);
    let item = format!("item={}", "bolts of the kind that we had last year, ".repeat(40));
    let order = ["call", "orders_create", "order-id=o-1", &item, "amount=500", "--reader", "1 KiB"];
    let mut caller =
        command(folder.path(), &order).stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let question = loop {
        let questions = json(folder.path(), &["approvals", "list", "--json"]);
        match questions["questions"].get(0) {
            Some(question) => break question["id"].as_str().expect("an id").to_owned(),
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let edited = ["approvals", "edit", &question, "amount=50"];
    assert_eq!(toolpost(folder.path(), &edited).status.code(), Some(0));
    assert!(caller.wait().expect("it ends").success());
    let calls = json(folder.path(), &["log", "--json", "-n", "1"]);
    let page = run(folder.path(), &["show", calls["calls"][0]["call"].as_str().expect("an id")]);
    let _timeless = timeless();
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(&shop.address.to_string(), "[shop]");
    settings.add_filter("ask_[0-9a-f]{20}", "[question]");
    settings.add_filter("orders_create-[0-9a-f]{20}.json", "[artifact]");
    settings.add_filter("(?m)^ +waited .* for a place\n", "");
    settings.bind(|| assert_snapshot!("show-order", page));
}

#[test]
fn show_as_json_has_the_whole_story() {
    let folder = folder();
    toolpost(folder.path(), &["call", "text_echo", "text=hello"]);
    let id = json(folder.path(), &["log", "--json"])["calls"][0]["call"].clone();
    let told = json(folder.path(), &["show", "--json", id.as_str().expect("an id")]);
    let kinds: Vec<&str> =
        told["story"]["events"].as_array().expect("a list").iter().filter_map(|it| it["event"].as_str()).collect();
    assert_eq!(kinds, ["accepted", "attempt_started", "attempt_ended", "ended"]);
    assert_eq!(told["story"]["arguments"]["text"], "hello");
    assert_eq!(told["story"]["result"], "hello");
}

/// A process that is ended with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn follow_prints_calls_as_they_end() {
    let folder = folder();
    let mut child = command(folder.path(), &["log", "--follow", "--failed", "--json"]);
    let mut child = Ended(child.stdout(Stdio::piped()).spawn().expect("it starts"));
    let stdout = child.0.stdout.take().expect("a pipe");
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| send.send(line))
    });
    for divisor in ["divisor=1", "divisor=0"] {
        toolpost(folder.path(), &["call", "divide_divide", "dividend=1", divisor]);
    }
    let line = lines.recv_timeout(Duration::from_secs(30)).expect("a line");
    let call: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&call["outcome"], &call["arguments"]["divisor"]), (&"tool_failed".into(), &0.0.into()));
}

#[test]
fn a_follower_whose_reader_goes_away_ends() {
    let folder = folder();
    let mut child = command(folder.path(), &["log", "--follow"]);
    let mut child = Ended(child.stdout(Stdio::piped()).spawn().expect("it starts"));
    let mut stdout = BufReader::new(child.0.stdout.take().expect("a pipe"));
    let mut head = String::new();
    stdout.read_line(&mut head).expect("a line");
    assert!(head.contains("OUTCOME"), "{head}");
    drop(stdout);
    toolpost(folder.path(), &["call", "divide_divide", "dividend=1", "divisor=1"]);
    let (send, ended) = mpsc::channel();
    std::thread::spawn(move || send.send(child.0.wait().map(|status| status.code())));
    assert_eq!(ended.recv_timeout(Duration::from_secs(30)).expect("it ends").expect("a status"), Some(0));
}

#[test]
fn an_isolated_tool_is_refused_until_it_is_released() {
    let (folder, _timeless) = (folder(), timeless());
    let call = ["call", "divide_divide", "dividend=1", "divisor=1"];
    let order = |args: &[&str]| {
        let mut command = command(folder.path(), &[&["breakers"], args].concat());
        page(&command.env("USER", "ann").output().expect("the binary is built"))
    };
    assert_snapshot!(order(&["isolate", "divide_divide", "--why", "it rounds"]), @"
    --- stderr
    ordered: isolate tool divide_divide; running hosts follow within a second or so
    --- exit 0
    ");
    assert_snapshot!(run(folder.path(), &call), @"
    --- stderr
    error: circuit_open: `divide_divide` is switched off by the operator: it rounds; go on without it
    --- exit 3
    ");
    assert_snapshot!(order(&[]), @"
    --- stdout
     BREAKER             STATUS    SINCE (UTC)          UNTIL (UTC)  WHY             HOST
     tool divide_divide  isolated  [moment]               ann: it rounds  [host]
    ordered by ann: isolate tool divide_divide: it rounds
    --- exit 0
    ");
    assert_snapshot!(order(&["release", "divide_divide"]), @"
    --- stderr
    ordered: release tool divide_divide; running hosts follow within a second or so
    --- exit 0
    ");
    assert_snapshot!(run(folder.path(), &call), @"
    --- stdout
    1.0
    --- exit 0
    ");
    assert_snapshot!(order(&[]), @"
    --- stderr
    no breaker has changed, and nothing is ordered, in kept
    --- exit 0
    ");
}

#[test]
fn an_order_to_a_tool_that_is_not_there_is_refused_unless_it_is_meant() {
    let folder = folder();
    let order = |args: &[&str]| run(folder.path(), &[&["breakers"], args].concat());
    assert_snapshot!(order(&["isolate", "divide_devide"]), @"
    --- stderr
    error: no tool of these settings is named `divide_devide`; did you mean `divide_divide`? `--force` orders it all the same, for other hosts of the store
    --- exit 2
    ");
    assert_snapshot!(order(&["disable", "elsewhere", "shop.test:443"]), @"
    --- stderr
    error: no tool of these settings is named `elsewhere`; `--force` orders it all the same, for other hosts of the store
    --- exit 2
    ");
    assert!(order(&["disable", "elsewhere", "--force"]).ends_with("exit 0"));
    // What was ordered can be taken back whatever became of the tool.
    assert!(order(&["release", "elsewhere"]).ends_with("exit 0"));
}

#[test]
fn an_order_may_be_about_a_server_as_one_tool_knows_it() {
    let (folder, _timeless) = (folder(), timeless());
    let order = |args: &[&str]| {
        let mut command = command(folder.path(), &[&["breakers"], args].concat());
        page(&command.env("USER", "ann").output().expect("the binary is built"))
    };
    assert_snapshot!(order(&["isolate", "orders_create", "Shop.example.com:443", "--for", "10m", "--force", "--json"]), @r#"
    --- stdout
    {
      "ok": true,
      "order": {
        "breaker": "egress orders_create shop.example.com:443",
        "action": "isolate",
        "by": "ann",
        "why": "",
        "until": "[moment]",
        "tool": "orders_create",
        "authority": "shop.example.com:443"
      }
    }
    --- exit 0
    "#);
    assert_snapshot!(order(&[]), @"
    --- stdout
    ordered by ann: isolate egress orders_create shop.example.com:443 until [moment] UTC
    --- exit 0
    ");
    assert_snapshot!(order(&["isolate", "shop.example.com:443"]), @"
    --- stderr
    error: `shop.example.com:443` is no tool; a server is named behind the tool that sends to it: `TOOL shop.example.com:443`
    --- exit 2
    ");
    assert_snapshot!(order(&["isolate", "orders_create", "https://shop.example.com"]), @"
    --- stderr
    error: `https://shop.example.com` is no server; one is named as in `shop.example.com:443`
    --- exit 2
    ");
    assert_snapshot!(order(&["isolate", "orders create"]), @"
    --- stderr
    error: `orders create` is no tool
    --- exit 2
    ");
}

#[test]
fn a_log_that_cannot_be_written_stops_no_call_and_is_said_with_v() {
    let folder = folder();
    std::fs::create_dir_all(folder.path().join("kept/log.db")).expect("created");
    let call = ["call", "divide_divide", "dividend=1", "divisor=2"];
    assert_eq!(run(folder.path(), &call), "--- stdout\n0.5\n--- exit 0");
    let verbose = run(folder.path(), &[&call[..], &["-v"]].concat());
    assert!(verbose.contains("calls are missing in the log"), "{verbose}");
}
