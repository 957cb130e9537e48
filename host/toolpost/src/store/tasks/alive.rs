//! Does a host live? Each one holds a lock on a file of its own, which goes with its process, however that ends: so its tasks
//! are taken over at once, and not only when its lease is over. The lease is for one that hangs.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use toolpost_core::task::HostId;

use crate::store::Store;
use crate::store::private::make_dir;

/// The signs of life of hosts in a store.
#[derive(Debug)]
pub(super) struct Alive {
    store: Arc<Store>,
    /// Of the hosts in this process.
    held: Mutex<HashMap<HostId, File>>,
}

impl Alive {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Alive { store, held: Mutex::default() }
    }

    /// A host of this process lives. It blocks on the disk for the first time.
    pub(super) fn enter(&self, host: &HostId) -> Result<()> {
        if self.held().contains_key(host) {
            return Ok(());
        }
        make_dir(&self.dir())?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.file(host))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => ErrorKind::ResourceBusy.into(),
        })?;
        self.held().insert(host.clone(), file);
        Ok(())
    }

    /// A host is gone, and everybody knows.
    pub(super) fn leave(&self, host: &HostId) {
        let _ = std::fs::remove_file(self.file(host));
        self.held().remove(host);
    }

    /// Whether the process of a host is gone. Where there is no file, its lease says so.
    pub(super) fn is_gone(&self, host: &HostId) -> bool {
        if self.held().contains_key(host) {
            return false;
        }
        OpenOptions::new().write(true).open(self.file(host)).is_ok_and(|file| file.try_lock().is_ok())
    }

    fn dir(&self) -> PathBuf {
        self.store.dir().join("hosts")
    }

    fn file(&self, host: &HostId) -> PathBuf {
        // Its name is ours, and leads nowhere else.
        let name: String = host.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        self.dir().join(name)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<HostId, File>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
