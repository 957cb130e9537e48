//! What the host puts into a request in the tool's place, when all else has been judged; and what it takes out of the answer,
//! so that a server which repeats it does not give it away.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use hyper::body::Frame;
use toolpost_core::catalog::grants::{Basic, Inject, Template};
use toolpost_core::secret::{Masker, Stream};
use toolpost_core::{Attempt, CallError, ErrorKind, Stage};
use url::{Url, form_urlencoded};

/// What a grant says goes along, with the values.
#[derive(Default)]
pub(super) struct Filled {
    headers: Vec<(HeaderName, HeaderValue)>,
    query: Vec<(String, String)>,
}

impl Filled {
    /// # Errors
    /// A secret cannot be read, or cannot stand in a header.
    ///
    /// # Cancel safety
    /// As for [`Attempt::filled`].
    pub(super) async fn of(inject: &Inject, attempt: &Attempt) -> Result<Self, CallError> {
        let mut filled = Filled::default();
        for (name, template) in &inject.headers {
            let text = attempt.filled(template).await?;
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit(template))?;
            filled.headers.push((name, sensitive(&text).ok_or_else(|| unfit(template))?));
        }
        if let Some(Basic { user, password }) = &inject.basic {
            let (name, secret) = (attempt.filled(user).await?, attempt.filled(password).await?);
            let login = format!("Basic {}", STANDARD.encode(format!("{}:{}", *name, *secret)));
            filled.headers.push((header::AUTHORIZATION, sensitive(&login).ok_or_else(|| unfit(password))?));
        }
        for (name, template) in &inject.query {
            filled.query.push((name.clone(), attempt.filled(template).await?.to_string()));
        }
        Ok(filled)
    }

    /// Replaces what the tool has set itself.
    pub(super) fn put(self, headers: &mut HeaderMap, url: &mut Url) {
        // What is packed could not be searched for what must not come back.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        // Nor what comes in parts that the tool cuts as it likes, or in other characters.
        for name in [header::RANGE, header::IF_RANGE, header::ACCEPT_CHARSET] {
            headers.remove(name);
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        if self.query.is_empty() {
            return;
        }
        let set: BTreeMap<String, String> = self.query.into_iter().collect();
        let name_of = |part: &str| form_urlencoded::parse(part.as_bytes()).next().map(|(name, _)| name.into_owned());
        let kept = url.query().unwrap_or_default().split('&').filter(|part| !part.is_empty());
        let kept = kept.filter(|part| name_of(part).is_none_or(|name| !set.contains_key(&name)));
        let added = set
            .iter()
            .map(|(name, value)| form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish());
        let query = kept.map(str::to_owned).chain(added).collect::<Vec<_>>().join("&");
        url.set_query(Some(&query));
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn unfit(template: &Template) -> CallError {
    let words = format!("`{template}` has a value that cannot stand in a header");
    CallError::new(ErrorKind::Internal, Stage::Run, words).with_help("look at the secret for line ends")
}

/// Takes what the host knows of secrets out of an answer.
pub(super) struct Veil {
    attempt: Attempt,
    stream: Stream,
}

impl Veil {
    /// None where the host puts nothing into any request of the tool: one may bring back what was put into another.
    pub(super) fn over(attempt: &Attempt) -> Option<Self> {
        let injects = attempt.call.tool.grants.injected().next().is_some();
        injects.then(|| Veil { attempt: attempt.clone(), stream: attempt.masking() })
    }

    /// Whether the body can be searched: it is not packed.
    pub(super) fn sees_through(headers: &HeaderMap) -> bool {
        let mut codings =
            headers.get_all(header::CONTENT_ENCODING).iter().chain(headers.get_all(header::TRANSFER_ENCODING));
        codings.all(|coding| matches!(coding.as_bytes(), b"identity" | b"chunked"))
    }

    /// Of headers, also how long the body is: it may be another one now.
    pub(super) fn head(&self, headers: &mut HeaderMap) {
        headers.remove(header::CONTENT_LENGTH);
        mask(&self.attempt.masker(), headers);
    }

    /// Of a part of the body; nothing where all of it is held back, because a secret may begin in it.
    pub(super) fn frame(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        match frame.into_data() {
            Ok(data) => {
                let mut masked = Vec::with_capacity(data.len());
                self.stream.write(&data, |bytes| masked.extend_from_slice(bytes));
                (!masked.is_empty()).then(|| Frame::data(masked.into()))
            }
            // Trailers end a body, so what is left of it comes first, and they would have to wait: they are left out.
            Err(_) => self.end(),
        }
    }

    /// What is left at the end.
    pub(super) fn end(&mut self) -> Option<Frame<Bytes>> {
        let rest = self.stream.end();
        (!rest.is_empty()).then(|| Frame::data(rest.into()))
    }
}

fn mask(masker: &Masker, headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        let text = String::from_utf8_lossy(value.as_bytes());
        if let Cow::Owned(masked) = masker.text(&text) {
            *value = HeaderValue::from_str(&masked).unwrap_or_else(|_| HeaderValue::from_static("***"));
        }
    }
}
