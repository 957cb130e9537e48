//! Changes files, keys, rows and a server, over and over, until it is ended.

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:busy/tools", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

use std::fmt::Debug;

use exports::example::busy::busy::Guest;
use toolpost::sql::sql::{self, Value};
use wasi::keyvalue::store;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};

struct Busy;

impl Guest for Busy {
    fn work(tag: String, url: String, turns: u32) -> Result<u32, String> {
        let bucket = store::open("work").map_err(words)?;
        let database = sql::open("work").map_err(words)?;
        for turn in 0..turns {
            std::fs::write(format!("/work/{tag}-{turn}"), &tag).map_err(words)?;
            bucket.set(&format!("{tag}-{turn}"), tag.as_bytes()).map_err(words)?;
            let values = [Value::Text(tag.clone()), Value::Integer(turn.into())];
            database.execute("INSERT INTO work (tag, turn) VALUES (?1, ?2)", &values).map_err(words)?;
            post(&url, &format!("/{tag}-{turn}"))?;
        }
        Ok(turns)
    }
}

fn post(authority: &str, path: &str) -> Result<(), String> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&Method::Post).map_err(words)?;
    request.set_scheme(Some(&Scheme::Http)).map_err(words)?;
    request.set_authority(Some(authority)).map_err(words)?;
    request.set_path_with_query(Some(path)).map_err(words)?;
    OutgoingBody::finish(request.body().map_err(words)?, None).map_err(words)?;
    let answer = handle(request, None).map_err(words)?;
    answer.subscribe().block();
    answer.get().ok_or("no answer")?.map_err(words)?.map_err(words)?;
    Ok(())
}

fn words(error: impl Debug) -> String {
    format!("{error:?}")
}

export!(Busy);
