//! Where is a server? Its URL often has a password in it, so it is one of the host's secrets. It is asked for whenever a connection
//! is made, and so follows a secret that changes.

use std::sync::{Arc, Mutex, PoisonError};

use toolpost_core::secret::SecretError;
use toolpost_core::{Secret, Secrets};

/// The secrets of the host as it is now: stores outlive the settings that they were made by.
#[derive(Clone, Default)]
pub struct Vault(Arc<Mutex<Arc<Secrets>>>);

impl Vault {
    /// From now on, these are the secrets.
    pub fn hold(&self, secrets: Arc<Secrets>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = secrets;
    }

    /// The value of a secret.
    ///
    /// # Errors
    /// There is no such secret, or it cannot be read.
    ///
    /// # Cancel safety
    /// As for [`Secrets::get`].
    pub async fn get(&self, name: &str) -> Result<Arc<Secret>, SecretError> {
        let secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        secrets.get(name).await
    }
}
