//! Secrets from the settings, and a whole program that keeps one to itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use toolpost::core::tell::Tracing;
use toolpost::{
    Attempt, Builder, Call, CallError, EffectClass, ErrorKind, Host, Level, Native, Settings, Stage, Store,
};

async fn host(dir: &Path, settings: &str) -> Host {
    let settings = Settings::parse(settings, &dir.join("toolpost.toml")).unwrap();
    Builder::new().settings(settings).in_memory().build().await.unwrap()
}

/// The value of the secret `A` where it comes from there, or why there is none.
async fn read(dir: &Path, from: &str) -> Result<String, String> {
    let host = host(dir, &format!("[secrets]\nA = {from}")).await;
    let secret = host.secrets().get("A").await.map_err(|error| error.to_string())?;
    Ok(secret.reveal().to_owned())
}

#[tokio::test]
async fn a_secret_comes_from_the_environment_a_file_or_a_program() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    // Every test has these.
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    assert_eq!(read(dir, "{ env = \"CARGO_MANIFEST_DIR\" }").await, Ok(folder));
    for (written, read_as) in [("from a file", "from a file"), ("line\n\n", "line\n\n"), ("with crlf\r\n", "with crlf")]
    {
        std::fs::write(dir.join("secret"), written).unwrap();
        let wanted = if written == read_as { written.strip_suffix('\n').unwrap_or(written) } else { read_as };
        let got = read(dir, "{ file = \"secret\" }").await;
        match wanted.len() {
            0..8 => assert!(got.unwrap_err().contains("shorter than 8 bytes")),
            _ => assert_eq!(got, Ok(wanted.to_owned())),
        }
    }
    let program = "{ command = [\"sh\", \"-c\", \"pwd | tr -d '\\\\n'; echo /value\"] }";
    let pwd = dir.canonicalize().unwrap().join("value").display().to_string();
    assert_eq!(read(dir, program).await, Ok(pwd));
}

#[tokio::test]
async fn why_a_secret_cannot_be_had_is_told_without_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let path = dir.join("secret").display().to_string();
    std::fs::write(dir.join("secret"), "short").unwrap();
    std::fs::write(dir.join("long"), "x".repeat(10_000)).unwrap();
    std::fs::write(dir.join("bytes"), b"\xff\xfe\xfd\xfc\xff\xfe\xfd\xfc").unwrap();
    let beside = |name: &str| path.replace("secret", name);
    for (from, why) in [
        ("{ env = \"TOOLPOST_NO_SUCH\" }", "the environment variable `TOOLPOST_NO_SUCH` is not set".to_owned()),
        (
            "{ file = \"nowhere\" }",
            format!("`{}` cannot be read: No such file or directory (os error 2)", beside("nowhere")),
        ),
        ("{ file = \".\" }", format!("`{}` is no file", beside("."))),
        (
            "{ file = \"secret\" }",
            format!("`{path}` does not give one: it is shorter than 8 bytes, so it could not be masked"),
        ),
        ("{ file = \"long\" }", format!("`{}` does not give one: it is longer than 8192 bytes", beside("long"))),
        ("{ file = \"bytes\" }", format!("`{}` does not give one: it is no UTF-8 text", beside("bytes"))),
        (
            "{ command = [\"nowhere\"] }",
            "the command `nowhere` cannot be started: No such file or directory (os error 2)".into(),
        ),
        (
            "{ command = [\"sh\", \"-c\", \"echo not-this-one; exit 3\"] }",
            "the command `sh` failed: exit status: 3".into(),
        ),
        ("{ command = [\"true\"] }", "the command `true` does not give one: it is empty (exit status: 0)".into()),
        // It waits when it has written, so that it ends by being killed, and not because nobody reads on.
        (
            "{ command = [\"sh\", \"-c\", \"head -c 9000 /dev/zero | tr '\\\\0' x; sleep 100\"] }",
            "the command `sh` does not give one: it is longer than 8192 bytes (signal: 9 (SIGKILL))".into(),
        ),
    ] {
        assert_eq!(read(dir, from).await, Err(format!("the secret `A` cannot be had: {why}")), "{from}");
    }
}

#[tokio::test]
async fn a_program_that_does_not_end_is_killed_with_all_that_it_started() {
    let temp = tempfile::tempdir().unwrap();
    let script = "{ command = [\"sh\", \"-c\", \"sleep 1000 & echo $! > child; wait\"] }";
    let host = host(temp.path(), &format!("[secrets]\nA = {script}")).await;
    let secrets = host.secrets();
    let asked = tokio::time::timeout(std::time::Duration::from_millis(700), secrets.get("A")).await;
    assert!(asked.is_err());
    let child = std::fs::read_to_string(temp.path().join("child")).unwrap();
    for _ in 0..100 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.trim()));
        if !status.is_ok_and(|status| status.contains("State:\tS")) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the child is still there");
}

#[tokio::test]
async fn secrets_that_cannot_be_are_faults_of_the_settings() {
    let told = async |text: &str| {
        let settings = match Settings::parse(text, Path::new("toolpost.toml")) {
            Ok(settings) => settings,
            Err(faults) => return faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
        };
        Builder::new().settings(settings).in_memory().load().await.faults.iter().map(ToString::to_string).collect()
    };
    assert_eq!(told("[secrets]\nA = { env = \"NOT_READ_BEFORE_IT_IS_NEEDED\" }").await, [""; 0]);
    assert_eq!(
        told("[secrets]\n\"a b\" = { env = \"A\" }\nB = { command = [] }").await,
        [
            "the settings: the command of the secret `B` is empty; write [\"program\", \"argument\"]",
            "the settings: no secret can be named `a b`: a name has 1 to 64 letters, digits, `_` and `-`",
        ]
    );
    let written = told("[secrets]\nA = \"in clear\"").await;
    assert_eq!(written.len(), 1);
    assert!(written[0].starts_with("toolpost.toml:2: "), "{written:?}");
}

/// Repeats its secret wherever it can.
async fn leak(attempt: Attempt) -> Result<serde_json::Value, CallError> {
    let secret = attempt.secret("TOKEN").await?;
    let value = secret.reveal();
    attempt.log(Level::Error, &format!("log {value}"));
    attempt.progress(1, None, Some(value));
    attempt.emit(value).await;
    attempt.meter.stdout.write(value.as_bytes());
    attempt.meter.stderr.write(value.as_bytes());
    let effect = toolpost::Effect {
        class: EffectClass::Open,
        action: "net.post".into(),
        target: format!("https://a.test/{value}"),
        detail: None,
    };
    attempt.pass(effect).await?.done();
    match attempt.call.arguments["end"].as_u64() {
        Some(0) => Ok(json!(format!("{value} {}", "x".repeat(100_000)))),
        Some(1) => {
            let error =
                CallError::new(ErrorKind::ToolFailed { retryable: false }, Stage::Run, format!("failed: {value}"));
            Err(error.with_detail(json!({value: value})).because(value.to_owned()))
        }
        _ => panic!("panicked: {value}"),
    }
}

/// The program that the test below runs: it prints all that a host tells.
#[tokio::test]
#[ignore = "it is run by another test"]
async fn a_program_with_a_secret() {
    let dir = std::env::current_dir().unwrap();
    let told = tracing_subscriber::fmt().with_env_filter("trace").with_writer(std::io::stderr).try_init();
    told.unwrap();
    let settings = Settings::parse("[secrets]\nTOKEN = { env = \"PLANTED\" }", &dir.join("toolpost.toml")).unwrap();
    let end = toolpost::core::catalog::shape::Shape::Integer(toolpost::core::catalog::shape::Integer::U8);
    let native = Native::new("leak", "").parameter("end", end).secret("TOKEN");
    let builder = Builder::new().settings(settings).store(Arc::new(Store::at(dir.join("store")))).native(native, leak);
    let host = builder.sink(Arc::new(Tracing)).build().await.unwrap();
    toolpost::mask_panics(host.secrets());
    for end in 0..3 {
        let outcome = host.call(Call::new("leak", json!({"end": end}))).await;
        println!("{outcome:?}\n{}", json!(outcome.report));
    }
}

#[test]
fn a_planted_secret_is_in_nothing_that_a_program_writes() {
    let temp = tempfile::tempdir().unwrap();
    let planted = format!("planted-{:016x}-é", fastrand::u64(..));
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["a_program_with_a_secret", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .current_dir(temp.path())
        .env("PLANTED", &planted)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    for marker in ["log ***", "failed: ***", "panicked: ***", "https://a.test/***"] {
        assert!(stderr.contains(marker), "{marker}: {stderr}");
    }
    assert!(!stdout.contains("planted-") && !stderr.contains("planted-"), "{stdout}{stderr}");
    let mut files = 0;
    let mut folders = vec![temp.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            files += 1;
            let bytes = std::fs::read(entry.path()).unwrap();
            assert!(!bytes.windows(8).any(|part| part == b"planted-"), "{:?}", entry.path());
        }
    }
    assert!(files >= 1, "the artifact is there");
}
