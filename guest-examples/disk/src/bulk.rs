//! Much to write and read, for who wants to know how long it takes.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};

pub(crate) fn write(path: &str, mut bytes: u64, part: u32) -> io::Result<()> {
    let mut file = File::create(path)?;
    let buffer = vec![b'x'; part.max(1) as usize];
    while bytes > 0 {
        let next = buffer.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
        file.write_all(&buffer[..next])?;
        bytes -= next as u64;
    }
    Ok(())
}

pub(crate) fn read(path: &str, part: u32) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; part.max(1) as usize];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(bytes),
            read => bytes += read as u64,
        }
    }
}

pub(crate) fn write_many(folder: &str, count: u32, bytes: u32) -> io::Result<()> {
    let text = vec![b'x'; bytes as usize];
    (0..count).try_for_each(|number| fs::write(name(folder, number), &text))
}

pub(crate) fn read_many(folder: &str, count: u32) -> io::Result<u64> {
    (0..count).map(|number| Ok(fs::read(name(folder, number))?.len() as u64)).sum()
}

fn name(folder: &str, number: u32) -> String {
    format!("{folder}/{number}")
}
