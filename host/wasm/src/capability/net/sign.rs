//! Signs a request with a key that its tool never has, as the services of AWS ask for it. The signature is over what goes out, so
//! the body has to be there whole before anything of it leaves; only S3 takes one that is not signed, and only over TLS.

use std::time::SystemTime;

use bytesize::ByteSize;
use http::request::Parts;
use toolpost_core::catalog::grants::Aws;
use toolpost_core::{Attempt, CallError, ErrorKind, Stage};
use url::{Position, Url};

use super::body::SIGNED_BYTES_MAX;
use crate::aws::{Line, Payload, Signer, takes_unsigned};

/// Whether a body has to be there whole before its request is signed.
pub(super) fn needs_whole(aws: Option<&Aws>, url: &Url) -> bool {
    aws.is_some_and(|aws| url.scheme() != "https" || !takes_unsigned(&aws.service))
}

/// A body is there, and there is no room for it.
pub(super) fn no_room(aws: Option<&Aws>) -> CallError {
    let most = ByteSize(SIGNED_BYTES_MAX as u64).display().iec();
    let message = format!(
        "the body is longer than what is left of {most}: a request that is signed is kept whole until it is sent, and all of \
         them together have so much in one attempt"
    );
    let help = match aws.is_some_and(|aws| takes_unsigned(&aws.service)) {
        true => "over `https` this service takes bodies of any length",
        false => "the tool can send less at once",
    };
    CallError::new(ErrorKind::QuotaExceeded, Stage::Run, message).with_help(help)
}

/// Signs the request, with the path and the query of that URL.
///
/// # Errors
/// A key cannot be had, or cannot stand in a header.
///
/// # Cancel safety
/// As for [`Attempt::filled`].
pub(super) async fn sign(
    aws: &Aws,
    attempt: &Attempt,
    head: &mut Parts,
    url: &Url,
    payload: &Payload,
) -> Result<(), CallError> {
    let access_key = attempt.filled(&aws.access_key).await?;
    let secret_key = attempt.filled(&aws.secret_key).await?;
    let session_token = match &aws.session_token {
        Some(token) => Some(attempt.filled(token).await?),
        None => None,
    };
    let signer = Signer {
        access_key: &access_key,
        secret_key: &secret_key,
        session_token: session_token.as_ref().map(|token| token.as_str()),
        region: &aws.region,
        service: &aws.service,
    };
    let line = Line {
        method: head.method.as_str(),
        host: &url[Position::BeforeHost..Position::AfterPort],
        path: url.path(),
        query: url.query().unwrap_or_default(),
    };
    signer.sign(line, &mut head.headers, payload, SystemTime::now()).map_err(|_| {
        let words = "`access_key` or `session_token` has a value that cannot stand in a header";
        CallError::new(ErrorKind::Internal, Stage::Run, words).with_help("look at the secret for line ends")
    })
}
