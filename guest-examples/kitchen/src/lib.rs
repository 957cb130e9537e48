//! One tool for every type of WIT, and for all that a host offers. Hosts are tested with it.

#![expect(clippy::too_many_arguments, reason = "wit-bindgen's code passes a record's fields one by one")]

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:kitchen/kitchen", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

use toolpost::tool::{
    context,
    log::{self, Level},
    progress,
};

/// Functions that return their argument.
macro_rules! echo {
    ($($name:ident: $type:ty),* $(,)?) => {
        $(fn $name(value: $type) -> $type { value })*
    };
}

struct Kitchen;

impl Guest for Kitchen {
    echo! {
        echo_bool: bool,
        echo_u8: u8,
        echo_u16: u16,
        echo_u32: u32,
        echo_u64: u64,
        echo_s8: i8,
        echo_s16: i16,
        echo_s32: i32,
        echo_s64: i64,
        echo_f32: f32,
        echo_f64: f64,
        echo_char: char,
        echo_string: String,

        echo_strings: Vec<String>,
        echo_bytes: Vec<u8>,
        echo_pieces: Vec<Vec<u8>>,
        echo_u32s: Vec<u32>,
        echo_tuple: (String, i32, bool),

        echo_point: Point,
        echo_shape: Shape,
        echo_shapes: Vec<Shape>,
        echo_file: File,
        echo_query: Query,
        echo_colour: Colour,
        echo_permissions: Permissions,

        echo_option: Option<String>,
        echo_option_of_option: Option<Option<u32>>,
        echo_options: Vec<Option<u32>>,

        echo_result: Result<String, String>,
        echo_result_without_ok: Result<(), String>,
        echo_result_without_err: Result<String, ()>,
        echo_result_without_values: Result<(), ()>,
        echo_result_of_types: Result<Point, Query>,
        echo_result_failure: Result<String, Failure>,
        echo_outcome: Outcome,
        echo_results: Vec<Result<u32, String>>,

        echo_content: Content,
        echo_contents: Vec<Content>,
    }

    fn bytes_and_more(mut data: Vec<u8>, name: String, level: u32) -> Vec<u8> {
        data.extend(name.bytes());
        data.extend(level.to_string().bytes());
        data
    }

    fn nothing_in() -> u32 {
        42
    }

    fn nothing_out(_value: String) {}

    fn whoami() -> ContextSeen {
        ContextSeen {
            call_id: context::call_id(),
            attempt: context::attempt(),
            idempotency_key: context::idempotency_key(),
            deadline_ms: context::deadline_ms(),
            caller: context::caller(),
        }
    }

    fn chatter(lines: u32) {
        const LEVELS: [Level; 4] = [Level::Debug, Level::Info, Level::Warn, Level::Error];
        for (number, level) in (1..=lines).zip(LEVELS.into_iter().cycle()) {
            println!("standard output, line {number}");
            eprintln!("standard error, line {number}");
            log::log(level, &format!("log, line {number}"));
            progress::report(number.into(), Some(lines.into()), Some(&format!("line {number}")));
            progress::emit(&format!("part {number}\n"));
        }
    }
}

export!(Kitchen);
