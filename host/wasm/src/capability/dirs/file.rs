//! An open file: it is read, and written as far as its grant goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use cap_std::fs::{File, FileExt as _, Metadata};
use futures_util::future::BoxFuture;
use rustix::fs::OFlags;
use toolpost_core::CallError;
use toolpost_core::catalog::grants::DirAccess;
use toolpost_core::effect::Passage;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, ErrorCode, NewTimestamp};

use super::desk::{Judged, Leave, Place};
use super::grant::{Act, Share};
use super::times;

/// What is read or written in one go, in bytes.
pub(super) const CHUNK_BYTES_MAX: usize = 64 << 10;

/// A file that a guest has opened.
pub(super) struct Opened {
    pub(super) share: Arc<Share>,
    /// The path from the granted folder.
    pub(super) path: String,
    pub(super) file: File,
    pub(super) reads: bool,
    pub(super) writes: bool,
    /// Whether leave was had to write to it, and to add to it: it is asked for once for all that is written.
    may_write: AtomicBool,
    may_append: AtomicBool,
    _place: Place,
}

/// Where in a file something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    At(u64),
    End,
}

/// What kept a write from being begun.
enum Kept {
    By(CallError, ErrorCode),
    Failed(ErrorCode),
}

impl From<std::io::Error> for Kept {
    fn from(error: std::io::Error) -> Self {
        Kept::Failed(ErrorCode::from(&error))
    }
}

impl Opened {
    pub(super) fn new(
        share: &Arc<Share>,
        path: String,
        file: File,
        (reads, writes): (bool, bool),
        place: Place,
    ) -> Self {
        let [may_write, may_append] = [false, false].map(AtomicBool::new);
        Opened { share: share.clone(), path, file, reads, writes, may_write, may_append, _place: place }
    }

    /// It was emptied as it was opened, with leave to write to it.
    pub(super) fn emptied(&self) {
        self.may_write.store(true, Ordering::Relaxed);
    }

    /// Does a piece of work on it off the threads that serve calls.
    pub(super) fn off<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ErrorCode>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, ErrorCode>> {
        Box::pin(self.share.off(work))
    }

    /// Reads at most so many bytes; none at the end of the file.
    pub(super) fn read(&self, offset: u64, bytes: usize) -> Result<Bytes, ErrorCode> {
        if !self.reads {
            return Err(ErrorCode::BadDescriptor);
        }
        let mut buffer = vec![0; bytes.min(CHUNK_BYTES_MAX)];
        let read = again(|| self.file.read_at(&mut buffer, offset))?;
        buffer.truncate(read);
        Ok(Bytes::from(buffer))
    }

    /// Writes all of the bytes, or nothing where they are too many.
    pub(super) async fn write(&self, bytes: Bytes, to: To) -> Result<(), ErrorCode> {
        if !self.writes {
            return Err(ErrorCode::BadDescriptor);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let act = if to == To::End || !self.changes() { Act::Append } else { Act::Write };
        self.share.take_bytes(act, &self.path, bytes.len() as u64)?;
        self.altered(act, None, || self.writing(&bytes, to)).await
    }

    /// Makes it longer or shorter.
    pub(super) async fn set_size(&self, size: u64) -> Result<(), ErrorCode> {
        if !self.writes {
            return Err(ErrorCode::Invalid);
        }
        self.share.allows(Act::Write, &self.path)?;
        let now = self.metadata()?.len();
        // As for a hole that is written behind.
        self.share.take_bytes(Act::Write, &self.path, size.saturating_sub(now))?;
        self.altered(Act::Write, Some(format!("{size} bytes long")), || {
            if let Err(kept) = self.room(size) {
                return (Err(kept), Some(Passage::refused));
            }
            let set = self.file.set_len(size).map_err(Kept::from);
            let fate = if set.is_ok() { Passage::done } else { Passage::failed };
            (set, Some(fate))
        })
        .await
    }

    pub(super) async fn set_times(&self, accessed: NewTimestamp, modified: NewTimestamp) -> Result<(), ErrorCode> {
        self.share.allows(Act::Write, &self.path)?;
        let times = times::new(accessed, modified)?;
        let passage = self.share.pass(Act::Write, &self.path, Some("its times".into())).await?;
        let set = || rustix::fs::futimens(&self.file, &times).map_err(times::failed);
        self.share.desk.change([passage], set)
    }

    /// Has the operating system write down what it holds of it.
    pub(super) fn sync(&self, data_only: bool) -> Result<(), ErrorCode> {
        if !self.writes {
            return Ok(());
        }
        let synced = if data_only { self.file.sync_data() } else { self.file.sync_all() };
        synced.map_err(|error| ErrorCode::from(&error))
    }

    /// For what it was opened.
    pub(super) fn flags(&self) -> Result<DescriptorFlags, ErrorCode> {
        let open = rustix::fs::fcntl_getfl(&self.file).map_err(times::failed)?;
        let set = [
            (self.reads, DescriptorFlags::READ),
            (self.writes, DescriptorFlags::WRITE),
            (open.contains(OFlags::SYNC), DescriptorFlags::FILE_INTEGRITY_SYNC),
            (open.contains(OFlags::DSYNC), DescriptorFlags::DATA_INTEGRITY_SYNC),
        ];
        let set = set.into_iter().filter(|(is_set, _)| *is_set);
        Ok(set.fold(DescriptorFlags::empty(), |flags, (_, flag)| flags | flag))
    }

    pub(super) fn metadata(&self) -> Result<Metadata, ErrorCode> {
        self.file.metadata().map_err(|error| ErrorCode::from(&error))
    }

    /// Whether what is there may become something else.
    fn changes(&self) -> bool {
        self.share.grant.access >= DirAccess::Write
    }

    /// Alters the file, with leave that was had before or is had now.
    async fn altered(
        &self,
        act: Act,
        detail: Option<String>,
        work: impl FnOnce() -> Judged<(), Kept>,
    ) -> Result<(), ErrorCode> {
        let had = if act == Act::Append { &self.may_append } else { &self.may_write };
        let passage = match had.load(Ordering::Relaxed) && detail.is_none() {
            true => None,
            false => Some(self.share.pass(act, &self.path, detail).await?),
        };
        let is_first = passage.is_some();
        had.store(true, Ordering::Relaxed);
        let work = || {
            let (done, fate) = work();
            let done = done.map_err(|kept| match kept {
                Kept::Failed(code) => code,
                // It stands among the refused already where it had leave of its own.
                Kept::By(why, code) if is_first => {
                    self.share.attempt.keep_from(why);
                    code
                }
                Kept::By(why, code) => self.share.refuse(act, &self.path, why, code),
            });
            (done, fate)
        };
        self.share.desk.judged(Leave(passage.into_iter().collect()), work)
    }

    fn writing(&self, bytes: &[u8], to: To) -> Judged<(), Kept> {
        let at = match self.place(bytes.len() as u64, to) {
            Ok(at) => at,
            Err(kept @ Kept::By(..)) => return (Err(kept), Some(Passage::refused)),
            Err(kept) => return (Err(kept), Some(Passage::failed)),
        };
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            let wrote = again(|| match at {
                To::At(offset) => self.file.write_at(rest, offset.saturating_add(written as u64)),
                To::End => append(&self.file, rest),
            });
            match wrote {
                Ok(0) => return (Err(Kept::Failed(ErrorCode::Io)), None),
                Ok(bytes) => written += bytes,
                // Of a part of it, nobody can say that it did not happen.
                Err(error) => {
                    let fate = (written == 0).then_some(Passage::failed as fn(Passage));
                    return (Err(error.into()), fate);
                }
            }
        }
        (Ok(()), Some(Passage::done))
    }

    /// Where so many bytes are to be written, if they may be.
    fn place(&self, bytes: u64, to: To) -> Result<To, Kept> {
        let end = || Ok::<_, Kept>(self.file.metadata()?.len());
        match to {
            To::At(offset) => {
                self.room(offset.saturating_add(bytes))?;
                let end = end()?;
                if self.changes() {
                    // A hole takes no room, but what is read out of it does.
                    let hole = self.share.count_bytes(offset.saturating_sub(end));
                    return hole.map(|()| to).map_err(|why| Kept::By(why, ErrorCode::Quota));
                }
                if offset != end {
                    return Err(Kept::By(self.share.only_adds(&self.path), ErrorCode::NotPermitted));
                }
            }
            To::End => self.room(end()?.saturating_add(bytes))?,
        }
        Ok(To::End)
    }

    /// Whether it may be so long.
    fn room(&self, size: u64) -> Result<(), Kept> {
        if size <= self.share.grant.max_file.0 {
            return Ok(());
        }
        Err(Kept::By(self.share.too_long(&self.path), ErrorCode::FileTooLarge))
    }
}

fn again<T>(mut act: impl FnMut() -> std::io::Result<T>) -> Result<T, ErrorCode> {
    loop {
        match act() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            done => return done.map_err(|error| ErrorCode::from(&error)),
        }
    }
}

impl From<ErrorCode> for Kept {
    fn from(code: ErrorCode) -> Self {
        Kept::Failed(code)
    }
}

/// Adds to the end of a file, wherever that is by now: two calls that write to one log must not write over one another.
fn append(file: &File, bytes: &[u8]) -> std::io::Result<usize> {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::{Errno, ReadWriteFlags, pwritev2};

        match pwritev2(file, &[std::io::IoSlice::new(bytes)], 0, ReadWriteFlags::APPEND) {
            Err(Errno::NOSYS | Errno::NOTSUP) => {}
            written => return Ok(written?),
        }
    }
    file.write_at(bytes, file.metadata()?.len())
}
