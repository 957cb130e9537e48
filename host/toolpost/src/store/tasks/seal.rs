//! What only a tool may see stands sealed in the database: whoever has a copy of that, and not the key of the host, cannot
//! read it.

use std::sync::{Arc, OnceLock};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use toolpost_core::Arguments;
use toolpost_core::task::{Asked, TaskId};

use crate::store::{Store, StoreError};

/// What the key of the host is used for here.
const CONTEXT: &str = "toolpost 2026-11 arguments of tasks";

/// Seals with the key of a store.
#[derive(Debug)]
pub(super) struct Seal {
    store: Arc<Store>,
    key: OnceLock<LessSafeKey>,
}

/// What is sealed. A value is kept as a text, which has every digit of it, and is read as one that comes from a caller.
#[derive(Serialize, Deserialize)]
struct Written {
    arguments: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl Seal {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Seal { store, key: OnceLock::new() }
    }

    /// Seals it, for this task alone.
    pub(super) fn close(&self, id: &TaskId, asked: &Asked) -> Result<Vec<u8>, StoreError> {
        let arguments = match &asked.arguments {
            Arguments::Text(text) => text.clone(),
            Arguments::Value(value) => value.to_string(),
        };
        let written = Written { arguments, key: asked.idempotency_key.clone() };
        let mut sealed = serde_json::to_vec(&written).map_err(|error| StoreError(error.into()))?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| broken("there are no random numbers"))?;
        let (key, aad) = (self.key()?, Aad::from(id.as_str()));
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| broken("the arguments cannot be sealed"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens what was sealed for this task.
    pub(super) fn open(&self, id: &TaskId, sealed: &[u8]) -> Result<Asked, StoreError> {
        let other = || broken("the arguments of a task were sealed with another key");
        let (nonce, sealed) = sealed.split_first_chunk().ok_or_else(other)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let written = self.key()?.open_in_place(nonce, Aad::from(id.as_str()), &mut sealed).map_err(|_| other())?;
        let written: Written = serde_json::from_slice(written).map_err(|error| StoreError(error.into()))?;
        Ok(Asked { arguments: Arguments::Text(written.arguments), idempotency_key: written.key })
    }

    fn key(&self) -> Result<&LessSafeKey, StoreError> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let of_host = hmac::Key::new(hmac::HMAC_SHA256, &self.store.key()?);
        let key = hmac::sign(&of_host, CONTEXT.as_bytes());
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).map_err(|_| broken("there is no cipher"))?;
        Ok(self.key.get_or_init(|| LessSafeKey::new(key)))
    }
}

fn broken(what: &str) -> StoreError {
    StoreError(what.into())
}
