//! What the end-to-end tests share: where things are, and how the binary is run.

pub mod pty;
pub mod shop;
pub mod versions;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sha2::{Digest, Sha256};

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A prebuilt guest.
#[must_use]
pub fn prebuilt(name: &str) -> String {
    root().join("guest-examples/prebuilt").join(format!("{name}.wasm")).display().to_string()
}

/// The binary in a folder, with a cache and a data folder of its own there.
///
/// # Panics
/// The test has no path.
#[must_use]
#[expect(clippy::expect_used, reason = "a test cannot go on without the binary")]
pub fn command(folder: &Path, args: &[&str]) -> Command {
    let exe = std::env::current_exe().expect("the test has a path");
    let binary = exe.ancestors().nth(2).expect("the test lies in the target folder").join("toolpost");
    let mut command = Command::new(binary);
    command.args(args).current_dir(folder).env("XDG_CACHE_HOME", folder).env("XDG_DATA_HOME", folder);
    // What a person has set would change what is printed.
    for set in ["RUST_BACKTRACE", "COLUMNS", "LINES", "CLICOLOR", "CLICOLOR_FORCE", "NO_COLOR", "TRACEPARENT"] {
        command.env_remove(set);
    }
    command
}

/// Runs the binary in a folder.
///
/// # Panics
/// The binary is not built, or does not start.
#[expect(clippy::expect_used, reason = "a test cannot go on without the binary")]
pub fn toolpost(folder: &Path, args: &[&str]) -> Output {
    command(folder, args).output().expect("the binary is built: `cargo build --workspace`")
}

/// The same in a session of its own: without that it would ask at the terminal of whoever runs the tests.
#[must_use]
pub fn detached(folder: &Path, args: &[&str]) -> Command {
    let binary = command(folder, args);
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(binary.get_program()).args(binary.get_args()).current_dir(folder);
    for (name, value) in binary.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The ids of the questions that wait, once there is one.
///
/// # Panics
/// There is none.
#[must_use]
#[expect(clippy::panic, reason = "a test cannot go on without a question")]
pub fn pending(folder: &Path) -> Vec<String> {
    for _ in 0..300 {
        let output = toolpost(folder, &["approvals", "list", "--json"]);
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let questions = list.get("questions").and_then(|list| list.as_array()).cloned().unwrap_or_default();
        let ids = questions.iter().filter_map(|question| Some(question.get("id")?.as_str()?.to_owned()));
        let ids: Vec<String> = ids.collect();
        if !ids.is_empty() {
            return ids;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("nothing is pending")
}

/// All that a run printed, and its exit code, on one page.
#[must_use]
pub fn page(output: &Output) -> String {
    let part = |name: &str, bytes: &[u8]| match String::from_utf8_lossy(bytes) {
        text if text.is_empty() => String::new(),
        text => format!("--- {name}\n{text}"),
    };
    let exit = output.status.code().map_or_else(|| "none".to_owned(), |code| code.to_string());
    format!("{}{}--- exit {exit}", part("stdout", &output.stdout), part("stderr", &output.stderr))
}

/// What changes from one build or run to the next, taken out of snapshots for as long as the value lives.
pub fn filters() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("sha256:[0-9a-f]{64}", "[digest]");
    settings.add_filter(r"sha256:[0-9a-f]{12}\.\.", "[digest]..");
    settings.add_filter(r"\d+\.\d [KM]iB  \[digest\]", "[size]  [digest]");
    settings.add_filter(r#""bytes": \d+"#, r#""bytes": [size]"#);
    settings.add_filter(r"\d+\.\d+ ms, fuel \d+, memory .*", "[time], fuel [fuel], memory [size]");
    settings.add_filter(r#""memory_bytes_peak": \d+"#, r#""memory_bytes_peak": [size]"#);
    settings.add_filter(r"call_[0-9a-v]{20}", "[call]");
    settings.add_filter(r#"_ms": [0-9.]+"#, r#"_ms": [time]"#);
    settings.add_filter(r#""fuel": \d+"#, r#""fuel": [fuel]"#);
    settings.add_filter(r"/\S*/prebuilt/", "[prebuilt]/");
    settings.add_filter(r"toolpost \d+\.\d+\.\d+", "toolpost [version]");
    settings.bind_to_scope()
}

/// The hash of a guest's sources, as `guest-examples/build.sh` writes it beside the component.
///
/// # Panics
/// A source cannot be read.
#[must_use]
#[expect(clippy::expect_used, reason = "a test cannot go on without the sources")]
pub fn sources_hash(guest: &str) -> String {
    let guests = root().join("guest-examples");
    let mut files = Vec::new();
    collect(&guests.join(guest), &mut files);
    if guests.join(guest).join("Cargo.toml").is_file() {
        collect(&guests.join("toolpost-guest"), &mut files);
        collect(&guests.join("json-service"), &mut files);
        collect(&root().join("wit"), &mut files);
        files.extend([guests.join("Cargo.toml"), guests.join("Cargo.lock")]);
    }
    let mut lines: Vec<(String, String)> = files
        .iter()
        .map(|file| {
            let path = file.strip_prefix(root()).expect("a source lies in the repository");
            let bytes = std::fs::read(file).expect("a source can be read");
            (path.to_string_lossy().replace('\\', "/"), hex(&Sha256::digest(bytes)))
        })
        .collect();
    lines.sort();
    let list: String = lines.iter().map(|(path, hash)| format!("{hash}  {path}\n")).collect();
    hex(&Sha256::digest(list))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    const LEFT_OUT: [&str; 5] = ["target", "node_modules", "__pycache__", ".venv", "README.md"];
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
