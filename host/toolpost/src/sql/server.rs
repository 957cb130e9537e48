//! What servers have in common: an address that is a secret.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use reqwest::Url;
use toolpost_core::secret::SecretError;
use toolpost_core::{Attempt, Secret};
use toolpost_wasm::sql::Failure;

/// The address of a server, by the name of its secret.
#[derive(Debug)]
pub(super) struct Address(String);

impl Address {
    pub(super) fn new(secret: &str) -> Self {
        Address(secret.to_owned())
    }

    /// The address as it is now, and what tells it from the one of before. A password in it is masked by itself, too.
    pub(super) async fn read(&self, attempt: &Attempt) -> Result<(Arc<Secret>, u64), Failure> {
        let unreachable = |error: SecretError| Failure::Unreachable(error.to_string());
        let secret = attempt.secret_of_host(&self.0).await.map_err(unreachable)?;
        if let Some(password) = password(secret.reveal())
            && let Ok(password) = Secret::new(password)
        {
            attempt.mask_for_host(&format!("{} password", self.0), &Arc::new(password)).map_err(unreachable)?;
        }
        let mut hasher = DefaultHasher::new();
        secret.reveal().hash(&mut hasher);
        Ok((secret, hasher.finish()))
    }
}

fn password(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let bytes = url.password()?.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => Some((*high as char).to_digit(16).zip((*low as char).to_digit(16))),
            _ => None,
        };
        match escaped.flatten() {
            Some((high, low)) => {
                plain.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = rest.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(plain).ok()
}
