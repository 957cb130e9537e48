//! Does a request fall under what was granted? And if not, which line of the settings would allow it?

use percent_encoding::percent_decode_str;
use serde_json::Value;
use toolpost_core::call::AcceptedCall;
use toolpost_core::catalog::grants::{NetGrant, method_effect};
use toolpost_core::{CallError, Effect, ErrorKind, Stage, Tool};
use url::{Position, Url};
use wasmtime_wasi_http::Error;

use crate::capability::climb;

/// The longest URL, in bytes.
pub(super) const URL_BYTES_MAX: usize = 8 << 10;

/// What of a URL is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 2 << 10;

/// Why a request has no URL that could be judged.
#[derive(Debug)]
pub(super) enum Unfit {
    Invalid,
    TooLong,
    /// A name stands before the host: who reads hastily takes it for the host.
    User,
    /// Some server may read its path as one that leads up and out of what it begins with.
    Climbs(Box<Url>),
}

/// The URL of a request in the normal form in which it is judged, shown and sent.
pub(super) fn url(uri: &http::Uri) -> Result<Url, Unfit> {
    let text = uri.to_string();
    if text.len() > URL_BYTES_MAX {
        return Err(Unfit::TooLong);
    }
    let Some(authority) = uri.authority() else { return Err(Unfit::Invalid) };
    if authority.as_str().contains('@') {
        return Err(Unfit::User);
    }
    let url = Url::parse(&text).ok().filter(Url::has_host).ok_or(Unfit::Invalid)?;
    if climbs(url.path()) { Err(Unfit::Climbs(Box::new(url))) } else { Ok(url) }
}

/// Whether some server may take a path for one that leads up and out of what it begins with: in its normal form, a path has
/// no `..`, but one that is written twice or thrice removed, as in `%252e%2e%2f`, or with parameters, as in `..;`.
fn climbs(path: &str) -> bool {
    climb::segments(&climb::plain(path)).any(|segment| matches!(name(segment), b"." | b".."))
}

/// A part of a path without its parameters.
fn name(segment: &[u8]) -> &[u8] {
    segment.split(|byte| *byte == b';').next().unwrap_or_default()
}

/// Where a path that climbs would lead.
fn climbed(url: &Url) -> Url {
    let (plain, mut path, mut climbed) = (climb::plain(url.path()), Vec::new(), url.clone());
    for segment in climb::segments(&plain) {
        match name(segment) {
            b"." | b"" => {}
            b".." => drop(path.pop()),
            name => path.push(String::from_utf8_lossy(name)),
        }
    }
    climbed.set_path(&path.join("/"));
    climbed
}

/// What is refused, and why, of a request whose URL is unfit; and what its tool gets to hear. Nothing is refused where that was
/// no URL at all.
pub(super) fn unfit(tool: &Tool, method: &str, uri: &http::Uri, unfit: &Unfit) -> (Error, Option<(Effect, CallError)>) {
    let host = uri.authority().and_then(|authority| authority.as_str().rsplit('@').next()).unwrap_or_default();
    let mut place = format!("{}://{host}/", uri.scheme_str().unwrap_or_default());
    place.truncate(place.floor_char_boundary(SHOWN_BYTES_MAX));
    let of = |target| Effect { class: method_effect(method), action: action(method), target, detail: None };
    let denied = |why: String| CallError::new(ErrorKind::CapabilityDenied, Stage::Run, why);
    let never = "no grant allows it";
    match unfit {
        Unfit::Invalid => (Error::HttpRequestUriInvalid, None),
        Unfit::TooLong => {
            let why = denied(format!("a URL has at most {} KiB, and one to `{place}` has more", URL_BYTES_MAX >> 10));
            (Error::HttpRequestUriTooLong, Some((of(place), why.with_help(never))))
        }
        Unfit::User => {
            let why = denied(format!("a URL to `{place}` has a user before its host, which the tool may not send"));
            (Error::HttpRequestUriInvalid, Some((of(place), why.with_help(never))))
        }
        Unfit::Climbs(url) => {
            let (to, leads) = (shown(url), climbed(url));
            let why = denied(format!("some servers read the path of `{to}` as one that leads to `{}`", leads.path()));
            let grant = format!("{{ to = \"{}\", methods = [\"{method}\"] }}", &leads[..Position::AfterPath]);
            let help = tool.allowing("net", &grant, !tool.grants.net.is_empty());
            let help = format!("{help}, and the tool must ask for it by that path");
            (Error::HttpRequestUriInvalid, Some((of(to), why.with_help(help))))
        }
    }
}

/// The grant that covers a request, by a call with these arguments.
pub(super) fn covering<'g>(call: &'g AcceptedCall, method: &str, url: &Url) -> Option<(usize, &'g NetGrant)> {
    let covers = |grant: &NetGrant| grant.methods.allows(method) && grant.to.covers(url);
    let grants = call.tool.grants.net.http.iter().enumerate();
    grants.into_iter().find(|(_, grant)| covers(grant) && is_meant(grant, &call.arguments, url))
}

/// Whether the call is about that URL, where the grant asks for that.
fn is_meant(grant: &NetGrant, arguments: &Value, url: &Url) -> bool {
    let Some(only) = &grant.only else { return true };
    only.values(arguments).filter_map(|text| Url::parse(text).ok()).any(|meant| {
        let end = if meant.query().is_some() { Position::AfterQuery } else { Position::AfterPath };
        meant[..end] == url[..end] && meant.host() == url.host()
    })
}

/// A request as an effect on the world.
pub(super) fn effect(method: &str, url: &Url) -> Effect {
    Effect { class: method_effect(method), action: action(method), target: shown(url), detail: None }
}

fn action(method: &str) -> String {
    format!("net.{}", method.to_ascii_lowercase())
}

/// The names of a URL that rules are tried on: all of it, without its query, and that with its escapes read.
pub(super) fn names(url: &Url) -> [String; 3] {
    let (whole, plain) = (&url[..Position::AfterQuery], &url[..Position::AfterPath]);
    let read = percent_decode_str(plain).decode_utf8_lossy();
    [whole.to_owned(), plain.to_owned(), read.into_owned()]
}

/// What an answer about a request is bound to, but for its body: its headers, and the values of its query, are not told.
pub(super) fn content(head: &http::request::Parts, url: &Url) -> blake3::Hasher {
    let mut content = blake3::Hasher::new();
    let mut part = |part: &[u8]| {
        content.update(&(part.len() as u64).to_le_bytes()).update(part);
    };
    part(head.method.as_str().as_bytes());
    part(url.as_str().as_bytes());
    for (name, value) in &head.headers {
        part(name.as_str().as_bytes());
        part(value.as_bytes());
    }
    content
}

/// A URL for a reader: values of the query may be secrets, their names are not.
fn shown(url: &Url) -> String {
    let mut shown = url[..Position::AfterPath].to_owned();
    let query = url.query().unwrap_or_default().split('&').filter(|part| !part.is_empty());
    for (at, part) in query.enumerate() {
        let name = part.split('=').next().unwrap_or_default();
        shown.push(if at == 0 { '?' } else { '&' });
        // What has no value is perhaps one.
        shown.push_str(if part.contains('=') { name } else { "" });
        shown.push_str(if part.contains('=') { "=*" } else { "*" });
    }
    shown.truncate(shown.floor_char_boundary(SHOWN_BYTES_MAX));
    shown
}

/// No grant covers the request.
pub(super) fn denied(tool: &Tool, method: &str, url: &Url) -> CallError {
    let to = shown(&Url::parse(&url[..Position::AfterPath]).unwrap_or_else(|_| url.clone()));
    let grant = format!("{{ to = \"{to}\", methods = [\"{method}\"] }}");
    let help = tool.allowing("net", &grant, !tool.grants.net.is_empty());
    let message = format!("the tool may not send `{method} {to}`");
    if let Some(grant) = tool.grants.net.http.iter().find(|grant| grant.methods.allows(method) && grant.to.covers(url))
    {
        let only = grant.only.as_ref().map(ToString::to_string).unwrap_or_default();
        let help =
            format!("the grant of `{}` has `only = \"{only}\"`: the URL must be the one in the argument", grant.to);
        return CallError::new(ErrorKind::CapabilityDenied, Stage::Run, message).with_help(help);
    }
    CallError::new(ErrorKind::CapabilityDenied, Stage::Run, message).with_help(help)
}

/// The grant covers no more requests.
pub(super) fn used_up(grant: &NetGrant) -> CallError {
    let message = format!("the tool has sent the {} requests that its grant allows", grant.max_requests);
    CallError::new(ErrorKind::QuotaExceeded, Stage::Run, message)
        .with_help(format!("the operator can raise `max_requests` in the grant of `{}`", grant.to))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use url::Url;

    use super::{climbed, shown, url};

    #[test]
    fn a_path_that_some_server_reads_as_one_that_climbs_is_no_path() {
        let ok = |text: &str| url(&text.parse().unwrap()).is_ok();
        for path in ["", "/", "/a", "/a/..", "/a/%2e%2e/b", "/a%2fb", "/a...b/.hidden", "/a;b/c", "/100%25", "/%e4"] {
            assert!(ok(&format!("https://a.org{path}")), "{path}");
        }
        for path in [
            "/a/..%2fb",
            "/a/%2e%2e%2fb",
            "/a/%252e%252e/b",
            "/a/..%5cb",
            "/a/..;/b",
            "/a/%25252e%25252e%25252fb",
            "/a/.%2f",
            "/a/%25%32%65%25%32%65/b",
            "/a/%25%32e%25%32e%25%32fb",
            "/a/%25%35%63..%3bx",
        ] {
            assert!(!ok(&format!("https://a.org{path}")), "{path}");
        }
        assert!(!ok("https://user@a.org/") && !ok("https://user:pass@a.org/"));
        assert!(!ok(&format!("https://a.org/{}", "a".repeat(9_000))));
    }

    #[test]
    fn a_path_that_climbs_is_told_by_where_it_leads() {
        let climbed = |path: &str| climbed(&Url::parse(&format!("https://a.org{path}?q")).unwrap()).to_string();
        assert_eq!(climbed("/v1/%252e%252e/admin"), "https://a.org/admin?q");
        assert_eq!(climbed("/v1/a%2f..;x/%25%32e%25%32e%25%32fb"), "https://a.org/b?q");
        assert_eq!(climbed("/..%2f..%2f"), "https://a.org/?q");
    }

    #[test]
    fn a_reader_sees_where_to_and_no_value() {
        let shown = |text: &str| shown(&Url::parse(text).unwrap());
        assert_eq!(shown("https://a.org:8443/b/c"), "https://a.org:8443/b/c");
        assert_eq!(shown("https://a.org/b?id=7&key=geheim&geheim&&x="), "https://a.org/b?id=*&key=*&*&x=*");
        assert_eq!(shown(&format!("https://a.org/{}", "a".repeat(5_000))).len(), 2 << 10);
    }
}
