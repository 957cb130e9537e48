//! Where do secrets come from? The environment, files and programs, as the settings say.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use toolpost_core::secret::{SECRET_BYTES_MOST, SECRETS_MAX, SecretError, SecretSource};
use toolpost_core::{Secret, Secrets};

use crate::settings::{SecretSettings, Settings};

/// The secrets that the settings name, and what is wrong with them.
pub(crate) fn of(settings: &Settings) -> (Secrets, Vec<String>) {
    let mut faults = Vec::new();
    if settings.secrets.len() > SECRETS_MAX {
        faults.push(format!("there are {} secrets; a host has at most {SECRETS_MAX}", settings.secrets.len()));
    }
    let mut sources: BTreeMap<String, Arc<dyn SecretSource>> = BTreeMap::new();
    for (name, from) in &settings.secrets {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
            faults.push(format!("no secret can be named `{shown}`: a name has 1 to 64 letters, digits, `_` and `-`"));
            continue;
        }
        if matches!(from, SecretSettings::Command(words) if words.is_empty()) {
            faults.push(format!("the command of the secret `{name}` is empty; write [\"program\", \"argument\"]"));
            continue;
        }
        sources.insert(name.clone(), Arc::new(Source { from: from.clone(), base: settings.resolve(Path::new("")) }));
    }
    (Secrets::new(sources), faults)
}

/// Reads what is at hand, so that it is masked from the first call on. Programs are run when their secret is needed.
pub(crate) async fn read_at_hand(secrets: &Secrets, settings: &BTreeMap<String, SecretSettings>) {
    for (name, from) in settings {
        if !matches!(from, SecretSettings::Command(_))
            && let Err(error) = secrets.get(name).await
        {
            tracing::warn!(%error, "a secret is not masked");
        }
    }
}

/// Masks what the program's own panics print: with the hook of the standard library, a native tool that panics with a secret
/// in its words would print it to standard error. The hook that was there is replaced.
pub fn mask_panics(secrets: Arc<Secrets>) {
    std::panic::set_hook(Box::new(move |panic| {
        use std::io::Write as _;
        let told = panic.to_string();
        let _ = writeln!(std::io::stderr(), "{}", secrets.masker().text(&told));
    }));
}

struct Source {
    from: SecretSettings,
    /// The folder of the settings file.
    base: PathBuf,
}

impl SecretSource for Source {
    fn read(&self) -> BoxFuture<'_, Result<Secret, SecretError>> {
        let failed = |error: tokio::task::JoinError| SecretError::new(error.to_string());
        match &self.from {
            SecretSettings::Env(name) => async move { of_environment(name) }.boxed(),
            SecretSettings::File(path) => {
                let path = self.base.join(path);
                tokio::task::spawn_blocking(move || of_file(&path)).map(move |read| read.map_err(failed)?).boxed()
            }
            SecretSettings::Command(words) => {
                let (words, base) = (words.clone(), self.base.clone());
                async move {
                    let leash = Leash::default();
                    let held = leash.0.clone();
                    tokio::task::spawn_blocking(move || of_command(&words, &base, &held)).await.map_err(failed)?
                }
                .boxed()
            }
        }
    }
}

fn of_environment(name: &str) -> Result<Secret, SecretError> {
    match std::env::var(name) {
        Ok(value) => Secret::new(value),
        Err(std::env::VarError::NotPresent) => {
            Err(SecretError::new(format!("the environment variable `{name}` is not set")))
        }
        Err(_) => Err(SecretError::new(format!("the environment variable `{name}` is no UTF-8 text"))),
    }
}

fn of_file(path: &Path) -> Result<Secret, SecretError> {
    let wrong = |why: String| SecretError::new(format!("`{}` {why}", path.display()));
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path);
    let file = file.map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let about = file.metadata().map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if !about.is_file() {
        return Err(wrong("is no file".into()));
    }
    if about.permissions().mode() & 0o007 != 0 {
        tracing::warn!("everybody on this machine can get at the secret in `{}`; set its mode to 0600", path.display());
    }
    of_bytes(file).map_err(|why| wrong(format!("does not give one: {why}")))
}

/// The text that comes, without one line break at its end.
fn of_bytes(from: impl std::io::Read) -> Result<Secret, SecretError> {
    let longest = SECRET_BYTES_MOST + "\r\n".len();
    // Large enough from the beginning: growing would leave copies behind.
    let mut bytes = Vec::with_capacity(longest + 1);
    let read = from.take(longest as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| SecretError::new(format!("it cannot be read: {error}")))?;
    let mut text = String::from_utf8(bytes).map_err(|_| SecretError::new("it is no UTF-8 text"))?;
    if text.ends_with('\n') {
        text.pop();
        text.truncate(text.strip_suffix('\r').unwrap_or(&text).len());
    }
    Secret::new(text)
}

/// Ends a program, with all that it has started, when it is dropped.
#[derive(Default)]
struct Leash(Arc<Mutex<Held>>);

#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    Running(Pid),
    Over,
}

impl Drop for Leash {
    fn drop(&mut self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Held::Running(pid) = *held {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        *held = Held::Over;
    }
}

fn of_command(words: &[String], base: &Path, held: &Mutex<Held>) -> Result<Secret, SecretError> {
    let program = words.first().map(String::as_str).unwrap_or_default();
    let wrong = |why: String| SecretError::new(format!("the command `{program}` {why}"));
    let mut command = Command::new(program);
    command.args(words.get(1..).unwrap_or_default()).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    if !base.as_os_str().is_empty() {
        command.current_dir(base);
    }
    let lock = || held.lock().unwrap_or_else(PoisonError::into_inner);
    let mut holding = lock();
    if matches!(*holding, Held::Over) {
        return Err(wrong("is not wanted any more".into()));
    }
    let mut child = command.spawn().map_err(|error| wrong(format!("cannot be started: {error}")))?;
    let pid = Pid::from_child(&child);
    *holding = Held::Running(pid);
    drop(holding);
    let secret = child.stdout.take().map_or_else(|| Err(SecretError::new("it says nothing")), of_bytes);
    if secret.is_err() {
        // It may still be writing to a pipe that nobody reads.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    // Until it is waited for, its number belongs to nobody else, and it can be killed by it.
    let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    *lock() = Held::Over;
    let status = child.wait().map_err(|error| wrong(format!("cannot be waited for: {error}")))?;
    match secret {
        Ok(secret) if status.success() => Ok(secret),
        Ok(_) => Err(wrong(format!("failed: {status}"))),
        Err(why) => Err(wrong(format!("does not give one: {why} ({status})"))),
    }
}
