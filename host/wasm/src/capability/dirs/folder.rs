//! A folder that a guest holds, and what it does with the names in it.

use std::sync::Arc;

use cap_std::fs::{Dir, Metadata};
use rustix::fs::{AtFlags, utimensat};
use toolpost_core::catalog::grants::DirAccess;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, ErrorCode, NewTimestamp};

use super::desk::Place;
use super::file::Opened;
use super::grant::{Act, Share};
use super::times;
use super::walk::{Entry, Lost, Spot, stays_inside, walk};

/// A folder in a granted one, or that itself.
#[derive(Clone)]
pub(super) struct Folder {
    pub(super) share: Arc<Share>,
    pub(super) dir: Arc<Dir>,
    /// The path from the granted folder.
    pub(super) path: String,
    /// Whether it was asked for as one in which something is to change. The grant decides; this is only told.
    pub(super) changes: bool,
    _place: Option<Arc<Place>>,
}

/// What a guest holds.
#[derive(Clone)]
pub(super) enum Descriptor {
    /// A granted folder, by its place among them, which it has in every call of an instance.
    Granted(usize),
    /// What was open in a call that is over.
    Closed,
    Folder(Folder),
    File(Arc<Opened>),
}

pub(super) fn io(error: std::io::Error) -> ErrorCode {
    ErrorCode::from(&error)
}

impl Folder {
    /// The granted folder itself.
    pub(super) fn of(share: &Arc<Share>) -> Self {
        let (dir, changes) = (share.dir.clone(), true);
        Folder { share: share.clone(), dir, path: String::new(), changes, _place: None }
    }

    /// A folder in this one.
    pub(super) fn inner(&self, dir: Arc<Dir>, path: String, changes: bool, place: Place) -> Self {
        Folder { share: self.share.clone(), dir, path, changes, _place: Some(Arc::new(place)) }
    }

    /// Where a path leads.
    pub(super) fn find(&self, act: Act, path: &str, follow: bool) -> Result<Spot, ErrorCode> {
        let spot = walk(&self.dir, &self.path, &self.share.grant.deny, path, follow).map_err(|lost| {
            let asked = if self.path.is_empty() { path.to_owned() } else { format!("{}/{path}", self.path) };
            match lost {
                Lost::Outside if !stays_inside("", path) && stays_inside(&self.path, path) => {
                    self.share.above(act, &asked, &self.path)
                }
                lost => self.share.lost(act, &asked, lost),
            }
        })?;
        self.share.is_on_the_way(act, spot.path())?;
        Ok(spot)
    }

    /// The name to which a path leads, for what is done to names.
    fn name(&self, act: Act, path: &str, for_folder: ErrorCode) -> Result<Entry, ErrorCode> {
        match self.find(act, path, false)? {
            Spot::Entry(entry) => Ok(*entry),
            Spot::Folder { .. } => Err(for_folder),
        }
    }

    pub(super) async fn make(&self, path: &str) -> Result<(), ErrorCode> {
        let entry = self.name(Act::Mkdir, path, ErrorCode::Exist)?;
        if entry.found.is_some() {
            return Err(ErrorCode::Exist);
        }
        self.share.allows(Act::Mkdir, &entry.path)?;
        self.share.take_file(Act::Mkdir, &entry.path)?;
        let passage = self.share.pass(Act::Mkdir, &entry.path, None).await?;
        self.share.desk.change([passage], || entry.parent.create_dir(&entry.name).map_err(io))
    }

    pub(super) async fn remove_file(&self, path: &str) -> Result<(), ErrorCode> {
        let entry = self.name(Act::Delete, path, ErrorCode::IsDirectory)?;
        match entry.there()? {
            found if found.is_dir() => return Err(ErrorCode::IsDirectory),
            _ => self.share.allows(Act::Delete, &entry.path)?,
        }
        let passage = self.share.pass(Act::Delete, &entry.path, None).await?;
        self.share.desk.change([passage], || entry.parent.remove_file(&entry.name).map_err(io))
    }

    pub(super) async fn remove_folder(&self, path: &str) -> Result<(), ErrorCode> {
        let entry = self.name(Act::Delete, path, ErrorCode::Invalid)?;
        match entry.there()? {
            found if !found.is_dir() => return Err(ErrorCode::NotDirectory),
            _ => self.share.allows(Act::Delete, &entry.path)?,
        }
        let passage = self.share.pass(Act::Delete, &entry.path, Some("a folder".into())).await?;
        self.share.desk.change([passage], || entry.parent.remove_dir(&entry.name).map_err(io))
    }

    pub(super) async fn rename(&self, path: &str, to: &Folder, new_path: &str) -> Result<(), ErrorCode> {
        // As between two disks: who wants it there copies it, and each grant is asked.
        if !Arc::ptr_eq(&self.share, &to.share) {
            return Err(ErrorCode::CrossDevice);
        }
        let old = self.name(Act::Rename, path, ErrorCode::Busy)?;
        let new = to.name(Act::Rename, new_path, ErrorCode::Busy)?;
        let found = old.there()?;
        if new.as_folder && !found.is_dir() {
            return Err(ErrorCode::NotDirectory);
        }
        self.share.allows(Act::Rename, &old.path)?;
        // Elsewhere a relative link would lead to somewhere else.
        if found.is_symlink() {
            return Err(self.share.never(Act::Rename, &old.path, "it is a symbolic link"));
        }
        if found.is_dir() && !self.share.grant.deny.is_by_name() {
            return Err(self.share.kept_in_place(&old.path));
        }
        let (is_over, to) = (new.found.is_some(), self.share.shown(&new.path));
        let detail = if is_over { format!("to {to}, in place of what is there") } else { format!("to {to}") };
        // Nothing is under its old name afterwards, and what was under the new one is gone.
        let gone = [(Act::Delete, &*old.path), (Act::Delete, &*new.path)];
        let gone = if is_over { gone.as_slice() } else { &gone[..1] };
        let passage = self.share.pass_on(Act::Rename, [&*old.path, &*new.path], gone, Some(detail)).await?;
        let rename = || {
            // Somebody else has made it while leave was asked for.
            if !is_over && new.parent.symlink_metadata(&new.name).is_ok() {
                return Err(ErrorCode::Exist);
            }
            old.parent.rename(&old.name, &new.parent, &new.name).map_err(io)
        };
        self.share.desk.change([passage], rename)
    }

    pub(super) async fn link(&self, path: &str, to: &Folder, new_path: &str) -> Result<(), ErrorCode> {
        // One file that is in two grants would be under neither.
        if !Arc::ptr_eq(&self.share, &to.share) {
            return Err(ErrorCode::CrossDevice);
        }
        let old = self.name(Act::Create, path, ErrorCode::NotPermitted)?;
        let new = to.name(Act::Create, new_path, ErrorCode::Exist)?;
        let is_file = old.there()?.is_file();
        if new.found.is_some() {
            return Err(ErrorCode::Exist);
        }
        if new.as_folder {
            return Err(ErrorCode::NoEntry);
        }
        self.share.allows_with(DirAccess::Write, Act::Create, &new.path)?;
        if !is_file {
            return Err(self.share.never(Act::Create, &new.path, "what it would be a second name for is no file"));
        }
        self.share.take_file(Act::Create, &new.path)?;
        let detail = format!("a second name for {}", self.share.shown(&old.path));
        // What is written under the new name changes what is under the old one.
        let changes = [(Act::Write, &*old.path)];
        let passage = self.share.pass_on(Act::Create, [&*new.path, &*old.path], &changes, Some(detail)).await?;
        let link = || old.parent.hard_link(&old.name, &new.parent, &new.name).map_err(io);
        self.share.desk.change([passage], link)
    }

    /// What a symbolic link leads to changes under those who follow it, also under those who are no tools.
    pub(super) fn symlink(&self, path: &str) -> Result<(), ErrorCode> {
        let entry = self.name(Act::Create, path, ErrorCode::Exist)?;
        Err(self.share.never(Act::Create, &entry.path, "tools make no symbolic links"))
    }

    pub(super) fn read_link(&self, path: &str) -> Result<String, ErrorCode> {
        let entry = self.name(Act::List, path, ErrorCode::Invalid)?;
        if !entry.there()?.is_symlink() {
            return Err(ErrorCode::Invalid);
        }
        let folder = entry.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let text = entry.parent.read_link_contents(&entry.name).map_err(io)?.into_os_string();
        let text = text.into_string().map_err(|_| ErrorCode::IllegalByteSequence)?;
        // Where a link leads outside is a path of the host.
        if stays_inside(folder, &text) { Ok(text) } else { Err(self.share.outside(Act::List, &entry.path)) }
    }

    /// What may be done with it, and for what it was opened.
    pub(super) fn flags(&self) -> DescriptorFlags {
        let changes = self.changes && self.share.grant.access >= Act::Create.needs();
        let changes = if changes { DescriptorFlags::MUTATE_DIRECTORY } else { DescriptorFlags::empty() };
        DescriptorFlags::READ | changes
    }

    pub(super) fn metadata(&self) -> Result<Metadata, ErrorCode> {
        self.dir.dir_metadata().map_err(io)
    }

    pub(super) fn metadata_at(&self, path: &str, follow: bool) -> Result<Metadata, ErrorCode> {
        match self.find(Act::List, path, follow || path.ends_with('/'))? {
            Spot::Entry(entry) => entry.there().cloned(),
            Spot::Folder { dir, .. } => dir.dir_metadata().map_err(io),
        }
    }

    pub(super) async fn set_times_at(
        &self,
        path: &str,
        follow: bool,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> Result<(), ErrorCode> {
        let times = times::new(accessed, modified)?;
        let (dir, name, path) = match self.find(Act::Write, path, follow || path.ends_with('/'))? {
            Spot::Folder { dir, path } => (dir, ".".to_owned(), path),
            Spot::Entry(entry) => {
                entry.there()?;
                let Entry { parent, name, path, .. } = *entry;
                (parent, name, path)
            }
        };
        self.share.allows(Act::Write, &path)?;
        let passage = self.share.pass(Act::Write, &path, Some("its times".into())).await?;
        let set = || utimensat(&*dir, &name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(times::failed);
        self.share.desk.change([passage], set)
    }
}

impl Entry {
    /// What was found, if there was something of the kind that was asked for.
    fn there(&self) -> Result<&Metadata, ErrorCode> {
        let found = self.found.as_ref().ok_or(ErrorCode::NoEntry)?;
        if self.as_folder && !found.is_dir() { Err(ErrorCode::NotDirectory) } else { Ok(found) }
    }
}
