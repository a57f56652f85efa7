//! One thread, one connection: SQLite blocks, and a connection is for one thread at a time.

use super::NAME;
use crate::store::{StoreError, StoreErrorKind};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::cell::Cell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Jobs that wait for the thread at most; who comes then waits to be let in.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce(&mut Desk) + Send>;

/// How to open a database.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) path: PathBuf,
    pub(crate) busy_timeout: Duration,
    pub(crate) durable: bool,
    /// Makes the tables, or finds them.
    pub(crate) schema: String,
}

/// The connection, and how to get another one.
struct Desk {
    connection: Option<Connection>,
    opening: Opening,
    closed: bool,
}

/// A handle on the thread. It ends with the last of its handles, or when closed.
#[derive(Clone)]
pub(crate) struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    /// Starts the thread, and opens the database on it.
    pub(crate) async fn open(opening: Opening) -> Result<Self, StoreError> {
        let (jobs, mut todo) = mpsc::channel::<Job>(QUEUE);
        let (tell, opened) = oneshot::channel();
        let work = move || {
            let mut desk = Desk { connection: None, opening, closed: false };
            let connected = desk.connect();
            let failed = connected.is_err();
            let _ = tell.send(connected); // nobody waits any more: then nobody sends jobs, either
            while !failed && !desk.closed {
                let Some(job) = todo.blocking_recv() else { break };
                job(&mut desk);
            }
        };
        let failed = |detail| StoreError::new(StoreErrorKind::Other).in_store(NAME).with_detail(detail);
        std::thread::Builder::new().name("steadfast-sqlite".into()).spawn(work).map_err(|_| failed("no thread to be had"))?;
        opened.await.map_err(|_| failed("its thread ended"))??;
        Ok(Self { jobs })
    }

    /// Runs `work` on the connection. Dropped after it was handed over, it is done all the same.
    ///
    /// A database that turns out to be damaged is set aside and begun anew, and the work is done on that.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |desk| {
            let _ = tell.send(desk.work(&mut work)); // the caller may be gone
        });
        self.jobs.send(job).await.map_err(|_| StoreError::closed(NAME))?;
        told.await.map_err(|_| StoreError::closed(NAME))?
    }

    /// Ends the thread, after the jobs before.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |desk| {
            desk.closed = true;
            let closed = desk.connection.take().map_or(Ok(()), |connection| connection.close().map_err(|(_, error)| of_sqlite(&error)));
            let _ = tell.send(closed); // the caller may be gone
        });
        match self.jobs.send(job).await {
            Ok(()) => told.await.unwrap_or(Ok(())), // somebody else has closed it
            Err(_) => Ok(()),
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("closed", &self.jobs.is_closed()).finish()
    }
}

/// Why some work on the connection failed.
pub(crate) enum Failure {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Desk {
    fn work<T>(&mut self, work: &mut impl FnMut(&mut Connection) -> Result<T, Failure>) -> Result<T, StoreError> {
        for again in [true, false] {
            let Some(connection) = &mut self.connection else {
                if self.closed {
                    return Err(StoreError::closed(NAME));
                }
                self.connect()?;
                continue;
            };
            patience_begins(self.opening.busy_timeout);
            match work(connection) {
                Ok(done) => return Ok(done),
                Err(Failure::Store(error)) => return Err(error),
                Err(Failure::Sqlite(error)) if again && is_damage(&error) => {
                    drop(self.connection.take());
                    set_aside(&self.opening.path)?;
                    self.connect()?;
                }
                Err(Failure::Sqlite(error)) => return Err(of_sqlite(&error)),
            }
        }
        Err(StoreError::new(StoreErrorKind::Corrupt).in_store(NAME))
    }

    fn connect(&mut self) -> Result<(), StoreError> {
        let opened = match open(&self.opening) {
            Err(Failure::Sqlite(error)) if is_damage(&error) && is_database(&self.opening.path) => {
                set_aside(&self.opening.path)?;
                open(&self.opening)
            }
            opened => opened,
        };
        self.connection = Some(opened.map_err(|failure| match failure {
            Failure::Sqlite(error) => of_sqlite(&error),
            Failure::Store(error) => error,
        })?);
        Ok(())
    }
}

fn open(opening: &Opening) -> Result<Connection, Failure> {
    own_only(&opening.path);
    // No URI: a path is a path, whatever it begins with.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&opening.path, flags)?;
    connection.busy_handler(Some(wait_a_little))?;
    patience_begins(opening.busy_timeout.max(Duration::from_secs(1))); // once in a life
    // Several processes that begin together may find it busy in ways that no busy handler is asked about.
    let mode: String = loop {
        match connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)) {
            Err(error) if is_busy(&error) && wait_a_little(0) => {}
            mode => break mode?,
        }
    };
    if !matches!(mode.as_str(), "wal" | "memory") {
        let why = "no write-ahead log here: a read-only file, or a network file system";
        return Err(StoreError::new(StoreErrorKind::ReadOnly).in_store(NAME).with_detail(why).into());
    }
    connection.pragma_update(None, "synchronous", if opening.durable { "FULL" } else { "NORMAL" })?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(32);
    loop {
        match connection.execute_batch(&opening.schema) {
            Err(error) if is_busy(&error) && wait_a_little(0) => {}
            made => break made?,
        }
    }
    Ok(connection)
}

/// Makes the file, readable by nobody else, if it is not there. SQLite's other files take after it.
fn own_only(path: &Path) {
    #[cfg(unix)]
    if path != Path::new(":memory:") {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let _ = options.open(path); // SQLite says better what is wrong
    }
    #[cfg(not(unix))]
    let _ = path;
}

thread_local! {
    /// When this thread's connection stops waiting for a lock.
    static PATIENCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

fn patience_begins(lasts: Duration) {
    PATIENCE.set(Instant::now().checked_add(lasts));
}

/// SQLite's own waits grow to 100 ms, which is long for a lock that is held for 50 us, and gives up early where many want it.
fn wait_a_little(_: i32) -> bool {
    if PATIENCE.get().is_some_and(|end| Instant::now() >= end) {
        return false;
    }
    std::thread::sleep(Duration::from_micros(rand::random_range(100..1_000)));
    true
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether it was a database once. Anything else is somebody's file under a wrong path, and stays where it is.
fn is_database(path: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 16];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"SQLite format 3\0"
}

/// Moves a damaged database out of the way, for whoever wants to look into it.
fn set_aside(path: &Path) -> Result<(), StoreError> {
    let stamp = crate::store::Timestamp::now().as_millis();
    for tail in ["", "-wal", "-shm"] {
        let with = |tail: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(tail);
            PathBuf::from(name)
        };
        match std::fs::rename(with(tail), with(&format!(".corrupt-{stamp}{tail}"))) {
            Err(error) if tail.is_empty() => {
                let why = format!("the damaged database cannot be set aside: {}", error.kind());
                return Err(StoreError::new(StoreErrorKind::Corrupt).in_store(NAME).with_detail(why));
            }
            _ => {} // the other two are not always there
        }
    }
    tracing::warn!(name: "steadfast.store_corrupt", target: "steadfast::store", store = NAME, "a damaged database was set aside; beginning anew");
    Ok(())
}

/// SQLite's own texts quote SQL and paths; the code says enough.
pub(crate) fn of_sqlite(error: &rusqlite::Error) -> StoreError {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreErrorKind::Busy,
        Some(ErrorCode::ReadOnly) => StoreErrorKind::ReadOnly,
        Some(ErrorCode::DiskFull | ErrorCode::OutOfMemory) => StoreErrorKind::Full,
        Some(ErrorCode::CannotOpen) => StoreErrorKind::Unavailable,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreErrorKind::Corrupt,
        Some(ErrorCode::PermissionDenied) => StoreErrorKind::Denied,
        Some(ErrorCode::TooBig) => StoreErrorKind::TooLarge,
        _ => StoreErrorKind::Other,
    };
    let detail = match error.sqlite_error() {
        Some(raw) => format!("SQLite code {}", raw.extended_code),
        None => "a row of another shape".into(),
    };
    let error = StoreError::new(kind).in_store(NAME).with_detail(detail);
    if kind == StoreErrorKind::Unavailable { error.with_retriable(false) } else { error }
}
