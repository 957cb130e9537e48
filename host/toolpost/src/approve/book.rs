//! What was answered for longer than once. "Always" is a rule in a file of the store, which an operator can read, change and
//! delete; what was answered for a session is known to all hosts that have the store.

use std::fmt::Write as _;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use toolpost_core::check::approve::rules::Rule;
use toolpost_core::check::approve::shown::escaped;
use toolpost_core::check::approve::{Question, Rulebook, Rules};

use super::desk::now_ms;
use crate::settings::{self, Fault};
use crate::store::{Store, StoreError, private};

/// The name of the file in the folder of the store.
const FILE_NAME: &str = "rules.toml";

/// What stands in a new file.
const HEAD: &str = "# What was answered with \"always\". Delete what is not to hold any more.\n";

/// How long an answer for a session is known, because nobody says when the session ends.
const SESSION_FOR_MS: i64 = 86_400_000;

/// The rules in a store.
#[derive(Clone, Debug)]
pub struct Book {
    file: PathBuf,
    store: Arc<Store>,
}

impl Book {
    /// The rules in that store.
    #[must_use]
    pub fn of(store: &Arc<Store>) -> Self {
        Book { file: store.dir().join(FILE_NAME), store: store.clone() }
    }

    async fn keep(&self, hash: &str) -> Result<(), StoreError> {
        let now = now_ms();
        let mut write = self.store.state().await?.write().await?;
        sqlx::query("DELETE FROM session_answers WHERE until < ?").bind(now).execute(&mut *write).await?;
        let keep = sqlx::query("INSERT OR REPLACE INTO session_answers (hash, until) VALUES (?, ?)");
        keep.bind(hash).bind(now + SESSION_FOR_MS).execute(&mut *write).await?;
        Ok(write.commit().await?)
    }

    async fn is_kept(&self, hash: &str) -> Result<bool, StoreError> {
        let known = sqlx::query("SELECT 1 FROM session_answers WHERE hash = ? AND until >= ?");
        let known = known.bind(hash).bind(now_ms()).fetch_optional(self.store.state().await?.read()).await?;
        Ok(known.is_some())
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Reads the rules; no file is no rule.
    ///
    /// # Errors
    /// Everything that is wrong with the file; that others can write it, or the folder of the store.
    pub fn read(&self) -> Result<Rules, Vec<Fault>> {
        for path in [self.store.dir(), &self.file] {
            if let Some(message) = private::fault_of(path) {
                return Err(vec![Fault { file: path.to_owned(), line: None, message }]);
            }
        }
        let absent = self.file.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        if absent { Ok(Rules::default()) } else { settings::rules(&self.file) }
    }
}

impl Rulebook for Book {
    fn write<'a>(&'a self, rule: &'a Rule, question: &'a Question) -> BoxFuture<'a, Result<(), String>> {
        async move {
            let entry = entry(rule, question)?;
            let file = self.file.clone();
            let written = tokio::task::spawn_blocking(move || append(&file, &entry)).await;
            written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
        }
        .boxed()
    }

    fn remember<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<(), String>> {
        async { self.keep(&question.hash).await.map_err(|error| error.to_string()) }.boxed()
    }

    fn remembers<'a>(&'a self, hash: &'a str) -> BoxFuture<'a, bool> {
        async move {
            self.is_kept(hash).await.unwrap_or_else(|error| {
                // Whoever is not remembered is asked again.
                tracing::warn!(%error, "answers for a session cannot be read");
                false
            })
        }
        .boxed()
    }
}

/// A rule as it stands in the file, with what was shown when it was asked about.
fn entry(rule: &Rule, question: &Question) -> Result<String, String> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(question.asked_at_ms);
    let time = humantime::format_rfc3339_seconds(time);
    let rules = Rules { always: vec![rule.clone()], ..Rules::default() };
    let rule = toml::to_string(&rules).map_err(|error| error.to_string())?;
    let mut entry = format!("\n# asked {time}: {} by `{}`\n", question.tool, escaped(&question.caller.id));
    for line in question.shown().lines {
        let _ = writeln!(entry, "#   {line}");
    }
    Ok(entry + &rule)
}

/// Adds an entry in one write, so that nobody sees half of it.
fn append(path: &Path, entry: &str) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        private::make_dir(dir)?;
    }
    let mut file = std::fs::OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    private::check(path, &file.metadata()?)?;
    let length = file.metadata()?.len();
    if length + entry.len() as u64 > settings::FILE_BYTES_MAX {
        return Err(std::io::Error::other("the file of rules is full; delete those that are not needed"));
    }
    let mut last = [b'\n'];
    if length > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let before = if length == 0 {
        HEAD
    } else if last == [b'\n'] {
        ""
    } else {
        "\n"
    };
    file.write_all(format!("{before}{entry}").as_bytes())?;
    file.sync_all()
}
