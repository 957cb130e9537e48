//! Whatever `std::fs` can do, for tests of what a host makes of it.

mod bulk;
mod c;
mod trial;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::time::{Duration, SystemTime};

wit_bindgen::generate!({ path: "wit", world: "disk" });
toolpost_guest::embed_wit!("wit/world.wit");

struct Disk;

impl Guest for Disk {
    fn steps(steps: Vec<Step>) -> Vec<Result<String, String>> {
        let mut held = Vec::new();
        let words = |error: io::Error| format!("{:?}", error.kind());
        steps.into_iter().map(|step| done(step, &mut held).map_err(words)).collect()
    }

    fn trial(folder: String) -> Vec<String> {
        trial::all(&folder)
    }

    fn write_through(path: String, bytes: u64, part: u32) -> Result<(), String> {
        bulk::write(&path, bytes, part).map_err(|error| error.to_string())
    }

    fn read_through(path: String, part: u32) -> Result<u64, String> {
        bulk::read(&path, part).map_err(|error| error.to_string())
    }

    fn write_many(folder: String, count: u32, bytes: u32) -> Result<(), String> {
        bulk::write_many(&folder, count, bytes).map_err(|error| error.to_string())
    }

    fn read_many(folder: String, count: u32) -> Result<u64, String> {
        bulk::read_many(&folder, count).map_err(|error| error.to_string())
    }
}

fn done(step: Step, held: &mut Vec<File>) -> io::Result<String> {
    match step {
        Step::Read(path) => return Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned()),
        Step::Write(Content { path, text }) => fs::write(path, text)?,
        Step::Create(Content { path, text }) => File::create_new(path)?.write_all(text.as_bytes())?,
        Step::Append(Content { path, text }) => {
            OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())?;
        }
        Step::WriteAt(Spot { path, offset, text }) => {
            let mut file = OpenOptions::new().write(true).open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(text.as_bytes())?;
        }
        Step::Names(path) => {
            let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            let mut names = names.collect::<io::Result<Vec<_>>>()?;
            names.sort();
            return Ok(names.join(" "));
        }
        Step::Stat(path) => return Ok(stat(&fs::metadata(path)?)),
        Step::StatLink(path) => return Ok(stat(&fs::symlink_metadata(path)?)),
        Step::Remove(path) => fs::remove_file(path)?,
        Step::RemoveFolder(path) => fs::remove_dir(path)?,
        Step::RemoveAll(path) => fs::remove_dir_all(path)?,
        Step::MakeFolder(path) => fs::create_dir(path)?,
        Step::Rename(Paths { old, new }) => fs::rename(old, new)?,
        Step::Link(Paths { old, new }) => fs::hard_link(old, new)?,
        #[allow(deprecated, reason = "the other one is not stable for this target")]
        Step::Symlink(Paths { old, new }) => fs::soft_link(old, new)?,
        Step::ReadLink(path) => return Ok(fs::read_link(path)?.to_string_lossy().into_owned()),
        Step::SetSize(Amount { path, number }) => OpenOptions::new().write(true).open(path)?.set_len(number)?,
        Step::SetTime(Amount { path, number }) => {
            File::open(path)?.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(number))?;
        }
        Step::Hold(Amount { path, number }) => {
            for _ in 0..number {
                held.push(File::open(&path)?);
            }
        }
        Step::WriteOn(path) => {
            let mut file = OpenOptions::new().append(true).create(true).open(path)?;
            loop {
                file.write_all(b"on and on ")?;
            }
        }
        Step::KeepReading(Amount { path, number }) => return Ok(keep_reading(&path, number)),
    }
    Ok(String::new())
}

fn stat(metadata: &fs::Metadata) -> String {
    let kind = match metadata.file_type() {
        it if it.is_dir() => return "folder".into(),
        it if it.is_symlink() => return "link".into(),
        it if it.is_file() => "file",
        _ => "other",
    };
    format!("{kind} {}", metadata.len())
}

fn keep_reading(path: &str, times: u64) -> String {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..times {
        let mut text = String::new();
        let read = File::open(path).and_then(|mut file| file.read_to_string(&mut text));
        seen.insert(read.map_or_else(|error| format!("{:?}", error.kind()), |_| text));
    }
    seen.into_iter().collect::<Vec<_>>().join("|")
}

export!(Disk);
