//! `toolpost diff OLD NEW`: what changed from one component to another, without what settings say of them.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use toolpost::lock::sheets_of;

use crate::args::ConfigArgs;
use crate::changes::{is_wider, page};
use crate::exit::{Exit, Stop};
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The component as it was: a file, or the name of a component in the settings
    old: PathBuf,
    /// The component as it is
    new: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON, with all that is known of both
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(args: DiffArgs) -> Result<Exit, Stop> {
    let spinner = print::spinner();
    print::run(&spinner, "loading".into());
    let sheets = sheets_of([args.file(&args.old), args.file(&args.new)]).await;
    spinner.finish_and_clear();
    let [old, new] = sheets.map_err(Stop::usage)?;
    let changes = new.changes_since(Some(&old));
    let exit = if changes.is_empty() { Exit::Ok } else { Exit::DIFFERS };
    if args.json {
        let (same, wider) = (changes.is_empty(), is_wider(&changes));
        print::json(&json!({
            "ok": true, "same": same, "wider": wider, "changes": changes, "old": old, "new": new,
        }))?;
    } else if changes.is_empty() {
        print::out(format!("no difference: both are {}", new.digest))?;
    } else {
        let state = format!("is not the same as {}", print::words(&args.old.display().to_string()));
        print::out(page(&args.new.display().to_string(), &state, ", and asks for more", &changes))?;
    }
    Ok(exit)
}

impl DiffArgs {
    /// The file; where there is none of that name, perhaps that of a component.
    fn file(&self, named: &Path) -> PathBuf {
        if named.exists() {
            return named.to_owned();
        }
        let (settings, _) = self.config.examine();
        let component = named.to_str().and_then(|name| settings.components.get(name));
        component.map_or_else(|| named.to_owned(), |component| settings.resolve(&component.path))
    }
}
