//! Where does a path lead? From folder to folder, each opened from the one before it, by plain names only.
//!
//! Symbolic links are read and gone along here, not by the operating system, so that the path that is judged is the one that is
//! gone. Whoever swaps a folder for a link meanwhile gets an error, and nothing outside is touched: what is opened by its name
//! alone is never followed.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;

use cap_fs_ext::DirExt as _;
use cap_std::fs::{Dir, Metadata};
use toolpost_core::catalog::grants::Denied;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

/// The longest path and the longest name, in bytes.
const PATH_BYTES_MAX: usize = 4_096;
const NAME_BYTES_MAX: usize = 255;

/// The longest path from the granted folder on: what a tool makes goes as deep as it likes, from one folder to the next.
const WAY_BYTES_MAX: usize = 16 << 10;

/// Symbolic links on one way, and folders that are opened on it.
const LINKS_MAX: usize = 40;
const STEPS_MAX: usize = 1_024;

/// Where a path leads.
pub(super) enum Spot {
    /// To a folder that is open now.
    Folder { dir: Arc<Dir>, path: String },
    /// To a name in a folder.
    Entry(Box<Entry>),
}

impl Spot {
    /// The path from the granted folder.
    pub(super) fn path(&self) -> &str {
        match self {
            Spot::Folder { path, .. } => path,
            Spot::Entry(entry) => &entry.path,
        }
    }
}

/// A name in a folder, and what was there a moment ago.
pub(super) struct Entry {
    pub(super) parent: Arc<Dir>,
    pub(super) name: String,
    /// The path from the granted folder.
    pub(super) path: String,
    pub(super) found: Option<Metadata>,
    /// Whether it was asked for as a folder, with a slash at its end.
    pub(super) as_folder: bool,
}

/// Why a path leads nowhere.
#[derive(Debug, PartialEq)]
pub(super) enum Lost {
    /// It leads out of the folder.
    Outside,
    /// It is kept from the tool.
    Denied(String),
    Failed(ErrorCode),
}

impl From<std::io::Error> for Lost {
    fn from(error: std::io::Error) -> Self {
        Lost::Failed(ErrorCode::from(&error))
    }
}

/// The way so far.
struct Walk<'a> {
    base: &'a Arc<Dir>,
    /// The path of the base from the granted folder.
    above: &'a str,
    deny: &'a Denied,
    dir: Arc<Dir>,
    names: Vec<String>,
    rest: VecDeque<String>,
    as_folder: bool,
    /// Whether it ends in a dot: then it leads to the folder itself, not to its name.
    goes_in: bool,
    links: usize,
    steps: usize,
}

/// Goes along a path from a folder. A link at its end is gone along only where that is wanted.
pub(super) fn walk(base: &Arc<Dir>, above: &str, deny: &Denied, path: &str, follow: bool) -> Result<Spot, Lost> {
    if path.is_empty() {
        return Err(Lost::Failed(ErrorCode::NoEntry));
    }
    if above.len() + path.len() > WAY_BYTES_MAX {
        return Err(Lost::Failed(ErrorCode::NameTooLong));
    }
    let (names, rest) = (Vec::new(), VecDeque::new());
    let (dir, as_folder, goes_in, links, steps) = (base.clone(), false, false, 0, 0);
    let mut walk = Walk { base, above, deny, dir, names, rest, as_folder, goes_in, links, steps };
    walk.add(path)?;
    walk.go(follow)
}

impl Walk<'_> {
    fn go(mut self, follow: bool) -> Result<Spot, Lost> {
        while let Some(name) = self.rest.pop_front() {
            if name == ".." {
                self.climb()?;
                continue;
            }
            let path = self.path(Some(&name));
            if self.deny.covers(&path) {
                return Err(Lost::Denied(path));
            }
            let found = match self.dir.symlink_metadata(&name) {
                Ok(found) => Some(found),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(error.into()),
            };
            let is_last = self.rest.is_empty() && !self.goes_in;
            let is_link = found.as_ref().is_some_and(Metadata::is_symlink);
            if is_link && (follow || !is_last) {
                self.along(&name)?;
            } else if is_last {
                let Walk { dir: parent, as_folder, .. } = self;
                return Ok(Spot::Entry(Box::new(Entry { parent, name, path, found, as_folder })));
            } else {
                let found = found.ok_or(Lost::Failed(ErrorCode::NoEntry))?;
                if !found.is_dir() {
                    return Err(Lost::Failed(ErrorCode::NotDirectory));
                }
                self.dir = self.enter(&self.dir.clone(), &name)?;
                self.names.push(name);
            }
        }
        let path = self.path(None);
        Ok(Spot::Folder { dir: self.dir, path })
    }

    /// Puts a path before the rest of the way.
    fn add(&mut self, path: &str) -> Result<(), Lost> {
        if path.starts_with('/') {
            return Err(Lost::Outside);
        }
        if path.contains('\0') {
            return Err(Lost::Failed(ErrorCode::Invalid));
        }
        let is_long = |name: &str| name.len() > NAME_BYTES_MAX;
        if path.len() > PATH_BYTES_MAX || path.split('/').any(is_long) {
            return Err(Lost::Failed(ErrorCode::NameTooLong));
        }
        if self.rest.is_empty() {
            let last = path.rsplit('/').next();
            self.as_folder |= last == Some("");
            self.goes_in |= last == Some(".");
        }
        for name in path.split('/').filter(|name| !matches!(*name, "" | ".")).rev() {
            self.rest.push_front(name.to_owned());
        }
        Ok(())
    }

    /// Goes along a symbolic link.
    fn along(&mut self, name: &str) -> Result<(), Lost> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Lost::Failed(ErrorCode::Loop));
        }
        let to = self.dir.read_link_contents(name)?;
        // Of what is no text nobody could say whether it is kept from the tool.
        let to = to.to_str().ok_or(Lost::Failed(ErrorCode::IllegalByteSequence))?;
        self.add(to)
    }

    /// Goes up, by going the same way from the beginning once more: what a folder has above it may be another one by now.
    fn climb(&mut self) -> Result<(), Lost> {
        if self.names.pop().is_none() {
            return Err(Lost::Outside);
        }
        let mut dir = self.base.clone();
        for name in self.names.clone() {
            dir = self.enter(&dir, &name)?;
        }
        self.dir = dir;
        Ok(())
    }

    fn enter(&mut self, dir: &Dir, name: &str) -> Result<Arc<Dir>, Lost> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(Lost::Failed(ErrorCode::NameTooLong));
        }
        Ok(Arc::new(dir.open_dir_nofollow(name)?))
    }

    fn path(&self, name: Option<&str>) -> String {
        let above = Some(self.above).filter(|above| !above.is_empty());
        let names = above.into_iter().chain(self.names.iter().map(String::as_str)).chain(name);
        names.collect::<Vec<_>>().join("/")
    }
}

/// Whether a link with this text, in this folder, leads to a place below the granted one, by its words alone.
pub(super) fn stays_inside(folder: &str, text: &str) -> bool {
    let mut depth = folder.split('/').filter(|name| !name.is_empty()).count();
    !text.starts_with('/')
        && text.split('/').all(|name| match name {
            "" | "." => true,
            ".." => match depth.checked_sub(1) {
                Some(above) => {
                    depth = above;
                    true
                }
                None => false,
            },
            _ => {
                depth += 1;
                true
            }
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use cap_std::ambient_authority;

    use super::*;

    #[test]
    fn a_way_goes_only_so_deep() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Arc::new(Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap());
        let found = |depth: usize| walk(&dir, &"f/".repeat(depth), &Denied::default(), "a", true);
        assert!(matches!(found(8_000), Ok(Spot::Entry(entry)) if entry.found.is_none()));
        assert_eq!(found(9_000).err(), Some(Lost::Failed(ErrorCode::NameTooLong)));
    }
}
