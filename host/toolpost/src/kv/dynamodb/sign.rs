//! The signature of a request, by version 4 of AWS' way. It is a hash over what is sent, by a key that is made of the secret for one
//! day, one region and one service.

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// What signs requests.
pub(super) struct Signer<'s> {
    pub(super) access_key: &'s str,
    pub(super) secret: &'s str,
    pub(super) region: &'s str,
}

const SERVICE: &str = "dynamodb";

/// The header fields that are signed, in their order.
const SIGNED: &str = "content-type;host;x-amz-date;x-amz-target";

impl Signer<'_> {
    /// The value of `authorization`, for a request that posts this body to `/`. `date` has the form `20260102T030405Z`.
    pub(super) fn authorization(
        &self,
        content_type: &str,
        host: &str,
        date: &str,
        target: &str,
        body: &[u8],
    ) -> String {
        let body = hex(&Sha256::digest(body));
        let fields = format!("content-type:{content_type}\nhost:{host}\nx-amz-date:{date}\nx-amz-target:{target}\n");
        let request = format!("POST\n/\n\n{fields}\n{SIGNED}\n{body}");
        let (access_key, scope) = (self.access_key, self.scope(date, SERVICE));
        let signature = self.signature(date, SERVICE, &hex(&Sha256::digest(request)));
        format!("AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={SIGNED}, Signature={signature}")
    }

    fn scope(&self, date: &str, service: &str) -> String {
        format!("{}/{}/{service}/aws4_request", day(date), self.region)
    }

    fn signature(&self, date: &str, service: &str, request: &str) -> String {
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{}\n{request}", self.scope(date, service));
        let key = [day(date), self.region, service, "aws4_request"];
        let first = format!("AWS4{}", self.secret).into_bytes();
        let key = key.iter().fold(first, |key, part| hash(&key, part));
        hex(&hash(&key, &text))
    }
}

fn day(date: &str) -> &str {
    date.get(..8).unwrap_or_default()
}

fn hash(key: &[u8], text: &str) -> Vec<u8> {
    // A key may have any length.
    Hmac::<Sha256>::new_from_slice(key).map_or_else(
        |_| Vec::new(),
        |mut hash| {
            hash.update(text.as_bytes());
            hash.finalize().into_bytes().to_vec()
        },
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::Signer;

    #[test]
    fn a_signature_is_that_of_the_example_in_the_manual() {
        let signer = Signer {
            access_key: "AKIDEXAMPLE",
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
        };
        let request = "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59";
        assert_eq!(
            signer.signature("20150830T123600Z", "iam", request),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }
}
