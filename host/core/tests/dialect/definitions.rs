//! How tools are defined for models, form by form.

use serde_json::{Value, json};
use toolpost_core::catalog::grants::{Grants, NetGrants};
use toolpost_core::catalog::shape::{Field, Integer, Label, Shape};
use toolpost_core::dialect::definition::{Definitions, Form, Loose, annotations};
use toolpost_core::guard::replay::settings::KeyFrom;
use toolpost_core::{EffectClass, Native, Tool};

use crate::{U32, tool};

fn option(shape: Shape) -> Shape {
    Shape::Option(Box::new(shape))
}

/// A tool with a text, an optional enum, a number with a default, and a result.
fn search() -> Tool {
    let labels = ["newest", "oldest"].map(Label::new).to_vec();
    let limit = Field { default: Some(json!(10)), ..Field::new("limit", Shape::Integer(Integer::U8)) };
    Native::new("search", "Searches the notes")
        .field(Field::new("query", Shape::String).docs("What to look for."))
        .field(Field::new("order", option(Shape::Enum(labels))).docs("Which come first."))
        .field(limit.docs("How many."))
        .returns(Shape::Record(vec![Field::new("found", Shape::List(Box::new(Shape::String)))]))
        .effect(EffectClass::Reads)
        .run(|_| async { Ok(Value::Null) })
}

fn defined(form: Form, strict: bool) -> Value {
    let Definitions { tools, loose } = form.definitions([&search()], strict);
    assert_eq!(loose, []);
    tools
}

/// The schema as it is.
fn plain() -> Value {
    json!({
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What to look for."},
            "order": {"anyOf": [{"type": "string", "enum": ["newest", "oldest"]}, {"type": "null"}], "description": "Which come first."},
            "limit": {"type": "integer", "minimum": 0, "maximum": 255, "description": "How many.", "default": 10},
        },
        "required": ["query"],
        "additionalProperties": false,
    })
}

/// The schema to which OpenAI holds a model.
fn strict() -> Value {
    json!({
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What to look for."},
            "order": {"anyOf": [{"type": "string", "enum": ["newest", "oldest"]}, {"type": "null"}], "description": "Which come first."},
            "limit": {
                "anyOf": [{"type": "integer", "minimum": 0, "maximum": 255}, {"type": "null"}],
                "description": "How many. (default 10)",
            },
        },
        "required": ["query", "order", "limit"],
        "additionalProperties": false,
    })
}

#[test]
fn openai_chat_has_the_function_inside_and_says_strict_only_where_it_is() {
    let description = "Searches the notes";
    let function = json!({"name": "search", "description": description, "parameters": plain()});
    assert_eq!(defined(Form::OpenAi, false), json!([{"type": "function", "function": function}]));
    let function = json!({"name": "search", "description": description, "parameters": strict(), "strict": true});
    assert_eq!(defined(Form::OpenAi, true), json!([{"type": "function", "function": function}]));
}

#[test]
fn openai_responses_is_flat_and_says_in_any_case_whether_it_is_strict() {
    for (is_strict, schema) in [(false, plain()), (true, strict())] {
        let tool = json!({
            "type": "function", "name": "search", "description": "Searches the notes", "parameters": schema, "strict": is_strict,
        });
        assert_eq!(defined(Form::OpenAiResponses, is_strict), json!([tool]));
    }
}

#[test]
fn anthropic_leaves_out_what_is_optional_and_says_bounds_in_words() {
    let tool = json!({"name": "search", "description": "Searches the notes", "input_schema": plain()});
    assert_eq!(defined(Form::Anthropic, false), json!([tool]));
    let schema = json!({
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What to look for."},
            "order": {"type": "string", "enum": ["newest", "oldest"], "description": "Which come first."},
            "limit": {"type": "integer", "description": "How many. (default 10, from 0 to 255)"},
        },
        "required": ["query"],
        "additionalProperties": false,
    });
    let tool = json!({"name": "search", "description": "Searches the notes", "input_schema": schema, "strict": true});
    assert_eq!(defined(Form::Anthropic, true), json!([tool]));
}

#[test]
fn gemini_keeps_all_functions_in_one_tool_and_knows_no_defaults() {
    let mut schema = plain();
    schema["properties"]["limit"] =
        json!({"type": "integer", "minimum": 0, "maximum": 255, "description": "How many. (default 10)"});
    let function = json!({"name": "search", "description": "Searches the notes", "parametersJsonSchema": schema});
    assert_eq!(defined(Form::Gemini, false), json!([{"functionDeclarations": [function]}]));
    // An object without properties would be refused.
    let none = Native::new("now", "").run(|_| async { Ok(Value::Null) });
    let defined = Form::Gemini.definitions([&none], false).tools;
    assert_eq!(defined, json!([{"functionDeclarations": [{"name": "now"}]}]));
}

#[test]
fn mcp_has_the_result_where_it_is_an_object_and_what_the_tool_can_do() {
    let found = json!({"type": "array", "items": {"type": "string"}});
    let output =
        json!({"type": "object", "properties": {"found": found}, "required": ["found"], "additionalProperties": false});
    let hints =
        json!({"readOnlyHint": true, "destructiveHint": false, "idempotentHint": false, "openWorldHint": false});
    let wanted = json!({
        "name": "search", "description": "Searches the notes", "inputSchema": plain(), "outputSchema": output, "annotations": hints,
    });
    assert_eq!(defined(Form::Mcp, false), json!([wanted]));
    let count = Native::new("count", "").returns(U32).run(|_| async { Ok(json!(1)) });
    assert_eq!(Form::Mcp.definitions([&count], false).tools[0].get("outputSchema"), None);
}

#[test]
fn hints_follow_from_what_a_tool_can_do_and_not_from_what_it_says() {
    let hints = |tool: &Tool| {
        let hints = annotations(tool);
        let said = ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"]
            .map(|hint| hints[hint].as_bool().unwrap());
        said.map(u8::from)
    };
    let of = |effect| Tool { effect, reach: effect, ..tool(vec![]) };
    for (effect, wanted) in [
        (EffectClass::Pure, [1, 0, 1, 0]),
        (EffectClass::Reads, [1, 0, 0, 0]),
        (EffectClass::Writes, [0, 0, 0, 0]),
        (EffectClass::Open, [0, 0, 0, 1]),
        (EffectClass::Destroys, [0, 1, 0, 0]),
    ] {
        assert_eq!(hints(&of(effect)), wanted, "{effect:?}");
    }
    // What only asks a server does not change it, and reaches out all the same.
    let net: NetGrants = serde_json::from_value(json!([{"to": "https://a.example/**"}])).unwrap();
    let asks = Tool { grants: Grants { net, ..Grants::default() }, ..of(EffectClass::Reads) };
    assert_eq!(hints(&asks), [1, 0, 0, 1]);
    let said = Tool { reach: EffectClass::Open, ..of(EffectClass::Reads) };
    assert_eq!(hints(&said), [1, 0, 0, 1]);
    let keyed = |key| {
        let mut tool = of(EffectClass::Writes);
        tool.guards.idempotency.key = key;
        hints(&tool)
    };
    assert_eq!(keyed(KeyFrom::Arguments), [0, 0, 1, 0]);
    // The same call once, but of two calls with the same arguments both.
    assert_eq!(keyed(KeyFrom::Call), [0, 0, 0, 0]);
    assert_eq!(keyed(KeyFrom::Caller), [0, 0, 0, 0]);
}

/// So many tools with these parameters.
fn many(count: usize, fields: &[Field]) -> Vec<Tool> {
    (0..count).map(|n| Tool { name: format!("t{n}"), ..tool(fields.to_vec()) }).collect()
}

/// The tools that are not strict, as `name: why`.
fn loose(form: Form, tools: &[Tool]) -> Vec<String> {
    let Definitions { tools: defined, loose } = form.definitions(tools, true);
    for (tool, defined) in tools.iter().zip(defined.as_array().unwrap()) {
        let is_loose = loose.iter().any(|loose| loose.tool == tool.name);
        let strict = defined.get("strict").or(defined["function"].get("strict"));
        assert_eq!(strict == Some(&json!(true)), !is_loose, "{defined}");
        let schema = [&defined["input_schema"], &defined["function"]["parameters"]]
            .into_iter()
            .find(|schema| schema.is_object());
        assert!(!is_loose || *schema.unwrap() == tool.input_schema(), "{defined}");
    }
    loose.into_iter().map(|Loose { tool, why }| format!("{tool}: {why}")).collect()
}

#[test]
fn where_a_request_of_anthropic_has_no_more_room_the_rest_is_not_strict() {
    let none: [String; 0] = [];
    assert_eq!(loose(Form::Anthropic, &many(20, &[])), none);
    assert_eq!(
        loose(Form::Anthropic, &many(21, &[])),
        ["t20: there would be 21 strict tools, and all strict tools of a request may have 20"]
    );
    let two = [Field::new("a", option(Shape::String)), Field::new("b", option(U32))];
    let mut tools = many(13, &two);
    assert_eq!(
        loose(Form::Anthropic, &tools),
        ["t12: there would be 26 optional parameters, and all strict tools of a request may have 24"]
    );
    // One that needs less still finds room.
    tools.push(Tool { name: "last".into(), ..tool(vec![Field::new("text", Shape::String)]) });
    assert_eq!(loose(Form::Anthropic, &tools).len(), 1);
    let number = [Field::new("x", Shape::F64)];
    assert_eq!(
        loose(Form::Anthropic, &many(17, &number)),
        ["t16: there would be 17 parameters of several types, and all strict tools of a request may have 16"]
    );
    assert_eq!(loose(Form::OpenAi, &many(100, &two)), none);
}

#[test]
fn a_schema_that_openai_would_refuse_is_not_strict() {
    let deep = |levels: usize| {
        let record = |shape, _| Shape::Record(vec![Field::new("inner", shape)]);
        let shape = (1..levels).fold(Shape::String, record);
        Tool { name: format!("deep{levels}"), ..tool(vec![Field::new("value", shape)]) }
    };
    let of_names = |name: &str, labels: Vec<String>| {
        let labels = labels.into_iter().map(Label::new).collect();
        Tool { name: name.into(), ..tool(vec![Field::new("value", Shape::Enum(labels))]) }
    };
    let names = |count: usize, length: usize| (0..count).map(|n| format!("{n:0length$}")).collect::<Vec<_>>();
    let wide = (0..5_001).map(|n| Field::new(format!("f{n}"), Shape::Bool)).collect();
    let tools = [
        deep(10),
        deep(11),
        of_names("values", names(1_001, 4)),
        of_names("few-long", names(250, 100)),
        of_names("many-short", names(300, 50)),
        of_names("many-long", names(300, 51)),
        Tool { name: "wide".into(), ..tool(wide) },
        of_names("huge", names(200, 700)),
    ];
    assert_eq!(
        loose(Form::OpenAi, &tools),
        [
            "deep11: there would be 11 levels, and a strict schema may have 10",
            "values: there would be 1001 values of enums, and a strict schema may have 1000",
            "many-long: there would be 15300 characters in one enum, and a strict schema may have 15000",
            "wide: there would be 5001 properties, and a strict schema may have 5000",
            "huge: there would be 140005 characters in names and values, and a strict schema may have 120000",
        ]
    );
}
