//! The host that runs tasks when nobody else does: a process of its own, which survives the one that starts it. There is one
//! for each folder of what is kept and each way in which it is made, elected by a lock on a file there.
//!
//! One that has nothing to do ends. It lets go of its place and looks once more, and one who files a task looks for a host
//! behind that: so one of the two sees what the other did, and no task is left with nobody.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toolpost::store::tasks::HostPlace;
use toolpost::{Settings, Store};

use crate::exit::Stop;

/// How long is waited for a host to be on its own feet.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// What is kept of what hosts have to say, in bytes, and what of that is shown.
const LOG_BYTES_MAX: u64 = 1 << 20;
const SHOWN_BYTES_MAX: u64 = 2 << 10;

/// How a host is made, and so the scope of the tasks that it takes up.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    way: Way,
    scope: String,
}

/// The folder that a host stands in, and the options that it is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Way {
    folder: String,
    options: Vec<String>,
}

impl Launch {
    pub(crate) fn new(store: &Store, options: Vec<String>) -> Result<Self, Stop> {
        let folder = std::env::current_dir().map_err(|error| Stop::internal(format!("this folder: {error}")))?;
        let way = Way { folder: text(folder)?, options };
        let scope = store.scope_of(&serde_json::to_string(&way).map_err(Stop::internal)?)?;
        Ok(Launch { way, scope })
    }

    /// How hosts of these tasks are made; nothing where they belong to another program, or were not filed by this store's.
    pub(crate) fn of_scope(store: &Store, scope: &str) -> Result<Option<Self>, Stop> {
        let way = store.way_of(scope)?.and_then(|way| serde_json::from_str(way).ok());
        Ok(way.map(|way| Launch { way, scope: scope.to_owned() }))
    }

    pub(crate) fn scope(&self) -> &str {
        &self.scope
    }

    /// The version of the settings that they name, as they are now.
    pub(crate) fn version(&self) -> String {
        let Way { folder, options } = &self.way;
        let at = options.iter().position(|option| option == "--config");
        let file = at.and_then(|at| options.get(at + 1)).map(|file| Path::new(folder).join(file));
        file.map_or_else(String::new, |file| Settings::examine(&file).0.version().to_owned())
    }

    /// Takes the place of the one host, if it is free.
    pub(crate) fn place(&self, store: &Store) -> Result<Option<HostPlace>, Stop> {
        Ok(store.take_place(&self.scope)?)
    }

    /// Starts the host where there is none, and says whether it did. It stands on its own feet when this returns.
    pub(crate) async fn start(&self, store: &Store) -> Result<bool, Stop> {
        if self.place(store)?.is_none() {
            return Ok(false);
        }
        let failed = |error: &dyn std::fmt::Display| Stop::internal(format!("no host can be started: {error}"));
        let program = std::env::current_exe().map_err(|error| failed(&error))?;
        let mut command = Command::new(program);
        command.args(["task-host", "-v"]).args(&self.way.options).current_dir(&self.way.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(self.open_log(store)?);
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        // It says so by a line, or by ending.
        if let Some(mut said) = child.stdout.take() {
            let heard = tokio::task::spawn_blocking(move || said.read(&mut [0]));
            let _ = tokio::time::timeout(START_TIME_MAX, heard).await;
        }
        Ok(true)
    }

    /// The last that a host had to say.
    pub(crate) fn last_words(&self, store: &Store) -> Vec<String> {
        let words = end_of(&self.log(store), SHOWN_BYTES_MAX).unwrap_or_default();
        String::from_utf8_lossy(&words).lines().map(str::to_owned).collect()
    }

    /// The file of what hosts have to say.
    pub(super) fn log(&self, store: &Store) -> PathBuf {
        store.log_of_place(&self.scope)
    }

    fn open_log(&self, store: &Store) -> Result<File, Stop> {
        let log = self.log(store);
        let _ = shorten(&log);
        let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(log);
        opened.map_err(|error| Stop::internal(format!("the store: {error}")))
    }
}

/// A path that can be handed on.
pub(crate) fn text(path: PathBuf) -> Result<String, Stop> {
    path.into_os_string()
        .into_string()
        .map_err(|path| Stop::usage(format!("`{}` is no text, and cannot be handed on", path.to_string_lossy())))
}

/// Keeps the end of a log that has become too long. Those who write to it append.
pub(super) fn shorten(log: &Path) -> io::Result<()> {
    if log.metadata()?.len() <= LOG_BYTES_MAX {
        return Ok(());
    }
    let end = end_of(log, LOG_BYTES_MAX / 2)?;
    let mut file = OpenOptions::new().append(true).open(log)?;
    file.set_len(0)?;
    file.write_all(&end)
}

/// The last bytes of a file.
fn end_of(file: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes_max)))?;
    let mut end = Vec::new();
    file.take(bytes_max).read_to_end(&mut end)?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "tests")]

    use super::{LOG_BYTES_MAX, end_of, shorten};

    #[test]
    fn a_log_that_is_too_long_keeps_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let length = || log.metadata().expect("a file").len();
        let words = "a line of a host that has much to say\n".repeat(30_000);
        std::fs::write(&log, &words).expect("written");
        shorten(&log).expect("shortened");
        assert_eq!(length(), LOG_BYTES_MAX / 2);
        assert!(words.as_bytes().ends_with(&end_of(&log, u64::MAX).expect("read")));
        shorten(&log).expect("left as it is");
        assert_eq!(length(), LOG_BYTES_MAX / 2);
    }
}
