//! One request over HTTP, and what became of it.

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{ErrorCode, Fields, IncomingBody, Method, OutgoingBody, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

/// The most that is read or written in one go.
const CHUNK_BYTES_MAX: usize = 4096;

/// An answer, whatever it says.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// The seconds after which the other side wants to be asked again.
    pub retry_after: Option<u64>,
}

/// Sends a request with a JSON body, or without one.
pub fn send(method: &Method, url: &str, body: Option<&str>) -> Result<Answer, ErrorCode> {
    let invalid = || ErrorCode::HttpRequestUriInvalid;
    let (scheme, rest) = url.split_once("://").ok_or_else(invalid)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return Err(invalid()),
    };
    let mut fields = vec![("accept".to_owned(), b"application/json".to_vec())];
    if let Some(body) = body {
        fields.push(("content-type".to_owned(), b"application/json".to_vec()));
        fields.push(("content-length".to_owned(), body.len().to_string().into_bytes()));
    }
    let fields = Fields::from_list(&fields).map_err(|_| ErrorCode::ConfigurationError)?;
    let request = OutgoingRequest::new(fields);
    request.set_method(method).map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    request.set_scheme(Some(&scheme)).map_err(|()| invalid())?;
    request.set_authority(Some(authority)).map_err(|()| invalid())?;
    request.set_path_with_query(Some(path)).map_err(|()| invalid())?;
    let out = request.body().map_err(|()| ErrorCode::ConfigurationError)?;
    let answer = handle(request, None)?;
    write(out, body.unwrap_or_default())?;

    answer.subscribe().block();
    let answer = answer.get().and_then(Result::ok).ok_or(ErrorCode::InternalError(None))??;
    let retry_after = answer.headers().get("retry-after");
    let retry_after = retry_after.first().and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok());
    let status = answer.status();
    let incoming = answer.consume().map_err(|()| ErrorCode::InternalError(None))?;
    let body = read(&incoming)?;
    drop(IncomingBody::finish(incoming));
    Ok(Answer { status, body, retry_after })
}

fn write(out: OutgoingBody, body: &str) -> Result<(), ErrorCode> {
    let stream = out.write().map_err(|()| ErrorCode::ConfigurationError)?;
    for chunk in body.as_bytes().chunks(CHUNK_BYTES_MAX) {
        // Why the other side takes no more, its answer says.
        if stream.blocking_write_and_flush(chunk).is_err() {
            return Ok(());
        }
    }
    drop(stream);
    OutgoingBody::finish(out, None)
}

fn read(incoming: &IncomingBody) -> Result<Vec<u8>, ErrorCode> {
    let stream = incoming.stream().map_err(|()| ErrorCode::InternalError(None))?;
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(CHUNK_BYTES_MAX as u64) {
            Ok(bytes) => body.extend(bytes),
            Err(StreamError::Closed) => return Ok(body),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasip2::http::types::http_error_code(&error);
                return Err(code.unwrap_or(ErrorCode::ConnectionTerminated));
            }
        }
    }
}
