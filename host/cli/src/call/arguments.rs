//! What is a tool called with? Whatever way the arguments are written, they become one JSON text, as they were written:
//! the host reads it once, so no digit is lost and a key that stands twice is refused.

use std::io::Read;

use clap::Args;
use serde_json::Value;
use toolpost::core::catalog::shape::{Field, Shape};

use crate::exit::Stop;
use crate::print;

/// The most that is read as arguments, in bytes; the host's own limit is usually smaller.
const INPUT_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Args)]
pub(crate) struct ArgumentArgs {
    /// Arguments as key=value, or key:=JSON; or one `-` to read a JSON object from standard input
    #[arg(value_name = "KEY=VALUE", conflicts_with = "args")]
    pairs: Vec<String>,
    /// Arguments as a JSON object; @FILE reads it from a file, `-` from standard input
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
}

impl ArgumentArgs {
    /// Whether no argument is given.
    pub(crate) fn is_none(&self) -> bool {
        self.args.is_none() && self.pairs.is_empty()
    }

    /// Whether they are given as one object, and not one by one.
    pub(crate) fn is_whole(&self) -> bool {
        self.args.is_some() || matches!(self.pairs.as_slice(), [dash] if dash == "-")
    }

    /// The arguments as JSON text, for a tool with these parameters.
    pub(crate) fn read(&self, parameters: &[Field]) -> Result<String, Stop> {
        match (self.args.as_deref(), self.pairs.as_slice()) {
            (Some("-"), _) => bounded("standard input", &mut std::io::stdin()),
            (None, [dash]) if dash == "-" => bounded("standard input", &mut std::io::stdin()),
            (Some(text), _) => match text.strip_prefix('@') {
                Some(path) => {
                    let file = std::fs::File::open(path);
                    let mut file = file.map_err(|error| Stop::usage(format!("`{path}` cannot be read: {error}")))?;
                    bounded(&format!("`{path}`"), &mut file)
                }
                None => Ok(text.to_owned()),
            },
            (None, pairs) => {
                let members: Vec<String> =
                    pairs.iter().map(|pair| member(pair, parameters)).collect::<Result<_, _>>()?;
                Ok(format!("{{{}}}", members.join(",")))
            }
        }
    }
}

pub(crate) fn bounded(what: &str, from: &mut dyn Read) -> Result<String, Stop> {
    let mut bytes = Vec::new();
    let read = from.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| Stop::usage(format!("{what} cannot be read: {error}")))?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        let most = print::bytes(INPUT_BYTES_MAX);
        return Err(Stop::usage(format!("{what} is too long; at most {most} are read as arguments")));
    }
    String::from_utf8(bytes).map_err(|error| Stop::usage(format!("{what} is no UTF-8 text: {error}")))
}

/// A member of the object: `key=value` in the parameter's own type, or `key:=JSON`.
fn member(written: &str, parameters: &[Field]) -> Result<String, Stop> {
    let form = || {
        Stop::usage(format!("`{written}` is no argument; write key=value, key:=JSON, or one `-` for standard input"))
    };
    let (key, text) = written.split_once('=').ok_or_else(form)?;
    let member = |key: &str, json: &str| format!("{}:{json}", Value::from(key));
    if let Some(key) = key.strip_suffix(':') {
        json(text).map_err(|error| Stop::usage(format!("`{key}` is no JSON: {error}")))?;
        return Ok(member(key, text));
    }
    let field = parameters.iter().find(|field| field.key == key || field.name == key);
    let shape = field.map(|field| match &field.shape {
        Shape::Option(some) => some,
        shape => shape,
    });
    // Text stays text where text is wanted; elsewhere what is JSON is taken as JSON.
    let is_text = matches!(shape, None | Some(Shape::String | Shape::Char | Shape::Bytes | Shape::Enum(_)));
    Ok(if !is_text && json(text).is_ok() { member(key, text) } else { member(key, &Value::from(text).to_string()) })
}

/// Whether a text is one whole JSON value. What it says is left to the host.
fn json(text: &str) -> serde_json::Result<()> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).map(drop)
}
