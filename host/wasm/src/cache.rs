//! Compiled code on disk, so that a component is compiled once and not at every start.
//!
//! Compiled code is machine code: whoever can write it here runs what he likes in the host. So the folder is the user's
//! alone (0700), an entry counts only when it is a plain file that nobody else (but root) owns or can write, and its bytes must have
//! the hash that stands in its own header. An entry is named by the hash of its form, the component, the version of the engine
//! and all settings that went into the code. What does not hold is not loaded but made again.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::{Engine, Result, format_err};

use crate::ours::is_ours;

/// Marks a file as an entry of this cache, in this form.
const MAGIC: &[u8; 16] = b"toolpost cwasm 2";
const SUM_BYTES: usize = blake3::OUT_LEN;
const ENDING: &str = "cwasm";

/// The largest entry that is read.
const ENTRY_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    bytes_max: u64,
    /// What went into the code beside the component.
    settings: String,
}

impl Cache {
    pub(crate) fn open(dir: &Path, bytes_max: u64, engine: &Engine) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
            format_err!("the folder for compiled code, `{}`, cannot be made: {error}", dir.display())
        })?;
        let meta = std::fs::symlink_metadata(dir)?;
        if !meta.is_dir() || !is_ours(&meta) {
            return Err(format_err!(
                "the folder for compiled code, `{}`, is not this user's alone; remove it, or make it private with `chmod 700`",
                dir.display()
            ));
        }
        Ok(Cache { dir: dir.to_owned(), bytes_max, settings: fingerprint(engine) })
    }

    /// The compiled component, where it is there and sound. Trouble with the folder is no error: it only costs time.
    pub(crate) fn find(&self, engine: &Engine, digest: &str) -> Option<Component> {
        match self.read(&self.path(digest)) {
            // SAFETY: the entry was written by `compile` below, by this user, and is what it was then: nobody else can write
            // it, and its hash holds. The engine checks that version and settings are its own.
            Ok(Some(code)) => match unsafe { Component::deserialize(engine, &code) } {
                Ok(component) => return Some(component),
                Err(error) => {
                    tracing::warn!(%error, "a compiled component does not fit this engine; it is compiled again");
                }
            },
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a compiled component cannot be used; it is compiled again"),
        }
        None
    }

    /// Compiles a component, and keeps what comes of it.
    ///
    /// # Errors
    /// The component cannot be compiled.
    pub(crate) fn compile(&self, engine: &Engine, digest: &str, bytes: &[u8]) -> Result<Component> {
        let code = engine.precompile_component(bytes)?;
        if let Err(error) = self.write(&self.path(digest), &code) {
            tracing::warn!(%error, "a compiled component cannot be kept");
        }
        // SAFETY: the code comes from this very engine, a few lines above.
        unsafe { Component::deserialize(engine, &code) }
    }

    fn path(&self, digest: &str) -> PathBuf {
        let name = Sha256::new().chain_update(MAGIC).chain_update(digest).chain_update(&self.settings).finalize();
        self.dir.join(format!("{}.{ENDING}", hex(&name)))
    }

    /// The code of an entry; nothing where there is none.
    fn read(&self, path: &Path) -> std::io::Result<Option<Vec<u8>>> {
        let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut file = match OpenOptions::new().read(true).custom_flags(nofollow).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let meta = file.metadata()?;
        let wrong = |what: &str| Err(std::io::Error::other(what.to_owned()));
        if !meta.is_file() || !is_ours(&meta) {
            return wrong("it is not this user's alone");
        }
        if meta.len() > ENTRY_BYTES_MAX {
            return wrong("it is too large");
        }
        let mut head = [0; MAGIC.len() + SUM_BYTES];
        file.read_exact(&mut head)?;
        let mut code = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or_default());
        file.take(ENTRY_BYTES_MAX).read_to_end(&mut code)?;
        let (magic, sum) = head.split_at(MAGIC.len());
        if magic != MAGIC || sum != blake3::hash(&code).as_bytes() {
            return wrong("it is damaged");
        }
        // The time of the last use decides what goes when room is needed; a day's precision is enough.
        let old = meta.modified().ok().and_then(|time| time.elapsed().ok()).is_some_and(|age| age.as_secs() > 86_400);
        if old {
            let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
        }
        Ok(Some(code))
    }

    /// Writes an entry under another name and moves it into place, so that no reader ever sees half of it.
    fn write(&self, path: &Path, code: &[u8]) -> std::io::Result<()> {
        let bytes = (MAGIC.len() + SUM_BYTES + code.len()) as u64;
        if bytes > self.bytes_max.min(ENTRY_BYTES_MAX) {
            return Ok(());
        }
        self.make_room(bytes)?;
        let mut draft = tempfile::Builder::new().suffix(".draft").tempfile_in(&self.dir)?;
        draft.write_all(MAGIC)?;
        draft.write_all(blake3::hash(code).as_bytes())?;
        draft.write_all(code)?;
        draft.persist(path)?;
        Ok(())
    }

    /// Removes the entries that were not used for the longest time, until there is room; and what a crash has left over.
    fn make_room(&self, bytes: u64) -> std::io::Result<()> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            // Another process may be at it too.
            let Ok((entry, meta)) = entry.and_then(|entry| entry.metadata().map(|meta| (entry, meta))) else {
                continue;
            };
            let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let ending = entry.path().extension().map(|ending| ending.to_string_lossy().into_owned());
            match ending.as_deref() {
                Some(ENDING) => entries.push((modified, meta.len(), entry.path())),
                Some("draft") if modified.elapsed().is_ok_and(|age| age.as_secs() > 3_600) => {
                    let _ = std::fs::remove_file(entry.path());
                }
                _ => {}
            }
        }
        entries.sort();
        let mut held: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, entry_bytes, path) in entries {
            if held.saturating_add(bytes) <= self.bytes_max {
                break;
            }
            if let Err(error) = std::fs::remove_file(path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(error);
            }
            held = held.saturating_sub(entry_bytes);
        }
        Ok(())
    }
}

/// The engine's version and all of its settings that go into the code, as text.
fn fingerprint(engine: &Engine) -> String {
    use std::hash::{Hash, Hasher};

    /// Collects what is hashed, so that the name of an entry depends on all of it.
    struct Collect(Sha256);
    impl Hasher for Collect {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut collect = Collect(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut collect);
    hex(&collect.0.finalize())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
