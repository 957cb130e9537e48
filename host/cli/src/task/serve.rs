//! `toolpost task-host`: the host that runs tasks, started by those who file them or wait for them. It is not for people.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout};
use toolpost::Host;

use super::files::Files;
use super::launch;
use crate::args::{LimitArgs, SourceArgs};
use crate::exit::{Exit, Stop};
use crate::print;

/// How often it looks whether there is something to do, and whether what it was made of is the same.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long it waits for another task.
const IDLE_TIME_MAX: Duration = Duration::from_secs(5);

/// How long the store may be out of reach before it gives up.
const FAILING_TIME_MAX: Duration = Duration::from_secs(60);

/// How long it waits for what runs when it is told to end.
const GRACE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Why it ends.
enum End {
    /// Nothing is left to do.
    Idle,
    /// The settings or components are other ones: the next host is made of them.
    Changed,
    /// Somebody wants it to, or it has no store.
    Told,
}

pub(crate) async fn run(args: ServeArgs) -> Result<Exit, Stop> {
    // No terminal ends it, and no Ctrl-C that was meant for the one who has started it.
    let _ = rustix::process::setsid();
    let launch = args.source.launch(&args.limits)?;
    let store = args.source.store()?;
    let Some(place) = launch.place(&store)? else { return Ok(Exit::Ok) };
    let mut ends = Ends::new()?;
    let _ = writeln!(std::io::stdout(), "ready");
    // From before they are read: what changes while they are is seen.
    let files = Arc::new(Files::now(args.source.files()));
    let builder = args.source.builder()?.override_limits(args.limits.said()).task_scope(launch.scope());
    let loaded = builder.load().await;
    for fault in &loaded.faults {
        print::note(print::visible(&format!("warning: {fault}")));
    }
    let host = loaded.host;
    let same = files.clone();
    host.tasks().take_while(move || same.are_the_same());
    host.run_tasks();
    let log = launch.log(&store);
    let (mut place, mut end) = (Some(place), End::Idle);
    while place.is_some() {
        end = until_the_end(&host, &files, &mut ends, &log).await;
        if !matches!(end, End::Idle) {
            break;
        }
        place = None;
        // Somebody may have filed a task, and seen that there is a host.
        if !is_done(&host).await {
            place = launch.place(&store)?;
        }
    }
    if let End::Changed = end {
        host.tasks().take_no_more();
        drop(place);
        if !is_done(&host).await
            && let Err(stop) = launch.start(&store).await
        {
            stop.lines.iter().for_each(print::error);
        }
    }
    finish(&host, end, &mut ends, &log).await;
    host.flush().await;
    Ok(Exit::Ok)
}

/// Runs tasks until there is a reason not to.
async fn until_the_end(host: &Host, files: &Files, ends: &mut Ends, log: &Path) -> End {
    let tasks = host.tasks();
    let (mut busy, mut reached) = (Instant::now(), Instant::now());
    loop {
        if ends.wanted_within(LOOK_EVERY, log).await {
            return End::Told;
        }
        if !files.are_the_same() {
            return End::Changed;
        }
        let idle = tasks.is_idle().await;
        match &idle {
            Ok(true) if busy.elapsed() >= IDLE_TIME_MAX => return End::Idle,
            Ok(true) => {}
            Err(failure) if reached.elapsed() >= FAILING_TIME_MAX => {
                print::error(failure);
                return End::Told;
            }
            Ok(false) | Err(_) => busy = Instant::now(),
        }
        if idle.is_ok() {
            reached = Instant::now();
        }
    }
}

async fn is_done(host: &Host) -> bool {
    matches!(host.tasks().is_idle().await, Ok(true))
}

/// Takes up no more, and sees what runs to its end; where somebody wants this one to end, only what may have had an effect.
/// Twice is now.
async fn finish(host: &Host, end: End, ends: &mut Ends, log: &Path) {
    let tasks = host.tasks();
    tasks.take_no_more();
    let mut is_told = matches!(end, End::Told);
    while !is_told && tasks.in_use() > 0 {
        is_told = ends.wanted_within(LOOK_EVERY, log).await;
    }
    tokio::select! {
        _ = tasks.stop(GRACE) => {}
        () = ends.wanted() => {}
    }
}

/// Those who may want it to end.
struct Ends([Signal; 3]);

impl Ends {
    fn new() -> Result<Self, Stop> {
        let listen = |kind| signal(kind).map_err(|error| Stop::internal(format!("signals: {error}")));
        Ok(Ends([listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?]))
    }

    /// Waits so long; says whether somebody wants it to end. Meanwhile what it has said is kept short.
    async fn wanted_within(&mut self, span: Duration, log: &Path) -> bool {
        // There is nobody to be told if that fails.
        let _ = launch::shorten(log);
        timeout(span, self.wanted()).await.is_ok()
    }

    async fn wanted(&mut self) {
        let Ends([terminate, interrupt, hangup]) = self;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
