//! A program that hosts tools, and reads its settings again while it runs: `serve SETTINGS`.
//!
//! Each line of standard input is a call, `{"id": 1, "tool": "nap_nap", "arguments": {"ms": 5}}`; each line of standard
//! output is what came of one, with its `id`. On `SIGHUP` the settings and the components are read again, and standard error
//! says what came of that.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever started it")]

use std::error::Error;
use std::io::BufRead as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use toolpost::{Builder, Call, Host, Settings, reload_on_sighup};

/// Lines that are read ahead.
const LINES_MAX: usize = 64;

/// A line of standard input.
#[derive(Deserialize)]
struct Asked {
    id: Value,
    tool: String,
    arguments: Value,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = PathBuf::from(std::env::args_os().nth(1).ok_or("name a settings file")?);
    let settings =
        Settings::read(&file).map_err(|faults| faults.iter().map(|fault| format!("{fault}\n")).collect::<String>())?;
    let loaded = Builder::new().settings(settings).load().await;
    for fault in &loaded.faults {
        eprintln!("{fault}");
    }
    let again = reload_on_sighup(Arc::new(loaded.reloader(file)), |came| match came {
        Ok(reloaded) => eprintln!("{reloaded}"),
        Err(faults) => eprintln!("the settings of before stay in force:\n{faults}"),
    })?;
    tokio::spawn(again);
    eprintln!("ready");

    let mut lines = lines();
    let mut running = JoinSet::new();
    while let Some(line) = lines.recv().await {
        let asked: Asked = serde_json::from_str(&line)?;
        running.spawn(answer(loaded.host.clone(), asked));
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
    Ok(())
}

async fn answer(host: Host, Asked { id, tool, arguments }: Asked) {
    let answer = match host.call(Call::new(tool, arguments)).await.result {
        Ok(output) => json!({"id": id, "result": output.value}),
        Err(error) => json!({"id": id, "error": error.kind.name(), "message": error.message}),
    };
    println!("{answer}");
}

/// The lines of standard input, until it is closed.
fn lines() -> mpsc::Receiver<String> {
    let (lines, read) = mpsc::channel(LINES_MAX);
    std::thread::spawn(move || {
        let stdin = std::io::stdin().lock().lines();
        stdin.map_while(Result::ok).try_for_each(|line| lines.blocking_send(line))
    });
    read
}
