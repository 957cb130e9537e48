//! `toolpost lock`: writes down what was reviewed of each component, shows what changed since, and takes it over when that is
//! confirmed.

use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;
use serde_json::json;
use toolpost::core::catalog::cast::nearest;
use toolpost::core::catalog::grants::Way;
use toolpost::lock::{Change, Lock, Sheet};
use toolpost::{Builder, Loaded};

use crate::args::{ConfigArgs, load};
use crate::ask::confirm::{self, Said};
use crate::changes::{is_wider, page};
use crate::exit::{Exit, Stop};
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    /// Take over what changed, of these components or of all, when it was shown and confirmed
    #[arg(long, value_name = "COMPONENT", num_args = 0..)]
    update: Option<Vec<String>>,
    /// Take over without a question what lets no component do more
    #[arg(long, requires = "update")]
    yes: bool,
    /// Take over without a question also what lets a component do more
    #[arg(long, requires = "yes")]
    allow_wider: bool,
    /// Write nothing, also where there is no lock: only say whether all is as it was locked
    #[arg(long, conflicts_with = "update")]
    check: bool,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON; nobody is asked
    #[arg(long)]
    pub(crate) json: bool,
}

/// What became of a component since it was locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Same,
    Changed,
    /// It was not locked.
    New,
    /// The settings do not name it any more.
    Gone,
}

/// A component beside its place in the lock.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    state: State,
    /// Whether it can do more than before.
    wider: bool,
    changes: Vec<Change>,
    /// Whether it is in the lock as it is now.
    locked: bool,
    #[serde(skip)]
    sheet: Option<Sheet>,
}

pub(crate) async fn run(args: LockArgs) -> Result<Exit, Stop> {
    let (lock, mut entries) = args.read().await?;
    match &args.update {
        Some(_) if !lock.is_there() => {
            Err(Stop::usage(format!("there is no `{}` yet; `toolpost lock` writes it", lock.file.display())))
        }
        Some(_) => update(&args, &lock, &mut entries).await,
        None if args.check && !lock.is_there() => {
            let line = format!("there is no `{}`; `toolpost lock` writes it", lock.file.display());
            Err(Stop { exit: Exit::DIFFERS, lines: vec![line] })
        }
        None if lock.is_there() => compare(&args, &lock, &entries),
        None => first(&args, &lock, &mut entries),
    }
}

impl LockArgs {
    /// The lock, and the components as they are now.
    async fn read(&self) -> Result<(Lock, Vec<Entry>), Stop> {
        let (settings, faults) = self.config.examine();
        if !faults.is_empty() {
            return Err(Stop::faults(faults));
        }
        let no_settings =
            || Stop::usage("there are no settings; what is locked are the components that `toolpost.toml` names");
        let lock = Lock::beside(&settings).map_err(Stop::faults)?.ok_or_else(no_settings)?;
        let named: BTreeSet<String> = settings.components.keys().cloned().collect();
        if named.is_empty() && !lock.is_there() {
            return Err(Stop::usage("the settings name no component; there is nothing to lock"));
        }
        let known: BTreeSet<&String> = named.iter().chain(lock.sheets.keys()).collect();
        if let Some(unknown) = self.update.iter().flatten().find(|name| !known.contains(name)) {
            let near = nearest(unknown, known.iter().map(|name| name.as_str()));
            let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(Stop::usage(format!("no component is named `{unknown}`{help}")));
        }
        let loaded = load(Builder::new().settings(settings).without_lock()).await;
        let sheets = loaded.sheets();
        let broken: BTreeSet<&String> = named.iter().filter(|name| !sheets.contains_key(*name)).collect();
        match self.update.as_deref() {
            // Those that are asked for are there; what is wrong with others is their own matter.
            Some(names @ [_, ..]) if !names.iter().any(|name| broken.contains(name)) => tell(&loaded),
            _ if loaded.faults.is_empty() => {}
            _ => return Err(Stop::faults(loaded.faults)),
        }
        let names: BTreeSet<&String> = lock.sheets.keys().chain(sheets.keys()).collect();
        let entries = names.difference(&broken).map(|name| Entry::new(name, lock.sheets.get(*name), sheets.get(*name)));
        Ok((lock.clone(), entries.collect()))
    }

    /// Whether a component is to be taken over, if it is confirmed.
    fn asks_for(&self, name: &String) -> bool {
        self.update.as_ref().is_some_and(|names| names.is_empty() || names.contains(name))
    }
}

fn tell(loaded: &Loaded) {
    for fault in &loaded.faults {
        print::note(print::visible(&format!("warning: {fault}")));
    }
}

impl State {
    pub(crate) fn of(was: Option<&Sheet>, is: Option<&Sheet>) -> Self {
        match (was, is) {
            (None, _) => State::New,
            (_, None) => State::Gone,
            _ if was == is => State::Same,
            _ => State::Changed,
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            State::Same => "is as it was locked",
            State::Changed => "is not as it was locked",
            State::New => "is not locked yet",
            State::Gone => "is locked, and the settings name it no more",
        }
    }
}

impl Entry {
    fn new(name: &str, was: Option<&Sheet>, is: Option<&Sheet>) -> Self {
        let changes = is.map(|is| is.changes_since(was)).unwrap_or_default();
        let state = State::of(was, is);
        let (wider, locked) = (is_wider(&changes), state == State::Same);
        Entry { name: name.to_owned(), state, wider, changes, locked, sheet: is.cloned() }
    }

    /// What becomes of it where nobody says yes.
    fn stays(&self) -> String {
        let how = match self.state {
            State::New => "stays out of the lock",
            State::Gone => "stays in the lock",
            State::Same | State::Changed => "stays as it was locked",
        };
        format!("`{}` {how}", self.name)
    }

    fn page(&self) -> String {
        page(&self.name, self.state.words(), ", and can do more", &self.changes)
    }
}

/// Writes the first lock, and shows what is in it.
fn first(args: &LockArgs, lock: &Lock, entries: &mut [Entry]) -> Result<Exit, Stop> {
    entries.iter_mut().for_each(|entry| entry.locked = true);
    write(lock, entries)?;
    if args.json {
        json(lock, entries, true, &[])?;
        return Ok(Exit::Ok);
    }
    let mut table = print::table(&["component", "effect", "tools", "asks for", "is granted"]);
    for (name, sheet) in entries.iter().filter_map(|entry| Some((&entry.name, entry.sheet.as_ref()?))) {
        let own = sheet.tools.values().filter_map(|tool| {
            let lines = Some(tool.grants.as_ref()?.lines()).filter(|lines| !lines.is_empty());
            let lines = lines.unwrap_or_else(|| vec!["nothing".into()]);
            Some(lines.into_iter().map(|line| format!("{}: {line}", tool.name)).collect::<Vec<_>>())
        });
        let granted = sheet.grants.lines().into_iter().chain(own.flatten()).collect::<Vec<_>>().join("\n");
        let (tools, asks) = (sheet.tools.len().to_string(), sheet.powers.join(", "));
        table.add_row([name, sheet.effect.name(), &tools, &asks, &granted].map(print::words));
    }
    print::out(format!("{}\n", print::rows(&table)))?;
    print::out(format!("locked: {} in {}", print::many(entries.len(), "component"), lock.file.display()))?;
    Ok(Exit::Ok)
}

/// Says what is not as it was locked.
fn compare(args: &LockArgs, lock: &Lock, entries: &[Entry]) -> Result<Exit, Stop> {
    let differing: Vec<&Entry> = entries.iter().filter(|entry| !entry.locked).collect();
    let exit = if differing.is_empty() { Exit::Ok } else { Exit::DIFFERS };
    if args.json {
        json(lock, entries, false, &[])?;
        return Ok(exit);
    }
    if differing.is_empty() {
        print::out(format!("all is as it was locked: {}", print::many(entries.len(), "component")))?;
        return Ok(exit);
    }
    let pages: Vec<String> = differing.iter().map(|entry| entry.page()).collect();
    print::out(pages.join("\n\n"))?;
    print::note("nothing was changed; `toolpost lock --update` takes it over");
    Ok(exit)
}

/// Takes over what is confirmed, and leaves the rest as it was locked.
async fn update(args: &LockArgs, lock: &Lock, entries: &mut [Entry]) -> Result<Exit, Stop> {
    let mut refused = Vec::new();
    let asked = |entry: &&mut Entry| !entry.locked && args.asks_for(&entry.name);
    for (at, entry) in entries.iter_mut().filter(asked).enumerate() {
        if !args.json {
            print::out(format!("{}{}", if at > 0 { "\n" } else { "" }, entry.page()))?;
        }
        match confirmed(args, entry).await {
            Ok(Said::Yes) => entry.locked = true,
            Ok(Said::No) => refused.push(entry.stays()),
            Ok(Said::Stop) => {
                let line = "called off; nothing was changed".to_owned();
                return Err(Stop { exit: Exit::Policy, lines: vec![line] });
            }
            Err(why) => refused.push(format!("{}: {why}", entry.stays())),
        }
    }
    let taken: Vec<&Entry> = entries.iter().filter(|entry| entry.locked && entry.state != State::Same).collect();
    let words = taken.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ");
    let written = !taken.is_empty();
    if written {
        write(lock, entries)?;
    }
    let exit = if refused.is_empty() { Exit::Ok } else { Exit::Policy };
    if args.json {
        json(lock, entries, written, &refused)?;
        return Ok(exit);
    }
    match (written, refused.is_empty()) {
        (true, _) => print::out(format!("taken over in {}: {}", lock.file.display(), print::words(&words)))?,
        (false, true) => print::out("nothing has changed since it was locked")?,
        (false, false) => {}
    }
    if refused.is_empty() { Ok(exit) } else { Err(Stop { exit, lines: refused }) }
}

/// Whether a component may be locked as it is now: by what the command line says, or by whoever is at the terminal.
async fn confirmed(args: &LockArgs, entry: &Entry) -> Result<Said, String> {
    let (name, wider) = (&entry.name, entry.wider);
    if args.yes && (!wider || args.allow_wider) {
        return Ok(Said::Yes);
    }
    let flags = if wider { "add `--yes --allow-wider`: it can do more than before" } else { "add `--yes`" };
    if args.json {
        return Err(format!("with `--json` nobody is asked; {flags}"));
    }
    let unasked = |why: String| format!("{why}, so nobody can be asked; {flags}");
    // Where the page went elsewhere, it is shown to the one who is asked.
    let shown = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let about = (!shown).then(|| print::visible(&entry.page()));
    if !args.yes || about.is_some() {
        let question = match entry.state {
            State::Gone => format!("take `{name}` out of the lock?"),
            _ => format!("lock `{name}` as it is now?"),
        };
        match confirm::by_key(about.as_deref(), &question).await.map_err(unasked)? {
            Said::Yes => {}
            other => return Ok(other),
        }
    }
    if !wider {
        return Ok(Said::Yes);
    }
    let count = entry.changes.iter().filter(|change| change.way == Way::Wider).count();
    let question = format!("`{name}` can do more than before ({}): allow that?", print::many(count, "line with a +"));
    confirm::in_full(&question).await.map_err(unasked)
}

/// Writes the entries that are locked as they are now, and the others as they were.
fn write(lock: &Lock, entries: &[Entry]) -> Result<(), Stop> {
    let mut sheets = lock.sheets.clone();
    for entry in entries.iter().filter(|entry| entry.locked) {
        match &entry.sheet {
            Some(sheet) => drop(sheets.insert(entry.name.clone(), sheet.clone())),
            None => drop(sheets.remove(&entry.name)),
        }
    }
    let failed =
        |error: std::io::Error| Stop::internal(format!("`{}` cannot be written: {error}", lock.file.display()));
    lock.write(sheets).map_err(failed)
}

fn json(lock: &Lock, entries: &[Entry], written: bool, faults: &[String]) -> Result<(), Stop> {
    let same = entries.iter().all(|entry| entry.locked);
    print::json(&json!({
        "ok": faults.is_empty(),
        "faults": faults,
        "lock": lock.file.display().to_string(),
        "same": same,
        "written": written,
        "components": entries,
    }))
}
