//! Secrets that a tool works with itself, by `toolpost:secrets`. It holds a handle, and the host does the work; only a grant
//! that says so shows it the value. Each use passes the gate, so that it is in the report, and can be asked about.

use std::any::Any;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use toolpost_core::catalog::grants::SecretGrant;
use toolpost_core::effect::Intent;
use toolpost_core::{Attempt, CallError, Effect, EffectClass, ErrorKind, Level, Secret, Stage};
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use super::Fate;
use super::name::shown;
use crate::state::State;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "toolpost:secrets/host",
        imports: { default: async | trappable },
        with: { "toolpost:secrets/secrets.secret": crate::capability::secrets::Held },
    });
}

use bindings::toolpost::secrets::secrets::Error;
use bindings::toolpost::secrets::{reveal, secrets};

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    secrets::add_to_linker::<_, Secrets>(linker, State::secrets)?;
    reveal::add_to_linker::<_, Secrets>(linker, State::secrets)
}

/// Secrets, as the linker knows them.
struct Secrets;

impl HasData for Secrets {
    type Data<'a> = View<'a>;
}

/// What the interface works on.
pub(crate) struct View<'a> {
    pub(crate) attempt: &'a Attempt,
    pub(crate) table: &'a mut ResourceTable,
}

/// A secret that a guest holds. The value is asked for when it is used.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "the bindings name it")]
pub struct Held(SecretGrant);

/// It is the name of a secret. Each use asks whether the call may.
pub(super) fn close(held: &mut (dyn Any + Send)) -> Option<Fate> {
    held.is::<Held>().then_some(Fate::Lasts)
}

type Asked<T> = Result<std::result::Result<T, Error>>;

impl View<'_> {
    fn refuse(&self, action: &str, name: &str, message: String, help: String) -> Error {
        let why = CallError::new(ErrorKind::CapabilityDenied, Stage::Run, message.clone()).with_help(help);
        self.attempt.refuse(effect(action, name), why);
        Error::Denied(message)
    }
}

impl secrets::Host for View<'_> {
    async fn get(&mut self, name: String) -> Asked<Resource<Held>> {
        let granted = &self.attempt.call.tool.grants.secrets;
        if let Some(grant) = granted.iter().find(|grant| grant.name == name) {
            return Ok(Ok(self.table.push(Held(grant.clone()))?));
        }
        let shown = shown(&name);
        let tool = &self.attempt.call.tool;
        let help = tool.allowing("secrets", &format!("{{ name = \"{shown}\" }}"), !granted.is_empty());
        let message = format!("the tool may not use the secret `{shown}`");
        Ok(Err(self.refuse("secrets.get", &shown, message, help)))
    }
}

impl secrets::HostSecret for View<'_> {
    async fn hmac_sha256(&mut self, secret: Resource<Held>, message: Vec<u8>) -> Asked<Vec<u8>> {
        let Held(grant) = self.table.get(&secret)?.clone();
        let signed = with(self.attempt, "secrets.sign", &grant.name, Some(&message), |secret| {
            // Every length is one of a key.
            let mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes());
            mac.map(|mac| mac.chain_update(&message).finalize().into_bytes().to_vec()).unwrap_or_default()
        });
        Ok(signed.await)
    }

    async fn drop(&mut self, secret: Resource<Held>) -> Result<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}

impl reveal::Host for View<'_> {
    async fn reveal(&mut self, secret: Resource<Held>) -> Asked<String> {
        let Held(grant) = self.table.get(&secret)?.clone();
        let name = &grant.name;
        if grant.reveal {
            return Ok(with(self.attempt, "secrets.reveal", name, None, |secret| secret.reveal().to_owned()).await);
        }
        let message = format!("the tool may not be shown the secret `{name}`");
        let help = format!(
            "the operator can allow it with `reveal = true` in the grant of `{name}` in `grants.secrets` of component `{}`",
            self.attempt.call.tool.component()
        );
        Ok(Err(self.refuse("secrets.reveal", name, message, help)))
    }
}

/// Does something with a secret, once the gate has let it.
async fn with<T>(
    attempt: &Attempt,
    action: &str,
    name: &str,
    about: Option<&[u8]>,
    act: impl FnOnce(&Secret) -> T,
) -> std::result::Result<T, Error> {
    let detail = about.map(|bytes| format!("{} bytes", bytes.len()));
    let intent = Intent::from(Effect { detail, ..effect(action, name) });
    let intent = match about {
        Some(bytes) => intent.made_of([blake3::hash(bytes).as_bytes().as_slice()]),
        None => intent,
    };
    let passage = attempt.pass(intent).await.map_err(|refusal| Error::Denied(refusal.message))?;
    match attempt.secret_of_host(name).await {
        Ok(secret) => {
            passage.done();
            Ok(act(&secret))
        }
        Err(error) => {
            passage.failed();
            // Where it comes from is the operator's affair.
            tracing::warn!(secret = name, %error, "a secret cannot be had");
            let words = format!("the secret `{name}` cannot be had; the host's log says more");
            attempt.log(Level::Warn, &words);
            Err(Error::Unavailable(words))
        }
    }
}

fn effect(action: &str, name: &str) -> Effect {
    Effect { class: EffectClass::Reads, action: action.into(), target: name.into(), detail: None }
}
