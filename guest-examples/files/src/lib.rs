//! Files, as an agent works with them. Nothing here knows of a host: it is plain `std::fs`, and what may be reached is up to
//! the operator.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:files/tools", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

use exports::example::files::files::{Entry, Failure, Found, Guest};

/// The most lines that a search returns.
const FOUND_MAX: usize = 200;

struct Files;

impl Guest for Files {
    fn read(path: String, from_line: Option<u32>, lines: Option<u32>) -> Result<String, Failure> {
        let text = fs::read_to_string(&path).map_err(|error| failure(&path, &error))?;
        if from_line.is_none() && lines.is_none() {
            return Ok(text);
        }
        let skip = from_line.unwrap_or(1).saturating_sub(1) as usize;
        let take = lines.map_or(usize::MAX, |lines| lines as usize);
        Ok(text.split_inclusive('\n').skip(skip).take(take).collect())
    }

    fn write(path: String, text: String) -> Result<u64, Failure> {
        if let Some(folder) = Path::new(&path).parent().filter(|folder| !folder.exists()) {
            fs::create_dir_all(folder).map_err(|error| failure(&folder.to_string_lossy(), &error))?;
        }
        fs::write(&path, &text).map_err(|error| failure(&path, &error))?;
        Ok(text.len() as u64)
    }

    fn append(path: String, text: String) -> Result<u64, Failure> {
        let add = || {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(&path)?;
            file.write_all(text.as_bytes())?;
            Ok(file.metadata()?.len())
        };
        add().map_err(|error| failure(&path, &error))
    }

    fn list(path: String) -> Result<Vec<Entry>, Failure> {
        let list = || {
            let entry = |entry: std::io::Result<fs::DirEntry>| {
                let entry = entry?;
                let metadata = entry.metadata()?;
                let name = entry.file_name().to_string_lossy().into_owned();
                Ok(Entry { name, folder: metadata.is_dir(), bytes: if metadata.is_dir() { 0 } else { metadata.len() } })
            };
            fs::read_dir(&path)?.map(entry).collect::<std::io::Result<Vec<_>>>()
        };
        let mut entries = list().map_err(|error| failure(&path, &error))?;
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    fn delete(path: String) -> Result<(), Failure> {
        let delete = || match fs::symlink_metadata(&path)?.is_dir() {
            true => fs::remove_dir(&path),
            false => fs::remove_file(&path),
        };
        delete().map_err(|error| failure(&path, &error))
    }

    fn move_(source: String, target: String) -> Result<(), Failure> {
        match fs::rename(&source, &target) {
            // The two are in different folders of the host, and a file can be copied.
            Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                fs::copy(&source, &target).map_err(|error| failure(&target, &error))?;
                fs::remove_file(&source).map_err(|error| failure(&source, &error))
            }
            moved => moved.map_err(|error| failure(&source, &error)),
        }
    }

    fn search(path: String, text: String) -> Result<Vec<Found>, Failure> {
        if text.is_empty() {
            return Err(Failure::InvalidArguments("`text` is empty, and so would be found everywhere".into()));
        }
        let mut found = Vec::new();
        look(Path::new(&path), &text, &mut found).map_err(|error| failure(&path, &error))?;
        Ok(found)
    }

    fn patch(path: String, old: String, new: String) -> Result<u32, Failure> {
        let text = fs::read_to_string(&path).map_err(|error| failure(&path, &error))?;
        let mut places = text.match_indices(&old).map(|(at, _)| at);
        let (first, more) = (places.next().filter(|_| !old.is_empty()), places.count());
        let Some(at) = first else {
            return Err(Failure::InvalidArguments(format!("`old` does not stand in `{path}`")));
        };
        if more > 0 {
            let times = more + 1;
            return Err(Failure::InvalidArguments(format!("`old` stands in `{path}` {times} times; give more of it")));
        }
        let patched = format!("{}{new}{}", &text[..at], &text[at + old.len()..]);
        fs::write(&path, patched).map_err(|error| failure(&path, &error))?;
        Ok(1 + text[..at].matches('\n').count() as u32)
    }
}

/// Goes through a file, or through a folder in the order of its names.
fn look(path: &Path, text: &str, found: &mut Vec<Found>) -> std::io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        // What is no text has no lines.
        let lines = fs::read_to_string(path).or_else(|error| match error.kind() {
            ErrorKind::InvalidData => Ok(String::new()),
            _ => Err(error),
        })?;
        let lines = lines.lines().zip(1..).filter(|(line, _)| line.contains(text));
        let left = FOUND_MAX - found.len();
        let path = path.to_string_lossy();
        found.extend(lines.take(left).map(|(line, at)| Found { path: path.to_string(), line: at, text: line.into() }));
        return Ok(());
    }
    let mut below = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    below.sort();
    for path in below {
        // A link may lead round in a circle.
        if found.len() < FOUND_MAX && !fs::symlink_metadata(&path)?.is_symlink() {
            look(&path, text, found)?;
        }
    }
    Ok(())
}

/// A failure of the file system: of the arguments, where other ones would do.
fn failure(path: &str, error: &std::io::Error) -> Failure {
    use ErrorKind::{AlreadyExists, DirectoryNotEmpty, IsADirectory, NotADirectory, NotFound};
    let words = format!("`{path}`: {error}");
    match error.kind() {
        AlreadyExists | DirectoryNotEmpty | IsADirectory | NotADirectory | NotFound => Failure::InvalidArguments(words),
        _ => Failure::Failed(words),
    }
}

export!(Files);
