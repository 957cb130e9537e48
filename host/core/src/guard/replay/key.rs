//! Which call is the same call? A key, under which there is one record, and a fingerprint of all its arguments: a key that
//! comes back with other arguments is somebody's mistake, and is told and not run.
//!
//! In the place of a secret argument stands a hash that only this host can make, so that no record gives one away.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use sha2::Digest as _;

use super::settings::{Hash, Idempotency, KeyFrom, Scope};
use crate::call::AcceptedCall;
use crate::catalog::json::canonical::canonical;
use crate::tell::{CallError, ErrorKind, Stage};

/// The longest key that a caller, or the embedder, may give, in bytes.
pub const GIVEN_BYTES_MAX: usize = 255;

/// The longest key of a record, in bytes.
pub const RECORD_KEY_BYTES_MAX: usize = 200;

/// A key of the embedder's own.
pub trait CallKey: Send + Sync {
    /// What makes this call the same as another of its tool, of at most [`GIVEN_BYTES_MAX`] bytes; nothing where each call
    /// stands for itself.
    ///
    /// # Errors
    /// Why the call cannot be made.
    fn key(&self, call: &AcceptedCall) -> Result<Option<String>, CallError>;
}

/// The key of a record: `v1/TOOL/STRATEGY/HASH`, of `a-z`, `0-9`, `_`, `-` and `/`. Nothing of a call can be read out of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RecordKey(Arc<str>);

impl std::hash::Hash for RecordKey {
    // It ends with a hash: so much of it is as good as all.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let bytes = self.0.as_bytes();
        state.write(bytes.last_chunk::<16>().map_or(bytes, |last| last));
    }
}

/// The hash of a call's arguments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl RecordKey {
    /// A key as text, if it can be one.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'/');
        let fits = (1..=RECORD_KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| RecordKey(text.into()))
    }

    /// Whether each call of the tool stands for itself, or this one does because it gives no key.
    pub(super) fn is_none_for(call: &AcceptedCall) -> bool {
        let is_given = call.call.idempotency_key.is_some();
        // What only reads may be done again; and what stands in a record may not be true any more. But a key that is given to
        // what could change something counts, whatever is said of it.
        call.tool.guards.idempotency.key == KeyFrom::Nothing
            && !(is_given && call.tool.effect.max(call.tool.reach).may_change())
    }

    /// The key of a call and the fingerprint of its arguments, from their canonical text.
    pub(super) fn of_call(call: &AcceptedCall, arguments: &str) -> Result<Option<(Self, Fingerprint)>, CallError> {
        let settings = &call.tool.guards.idempotency;
        let Some((strategy, parts)) = strategy(call, settings, arguments)? else { return Ok(None) };
        let caller = settings.scope.contains(&Scope::Caller).then_some(call.call.caller.id.as_str());
        let session = settings.scope.contains(&Scope::Session).then_some(call.call.caller.session.as_deref()).flatten();
        let mut text = Parts(Vec::with_capacity(arguments.len() + PARTS_CAPACITY));
        text.add(Some("toolpost idempotency key v1"));
        text.add(caller);
        text.add(session);
        parts.iter().for_each(|part| text.add(Some(part)));
        let hash = hash(settings.hash, &text.0);
        let fingerprint = match (&settings.key, hash.first_chunk()) {
            // A key made of all arguments is never one of others.
            (KeyFrom::Arguments, Some(first)) => Fingerprint(*first),
            _ => Fingerprint::of(arguments),
        };
        let key = RecordKey(format!("v1/{}/{strategy}/{}", call.tool.key(), base32(&hash)).into());
        Ok(Some((key, fingerprint)))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash at its end.
    #[must_use]
    pub fn hash(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Fingerprint {
    /// The fingerprint of arguments, from their canonical text.
    pub(super) fn of(arguments: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"toolpost idempotency fingerprint v1\0").update(arguments.as_bytes());
        Fingerprint(hasher.finalize().into())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The strategy's name, and what it takes of the call.
fn strategy(
    call: &AcceptedCall,
    settings: &Idempotency,
    arguments: &str,
) -> Result<Option<(&'static str, Vec<String>)>, CallError> {
    let given = call.call.idempotency_key.as_deref();
    Ok(Some(match (&settings.key, given) {
        (KeyFrom::Nothing, None) => return Ok(None),
        (KeyFrom::Nothing | KeyFrom::Caller, Some(given)) => ("caller", vec![bounded(call, given)?.to_owned()]),
        (KeyFrom::Caller, None) => {
            let why = format!("`{}` is only called with an idempotency key", call.tool.name);
            return Err(refused(why).with_help("give one that is the same when you repeat the call, and new otherwise"));
        }
        (KeyFrom::Arguments, _) => ("args", vec![arguments.to_owned()]),
        (KeyFrom::Fields(pointers), _) => ("fields", fields(call, pointers)?),
        (KeyFrom::Call, _) => ("call", vec![call.call.id.as_str().to_owned()]),
        (KeyFrom::Custom(custom), _) => match custom.0.key(call)? {
            Some(key) => ("custom", vec![bounded(call, &key)?.to_owned()]),
            None => return Ok(None),
        },
    }))
}

fn bounded<'k>(call: &AcceptedCall, key: &'k str) -> Result<&'k str, CallError> {
    match key.len() {
        1..=GIVEN_BYTES_MAX => Ok(key),
        bytes => {
            let why = format!("the idempotency key of the call of `{}` has {bytes} bytes", call.tool.name);
            Err(refused(why).with_help(format!("give one of 1 to {GIVEN_BYTES_MAX}")))
        }
    }
}

/// Each field with its pointer, so that two fields cannot change places unnoticed.
fn fields(call: &AcceptedCall, pointers: &[String]) -> Result<Vec<String>, CallError> {
    let mut parts = Vec::with_capacity(pointers.len() * 2);
    for pointer in pointers {
        match call.arguments_for_keys().pointer(pointer) {
            Some(value) if !value.is_null() => parts.extend([pointer.clone(), canonical(value)]),
            _ => {
                let why = format!("`{}` needs the field `{pointer}` to know a repeated call", call.tool.name);
                return Err(refused(why).with_help("call it with that field"));
            }
        }
    }
    Ok(parts)
}

fn refused(why: String) -> CallError {
    CallError::new(ErrorKind::InvalidArguments, Stage::Guard, why)
}

/// Room for what is hashed beside the arguments.
const PARTS_CAPACITY: usize = 128;

/// Texts in a row, each with its length, so that no two rows look the same.
struct Parts(Vec<u8>);

impl Parts {
    fn add(&mut self, part: Option<&str>) {
        self.0.push(u8::from(part.is_some()));
        let part = part.unwrap_or_default().as_bytes();
        self.0.extend((part.len() as u64).to_le_bytes());
        self.0.extend(part);
    }
}

fn hash(hash: Hash, bytes: &[u8]) -> Vec<u8> {
    match hash {
        Hash::Blake3 => blake3::hash(bytes).as_bytes().to_vec(),
        Hash::Sha256 => sha2::Sha256::digest(bytes).to_vec(),
        Hash::Sha512 => sha2::Sha512::digest(bytes).to_vec(),
    }
}

/// The bytes in base 32, five bits to a character.
fn base32(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut held, mut bits) = (0_u32, 0);
    let mut digit = |value: u32| text.push(DIGITS.get(value as usize & 31).copied().map_or('0', char::from));
    for byte in bytes {
        held = (held << 8 | u32::from(*byte)) & 0xfff;
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            digit(held >> bits);
        }
    }
    if bits > 0 {
        digit(held << (5 - bits));
    }
    text
}
