//! Times and sizes, between the words of the interface and those of the operating system.

use cap_std::fs::{FileType, FileTypeExt as _, Metadata, MetadataExt as _};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorStat, DescriptorType, ErrorCode, MetadataHashValue, NewTimestamp,
};

/// What is told of a file or folder.
pub(super) fn stat(metadata: &Metadata) -> DescriptorStat {
    let time = |seconds: i64, nanos: i64| {
        let seconds = u64::try_from(seconds).ok()?;
        Some(Datetime { seconds, nanoseconds: u32::try_from(nanos).ok()? })
    };
    DescriptorStat {
        type_: kind(metadata.file_type()),
        link_count: metadata.nlink(),
        size: metadata.len(),
        data_access_timestamp: time(metadata.atime(), metadata.atime_nsec()),
        data_modification_timestamp: time(metadata.mtime(), metadata.mtime_nsec()),
        status_change_timestamp: time(metadata.ctime(), metadata.ctime_nsec()),
    }
}

pub(super) fn kind(file_type: FileType) -> DescriptorType {
    match file_type {
        it if it.is_file() => DescriptorType::RegularFile,
        it if it.is_dir() => DescriptorType::Directory,
        it if it.is_symlink() => DescriptorType::SymbolicLink,
        it if it.is_block_device() => DescriptorType::BlockDevice,
        it if it.is_char_device() => DescriptorType::CharacterDevice,
        it if it.is_fifo() => DescriptorType::Fifo,
        it if it.is_socket() => DescriptorType::Socket,
        _ => DescriptorType::Unknown,
    }
}

/// The same for the same file; it tells nothing else.
pub(super) fn identity(metadata: &Metadata) -> MetadataHashValue {
    let mut hash = blake3::Hasher::new_derive_key("toolpost 1 identity of a file");
    hash.update(&metadata.dev().to_le_bytes()).update(&metadata.ino().to_le_bytes());
    let mut halves = [0; 16];
    hash.finalize_xof().fill(&mut halves);
    let both = u128::from_le_bytes(halves);
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
    MetadataHashValue { lower: half(both), upper: half(both >> 64) }
}

/// Times to be set.
pub(super) fn new(accessed: NewTimestamp, modified: NewTimestamp) -> Result<Timestamps, ErrorCode> {
    Ok(Timestamps { last_access: timespec(accessed)?, last_modification: timespec(modified)? })
}

fn timespec(time: NewTimestamp) -> Result<Timespec, ErrorCode> {
    match time {
        NewTimestamp::NoChange => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }),
        NewTimestamp::Now => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_NOW }),
        NewTimestamp::Timestamp(Datetime { seconds, nanoseconds }) => {
            let tv_sec = i64::try_from(seconds).map_err(|_| ErrorCode::Overflow)?;
            if nanoseconds >= 1_000_000_000 {
                return Err(ErrorCode::Invalid);
            }
            Ok(Timespec { tv_sec, tv_nsec: nanoseconds.into() })
        }
    }
}

pub(super) fn failed(error: Errno) -> ErrorCode {
    ErrorCode::from(&std::io::Error::from(error))
}
