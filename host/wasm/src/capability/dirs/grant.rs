//! A granted folder as one attempt has it: what may be done there, how much of it was done, and which line of the settings
//! would allow what was refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytesize::ByteSize;
use cap_std::fs::Dir;
use tokio::sync::Semaphore;
use toolpost_core::catalog::grants::{DirAccess, DirGrant};
use toolpost_core::effect::{Intent, Passage};
use toolpost_core::{Attempt, CallError, Effect, EffectClass, ErrorKind, Stage, Tool};
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use super::desk::Desk;
use super::driver::Root;
use super::meant::{is_within, leads_to};
use super::walk::Lost;

/// What of a path is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 1 << 10;

/// Something that a tool does with files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    List,
    Read,
    Create,
    Mkdir,
    Append,
    Write,
    Rename,
    Delete,
}

impl Act {
    fn name(self) -> &'static str {
        match self {
            Act::List => "files.list",
            Act::Read => "files.read",
            Act::Create => "files.create",
            Act::Mkdir => "files.mkdir",
            Act::Append => "files.append",
            Act::Write => "files.write",
            Act::Rename => "files.rename",
            Act::Delete => "files.delete",
        }
    }

    /// What it is, before what it is done to.
    fn verb(self) -> &'static str {
        match self {
            Act::List => "look at",
            Act::Read => "read",
            Act::Create => "create",
            Act::Mkdir => "make the folder",
            Act::Append => "add to",
            Act::Write => "change",
            Act::Rename => "rename",
            Act::Delete => "delete",
        }
    }

    fn class(self) -> EffectClass {
        self.needs().effect()
    }

    /// The least access that allows it.
    pub(super) fn needs(self) -> DirAccess {
        match self {
            Act::List => DirAccess::List,
            Act::Read => DirAccess::Read,
            Act::Create | Act::Mkdir | Act::Append => DirAccess::Append,
            Act::Write | Act::Rename | Act::Delete => DirAccess::Write,
        }
    }
}

/// A granted folder, in one attempt.
pub(super) struct Share {
    pub(super) grant: Arc<DirGrant>,
    pub(super) dir: Arc<Dir>,
    /// The folder's share of the work that is done at once.
    jobs: Arc<Semaphore>,
    /// The paths that the call is about, where it is not about all of them.
    meant: Option<Arc<[String]>>,
    pub(super) attempt: Attempt,
    pub(super) desk: Arc<Desk>,
    written: AtomicU64,
    made: AtomicU32,
}

impl Share {
    pub(super) fn new(root: &Root, meant: Option<Arc<[String]>>, attempt: &Attempt, desk: &Arc<Desk>) -> Self {
        let (grant, dir, jobs) = (root.grant.clone(), root.dir.clone(), root.jobs.clone());
        let (attempt, desk) = (attempt.clone(), desk.clone());
        Share { grant, dir, jobs, meant, attempt, desk, written: AtomicU64::new(0), made: AtomicU32::new(0) }
    }

    /// Does a piece of work in the folder off the threads that serve calls.
    pub(super) fn off<T: Send + 'static, W: Future<Output = Result<T, ErrorCode>> + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, ErrorCode>> + Send + use<T, W> {
        let (desk, jobs) = (self.desk.clone(), self.jobs.clone());
        async move { desk.off(&jobs, work).await }
    }

    /// Whether the call is about that path, where the grant asks for that. What leads there may be looked at.
    pub(super) fn is_meant(&self, act: Act, path: &str) -> Result<(), ErrorCode> {
        let Some(meant) = &self.meant else { return Ok(()) };
        if is_within(meant, path) {
            return Ok(());
        }
        let only = self.grant.only.as_ref().map(ToString::to_string).unwrap_or_default();
        let message = format!("the tool may not {} `{}`, which the call is not about", act.verb(), self.shown(path));
        let help = format!("{} has `only = \"{only}\"`: the path must be in the argument", self.place());
        Err(self.refuse(act, path, denied(message).with_help(help), ErrorCode::NotPermitted))
    }

    /// As [`is_meant`](Self::is_meant), for what is only looked for: what leads to such a path may be found, too.
    pub(super) fn is_on_the_way(&self, act: Act, path: &str) -> Result<(), ErrorCode> {
        match &self.meant {
            Some(meant) if leads_to(meant, path) => Ok(()),
            _ => self.is_meant(act, path),
        }
    }

    /// Asks for leave.
    pub(super) async fn pass(&self, act: Act, path: &str, detail: Option<String>) -> Result<Passage, ErrorCode> {
        self.pass_on(act, [path], &[], detail).await
    }

    /// As [`pass`](Self::pass), for what is done to several paths: the first is the one that is told. What it comes to, too, is
    /// judged as that.
    pub(super) async fn pass_on<const N: usize>(
        &self,
        act: Act,
        paths: [&str; N],
        comes_to: &[(Act, &str)],
        detail: Option<String>,
    ) -> Result<Passage, ErrorCode> {
        paths.iter().try_for_each(|path| self.is_meant(act, path))?;
        let effect = self.effect(act, paths.first().copied().unwrap_or_default(), detail);
        let intent = Intent::from(effect).on(paths.map(|path| self.grant.shown(path)));
        let also = |intent: Intent, (act, path): &(Act, &str)| intent.also(act.name(), self.grant.shown(path));
        let intent = comes_to.iter().fold(intent, also);
        // Leave is had once for all that is written to an open file, and nobody knows yet what that is.
        let intent = match act {
            Act::Create | Act::Write | Act::Append => intent.open_ended(),
            _ => intent,
        };
        self.attempt.pass(intent).await.map_err(|_| ErrorCode::NotPermitted)
    }

    /// Whether the grant reaches so far; where it does not, that is written down.
    pub(super) fn allows(&self, act: Act, path: &str) -> Result<(), ErrorCode> {
        self.allows_with(act.needs(), act, path)
    }

    /// As [`allows`](Self::allows), for what needs more than it mostly does.
    pub(super) fn allows_with(&self, needs: DirAccess, act: Act, path: &str) -> Result<(), ErrorCode> {
        if self.grant.access >= needs {
            return Ok(());
        }
        let message = format!("the tool may not {} `{}`", act.verb(), self.shown(path));
        let help = format!("the operator can allow it with `access = \"{}\"` in {}", needs.name(), self.place());
        Err(self.refuse(act, path, denied(message).with_help(help), ErrorCode::NotPermitted))
    }

    /// What a path that leads nowhere comes to.
    pub(super) fn lost(&self, act: Act, asked: &str, lost: Lost) -> ErrorCode {
        match lost {
            Lost::Failed(code) => code,
            Lost::Outside => self.outside(act, asked),
            Lost::Denied(path) => {
                let pattern = self.grant.deny.pattern(&path).unwrap_or_default();
                let message = format!("the tool may not {} `{}`, which is kept from it", act.verb(), self.shown(&path));
                let help = format!("the operator can allow it by taking `{pattern}` out of `deny` in {}", self.place());
                self.refuse(act, &path, denied(message).with_help(help), ErrorCode::Access)
            }
        }
    }

    pub(super) fn outside(&self, act: Act, asked: &str) -> ErrorCode {
        let message = format!("`{}` leads out of `{}`, where the tool may not go", self.shown(asked), self.grant.guest);
        let component = self.attempt.call.tool.component();
        let line = format!("{{ host = \"FOLDER\", guest = \"/PATH\", access = \"{}\" }}", act.needs().name());
        let help = format!(
            "the operator can grant the folder to which it leads with `{line}` in `grants.dirs` of component `{component}`"
        );
        self.refuse(act, asked, denied(message).with_help(help), ErrorCode::NotPermitted)
    }

    /// As [`outside`](Self::outside), for what is in the granted folder, but not in the one in it that it was asked of: the
    /// interface has it so.
    pub(super) fn above(&self, act: Act, asked: &str, folder: &str) -> ErrorCode {
        let message = format!("`{}` leads out of `{}`, of which it was asked", self.shown(asked), self.shown(folder));
        let help = format!("a tool has it by its path from `{}`", self.grant.guest);
        self.refuse(act, asked, denied(message).with_help(help), ErrorCode::NotPermitted)
    }

    /// What no grant allows.
    pub(super) fn never(&self, act: Act, path: &str, why: &str) -> ErrorCode {
        let message = format!("the tool may not {} `{}`: {why}", act.verb(), self.shown(path));
        self.refuse(act, path, denied(message).with_help("no grant allows it"), ErrorCode::NotPermitted)
    }

    /// What `deny` is in the way of, though it does not name it.
    pub(super) fn kept_in_place(&self, path: &str) -> ErrorCode {
        let message = format!(
            "the tool may not rename the folder `{}`: what is denied by its path would come to have another",
            self.shown(path)
        );
        let help = format!("the operator can allow it by denying only names, such as `**/.env`, in {}", self.place());
        self.refuse(Act::Rename, path, denied(message).with_help(help), ErrorCode::NotPermitted)
    }

    /// Counts bytes that are about to be written.
    pub(super) fn take_bytes(&self, act: Act, path: &str, bytes: u64) -> Result<(), ErrorCode> {
        self.count_bytes(bytes).map_err(|why| self.refuse(act, path, why, ErrorCode::Quota))
    }

    /// As [`take_bytes`](Self::take_bytes), where nobody has written down yet that it is refused.
    pub(super) fn count_bytes(&self, bytes: u64) -> Result<(), CallError> {
        let allowed = self.grant.max_bytes.0;
        let take = |written: u64| written.checked_add(bytes).filter(|sum| *sum <= allowed);
        if self.written.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            return Ok(());
        }
        let message = format!("the tool may write {} in `{}`, and no more", size(allowed), self.grant.guest);
        Err(self.exceeded(message, "max_bytes"))
    }

    /// Counts a file or folder that is about to be made.
    pub(super) fn take_file(&self, act: Act, path: &str) -> Result<(), ErrorCode> {
        let allowed = self.grant.max_files;
        let take = |made: u32| made.checked_add(1).filter(|sum| *sum <= allowed);
        if self.made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            return Ok(());
        }
        let message = format!("the tool may make {allowed} files and folders in `{}`, and no more", self.grant.guest);
        Err(self.refuse(act, path, self.exceeded(message, "max_files"), ErrorCode::Quota))
    }

    /// Why a file must not become so long.
    pub(super) fn too_long(&self, path: &str) -> CallError {
        let allowed = size(self.grant.max_file.0);
        let message = format!("`{}` would become longer than the {allowed} that a file may have", self.shown(path));
        self.exceeded(message, "max_file")
    }

    /// Why what is there must not change.
    pub(super) fn only_adds(&self, path: &str) -> CallError {
        let message = format!("the tool may only add to the end of `{}`", self.shown(path));
        let help = format!("the operator can allow it with `access = \"write\"` in {}", self.place());
        denied(message).with_help(help)
    }

    /// Writes down a refusal, and says what the guest gets to hear.
    pub(super) fn refuse(&self, act: Act, path: &str, why: CallError, code: ErrorCode) -> ErrorCode {
        self.attempt.refuse(self.effect(act, path, None), why);
        code
    }

    fn effect(&self, act: Act, path: &str, detail: Option<String>) -> Effect {
        Effect { class: act.class(), action: act.name().into(), target: self.shown(path), detail }
    }

    /// A path for a reader, as the tool knows it.
    pub(super) fn shown(&self, path: &str) -> String {
        let mut shown = self.grant.shown(path).replace(char::is_control, "\u{fffd}");
        shown.truncate(shown.floor_char_boundary(SHOWN_BYTES_MAX));
        shown
    }

    fn place(&self) -> String {
        format!("the grant of `{}`", self.grant.guest)
    }

    fn exceeded(&self, message: String, key: &str) -> CallError {
        let help = format!("the operator can raise `{key}` in {}", self.place());
        CallError::new(ErrorKind::QuotaExceeded, Stage::Run, message).with_help(help)
    }
}

/// What would help a tool that looked for folders and was granted none.
pub(super) fn no_folder(tool: &Tool) -> String {
    let line = "grants.dirs = [{ host = \"FOLDER\", guest = \"/PATH\" }]";
    format!("the tool has been granted no folder: `{line}` in `[components.{}]` would give it one", tool.component())
}

fn denied(message: String) -> CallError {
    CallError::new(ErrorKind::CapabilityDenied, Stage::Run, message)
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}
