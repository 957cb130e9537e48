//! `toolpost artifact`: the results that were too long to be shown, as a list, and each of them whole.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use toolpost::Store;
use toolpost::store::artifacts::{Folder, Kept};

use crate::args::ConfigArgs;
use crate::exit::{Exit, Stop};
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct ArtifactArgs {
    /// The artifact that is printed, byte for byte [default: list them]
    name: Option<String>,
    /// Remove it
    #[arg(long, requires = "name")]
    remove: bool,
    /// Print the list as JSON
    #[arg(long, conflicts_with = "name")]
    pub(crate) json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) async fn run(args: ArtifactArgs) -> Result<Exit, Stop> {
    let (settings, faults) = args.config.examine();
    if !faults.is_empty() {
        return Err(Stop::faults(faults));
    }
    let none = || Stop::usage("there is no folder for what is kept; set `store.dir`");
    let artifacts = Store::at(settings.store_dir().ok_or_else(none)?).artifacts(&settings.artifacts);
    let ended = tokio::task::spawn_blocking(move || match &args.name {
        None => list(&artifacts, args.json),
        Some(name) if args.remove => match artifacts.remove(name) {
            Ok(true) => Ok(()),
            Ok(false) => Err(unknown(name)),
            Err(error) => Err(failed(&error)),
        },
        Some(name) => show(&artifacts, name),
    });
    ended.await.map_err(|error| failed(&error))??;
    Ok(Exit::Ok)
}

fn list(artifacts: &Folder, as_json: bool) -> Result<(), Stop> {
    let all = artifacts.list().map_err(|error| failed(&error))?;
    let age = |kept: &Kept| kept.since.elapsed().map_or(0, |age| age.as_secs());
    if as_json {
        let sheet = |kept: &Kept| json!({"name": kept.name, "bytes": kept.bytes, "age_s": age(kept)});
        return print::json(&json!({"ok": true, "artifacts": all.iter().map(sheet).collect::<Vec<_>>()}));
    }
    if all.is_empty() {
        print::note("no artifacts are kept");
        return Ok(());
    }
    let mut table = print::table(&["artifact", "size", "age"]);
    for kept in &all {
        let age = humantime::format_duration(Duration::from_secs(age(kept))).to_string();
        // The two largest units say enough.
        let age: Vec<&str> = age.split(' ').take(2).collect();
        table.add_row([&kept.name, &print::bytes(kept.bytes), &age.join(" ")]);
    }
    print::out(print::rows(&table))
}

/// Prints an artifact. On a terminal, what would move the cursor is shown, not done.
pub(crate) fn show(artifacts: &Folder, name: &str) -> Result<(), Stop> {
    let mut file = artifacts.open(name).map_err(|error| failed(&error))?.ok_or_else(|| unknown(name))?;
    if std::io::stdout().is_terminal() {
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|error| failed(&error))?;
        return print::out(print::visible(&String::from_utf8_lossy(&text)));
    }
    let mut stdout = std::io::stdout().lock();
    match std::io::copy(&mut file, &mut stdout).and_then(|_| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(print::unwritten(&error)),
        _ => Ok(()),
    }
}

fn unknown(name: &str) -> Stop {
    Stop::usage(format!("no artifact is named `{name}`; `toolpost artifact` lists them"))
}

fn failed(error: &dyn std::fmt::Display) -> Stop {
    Stop { exit: Exit::Internal, lines: vec![format!("the artifacts cannot be had: {error}")] }
}
