//! What the command line asks for. All benchmarks take the same options, and each has its own groups.

use crate::Result;

#[derive(Debug, Default)]
pub(crate) struct Options {
    only: Option<String>,
    pub(crate) quick: bool,
    /// Set by the group `sleep` for its own child: measure the memory of that side, say it, and end.
    pub(crate) asleep: Option<String>,
}

const GROUPS: [&str; 11] =
    ["road", "lifetimes", "sleep", "load", "fuel", "fetch", "files", "policies", "callers", "ledger", "overload"];

impl Options {
    pub(crate) fn read() -> Result<Self> {
        let (mut options, mut words) = (Options::default(), std::env::args().skip(1));
        while let Some(word) = words.next() {
            match word.as_str() {
                // `cargo bench` says so itself.
                "--bench" => {}
                "--quick" => options.quick = true,
                "--only" => options.only = Some(words.next().unwrap_or_default()),
                "--asleep" => options.asleep = words.next(),
                _ => return Err(wrong(format!("`{word}` is no option; there are `--only GROUP` and `--quick`"))),
            }
        }
        match &options.only {
            Some(only) if !GROUPS.contains(&only.as_str()) => {
                Err(wrong(format!("`--only` wants one of {}", GROUPS.join(", "))))
            }
            _ => Ok(options),
        }
    }

    pub(crate) fn asks_for(&self, group: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == group)
    }
}

fn wrong<E: From<std::io::Error>>(words: String) -> E {
    std::io::Error::new(std::io::ErrorKind::InvalidInput, words).into()
}
