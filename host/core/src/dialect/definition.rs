//! How models know the tools: definitions as the providers and MCP take them, with the tool's schema, or with the part of it that
//! a provider can hold a model to.
//!
//! [`Form::definitions`] gives what belongs into the `tools` of a request. Where strict definitions are asked for, a tool whose
//! arguments cannot be said in the provider's strict words is defined as any other, and named with the reason: what a model
//! sends is judged in the same way for both.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::DialectError;
use super::size::Size;
use super::strict::{Projected, Subset};
use crate::catalog::Tool;
use crate::effect::EffectClass;
use crate::guard::replay::settings::KeyFrom;

/// For whom tools are defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Chat Completions of OpenAI, and many others.
    OpenAi,
    /// Responses of OpenAI.
    OpenAiResponses,
    /// Messages of Anthropic.
    Anthropic,
    /// Gemini of Google.
    Gemini,
    /// The Model Context Protocol: the `tools` of an answer to `tools/list`.
    Mcp,
}

/// The definitions of a set of tools.
#[derive(Clone, Debug, PartialEq)]
pub struct Definitions {
    /// What belongs into the `tools` of a request.
    pub tools: Value,
    /// The tools that are not strict though that was asked for.
    pub loose: Vec<Loose>,
}

/// A tool that cannot be defined strictly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loose {
    /// Its name.
    pub tool: String,
    /// Why.
    pub why: String,
}

impl Form {
    /// All forms.
    pub const ALL: [Form; 5] = [Form::OpenAi, Form::OpenAiResponses, Form::Anthropic, Form::Gemini, Form::Mcp];

    /// The name by which it is asked for.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Form::OpenAi => "openai",
            Form::OpenAiResponses => "openai-responses",
            Form::Anthropic => "anthropic",
            Form::Gemini => "gemini",
            Form::Mcp => "mcp",
        }
    }

    /// Whether a definition can say here that a model is held to it.
    #[must_use]
    pub const fn has_strict(self) -> bool {
        matches!(self, Form::OpenAi | Form::OpenAiResponses | Form::Anthropic)
    }

    /// The definitions of tools, in their order. `strict` asks for those to which models are held, where there are such.
    pub fn definitions<'t>(self, tools: impl IntoIterator<Item = &'t Tool>, strict: bool) -> Definitions {
        let mut loose = Vec::new();
        let mut taken = Size::default();
        let one = |tool: &Tool| {
            let schema = (strict && self.has_strict()).then(|| self.strict_with(tool, &mut taken));
            let strict = match schema {
                Some(Ok(schema)) => Some(schema),
                Some(Err(why)) => {
                    loose.push(Loose { tool: tool.name.clone(), why });
                    None
                }
                None => None,
            };
            self.definition(tool, strict)
        };
        let tools = tools.into_iter().map(one).collect();
        // Gemini keeps all functions in one tool.
        let tools =
            if self == Form::Gemini { json!([{"functionDeclarations": Value::Array(tools)}]) } else { json!(tools) };
        Definitions { tools, loose }
    }

    /// A schema of arguments in the words to which models are held here. It accepts all that the schema accepts, but that what is
    /// optional is `null` where it is absent for OpenAI, and always left out for Anthropic.
    ///
    /// # Errors
    /// Why there is no strict form of it.
    pub fn strict_schema(self, schema: &Value) -> Result<Value, String> {
        self.strict(schema).map(|projected| projected.schema)
    }

    fn strict(self, schema: &Value) -> Result<Projected, String> {
        match self {
            Form::OpenAi | Form::OpenAiResponses => Subset::OpenAi.project(schema),
            Form::Anthropic => Subset::Anthropic.project(schema),
            Form::Gemini | Form::Mcp => Err(format!("`{self}` has no strict definitions")),
        }
    }

    /// The strict schema of a tool, if there is one and the request still has room for it.
    fn strict_with(self, tool: &Tool, taken: &mut Size) -> Result<Value, String> {
        let Projected { schema, size } = self.strict(&tool.input_schema())?;
        if self == Form::Anthropic {
            let all = taken.and(size);
            all.fits_request()?;
            *taken = all;
        }
        Ok(schema)
    }

    fn definition(self, tool: &Tool, strict: Option<Value>) -> Value {
        let is_strict = strict.is_some();
        let schema = strict.unwrap_or_else(|| tool.input_schema());
        let mut named = Map::new();
        named.insert("name".into(), json!(tool.name));
        if !tool.description.is_empty() {
            named.insert("description".into(), json!(tool.description));
        }
        let mut with = |key: &str, value: Value| named.insert(key.into(), value);
        match self {
            Form::OpenAi => {
                with("parameters", schema);
                // Many who speak this dialect do not know the word.
                is_strict.then(|| with("strict", json!(true)));
                return json!({"type": "function", "function": named});
            }
            Form::OpenAiResponses => {
                with("parameters", schema);
                // Said in any case: without a word, the provider makes every parameter a required one.
                with("strict", json!(is_strict));
                let mut tool = json!({"type": "function"});
                tool.as_object_mut().into_iter().for_each(|tool| tool.append(&mut named));
                return tool;
            }
            Form::Anthropic => {
                with("input_schema", schema);
                is_strict.then(|| with("strict", json!(true)));
            }
            Form::Gemini => {
                // An object without properties is refused.
                if !tool.parameters.is_empty() {
                    let schema = Subset::Gemini.project(&schema).map_or(schema, |projected| projected.schema);
                    with("parametersJsonSchema", schema);
                }
            }
            Form::Mcp => {
                with("inputSchema", schema);
                // Most clients know only results that are objects.
                let output = tool.output_schema().filter(|schema| schema.get("type") == Some(&json!("object")));
                output.map(|output| with("outputSchema", output));
                with("annotations", annotations(tool));
            }
        }
        Value::Object(named)
    }
}

/// What a tool can do to the world, as hints of MCP. Each is said: what is absent means the worst there.
#[must_use]
pub fn annotations(tool: &Tool) -> Value {
    let guard = &tool.guards.idempotency;
    // Of the same arguments, as MCP means it: not of a key that a caller gives.
    let keyed = matches!(guard.key, KeyFrom::Arguments | KeyFrom::Fields(_) | KeyFrom::Custom(_));
    let open = [tool.effect, tool.reach].contains(&EffectClass::Open) || !tool.grants.net.is_empty();
    json!({
        "readOnlyHint": !tool.effect.may_change(),
        "destructiveHint": tool.effect == EffectClass::Destroys,
        "idempotentHint": keyed || guard.idempotent || tool.effect == EffectClass::Pure,
        "openWorldHint": open,
    })
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Form {
    type Err = DialectError;

    fn from_str(name: &str) -> Result<Self, DialectError> {
        let known = Form::ALL.into_iter().find(|form| form.name() == name);
        known.ok_or_else(|| DialectError::unknown(name, Form::ALL.map(Form::name)))
    }
}
