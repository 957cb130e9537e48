//! The command line, and what several subcommands do with it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use toolpost::core::catalog::settings::{
    Bytes, LimitSettings, MEMORY_BYTES_LEAST, MEMORY_BYTES_MOST, READER_BYTES_LEAST, Span,
};
use toolpost::store::artifacts::Folder;
use toolpost::{Builder, Call, Caller, Loaded, Settings, Store, settings};

use crate::exit::Stop;
use crate::print;
use crate::task::{self, Launch};

const EXIT_CODES: &str = "\
Exit codes:
  0  it worked
  1  the tool failed
  2  the command line, the arguments, the settings or a component are wrong
  3  a policy of the host refused
  4  a limit or the time was reached
  5  the host is at fault";

const BATCH_CODES: &str = "\
Exit codes:
  0  every call worked
  else as the first call, in their order, that did not:
  1  the tool failed, or the call was cancelled
  2  the command line, the settings, the input or the arguments are wrong, or there is no such tool
  3  a policy of the host refused
  4  a limit or the time was reached
  5  the host is at fault";

const TASK_CODES: &str = "\
Exit codes of `wait` and `result` are those of the call:
  0  it worked
  1  the tool failed, or the task was cancelled, or whether it had its effect is not known
  2  there is no such task, or the command line, the arguments or the settings are wrong
  3  a policy of the host refused; or the task has not ended, or was over before it was cancelled
  4  a limit or the time was reached
  5  the host is at fault";

const APPROVAL_CODES: &str = "\
Exit codes:
  0  it worked
  2  there is no such question, or the command line or the settings are wrong
  3  the question is not pending; nothing was changed
  5  the store cannot be used";

const DIFF_CODES: &str = "\
Exit codes:
  0  both are the same
  1  there is a difference
  2  the command line or a component is wrong";

const LOCK_CODES: &str = "\
Exit codes:
  0  all is as it was locked, or is locked now
  1  something is not as it was locked, or nothing is locked; nothing was changed
  2  the command line, the settings, the lock or a component are wrong
  3  something was not confirmed, and stays as it was locked
  5  the lock cannot be written";

/// Runs agents' tools as WebAssembly components: they can do what they are allowed to do, and nothing else.
#[derive(Debug, Parser)]
#[command(name = "toolpost", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// Say more on standard error: -v what a call took, -vv also what the host does
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look at a component: its tools, the powers it asks for, its limits
    Inspect(crate::inspect::InspectArgs),
    /// List the tools
    List(crate::list::ListArgs),
    /// Call a tool
    #[command(after_help = EXIT_CODES)]
    Call(crate::call::CallArgs),
    /// Call several tools at once, as a model asks for them, and answer in its provider's words
    #[command(after_help = BATCH_CODES)]
    Batch(crate::batch::BatchArgs),
    /// Read the settings and every component, and say all that is wrong
    Check(crate::check::CheckArgs),
    /// Compare two components: powers, tools, schemas
    #[command(after_help = DIFF_CODES)]
    Diff(crate::diff::DiffArgs),
    /// Write a lock of all components, or say what is not as it was locked: what changed is refused until it is confirmed
    #[command(after_help = LOCK_CODES)]
    Lock(crate::lock::LockArgs),
    /// List and answer the questions of calls that wait for an approval
    #[command(after_help = APPROVAL_CODES)]
    Approvals(crate::approvals::ApprovalsArgs),
    /// List, test and explain the rules of what is allowed, denied and asked about
    Rules(crate::rules::RulesArgs),
    /// Look at what was done under which idempotency key, and say what is true where that is not known
    Ledger(crate::ledger::LedgerArgs),
    /// List the results that were too long to be shown, or print one whole
    Artifact(crate::artifact::ArtifactArgs),
    /// List the calls that were made
    Log(crate::log::LogArgs),
    /// Tell the story of a call
    Show(crate::show::ShowArgs),
    /// List, wait for and cancel calls that run in the background
    #[command(after_help = TASK_CODES)]
    Task(crate::task::TaskArgs),
    /// Run what was filed for the background, for as long as there is something
    #[command(hide = true)]
    TaskHost(crate::task::serve::ServeArgs),
    /// List the breakers, or give them orders
    Breakers(crate::breakers::BreakersArgs),
    /// Print a completion script for a shell
    Completions(crate::completions::CompletionsArgs),
}

impl Command {
    /// Whether the answer is to be JSON, also when there is none.
    pub(crate) fn as_json(&self) -> bool {
        match self {
            Command::Inspect(args) => args.json,
            Command::List(args) => args.json,
            Command::Call(args) => args.json,
            Command::Batch(args) => args.json,
            Command::Check(args) => args.json,
            Command::Diff(args) => args.json,
            Command::Lock(args) => args.json,
            Command::Approvals(args) => args.json,
            Command::Rules(args) => args.json,
            Command::Ledger(args) => args.json,
            Command::Artifact(args) => args.json,
            Command::Log(args) => args.json,
            Command::Show(args) => args.json,
            Command::Task(args) => args.json,
            Command::TaskHost(_) => false,
            Command::Breakers(args) => args.json,
            Command::Completions(_) => false,
        }
    }
}

/// The settings that count.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The settings file [default: toolpost.toml in the working directory, if it is there]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

/// Where tools and settings come from.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// A component, or a folder of components; may be given several times
    #[arg(long = "tools", value_name = "FILE-OR-DIR")]
    tools: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Who calls.
#[derive(Debug, Args)]
pub(crate) struct CallerArgs {
    /// Who calls
    #[arg(long, value_name = "ID")]
    caller: Option<String>,
    /// A group that the caller belongs to; may be given several times
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
    /// The session that the call belongs to
    #[arg(long, value_name = "ID")]
    session: Option<String>,
}

impl CallerArgs {
    /// A call by them, in the trace that the environment names.
    pub(crate) fn of(&self, call: Call) -> Call {
        let (id, groups) = (self.caller.clone().unwrap_or_default(), self.groups.clone());
        let caller = Caller { id, groups, session: self.session.clone() };
        Call { traceparent: std::env::var("TRACEPARENT").ok(), ..call.by(caller) }
    }
}

/// Limits for this one time, above all settings.
#[derive(Debug, Default, Args)]
pub(crate) struct LimitArgs {
    /// Operations of one attempt
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u64).range(1..))]
    fuel: Option<u64>,
    /// Memory of one attempt, for example 64MiB
    #[arg(long, value_name = "BYTES", value_parser = memory)]
    memory: Option<Bytes>,
    /// Time of one attempt, for example 30s or 500ms
    #[arg(long, value_name = "SPAN")]
    time: Option<Span>,
    /// Length of the result that is printed, for example 64KiB [default: on a terminal that of the settings, elsewhere all]
    #[arg(long, value_name = "BYTES", value_parser = reader)]
    reader: Option<Bytes>,
}

/// As much memory as settings may say.
fn memory(text: &str) -> Result<Bytes, String> {
    text.parse::<Bytes>()?.within(MEMORY_BYTES_LEAST, MEMORY_BYTES_MOST)
}

/// As much of a result as settings may say.
fn reader(text: &str) -> Result<Bytes, String> {
    text.parse::<Bytes>()?.within(READER_BYTES_LEAST, u64::MAX)
}

impl LimitArgs {
    /// Those that are given, and no others.
    pub(crate) fn said(&self) -> LimitSettings {
        let LimitArgs { fuel, memory, time, reader } = *self;
        LimitSettings { fuel, memory, time, reader, ..LimitSettings::default() }
    }

    /// The same as options.
    fn options(&self) -> Vec<String> {
        let bytes = |bytes: Bytes| bytes.0.to_string();
        let said = [
            ("--fuel", self.fuel.map(|fuel| fuel.to_string())),
            ("--memory", self.memory.map(bytes)),
            ("--time", self.time.map(|span| humantime::format_duration(span.0).to_string())),
            ("--reader", self.reader.map(bytes)),
        ];
        said.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?])).flatten().collect()
    }

    pub(crate) fn settings(&self) -> LimitSettings {
        // Who reads on in a pipe or in a file wants all of it.
        let whole = (!std::io::IsTerminal::is_terminal(&std::io::stdout())).then_some(Bytes(u64::MAX));
        let reader = self.reader.or(whole);
        LimitSettings { reader, ..self.said() }
    }
}

impl SourceArgs {
    /// How a host is started that is made of the same, wherever it stands.
    pub(crate) fn launch(&self, limits: &LimitArgs) -> Result<Launch, Stop> {
        let whole = |file: &PathBuf| task::text(std::path::absolute(file).unwrap_or_else(|_| file.clone()));
        let mut options = Vec::new();
        if let Some(file) = self.config.file() {
            options.extend(["--config".to_owned(), whole(&file)?]);
        }
        for file in &self.tools {
            options.extend(["--tools".to_owned(), whole(file)?]);
        }
        options.extend(limits.options());
        let store = self.store()?;
        Launch::new(&store, options)
    }

    /// The folder of what is kept.
    pub(crate) fn store(&self) -> Result<Arc<Store>, Stop> {
        self.config.store()
    }

    /// The files of which a host is made: the settings, their lock, and the components.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let settings = self.config.examine().0;
        let named = settings.components.values().map(|component| settings.resolve(&component.path));
        let lock = settings.lock_file();
        self.config.file().into_iter().chain(lock).chain(named).chain(self.tools.iter().cloned()).collect()
    }

    pub(crate) fn builder(&self) -> Result<Builder, Stop> {
        match self.examine()? {
            (builder, faults) if faults.is_empty() => Ok(builder),
            (_, faults) => Err(Stop::faults(faults)),
        }
    }

    /// The host that is to be made of what fits, and what does not.
    pub(crate) fn examine(&self) -> Result<(Builder, Vec<settings::Fault>), Stop> {
        self.examine_with(|_| {})
    }

    /// The host for one that files a call and does not make it: nobody else is told of it, and no port is opened for it.
    pub(crate) fn quiet_builder(&self) -> Result<Builder, Stop> {
        match self.examine_with(|settings| settings.telemetry = settings::TelemetrySettings::default())? {
            (builder, faults) if faults.is_empty() => Ok(builder),
            (_, faults) => Err(Stop::faults(faults)),
        }
    }

    /// Where results are that were cut.
    pub(crate) fn artifacts(&self, store: &Store) -> Folder {
        store.artifacts(&self.config.examine().0.artifacts)
    }

    fn examine_with(&self, change: impl FnOnce(&mut Settings)) -> Result<(Builder, Vec<settings::Fault>), Stop> {
        let (mut settings, faults) = self.config.examine();
        change(&mut settings);
        if faults.is_empty() && settings.components.is_empty() && self.tools.is_empty() {
            return Err(Stop::usage(format!(
                "no tools are given; name components with `--tools FILE-OR-DIR`, or in `{}`",
                settings::FILE_NAME
            )));
        }
        // It is opened when there is something to keep.
        let store = settings.store_dir().map(|dir| Arc::new(Store::at(dir)));
        let builder = Builder::new().settings(settings);
        let builder = store.into_iter().fold(builder, Builder::store);
        Ok((self.tools.iter().fold(builder, Builder::tools), faults))
    }
}

impl ConfigArgs {
    /// What of the settings fits, and what is wrong with them. No file is no settings.
    pub(crate) fn examine(&self) -> (Settings, Vec<settings::Fault>) {
        self.file().as_deref().map(Settings::examine).unwrap_or_default()
    }

    /// The folder of what is kept, for a command that looks into it.
    pub(crate) fn store(&self) -> Result<Arc<Store>, Stop> {
        let (settings, faults) = self.examine();
        if !faults.is_empty() {
            return Err(Stop::faults(faults));
        }
        let none = || Stop::usage("there is no folder in which anything would be kept; name one as `store.dir`");
        settings.store_dir().map(|dir| Arc::new(Store::at(dir))).ok_or_else(none)
    }

    /// The settings file, if there is one. A link that leads nowhere, or a file that is not ours to read, is one: if it
    /// were passed over, so would be the limits that somebody has written down.
    fn file(&self) -> Option<PathBuf> {
        let absent =
            |file: &PathBuf| file.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        let found = || Some(PathBuf::from(settings::FILE_NAME)).filter(|file| !absent(file));
        self.config.clone().or_else(found)
    }
}

/// Loads, with a sign of life on a terminal: compiling a large component takes a while.
pub(crate) async fn load(builder: Builder) -> Loaded {
    let spinner = print::spinner();
    print::run(&spinner, "loading".into());
    let shown = spinner.clone();
    let loaded = builder.load_with(move |name| shown.set_message(format!("loading {name}"))).await;
    spinner.finish_and_clear();
    loaded
}
