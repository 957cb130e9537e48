//! Keys and values in a table of DynamoDB.
//!
//! An entry is an item, and for each space there is one more that counts its keys and bytes. A change is looked at here, and then
//! written on the condition that what was looked at is still there, in one transaction with the count: who was not quick enough looks
//! again. How long an entry lasts is decided by the host's clock, as in every other store.

mod wire;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::sleep;
use toolpost_wasm::kv::{Backend, Change, Changed, Entry, Fault, Range, Scope, Step};

pub use self::wire::Place;
use self::wire::{Refusal, Wire};
use super::address::Vault;

/// The longest pause before who was not quick enough looks again, in milliseconds.
const PAUSE_MS_MAX: u64 = 20;

/// Values that are asked for at once.
const AT_ONCE: usize = 8;

/// Keys and values in a table.
pub struct DynamoDb {
    wire: Wire,
}

/// What came of writing.
enum Wrote {
    Done,
    /// Somebody has changed it meanwhile.
    Changed,
    /// There is no room.
    Full,
}

impl DynamoDb {
    /// The table at that place, with so many requests at once. Nothing is connected to yet.
    ///
    /// # Errors
    /// This machine cannot make connections that are safe.
    pub fn new(vault: Vault, place: Place, requests_max: usize, time_max: Duration) -> Result<Self, String> {
        Ok(DynamoDb { wire: Wire::new(vault, place, requests_max, time_max)? })
    }

    /// What stands there, also where it is over.
    async fn item(&self, space: &str, key: &str) -> Result<Option<Entry>, Fault> {
        let answer = self.wire.ask("GetItem", json!({"Key": place(space, key), "ConsistentRead": true})).await?;
        let answer = answer.map_err(|refusal| refused(&refusal))?;
        answer.get("Item").map(entry).transpose()
    }

    async fn one(&self, scope: &Scope, key: &str, change: &Change) -> Result<Changed, Fault> {
        let mut is_swept = false;
        loop {
            let before = self.item(&scope.space, key).await.map_err(Fault::unwritten)?;
            let found = before.as_ref().filter(|entry| !entry.is_over(scope.now_ms));
            let (then, changed) = match change.step(found)? {
                Step::Leave(changed) => return Ok(changed),
                Step::Remove => (None, Changed::Gone),
                Step::Put(entry, changed) => (Some(entry), changed),
            };
            match self.write(scope, key, before.as_ref(), then.as_ref()).await? {
                Wrote::Done => return Ok(changed),
                // Whoever waits for this says how long it goes on.
                Wrote::Changed => sleep(Duration::from_millis(fastrand::u64(1..=PAUSE_MS_MAX))).await,
                // What is over takes up room until it is needed.
                Wrote::Full if !is_swept => {
                    self.sweep(scope).await?;
                    is_swept = true;
                }
                Wrote::Full => return Err(self.full(scope, before.as_ref()).await.map_err(Fault::unwritten)?),
            }
        }
    }

    /// Writes an entry in the place of another, and counts it, if there is room for it.
    async fn write(
        &self,
        scope: &Scope,
        key: &str,
        before: Option<&Entry>,
        then: Option<&Entry>,
    ) -> Result<Wrote, Fault> {
        let table = &self.wire.place.table;
        let mut write = json!({
            "TableName": table, "ExpressionAttributeNames": {"#v": "version"},
            "ConditionExpression": "attribute_not_exists(#v)",
        });
        if let Some(before) = before {
            put(&mut write, "ConditionExpression", json!("#v = :v"));
            put(&mut write, "ExpressionAttributeValues", json!({":v": number(before.version)}));
        }
        let write = match then {
            Some(entry) => {
                put(&mut write, "Item", item(&scope.space, key, entry));
                json!({"Put": write})
            }
            None => {
                put(&mut write, "Key", place(&scope.space, key));
                json!({"Delete": write})
            }
        };
        let size = |entry: Option<&Entry>| entry.map_or((0, 0), |it| (1, i128::from(it.bytes(key))));
        let ((keys, bytes), (keys_then, bytes_then)) = (size(before), size(then));
        let Some(count) = self.count(scope, keys_then - keys, bytes_then - bytes) else { return Ok(Wrote::Full) };
        let answer = self.wire.ask("TransactWriteItems", json!({"TransactItems": [write, count]})).await?;
        let Err(refusal) = answer else { return Ok(Wrote::Done) };
        let reason =
            |at: usize| refusal.body.pointer(&format!("/CancellationReasons/{at}/Code")).and_then(Value::as_str);
        match (refusal.code.as_str(), reason(0), reason(1)) {
            ("TransactionCanceledException", Some("ConditionalCheckFailed" | "TransactionConflict"), _)
            | ("TransactionCanceledException", _, Some("TransactionConflict"))
            | ("TransactionInProgressException", ..) => Ok(Wrote::Changed),
            ("TransactionCanceledException", _, Some("ConditionalCheckFailed")) => Ok(Wrote::Full),
            _ => Err(refused(&refusal)),
        }
    }

    /// Counts keys and bytes, if there is room for them; nothing where there cannot be.
    fn count(&self, scope: &Scope, keys: i128, bytes: i128) -> Option<Value> {
        let mut count = json!({
            "TableName": self.wire.place.table, "Key": place(&counted(&scope.space), "room"),
            "UpdateExpression": "ADD #n :n, #b :b",
            "ExpressionAttributeNames": {"#n": "keys", "#b": "bytes"},
        });
        let mut values = json!({":n": number(keys), ":b": number(bytes)});
        let mut conditions = Vec::new();
        for (name, bound, more, most) in
            [("#n", ":k", keys, i128::from(scope.keys_max)), ("#b", ":c", bytes, i128::from(scope.bytes_max))]
        {
            // What has grown too large by other means may still become smaller.
            if more > 0 {
                let left = most.checked_sub(more).filter(|left| *left >= 0)?;
                conditions.push(format!("(attribute_not_exists({name}) OR {name} <= {bound})"));
                put(&mut values, bound, number(left));
            }
        }
        if !conditions.is_empty() {
            put(&mut count, "ConditionExpression", json!(conditions.join(" AND ")));
        }
        put(&mut count, "ExpressionAttributeValues", values);
        Some(json!({"Update": count}))
    }

    /// What there is not enough room for.
    async fn full(&self, scope: &Scope, before: Option<&Entry>) -> Result<Fault, Fault> {
        let key = json!({"Key": place(&counted(&scope.space), "room"), "ConsistentRead": true});
        let answer = self.wire.ask("GetItem", key).await?.map_err(|refusal| refused(&refusal))?;
        let keys = answer.pointer("/Item").and_then(|item| count_of(item, "keys")).unwrap_or(0);
        Ok(if before.is_none() && keys >= scope.keys_max { Fault::TooManyKeys } else { Fault::TooManyBytes })
    }

    /// Takes out what is over.
    async fn sweep(&self, scope: &Scope) -> Result<(), Fault> {
        let mut from = None;
        loop {
            let query = json!({
                "ConsistentRead": true, "KeyConditionExpression": "#s = :s", "FilterExpression": "#e <= :now",
                "ExpressionAttributeNames": {"#s": "space", "#e": "expires_ms"},
                "ExpressionAttributeValues": {":s": text(&scope.space), ":now": number(scope.now_ms)},
            });
            let (items, next) = self.page(query, from).await?;
            for item in &items {
                if let Some(key) = item.pointer("/key/S").and_then(Value::as_str) {
                    // Whoever was quicker with it has done what was to be done.
                    self.write(scope, key, Some(&entry(item)?), None).await?;
                }
            }
            match next {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn listed(&self, scope: &Scope, range: Range) -> Result<Vec<String>, Fault> {
        let Range { prefix, after, limit } = range;
        let first = after.clone().filter(|after| *after > prefix).unwrap_or_else(|| prefix.clone());
        let (mut keys, mut from) = (Vec::new(), None);
        loop {
            let mut values = json!({":s": text(&scope.space), ":now": number(scope.now_ms)});
            let mut condition = "#s = :s";
            if !first.is_empty() {
                condition = "#s = :s AND #k >= :k";
                put(&mut values, ":k", text(&first));
            }
            let query = json!({
                "ConsistentRead": true, "KeyConditionExpression": condition, "ProjectionExpression": "#k",
                "FilterExpression": "(attribute_not_exists(#e) OR #e > :now)",
                "ExpressionAttributeNames": {"#s": "space", "#k": "key", "#e": "expires_ms"},
                "ExpressionAttributeValues": values,
                // One more for the mark itself.
                "Limit": limit.saturating_add(1),
            });
            let (items, next) = self.page(query, from).await?;
            for key in items.iter().filter_map(|item| item.pointer("/key/S")?.as_str()) {
                // Those with the prefix stand together.
                if !key.starts_with(&prefix) || keys.len() >= limit {
                    return Ok(keys);
                }
                if after.as_deref() != Some(key) {
                    keys.push(key.to_owned());
                }
            }
            match next {
                Some(next) if keys.len() < limit => from = Some(next),
                _ => return Ok(keys),
            }
        }
    }

    /// Some items, and where to go on.
    async fn page(&self, mut query: Value, from: Option<Value>) -> Result<(Vec<Value>, Option<Value>), Fault> {
        if let Some(from) = from {
            put(&mut query, "ExclusiveStartKey", from);
        }
        let answer = self.wire.ask("Query", query).await?.map_err(|refusal| refused(&refusal))?;
        let items = answer.get("Items").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok((items, answer.get("LastEvaluatedKey").cloned()))
    }
}

/// Puts one more key into a table of JSON.
fn put(table: &mut Value, key: &str, value: Value) {
    if let Some(table) = table.as_object_mut() {
        table.insert(key.to_owned(), value);
    }
}

/// The name under which a space is counted: no space is called so.
fn counted(space: &str) -> String {
    format!("room/{space}")
}

fn place(space: &str, key: &str) -> Value {
    json!({"space": text(space), "key": text(key)})
}

fn text(text: &str) -> Value {
    json!({"S": text})
}

fn number(number: impl ToString) -> Value {
    json!({"N": number.to_string()})
}

fn item(space: &str, key: &str, entry: &Entry) -> Value {
    let mut item = place(space, key);
    put(&mut item, "value", json!({"B": STANDARD.encode(&entry.value)}));
    put(&mut item, "version", number(entry.version));
    if let Some(expires_ms) = entry.expires_ms {
        put(&mut item, "expires_ms", number(expires_ms));
    }
    item
}

fn entry(item: &Value) -> Result<Entry, Fault> {
    let value = item.pointer("/value/B").and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok());
    match (value, count_of(item, "version")) {
        (Some(value), Some(version)) => Ok(Entry { value, version, expires_ms: count_of(item, "expires_ms") }),
        _ => Err(Fault::Away("what the table has there is none of ours".into())),
    }
}

fn count_of(item: &Value, name: &str) -> Option<u64> {
    item.get(name)?.get("N")?.as_str()?.parse().ok()
}

/// It says no, and so nothing was done.
fn refused(refusal: &Refusal) -> Fault {
    let message = refusal.body.get("message").or_else(|| refusal.body.get("Message")).and_then(Value::as_str);
    match (refusal.code.as_str(), message) {
        ("ValidationException", Some(message)) if message.contains("size has exceeded") => {
            Fault::Unfit("the value is longer than its store can take")
        }
        // The words may repeat what was sent.
        (code, _) => Fault::Away(format!("it refuses: {code}")),
    }
}

impl Backend for DynamoDb {
    fn get<'a>(&'a self, scope: &'a Scope, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Entry>>, Fault>> {
        async move {
            let mut asked: Vec<BoxFuture<'_, _>> = Vec::with_capacity(keys.len());
            for key in keys {
                asked.push(self.item(&scope.space, key).boxed());
            }
            let found: Vec<Result<Option<Entry>, Fault>> = stream::iter(asked).buffered(AT_ONCE).collect().await;
            let live = |entry: Option<Entry>| entry.filter(|entry| !entry.is_over(scope.now_ms));
            found.into_iter().map(|found| found.map(live)).collect()
        }
        .boxed()
    }

    fn change<'a>(
        &'a self,
        scope: &'a Scope,
        changes: Vec<(String, Change)>,
    ) -> BoxFuture<'a, Vec<Result<Changed, Fault>>> {
        async move {
            let mut all: Vec<Result<Changed, Fault>> = Vec::with_capacity(changes.len());
            for (key, change) in &changes {
                let is_cut = matches!(all.last(), Some(Err(Fault::Cut(_) | Fault::Away(_))));
                all.push(match is_cut {
                    true => Err(Fault::Away("the change before it broke off".into())),
                    false => self.one(scope, key, change).await,
                });
            }
            all
        }
        .boxed()
    }

    fn list<'a>(&'a self, scope: &'a Scope, range: Range) -> BoxFuture<'a, Result<Vec<String>, Fault>> {
        self.listed(scope, range).boxed()
    }
}
