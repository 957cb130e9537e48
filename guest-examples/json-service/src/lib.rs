//! A service that speaks JSON. What goes wrong with it is told apart: what the caller can change, what may work later, and what will
//! not.

mod http;

use serde_json::Value;
pub use wasip2::http::types::Method;
use wasip2::http::types::ErrorCode;

use crate::http::send;

/// What of the service's own words is handed on, in characters.
const WORDS_MAX: usize = 300;

/// A service, and what it is called: `the shop`.
pub struct Service<'a> {
    pub name: &'a str,
    /// Where it is, up to its paths.
    pub url: &'a str,
}

/// Why nothing came of it.
pub enum Fault {
    /// The arguments are at fault.
    Arguments(String),
    /// It may work later, perhaps after so many milliseconds.
    Later(String, Option<u64>),
    /// It will not work.
    Never(String),
}

impl Service<'_> {
    /// Sends a request, with a body or without one. The answer is that of a success.
    pub fn ask(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Value, Fault> {
        let name = self.name;
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        let body = body.map(Value::to_string);
        let answer = send(method, &url, body.as_deref()).map_err(|code| self.unanswered(code))?;
        match answer.status {
            200..=299 => serde_json::from_slice(&answer.body)
                .map_err(|_| Fault::Never(format!("{name} answered {} in no JSON", answer.status))),
            status @ (429 | 500..) => {
                let after = answer.retry_after.map(|seconds| seconds.saturating_mul(1_000));
                Err(Fault::Later(format!("{name} answered {status}{}", words(&answer.body)), after))
            }
            status => Err(Fault::Never(format!("{name} answered {status}{}", words(&answer.body)))),
        }
    }

    fn unanswered(&self, code: ErrorCode) -> Fault {
        let name = self.name;
        let later = |what: &str| Fault::Later(format!("{name} {what}"), None);
        match code {
            ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => {
                Fault::Never("the host does not let the request out".into())
            }
            ErrorCode::HttpRequestUriInvalid => {
                let name = name.strip_prefix("the ").unwrap_or(name);
                Fault::Arguments(format!("`service` is no address of a {name}"))
            }
            ErrorCode::ConnectionRefused | ErrorCode::DestinationUnavailable => later("cannot be reached"),
            ErrorCode::DnsError(_) | ErrorCode::DnsTimeout => later("is not found"),
            ErrorCode::ConnectionTimeout | ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => {
                later("does not answer in time")
            }
            ErrorCode::ConnectionTerminated | ErrorCode::HttpResponseIncomplete => later("broke off"),
            other => Fault::Never(format!("{name} cannot be asked: {other:?}")),
        }
    }
}

/// The service's own words, as far as they are words.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

/// A text as one segment of a path, or as a value in a query.
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Makes `From<Fault>` for the `failure` of the world that the guest was generated for.
#[macro_export]
macro_rules! faults {
    ($types:path) => {
        const _: () = {
            use $types as types;

            impl From<$crate::Fault> for types::Failure {
                fn from(fault: $crate::Fault) -> Self {
                    match fault {
                        $crate::Fault::Arguments(words) => types::Failure::InvalidArguments(words),
                        $crate::Fault::Never(words) => types::Failure::Failed(words),
                        $crate::Fault::Later(message, retry_after_ms) => {
                            types::Failure::Unavailable(types::Unavailable { message, retry_after_ms })
                        }
                    }
                }
            }
        };
    };
}
