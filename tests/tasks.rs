//! `toolpost call --background` and `toolpost task`: calls that nobody waits for, as a person makes them.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;
use toolpost_tests::pty::Pty;
use toolpost_tests::{command, filters, page, pending, prebuilt, toolpost};

const SETTINGS: &str = r#"
store.dir = "kept"
[components.nap]
path = "nap.wasm"
[components.text]
path = "text.wasm"
[components.pi]
path = "pi.wasm"
"#;

/// The longest wait for anything.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A folder with settings. The hosts that run its tasks end with it.
struct Folder(TempDir);

impl Drop for Folder {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Folder {
    fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for guest in ["nap", "text", "pi", "orders", "files"] {
            std::fs::copy(prebuilt(guest), folder.path().join(format!("{guest}.wasm"))).expect("copied");
        }
        std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
        Folder(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, args: &[&str]) -> Output {
        toolpost(self.path(), args)
    }

    fn page(&self, args: &[&str]) -> String {
        page(&self.run(args))
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", page(&output)))
    }

    /// Makes a call in the background, and says which task it is.
    fn call(&self, args: &[&str]) -> String {
        let output = self.run(&[&["call", "--background"], args].concat());
        assert!(output.status.success(), "{}", page(&output));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// Waits until a task stands so.
    fn until(&self, task: &str, state: &str) -> Value {
        let begun = Instant::now();
        loop {
            let shown = self.json(&["task", "show", task]);
            if shown["task"]["state"] == state {
                return shown["task"].clone();
            }
            assert!(begun.elapsed() < WAIT_MAX, "it is never {state}: {shown}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// The processes of its hosts.
    fn hosts(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.path().join("kept/hosts")).into_iter().flatten().flatten();
        let names = files.filter_map(|file| file.file_name().into_string().ok());
        let pids = names.filter_map(|name| Some(name.split_once('-')?.0.to_owned()));
        pids.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()) && is_there(pid)).collect()
    }

    /// kill -9. What they held is free behind this.
    fn kill(&self) {
        for pid in self.hosts() {
            let _ = Command::new("kill").args(["-9", &pid]).status();
        }
        let begun = Instant::now();
        while !self.hosts().is_empty() && begun.elapsed() < WAIT_MAX {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn is_there(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // One that was killed and that nobody has asked for is not there any more, once its last thread is gone.
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    status.contains("toolpost") && (!status.contains(") Z ") || threads > 1)
}

/// What changes from run to run.
fn shown() -> (impl Drop, impl Drop) {
    let outer = filters();
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("task_[0-9a-f]{32}", "[task]");
    settings.add_filter(r"(?m)^ [0-9a-f]{8} ", " [task]   ");
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[instant]");
    settings.add_filter(r"\((in )?[0-9a-z]+( [0-9a-z]+)?( ago)?\)", "([span])");
    settings.add_filter(r"\b\d+s ago", "[span] ago");
    settings.add_filter(r"took [0-9.]+ m?s", "took [span]");
    settings.add_filter(r"  +[0-9.]+ m?s\b", "  [span]");
    settings.add_filter("FILED +TOOK +PROGRESS", "FILED  TOOK  PROGRESS");
    settings.add_filter(r"ask_[0-9a-f]{20}", "[question]");
    settings.add_filter(r"127.0.0.1:\d+", "127.0.0.1:[port]");
    settings.add_filter(r"\b\w+ \(toolpost task cancel\)", "[somebody]");
    (settings.bind_to_scope(), outer)
}

#[test]
fn a_call_in_the_background_is_waited_for_and_its_result_is_kept() {
    let folder = Folder::new(SETTINGS);
    let _filters = shown();
    assert_snapshot!("none", folder.page(&["task", "list"]));
    assert_snapshot!("filed", folder.page(&["call", "text_word_count", "text=one two", "--background"]));
    let task = folder.call(&["nap_nap", "ms=1500", "--caller", "ann"]);
    assert_snapshot!("not-ended", folder.page(&["task", "result", &task]));
    assert_snapshot!("waited", folder.page(&["task", "wait", &task]));
    assert_snapshot!("done", folder.page(&["task", "show", &task]));
    assert_snapshot!("result", folder.page(&["task", "result", &task[..12]]));
    assert_snapshot!("list", folder.page(&["task", "list"]));
    assert_snapshot!("wrong-state", folder.page(&["task", "list", "--state", "lost"]));
    assert_snapshot!("no-such", folder.page(&["task", "show", "zz"]));
    assert_snapshot!("result-json", folder.page(&["task", "result", &task, "--json"]));
    assert_snapshot!("list-json", folder.page(&["task", "list", "--caller", "ann", "--json"]));
    assert_snapshot!("show-json", folder.page(&["task", "show", &task, "--json"]));
}

#[test]
fn waiting_ends_as_the_call_itself_would() {
    let folder = Folder::new(SETTINGS);
    let calls: [&[&str]; 4] = [
        &["text_word_count", "text=one"],
        &["text_replace", "text=a", "pattern=(", "replacement=b"],
        &["pi_leibniz", "precision=9", "--fuel", "10000"],
        &["nap_nap", "ms=20000", "--time", "300ms"],
    ];
    for call in calls {
        let foreground = folder.run(&[&["call"], call].concat());
        let task = folder.call(call);
        for verb in ["wait", "result"] {
            let background = folder.run(&["task", verb, &task]);
            assert_eq!(background.status.code(), foreground.status.code(), "{call:?}: {}", page(&background));
            assert_eq!(background.stdout, foreground.stdout);
            let words = String::from_utf8_lossy(&background.stderr).into_owned();
            assert_eq!(words, String::from_utf8_lossy(&foreground.stderr));
        }
    }
    // What cannot be called is refused at once, and no task.
    let before = folder.json(&["task", "list"]);
    for wrong in [["text_word_count", "txt=one"], ["text_word_cont", "text=one"]] {
        let foreground = folder.run(&[&["call"], &wrong[..]].concat());
        let background = folder.run(&[&["call", "--background"], &wrong[..]].concat());
        assert_eq!(page(&background), page(&foreground));
    }
    assert_eq!(
        folder.json(&["task", "list"])["tasks"].as_array().map(Vec::len),
        before["tasks"].as_array().map(Vec::len)
    );
}

#[test]
fn a_call_is_waited_for_so_long_and_goes_on_as_a_task() {
    let folder = Folder::new(SETTINGS);
    let soon = folder.run(&["call", "nap_nap", "ms=10", "--background-after=20s"]);
    assert_eq!((soon.status.code(), String::from_utf8_lossy(&soon.stdout).trim()), (Some(0), "10"));
    let late = folder.run(&["call", "nap_nap", "ms=2500", "--background-after=300ms"]);
    let task = String::from_utf8_lossy(&late.stdout).trim().to_owned();
    assert!(late.status.success() && task.starts_with("task_"), "{}", page(&late));
    let waited = folder.run(&["task", "wait", &task]);
    assert_eq!((waited.status.code(), String::from_utf8_lossy(&waited.stdout).trim()), (Some(0), "2500"));
    let by_settings = Folder::new(&format!("{SETTINGS}\n[tasks]\nafter = \"200ms\"\n"));
    let late = by_settings.run(&["call", "nap_nap", "ms=2500", "--background-after"]);
    assert!(String::from_utf8_lossy(&late.stdout).starts_with("task_"), "{}", page(&late));
}

#[test]
fn a_task_whose_host_is_killed_is_run_again_by_the_next_one() {
    let folder = Folder::new(SETTINGS);
    let task = folder.call(&["nap_nap", "ms=2000"]);
    folder.until(&task, "running");
    folder.kill();
    let list = folder.json(&["task", "list", "--state", "left"]);
    assert_eq!(list["tasks"][0]["task"], task.as_str());
    let begun = Instant::now();
    let waited = folder.run(&["task", "wait", &task]);
    assert_eq!((waited.status.code(), String::from_utf8_lossy(&waited.stdout).trim()), (Some(0), "2000"));
    assert!(begun.elapsed() < Duration::from_secs(20), "no lease has to run out: {:?}", begun.elapsed());
    let shown = folder.json(&["task", "show", &task]);
    assert_eq!((&shown["task"]["runs"], &shown["task"]["runs_lost"]), (&2.into(), &1.into()));
}

/// A server that takes what it is sent, and never answers.
fn silent_server() -> (String, std::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (heard, hears) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = heard.send(());
            open.push(stream);
        }
    });
    (address, hears)
}

fn orders(address: &str) -> String {
    format!(
        "{SETTINGS}\n[components.orders]\npath = \"orders.wasm\"\n\
         grants.net = [{{ to = \"http://{address}/orders\", methods = [\"POST\"] }}]\n\
         tools.create.defaults.service = \"http://{address}\"\n"
    )
}

#[test]
fn a_task_that_may_have_had_its_effect_is_unknown_and_says_what_it_may_have_done() {
    let (address, hears) = silent_server();
    let folder = Folder::new(&orders(&address));
    let task = folder.call(&["orders_create", "order-id=o-1", "item=bolt", "amount=3"]);
    hears.recv_timeout(WAIT_MAX).expect("it is asked");
    folder.kill();
    let _filters = shown();
    assert_snapshot!("unknown-wait", folder.page(&["task", "wait", &task]));
    assert_snapshot!("unknown-show", folder.page(&["task", "show", &task]));
    assert!(hears.recv_timeout(Duration::from_millis(300)).is_err(), "it is not asked again");
}

#[test]
fn a_task_is_cancelled_whatever_it_is_doing() {
    let (address, hears) = silent_server();
    let folder =
        Folder::new(&orders(&address).replace("tools.create.defaults", "limits.time = \"3s\"\ntools.create.defaults"));
    let _filters = shown();
    let task = folder.call(&["nap_nap", "ms=60000"]);
    folder.until(&task, "running");
    assert_snapshot!("cancel", folder.page(&["task", "cancel", &task]));
    assert_snapshot!("cancelled", folder.page(&["task", "wait", &task]));
    assert_snapshot!("cancel-again", folder.page(&["task", "cancel", &task]));
    // What may change something goes on to its end.
    let order = folder.call(&["orders_create", "order-id=o-1", "item=bolt", "amount=3"]);
    hears.recv_timeout(WAIT_MAX).expect("it is asked");
    assert_eq!(folder.json(&["task", "cancel", &order])["cancelled"], "asked");
    assert_eq!(folder.json(&["task", "show", &order])["task"]["state"], "running");
    let told = folder.json(&["task", "wait", &order]);
    assert_eq!((&told["state"], &told["error"]["kind"]), (&"unknown".into(), &"outcome_unknown".into()));
}

#[test]
fn a_task_about_which_somebody_is_asked_says_so_and_goes_on_with_the_answer() {
    let rules = "[[approval.ask]]\ntools = [\"text_*\"]\n";
    let folder = Folder::new(&format!("{}\n{rules}", SETTINGS));
    let task = folder.call(&["text_echo", "text=hello"]);
    let [question] = &pending(folder.path())[..] else { panic!("one question") };
    folder.until(&task, "waiting");
    let _filters = shown();
    assert_snapshot!("waiting", folder.page(&["task", "show", &task]));
    assert_snapshot!("waiting-still", folder.page(&["task", "wait", &task, "--timeout", "1ms"]));
    assert!(folder.run(&["approvals", "allow", question]).status.success());
    let waited = folder.run(&["task", "wait", &task]);
    assert_eq!(String::from_utf8_lossy(&waited.stdout).trim(), "hello");
}

#[test]
fn a_task_runs_under_the_settings_that_are_there_when_it_runs() {
    let settings = format!("{SETTINGS}[tasks]\nparallel = 1\n");
    let folder = Folder::new(&settings);
    let blocker = folder.call(&["nap_nap", "ms=8000"]);
    folder.until(&blocker, "running");
    let task = folder.call(&["text_echo", "text=hello"]);
    let changed = format!("{settings}[components.text.tools.echo]\nhidden = true\n");
    std::fs::write(folder.path().join("toolpost.toml"), &changed).expect("written");
    let waited = folder.json(&["task", "wait", &task]);
    let shown = folder.json(&["task", "show", &task]);
    assert_eq!(waited["error"]["kind"], "unknown_tool", "{waited}");
    assert_eq!(shown["task"]["settings"], "it ran under other settings than those under which it was filed");
    // What runs was begun under those of before: it ends under them, and holds up nobody.
    assert_eq!(folder.json(&["task", "show", &blocker])["task"]["state"], "running");
    std::fs::write(folder.path().join("toolpost.toml"), &settings).expect("written");
    assert_eq!(folder.json(&["task", "wait", &folder.call(&["text_echo", "text=hello"])])["ok"], true);
    let ended = folder.json(&["task", "wait", &blocker]);
    assert_eq!((&ended["ok"], &folder.json(&["task", "show", &blocker])["task"]["runs"]), (&true.into(), &1.into()));
}

#[test]
fn a_task_is_run_by_the_component_that_was_there_when_it_was_filed_and_not_by_an_older_one() {
    let folder = Folder::new(SETTINGS);
    assert_eq!(folder.json(&["task", "wait", &folder.call(&["text_echo", "text=hello"])])["ok"], true);
    assert_eq!(folder.hosts().len(), 1, "it waits for more");
    std::fs::copy(prebuilt("nap"), folder.path().join("text.wasm")).expect("copied");
    let waited = folder.json(&["task", "wait", &folder.call(&["text_nap", "ms=1"])]);
    assert_eq!(waited["output"]["value"], 1, "{waited}");
}

#[test]
fn a_host_that_is_told_to_end_leaves_what_had_no_effect_to_the_next_one() {
    let folder = Folder::new(SETTINGS);
    let task = folder.call(&["nap_nap", "ms=2000"]);
    folder.until(&task, "running");
    let [host] = &folder.hosts()[..] else { panic!("one host") };
    // Whoever waits sees it go, and starts the next one.
    let wait = command(folder.path(), &["task", "wait", &task]).stdout(Stdio::piped()).spawn().expect("started");
    assert!(Command::new("kill").arg(host).status().expect("sent").success());
    let waited = wait.wait_with_output().expect("ended");
    assert_eq!(page(&waited), "--- stdout\n2000\n--- exit 0");
    let shown = folder.json(&["task", "show", &task]);
    assert_eq!((&shown["task"]["runs"], &shown["task"]["runs_lost"]), (&2.into(), &0.into()));
}

#[test]
fn what_a_host_has_to_say_is_kept_for_its_user_alone_and_not_without_end() {
    let folder = Folder::new(SETTINGS);
    let task = folder.call(&["nap_nap", "ms=3000"]);
    folder.until(&task, "running");
    let kept = folder.path().join("kept/hosts");
    let files: Vec<_> = std::fs::read_dir(&kept).expect("a folder").flatten().collect();
    for file in &files {
        assert_eq!(file.metadata().expect("a file").permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    let log = files.iter().map(std::fs::DirEntry::path).find(|file| file.extension().is_some_and(|end| end == "log"));
    let log = log.expect("a log");
    let mut writing = std::fs::OpenOptions::new().append(true).open(&log).expect("opened");
    writing.write_all(&[b'x'; 3 << 20]).expect("written");
    let begun = Instant::now();
    while log.metadata().expect("a file").len() > 1 << 20 {
        assert!(begun.elapsed() < WAIT_MAX, "it only grows");
        std::thread::sleep(Duration::from_millis(50));
    }
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", folder.hosts()[0])).expect("a line");
    assert!(!line.contains("3000"), "{line}");
}

#[test]
fn a_host_with_nothing_to_do_ends_and_there_is_never_more_than_one() {
    let folder = Folder::new(SETTINGS);
    let calls: Vec<_> = (0..8)
        .map(|_| command(folder.path(), &["call", "nap_nap", "ms=1000", "--background"]).spawn().expect("started"))
        .collect();
    for mut call in calls {
        assert!(call.wait().expect("ended").success());
    }
    assert_eq!(folder.hosts().len(), 1);
    let tasks = folder.json(&["task", "list"]);
    for task in tasks["tasks"].as_array().expect("tasks") {
        assert_eq!(folder.json(&["task", "wait", task["task"].as_str().expect("an id")])["ok"], true);
    }
    let begun = Instant::now();
    while !folder.hosts().is_empty() {
        assert!(begun.elapsed() < WAIT_MAX, "it does not end");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_row_that_somebody_else_wrote_starts_no_host() {
    let folder = Folder::new(SETTINGS);
    // A row as any other, by whoever can write to the database.
    let elsewhere = Folder::new("");
    let settings = elsewhere.path().join("toolpost.toml");
    let options = ["--config".to_owned(), settings.display().to_string()];
    let way = serde_json::json!({"folder": elsewhere.path(), "options": options}).to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let store = std::sync::Arc::new(toolpost::Store::at(folder.path().join("kept")));
    let table = std::sync::Arc::new(toolpost::store::tasks::TaskTable::new(store));
    let settings = toolpost::Settings::read(&folder.path().join("toolpost.toml")).expect("settings");
    let builder = toolpost::Builder::new().settings(settings).task_scope(way.clone());
    let forged = runtime.block_on(async {
        let host = builder.build().await.expect("a host");
        let host = host.with_tasks(std::sync::Arc::new(toolpost::Tasks::new(table).made_by(way, "")));
        host.file(toolpost::Call::new("nap_nap", serde_json::json!({"ms": 1}))).await.expect("it is filed").to_string()
    });
    assert_eq!(folder.json(&["task", "show", &forged])["task"]["state"], "queued");
    assert_eq!(folder.run(&["task", "wait", &forged, "--timeout", "1s"]).status.code(), Some(3));
    assert!(std::fs::read_dir(folder.path().join("kept/hosts")).is_err(), "one was started");
}

#[test]
fn a_folder_that_cannot_be_handed_on_to_a_host_is_told() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = Folder::new(SETTINGS);
    let inner = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    std::fs::create_dir(&inner).expect("a folder");
    let config = folder.path().join("toolpost.toml").display().to_string();
    let output = toolpost(&inner, &["call", "--background", "nap_nap", "ms=1", "--config", &config]);
    assert_eq!(output.status.code(), Some(2));
    assert!(page(&output).contains("is no text, and cannot be handed on"), "{}", page(&output));
}

#[test]
fn settings_that_cannot_be_read_are_told_to_the_one_who_waits() {
    let folder = Folder::new(SETTINGS);
    let task = folder.call(&["nap_nap", "ms=1500"]);
    folder.until(&task, "running");
    folder.kill();
    // What names the store is right, and the component is gone.
    std::fs::write(folder.path().join("toolpost.toml"), format!("{SETTINGS}[components.gone]\n")).expect("written");
    let waited = folder.run(&["task", "wait", &task]);
    let words = page(&waited);
    assert!(words.contains("path"), "{words}");
    assert_ne!(waited.status.code(), Some(0));
}

#[test]
fn secret_arguments_are_in_no_file_and_not_shown() {
    let settings = format!("{SETTINGS}[components.text.tools.echo]\nsecret_arguments = [\"/text\"]\n");
    let folder = Folder::new(&settings);
    let task = folder.call(&["text_echo", "text=swordfish-swordfish"]);
    assert_eq!(folder.run(&["task", "wait", &task]).status.code(), Some(0));
    let shown = folder.json(&["task", "show", &task]);
    assert_eq!(shown["task"]["arguments"]["text"], "***");
    let held = folder.call(&["nap_nap", "ms=3000"]);
    folder.until(&held, "running");
    for file in ["tasks.db", "tasks.db-wal"] {
        let bytes = std::fs::read(folder.path().join("kept").join(file)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        // The tool repeats it, and so it is in the result; in what was asked it is not.
        assert!(!text.contains("\"text\":\"swordfish"), "{file}");
    }
}

#[test]
fn a_person_at_a_terminal_sees_how_far_it_is_and_may_leave() {
    let folder = Folder::new(SETTINGS);
    let task = folder.call(&["nap_nap", "ms=6000"]);
    let mut pty = Pty::run(folder.path(), &format!("exec $T task wait {task}"));
    pty.wait_for("running");
    pty.press("\u{3}");
    let (code, screen) = pty.end();
    assert_eq!(code, 3, "{screen}");
    let _filters = shown();
    // What was shown while it waited may still be there.
    let words = screen.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_snapshot!("left-alone", &words[words.find("task_").expect("the id")..]);
    assert_eq!(folder.json(&["task", "show", &task])["task"]["state"], "running");
    let (code, screen) = Pty::run(folder.path(), &format!("exec $T task wait {task}")).end();
    assert_eq!((code, screen.trim()), (0, "6000"));
    let (_, screen) = Pty::run(folder.path(), "exec $T task list").end();
    assert_snapshot!("on-a-terminal", screen.trim_end());
}

#[test]
fn a_result_that_was_cut_for_its_reader_is_whole_in_a_pipe() {
    let folder = Folder::new(&format!("{SETTINGS}[limits]\nreader = \"1 KiB\"\n"));
    let text = "x".repeat(20_000);
    let task = folder.call(&["text_echo", &format!("text={text}")]);
    folder.run(&["task", "wait", &task]);
    let result = folder.run(&["task", "result", &task]);
    assert_eq!(String::from_utf8_lossy(&result.stdout).trim(), text);
    let (_, screen) = Pty::run(folder.path(), &format!("$T task result {task}")).end();
    assert!(screen.contains("of 20000 bytes are missing"), "{screen}");
}
