//! The lock as a file: TOML that people review, read and written with bounds.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Sheet;
use crate::settings::{Fault, read};

/// The longest lock, in bytes.
const BYTES_MAX: u64 = 4 << 20;

/// The version of what is written, and the only one that is read.
const VERSION: u64 = 1;

const HEAD: &str = "\
# What was reviewed of each component, written by `toolpost lock`. A component that is not as it stands here is refused.
# `toolpost lock --update` shows what changed and writes it anew; nothing is to be changed here by hand.

";

/// A lock with its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Lock {
    /// Where it is.
    pub file: PathBuf,
    /// The components, by name.
    pub sheets: BTreeMap<String, Sheet>,
    /// What stands in the file; nothing where there is none.
    text: Option<String>,
}

/// What stands in the file.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    version: u64,
    #[serde(default)]
    components: BTreeMap<String, Sheet>,
}

impl Lock {
    /// The lock in that file; one without components, where there is no file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(file: &Path) -> Result<Self, Vec<Fault>> {
        let file = file.to_owned();
        let fault = |message| vec![Fault { file: file.clone(), line: None, message }];
        let Some(text) = text_of(&file).map_err(|error| fault(error.to_string()))? else {
            return Ok(Lock { file, sheets: BTreeMap::new(), text: None });
        };
        // One of another version has other keys, which are not what is wrong with it.
        if let Ok(Version { version }) = toml::from_str(&text)
            && version != Some(toml::Value::Integer(VERSION.cast_signed()))
        {
            return Err(fault(other_version(version)));
        }
        let (Text { components, .. }, faults) = read::all(&text, &file);
        if faults.is_empty() { Ok(Lock { file, sheets: components, text: Some(text) }) } else { Err(faults) }
    }

    /// Whether there is a file.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.text.is_some()
    }

    /// Its file's name.
    #[must_use]
    pub fn name(&self) -> String {
        self.file
            .file_name()
            .map_or_else(|| self.file.display().to_string(), |name| name.to_string_lossy().into_owned())
    }

    /// Writes other sheets in the place of these, all of them or nothing.
    ///
    /// # Errors
    /// They cannot be written, are more than a lock may have, or the file is not what it was when this lock was read.
    pub fn write(&self, sheets: BTreeMap<String, Sheet>) -> io::Result<()> {
        let other = |message: String| Err(io::Error::other(message));
        let text = Text { version: VERSION, components: sheets };
        let text = format!("{HEAD}{}", toml::to_string_pretty(&text).map_err(io::Error::other)?);
        if text.len() as u64 > BYTES_MAX {
            return other(format!("it would be longer than the {BYTES_MAX} bytes that a lock may have"));
        }
        if self.file.is_symlink() {
            return other("it is a link; remove it, or name the settings where it leads to".into());
        }
        if text_of(&self.file)? != self.text {
            return other("it is not what it was a moment ago: somebody else has written it; look at it again".into());
        }
        replace(&self.file, &text)
    }
}

/// The text of a lock; nothing where there is no file. What is no file could be endless, or wait for ever.
fn text_of(file: &Path) -> io::Result<Option<String>> {
    let cannot = |why: &dyn std::fmt::Display| io::Error::other(format!("cannot be read: {why}"));
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = match OpenOptions::new().read(true).custom_flags(nonblocking).open(file) {
        // A link that leads nowhere was put there by somebody: it is no lock, and does not stand for none.
        Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_symlink() => {
            return Err(cannot(&"it is a link that leads nowhere"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| cannot(&error))?,
    };
    if !opened.metadata().map_err(|error| cannot(&error))?.is_file() {
        return Err(cannot(&"it is no file"));
    }
    let mut text = Vec::new();
    opened.take(BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| cannot(&error))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("is too long; a lock may have {BYTES_MAX} bytes")));
    }
    String::from_utf8(text).map(Some).map_err(|_| cannot(&"it is no text"))
}

/// Puts a new file in the place of the old one, in one step. Others may read as much of it as they could before.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = file.with_file_name(format!(".{name}.{:016x}", fastrand::u64(..)));
    let written = (|| {
        let mut new = OpenOptions::new().write(true).create_new(true).open(&beside)?;
        if let Ok(about) = file.metadata() {
            new.set_permissions(about.permissions())?;
        }
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        std::fs::rename(&beside, file)?;
        // The name is on the disk when its folder is.
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// The version alone, whatever else stands there.
#[derive(Deserialize)]
struct Version {
    version: Option<toml::Value>,
}

fn other_version(version: Option<toml::Value>) -> String {
    let version = version.map_or_else(|| "without a version".into(), |version| format!("of version {version}"));
    format!(
        "is a lock {version}, and this program knows version {VERSION}; update the program, or remove it and lock anew"
    )
}
