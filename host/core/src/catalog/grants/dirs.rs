//! Folders of the host that a tool is given, and what it may do there.
//!
//! What a tool has been denied inside of a folder is decided on the path that is really gone, from the folder's own root, after
//! every `..` and every symbolic link. What a pattern covers, it covers with all that is below it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::only::Only;
use super::{plain_bytes, shown_only};
use crate::catalog::settings::{Bytes, bytes_between, bytes_within, number_within};
use crate::effect::EffectClass;

/// The bounds of what a grant of a folder may allow.
const BYTES_MOST: u64 = 1 << 40;
const FILES_MOST: u64 = 1_000_000;

/// The longest guest path, and the longest pattern, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 10;

/// A folder of the host.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirGrant {
    /// The folder; a relative path counts from the folder of the settings file. Must be given.
    pub host: PathBuf,
    /// Where the tool finds it, for example "/data"; must be given.
    pub guest: GuestPath,
    /// What the tool may do there. Default "read".
    #[serde(default)]
    pub access: DirAccess,
    /// What one attempt may write there, up to "1 TiB". Default "64 MiB".
    #[serde(default = "bytes", deserialize_with = "bytes_up_to", serialize_with = "plain_bytes")]
    #[schemars(schema_with = "bytes_between::<0, BYTES_MOST>")]
    pub max_bytes: Bytes,
    /// How long a file may become by it, up to "1 TiB". Default "64 MiB".
    #[serde(default = "bytes", deserialize_with = "bytes_up_to", serialize_with = "plain_bytes")]
    #[schemars(schema_with = "bytes_between::<0, BYTES_MOST>")]
    pub max_file: Bytes,
    /// Files and folders that one attempt may make, up to 1000000. Default 1000.
    #[serde(default = "files", deserialize_with = "files_up_to")]
    #[schemars(range(min = 0, max = FILES_MOST))]
    pub max_files: u32,
    /// Paths in the folder that are kept from the tool, with all below them: `*` is a part of a name, `**` any number of
    /// folders; capital letters are as small ones. Default [].
    #[serde(default)]
    pub deny: Denied,
    /// The argument that names what a call may reach of it, for example "${args.path}". It is a path as the tool knows it, with all below it. Default: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
}

/// What a tool may do in a folder; each may do what those before it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DirAccess {
    /// See names, sizes and times.
    List,
    /// Read what is in files.
    #[default]
    Read,
    /// Make new files and folders, and add to the end of files. Nothing that is there changes.
    Append,
    /// Change and delete.
    Write,
}

/// An absolute path by which a tool knows a folder, in its shortest form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct GuestPath(String);

/// Patterns of paths.
#[derive(Clone, Debug, Default)]
pub struct Denied {
    patterns: Vec<String>,
    set: GlobSet,
}

impl DirAccess {
    /// How far a tool reaches with it.
    #[must_use]
    pub fn effect(self) -> EffectClass {
        if self >= DirAccess::Append { EffectClass::Writes } else { EffectClass::Reads }
    }

    /// The name, as in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DirAccess::List => "list",
            DirAccess::Read => "read",
            DirAccess::Append => "append",
            DirAccess::Write => "write",
        }
    }
}

impl DirGrant {
    /// The path by which the tool knows something in the folder; `path` is its own from there.
    #[must_use]
    pub fn shown(&self, path: &str) -> String {
        match (self.guest.0.as_str(), path) {
            (guest, "") => guest.to_owned(),
            ("/", path) => format!("/{path}"),
            (guest, path) => format!("{guest}/{path}"),
        }
    }

    /// The path from the folder, of one that the tool knows; nothing where it is not in the folder. Links, and where `..` leads,
    /// are not looked at.
    #[must_use]
    pub fn below(&self, path: &str) -> Option<String> {
        let mut names = path.split('/').filter(|name| !matches!(*name, "" | "."));
        for mounted in self.guest.as_str().split('/').filter(|name| !name.is_empty()) {
            if names.next() != Some(mounted) {
                return None;
            }
        }
        Some(names.collect::<Vec<_>>().join("/"))
    }
}

impl fmt::Display for DirGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.access.name(), self.guest)?;
        shown_only(self.only.as_ref(), f)?;
        match self.deny.patterns.as_slice() {
            [] => Ok(()),
            patterns => write!(f, " (but {})", patterns.join(", ")),
        }
    }
}

impl GuestPath {
    /// Reads a path.
    ///
    /// # Errors
    /// It is not absolute, or not in its shortest form.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("`{text}` {what}; write for example \"/data\""));
        let Some(rest) = text.strip_prefix('/') else {
            return wrong("is no path from the root, by which a tool could know a folder");
        };
        let mut names = rest.split('/');
        if !rest.is_empty() && names.any(|name| matches!(name, "" | "." | "..")) {
            return wrong("is not in its shortest form, without `.`, `..`, and a slash at the end");
        }
        if text.len() > TEXT_BYTES_MAX || text.contains(char::is_control) {
            return wrong("is too long, or has characters that no path should have");
        }
        Ok(GuestPath(text.to_owned()))
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for GuestPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        GuestPath::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for GuestPath {
    fn schema_name() -> Cow<'static, str> {
        "GuestPath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An absolute path in its shortest form, for example \"/data\".",
            "type": "string",
            "maxLength": TEXT_BYTES_MAX,
            "pattern": r"^/$|^(/([^/.\x00-\x1f][^/\x00-\x1f]*|\.[^/.\x00-\x1f][^/\x00-\x1f]*|\.\.[^/\x00-\x1f]+))+$",
        })
    }
}

impl Denied {
    /// Reads patterns.
    ///
    /// # Errors
    /// One of them could never match; the error says what would be right.
    pub fn parse(patterns: Vec<String>) -> Result<Self, String> {
        let mut set = GlobSetBuilder::new();
        for pattern in &patterns {
            let wrong = |what: &str| format!("`{pattern}` {what}; write for example \"**/.env\" or \"secret/**\"");
            let mut names = pattern.split('/');
            if names.any(|name| matches!(name, "" | "." | "..")) || pattern.len() > TEXT_BYTES_MAX {
                return Err(wrong(
                    "matches nothing: it is a path from the granted folder, without `.`, `..` and a slash \
                                  at its beginning or end",
                ));
            }
            // What is kept from a tool is kept with its name: a folder of which nothing may be seen is none.
            let whole = pattern.strip_suffix("/**").unwrap_or(pattern).to_lowercase();
            let glob = GlobBuilder::new(&whole).literal_separator(true).build();
            set.add(glob.map_err(|error| wrong(&format!("is no pattern: {}", error.kind())))?);
        }
        let set = set.build().map_err(|error| error.to_string())?;
        Ok(Denied { patterns, set })
    }

    /// The patterns.
    pub(super) fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether a path is kept from the tool; of what is on the way to it, this must be asked as well.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        // On some disks a name is found however it is written, and on the others nothing is lost.
        !self.patterns.is_empty() && self.set.is_match(path.to_lowercase())
    }

    /// The first pattern that keeps a path from the tool.
    #[must_use]
    pub fn pattern(&self, path: &str) -> Option<&str> {
        let first = self.set.matches(path.to_lowercase()).into_iter().min()?;
        self.patterns.get(first).map(String::as_str)
    }

    /// Whether a name alone decides, wherever it is: then nothing comes out of a pattern, or into one, when a folder around
    /// it is moved.
    #[must_use]
    pub fn is_by_name(&self) -> bool {
        let by_name = |pattern: &String| {
            let whole = pattern.strip_suffix("/**").unwrap_or(pattern);
            whole.strip_prefix("**/").is_some_and(|name| !name.contains('/'))
        };
        self.patterns.iter().all(by_name)
    }
}

impl PartialEq for Denied {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

impl Serialize for Denied {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.patterns.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Denied {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let patterns = Vec::<String>::deserialize(deserializer)
            .map_err(|_| D::Error::custom("expected a list of patterns, for example [\"**/.env\"]"))?;
        Denied::parse(patterns).map_err(D::Error::custom)
    }
}

impl JsonSchema for Denied {
    fn schema_name() -> Cow<'static, str> {
        "Denied".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = json_schema!({
            "type": "string", "minLength": 1, "maxLength": TEXT_BYTES_MAX,
            "not": {"pattern": r"(^|/)(\.|\.\.)?(/|$)"},
        });
        json_schema!({
            "description": "Patterns of paths in the folder, for example \"**/.env\".", "type": "array", "items": pattern,
        })
    }
}

/// These grants, with host paths as they stand after `resolve`.
pub(super) fn resolved(grants: &mut [DirGrant], resolve: impl Fn(&Path) -> PathBuf) {
    for grant in grants {
        grant.host = resolve(&grant.host);
    }
}

/// Reads a list in which no two folders have the same place.
pub(super) fn in_different_places<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<DirGrant>>, D::Error> {
    let grants = Option::<Vec<DirGrant>>::deserialize(deserializer)?;
    let mut taken = BTreeSet::new();
    for grant in grants.iter().flatten() {
        if !taken.insert(&grant.guest) {
            let twice = format!("two folders are granted as `{}`; give one of them another `guest`", grant.guest);
            return Err(D::Error::custom(twice));
        }
    }
    Ok(grants)
}

fn bytes() -> Bytes {
    Bytes(ByteSize::mib(64).as_u64())
}

fn files() -> u32 {
    1_000
}

fn bytes_up_to<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let given = bytes_within::<_, 0, BYTES_MOST>(deserializer)?;
    Ok(given.unwrap_or_else(bytes))
}

fn files_up_to<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let given = number_within::<_, _, 0, FILES_MOST>(deserializer)?;
    Ok(given.unwrap_or_else(files))
}
