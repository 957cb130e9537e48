//! The trace that an attempt belongs to, for whatever it sends out: W3C's Trace Context, level 1
//! (<https://www.w3.org/TR/trace-context/>).

use super::Attempt;

impl Attempt {
    /// The `traceparent` of what this attempt sends; nothing where its call came with none. The trace is the call's, the parent
    /// is the attempt itself.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        let (trace, flags) = read(self.call.call.traceparent.as_deref()?)?;
        Some(format!("00-{trace}-{:016x}-{flags}", self.span_id()))
    }

    /// The id of the attempt's span: from its call's id and its number, so that all who tell of it name it alike.
    #[must_use]
    pub fn span_id(&self) -> u64 {
        span_id(self.call.call.id.as_str(), self.number)
    }
}

/// The id of an attempt's span, which is never 0.
#[must_use]
pub fn span_id(call: &str, attempt: u32) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("toolpost 1 span id of an attempt");
    hasher.update(call.as_bytes()).update(&attempt.to_le_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_be_bytes(bytes).max(1)
}

/// The trace's id and the flags, if the text is a `traceparent`. Of later versions, the part that this one has.
fn read(text: &str) -> Option<(&str, &str)> {
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = text.split('-');
    let [version, trace, parent, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let is_whole = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let is_one = is_whole && hex(trace, 32) && hex(parent, 16) && hex(flags, 2) && !is_zero(trace) && !is_zero(parent);
    is_one.then_some((trace, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_traceparent_is_read_as_one() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let good = format!("00-{trace}-b7ad6b7169203331-01");
        assert_eq!(read(&good), Some((trace, "01")));
        assert_eq!(read(&format!("cc-{trace}-b7ad6b7169203331-01-what-comes-later")), Some((trace, "01")));
        let zero = "0".repeat(32);
        for wrong in [
            "",
            "nonsense",
            &good[..54],
            &format!("{good}-more"),
            &format!("ff-{trace}-b7ad6b7169203331-01"),
            &format!("00-{zero}-b7ad6b7169203331-01"),
            &format!("00-{trace}-0000000000000000-01"),
            &good.to_uppercase(),
            &format!("{good}\r\nx: y"),
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn attempts_have_ids_of_their_own_and_the_same_ones_each_time() {
        let ids = [span_id("a", 1), span_id("a", 2), span_id("b", 1)];
        assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2], "{ids:?}");
        assert_eq!(span_id("a", 1), ids[0]);
    }
}
