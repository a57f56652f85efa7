//! Streaming bodies: a stream can be read once.
//!
//! # Sending one
//!
//! The closure makes a new future for each attempt, so let it make a new *stream* too, from something that can be opened again:
//!
//! ```
//! # async fn upload(mut body: impl tokio::io::AsyncRead + Unpin) -> std::io::Result<usize> {
//! #     use tokio::io::AsyncReadExt; let mut text = String::new(); body.read_to_string(&mut text).await }
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let path = std::env::temp_dir().join(format!("steadfast-guide-{}.txt", std::process::id())); std::fs::write(&path, "two shirts")?;
//! use steadfast::Pipeline;
//! use tokio::fs::File;
//!
//! let storage = Pipeline::background("storage").build()?;
//! let sent = storage.call(|| async { upload(File::open(&path).await?).await }).await?; // opened anew by each attempt
//! # assert_eq!(sent, 10); std::fs::remove_file(&path)?; Ok(()) }
//! ```
//!
//! | the body is | do |
//! |---|---|
//! | a file, a buffer, a query | open or clone it inside the closure |
//! | small, but only a stream | collect it first; `bytes::Bytes` clones for nothing |
//! | large, and really only a stream (an upload that passes through) | one attempt: [`api.once()`](crate::Pipeline::once), or `.once()` at the reqwest and tower doors |
//!
//! The reqwest door refuses a stream with retries before anything is sent, and says so; a closure that *moves* the stream does not compile, because it
//! is called more than once.
//!
//! # Receiving one
//!
//! A call ends when your closure's future does. Return the response, and its body is read outside: no attempt timeout cuts a long download short,
//! and no retry mends one that breaks. So guard each piece, and go on where it broke off:
//!
//! ```
//! # use std::io;
//! # struct Body { at: usize, left: usize } // breaks off after two pieces of 4 bytes
//! # impl Body {
//! #     async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
//! #         if self.at >= 20 { return Ok(None) }
//! #         if self.left == 0 { return Err(io::ErrorKind::ConnectionReset.into()) }
//! #         (self.at, self.left) = (self.at + 4, self.left - 1);
//! #         Ok(Some(vec![0; 4]))
//! #     }
//! # }
//! # async fn get_from(at: usize) -> io::Result<Body> { Ok(Body { at, left: 2 }) } // a GET with `Range: bytes={at}-`
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::Pipeline;
//! use tokio::time::timeout;
//!
//! let api = Pipeline::http("downloads").build()?;
//! let mut file = Vec::new();
//! 'whole: for _ in 0..10 {
//!     let mut body = api.call(|| get_from(file.len())).await?;             // the head, under every policy
//!     loop {
//!         match timeout(Duration::from_secs(5), body.next()).await {       // the body: silence is what is limited, not its length
//!             Ok(Ok(Some(piece))) => file.extend(piece),
//!             Ok(Ok(None)) => break 'whole,
//!             Ok(Err(_)) | Err(_) => break,                                // broken off: ask for the rest
//!         }
//!     }
//! }
//! assert_eq!(file.len(), 20);
//! # Ok(()) }
//! ```
//!
//! (The loop has an end, and so should yours: only progress deserves another round.)
