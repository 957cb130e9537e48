//! Results that were too long for their reader, whole: a file each, in a folder of the store.
//!
//! A file is written beside its place and then put there at once, so that nobody sees half of one. What is older than its
//! time is gone; where all of them would take more than their share, the oldest make room.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use toolpost_core::Artifacts;
use toolpost_core::tell::ArtifactError;
use toolpost_core::tell::artifact::{Whole, artifact_name};

use super::Store;
use super::private::make_dir;
use crate::settings::ArtifactSettings;

/// How much all artifacts take, in bytes, and how long one is kept, unless settings say otherwise.
const QUOTA: u64 = 1 << 30;
const TTL: Duration = Duration::from_secs(7 * 86_400);

/// The most artifacts of one store.
const ARTIFACTS_MAX: usize = 10_000;

/// Artifacts that are written at once; more wait.
const WRITING_MAX: usize = 4;

/// What was begun so long ago will not be ended any more.
const PART_TIME_MAX: Duration = Duration::from_secs(3_600);

/// The ending of what is not whole yet.
const PART: &str = ".part";

/// The artifacts of a store.
#[derive(Clone, Debug)]
pub struct Folder {
    dir: PathBuf,
    quota: u64,
    ttl: Duration,
    writing: Arc<Semaphore>,
}

/// One artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was kept.
    pub since: SystemTime,
}

impl Store {
    /// The artifacts, with these settings. Nothing is read or made yet.
    #[must_use]
    pub fn artifacts(&self, settings: &ArtifactSettings) -> Folder {
        Folder {
            dir: self.dir().join("artifacts"),
            quota: settings.quota.map_or(QUOTA, |bytes| bytes.0),
            ttl: settings.ttl.map_or(TTL, |span| span.0),
            writing: Arc::new(Semaphore::new(WRITING_MAX)),
        }
    }
}

impl Folder {
    /// The artifacts, the latest first. It blocks on the disk.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> io::Result<Vec<Kept>> {
        let mut all = self.files()?;
        all.retain(|kept| is_name(&kept.name) && !is_older(kept, self.ttl));
        all.sort_by(|one, other| other.since.cmp(&one.since).then_with(|| one.name.cmp(&other.name)));
        Ok(all)
    }

    /// Opens an artifact; nothing where there is none of that name. It blocks on the disk.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(&self, name: &str) -> io::Result<Option<File>> {
        if !is_name(name) {
            return Ok(None);
        }
        // Not through a link, and not for ever where it is no file.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(self.dir.join(name));
        let Some(file) = found(file)? else { return Ok(None) };
        let about = file.metadata()?;
        let kept = Kept { name: name.to_owned(), bytes: about.len(), since: about.modified()? };
        Ok((about.is_file() && !is_older(&kept, self.ttl)).then_some(file))
    }

    /// Removes an artifact; says whether there was one. It blocks on the disk.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        if !is_name(name) {
            return Ok(false);
        }
        Ok(found(std::fs::remove_file(self.dir.join(name)))?.is_some())
    }

    fn write(&self, whole: &Whole) -> io::Result<String> {
        make_dir(&self.dir)?;
        self.make_room(whole.bytes())?;
        let part = Part(self.dir.join(format!(".{:016x}{PART}", fastrand::u64(..))));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part.0)?;
        let mut hashed = Hashed { to: BufWriter::new(file), hash: Sha256::new() };
        whole.write(&mut hashed)?;
        hashed.to.flush()?;
        hashed.to.get_ref().sync_data()?;
        let name = artifact_name(whole, &hashed.hash.finalize().into());
        std::fs::rename(&part.0, self.dir.join(&name))?;
        Ok(name)
    }

    /// Removes what is over, and as many of the oldest as it takes.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        if bytes > self.quota {
            return Err(io::Error::other(format!("it has {bytes} bytes; `artifacts.quota` allows {}", self.quota)));
        }
        let mut all = self.files()?;
        all.sort_by_key(|kept| kept.since);
        let mut left = all.len();
        let mut taken: u64 = all.iter().map(|kept| kept.bytes).sum();
        for kept in &all {
            let time = if kept.name.ends_with(PART) { PART_TIME_MAX } else { self.ttl };
            let is_full = taken.saturating_add(bytes) > self.quota || left >= ARTIFACTS_MAX;
            let may_go = !kept.name.ends_with(PART) || is_older(kept, time);
            if may_go && (is_full || is_older(kept, time)) {
                // Another host may have removed it.
                found(std::fs::remove_file(self.dir.join(&kept.name)))?;
                taken -= kept.bytes;
                left -= 1;
            }
        }
        Ok(())
    }

    /// Every file that is ours.
    fn files(&self) -> io::Result<Vec<Kept>> {
        let Some(entries) = found(std::fs::read_dir(&self.dir))? else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_ours = is_name(&name) || name.starts_with('.') && name.ends_with(PART);
            // What another host has just removed is not there any more.
            let Some(about) = found(entry.metadata())?.filter(|about| is_ours && about.is_file()) else { continue };
            files.push(Kept { name, bytes: about.len(), since: about.modified()? });
        }
        Ok(files)
    }
}

impl Artifacts for Folder {
    fn keep(&self, whole: Whole) -> BoxFuture<'_, Result<String, ArtifactError>> {
        async move {
            let permit = self.writing.clone().acquire_owned().await;
            let folder = self.clone();
            // Not on a thread that serves others.
            let written = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                folder.write(&whole)
            });
            written.await.map_err(io::Error::other).flatten().map_err(|error| {
                tracing::warn!(%error, "a result cannot be kept as an artifact");
                ArtifactError(error.to_string())
            })
        }
        .boxed()
    }
}

/// A file that is being written. What was not put in its place goes.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

struct Hashed<W> {
    to: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Whether this can be the name of an artifact. Such a name leads to no other folder.
fn is_name(name: &str) -> bool {
    let plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.');
    let ending = Path::new(name).extension();
    name.len() <= 80
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && name.bytes().all(plain)
        && ending.is_some_and(|ending| ending == "txt" || ending == "json")
}

fn is_older(kept: &Kept, span: Duration) -> bool {
    // What comes from the future, by a clock that was set back, is new.
    kept.since.elapsed().is_ok_and(|age| age > span)
}

/// Nothing where there is no such file.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
