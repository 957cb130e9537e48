//! Is the server well? What the end of an exchange says about it, to the breaker that was asked for leave.
//!
//! | end | it says |
//! |---|---|
//! | no connection, no answer in time, one that is none or breaks off, the status 429 or 5xx | failure |
//! | the status 429 or 503 with `Retry-After` | leave it alone for so long |
//! | every other answer, once it has been read, or when its tool wants no more of it | success |
//! | the host or the tool is at fault: TLS that cannot be set up, a body that its tool gave up | nothing |
//! | the tool did not wait for the answer, or was ended before it came | nothing |

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::response::Parts;
use http::{StatusCode, header};
use toolpost_core::guard::breaker::Outcome;
use toolpost_core::run::Contact;
use wasmtime_wasi_http::Error;

use super::body::{Life, Upload};
use super::client::{Errand, Failure};

/// An exchange whose end is waited for. Dropping it says that nobody waits any more.
pub(super) struct Watch {
    contact: Contact,
    upload: Arc<Upload>,
    life: Arc<Life>,
}

impl Watch {
    pub(super) fn new(contact: Contact, errand: &Errand) -> Self {
        Watch { contact, upload: errand.upload.clone(), life: errand.life.clone() }
    }

    /// An answer has begun. Nothing more is waited for where it says all there is to say.
    pub(super) fn begun(self, head: &Parts) -> Option<Self> {
        match of_head(head, SystemTime::now()) {
            None => Some(self),
            Some(outcome) => {
                self.contact.finish(outcome);
                None
            }
        }
    }

    /// There is no answer.
    pub(super) fn failed(self, failure: &Failure) {
        match failure {
            Failure::Unsent(error, _) | Failure::Cut(error, _) => self.end(error, Outcome::Ignored),
            Failure::Prohibited(..) => self.contact.finish(Outcome::Ignored),
        }
    }

    /// The answer has come to its end.
    pub(super) fn whole(self) {
        self.contact.finish(Outcome::Success);
    }

    /// The answer goes no further, for this reason. What has come of it was well: another reason than the server's, such as
    /// its length, says nothing against it.
    pub(super) fn broken(self, error: &Error) {
        self.end(error, Outcome::Success);
    }

    /// The rest of the answer is not wanted.
    pub(super) fn left(self) {
        self.contact.left();
    }

    fn end(self, error: &Error, otherwise: Outcome) {
        // What the tool, or its end, has done to its own request looks like a broken connection.
        if self.life.is_over() || self.upload.is_broken() {
            return;
        }
        self.contact.finish(fault(error).map_or(otherwise, Outcome::Failure));
    }
}

/// What the head of an answer says by itself.
fn of_head(head: &Parts, now: SystemTime) -> Option<Outcome> {
    let word = match head.status.as_u16() {
        429 => "http_429",
        500 => "http_500",
        502 => "http_502",
        503 => "http_503",
        504 => "http_504",
        505..=599 | 501 => "http_5xx",
        _ => return None,
    };
    let asks = matches!(head.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let pause = head.headers.get(header::RETRY_AFTER).filter(|_| asks);
    let pause = pause.and_then(|value| pause_of(value.to_str().ok()?.trim(), now));
    // A pause of no length asks for nothing, and a server that always asks for it would never be left alone.
    let pause = pause.filter(|pause| !pause.is_zero());
    Some(pause.map_or(Outcome::Failure(word), |retry_after| Outcome::Throttled { retry_after }))
}

/// What a server writes in `Retry-After`: seconds, or a date.
fn pause_of(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

/// How a server has failed, in one word; nothing where it was not the server.
fn fault(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::ConnectionRefused => "connection_refused",
        Error::ConnectionTimeout => "connection_timeout",
        Error::DnsError { .. } => "dns_error",
        Error::DestinationNotFound | Error::DestinationUnavailable | Error::DestinationIpUnroutable => "unreachable",
        Error::TlsProtocolError | Error::TlsCertificateError | Error::TlsAlertReceived { .. } => "tls_error",
        Error::ConnectionReadTimeout => "no_answer",
        Error::ConnectionTerminated | Error::HttpResponseIncomplete => "broken_off",
        Error::HttpProtocolError | Error::HttpResponseHeaderSectionSize(_) => "broken_answer",
        _ => return None,
    })
}
