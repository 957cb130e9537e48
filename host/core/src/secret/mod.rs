//! What may nobody see? Secrets, which cannot be printed, and the [`Masker`] that takes them out of everything that leaves the
//! host.
//!
//! A tool that was given a secret may repeat it by mistake: in its result, in an error of a library, in a log line. So what a
//! tool says is masked **as it comes in**: its log, its standard output, its parts and its effects by the [`Attempt`], its
//! result or error at the end of the attempt, the call itself and its outcome by the record of the call. Whatever keeps or
//! tells something stands behind that, and has never seen the value.
//!
//! Only values are masked: the host, the path and the verb of an effect stay, so that a person who is asked sees what would
//! happen. This guards against accidents. A tool that is out to leak a secret in a code of its own can; which tool may have
//! which secret is what guards against that.
//!
//! [`Attempt`]: crate::run::Attempt

// The values
mod known;

// The forms in which they turn up
mod forms;

// Taking them out
mod mask;
mod shown;
mod stream;

use std::fmt;

use secrecy::zeroize::Zeroize as _;
use secrecy::{ExposeSecret as _, SecretString};

pub use self::known::{SECRETS_MAX, SecretSource, Secrets};
pub use self::mask::{MASK, Masker};
pub use self::stream::Stream;

/// The shortest secret, in bytes. What is shorter would be found, and masked, in words that have nothing to do with it.
pub const SECRET_BYTES_LEAST: usize = 8;

/// The longest secret, in bytes.
pub const SECRET_BYTES_MOST: usize = 8 << 10;

/// A value that nobody may see. It cannot be printed, serialized or cloned, and its memory is wiped when it is dropped.
///
/// ```
/// use toolpost_core::Secret;
///
/// let secret = Secret::new("correct horse".into())?;
/// assert_eq!(format!("{secret} {secret:?}"), "*** ***");
/// assert_eq!(secret.reveal(), "correct horse");
/// # Ok::<(), toolpost_core::secret::SecretError>(())
/// ```
pub struct Secret(SecretString);

impl Secret {
    /// Takes a value in, and wipes what it came in.
    ///
    /// # Errors
    /// It is shorter than [`SECRET_BYTES_LEAST`], or longer than [`SECRET_BYTES_MOST`].
    pub fn new(mut value: String) -> Result<Self, SecretError> {
        let (secret, length) = (SecretString::from(value.as_str()), value.len());
        value.zeroize();
        match length {
            0 => Err(SecretError::new("it is empty")),
            1..SECRET_BYTES_LEAST => Err(SecretError::new(format!(
                "it is shorter than {SECRET_BYTES_LEAST} bytes, so it could not be masked"
            ))),
            SECRET_BYTES_LEAST..=SECRET_BYTES_MOST => Ok(Secret(secret)),
            _ => Err(SecretError::new(format!("it is longer than {SECRET_BYTES_MOST} bytes"))),
        }
    }

    /// The value, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Why a secret cannot be had, in words for the operator. It never holds the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretError(String);

impl SecretError {
    /// A reason.
    pub fn new(why: impl Into<String>) -> Self {
        SecretError(why.into())
    }

    pub(crate) fn of(self, name: &str) -> Self {
        SecretError(format!("the secret `{name}` cannot be had: {}", self.0))
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SecretError {}
