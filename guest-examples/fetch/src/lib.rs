//! Requests over HTTP, as a tool makes them that is well behaved, and as one does that is not.

wit_bindgen::generate!({ path: "wit", world: "fetch" });
toolpost_guest::embed_wit!("wit/world.wit");

use std::cell::Cell;

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::streams::{OutputStream, StreamError};

/// The most that is read or written in one go.
const CHUNK_BYTES_MAX: usize = 4096;

thread_local! {
    /// A request that is not sent yet, and what is open of its body.
    static KEPT: Cell<Option<(OutgoingRequest, Out)>> = const { Cell::new(None) };
}

struct Fetch;

impl Guest for Fetch {
    fn request(
        method: String,
        url: String,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        timeout_ms: Option<u32>,
    ) -> Result<Answer, String> {
        let request = outgoing(&method, &url, &headers)?;
        let options = RequestOptions::new();
        if let Some(nanos) = timeout_ms.map(|ms| u64::from(ms) * 1_000_000) {
            let set = [
                options.set_connect_timeout(Some(nanos)),
                options.set_first_byte_timeout(Some(nanos)),
                options.set_between_bytes_timeout(Some(nanos)),
            ];
            set.into_iter().collect::<Result<(), ()>>().map_err(|()| "no such timeout")?;
        }
        let out = Out::of(&request)?;
        // A small body is written before the request is handed over, so that the host knows it whole; a large one would
        // wait for the host to take it.
        if body.len() <= CHUNK_BYTES_MAX {
            out.write(&body)?;
            out.finish()?;
            return read(handle(request, Some(options)).map_err(|code| words(&code))?);
        }
        let answer = handle(request, Some(options)).map_err(|code| words(&code))?;
        // A body that is not taken to its end may still be answered.
        let written = out.write(&body).and_then(|()| out.finish());
        read(answer).map_err(|error| written.err().map_or(error.clone(), |write| format!("{error}; {write}")))
    }

    fn many(url: String, count: u32) -> Vec<Result<u16, String>> {
        let send = |_| handle(outgoing("GET", &url, &[])?, None).map_err(|code| words(&code));
        let answers: Vec<_> = (0..count).map(send).collect();
        answers.into_iter().map(|answer| read(answer?).map(|answer| answer.status)).collect()
    }

    fn hoard(url: String, count: u32) -> Vec<Result<u16, String>> {
        let mut kept = Vec::new();
        let send = |_| {
            let answer = handle(outgoing("GET", &url, &[])?, None).map_err(|code| words(&code))?;
            let answer = wait(&answer)?;
            let status = answer.status();
            kept.push(answer);
            Ok(status)
        };
        (0..count).map(send).collect()
    }

    fn parts(url: String, count: u32, bytes: u32, ending: Ending) -> Result<Answer, String> {
        let request = outgoing("POST", &url, &[])?;
        let out = Out::of(&request)?;
        let answer = handle(request, None).map_err(|code| words(&code))?;
        let part = vec![b'x'; bytes as usize];
        for _ in 0..count {
            out.write(&part)?;
        }
        match ending {
            Ending::Finish => out.finish()?,
            Ending::GiveUp => drop(out),
            Ending::Leave => {
                // Neither is dropped: the host finds both when it clears up.
                std::mem::forget((out, answer));
                return Err("left".into());
            }
            Ending::Trap => std::process::abort(),
            Ending::Spin => loop {
                std::hint::black_box(());
            },
        }
        read(answer)
    }

    fn later(url: String) -> Result<Option<Answer>, String> {
        let Some((request, out)) = KEPT.take() else {
            let request = outgoing("POST", &url, &[])?;
            let out = Out::of(&request)?;
            out.write(b"one half")?;
            KEPT.set(Some((request, out)));
            return Ok(None);
        };
        let answer = handle(request, None).map_err(|code| words(&code))?;
        let written = out.write(b" and the other").and_then(|()| out.finish());
        let answer = read(answer);
        written.and(answer).map(Some)
    }

    fn keep_answer(url: String) -> Result<u16, String> {
        let answer = wait(&handle(outgoing("GET", &url, &[])?, None).map_err(|code| words(&code))?)?;
        let status = answer.status();
        std::mem::forget(answer);
        Ok(status)
    }
}

/// A request without a body.
fn outgoing(method: &str, url: &str, headers: &[(String, String)]) -> Result<OutgoingRequest, String> {
    let (scheme, rest) = url.split_once("://").ok_or("a URL has a scheme")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    let request = OutgoingRequest::new(Fields::from_list(&headers).map_err(|error| format!("{error:?}"))?);
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.into()),
    };
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        other => Method::Other(other.into()),
    };
    request.set_method(&method).map_err(|()| "no such method")?;
    request.set_scheme(Some(&scheme)).map_err(|()| "no such scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "no such authority")?;
    request.set_path_with_query(Some(path)).map_err(|()| "no such path")?;
    Ok(request)
}

/// A body on its way out. The stream goes before the body that it belongs to.
struct Out {
    stream: OutputStream,
    body: OutgoingBody,
}

impl Out {
    fn of(request: &OutgoingRequest) -> Result<Self, String> {
        let body = request.body().map_err(|()| "no body")?;
        Ok(Out { stream: body.write().map_err(|()| "no stream")?, body })
    }

    fn write(&self, bytes: &[u8]) -> Result<(), String> {
        let chunks = bytes.chunks(CHUNK_BYTES_MAX).map(|chunk| self.stream.blocking_write_and_flush(chunk));
        chunks.collect::<Result<(), _>>().map_err(|error| format!("not written: {error:?}"))
    }

    fn finish(self) -> Result<(), String> {
        drop(self.stream);
        OutgoingBody::finish(self.body, None).map_err(|code| words(&code))
    }
}

/// An error of the host, by its name.
fn words(code: &ErrorCode) -> String {
    format!("{code:?}").replace("ErrorCode::", "")
}

fn wait(answer: &FutureIncomingResponse) -> Result<IncomingResponse, String> {
    answer.subscribe().block();
    let answer = answer.get().ok_or("no answer")?.map_err(|()| "answered twice")?;
    answer.map_err(|code| words(&code))
}

fn read(answer: FutureIncomingResponse) -> Result<Answer, String> {
    let answer = wait(&answer)?;
    let status = answer.status();
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    let headers = answer.headers().entries().into_iter().map(|(name, value)| (name, text(value))).collect();
    let incoming = answer.consume().map_err(|()| "consumed twice")?;
    let body = read_all(&incoming)?;
    drop(IncomingBody::finish(incoming));
    Ok(Answer { status, headers, body })
}

fn read_all(incoming: &IncomingBody) -> Result<Vec<u8>, String> {
    let stream = incoming.stream().map_err(|()| "streamed twice")?;
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(CHUNK_BYTES_MAX as u64) {
            Ok(bytes) => body.extend(bytes),
            Err(StreamError::Closed) => return Ok(body),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasip2::http::types::http_error_code(&error);
                return Err(code.map_or_else(|| error.to_debug_string(), |code| words(&code)));
            }
        }
    }
}

export!(Fetch);
