//! Idempotency keys: one key for all attempts of a call.
//!
//! A payment that timed out may have been made. With a key that the server remembers, asking again is safe: it answers with what it did the first
//! time. The key belongs to the *call*, so it is made **outside** the closure. Inside, each attempt would have its own, and be a new payment.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::collections::HashMap;
//! use std::sync::Mutex;
//! use steadfast::Pipeline;
//!
//! #[derive(Default)]
//! struct Bank {
//!     done: Mutex<HashMap<String, u64>>, // the key, and what came of it
//!     drops_the_first_answer: Mutex<bool>,
//! }
//!
//! impl Bank {
//!     async fn pay(&self, key: &str, cents: u64) -> std::io::Result<u64> {
//!         let paid = *self.done.lock().unwrap().entry(key.to_owned()).or_insert(cents);
//!         if std::mem::take(&mut *self.drops_the_first_answer.lock().unwrap()) { Err(std::io::ErrorKind::ConnectionReset.into()) } else { Ok(paid) }
//!     }
//! }
//!
//! let bank = Bank { drops_the_first_answer: Mutex::new(true), ..Bank::default() };
//! let payments = Pipeline::http("bank").build()?;
//!
//! let key = format!("order-{}", 4711);                     // outside; from the order, so that a restart of the program has it again
//! payments.call(|| bank.pay(&key, 250)).await?;            // two attempts
//! assert_eq!(bank.done.lock().unwrap().len(), 1);          // one payment
//! # Ok(()) }
//! ```
//!
//! * A key made from your own data (the order's number) survives a restart; a random one does not. Random is right where two equal calls are really two.
//! * The server has to promise it: look for `Idempotency-Key`, client tokens, "upsert". A header that nobody reads protects nobody.
//! * reqwest: `.header("Idempotency-Key", &key).send_through(&API).idempotent()`. tower: a `clone_request_with` that copies requests with the header.
//!
//! Without any such promise, retry only what certainly did not happen: [`api.idempotent(false).call(..)`](crate::Pipeline::idempotent), and a judge that calls
//! transient only "refused before it was sent" (no connection, 429, 503 of a load balancer that you know).
