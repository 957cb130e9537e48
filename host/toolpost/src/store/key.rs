//! The key of a host: 32 random bytes, made once, so that a hash of a secret means the same in the host's next life.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::private::make_dir;
use super::{Store, StoreError};

impl Store {
    /// The key, made now if there is none. It blocks on the disk.
    ///
    /// # Errors
    /// The folder cannot be made, or holds something else.
    pub fn key(&self) -> Result<[u8; 32], StoreError> {
        let file = self.dir.join("key");
        make_dir(&self.dir)?;
        match read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            key => return Ok(key?),
        }
        let mut key = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        let part = self.dir.join(format!(".key-{:016x}.part", fastrand::u64(..)));
        let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        let linked = written
            .write_all(&key)
            .and_then(|()| written.sync_data())
            // Of two hosts that make a key at once, the first one's counts.
            .and_then(|()| std::fs::hard_link(&part, &file));
        std::fs::remove_file(&part)?;
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error.into()),
            _ => Ok(read(&file)?),
        }
    }
}

fn read(file: &Path) -> std::io::Result<[u8; 32]> {
    let mut key = [0; 32];
    File::open(file)?.read_exact(&mut key)?;
    Ok(key)
}
