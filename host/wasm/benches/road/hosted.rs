//! One side of the comparison: Toolpost's host with prebuilt guests.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use toolpost_core::catalog::grants::{GrantSettings, Grants};
use toolpost_core::catalog::settings::ToolSettings;
use toolpost_core::catalog::{Base, Keep};
use toolpost_core::guard::Guards;
use toolpost_core::{Arguments, Call, Catalog, Host, HostLimits, Limits, Tool};
use toolpost_wasm::{Engine, EngineOptions};
use wasmtime::{Result, error::Context as _};

pub(crate) struct Hosted {
    pub(crate) engine: Engine,
    pub(crate) host: Host,
}

/// The limits of all calls here: the defaults, with room for large texts and long loops.
fn limits() -> Limits {
    Limits { fuel: 1 << 40, arguments_bytes_max: 4 << 20, ..Limits::default() }
}

/// The bytes of a prebuilt guest.
pub(crate) fn guest(name: &str) -> Result<Vec<u8>> {
    let path = path(name);
    std::fs::read(&path).with_context(|| format!("`{}` cannot be read", path.display()))
}

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../guest-examples/prebuilt").join(format!("{name}.wasm"))
}

impl Hosted {
    pub(crate) fn new(options: &EngineOptions, guests: &[&str]) -> Result<Arc<Self>> {
        Self::granted(options, guests, json!({}))
    }

    /// A host of guests that were granted this.
    pub(crate) fn granted(options: &EngineOptions, guests: &[&str], grants: Value) -> Result<Arc<Self>> {
        Self::keeping(Keep::Nothing, options, guests, grants)
    }

    /// One whose instances live so long.
    pub(crate) fn keeping(keep: Keep, options: &EngineOptions, guests: &[&str], grants: Value) -> Result<Arc<Self>> {
        let grants: GrantSettings = serde_json::from_value(grants)?;
        let guests = guests.iter().map(|name| Ok((*name, guest(name)?))).collect::<Result<Vec<_>>>()?;
        Self::made(keep, options, &guests, &Grants::default().with(&grants), |tool| tool)
    }

    /// A host of one guest whose tools are changed so.
    pub(crate) fn changed(
        keep: Keep,
        options: &EngineOptions,
        name: &str,
        change: fn(Tool) -> Tool,
    ) -> Result<Arc<Self>> {
        Self::made(keep, options, &[(name, guest(name)?)], &Grants::default(), change)
    }

    /// A host of these components, by name.
    pub(crate) fn of(options: &EngineOptions, guests: &[(&str, Vec<u8>)], grants: &Grants) -> Result<Arc<Self>> {
        Self::made(Keep::Nothing, options, guests, grants, |tool| tool)
    }

    fn made(
        keep: Keep,
        options: &EngineOptions,
        guests: &[(&str, Vec<u8>)],
        grants: &Grants,
        change: fn(Tool) -> Tool,
    ) -> Result<Arc<Self>> {
        let engine = Engine::new(options)?;
        let mut catalog = Catalog::default();
        // The bare road, without policies.
        let base = Base { limits: limits(), guards: Guards::none(), grants: grants.clone(), keep, ..Base::default() };
        for (name, bytes) in guests {
            let component = engine.load(name, bytes, None)?;
            for function in &component.functions {
                let tool = component.tool(function, &base, &ToolSettings::default());
                catalog.add(change(tool.map_err(wasmtime::Error::msg)?))?;
            }
        }
        let limits = HostLimits { max_parallel: options.max_parallel, ..HostLimits::default() };
        Ok(Arc::new(Hosted { engine, host: Host::new(catalog).with_limits(limits) }))
    }

    /// One call, to the value of its result.
    pub(crate) async fn call(&self, tool: &str, arguments: impl Into<Arguments>) -> Result<Value> {
        Ok(self.host.call(Call::new(tool, arguments)).await.result?.value)
    }
}
