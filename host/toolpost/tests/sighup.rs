//! A real process under load that gets a `SIGHUP`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

const NAP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest-examples/prebuilt/nap.wasm");

/// The example `serve` on a settings file.
struct Serve {
    folder: TempDir,
    process: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
    asked: usize,
}

impl Serve {
    fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(NAP, folder.path().join("nap.wasm")).unwrap();
        write(folder.path(), settings);
        let exe = std::env::current_exe().unwrap();
        let serve: PathBuf = exe.ancestors().nth(2).unwrap().join("examples/serve");
        let mut command = Command::new(serve);
        command.arg(folder.path().join("toolpost.toml")).env("XDG_DATA_HOME", folder.path());
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example is built: `cargo build --workspace --examples`");
        let stdin = process.stdin.take().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap()).lines();
        let stderr = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut serve = Serve { folder, process, stdin, stdout, stderr, asked: 0 };
        assert_eq!(serve.says(), "ready");
        serve
    }

    /// Asks for a nap; the id of the call.
    fn nap(&mut self, ms: u64) -> usize {
        self.asked += 1;
        writeln!(self.stdin, "{}", json!({"id": self.asked, "tool": "nap_nap", "arguments": {"ms": ms}})).unwrap();
        self.asked
    }

    /// The next answer.
    fn answer(&mut self) -> (usize, Value) {
        let answer: Value = serde_json::from_str(&self.stdout.next().unwrap().unwrap()).unwrap();
        (answer["id"].as_u64().unwrap() as usize, answer)
    }

    fn hang_up(&mut self) {
        kill_process(Pid::from_child(&self.process), Signal::HUP).unwrap();
    }

    /// The next line of standard error.
    fn says(&mut self) -> String {
        self.stderr.next().unwrap().unwrap()
    }

    /// The answers that are missing, when no more calls come.
    fn end(self) -> Vec<(usize, Value)> {
        let Serve { stdin, mut process, stdout, .. } = self;
        drop(stdin);
        let answers: Vec<Value> = stdout.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        assert!(process.wait().unwrap().success());
        answers.into_iter().map(|answer| (answer["id"].as_u64().unwrap() as usize, answer)).collect()
    }
}

fn write(folder: &Path, settings: &str) {
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/compiled");
    let text = format!("[host]\ncache = {}\n{settings}\n[components.nap]\npath = \"nap.wasm\"", json!(cache));
    std::fs::write(folder.join("toolpost.toml"), text).unwrap();
}

#[test]
fn a_hangup_changes_the_settings_under_load_and_drops_no_call() {
    let mut serve = Serve::start("max_parallel = 16\n[limits]\ntime = \"10s\"");
    let mut answers = BTreeMap::new();
    let long: Vec<usize> = (0..4).map(|_| serve.nap(2_500)).collect();
    for _ in 0..200 {
        serve.nap(10);
    }
    // The calls in front of this one have begun.
    let (first, answer) = serve.answer();
    answers.insert(first, answer);

    write(serve.folder.path(), "max_parallel = 8\n[limits]\ntime = \"1s\"");
    serve.hang_up();
    assert_eq!(serve.says(), "the settings are in force: 1 components, 1 tools");
    let late = serve.nap(30_000);
    for _ in 0..200 {
        serve.nap(10);
    }
    let asked = serve.asked;
    answers.extend(serve.end());

    assert_eq!(answers.len(), asked, "every call is answered");
    for id in long {
        assert_eq!(answers[&id]["result"], 2_500, "a call of before has the time of before: {}", answers[&id]);
    }
    let late = answers.remove(&late).unwrap();
    assert_eq!(late["error"], "timed_out", "{late}");
    assert!(late["message"].as_str().unwrap().contains("within 1s"), "a new call has the new time: {late}");
    let failed: Vec<&Value> = answers.values().filter(|answer| answer["error"] != Value::Null).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn a_hangup_with_faults_says_them_and_leaves_what_was_in_force() {
    let mut serve = Serve::start("[limits]\ntime = \"1s\"");
    let running = serve.nap(200);
    write(serve.folder.path(), "[limits]\ntime = \"1h\"\nmemroy = 5");
    serve.hang_up();
    assert_eq!(serve.says(), "the settings of before stay in force:");
    let said = serve.says();
    assert!(said.ends_with("toolpost.toml:5: unknown key `memroy`; did you mean `memory`?"), "{said}");

    write(serve.folder.path(), "[limits]\ntime = \"1h\"");
    std::fs::write(serve.folder.path().join("nap.wasm"), "garbage").unwrap();
    serve.hang_up();
    assert_eq!(serve.says(), "the settings of before stay in force:");
    let said = serve.says();
    assert!(said.ends_with("nap.wasm` cannot be used: it is no WebAssembly component"), "{said}");

    let late = serve.nap(30_000);
    let answers: BTreeMap<usize, Value> = serve.end().into_iter().collect();
    assert_eq!(answers[&running]["result"], 200);
    assert!(answers[&late]["message"].as_str().unwrap().contains("within 1s"), "{}", answers[&late]);
}
