//! Pure tools over text. They ask nothing of the host beyond what Rust's standard library always links.

use regex_lite::Regex;

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:text/text", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

struct Text;

impl Guest for Text {
    fn word_count(text: String) -> Counts {
        Counts {
            words: at_most_u32(text.split_whitespace().count()),
            lines: at_most_u32(text.lines().count()),
            characters: at_most_u32(text.chars().count()),
        }
    }

    fn echo(text: String) -> String {
        text
    }

    fn replace(text: String, pattern: String, replacement: String) -> Result<String, Failure> {
        let pattern = Regex::new(&pattern)
            .map_err(|error| Failure::InvalidArguments(format!("`pattern` is no regular expression: {error}")))?;
        Ok(pattern.replace_all(&text, replacement).into_owned())
    }
}

/// A guest's memory ends before a count of its bytes passes 32 bits.
fn at_most_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

export!(Text);
