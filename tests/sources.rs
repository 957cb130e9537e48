//! The code stays readable: no file is longer than somebody reads at once. (Functions are clippy's business.)
#![allow(clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};

use toolpost_tests::root;

const LINES_MAX: usize = 500;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository").flatten() {
        let path = entry.path();
        let generated = ["target", "node_modules", ".venv"].iter().any(|name| entry.file_name() == *name);
        if path.is_dir() && !generated {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_source_file_is_longer_than_500_lines() {
    let mut files = Vec::new();
    for folder in ["host", "tests", "guest-examples"] {
        sources(&root().join(folder), &mut files);
    }
    assert!(files.len() > 50, "the sources are found");
    let long = files
        .iter()
        .filter(|file| std::fs::read_to_string(file).expect("a source can be read").lines().count() > LINES_MAX);
    assert_eq!(long.collect::<Vec<_>>(), Vec::<&PathBuf>::new());
}
