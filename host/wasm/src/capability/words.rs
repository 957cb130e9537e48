//! Words that a tool is given: its environment, and `wasi:config`. There is nothing in them that was not written down for it,
//! and nothing of the host's own environment.

use toolpost_core::catalog::grants::Variables;
use toolpost_core::{Attempt, CallError, ErrorKind, Stage};
use wasmtime::Result;
use wasmtime::component::Linker;
use wasmtime_wasi_config::WasiConfigVariables;

use crate::state::State;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    wasmtime_wasi_config::add_to_linker(linker, |state| state.config().into())
}

/// The words of one attempt, with the values of the secrets in them.
#[derive(Default)]
pub(crate) struct Words {
    pub(crate) env: Vec<(String, String)>,
    pub(crate) config: WasiConfigVariables,
}

impl Words {
    /// # Errors
    /// A secret cannot be read, or is none that a word can hold.
    ///
    /// # Cancel safety
    /// As for [`Attempt::filled`].
    pub(crate) async fn of(attempt: &Attempt) -> std::result::Result<Self, CallError> {
        let grants = &attempt.call.tool.grants;
        let env = filled(attempt, &grants.env).await?;
        let config = filled(attempt, &grants.config).await?.into_iter().collect();
        Ok(Words { env, config })
    }
}

async fn filled(attempt: &Attempt, variables: &Variables) -> std::result::Result<Vec<(String, String)>, CallError> {
    let mut words = Vec::new();
    for (name, template) in variables.iter() {
        let text = attempt.filled(template).await?;
        if text.contains('\0') {
            let why = format!("the variable `{name}` has a NUL byte in the value of a secret");
            return Err(CallError::new(ErrorKind::Internal, Stage::Run, why).with_help("look at the secret"));
        }
        words.push((name.to_owned(), text.to_string()));
    }
    Ok(words)
}
