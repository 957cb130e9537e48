//! `wasi:keyvalue` and `toolpost:kv`, for granted buckets.

use wasmtime::component::{Linker, Resource, ResourceTableError};

use super::backend::{Change, Changed, Entry, Only};
use super::bucket::{Bucket, Cas, Opened, PAGE_MAX, Set, now_ms, other};
use super::grant::Act;
use super::{Keys, View};
use crate::state::State;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "toolpost:kv/imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::capability::kv::bucket::Opened,
            "wasi:keyvalue/atomics.cas": crate::capability::kv::bucket::Cas,
        },
        trappable_error_type: { "wasi:keyvalue/store.error" => super::Refused },
    });
}

use bindings::toolpost::kv::ext::{self, SetOptions, Swapped};
pub(super) use bindings::wasi::keyvalue::store::Error;
use bindings::wasi::keyvalue::store::{self, KeyResponse};
use bindings::wasi::keyvalue::{atomics, batch};

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, Keys>(linker, State::keys)?;
    atomics::add_to_linker::<_, Keys>(linker, State::keys)?;
    batch::add_to_linker::<_, Keys>(linker, State::keys)?;
    ext::add_to_linker::<_, Keys>(linker, State::keys)
}

/// An error that the guest hears, or one of the host.
#[expect(unreachable_pub, reason = "the bindings name it")]
pub enum Refused {
    Told(Error),
    Host(wasmtime::Error),
}

type Answer<T> = Result<T, Refused>;

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Told(error)
    }
}

impl From<ResourceTableError> for Refused {
    fn from(error: ResourceTableError) -> Self {
        Refused::Host(error.into())
    }
}

impl View<'_> {
    fn bucket(&self, bucket: &Resource<Opened>) -> Result<Bucket, ResourceTableError> {
        self.bucket_at(self.table.get(bucket)?.at)
    }

    fn bucket_at(&self, at: usize) -> Result<Bucket, ResourceTableError> {
        let share = self.handle.shares.get(at).cloned().ok_or(ResourceTableError::NotPresent)?;
        Ok(Bucket { share })
    }

    fn cas(&mut self, at: usize, key: String, found: Option<&Entry>) -> Answer<Resource<Cas>> {
        let place = self.handle.place().map_err(Refused::Told)?;
        let seen = found.map_or(Only::Absent, |entry| Only::Version(entry.version));
        Ok(self.table.push(Cas { at, key, seen, _place: place })?)
    }
}

impl store::Host for View<'_> {
    async fn open(&mut self, identifier: String) -> Answer<Resource<Opened>> {
        let at = self.handle.open(&identifier)?;
        let place = self.handle.place()?;
        Ok(self.table.push(Opened { at, _place: place })?)
    }

    fn convert_error(&mut self, error: Refused) -> wasmtime::Result<Error> {
        match error {
            Refused::Told(error) => Ok(error),
            Refused::Host(error) => Err(error),
        }
    }
}

impl store::HostBucket for View<'_> {
    async fn get(&mut self, bucket: Resource<Opened>, key: String) -> Answer<Option<Vec<u8>>> {
        Ok(self.bucket(&bucket)?.get_one(key).await?.map(|entry| entry.value))
    }

    async fn set(&mut self, bucket: Resource<Opened>, key: String, value: Vec<u8>) -> Answer<()> {
        let set = Set { value, ttl_ms: None, only: Only::Always };
        self.bucket(&bucket)?.set(Act::Set, key, set).await?;
        Ok(())
    }

    async fn delete(&mut self, bucket: Resource<Opened>, key: String) -> Answer<()> {
        self.bucket(&bucket)?.change_one(Act::Delete, key, Change::Delete).await?;
        Ok(())
    }

    async fn exists(&mut self, bucket: Resource<Opened>, key: String) -> Answer<bool> {
        Ok(self.bucket(&bucket)?.get_one(key).await?.is_some())
    }

    async fn list_keys(&mut self, bucket: Resource<Opened>, cursor: Option<String>) -> Answer<KeyResponse> {
        let (keys, cursor) = self.bucket(&bucket)?.list("", cursor, PAGE_MAX).await?;
        Ok(KeyResponse { keys, cursor })
    }

    async fn drop(&mut self, bucket: Resource<Opened>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::HostCas for View<'_> {
    async fn new(&mut self, bucket: Resource<Opened>, key: String) -> Answer<Resource<Cas>> {
        let at = self.table.get(&bucket)?.at;
        let found = self.bucket_at(at)?.get_one(key.clone()).await?;
        self.cas(at, key, found.as_ref())
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Answer<Option<Vec<u8>>> {
        let Cas { at, key, .. } = self.table.get(&cas)?;
        let (bucket, key) = (self.bucket_at(*at)?, key.clone());
        Ok(bucket.get_one(key).await?.map(|entry| entry.value))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl atomics::Host for View<'_> {
    async fn increment(&mut self, bucket: Resource<Opened>, key: String, delta: i64) -> Answer<i64> {
        match self.bucket(&bucket)?.change_one(Act::Increment, key, Change::Add(delta)).await? {
            Changed::Sum(sum) => Ok(sum),
            _ => Err(other("the store said something else").into()),
        }
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let Cas { at, key, seen, _place } = self.table.delete(cas)?;
        // The handle that takes its place needs the room.
        drop(_place);
        let set = Set { value, ttl_ms: None, only: seen };
        let found = match self.bucket_at(at)?.set(Act::Swap, key.clone(), set).await {
            Ok(Changed::Stale(found)) => found,
            Ok(_) => return Ok(Ok(())),
            Err(error) => return Ok(Err(atomics::CasError::StoreError(error))),
        };
        Ok(Err(match self.cas(at, key, found.as_ref()) {
            Ok(cas) => atomics::CasError::CasFailed(cas),
            Err(Refused::Told(error)) => atomics::CasError::StoreError(error),
            Err(Refused::Host(error)) => return Err(error),
        }))
    }
}

impl batch::Host for View<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Opened>,
        keys: Vec<String>,
    ) -> Answer<Vec<(String, Option<Vec<u8>>)>> {
        let found = self.bucket(&bucket)?.get(keys.clone()).await?;
        let values = found.into_iter().map(|entry| entry.map(|entry| entry.value));
        Ok(keys.into_iter().zip(values).collect())
    }

    async fn set_many(&mut self, bucket: Resource<Opened>, all: Vec<(String, Vec<u8>)>) -> Answer<()> {
        let set = |(key, value)| (key, Change::Set { value, expires_ms: None, only: Only::Always });
        self.bucket(&bucket)?.change(Act::Set, all.into_iter().map(set).collect()).await?;
        Ok(())
    }

    async fn delete_many(&mut self, bucket: Resource<Opened>, keys: Vec<String>) -> Answer<()> {
        let delete = |key| (key, Change::Delete);
        self.bucket(&bucket)?.change(Act::Delete, keys.into_iter().map(delete).collect()).await?;
        Ok(())
    }
}

fn entry(entry: Entry) -> ext::Entry {
    let ttl_ms = entry.expires_ms.map(|expires| expires.saturating_sub(now_ms()));
    ext::Entry { value: entry.value, version: entry.version, ttl_ms }
}

impl ext::Host for View<'_> {
    async fn get(&mut self, bucket: Resource<Opened>, key: String) -> Answer<Option<ext::Entry>> {
        Ok(self.bucket(&bucket)?.get_one(key).await?.map(entry))
    }

    async fn set(
        &mut self,
        bucket: Resource<Opened>,
        key: String,
        value: Vec<u8>,
        options: SetOptions,
    ) -> Answer<Option<u64>> {
        let only = if options.if_not_exists { Only::Absent } else { Only::Always };
        let set = Set { value, ttl_ms: options.ttl_ms, only };
        match self.bucket(&bucket)?.set(Act::Set, key, set).await? {
            Changed::Set(version) => Ok(Some(version)),
            _ => Ok(None),
        }
    }

    async fn swap(
        &mut self,
        bucket: Resource<Opened>,
        key: String,
        version: Option<u64>,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Answer<Swapped> {
        let set = Set { value, ttl_ms, only: version.map_or(Only::Absent, Only::Version) };
        match self.bucket(&bucket)?.set(Act::Swap, key, set).await? {
            Changed::Set(version) => Ok(Swapped::Swapped(version)),
            Changed::Stale(found) => Ok(Swapped::Stale(found.map(entry))),
            _ => Err(other("the store said something else").into()),
        }
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Opened>,
        prefix: String,
        cursor: Option<String>,
        limit: Option<u32>,
    ) -> Answer<KeyResponse> {
        let limit = limit.map_or(PAGE_MAX, |limit| usize::try_from(limit).unwrap_or(PAGE_MAX));
        let (keys, cursor) = self.bucket(&bucket)?.list(&prefix, cursor, limit).await?;
        Ok(KeyResponse { keys, cursor })
    }
}
