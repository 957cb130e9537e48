//! Are the files still those of which a host was made? They are looked at, not read: it is asked before tasks are taken up.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files, as they were, and those in folders.
#[derive(Debug)]
pub(super) struct Files(Vec<(PathBuf, Vec<Look>)>);

/// A file, and what tells it from another one in its place; nothing where there is none.
type Look = (PathBuf, Option<Mark>);

#[derive(Debug, PartialEq)]
struct Mark {
    inode: u64,
    bytes: u64,
    /// When it was changed, also by somebody who puts the time of the last write back. Seconds, and billionths of one.
    changed: (i64, i64),
}

impl Files {
    pub(super) fn now(files: Vec<PathBuf>) -> Self {
        let looked = |file: PathBuf| {
            let looks = look(&file);
            (file, looks)
        };
        Files(files.into_iter().map(looked).collect())
    }

    pub(super) fn are_the_same(&self) -> bool {
        self.0.iter().all(|(file, before)| look(file) == *before)
    }
}

fn look(file: &Path) -> Vec<Look> {
    let Ok(entries) = file.read_dir() else { return vec![(file.to_owned(), mark(file))] };
    let files = entries.flatten().map(|entry| entry.path());
    // What else is in a folder is no component.
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|ending| ending == "wasm")).collect();
    files.sort();
    files.into_iter().map(|file| (mark(&file), file)).map(|(mark, file)| (file, mark)).collect()
}

fn mark(file: &Path) -> Option<Mark> {
    let about = file.metadata().ok()?;
    Some(Mark { inode: about.ino(), bytes: about.len(), changed: (about.ctime(), about.ctime_nsec()) })
}
