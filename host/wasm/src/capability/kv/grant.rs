//! What was granted of keys and values: which bucket a name leads to, what a key may be, and which line of the settings would
//! allow what was refused.

use std::sync::Arc;

use bytesize::ByteSize;
use toolpost_core::catalog::grants::{KvAccess, KvGrant, KvName};
use toolpost_core::effect::Intent;
use toolpost_core::{Attempt, CallError, Effect, ErrorKind, Stage, Tool};

use super::backend::{Change, Fault, KvStore};
use crate::capability::climb;

/// The longest key, in bytes, with the prefix that the host puts in front of it.
pub(super) const KEY_BYTES_MAX: usize = 1 << 10;

/// What of a name or a key is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 256;

/// Something that a tool does with a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Open,
    Get,
    List,
    Set,
    Swap,
    Increment,
    Delete,
}

impl Act {
    fn name(self) -> &'static str {
        match self {
            Act::Open => "kv.open",
            Act::Get => "kv.get",
            Act::List => "kv.list",
            Act::Set => "kv.set",
            Act::Swap => "kv.swap",
            Act::Increment => "kv.increment",
            Act::Delete => "kv.delete",
        }
    }

    /// What it is, before what it is done to.
    fn verb(self) -> &'static str {
        match self {
            Act::Open => "open",
            Act::Get => "read",
            Act::List => "list",
            Act::Set | Act::Swap | Act::Increment => "change",
            Act::Delete => "delete",
        }
    }

    /// The least access that allows it.
    fn needs(self) -> KvAccess {
        match self {
            Act::Open | Act::Get | Act::List => KvAccess::Read,
            Act::Set | Act::Swap | Act::Increment | Act::Delete => KvAccess::Write,
        }
    }
}

/// A granted bucket, in one attempt.
pub(super) struct Share {
    pub(super) grant: Arc<KvGrant>,
    pub(super) store: KvStore,
    /// The name of its space in the store.
    pub(super) space: Arc<str>,
    pub(super) attempt: Attempt,
}

/// Why a key cannot be had.
pub(super) enum Unheard {
    /// No key is such a text.
    NoKey,
    /// It was refused.
    Refused,
}

impl Share {
    /// The key as the store has it.
    pub(super) fn key(&self, act: Act, key: &str) -> Result<String, Unheard> {
        if key.is_empty() {
            return Err(Unheard::NoKey);
        }
        self.within(act, key)
    }

    /// As [`key`](Self::key), for the beginning of keys.
    pub(super) fn within(&self, act: Act, key: &str) -> Result<String, Unheard> {
        let whole = format!("{}{key}", self.grant.prefix.as_str());
        if whole.len() > KEY_BYTES_MAX || key.contains(char::is_control) {
            return Err(Unheard::NoKey);
        }
        if !self.is_meant(act, key) {
            self.attempt.refuse(self.effect(act, key, None), self.not_meant(key));
            return Err(Unheard::Refused);
        }
        if climbs(key) {
            self.attempt.refuse(self.effect(act, key, None), self.outside(key));
            return Err(Unheard::Refused);
        }
        Ok(whole)
    }

    /// Whether the call is about that key, where the grant asks for that.
    fn is_meant(&self, act: Act, key: &str) -> bool {
        let Some(only) = &self.grant.only else { return true };
        only.values(&self.attempt.call.arguments).filter(|meant| !meant.is_empty()).any(|meant| {
            match key.strip_prefix(meant) {
                // As the beginning of keys it would be that of others, too.
                Some("") => act != Act::List || meant.ends_with('/'),
                Some(rest) => meant.ends_with('/') || rest.starts_with('/'),
                None => false,
            }
        })
    }

    fn not_meant(&self, key: &str) -> CallError {
        let only = self.grant.only.as_ref().map(ToString::to_string).unwrap_or_default();
        let message = format!("the tool may not use `{}`, which the call is not about", self.target(key));
        let help = format!("{} has `only = \"{only}\"`: the key must be the argument, or below it", self.place());
        denied(message).with_help(help)
    }

    /// A key as the tool knows it.
    pub(super) fn known(&self, key: &str) -> Option<String> {
        key.strip_prefix(self.grant.prefix.as_str()).map(str::to_owned)
    }

    /// Whether the grant reaches so far; where it does not, that is written down.
    pub(super) fn allows(&self, act: Act, key: &str) -> bool {
        let needs = act.needs();
        if self.grant.access >= needs {
            return true;
        }
        let message = format!("the tool may not {} `{}`", act.verb(), self.target(key));
        let help = format!("the operator can allow it with `access = \"{}\"` in {}", needs.name(), self.place());
        self.attempt.refuse(self.effect(act, key, None), denied(message).with_help(help));
        false
    }

    /// Whether a value is short enough; where it is not, that is written down.
    pub(super) fn holds(&self, act: Act, key: &str, bytes: usize) -> bool {
        let allowed = self.grant.max_value.0;
        if bytes as u64 <= allowed {
            return true;
        }
        let message =
            format!("a value in `{}` may have {}, and no more", self.grant.bucket, ByteSize(allowed).display().iec());
        self.attempt.refuse(self.effect(act, key, None), self.exceeded(message, "max_value"));
        false
    }

    /// Why there is no room, where that is what a store says.
    pub(super) fn full(&self, fault: &Fault) -> Option<CallError> {
        let bucket = &self.grant.bucket;
        match fault {
            Fault::TooManyKeys => {
                let message = format!("`{bucket}` may have {} keys, and no more", self.grant.max_keys);
                Some(self.exceeded(message, "max_keys"))
            }
            Fault::TooManyBytes => {
                let allowed = ByteSize(self.grant.max_bytes.0).display().iec();
                let message = format!("the keys and values in `{bucket}` may have {allowed}, and no more");
                Some(self.exceeded(message, "max_bytes"))
            }
            Fault::Unfit(_) | Fault::Away(_) | Fault::Cut(_) => None,
        }
    }

    pub(super) fn effect(&self, act: Act, key: &str, detail: Option<String>) -> Effect {
        Effect { class: act.needs().effect(), action: act.name().into(), target: self.target(key), detail }
    }

    /// What is done to a key, as it is judged: with the whole key, and the change that is made of it.
    pub(super) fn intent(&self, act: Act, key: &str, change: Option<&Change>) -> Intent {
        let detail = match change {
            Some(Change::Set { value, .. }) => Some(format!("{} bytes", value.len())),
            Some(Change::Add(delta)) => Some(format!("{delta:+}")),
            Some(Change::Delete) | None => None,
        };
        let intent = Intent::from(self.effect(act, key, detail)).on([format!("{}/{key}", self.grant.bucket)]);
        match change {
            // When it is over is told to the millisecond, and would be another one each time.
            Some(Change::Set { value, expires_ms, only }) => {
                let how = format!("{only:?} {}", expires_ms.is_some());
                intent.made_of([blake3::hash(value).as_bytes().as_slice(), how.as_bytes()])
            }
            _ => intent,
        }
    }

    /// A key for a reader, as the tool knows it.
    pub(super) fn target(&self, key: &str) -> String {
        format!("{}/{}", self.grant.bucket, shown(key))
    }

    fn outside(&self, key: &str) -> CallError {
        let message = format!("`{}` leads out of `{}`, where the tool may not go", shown(key), self.grant.bucket);
        let help = format!(
            "the operator can grant what lies there as a bucket of its own, with `{{ bucket = \"NAME\", prefix = \"PREFIX\" }}` in \
             `grants.kv` of component `{}`",
            self.attempt.call.tool.component()
        );
        denied(message).with_help(help)
    }

    fn place(&self) -> String {
        format!("the grant of bucket `{}`", self.grant.bucket)
    }

    fn exceeded(&self, message: String, key: &str) -> CallError {
        let help = format!("the operator can raise `{key}` in {}", self.place());
        CallError::new(ErrorKind::QuotaExceeded, Stage::Run, message).with_help(help)
    }
}

/// A bucket of that name was not granted.
pub(super) fn not_granted(tool: &Tool, identifier: &str) -> (Effect, CallError) {
    let target = shown(identifier);
    let help = match KvName::parse(identifier) {
        Ok(name) => tool.allowing("kv", &format!("{{ bucket = \"{name}\" }}"), !tool.grants.kv.is_empty()),
        Err(_) => format!(
            "the operator can grant a bucket with `{{ bucket = \"NAME\" }}` in `grants.kv` of component `{}`; \
             this is no name of one",
            tool.component()
        ),
    };
    let why = denied(format!("the tool may not open the bucket `{target}`")).with_help(help);
    let class = Act::Open.needs().effect();
    (Effect { class, action: Act::Open.name().into(), target, detail: None }, why)
}

/// Whether a key would lead up and out where keys are taken for paths, as some stores and many tools of theirs do.
fn climbs(key: &str) -> bool {
    climb::segments(&climb::plain(key)).any(|segment| segment == b"..")
}

fn shown(text: &str) -> String {
    let mut shown = text.replace(char::is_control, "\u{fffd}");
    shown.truncate(shown.floor_char_boundary(SHOWN_BYTES_MAX));
    shown
}

fn denied(message: String) -> CallError {
    CallError::new(ErrorKind::CapabilityDenied, Stage::Run, message)
}

#[cfg(test)]
mod tests {
    use super::climbs;

    #[test]
    fn a_key_climbs_where_one_of_its_parts_is_two_dots_however_it_is_written() {
        for key in [
            "..",
            "../x",
            "a/../b",
            "a/..",
            "a\\..\\b",
            "a/%2e%2E/b",
            "a%2f..%5Cb",
            "%252e%252e/b",
            "%25%32e%25%32%65/b",
        ] {
            assert!(climbs(key), "{key}");
        }
        for key in ["a", "a..b", "...", "a/...", ".", "a/./b", "..a", "%2"] {
            assert!(!climbs(key), "{key}");
        }
    }
}
