//! `wasi:filesystem@0.2`, for a granted folder.
//!
//! The types of the interface are those of `wasmtime-wasi`, so that streams and errors are the same for all of WASI. What it
//! holds behind a descriptor is its own, and cannot be made of a folder that is open already. So behind a descriptor stands one
//! of ours: to the linker a resource is a number with a name.

use std::sync::Arc;

use cap_std::fs::Metadata;
use wasmtime::component::{Resource, ResourceTableError};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Filesize, Host,
    HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, IoError};

use super::View;
use super::file::{Opened, To};
use super::folder::{Descriptor, Folder};
use super::grant::{Share, no_folder};
use super::list::Listing;
use super::stream::{Input, Output};
use super::times;

type Theirs = Resource<types::Descriptor>;
type TheirNames = Resource<types::DirectoryEntryStream>;

/// What is behind a descriptor.
enum Held {
    Folder(Folder),
    File(Arc<Opened>),
}

/// Ours, behind theirs.
fn ours(descriptor: &Theirs) -> Resource<Descriptor> {
    Resource::new_borrow(descriptor.rep())
}

impl View<'_> {
    fn push(&mut self, descriptor: Descriptor) -> Result<Theirs, ResourceTableError> {
        Ok(Resource::new_own(self.table.push(descriptor)?.rep()))
    }

    /// What a guest holds, as this call has it.
    fn held(&self, descriptor: &Theirs) -> FsResult<Held> {
        match self.table.get(&ours(descriptor))? {
            Descriptor::File(file) => Ok(Held::File(file.clone())),
            Descriptor::Folder(folder) => Ok(Held::Folder(folder.clone())),
            Descriptor::Granted(at) => {
                let share = self.handle.shares.get(*at).ok_or(ErrorCode::BadDescriptor)?;
                Ok(Held::Folder(Folder::of(share)))
            }
            Descriptor::Closed => Err(ErrorCode::BadDescriptor.into()),
        }
    }

    fn folder(&self, descriptor: &Theirs) -> FsResult<Folder> {
        match self.held(descriptor)? {
            Held::Folder(folder) => Ok(folder),
            Held::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    fn file(&self, descriptor: &Theirs) -> FsResult<Arc<Opened>> {
        match self.held(descriptor)? {
            Held::File(file) => Ok(file),
            Held::Folder(_) => Err(ErrorCode::IsDirectory.into()),
        }
    }

    async fn metadata(&mut self, descriptor: &Theirs) -> FsResult<Metadata> {
        match self.held(descriptor)? {
            Held::File(file) => Self::off(&file.share.clone(), async move { file.metadata() }).await,
            Held::Folder(folder) => Self::off(&folder.share.clone(), async move { folder.metadata() }).await,
        }
    }

    /// Does a piece of work off the threads that serve calls.
    fn off<T: Send + 'static, W: Future<Output = Result<T, ErrorCode>> + Send + 'static>(
        share: &Share,
        work: W,
    ) -> impl Future<Output = FsResult<T>> + Send + use<T, W> {
        let done = share.off(work);
        async move { Ok(done.await?) }
    }

    /// A file that may be written to.
    fn writable(&self, descriptor: &Theirs) -> FsResult<Arc<Opened>> {
        let file = self.file(descriptor)?;
        if file.writes { Ok(file) } else { Err(ErrorCode::BadDescriptor.into()) }
    }
}

fn follows(flags: PathFlags) -> bool {
    flags.contains(PathFlags::SYMLINK_FOLLOW)
}

impl preopens::Host for View<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Theirs, String)>> {
        if self.handle.shares.is_empty() {
            // The guest finds no folder, and asks for nothing that could be refused.
            self.handle.attempt.hint(no_folder(&self.handle.attempt.call.tool));
        }
        let granted = self.handle.shares.iter().enumerate().map(|(at, share)| {
            let descriptor = Resource::new_own(self.table.push(Descriptor::Granted(at))?.rep());
            Ok((descriptor, share.grant.guest.to_string()))
        });
        granted.collect()
    }
}

impl Host for View<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(&mut self, error: Resource<IoError>) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(self.table.get(&error)?.downcast_ref::<ErrorCode>().copied())
    }
}

impl HostDescriptor for View<'_> {
    fn read_via_stream(&mut self, descriptor: Theirs, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        let file = self.file(&descriptor)?;
        if !file.reads {
            return Err(ErrorCode::BadDescriptor.into());
        }
        let stream: DynInputStream = Box::new(Input::new(file, offset)?);
        Ok(self.table.push(stream)?)
    }

    fn write_via_stream(&mut self, descriptor: Theirs, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(Output::new(self.writable(&descriptor)?, To::At(offset))?);
        Ok(self.table.push(stream)?)
    }

    fn append_via_stream(&mut self, descriptor: Theirs) -> FsResult<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(Output::new(self.writable(&descriptor)?, To::End)?);
        Ok(self.table.push(stream)?)
    }

    /// Advice is free to take, and this host does not.
    async fn advise(&mut self, descriptor: Theirs, _: Filesize, _: Filesize, _: Advice) -> FsResult<()> {
        self.file(&descriptor).map(|_| ())
    }

    async fn sync_data(&mut self, descriptor: Theirs) -> FsResult<()> {
        match self.held(&descriptor)? {
            Held::File(file) => Self::off(&file.share.clone(), async move { file.sync(true) }).await,
            Held::Folder(_) => Ok(()),
        }
    }

    async fn sync(&mut self, descriptor: Theirs) -> FsResult<()> {
        match self.held(&descriptor)? {
            Held::File(file) => Self::off(&file.share.clone(), async move { file.sync(false) }).await,
            Held::Folder(_) => Ok(()),
        }
    }

    async fn get_flags(&mut self, descriptor: Theirs) -> FsResult<DescriptorFlags> {
        Ok(match self.held(&descriptor)? {
            Held::File(file) => file.flags()?,
            Held::Folder(folder) => folder.flags(),
        })
    }

    async fn get_type(&mut self, descriptor: Theirs) -> FsResult<DescriptorType> {
        Ok(match self.held(&descriptor)? {
            Held::File(_) => DescriptorType::RegularFile,
            Held::Folder(_) => DescriptorType::Directory,
        })
    }

    async fn set_size(&mut self, descriptor: Theirs, size: Filesize) -> FsResult<()> {
        let file = self.file(&descriptor)?;
        Self::off(&file.share.clone(), async move { file.set_size(size).await }).await
    }

    async fn set_times(&mut self, descriptor: Theirs, accessed: NewTimestamp, modified: NewTimestamp) -> FsResult<()> {
        match self.held(&descriptor)? {
            Held::File(file) => {
                Self::off(&file.share.clone(), async move { file.set_times(accessed, modified).await }).await
            }
            Held::Folder(folder) => {
                Self::off(
                    &folder.share.clone(),
                    async move { folder.set_times_at(".", false, accessed, modified).await },
                )
                .await
            }
        }
    }

    async fn read(&mut self, descriptor: Theirs, length: Filesize, offset: Filesize) -> FsResult<(Vec<u8>, bool)> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let file = self.file(&descriptor)?;
        let bytes = Self::off(&file.share.clone(), async move { file.read(offset, length) }).await?;
        let is_end = bytes.is_empty() && length > 0;
        Ok((bytes.into(), is_end))
    }

    async fn write(&mut self, descriptor: Theirs, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        let length = bytes.len() as u64;
        let file = self.file(&descriptor)?;
        Self::off(&file.share.clone(), async move { file.write(bytes.into(), To::At(offset)).await }).await?;
        Ok(length)
    }

    async fn read_directory(&mut self, descriptor: Theirs) -> FsResult<TheirNames> {
        let folder = self.folder(&descriptor)?;
        let listing = Self::off(&folder.share.clone(), async move { Listing::new(&folder).await }).await?;
        Ok(Resource::new_own(self.table.push(listing)?.rep()))
    }

    async fn create_directory_at(&mut self, descriptor: Theirs, path: String) -> FsResult<()> {
        let folder = self.folder(&descriptor)?;
        Self::off(&folder.share.clone(), async move { folder.make(&path).await }).await
    }

    async fn stat(&mut self, descriptor: Theirs) -> FsResult<DescriptorStat> {
        Ok(times::stat(&self.metadata(&descriptor).await?))
    }

    async fn stat_at(&mut self, descriptor: Theirs, flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
        let folder = self.folder(&descriptor)?;
        let found = Self::off(&folder.share.clone(), async move { folder.metadata_at(&path, follows(flags)) }).await?;
        Ok(times::stat(&found))
    }

    async fn set_times_at(
        &mut self,
        descriptor: Theirs,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let folder = self.folder(&descriptor)?;
        Self::off(
            &folder.share.clone(),
            async move { folder.set_times_at(&path, follows(flags), accessed, modified).await },
        )
        .await
    }

    /// A link is never gone along here: it would be another file that gets a second name.
    async fn link_at(
        &mut self,
        descriptor: Theirs,
        _: PathFlags,
        path: String,
        new_descriptor: Theirs,
        new_path: String,
    ) -> FsResult<()> {
        let (folder, to) = (self.folder(&descriptor)?, self.folder(&new_descriptor)?);
        Self::off(&folder.share.clone(), async move { folder.link(&path, &to, &new_path).await }).await
    }

    async fn open_at(
        &mut self,
        descriptor: Theirs,
        flags: PathFlags,
        path: String,
        open: OpenFlags,
        wanted: DescriptorFlags,
    ) -> FsResult<Theirs> {
        let folder = self.folder(&descriptor)?;
        let opened =
            Self::off(&folder.share.clone(), async move { folder.open(&path, follows(flags), open, wanted).await })
                .await?;
        Ok(self.push(opened)?)
    }

    async fn readlink_at(&mut self, descriptor: Theirs, path: String) -> FsResult<String> {
        let folder = self.folder(&descriptor)?;
        Self::off(&folder.share.clone(), async move { folder.read_link(&path) }).await
    }

    async fn remove_directory_at(&mut self, descriptor: Theirs, path: String) -> FsResult<()> {
        let folder = self.folder(&descriptor)?;
        Self::off(&folder.share.clone(), async move { folder.remove_folder(&path).await }).await
    }

    async fn rename_at(
        &mut self,
        descriptor: Theirs,
        path: String,
        new_descriptor: Theirs,
        new_path: String,
    ) -> FsResult<()> {
        let (folder, to) = (self.folder(&descriptor)?, self.folder(&new_descriptor)?);
        Self::off(&folder.share.clone(), async move { folder.rename(&path, &to, &new_path).await }).await
    }

    async fn symlink_at(&mut self, descriptor: Theirs, _: String, path: String) -> FsResult<()> {
        let folder = self.folder(&descriptor)?;
        Self::off(&folder.share.clone(), async move { folder.symlink(&path) }).await
    }

    async fn unlink_file_at(&mut self, descriptor: Theirs, path: String) -> FsResult<()> {
        let folder = self.folder(&descriptor)?;
        Self::off(&folder.share.clone(), async move { folder.remove_file(&path).await }).await
    }

    async fn is_same_object(&mut self, descriptor: Theirs, other: Theirs) -> wasmtime::Result<bool> {
        let same = |metadata: FsResult<Metadata>| metadata.ok().map(|found| times::identity(&found));
        let (one, other) = (same(self.metadata(&descriptor).await), same(self.metadata(&other).await));
        let halves = |hash: MetadataHashValue| (hash.lower, hash.upper);
        Ok(one.is_some() && one.map(halves) == other.map(halves))
    }

    async fn metadata_hash(&mut self, descriptor: Theirs) -> FsResult<MetadataHashValue> {
        Ok(times::identity(&self.metadata(&descriptor).await?))
    }

    async fn metadata_hash_at(
        &mut self,
        descriptor: Theirs,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let folder = self.folder(&descriptor)?;
        let found = Self::off(&folder.share.clone(), async move { folder.metadata_at(&path, follows(flags)) }).await?;
        Ok(times::identity(&found))
    }

    fn drop(&mut self, descriptor: Theirs) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Descriptor>::new_own(descriptor.rep()))?;
        Ok(())
    }
}

impl HostDirectoryEntryStream for View<'_> {
    async fn read_directory_entry(&mut self, names: TheirNames) -> FsResult<Option<DirectoryEntry>> {
        let listing = self.table.get_mut(&Resource::<Listing>::new_borrow(names.rep()))?;
        Ok(listing.next().await?)
    }

    fn drop(&mut self, names: TheirNames) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Listing>::new_own(names.rep()))?;
        Ok(())
    }
}
