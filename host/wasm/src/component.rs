//! A file becomes tools: read, compiled once, looked at, linked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use toolpost_core::catalog::grants::Grants;
use toolpost_core::catalog::settings::ToolSettings;
use toolpost_core::catalog::shape::Shape;
use toolpost_core::catalog::{Base, Keep, Lifetime, Origin, SecretArguments, cast, tool_name};
use toolpost_core::{EffectClass, Tool};

use crate::answer::Answer;
use crate::capability::Granted;
use crate::capability::dirs::driver::Driver;
use crate::capability::kv::Stores;
use crate::capability::sql::Opened;
use crate::capability::sql::backend::Databases;
use crate::docs::{self, Documentation};
use crate::engine::Engine;
use crate::function::{Does, Function, Functions, Refusal};
use crate::handles;
use crate::import::{Import, Power};
use crate::instance::{Exported, Part, Setup};
use crate::keep::{Keeper, Shelf};
use crate::own::Interfaces;
use crate::source::{Source, digest};
use crate::weigh;

/// The words of wasmtime's untyped error for a component that no place in the pool can hold.
const TOO_LARGE: &str = "pooling allocator";

/// A component that was loaded and linked. It runs nothing by itself.
pub struct Component {
    /// Its name in the host.
    pub name: String,
    /// `sha256:` and the hash of its bytes.
    pub digest: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// What it imports.
    pub imports: Vec<Import>,
    /// Its functions that can be tools.
    pub functions: Vec<Function>,
    /// Its functions that cannot, where its instances do not outlive a call.
    pub refused: Vec<Refusal>,
    /// What was odd about its documentation.
    pub warnings: Vec<String>,
    /// The text beside it that documents it.
    wit: Option<String>,
    /// Its functions that take or give handles: tools where an instance is kept for each session.
    handling: Vec<Function>,
    setup: Option<Function>,
    /// The number of its loading: another one has other code in memory.
    number: u64,
    part: Arc<Part>,
    keeper: Arc<Keeper>,
    files: Arc<Driver>,
    stores: Arc<Stores>,
    own: Interfaces,
}

/// A component cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// Why, and what would help.
    pub message: String,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LoadError {}

impl Engine {
    /// Loads a component from a file, with the `.wit` file beside it where there is one. Compiling takes a second or more
    /// for each megabyte: do not call this on a thread that serves others.
    ///
    /// # Errors
    /// The file cannot be read, is no component, or asks for what this host does not offer.
    pub fn load_file(&self, name: &str, file: &Path) -> Result<Component, LoadError> {
        self.load_source(name, &Source::read(file)?)
    }

    /// As [`Engine::load_file`], for a file that was read already.
    ///
    /// # Errors
    /// The bytes are no component, or the component asks for what this host does not offer.
    pub fn load_source(&self, name: &str, source: &Source) -> Result<Component, LoadError> {
        let loaded = self.load_as(name, source.digest.clone(), &source.bytes, source.wit.as_deref());
        loaded.map_err(|error| source.unusable(&error))
    }

    /// As [`Engine::load_source`]; but where the file is still what it was, the component that was made of it is taken.
    ///
    /// # Errors
    /// As for [`Engine::load_source`]. The component of before is not touched.
    pub fn load_source_again(&self, before: &Arc<Component>, source: &Source) -> Result<Arc<Component>, LoadError> {
        if before.digest == source.digest
            && before.wit == source.wit
            && wasmtime::Engine::same(before.part.linked.engine(), &self.engine)
        {
            return Ok(before.clone());
        }
        self.load_source(&before.name, source).map(Arc::new)
    }

    /// Loads a component from its bytes; `wit` is the text that documents it, where it holds none itself.
    ///
    /// # Errors
    /// The bytes are no component, or the component asks for what this host does not offer.
    pub fn load(&self, name: &str, bytes: &[u8], wit: Option<&str>) -> Result<Component, LoadError> {
        self.load_as(name, digest(bytes), bytes, wit)
    }

    fn load_as(&self, name: &str, digest: String, bytes: &[u8], wit: Option<&str>) -> Result<Component, LoadError> {
        recognise(bytes)?;
        let invalid = |error: &wasmtime::Error| {
            let why = chain(error);
            // What the engine has no room for may be valid all the same.
            let what =
                if why.contains(TOO_LARGE) { "it is too large for this host" } else { "it is no valid component" };
            LoadError { message: format!("{what}: {why}") }
        };
        let compiled = match self.cache.as_ref().and_then(|cache| cache.find(&self.engine, &digest)) {
            Some(compiled) => compiled,
            None => {
                weigh::instances(bytes).map_err(|message| LoadError { message })?;
                match &self.cache {
                    Some(cache) => cache.compile(&self.engine, &digest, bytes),
                    None => wasmtime::component::Component::from_binary(&self.engine, bytes),
                }
                .map_err(|error| invalid(&error))?
            }
        };
        let ty = compiled.component_type();
        let mut imports: Vec<Import> = ty
            .imports(&self.engine)
            .map(|(name, _)| Import { name: name.to_owned(), power: Power::of(name) })
            .collect();
        imports.sort();
        let linked = self.linker.instantiate_pre(&compiled).map_err(|error| self.missing(&imports, &error))?;

        let embedded = docs::embedded(bytes);
        let texts = embedded.iter().map(String::as_str).chain(if embedded.is_empty() { wit } else { None });
        let (documentation, warnings) = Documentation::read(texts);
        let found = Functions::of(&self.engine, &compiled, &documentation);
        let refused = found.refused(Lifetime::Fresh);
        let (client, numbers) = (self.client.clone(), self.numbers.clone());
        let part = Part { linked: Arc::new(linked), client, numbers, fuel: self.fuel };
        Ok(Component {
            name: name.to_owned(),
            digest,
            bytes: bytes.len() as u64,
            imports,
            functions: found.tools,
            refused,
            handling: found.handling,
            setup: found.setup,
            warnings,
            wit: wit.map(str::to_owned),
            number: self.loaded.fetch_add(1, Ordering::Relaxed),
            part: Arc::new(part),
            keeper: self.keeper.clone(),
            files: self.files.clone(),
            stores: self.stores.clone(),
            own: self.own.clone(),
        })
    }

    /// Names the imports that the host does not offer.
    fn missing(&self, imports: &[Import], error: &wasmtime::Error) -> LoadError {
        // What the embedding program offers cannot be defined once more.
        let is_offered = |name: &str| self.linker.clone().root().func_wrap(name, |_, (): ()| Ok(())).is_err();
        let other: Vec<_> = imports
            .iter()
            .filter(|import| import.power == Power::Other && !is_offered(&import.name))
            .map(|import| format!("`{}`", import.name))
            .collect();
        let message = match other.as_slice() {
            [] => format!("it asks for an interface in a form that this host does not offer: {}", chain(error)),
            [one] => format!("it imports {one}, which this host does not offer"),
            many => format!("it imports {}, which this host does not offer", many.join(", ")),
        };
        LoadError { message }
    }
}

impl Component {
    /// Its functions that can be tools, where its instances live so long.
    pub fn functions_for(&self, lifetime: Lifetime) -> impl Iterator<Item = &Function> {
        let handling = self.handling.iter().filter(move |function| function.unfit(lifetime).is_none());
        self.functions.iter().chain(handling)
    }

    /// Its functions that cannot there, and why.
    pub fn refused_for(&self, lifetime: Lifetime) -> impl Iterator<Item = &Refusal> {
        let is_tool = move |refusal: &&Refusal| {
            let same = |function: &Function| function.unfit(lifetime).is_none() && function.path() == refusal.function;
            self.handling.iter().any(same)
        };
        self.refused.iter().filter(move |refusal| !is_tool(refusal))
    }

    /// The function that sets up each of its instances, where it has one. It is no tool.
    #[must_use]
    pub fn setup(&self) -> Option<&Function> {
        self.setup.as_ref()
    }

    /// Whether its instances can be set up with what settings say. Where they cannot, each call of its tools fails.
    ///
    /// # Errors
    /// They do not say what it takes, or there is nothing to set up.
    pub fn takes_setup(&self, said: &BTreeMap<String, Value>) -> Result<(), String> {
        match (self.set_up(said), said.is_empty()) {
            (Some(setup), _) => setup.arguments.map(drop),
            (None, true) => Ok(()),
            (None, false) => Err("`setup` is of no use to it: it exports no function `setup`; take it out".into()),
        }
    }

    /// The call that sets up an instance, with what settings say.
    fn set_up(&self, said: &BTreeMap<String, Value>) -> Option<Setup> {
        let function = self.setup()?;
        let Does::Call(index) = function.does else { return None };
        let arguments = cast::arguments(&function.parameters, said).map_err(|why| {
            let takes = Shape::wit_fields(&function.parameters);
            format!("its `setup` takes ({takes}), and `setup` of its settings does not fit: {why}")
        });
        Some(Setup { index, arguments, answer: Answer::of(function.result.as_ref()) })
    }

    /// Where its instances stand that were granted this and set up like that; nowhere, where none is kept.
    fn shelf(&self, keep: Keep, grants: &Grants, setup: &BTreeMap<String, Value>) -> Option<Arc<Shelf>> {
        let bounds = keep.bounds()?;
        let said = (self.number, &self.name, keep.lifetime(), grants, setup);
        let mut hash = blake3::Hasher::new_derive_key("toolpost 1 shelf of instances");
        hash.update(&serde_json::to_vec(&said).ok()?).update(format!("{bounds:?}").as_bytes());
        Some(self.keeper.shelf(*hash.finalize().as_bytes(), keep.lifetime(), bounds))
    }

    /// What a tool of the component can do to the world, with that granted to it.
    #[must_use]
    pub fn effect(&self, grants: &Grants) -> EffectClass {
        let granted = |import: &Import| {
            let own = self.own.effect(&import.name, grants);
            own.unwrap_or_else(|| import.power.effect(grants))
        };
        self.imports.iter().map(granted).max().unwrap_or(EffectClass::Pure)
    }

    /// Whether it would send requests over HTTP.
    #[must_use]
    pub fn asks_for_http(&self) -> bool {
        self.asks_for("wasi:http/outgoing-handler@")
    }

    /// Grants of what the component does not ask for, and of what is not there. Nobody means them: perhaps they belong to another
    /// component.
    ///
    /// # Errors
    /// There is such a grant; the error names it.
    pub fn takes(&self, grants: &Grants, databases: &Databases) -> Result<(), String> {
        let useless = |key: &str, interface: &str| {
            Err(format!("`{key}` is of no use to it: it does not import `{interface}`; take the grant out"))
        };
        let kinds = [
            ("grants.net", grants.net.http.is_empty(), "wasi:http/outgoing-handler"),
            ("tcp` in `grants.net", grants.net.tcp.is_empty(), "wasi:sockets/tcp"),
            ("grants.dirs", grants.dirs.is_empty(), "wasi:filesystem/preopens"),
            ("grants.kv", grants.kv.is_empty(), "wasi:keyvalue/store"),
            ("grants.sql", grants.sql.is_empty(), "toolpost:sql/sql"),
            ("grants.env", grants.env.is_empty(), "wasi:cli/environment"),
            ("grants.config", grants.config.is_empty(), "wasi:config/store"),
            ("grants.secrets", grants.secrets.is_empty(), "toolpost:secrets/secrets"),
            ("grants.tools", grants.tools.is_empty(), "toolpost:tools/tools"),
        ];
        let asks_for = |interface: &str| self.asks_for(&format!("{interface}@"));
        if let Some((key, _, interface)) = kinds.iter().find(|(_, none, interface)| !none && !asks_for(interface)) {
            return useless(key, interface);
        }
        if grants.secrets.iter().any(|grant| grant.reveal) && !self.asks_for("toolpost:secrets/reveal@") {
            return Err("`reveal = true` in `grants.secrets` is of no use to it: it does not import \
                        `toolpost:secrets/reveal`; take it out"
                .into());
        }
        self.own.take(grants, self.imports.iter().map(|import| import.name.as_str()))?;
        Opened::find(&grants.sql, databases)?;
        self.files.open(&grants.dirs)?;
        self.stores.open(&grants.kv).map(drop)
    }

    fn asks_for(&self, interface: &str) -> bool {
        self.imports.iter().any(|import| import.name.starts_with(interface))
    }

    /// The powers that its imports stand for, in words, and what comes of each with that granted.
    #[must_use]
    pub fn powers(&self, grants: &Grants) -> Vec<String> {
        let powers: BTreeSet<Power> = self.imports.iter().map(|import| import.power).collect();
        let asked = powers.into_iter().filter(|power| *power != Power::Plumbing);
        let asked = asked.map(|power| format!("{} ({})", power.describe(), power.state(grants)));
        asked.chain(grants.lines()).collect()
    }

    /// The name under which a function is a tool, unless settings say another.
    #[must_use]
    pub fn tool_name(&self, function: &Function) -> String {
        tool_name(&self.name, &function.name)
    }

    /// A function as a tool.
    ///
    /// # Errors
    /// What the settings say of the tool does not fit it.
    pub fn tool(&self, function: &Function, base: &Base, settings: &ToolSettings) -> Result<Tool, String> {
        self.tool_on(function, base, settings, &Databases::default())
    }

    /// As [`Component::tool`], in a host that has databases.
    ///
    /// # Errors
    /// As for [`Component::tool`].
    pub fn tool_on(
        &self,
        function: &Function,
        base: &Base,
        settings: &ToolSettings,
        databases: &Databases,
    ) -> Result<Tool, String> {
        let name = settings.name.clone().unwrap_or_else(|| self.tool_name(function));
        self.takes(&Grants::default().with(&settings.grants), databases)?;
        let grants = base.grants.clone().with(&settings.grants);
        let reach = self.effect(&grants);
        let secret_arguments = SecretArguments::find(&settings.secret_arguments, &function.parameters)?;
        grants.fit(&function.parameters, &secret_arguments)?;
        let Base { keep, setup, .. } = base;
        let lifetime = keep.lifetime();
        if let Some(why) = function.unfit(lifetime) {
            return Err(why);
        }
        if lifetime == Lifetime::Session && grants != base.grants {
            return Err(
                "the tools of its component share one instance for each session, so all of them are granted the same: \
                        take its own `grants` out, or `lifetime = \"session\"`"
                    .into(),
            );
        }
        let granted = Granted {
            roots: Arc::new(self.files.open(&grants.dirs)?),
            buckets: Arc::new(self.stores.open(&grants.kv)?),
            databases: Opened::find(&grants.sql, databases)?,
        };
        let (takes, result) = (&function.parameters, function.result.as_ref());
        let runner = Exported {
            part: self.part.clone(),
            does: function.does,
            answer: Answer::of(result),
            granted: Arc::new(granted),
            takes: if takes.iter().any(|field| handles::first(&field.shape).is_some()) {
                takes.clone()
            } else {
                Vec::new()
            },
            gives: result.filter(|shape| handles::first(shape).is_some()).cloned(),
            setup: self.set_up(setup).map(Arc::new),
            shelf: self.shelf(*keep, &grants, setup),
        };
        let memory = (!lifetime.is_fresh()).then(|| lifetime.words().to_owned());
        let mut tool = Tool {
            name,
            description: settings.description.clone().or_else(|| function.docs.clone()).unwrap_or_default(),
            labels: settings.labels.iter().cloned().collect(),
            parameters: function.parameters.clone(),
            result: function.answer().cloned(),
            effect: effect(settings.effect, reach)?,
            reach,
            said: settings.effect,
            powers: self.powers(&grants).into_iter().chain(memory).collect(),
            cast: settings.cast.unwrap_or(base.cast),
            secret_arguments,
            secrets: BTreeSet::new(),
            limits: base.limits.with(&settings.limits),
            guards: base.guards.clone().with(&settings.guard),
            grants,
            set: None,
            lifetime,
            origin: Origin::Component {
                component: self.name.clone(),
                digest: self.digest.clone(),
                function: function.path(),
            },
            runner: Arc::new(runner),
        };
        tool.set_defaults(&settings.defaults)?;
        Ok(tool)
    }
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component").field("name", &self.name).field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// What a tool does, by its operator's word or as far as its powers reach. An operator may know that it changes nothing, but
/// what reaches out comes to another end each time, and is never as good as a result that was kept.
fn effect(said: Option<EffectClass>, reach: EffectClass) -> Result<EffectClass, String> {
    match said {
        Some(EffectClass::Pure) if reach > EffectClass::Pure => Err(format!(
            "`effect` cannot be \"pure\": by its powers it is \"{}\"; take grants out, or write \"reads\" if it changes nothing",
            reach.name()
        )),
        said => Ok(said.unwrap_or(reach)),
    }
}

/// Says what the bytes are when they are no component.
fn recognise(bytes: &[u8]) -> Result<(), LoadError> {
    let wrong = |message: &str| Err(LoadError { message: message.to_owned() });
    if bytes.is_empty() {
        return wrong("it is empty");
    }
    if wasmtime::Engine::detect_precompiled(bytes).is_some() {
        return wrong("it is compiled code, which is never taken from others; give the component itself");
    }
    if wasmparser::Parser::is_core_wasm(bytes) {
        return wrong(
            "it is a core module, not a component; build it for `wasm32-wasip2`, or wrap it with `wasm-tools component new`",
        );
    }
    if !wasmparser::Parser::is_component(bytes) {
        return wrong("it is no WebAssembly component");
    }
    Ok(())
}

/// An error with its causes, without a backtrace.
fn chain(error: &wasmtime::Error) -> String {
    let mut causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.dedup();
    causes.join(": ")
}
