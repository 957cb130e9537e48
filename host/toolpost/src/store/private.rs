//! A folder and files for the user alone: what tools were called with is nobody else's business, and what decides whether a
//! call runs (rules, answers, the state of keys) counts only where nobody else can have written it.

use std::fs::{DirBuilder, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use toolpost_wasm::{is_ours, is_owned};

/// Makes the folder where it is not there.
///
/// # Errors
/// It cannot be made, or others can write there.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    check(dir, &dir.metadata()?)
}

/// Makes the file where it is not there; nobody else can read it, whatever the process lets others do by default.
///
/// One that is there is not opened: closing it would give up the locks that a database of this process has on it (POSIX locks
/// belong to the process, not to who took them).
///
/// # Errors
/// It cannot be made, or others can write to it.
pub(crate) fn make_file(file: &Path) -> Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    check(file, &file.metadata()?)
}

/// Why what is there does not count, if anything is: others can have written it.
pub(crate) fn fault_of(path: &Path) -> Option<String> {
    match path.metadata() {
        Ok(about) => fault(path, &about),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some(format!("cannot be looked at: {error}")),
    }
}

/// Refuses what others can have written.
///
/// # Errors
/// They can.
pub(crate) fn check(path: &Path, about: &Metadata) -> Result<()> {
    fault(path, about).map_or(Ok(()), |fault| Err(Error::other(format!("`{}` {fault}", path.display()))))
}

fn fault(path: &Path, about: &Metadata) -> Option<String> {
    if !is_owned(about) {
        return Some("belongs to another user; name a folder of your own as `store.dir`".into());
    }
    let open = !is_ours(about);
    open.then(|| format!("can be written by others; `chmod go-w {}` would make it yours alone", path.display()))
}
