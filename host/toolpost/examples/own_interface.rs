//! A program that offers its tools an interface of its own, `acme:mail/outbox`, with grants, a gate and a state of its own:
//! `own_interface COMPONENT TOOL ARGUMENTS`. Everything that is particular to it stands between the two marks.
#![allow(clippy::print_stdout, reason = "it talks to whoever started it")]

use std::error::Error;
use std::path::Path;

use serde_json::Value;
use toolpost::wasm::{Interface, State};
use toolpost::{Builder, Call, Settings};

// The seam begins.
use serde::Deserialize;
use toolpost::core::effect::Intent;
use toolpost::wasm::wasmtime;
use toolpost::wasm::wasmtime::StoreContextMut;
use toolpost::wasm::wasmtime::component::Linker;
use toolpost::{CallError, Effect, EffectClass, ErrorKind, Stage};

/// `grants.own.mail = { to = "@example.org", letters = 2 }`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    to: String,
    letters: u32,
}

/// What one attempt has sent.
#[derive(Clone, Default)]
struct Sent(u32);

struct Mail;

impl Interface for Mail {
    fn name(&self) -> &'static str {
        "mail"
    }

    fn imports(&self) -> &'static str {
        "acme:mail/"
    }

    fn judge(&self, grant: &Value) -> Result<EffectClass, String> {
        Grant::deserialize(grant).map(|_| EffectClass::Open).map_err(|error| error.to_string())
    }

    fn link(&self, linker: &mut Linker<State>) -> wasmtime::Result<()> {
        linker.instance("acme:mail/outbox@1.0.0")?.func_wrap_async("send", |store, (to, text): (String, String)| {
            Box::new(async move { Ok((send(store, to, text).await.map_err(|error| error.message),)) })
        })
    }
}

async fn send(mut store: StoreContextMut<'_, State>, to: String, text: String) -> Result<(), CallError> {
    let attempt = store.data().attempt().clone();
    let effect = Effect { class: EffectClass::Open, action: "mail.send".into(), target: to.clone(), detail: None };
    let refuse = |error: CallError| {
        attempt.refuse(effect.clone(), error.clone());
        error
    };
    let grant: Grant = attempt.own_grant("mail").map_err(refuse)?;
    let Sent(sent) = store.data_mut().own();
    if !to.ends_with(&grant.to) || *sent >= grant.letters {
        let why = format!("the tool may send {} letters to `*{}`", grant.letters, grant.to);
        return Err(refuse(CallError::new(ErrorKind::CapabilityDenied, Stage::Run, why)));
    }
    *sent += 1;
    let passage = attempt.pass(Intent::from(effect).made_of([text.as_bytes()])).await?;
    println!("to {to}: {text}");
    passage.done();
    Ok(())
}
// The seam ends.

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(settings), Some(tool), Some(given)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("name a settings file, a tool, and its arguments".into());
    };
    let settings = Settings::read(Path::new(&settings)).map_err(|faults| format!("{faults:?}"))?;
    let host = Builder::new().settings(settings).in_memory().interface(Mail).build().await?;
    let outcome = host.call(Call::new(tool, serde_json::from_str::<Value>(&given)?)).await;
    println!("{}", serde_json::to_string(&outcome.report.effects)?);
    println!("{}", outcome.result?.value);
    Ok(())
}
