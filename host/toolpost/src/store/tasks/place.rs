//! Who runs the tasks of a folder when no other program does? One host for each way in which it is made: it holds a lock on a
//! file, which goes with its process.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::store::private::make_dir;
use crate::store::{Store, StoreError};

/// The place of the one host of a scope. Dropping it leaves the place to the next one.
#[derive(Debug)]
pub struct HostPlace {
    /// The lock goes with the file.
    _file: File,
}

impl Store {
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
