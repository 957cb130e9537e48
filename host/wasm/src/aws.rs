//! The signature that the services of AWS ask for, by version 4 of their way: a hash over a request, by a key that is made of the
//! secret for one day, one region and one service.
//!
//! What is signed is what goes out. The service makes the same text of what has arrived, so path, query and header fields are
//! taken as they stand in the request, and brought into the one form in which both sides compare them.

use std::time::SystemTime;

use hmac::{Hmac, Mac as _};
use http::header::{self, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use sha2::{Digest as _, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// When it was signed.
const DATE: HeaderName = HeaderName::from_static("x-amz-date");

/// The hash of the body.
const CONTENT: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// What comes with a key that holds for a while only.
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Everything but what stays as it is wherever it stands.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The same, in a path that keeps its segments.
const ESCAPED_IN_PATH: &AsciiSet = &ESCAPED.remove(b'/');

/// Who signs, and for what.
#[derive(Clone, Copy)]
pub struct Signer<'k> {
    /// The id of the key.
    pub access_key: &'k str,
    /// The key itself.
    pub secret_key: &'k str,
    /// What comes with a key that holds for a while only.
    pub session_token: Option<&'k str>,
    /// The region, for example `eu-central-1`.
    pub region: &'k str,
    /// The service, by the name that it has in signatures, for example `s3`.
    pub service: &'k str,
}

/// To whom a request goes, and what it asks for, as it goes out.
#[derive(Clone, Copy)]
pub struct Line<'r> {
    /// The method, in capital letters.
    pub method: &'r str,
    /// Name and port, as they stand in `Host`.
    pub host: &'r str,
    /// The path, with its escapes.
    pub path: &'r str,
    /// The query, with its escapes; empty where there is none.
    pub query: &'r str,
}

/// What stands for the body in what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Its SHA-256, in hexadecimal.
    Hash(String),
    /// Nothing: see [`takes_unsigned`].
    Unsigned,
}

impl Payload {
    /// A body that is there.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Payload::Hash(hex(&Sha256::digest(body)))
    }

    /// A body in parts, with the hash over all of them.
    #[must_use]
    pub fn of_parts<'b>(parts: impl IntoIterator<Item = &'b [u8]>) -> Self {
        let hash = parts.into_iter().fold(Sha256::new(), |hash, part| hash.chain_update(part));
        Payload::Hash(hex(&hash.finalize()))
    }

    fn as_str(&self) -> &str {
        match self {
            Payload::Hash(hash) => hash,
            Payload::Unsigned => "UNSIGNED-PAYLOAD",
        }
    }
}

/// Whether a service takes requests whose body is not signed, as long as they come over TLS: S3, and what is called after it.
#[must_use]
pub fn takes_unsigned(service: &str) -> bool {
    matches!(service, "s3" | "s3express" | "s3-object-lambda" | "s3-outposts")
}

impl Signer<'_> {
    /// Signs a request: sets the headers that say so, in place of those that it may have.
    ///
    /// # Errors
    /// The id of the key, or what comes with it, cannot stand in a header.
    pub fn sign(
        &self,
        line: Line<'_>,
        headers: &mut HeaderMap,
        payload: &Payload,
        at: SystemTime,
    ) -> Result<(), InvalidHeaderValue> {
        let date = humantime::format_rfc3339_seconds(at).to_string().replace(['-', ':'], "");
        for own in [header::AUTHORIZATION, TOKEN] {
            headers.remove(own);
        }
        headers.insert(DATE, HeaderValue::from_str(&date)?);
        headers.insert(CONTENT, HeaderValue::from_str(payload.as_str())?);
        if let Some(token) = self.session_token {
            headers.insert(TOKEN, sensitive(token)?);
        }
        let authorization = self.authorization(line, &fields(line.host, headers), payload, &date);
        headers.insert(header::AUTHORIZATION, sensitive(&authorization)?);
        Ok(())
    }

    /// The value of `authorization`, for a request with these header fields, in their order. `date` has the form
    /// `20260102T030405Z`.
    fn authorization(&self, line: Line<'_>, fields: &[(String, Vec<u8>)], payload: &Payload, date: &str) -> String {
        let (path, query) = (self.path(line.path), query(line.query));
        let names = fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let mut request = format!("{}\n{path}\n{query}\n", line.method).into_bytes();
        for (name, value) in fields {
            request.extend_from_slice(&[name.as_bytes(), b":", value, b"\n"].concat());
        }
        request.extend_from_slice(format!("\n{names}\n{}", payload.as_str()).as_bytes());
        let day = date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("{ALGORITHM}\n{date}\n{scope}\n{}", hex(&Sha256::digest(request)));
        let first = hash(format!("AWS4{}", self.secret_key).as_bytes(), day);
        let key = [self.region, self.service, "aws4_request"].iter().fold(first, |key, part| hash(&key, part));
        let (access_key, signature) = (self.access_key, hex(&hash(&key, &text)));
        format!("{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}")
    }

    /// A path in the form in which it is compared. Where a path is the name of a thing, as in S3, it is that name, escaped once;
    /// for all others it is the path as it came, in its normal form and escaped once more.
    fn path(&self, path: &str) -> String {
        if takes_unsigned(self.service) {
            let name: Vec<u8> = percent_decode_str(path).collect();
            return percent_encode(&name, ESCAPED_IN_PATH).to_string();
        }
        let mut kept: Vec<&str> = Vec::new();
        for segment in path.split('/') {
            match segment {
                "" | "." => {}
                ".." => drop(kept.pop()),
                other => kept.push(other),
            }
        }
        let is_folder = path.ends_with('/') && !kept.is_empty();
        let plain = format!("/{}{}", kept.join("/"), if is_folder { "/" } else { "" });
        percent_encode(plain.as_bytes(), ESCAPED_IN_PATH).to_string()
    }
}

/// A query in the form in which it is compared: sorted, and each name and value escaped in the strictest way.
fn query(query: &str) -> String {
    let strict = |text: &str| {
        // A plus is a space here, as in forms.
        let plain: Vec<u8> = percent_decode_str(&text.replace('+', " ")).collect();
        percent_encode(&plain, ESCAPED).to_string()
    };
    let parts = query.split('&').filter(|part| !part.is_empty());
    let mut pairs: Vec<(String, String)> = parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (strict(name), strict(value)))
        .collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// The header fields that are signed, in their order: those that must be, and those that say what the body is. What is changed or
/// added on the way could not be.
fn fields(host: &str, headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let is_signed = |name: &&HeaderName| {
        name.as_str().starts_with("x-amz-") || matches!(name.as_str(), "content-type" | "content-md5")
    };
    let mut fields: Vec<(String, Vec<u8>)> = headers
        .keys()
        .filter(is_signed)
        .map(|name| (name.as_str().to_owned(), value(headers.get_all(name).iter().map(HeaderValue::as_bytes))))
        .collect();
    fields.push(("host".into(), value([host.as_bytes()])));
    fields.sort_unstable();
    fields
}

/// All values of one field, in the form in which they are compared.
fn value<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Vec<u8> {
    let single = |value: &[u8]| {
        let words = value.trim_ascii().split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join(&b' ')
    };
    values.into_iter().map(single).collect::<Vec<_>>().join(&b',')
}

fn sensitive(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

fn hash(key: &[u8], text: &str) -> Vec<u8> {
    // A key may have any length.
    let hash = Hmac::<Sha256>::new_from_slice(key);
    hash.map(|hash| hash.chain_update(text).finalize().into_bytes().to_vec()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use std::time::{Duration, SystemTime};

    use http::{HeaderMap, HeaderValue};

    use super::{Line, Payload, Signer, fields, takes_unsigned, value};

    /// Whose requests the suite of examples signs, that AWS has published for this way of signing.
    const SUITE: Signer<'_> = Signer {
        access_key: "AKIDEXAMPLE",
        secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        session_token: None,
        region: "us-east-1",
        service: "service",
    };

    /// Whose requests the manual of S3 signs.
    const S3: Signer<'_> = Signer {
        access_key: "AKIAIOSFODNN7EXAMPLE",
        secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        service: "s3",
        ..SUITE
    };

    const UNRESERVED: &str = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    /// The signature of a request to which all these fields belong, by their names: several values are several fields.
    fn signature(signer: Signer<'_>, line: &str, more: &[(&str, &[&str])], body: &str) -> String {
        let (host, date) = match signer.service {
            "s3" => ("examplebucket.s3.amazonaws.com", "20130524T000000Z"),
            _ => ("example.amazonaws.com", "20150830T123600Z"),
        };
        let (method, uri) = line.split_once(' ').unwrap();
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let given = [("host", &[host][..]), ("x-amz-date", &[date])];
        let given = given.iter().chain(more).map(|(name, values)| {
            let values = values.iter().map(|value| value.as_bytes());
            ((*name).to_owned(), value(values))
        });
        let mut fields: Vec<_> = given.collect();
        fields.sort_unstable();
        let line = Line { method, host, path, query };
        let said = signer.authorization(line, &fields, &Payload::of(body.as_bytes()), date);
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert!(said.contains(&format!("/aws4_request, SignedHeaders={}, Signature=", names.join(";"))), "{said}");
        said.rsplit('=').next().unwrap().to_owned()
    }

    #[test]
    fn lines_are_signed_as_in_the_published_suite() {
        const VANILLA: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        let query = format!("GET /?{UNRESERVED}={UNRESERVED}");
        for (line, wanted) in [
            ("GET /", VANILLA),
            ("GET /?", VANILLA),
            ("GET /?Param1=value1", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
            ("GET /?Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
            ("GET /?Param1=value2&Param1=Value1", "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1"),
            ("GET /?Param1=value2&Param1=value1", "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694"),
            (&query, "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
            ("GET /?\u{1234}=bar", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
            ("GET /?%E1%88%B4=bar", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
            ("GET /\u{1234}", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
            ("GET /example space/", "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
            (&format!("GET /{UNRESERVED}"), "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
            ("GET /example/..", VANILLA),
            ("GET /example1/example2/../..", VANILLA),
            ("GET //", VANILLA),
            ("GET /./", VANILLA),
            ("GET //example//", "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
            ("GET /./example", "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"),
            ("POST /", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ] {
            assert_eq!(signature(SUITE, line, &[], ""), wanted, "{line}");
        }
    }

    #[test]
    fn fields_and_bodies_are_signed_as_in_the_published_suite() {
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUu\
                     wthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQc\
                     HNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/o\
                     LxBA==";
        let form: (&str, &[&str]) = ("content-type", &["application/x-www-form-urlencoded"]);
        for (line, more, body, wanted) in [
            (
                "GET /",
                &[("my-header1", &["value2", "value2", "value1"] as &[&str])] as &[(&str, &[&str])],
                "",
                "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
            ),
            (
                "GET /",
                &[("my-header1", &["value4", "value1", "value3", "value2"])],
                "",
                "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
            ),
            (
                "GET /",
                &[("my-header1", &["  value1"]), ("my-header2", &[" \"a   b   c\" "])],
                "",
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
            (
                "POST /",
                &[("x-amz-security-token", &[token])],
                "",
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
            ("POST /", &[form], "Param1=value1", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
        ] {
            assert_eq!(signature(SUITE, line, more, body), wanted, "{line} {more:?}");
        }
    }

    #[test]
    fn requests_to_s3_are_signed_as_in_its_manual() {
        const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let empty: (&str, &[&str]) = ("x-amz-content-sha256", &[EMPTY]);
        let body = "Welcome to Amazon S3.";
        let hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
        for (line, more, body, wanted) in [
            (
                "GET /test.txt",
                &[empty, ("range", &["bytes=0-9"])] as &[(&str, &[&str])],
                "",
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            ),
            (
                "PUT /test$file.text",
                &[
                    ("date", &["Fri, 24 May 2013 00:00:00 GMT"]),
                    ("x-amz-content-sha256", &[hash]),
                    ("x-amz-storage-class", &["REDUCED_REDUNDANCY"]),
                ],
                body,
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
            ("GET /?lifecycle", &[empty], "", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            (
                "GET /?prefix=J&max-keys=2",
                &[empty],
                "",
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            assert_eq!(signature(S3, line, more, body), wanted, "{line}");
        }
    }

    #[test]
    fn a_path_that_is_escaped_is_escaped_once_more_but_for_s3() {
        assert_eq!(SUITE.path("/a%20b/%C3%A9(1)"), "/a%2520b/%25C3%25A9%281%29");
        assert_eq!(S3.path("/a%20b//%c3%a9(1)/./+"), "/a%20b//%C3%A9%281%29/./%2B");
        assert!(takes_unsigned("s3") && takes_unsigned("s3express") && !takes_unsigned("s3tables"));
    }

    #[test]
    fn a_query_is_compared_in_its_strictest_form() {
        assert_eq!(super::query("b=2&a=x+y&a=%7e%2f&&c&=d"), "=d&a=x%20y&a=~%2F&b=2&c=");
    }

    #[test]
    fn the_headers_of_a_signature_replace_those_that_were_there() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"] {
            headers.append(name, HeaderValue::from_static("mine"));
            headers.append(name, HeaderValue::from_static("mine too"));
        }
        headers.insert("range", HeaderValue::from_static("bytes=0-9"));
        let line = Line { method: "GET", host: "a.org:8443", path: "/", query: "" };
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        SUITE.sign(line, &mut headers, &Payload::Unsigned, at).unwrap();
        assert_eq!(headers.len(), 4);
        assert_eq!(headers["x-amz-date"], "20150830T123600Z");
        assert_eq!(headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
        assert!(headers["authorization"].is_sensitive());
        let said = headers["authorization"].to_str().unwrap().to_owned();
        assert!(said.contains("Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"), "{said}");
        assert!(said.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date, "), "{said}");
        let signed = fields("a.org:8443", &headers);
        assert_eq!(signed[0], ("host".to_owned(), b"a.org:8443".to_vec()));
        // Of a session there is one more, and it is signed.
        let session = Signer { session_token: Some("a token"), ..SUITE };
        session.sign(line, &mut headers, &Payload::of(b""), at).unwrap();
        let said = headers["authorization"].to_str().unwrap();
        assert!(said.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token, "), "{said}");
        let broken = Signer { session_token: Some("a\ntoken"), ..SUITE };
        assert!(broken.sign(line, &mut headers, &Payload::of(b""), at).is_err());
    }
}
