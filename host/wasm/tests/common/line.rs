//! A service on this machine that speaks lines, and hosts of the guest that talks to it.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_core::{Host, Outcome};

use super::server::{self, Names, Server, rogue};

/// Answers each line with the same line in capital letters.
pub async fn shouting() -> Server {
    rogue(|stream| async move {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
            if stream.write_all(line.to_uppercase().as_bytes()).await.is_err() {
                return;
            }
            line.clear();
        }
    })
    .await
}

/// How one connection has ended, for the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The other side has said that it has no more.
    Said,
    /// It was broken off.
    Broken(io::ErrorKind),
}

/// What was heard of each connection that has ended: how many bytes, and how it ended.
pub type Heard = Arc<Mutex<Vec<(usize, End)>>>;

/// Listens, and never answers.
pub async fn listening() -> (Server, Heard) {
    use tokio::io::AsyncReadExt as _;

    let heard = Heard::default();
    let ears = heard.clone();
    let server = rogue(move |mut stream| {
        let heard = ears.clone();
        async move {
            let (mut buffer, mut bytes) = (vec![0; 64 << 10], 0);
            let end = loop {
                match stream.read(&mut buffer).await {
                    Ok(0) => break End::Said,
                    Ok(length) => bytes += length,
                    Err(error) => break End::Broken(error.kind()),
                }
            };
            heard.lock().unwrap().push((bytes, end));
        }
    })
    .await;
    (server, heard)
}

/// A grant of a service by its address, with more about it.
pub fn by_address(server: &Server, more: Value) -> Value {
    with(json!({"tcp": server.address.to_string()}), more)
}

/// A grant of a service by the name `db.test`.
pub fn by_name(server: &Server, more: Value) -> Value {
    with(json!({"tcp": format!("db.test:{}", server.address.port())}), more)
}

fn with(mut grant: Value, more: Value) -> Value {
    grant.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!([grant])
}

/// A host of `line` that was granted this, for which names lead there.
pub fn talking(net: Value, names: &Arc<Names>) -> Host {
    let engine = server::engine(names);
    server::granted(&server::load(&engine, "line"), net, &LimitSettings::default())
}

/// Sends a line to a port of a host.
pub async fn exchange(host: &Host, to: &str, port: u16, text: &str) -> Outcome {
    super::call(host, "line_exchange", json!({"host": to, "port": port, "text": text})).await
}

/// What a tool has answered, or the error in words.
pub fn answer(outcome: &Outcome) -> Result<Value, String> {
    outcome.result.as_ref().map(|output| output.value.clone()).map_err(ToString::to_string)
}
