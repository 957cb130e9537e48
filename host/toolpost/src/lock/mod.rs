//! `toolpost.lock`: what was reviewed of each component that the settings name. Is that still what is there?
//!
//! For each component the lock has a [`Sheet`]: the digest of its file, what it imports, what it is granted, what agents are
//! told of its tools. Where a lock stands beside the settings (`toolpost.lock` beside `toolpost.toml`), the same sheet is made
//! anew whenever components are loaded, and a component that is not what its sheet says is refused: another file, another
//! grant, other words for agents. The others serve.
//!
//! **Why all of the sheet, and not the digest alone.** The digest is enough to know that the file is the same. But people
//! review the sheet: a line of it that is not so would pass for the truth, and a grant that was widened afterwards would
//! stand beside a lock that says otherwise. So what stands there holds, or the component does not run.
//!
//! 1. A file is read once. Another digest is refused before anything is made of the bytes.
//! 2. What was loaded is put on a sheet, which has to be the one in the lock.
//! 3. When all are loaded, it is known what each may call. A component that may call more than in the lock, or what can do more
//!    than it could, is refused; what is missing, because it was refused itself, takes nobody with it.
//!
//! Components that settings do not name (those of a command line) are granted nothing, and are not in the lock. Nor is what
//! the names in grants stand for: which database, which store.

mod change;
mod file;
mod sheet;

use std::path::{Path, PathBuf};

use toolpost_core::catalog::grants::Way;
use toolpost_wasm::{Engine, Source};

pub use self::change::{About, Change};
pub use self::file::Lock;
pub use self::sheet::{Sheet, ToolSheet};
use crate::build::{Fault, engine};
use crate::settings::Settings;

/// The most changes that a refusal names.
const NAMED_MAX: usize = 3;

impl Lock {
    /// The lock beside the settings, where they are from a file. Without one in that place, it has no components.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn beside(settings: &Settings) -> Result<Option<Self>, Vec<crate::settings::Fault>> {
        settings.lock_file().map(|file| Lock::read(&file)).transpose()
    }
}

/// What a lock says of components on their way into a host.
pub(crate) enum Judge {
    /// There is none: everything is taken as it is.
    Nobody,
    Lock(Lock),
    /// There is one that cannot be read, of that name.
    Unread(String),
}

impl Judge {
    /// The judge of components that settings name, and what is wrong with it.
    pub(crate) fn beside(settings: &Settings) -> (Self, Vec<Fault>) {
        match Lock::beside(settings) {
            Ok(Some(lock)) if lock.is_there() => (Judge::Lock(lock), Vec::new()),
            Ok(_) => (Judge::Nobody, Vec::new()),
            Err(faults) => {
                let name = settings.lock_file().and_then(|file| Some(file.file_name()?.to_string_lossy().into_owned()));
                (Judge::Unread(name.unwrap_or_default()), faults.into_iter().map(Fault::from).collect())
            }
        }
    }

    /// Whether the file may be looked at any further.
    ///
    /// # Errors
    /// It is not the one that was locked; the error says what would help.
    pub(crate) fn judge_file(&self, name: &str, source: &Source) -> Result<(), String> {
        let lock = match self {
            Judge::Nobody => return Ok(()),
            Judge::Unread(lock) => {
                return Err(format!("it cannot be compared with `{lock}`, which is not as it should be"));
            }
            Judge::Lock(lock) => lock,
        };
        match lock.sheets.get(name) {
            None => Err(format!(
                "it is not in `{}`; look at it with `toolpost inspect`, and take it in with `toolpost lock --update {name}`",
                lock.name()
            )),
            Some(sheet) if sheet.digest != source.digest => Err(format!(
                "its file is not the one that was locked: it is {}, and `{}` has {}; {}",
                short(&source.digest),
                lock.name(),
                short(&sheet.digest),
                help(name)
            )),
            Some(_) => Ok(()),
        }
    }

    /// Whether what was loaded is what was locked.
    ///
    /// # Errors
    /// It is not; the error says in what, and what would help.
    pub(crate) fn judge(&self, name: &str, sheet: impl FnOnce() -> Sheet) -> Result<(), String> {
        let Judge::Lock(lock) = self else { return Ok(()) };
        let changes = sheet().alone().changes_since(lock.sheets.get(name).map(Sheet::alone).as_ref());
        refused(lock, name, &changes)
    }

    /// Whether a component that was loaded may call no more than was locked, now that all are.
    ///
    /// # Errors
    /// It may; the error says what, and what would help.
    pub(crate) fn judge_calls(&self, name: &str, sheet: impl FnOnce() -> Sheet) -> Result<(), String> {
        let Judge::Lock(lock) = self else { return Ok(()) };
        // Whether there is one was judged before.
        let Some(was) = lock.sheets.get(name) else { return Ok(()) };
        let mut changes = sheet().changes_since(Some(was));
        changes.retain(|change| change.about == About::Calls && change.way == Way::Wider);
        refused(lock, name, &changes)
    }
}

fn refused(lock: &Lock, name: &str, changes: &[Change]) -> Result<(), String> {
    if changes.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = changes.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = changes.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(format!("it is not as it was locked in `{}`: {}{more}; {}", lock.name(), named.join("; "), help(name)))
}

/// As much of a digest as tells it from another one.
fn short(digest: &str) -> String {
    let kept: String = digest.chars().take("sha256:".len() + 12).collect();
    if kept.len() < digest.len() { format!("{kept}..") } else { kept }
}

fn help(name: &str) -> String {
    format!("`toolpost lock` shows what changed, and `toolpost lock --update {name}` takes it over")
}

/// The sheets of component files by themselves, with nothing granted and nothing said of them.
///
/// # Errors
/// One of them cannot be loaded.
///
/// # Cancel safety
/// Dropping the future leaves a compilation to its end, which only fills the cache.
pub async fn sheets_of<const N: usize>(files: [PathBuf; N]) -> Result<[Sheet; N], String> {
    let sheets = move || {
        let engine = engine(&Settings::default(), Settings::default().engine_options())?;
        let sheet = |file: &PathBuf| sheet_of(&engine, file);
        let sheets = files.iter().map(sheet).collect::<Result<Vec<_>, _>>()?;
        <[Sheet; N]>::try_from(sheets).map_err(|_| "a file has no sheet".to_owned())
    };
    tokio::task::spawn_blocking(sheets).await.map_err(|error| format!("loading failed: {error}"))?
}

fn sheet_of(engine: &Engine, file: &Path) -> Result<Sheet, String> {
    engine.load_file("it", file).map(|component| Sheet::of(&component)).map_err(|error| error.message)
}
