//! The names in a folder, a few at a time: a folder may have more of them than the host wants to hold.

use std::collections::VecDeque;

use cap_std::fs::ReadDir;
use toolpost_core::Level;
use wasmtime_wasi::p2::bindings::filesystem::types::{DirectoryEntry, ErrorCode};

use super::desk::Place;
use super::folder::Folder;
use super::grant::Act;
use super::times;

/// Names that are read at once.
const NAMES_MAX: usize = 64;

/// What the operating system holds open for a folder that is read.
const FILES: u32 = 2;

/// A folder that is read; nothing once its call is over.
pub(super) struct Listing(Option<Reading>);

/// What of it was read. What is kept from the tool is not in it.
struct Reading {
    folder: Folder,
    rest: Option<ReadDir>,
    next: VecDeque<DirectoryEntry>,
    /// Whether it was said that there are names which no guest can be told.
    said: bool,
    _place: Place,
}

/// Some of the names, with those that follow.
struct Part {
    names: VecDeque<DirectoryEntry>,
    rest: Option<ReadDir>,
    /// Whether there were names that no guest can be told.
    left_out: bool,
}

impl Listing {
    pub(super) async fn new(folder: &Folder) -> Result<Self, ErrorCode> {
        let share = &folder.share;
        let place = share.desk.place(FILES)?;
        let passage = share.pass(Act::List, &folder.path, None).await?;
        let rest = share.desk.change([passage], || folder.dir.entries().map_err(|error| ErrorCode::from(&error)))?;
        let (folder, rest, next) = (folder.clone(), Some(rest), VecDeque::new());
        Ok(Listing(Some(Reading { folder, rest, next, said: false, _place: place })))
    }

    /// Reads no further; says whether it could have been.
    pub(super) fn close(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// The next name; nothing behind the last.
    pub(super) async fn next(&mut self) -> Result<Option<DirectoryEntry>, ErrorCode> {
        self.0.as_mut().ok_or(ErrorCode::BadDescriptor)?.next().await
    }
}

impl Reading {
    async fn next(&mut self) -> Result<Option<DirectoryEntry>, ErrorCode> {
        loop {
            if let Some(entry) = self.next.pop_front() {
                return Ok(Some(entry));
            }
            let Some(rest) = self.rest.take() else { return Ok(None) };
            let folder = self.folder.clone();
            let part = self.folder.share.off(async move { read(rest, &folder) }).await?;
            (self.next, self.rest) = (part.names, part.rest);
            if part.left_out && !self.said {
                self.said = true;
                let shown = self.folder.share.shown(&self.folder.path);
                let line = format!("`{shown}` has names that are no text; they are left out");
                self.folder.share.attempt.log(Level::Warn, &line);
            }
        }
    }
}

fn read(mut rest: ReadDir, folder: &Folder) -> Result<Part, ErrorCode> {
    let io = |error: std::io::Error| ErrorCode::from(&error);
    let mut part = Part { names: VecDeque::new(), rest: None, left_out: false };
    for _ in 0..NAMES_MAX {
        let Some(entry) = rest.next() else { return Ok(part) };
        let entry = entry.map_err(io)?;
        let Ok(name) = entry.file_name().into_string() else {
            part.left_out = true;
            continue;
        };
        let path = if folder.path.is_empty() { name.clone() } else { format!("{}/{name}", folder.path) };
        if folder.share.grant.deny.covers(&path) {
            continue;
        }
        // What is gone meanwhile is not there.
        if let Ok(file_type) = entry.file_type() {
            part.names.push_back(DirectoryEntry { type_: times::kind(file_type), name });
        }
    }
    part.rest = Some(rest);
    Ok(part)
}
