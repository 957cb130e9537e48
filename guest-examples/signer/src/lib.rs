//! Signs texts with secrets that it never sees, and says what it was given.

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:signer/tools", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

use exports::example::signer::signer::Guest;
use toolpost::secrets::reveal;
use toolpost::secrets::secrets::{self, Error};
use wasi::config::store;

struct Signer;

impl Guest for Signer {
    fn sign(secret: String, text: String) -> Result<String, String> {
        let signature = secrets::get(&secret).and_then(|secret| secret.hmac_sha256(text.as_bytes())).map_err(words)?;
        let digits: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("sha256={digits}"))
    }

    fn hint(secret: String) -> Result<String, String> {
        let value = secrets::get(&secret).and_then(|secret| reveal::reveal(&secret)).map_err(words)?;
        Ok(format!("{}...", value.chars().take(2).collect::<String>()))
    }

    fn variable(name: String) -> Option<String> {
        std::env::var(name).ok()
    }

    fn variables() -> Vec<String> {
        std::env::vars().map(|(name, _)| name).collect()
    }

    fn setting(name: String) -> Result<Option<String>, String> {
        store::get(&name).map_err(|error| format!("{error:?}"))
    }
}

fn words(error: Error) -> String {
    match error {
        Error::Denied(why) | Error::Unavailable(why) => why,
    }
}

export!(Signer);
