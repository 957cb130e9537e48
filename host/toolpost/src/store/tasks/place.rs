//! Who runs the tasks of a folder when no other program does? One host for each way in which it is made: it holds a lock on a
//! file, which goes with its process.
//!
//! That way stands in each row, and whoever asks for a task starts a host by it. So it bears a mark that takes the key of the
//! store: who can write a row, and has no key, decides nothing about the host.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use ring::hmac;
use sha2::{Digest as _, Sha256};

use crate::store::private::make_dir;
use crate::store::{Store, StoreError};

/// What the key of the store is used for here.
const CONTEXT: &str = "toolpost 2026-11 scopes of tasks";

/// The place of the one host of a scope. Dropping it leaves the place to the next one.
#[derive(Debug)]
pub struct HostPlace {
    /// The lock goes with the file.
    _file: File,
}

impl Store {
    /// The scope of the tasks for hosts that are made in that way. It blocks on the disk for a moment.
    ///
    /// # Errors
    /// The key of the store cannot be read.
    pub fn scope_of(&self, way: &str) -> Result<String, StoreError> {
        let mark = hmac::sign(&self.key_of_scopes()?, way.as_bytes());
        let mark: String = mark.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{mark} {way}"))
    }

    /// How hosts of a scope are made, as it was said to [`Store::scope_of`]; nothing where this store has not made the scope.
    /// It blocks on the disk for a moment.
    ///
    /// # Errors
    /// The key of the store cannot be read.
    pub fn way_of<'s>(&self, scope: &'s str) -> Result<Option<&'s str>, StoreError> {
        let Some((mark, way)) = scope.split_once(' ') else { return Ok(None) };
        let byte = |at| u8::from_str_radix(mark.get(at..at + 2)?, 16).ok();
        let mark: Option<Vec<u8>> = (0..mark.len()).step_by(2).map(byte).collect();
        let Some(mark) = mark else { return Ok(None) };
        let is_made = hmac::verify(&self.key_of_scopes()?, way.as_bytes(), &mark).is_ok();
        Ok(is_made.then_some(way))
    }

    fn key_of_scopes(&self) -> Result<hmac::Key, StoreError> {
        let of_host = hmac::Key::new(hmac::HMAC_SHA256, &self.key()?);
        Ok(hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&of_host, CONTEXT.as_bytes()).as_ref()))
    }

    /// Takes the place of the one host that runs the tasks of a scope; nothing where it is taken. It blocks on the disk for a
    /// moment.
    ///
    /// # Errors
    /// The folder cannot be made, or written to.
    pub fn take_place(&self, scope: &str) -> Result<Option<HostPlace>, StoreError> {
        let path = self.file_of_place(scope, "lock");
        make_dir(&self.dir)?;
        make_dir(&self.dir.join("hosts"))?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(HostPlace { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Where that host writes what it has to say, in the same folder.
    #[must_use]
    pub fn log_of_place(&self, scope: &str) -> PathBuf {
        self.file_of_place(scope, "log")
    }

    fn file_of_place(&self, scope: &str, ending: &str) -> PathBuf {
        let hash: String = Sha256::digest(scope).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.dir.join("hosts").join(format!("runs-{hash}.{ending}"))
    }
}
