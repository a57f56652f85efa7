//! A real `redis-server` of a test's own: on a free port, in a directory of its own, to be killed, stopped and started again.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may panic, and the crate's own tests include this, too")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Set by `check` where there is no server to be had: the tests say SKIP, and pass.
const SKIP: &str = "STEADFAST_SKIP_REDIS";

pub(crate) struct RedisServer {
    port: u16,
    dir: PathBuf,
    more: Vec<String>,
    /// The settings of a sentinel, which it writes to.
    sentinel: Option<PathBuf>,
    child: Option<Child>,
}

impl RedisServer {
    /// A server, or `None` where it was said that there is none. Without that word, its absence is a failure.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same with more arguments: `--maxmemory 1mb`.
    pub(crate) fn start_with(more: &[&str]) -> Option<Self> {
        if std::env::var_os(SKIP).is_some() {
            eprintln!("SKIP SKIP SKIP: {SKIP} is set, so this test of Redis did not run");
            return None;
        }
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("steadfast-redis-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let mut server = Self { port: free_port(), dir, more: more.iter().map(ToString::to_string).collect(), sentinel: None, child: None };
        // Between finding a port and listening on it, somebody else may take it.
        for _ in 0..5 {
            if server.run() {
                return Some(server);
            }
            server.port = free_port();
        }
        panic!("redis-server does not start; its log: {}", std::fs::read_to_string(server.dir.join("log")).unwrap_or_default());
    }

    /// A sentinel with these lines of settings; a server has been started before, so there is one to be had.
    pub(crate) fn start_sentinel(lines: &[String]) -> Self {
        let mut sentinel = Self::start().unwrap();
        sentinel.kill();
        let file = sentinel.dir.join("sentinel.conf");
        std::fs::write(&file, lines.join("\n") + "\n").unwrap();
        sentinel.sentinel = Some(file);
        assert!(sentinel.run(), "the sentinel does not start: {}", std::fs::read_to_string(sentinel.dir.join("log")).unwrap_or_default());
        sentinel
    }

    fn run(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        if let Some(file) = &self.sentinel {
            command
                .arg(file)
                .args(["--sentinel", "--port", &self.port.to_string(), "--bind", "127.0.0.1", "--logfile"])
                .arg(self.dir.join("log"));
            return self.wait_for(command);
        }
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--enable-debug-command", "local", "--logfile"]).arg(self.dir.join("log")).arg("--dir").arg(&self.dir);
        command.args(&self.more);
        self.wait_for(command)
    }

    fn wait_for(&mut self, mut command: Command) -> bool {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                panic!("redis-server is not installed ({error}): apt-get install redis-server, or set {SKIP}=1 to leave these tests out")
            }
        };
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            // Its own word: on a port that was taken meanwhile, somebody else's server answers.
            let own = format!("process_id:{}\r", child.id());
            let ready = |said: String| said.starts_with("+PONG") || said.starts_with("-NOAUTH"); // not still loading what it had
            if self.said("INFO server").is_ok_and(|said| said.contains(&own) || said.starts_with("-NOAUTH"))
                && self.said("PING").is_ok_and(ready)
            {
                self.child = Some(child);
                return true;
            }
            if !matches!(child.try_wait(), Ok(None)) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
        false
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn said(&self, command: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let (mut said, mut some) = (Vec::new(), [0; 4096]);
        loop {
            let count = stream.read(&mut some)?;
            said.extend_from_slice(&some[..count]);
            if count == 0 || said.ends_with(b"\r\n") {
                return Ok(String::from_utf8_lossy(&said).trim_end().to_owned());
            }
        }
    }

    /// Says a command of one line on a connection of its own; what comes back, as it comes.
    pub(crate) fn say(&self, command: &str) -> String {
        self.said(command).unwrap()
    }

    /// A number out of `:7`, for commands that answer one.
    pub(crate) fn count(&self, command: &str) -> i64 {
        let said = self.say(command);
        said.trim_start_matches(':').parse().unwrap_or_else(|_| panic!("`{command}` said {said:?}"))
    }

    /// `kill -9`, and until it is dead.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// On the same port, with nothing of what was there; until it answers.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(self.run(), "redis-server does not start again on port {}", self.port);
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// SIGSTOP: it is there, takes connections, and says nothing.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill(); // also what is stopped
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Below those that the system gives to outgoing connections: a client that knocks at a dead server would in time be given
/// the very port it knocks at, be connected to itself, and keep the server from coming back.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(31));
        let port = 11_000 + u16::try_from(number % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Between a client and a server: passes everything on, but for what it is told to lose.
pub(crate) struct Proxy {
    port: u16,
    /// Connections made before this number of them have gone dead: what comes is swallowed.
    dead_before: std::sync::Arc<AtomicU32>,
    connections: std::sync::Arc<AtomicU32>,
    /// Every so many answers, the connection breaks instead of carrying one; 0 for never.
    breaks: std::sync::Arc<AtomicU32>,
    /// Of each thousand answers: the last one that its connection carries, late, and broken off.
    loss: std::sync::Arc<std::sync::Mutex<Option<Loss>>>,
}

/// What becomes of answers, by dice that always fall the same.
pub(crate) struct Loss {
    pub(crate) seed: u64,
    pub(crate) dropped: u64,
    pub(crate) delayed: u64,
    pub(crate) reset: u64,
}

enum Fate {
    Comes,
    Late,
    /// And no other one after it: a stream has no holes.
    Lost,
    Broken,
}

impl Loss {
    fn fate(&mut self) -> Fate {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.seed;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        match (x ^ (x >> 31)) % 1_000 {
            dice if dice < self.dropped => Fate::Lost,
            dice if dice < self.dropped + self.delayed => Fate::Late,
            dice if dice < self.dropped + self.delayed + self.reset => Fate::Broken,
            _ => Fate::Comes,
        }
    }
}

impl Proxy {
    /// In front of that port. Lives as long as the runtime.
    pub(crate) async fn start(to: u16) -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            dead_before: Default::default(),
            connections: Default::default(),
            breaks: Default::default(),
            loss: Default::default(),
        };
        let loss = proxy.loss.clone();
        let (dead_before, connections, breaks) = (proxy.dead_before.clone(), proxy.connections.clone(), proxy.breaks.clone());
        let answers = std::sync::Arc::new(AtomicU32::new(0));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let Ok(server) = tokio::net::TcpStream::connect(("127.0.0.1", to)).await else { continue };
                let (client, server) = (client.into_split(), server.into_split());
                for (answering, mut from, mut into) in [(false, client.0, server.1), (true, server.0, client.1)] {
                    let (dead_before, breaks, answers, loss) = (dead_before.clone(), breaks.clone(), answers.clone(), loss.clone());
                    tokio::spawn(async move {
                        let (mut some, mut lost) = (vec![0; 1 << 16], false);
                        while let Ok(count @ 1..) = from.read(&mut some).await {
                            if answering {
                                let fate = loss.lock().unwrap().as_mut().map_or(Fate::Comes, Loss::fate);
                                match fate {
                                    Fate::Comes => {}
                                    Fate::Late => tokio::time::sleep(Duration::from_millis(200)).await,
                                    Fate::Lost => lost = true,
                                    Fate::Broken => break,
                                }
                            }
                            if lost {
                                continue;
                            }
                            let every = breaks.load(Ordering::SeqCst);
                            if answering && every > 0 && (answers.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(every) {
                                break;
                            }
                            if number >= dead_before.load(Ordering::SeqCst) && into.write_all(&some[..count]).await.is_err() {
                                break;
                            }
                        }
                    });
                }
            }
        });
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::SeqCst)
    }

    /// From now on, every so many answers a connection breaks instead: what was asked has been done, and nobody is told.
    pub(crate) fn break_every(&self, answers: u32) {
        self.breaks.store(answers, Ordering::SeqCst);
    }

    /// From now on, answers are lost, late and broken off; `None` ends that for those still to come.
    pub(crate) fn lose(&self, loss: Option<Loss>) {
        *self.loss.lock().unwrap() = loss;
    }

    /// From now on, none of the connections there are carries anything; nobody is told.
    pub(crate) fn cut(&self) {
        self.dead_before.store(self.connections(), Ordering::SeqCst);
    }
}

/// A server that greets every connection, and answers every command with the same words.
pub(crate) struct Parrot {
    pub(crate) port: u16,
    pub(crate) connections: std::sync::Arc<AtomicU32>,
}

impl Parrot {
    pub(crate) async fn start(words: &'static str) -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let parrot = Self { port: listener.local_addr().unwrap().port(), connections: Default::default() };
        let connections = parrot.connections.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut some = vec![0; 1 << 16];
                    while let Ok(count @ 1..) = client.read(&mut some).await {
                        // Every command is an array, and no other byte of these tests is a star.
                        let commands = some[..count].iter().filter(|byte| **byte == b'*').count();
                        let said = if String::from_utf8_lossy(&some[..count]).contains("SETINFO") { "+OK" } else { words };
                        if client.write_all(format!("{said}\r\n").repeat(commands).as_bytes()).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        parrot
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}
