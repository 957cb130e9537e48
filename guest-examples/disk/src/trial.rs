//! What the standard library promises of files. Each promise is tried by itself, and what is not kept is named.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

type Promise = fn(&Path) -> io::Result<bool>;

const PROMISES: [(&str, Promise); 25] = [
    ("what is written is read", |at| {
        fs::write(at.join("a"), "hello")?;
        Ok(fs::read_to_string(at.join("a"))? == "hello")
    }),
    ("a file that is written again has only what is new", |at| {
        fs::write(at.join("a"), "a longer text")?;
        fs::write(at.join("a"), "short")?;
        Ok(fs::read_to_string(at.join("a"))? == "short")
    }),
    ("what is appended stands at the end", |at| {
        fs::write(at.join("a"), "one")?;
        for word in [" two", " three"] {
            OpenOptions::new().append(true).open(at.join("a"))?.write_all(word.as_bytes())?;
        }
        Ok(fs::read_to_string(at.join("a"))? == "one two three")
    }),
    ("a file that is there cannot be made anew", |at| {
        fs::write(at.join("a"), "old")?;
        let again = File::create_new(at.join("a")).err().map(|error| error.kind());
        Ok(again == Some(ErrorKind::AlreadyExists) && fs::read(at.join("a"))? == b"old")
    }),
    ("a file that is not there is not found", |at| {
        Ok(File::open(at.join("a")).err().map(|error| error.kind()) == Some(ErrorKind::NotFound))
    }),
    ("a file is read and written from any place on", |at| {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(at.join("a"))?;
        file.write_all(b"0123456789")?;
        file.seek(SeekFrom::Start(3))?;
        file.write_all(b"xyz")?;
        file.seek(SeekFrom::End(-2))?;
        let mut end = String::new();
        file.read_to_string(&mut end)?;
        Ok(end == "89" && fs::read(at.join("a"))? == b"012xyz6789" && file.stream_position()? == 10)
    }),
    ("a large file comes back as it was", |at| {
        let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).take(1_000_003).collect();
        fs::write(at.join("a"), &bytes)?;
        Ok(fs::read(at.join("a"))? == bytes && fs::metadata(at.join("a"))?.len() == 1_000_003)
    }),
    ("a hole is full of zeros", |at| {
        let mut file = File::create(at.join("a"))?;
        file.seek(SeekFrom::Start(5))?;
        file.write_all(b"x")?;
        Ok(fs::read(at.join("a"))? == b"\0\0\0\0\0x")
    }),
    ("a file can be made shorter and longer", |at| {
        fs::write(at.join("a"), "0123456789")?;
        let file = OpenOptions::new().write(true).open(at.join("a"))?;
        file.set_len(3)?;
        file.set_len(5)?;
        Ok(fs::read(at.join("a"))? == b"012\0\0")
    }),
    ("lines are read one by one", |at| {
        fs::write(at.join("a"), "one\ntwo\nthree")?;
        let lines = BufReader::new(File::open(at.join("a"))?).lines().collect::<io::Result<Vec<_>>>()?;
        Ok(lines == ["one", "two", "three"])
    }),
    ("what may only be read is not written, and the other way round", |at| {
        fs::write(at.join("a"), "text")?;
        let written = File::open(at.join("a"))?.write(b"x").is_err();
        let read = OpenOptions::new().write(true).open(at.join("a"))?.read(&mut [0; 4]).is_err();
        Ok(written && read)
    }),
    ("a folder has what was put into it", |at| {
        fs::create_dir(at.join("f"))?;
        fs::write(at.join("f/one"), "")?;
        fs::create_dir(at.join("f/two"))?;
        Ok(names(&at.join("f"))? == ["one", "two/"])
    }),
    ("a folder of many names has each once", |at| {
        fs::create_dir(at.join("f"))?;
        let mut wanted: Vec<String> = (0..300).map(|number| format!("n{number:03}")).collect();
        wanted.iter().try_for_each(|name| fs::write(at.join("f").join(name), ""))?;
        wanted.sort();
        Ok(names(&at.join("f"))? == wanted)
    }),
    ("folders are made and deleted with all that is in them", |at| {
        fs::create_dir_all(at.join("f/g/h"))?;
        fs::write(at.join("f/g/h/a"), "x")?;
        fs::remove_dir_all(at.join("f"))?;
        Ok(!at.join("f").exists())
    }),
    ("a folder that is not empty is not deleted", |at| {
        fs::create_dir_all(at.join("f/g"))?;
        Ok(fs::remove_dir(at.join("f")).is_err() && at.join("f/g").is_dir())
    }),
    ("a folder is not deleted as a file, nor a file as a folder", |at| {
        fs::create_dir(at.join("f"))?;
        fs::write(at.join("a"), "")?;
        Ok(fs::remove_file(at.join("f")).is_err() && fs::remove_dir(at.join("a")).is_err())
    }),
    ("a file is renamed, over another one too", |at| {
        fs::write(at.join("a"), "new")?;
        fs::write(at.join("b"), "old")?;
        fs::rename(at.join("a"), at.join("b"))?;
        Ok(fs::read(at.join("b"))? == b"new" && !at.join("a").exists())
    }),
    ("a folder is renamed with what is in it", |at| {
        fs::create_dir(at.join("f"))?;
        fs::write(at.join("f/a"), "x")?;
        fs::rename(at.join("f"), at.join("g"))?;
        Ok(fs::read(at.join("g/a"))? == b"x" && !at.join("f").exists())
    }),
    ("a copy has what the original has", |at| {
        fs::write(at.join("a"), "text")?;
        Ok(fs::copy(at.join("a"), at.join("b"))? == 4 && fs::read(at.join("b"))? == b"text")
    }),
    ("a second name is the same file", |at| {
        fs::write(at.join("a"), "one")?;
        fs::hard_link(at.join("a"), at.join("b"))?;
        fs::write(at.join("b"), "two")?;
        fs::remove_file(at.join("b"))?;
        Ok(fs::read(at.join("a"))? == b"two")
    }),
    ("times are kept, and can be set", |at| {
        fs::write(at.join("a"), "x")?;
        let then = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 5_000);
        let now = fs::metadata(at.join("a"))?.modified()?;
        OpenOptions::new().write(true).open(at.join("a"))?.set_modified(then)?;
        Ok(fs::metadata(at.join("a"))?.modified()? == then && now > then)
    }),
    ("a path may go up and down", |at| {
        fs::create_dir_all(at.join("f/g"))?;
        fs::write(at.join("f/a"), "x")?;
        Ok(fs::read(at.join("f/g/../a"))? == b"x" && fs::read(at.join("./f/./g/..//a"))? == b"x")
    }),
    ("names may have any characters", |at| {
        let wanted = [" ", "...", "a b", "ä€😀", "\n", "*?[", "C:\\x"];
        wanted.iter().try_for_each(|name| fs::write(at.join(name), name))?;
        Ok(wanted.iter().all(|name| fs::read(at.join(name)).is_ok_and(|text| text == name.as_bytes()))
            && names(at)?.len() == wanted.len())
    }),
    ("a file goes on after it was deleted", |at| {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(at.join("a"))?;
        fs::remove_file(at.join("a"))?;
        file.write_all(b"still")?;
        file.rewind()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        file.sync_all()?;
        Ok(text == "still" && !at.join("a").exists())
    }),
    ("the C library's own functions do the same", |at| crate::c::trial(&at.join("a"))),
];

/// Tries them all, each in a folder of its own.
pub(crate) fn all(folder: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for (number, (promise, kept)) in PROMISES.iter().enumerate() {
        let at = PathBuf::from(folder).join(format!("trial{number}"));
        let tried = fs::create_dir(&at).and_then(|()| kept(&at)).and_then(|kept| {
            fs::remove_dir_all(&at)?;
            Ok(kept)
        });
        match tried {
            Ok(true) => {}
            Ok(false) => broken.push((*promise).to_owned()),
            Err(error) => broken.push(format!("{promise}: {error} ({:?})", error.kind())),
        }
    }
    broken
}

/// The names in a folder, sorted; those of folders end in a slash.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let name = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        Ok(format!("{}{slash}", entry.file_name().to_string_lossy()))
    };
    let mut names = fs::read_dir(folder)?.map(name).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
