//! Keys and values on a server that speaks Redis' protocol.
//!
//! A space is four keys of the server, which share a hash tag: the entries, the keys in their order, those that end by their
//! end, and the bytes in use. Each change is one script, so nobody comes between. How long an entry lasts is decided by the host's
//! clock, as in every other store: the server keeps it until its room is needed.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script};
use toolpost_wasm::kv::{Backend, Change, Changed, Entry, Fault, Only, Range, Scope, Step};

use super::address::Vault;
use super::pool::{Place, Pool};

/// Keys and values on a server.
pub struct Redis {
    vault: Vault,
    /// The secret that is the server's URL.
    url: String,
    connect_time_max: Duration,
    pool: Pool<MultiplexedConnection>,
    change: Script,
    list: Script,
}

/// What came of a change on the server.
enum Told {
    Done,
    Stale(Option<Entry>),
}

impl Redis {
    /// The server whose URL is that secret, with so many connections at most. Nothing is connected to yet.
    #[must_use]
    pub fn new(vault: Vault, url: String, connections_max: usize, connect_time_max: Duration) -> Self {
        // Somebody else in this program may have chosen another one; that one stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (change, list) = (Script::new(include_str!("change.lua")), Script::new(include_str!("list.lua")));
        Redis { vault, url, connect_time_max, pool: Pool::new(connections_max), change, list }
    }

    /// A place with a connection that the server answers on.
    async fn place(&self) -> Result<(Place<'_, MultiplexedConnection>, MultiplexedConnection), Fault> {
        let mut place = self.pool.place().await.ok_or_else(|| Fault::Away("the pool is closed".into()))?;
        if let Some(mut used) = place.connection.take()
            && redis::cmd("PING").exec_async(&mut used).await.is_ok()
        {
            return Ok((place, used));
        }
        let url = self.vault.get(&self.url).await.map_err(|error| Fault::Away(error.to_string()))?;
        let client = Client::open(url.reveal()).map_err(|error| away(&error))?;
        // How long an answer may take is up to whoever waits for it.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(self.connect_time_max)).set_response_timeout(None);
        let made = client.get_multiplexed_async_connection_with_config(&config).await;
        made.map(|made| (place, made)).map_err(|error| away(&error))
    }

    async fn found(&self, scope: &Scope, keys: &[String]) -> Result<Vec<Option<Entry>>, Fault> {
        let (place, mut connection) = self.place().await?;
        let found = found(&mut connection, scope, keys).await;
        rest(place, connection, found)
    }

    async fn listed(&self, scope: &Scope, range: Range) -> Result<Vec<String>, Fault> {
        let Range { prefix, after, limit } = range;
        let from = match after {
            Some(after) if after >= prefix => format!("({after}").into_bytes(),
            _ => format!("[{prefix}").into_bytes(),
        };
        // No text has this byte, so it is behind all that begins with the prefix.
        let to = if prefix.is_empty() { b"+".to_vec() } else { [b"(", prefix.as_bytes(), b"\xff"].concat() };
        let (place, mut connection) = self.place().await?;
        let mut list = self.list.key(name(scope, "k"));
        list.key(name(scope, "x")).arg(scope.now_ms).arg(from).arg(to).arg(limit);
        let keys = list.invoke_async(&mut connection).await.map_err(|error| cut(&error));
        rest(place, connection, keys)
    }

    /// Makes one change after the other. What comes behind one that broke off is not begun.
    async fn changed(&self, scope: &Scope, changes: &[(String, Change)]) -> Result<Vec<Result<Changed, Fault>>, Fault> {
        let (place, mut connection) = self.place().await?;
        let mut all: Vec<Result<Changed, Fault>> = Vec::with_capacity(changes.len());
        for (key, change) in changes {
            let is_cut = matches!(all.last(), Some(Err(Fault::Cut(_) | Fault::Away(_))));
            all.push(match is_cut {
                true => Err(Fault::Away("the change before it broke off".into())),
                false => self.one(&mut connection, scope, key, change).await,
            });
        }
        if !all.iter().any(|made| matches!(made, Err(Fault::Cut(_) | Fault::Away(_)))) {
            give_back(place, connection);
        }
        Ok(all)
    }

    async fn one(
        &self,
        connection: &mut MultiplexedConnection,
        scope: &Scope,
        key: &str,
        change: &Change,
    ) -> Result<Changed, Fault> {
        match change {
            Change::Delete => {
                self.commit(connection, scope, key, Only::Always, None).await?;
                Ok(Changed::Gone)
            }
            Change::Set { value, expires_ms, only } => {
                // Whether the condition holds, the server finds out.
                let set = Change::Set { value: value.clone(), expires_ms: *expires_ms, only: Only::Always };
                let Step::Put(entry, changed) = set.step(None)? else { return Err(Fault::Unfit("nothing is set")) };
                match self.commit(connection, scope, key, *only, Some(&entry)).await? {
                    Told::Done => Ok(changed),
                    Told::Stale(found) => Ok(Changed::Stale(found)),
                }
            }
            Change::Add(_) => {
                let seen = found(connection, scope, &[key.to_owned()]).await.map_err(Fault::unwritten);
                let mut seen = seen?.pop().flatten();
                loop {
                    let Step::Put(entry, changed) = change.step(seen.as_ref())? else {
                        return Err(Fault::Unfit("nothing is added"));
                    };
                    let only = seen.as_ref().map_or(Only::Absent, |seen| Only::Version(seen.version));
                    match self.commit(connection, scope, key, only, Some(&entry)).await? {
                        Told::Done => return Ok(changed),
                        // Somebody was quicker. Whoever waits for this says how long it goes on.
                        Told::Stale(found) => seen = found,
                    }
                }
            }
        }
    }

    async fn commit(
        &self,
        connection: &mut MultiplexedConnection,
        scope: &Scope,
        key: &str,
        only: Only,
        entry: Option<&Entry>,
    ) -> Result<Told, Fault> {
        let expected = match only {
            Only::Always => "any".to_owned(),
            Only::Absent => "absent".to_owned(),
            Only::Version(version) => version.to_string(),
        };
        let ends = entry.and_then(|entry| entry.expires_ms).map(|ends| ends.to_string()).unwrap_or_default();
        let mut change = self.change.key(name(scope, "e"));
        change.key(name(scope, "k")).key(name(scope, "x")).key(name(scope, "b"));
        change.arg(key).arg(scope.now_ms).arg(scope.keys_max).arg(scope.bytes_max).arg(expected);
        change.arg(entry.map(packed).unwrap_or_default()).arg(ends);
        let told: (String, Vec<u8>) = change.invoke_async(connection).await.map_err(|error| cut(&error))?;
        match told.0.as_str() {
            "done" => Ok(Told::Done),
            "stale" if told.1.is_empty() => Ok(Told::Stale(None)),
            "stale" => Ok(Told::Stale(Some(unpacked(&told.1)?))),
            "keys" => Err(Fault::TooManyKeys),
            _ => Err(Fault::TooManyBytes),
        }
    }
}

async fn found(
    connection: &mut MultiplexedConnection,
    scope: &Scope,
    keys: &[String],
) -> Result<Vec<Option<Entry>>, Fault> {
    let mut get = redis::cmd("HMGET");
    get.arg(name(scope, "e")).arg(keys);
    let found: Vec<Option<Vec<u8>>> = get.query_async(connection).await.map_err(|error| cut(&error))?;
    let entry = |found: Option<Vec<u8>>| found.map(|found| unpacked(&found)).transpose();
    let found: Result<Vec<_>, _> = found.into_iter().map(entry).collect();
    Ok(found?.into_iter().map(|entry| entry.filter(|entry| !entry.is_over(scope.now_ms))).collect())
}

/// Gives the connection back where it was answered well.
fn rest<T>(
    place: Place<'_, MultiplexedConnection>,
    connection: MultiplexedConnection,
    answer: Result<T, Fault>,
) -> Result<T, Fault> {
    if answer.is_ok() {
        give_back(place, connection);
    }
    answer
}

fn give_back(mut place: Place<'_, MultiplexedConnection>, connection: MultiplexedConnection) {
    place.connection = Some(connection);
    place.give_back();
}

/// A key of the server, for a part of a space. All parts of one are in the same slot of a cluster.
fn name(scope: &Scope, part: &str) -> String {
    format!("toolpost:{{{}}}:{part}", scope.space)
}

fn packed(entry: &Entry) -> Vec<u8> {
    let ends = entry.expires_ms.map(|ends| ends.to_string()).unwrap_or_default();
    let mut packed = format!("{}:{ends}:", entry.version).into_bytes();
    packed.extend_from_slice(&entry.value);
    packed
}

fn unpacked(packed: &[u8]) -> Result<Entry, Fault> {
    let mut parts = packed.splitn(3, |byte| *byte == b':');
    let mut text = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
    let (version, ends) = (text().and_then(|text| text.parse().ok()), text());
    match (version, ends, parts.next()) {
        (Some(version), Some(ends), Some(value)) => {
            Ok(Entry { value: value.to_vec(), version, expires_ms: ends.parse().ok() })
        }
        _ => Err(Fault::Away("what the server keeps there is none of ours".into())),
    }
}

/// Nothing was asked for yet.
fn away(error: &RedisError) -> Fault {
    Fault::Away(words(error))
}

/// The server says no, or it does not say anything any more.
fn cut(error: &RedisError) -> Fault {
    let is_told = error.code().is_some() && !error.is_io_error();
    if is_told { Fault::Away(words(error)) } else { Fault::Cut(words(error)) }
}

/// What kind of error it is: its text may have more in it than a log should.
fn words(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("{} ({code})", error.category()),
        None => error.category().to_owned(),
    }
}

impl Backend for Redis {
    fn get<'a>(&'a self, scope: &'a Scope, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Entry>>, Fault>> {
        self.found(scope, keys).boxed()
    }

    fn change<'a>(
        &'a self,
        scope: &'a Scope,
        changes: Vec<(String, Change)>,
    ) -> BoxFuture<'a, Vec<Result<Changed, Fault>>> {
        async move {
            let all = self.changed(scope, &changes).await;
            all.unwrap_or_else(|fault| vec![Err(fault); changes.len()])
        }
        .boxed()
    }

    fn list<'a>(&'a self, scope: &'a Scope, range: Range) -> BoxFuture<'a, Result<Vec<String>, Fault>> {
        self.listed(scope, range).boxed()
    }
}
