//! How a file or folder is opened: it is found, leave is had for what is done by that, and it is opened by its name alone.

use std::sync::Arc;

use cap_fs_ext::{DirExt as _, FollowSymlinks, OpenOptionsFollowExt as _, OpenOptionsSyncExt as _};
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, ErrorCode, OpenFlags};

use super::file::Opened;
use super::folder::{Descriptor, Folder, io};
use super::grant::{Act, Share};
use super::walk::{Entry, Spot};

/// How often it is tried to open a file that others make and delete.
const OPENINGS_MAX: usize = 8;

/// What was found is something else by now. No call of the operating system that is made here fails with this.
const CHANGED: ErrorCode = ErrorCode::WouldBlock;

/// How a file is to be opened.
#[derive(Clone, Copy)]
struct How {
    reads: bool,
    writes: bool,
    /// Whether what is written is on the disk when the call comes back: all of it, or its data.
    syncs: OFlags,
    /// For a folder: whether what is in it is to change.
    changes: bool,
    is_new: bool,
    /// Whether it is to be empty, and whether something is lost by that.
    truncates: bool,
    empties: bool,
}

impl Folder {
    pub(super) async fn open(
        &self,
        path: &str,
        follow: bool,
        flags: OpenFlags,
        wanted: DescriptorFlags,
    ) -> Result<Descriptor, ErrorCode> {
        for _ in 0..OPENINGS_MAX {
            match self.open_once(path, follow, flags, wanted).await {
                // Somebody else has made it meanwhile, so now it is there to be opened.
                Err(ErrorCode::Exist) if !flags.contains(OpenFlags::EXCLUSIVE) => {}
                Err(CHANGED) => {}
                opened => return opened,
            }
        }
        Err(ErrorCode::Busy)
    }

    async fn open_once(
        &self,
        path: &str,
        follow: bool,
        flags: OpenFlags,
        wanted: DescriptorFlags,
    ) -> Result<Descriptor, ErrorCode> {
        let wants = |flag| wanted.contains(flag);
        let (reads, writes) = (wants(DescriptorFlags::READ), wants(DescriptorFlags::WRITE));
        let (makes, truncates) = (flags.contains(OpenFlags::CREATE), flags.contains(OpenFlags::TRUNCATE));
        let changes = wants(DescriptorFlags::MUTATE_DIRECTORY);
        let syncs = |flag, bits: OFlags| if wants(flag) { bits } else { OFlags::empty() };
        let syncs = syncs(DescriptorFlags::FILE_INTEGRITY_SYNC, OFlags::SYNC)
            | syncs(DescriptorFlags::DATA_INTEGRITY_SYNC, OFlags::DSYNC);
        let how = How { reads, writes, syncs, changes, is_new: false, truncates, empties: truncates };
        // What is to be new is not where a link leads.
        let follow = (follow || path.ends_with('/')) && !(makes && flags.contains(OpenFlags::EXCLUSIVE));
        let act = match (makes, how.writes || how.empties) {
            (true, _) => Act::Create,
            (false, true) => Act::Write,
            (false, false) => Act::Read,
        };
        let entry = match self.find(act, path, follow)? {
            Spot::Folder { dir, path } => return self.opened(how, flags, || Ok(dir), path),
            Spot::Entry(entry) => *entry,
        };
        match &entry.found {
            None if !makes => Err(ErrorCode::NoEntry),
            None if flags.contains(OpenFlags::DIRECTORY) => Err(ErrorCode::Invalid),
            None if entry.as_folder => Err(ErrorCode::IsDirectory),
            None => self.create(entry, how).await,
            Some(_) if makes && flags.contains(OpenFlags::EXCLUSIVE) => Err(ErrorCode::Exist),
            Some(found) if found.is_dir() => {
                let Entry { parent, name, path, .. } = entry;
                self.opened(how, flags, || Ok(Arc::new(parent.open_dir_nofollow(name).map_err(io)?)), path)
            }
            Some(_) if entry.as_folder || flags.contains(OpenFlags::DIRECTORY) => Err(ErrorCode::NotDirectory),
            Some(found) if found.is_symlink() => Err(ErrorCode::Loop),
            Some(found) if !found.is_file() => {
                Err(self.share.never(act, &entry.path, "it is neither a file nor a folder"))
            }
            Some(found) => {
                let length = found.len();
                self.take(entry, how, makes, length).await
            }
        }
    }

    /// A folder, opened.
    fn opened(
        &self,
        how: How,
        flags: OpenFlags,
        open: impl FnOnce() -> Result<Arc<Dir>, ErrorCode>,
        path: String,
    ) -> Result<Descriptor, ErrorCode> {
        if flags.contains(OpenFlags::EXCLUSIVE) {
            return Err(ErrorCode::Exist);
        }
        if how.writes || how.empties || flags.contains(OpenFlags::CREATE) {
            return Err(ErrorCode::IsDirectory);
        }
        let place = self.share.desk.place(1)?;
        Ok(Descriptor::Folder(self.inner(open()?, path, how.changes, place)))
    }

    /// A file that was not there.
    async fn create(&self, entry: Entry, how: How) -> Result<Descriptor, ErrorCode> {
        let Share { desk, .. } = &*self.share;
        self.share.allows(Act::Create, &entry.path)?;
        let place = desk.place(1)?;
        self.share.take_file(Act::Create, &entry.path)?;
        let passage = self.share.pass(Act::Create, &entry.path, None).await?;
        let Entry { parent, name, path, .. } = entry;
        let how = How { is_new: true, truncates: false, empties: false, ..how };
        let file = desk.change([passage], || file(&parent, &name, how))?;
        Ok(Descriptor::File(Arc::new(Opened::new(&self.share, path, file, (how.reads, how.writes), place))))
    }

    /// A file that is there.
    async fn take(&self, entry: Entry, how: How, makes: bool, length: u64) -> Result<Descriptor, ErrorCode> {
        let Share { desk, .. } = &*self.share;
        // What is empty already is not changed by being emptied.
        let how = How { empties: how.empties && length > 0, ..how };
        if how.empties {
            self.share.allows(Act::Write, &entry.path)?;
        }
        if how.writes {
            self.share.allows(Act::Append, &entry.path)?;
        }
        if how.reads {
            self.share.allows(Act::Read, &entry.path)?;
        }
        let place = desk.place(1)?;
        let mut passages = Vec::new();
        if how.reads {
            passages.push(self.share.pass(Act::Read, &entry.path, None).await?);
        }
        if how.empties {
            passages.push(self.share.pass(Act::Write, &entry.path, Some("emptied".into())).await?);
        }
        let Entry { parent, name, path, .. } = entry;
        let file = desk.change(passages, || file(&parent, &name, how)).map_err(|code| match code {
            // Somebody else has deleted it meanwhile, so now it is there to be made.
            ErrorCode::NoEntry if makes => CHANGED,
            code => code,
        })?;
        let opened = Opened::new(&self.share, path, file, (how.reads, how.writes), place);
        if how.empties {
            opened.emptied();
        }
        Ok(Descriptor::File(Arc::new(opened)))
    }
}

/// Opens a file by its name alone. What it turns out to be may be something else than what was found a moment ago, and must not
/// keep us waiting.
fn file(parent: &Dir, name: &str, how: How) -> Result<File, ErrorCode> {
    let mut options = OpenOptions::new();
    options.read(how.reads || !how.writes).write(how.writes || how.empties || how.is_new).create_new(how.is_new);
    options.follow(FollowSymlinks::No).nonblock(true);
    options.custom_flags(how.syncs.bits().cast_signed());
    let file = parent.open_with(name, &options).map_err(io)?;
    let found = file.metadata().map_err(io)?;
    if !found.is_file() {
        return Err(ErrorCode::NotPermitted);
    }
    // It was empty when leave was asked for.
    if how.truncates && !how.empties && found.len() > 0 {
        return Err(CHANGED);
    }
    if how.empties {
        file.set_len(0).map_err(io)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use cap_std::ambient_authority;
    use rustix::fs::fcntl_getfl;

    use super::*;

    #[test]
    fn a_file_is_written_through_where_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap();
        for (syncs, name) in [(OFlags::empty(), "a"), (OFlags::DSYNC, "b"), (OFlags::SYNC, "c")] {
            let how = How {
                reads: false,
                writes: true,
                syncs,
                changes: false,
                is_new: true,
                truncates: false,
                empties: false,
            };
            let opened = file(&dir, name, how).unwrap();
            assert_eq!(fcntl_getfl(&opened).unwrap() & (OFlags::SYNC | OFlags::DSYNC), syncs);
        }
    }
}
