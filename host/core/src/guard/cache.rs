//! Is the answer known already? The results of tools that change nothing, kept in memory for equal calls.
//!
//! What is kept is the whole result of a call that succeeded and had no effect: never an error. A result is known again only
//! to the same caller, for the same component with the same grants and the same arguments. Equal calls that come while the
//! first one runs wait for it; where it fails, exactly one of them runs next.
//!
//! **Why our own single flight.** The cache's own guard borrows the cache, and a call outlives the function that asks here.
//! Entries have their own time, so that tests can pause the clock.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytesize::ByteSize;
use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::call::AcceptedCall;
use crate::catalog::settings::Span;
use crate::catalog::{Lifetime, Origin};
use crate::effect::EffectClass;
use crate::tell::{Content, Output};

/// How much is kept, in bytes, unless it is said otherwise.
pub const CACHED_BYTES_MAX: u64 = ByteSize::mib(64).as_u64();

/// Equal calls that may wait for one; the others run.
const WAITING_MAX: usize = 1_024;

/// Parts of the cache, each with its own lock and its own share of the room.
const SHARDS: usize = 4;

/// What an entry and a JSON value take beside their texts, in bytes.
const ENTRY_BYTES: u64 = 256;
const NODE_BYTES: u64 = 72;

/// Whether results are kept, and how long they hold: in settings `true`, `false` or `{ ttl = "60s" }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheSettings {
    /// They are not.
    #[default]
    Off,
    /// As long as there is room: for a tool that only computes.
    On,
    /// For that long.
    For(Duration),
}

impl CacheSettings {
    /// Whether a tool with that effect, and with instances of that lifetime, can have this setting.
    ///
    /// # Errors
    /// Why not, and what to write.
    pub fn fits(self, effect: EffectClass, lifetime: Lifetime) -> Result<(), String> {
        match self {
            CacheSettings::On | CacheSettings::For(_) if lifetime == Lifetime::Session => {
                Err("it keeps its state for a session, so an earlier result cannot stand for a call of it; write \
                 guard.cache = false"
                    .into())
            }
            CacheSettings::On | CacheSettings::For(_) if effect.may_change() => Err(format!(
                "its effect is `{}`, so an earlier result cannot stand for a call of it; write guard.cache = false",
                effect.name()
            )),
            CacheSettings::On if effect == EffectClass::Reads => {
                Err("what it reads may change; say how long a result holds, such as guard.cache = { ttl = \"60s\" }"
                    .into())
            }
            _ => Ok(()),
        }
    }
}

/// Results that hold for a while.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CacheTable")]
struct Table {
    /// How long a result holds. It must be given.
    ttl: Span,
}

/// Whether results are kept: a switch, or a table.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used: a visitor reads it, with words for what does not fit")]
enum Written {
    Switch(bool),
    Table(Table),
}

impl JsonSchema for CacheSettings {
    fn schema_name() -> Cow<'static, str> {
        "Cache".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for CacheSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = CacheSettings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a table such as { ttl = \"60s\" }")
            }

            fn visit_bool<E>(self, on: bool) -> Result<CacheSettings, E> {
                Ok(if on { CacheSettings::On } else { CacheSettings::Off })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CacheSettings, A::Error> {
                Table::deserialize(MapAccessDeserializer::new(map)).map(|table| CacheSettings::For(table.ttl.0))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

type Key = [u8; 32];

/// The results that a host keeps.
pub(crate) struct ResultCache {
    kept: Cache<Key, Arc<Kept>, ByBytes>,
    flights: Mutex<HashMap<Key, Flight>>,
}

struct Kept {
    output: Output,
    bytes: u64,
    until: Option<Instant>,
}

#[derive(Clone, Copy)]
struct ByBytes;

impl Weighter<Key, Arc<Kept>> for ByBytes {
    fn weight(&self, _: &Key, kept: &Arc<Kept>) -> u64 {
        kept.bytes
    }
}

/// The calls that ask for one result: one at a time has the turn.
struct Flight {
    turn: Arc<Semaphore>,
    asking: usize,
}

/// What the cache says to a call.
pub(crate) enum Asked {
    /// An earlier call has come to this.
    Known(Output),
    /// Nobody knows; the call runs. Where its result is to be kept, `Fill` takes it.
    Unknown(Option<Fill>),
}

/// The turn of one call to find out; dropping it gives the turn to the next one.
pub(crate) struct Fill {
    // Dropped first: who has waited for the turn is still counted then.
    _turn: OwnedSemaphorePermit,
    asking: Asking,
    ttl: Option<Duration>,
}

/// One call that asks; dropping it takes the call out of the count.
struct Asking {
    cache: Arc<ResultCache>,
    key: Key,
    turn: Arc<Semaphore>,
}

impl ResultCache {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .estimated_items_capacity(usize::try_from(bytes_max / 4_096).unwrap_or(usize::MAX).clamp(16, 100_000))
            .weight_capacity(bytes_max)
            .build();
        let kept = match options {
            Ok(options) => Cache::with_options(options, ByBytes, Default::default(), Default::default()),
            Err(_) => Cache::with_weighter(16, bytes_max, ByBytes),
        };
        ResultCache { kept, flights: Mutex::default() }
    }

    /// Asks for the result of a call. Waits for an equal one that runs, no longer than the call itself may take.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place among those that wait.
    pub(crate) async fn ask(self: &Arc<Self>, call: &AcceptedCall) -> Asked {
        match keeps(call) {
            None => Asked::Unknown(None),
            // Boxed, because few calls wait here.
            Some(ttl) => Box::pin(self.turn(call, ttl)).await,
        }
    }

    /// Waits for the turn to find out, and looks again.
    async fn turn(self: &Arc<Self>, call: &AcceptedCall, ttl: Option<Duration>) -> Asked {
        let key = key(call);
        let Some(asking) = self.asking(key) else { return Asked::Unknown(None) };
        let turn = timeout(call.tool.limits.call_time_max, asking.turn.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Asked::Unknown(None) };
        match self.kept(&key) {
            Some(output) => Asked::Known(output),
            None => Asked::Unknown(Some(Fill { _turn: turn, asking, ttl })),
        }
    }

    /// The result of an earlier call that is equal to this one.
    pub(crate) fn known(&self, call: &AcceptedCall) -> Option<Output> {
        keeps(call).and_then(|_| self.kept(&key(call)))
    }

    /// The room that there is, in bytes.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.kept.capacity()
    }

    /// Makes the room larger or smaller; what has no room any more goes.
    pub(crate) fn resize(&self, bytes_max: u64) {
        self.kept.set_capacity(bytes_max);
    }

    fn kept(&self, key: &Key) -> Option<Output> {
        let over = |kept: &Arc<Kept>| kept.until.is_some_and(|until| until <= Instant::now());
        match self.kept.get(key) {
            Some(kept) if over(&kept) => {
                self.kept.remove_if(key, over);
                None
            }
            kept => kept.map(|kept| kept.output.clone()),
        }
    }

    fn asking(self: &Arc<Self>, key: Key) -> Option<Asking> {
        let mut flights = self.flights();
        let flight = flights.entry(key).or_insert_with(|| Flight { turn: Arc::new(Semaphore::new(1)), asking: 0 });
        if flight.asking > WAITING_MAX {
            return None;
        }
        flight.asking += 1;
        Some(Asking { cache: self.clone(), key, turn: flight.turn.clone() })
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Key, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fill {
    /// The call has ended: with this result, or with one that is not to be kept.
    pub(crate) fn settle(self, output: Option<&Output>) {
        let Some(output) = output else { return };
        let until = match self.ttl.map(|ttl| Instant::now().checked_add(ttl)) {
            // A span that no clock can show is never over.
            None | Some(None) => None,
            Some(until) => until,
        };
        let kept = Kept { output: output.clone(), bytes: bytes(output), until };
        self.asking.cache.kept.insert(self.asking.key, Arc::new(kept));
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut flights = self.cache.flights();
        if let Some(flight) = flights.get_mut(&self.key) {
            flight.asking -= 1;
            if flight.asking == 0 {
                flights.remove(&self.key);
            }
        }
    }
}

/// Whether the result of a call is kept, and how long it holds.
fn keeps(call: &AcceptedCall) -> Option<Option<Duration>> {
    let settings = call.tool.guards.cache;
    match settings {
        _ if settings.fits(call.tool.effect, call.tool.lifetime).is_err() => None,
        CacheSettings::Off => None,
        CacheSettings::On => Some(None),
        CacheSettings::For(ttl) => Some(Some(ttl)),
    }
}

/// What two calls must have in common so that one's result is the other's. Errors are not kept, so fuel, memory and time are
/// not among it.
fn key(call: &AcceptedCall) -> Key {
    let tool = &call.tool;
    let mut hash = blake3::Hasher::new();
    let mut add = |part: &[u8]| {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    match &tool.origin {
        Origin::Component { digest, function, .. } => [digest, function].map(|part| add(part.as_bytes())),
        Origin::Native => ["native", &tool.key()].map(|part| add(part.as_bytes())),
    };
    add(&serde_json::to_vec(&tool.grants).unwrap_or_default());
    add(&(tool.secrets.len() as u64).to_le_bytes());
    tool.secrets.iter().for_each(|secret| add(secret.as_bytes()));
    add(call.call.caller.id.as_bytes());
    add(&tool.limits.result_bytes_max.to_le_bytes());
    add(call.arguments_for_keys().to_string().as_bytes());
    *hash.finalize().as_bytes()
}

/// About as much as a result takes in memory.
fn bytes(output: &Output) -> u64 {
    let text = |text: &String| text.len() as u64 + NODE_BYTES;
    let part = |part: &Content| match part {
        Content::Text { text: said } => text(said),
        Content::Json { value } => value_bytes(value),
        Content::Image { mime_type, data } | Content::Audio { mime_type, data } => text(mime_type) + text(data),
        Content::Link { uri, name, description, mime_type } => {
            text(uri) + text(name) + description.iter().chain(mime_type).map(text).sum::<u64>()
        }
    };
    let parts: u64 = output.content.iter().map(part).sum();
    ENTRY_BYTES + value_bytes(&output.value) + parts + output.notes.iter().map(text).sum::<u64>()
}

fn value_bytes(value: &Value) -> u64 {
    let inner = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(value_bytes).sum(),
        Value::Object(members) => {
            members.iter().map(|(key, member)| key.len() as u64 + NODE_BYTES + value_bytes(member)).sum()
        }
    };
    NODE_BYTES + inner
}
