//! Why did a request come to nothing? The errors of the network as those of `wasi:http`, which a guest gets, and in words,
//! which go to the log.

use std::error::Error as StdError;
use std::io;

use wasmtime_wasi_http::Error;

/// Of a connection that speaks HTTP.
pub(super) fn of_answer(error: &hyper::Error) -> Error {
    if let Some(Error::HttpRequestBodySize(bytes)) = error.source().and_then(|source| source.downcast_ref()) {
        return Error::HttpRequestBodySize(*bytes);
    }
    if error.is_parse_too_large() {
        Error::HttpResponseHeaderSectionSize(None)
    } else if error.is_parse() || error.is_parse_status() {
        Error::HttpProtocolError
    } else if error.is_incomplete_message() {
        Error::HttpResponseIncomplete
    } else {
        Error::ConnectionTerminated
    }
}

/// Of an attempt to connect.
pub(super) fn of_connecting(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Error::DestinationIpUnroutable,
        _ => Error::DestinationUnavailable,
    }
}

/// Of a handshake of TLS.
pub(super) fn of_tls(error: &io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        Some(rustls::Error::AlertReceived(alert)) => {
            Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: Some(format!("{alert:?}")) }
        }
        Some(_) => Error::TlsProtocolError,
        None => Error::ConnectionTerminated,
    }
}

/// An error with its causes.
pub(super) fn words(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source()).map(ToString::to_string);
    let mut causes: Vec<String> = causes.take(8).collect();
    causes.dedup();
    causes.join(": ")
}
