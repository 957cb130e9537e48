//! Does it come from whom it should? Questions and answers that travel are signed, with the time in the signature.
//!
//! `Toolpost-Signature: t=1700000000,v1=5257a8...` has the time in seconds since 1970, and HMAC-SHA256 in hexadecimal over the
//! time, a full stop, and the body.

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The header that carries a signature.
pub const SIGNATURE: &str = "toolpost-signature";

/// How far the clocks of both sides may be apart, in seconds.
const CLOCKS_APART_MAX: u64 = 300;

/// The shortest secret, in bytes.
const SECRET_BYTES_LEAST: usize = 16;

/// A secret that both sides know.
#[derive(Clone)]
pub struct Seal(Hmac<Sha256>);

impl PartialEq for Seal {
    fn eq(&self, other: &Self) -> bool {
        let signed = |seal: &Seal| seal.code(0, &[]).finalize().into_bytes();
        signed(self) == signed(other)
    }
}

impl Seal {
    /// A seal with that secret.
    ///
    /// # Errors
    /// It is shorter than 16 bytes.
    pub fn new(secret: &[u8]) -> Result<Self, String> {
        if secret.len() < SECRET_BYTES_LEAST {
            return Err(format!("the secret is shorter than {SECRET_BYTES_LEAST} bytes"));
        }
        Hmac::new_from_slice(secret).map(Seal).map_err(|error| error.to_string())
    }

    /// The signature of a body, now.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> String {
        let time = now();
        let code = self.code(time, body).finalize().into_bytes();
        let code: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("t={time},v1={code}")
    }

    /// Whether the signature is that of the body, and not an old one. The comparison takes the same time for all signatures.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self, signature: &str, body: &[u8]) -> Result<(), &'static str> {
        let parts = || signature.split(',').filter_map(|part| part.trim().split_once('='));
        let part = |name| parts().find(|(key, _)| *key == name).map(|(_, value)| value);
        let time: u64 = part("t").and_then(|time| time.parse().ok()).ok_or("the signature has no time")?;
        let code = part("v1").and_then(bytes).ok_or("the signature has no code")?;
        self.code(time, body).verify_slice(&code).map_err(|_| "the signature is not that of this body")?;
        if now().abs_diff(time) > CLOCKS_APART_MAX {
            Err("the signature is too old, or a clock is wrong")
        } else {
            Ok(())
        }
    }

    fn code(&self, time: u64, body: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(format!("{time}.")).chain_update(body)
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(..)")
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    digits.chunks(2).map(|pair| u8::try_from(pair.iter().fold(0, |byte, digit| byte * 16 + digit)).ok()).collect()
}
