//! sqlx: the transaction is the operation. (Compiled against a stand-in of `sqlx::Error`.)
//!
//! A deadlock or a serialization failure undoes the *whole* transaction, so retry the whole of it, from `begin` to `commit`; never one statement
//! inside.
//!
//! ```
//! # mod sqlx {
//! #     pub trait DatabaseError: std::fmt::Debug { fn code(&self) -> Option<std::borrow::Cow<'_, str>>; }
//! #     #[derive(Debug)] pub enum Error { Io(std::io::Error), Tls(String), PoolTimedOut, PoolClosed, RowNotFound, Database(Box<dyn DatabaseError>) }
//! #     impl std::fmt::Display for Error { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("sqlx") } }
//! #     impl std::error::Error for Error {}
//! #     pub struct PgPool; pub struct Transaction;
//! #     impl PgPool { pub async fn begin(&self) -> Result<Transaction, Error> { Ok(Transaction) } }
//! #     impl Transaction { pub async fn commit(self) -> Result<(), Error> { Ok(()) } }
//! # }
//! # use sqlx::{PgPool, Transaction};
//! # async fn take_from(_: &mut Transaction, _: i64) -> Result<(), sqlx::Error> { Ok(()) }
//! # async fn give_to(_: &mut Transaction, _: i64) -> Result<(), sqlx::Error> { Ok(()) }
//! use steadfast::{Bulkhead, Error, Pipeline, Verdict};
//!
//! fn verdict(error: &sqlx::Error) -> Verdict {
//!     match error {
//!         sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => Verdict::transient(),
//!         sqlx::Error::RowNotFound => Verdict::Ignored, // an answer like any other
//!         sqlx::Error::Database(error) => match error.code().as_deref() {
//!             Some("40001" | "40P01") => Verdict::transient(),           // serialization failure, deadlock
//!             Some("53300" | "57P01" | "57P03") => Verdict::transient(), // too many connections, shutting down, starting up
//!             Some(code) if code.starts_with("23") => Verdict::Ignored,  // a constraint: the caller's business
//!             _ => Verdict::permanent(),
//!         },
//!         _ => Verdict::permanent(),
//!     }
//! }
//!
//! fn pipeline(pool_size: usize) -> Result<Pipeline, steadfast::ConfigError> {
//!     Pipeline::database("ledger").bulkhead(Bulkhead::new(pool_size).queue(100)).classify(verdict).build()
//! }
//!
//! async fn transfer(db: &Pipeline, pool: &PgPool, from: i64, to: i64) -> Result<(), Error<sqlx::Error>> {
//!     db.call(|| async {
//!         let mut transaction = pool.begin().await?;
//!         take_from(&mut transaction, from).await?;
//!         give_to(&mut transaction, to).await?;
//!         transaction.commit().await // dropped before this, it rolls back: a timeout leaves nothing half done
//!     })
//!     .await
//! }
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! # transfer(&pipeline(20).unwrap(), &PgPool, 1, 2).await.unwrap();
//! # let _ = (sqlx::Error::Tls(String::new()), sqlx::Error::PoolClosed);
//! # }
//! ```
//!
//! * The bulkhead has the size of the pool. Then callers wait in *our* queue, by priority and with a deadline, and the pool never has one.
//! * **A timeout during `commit`** says nothing about whether it happened. For what must not happen twice, give the row a key of the caller's with
//!   a unique constraint (then the second try fails with 23505, which means "done already"), or `retry_timeouts(false)`.
//! * A dropped query may go on inside the server: set `statement_timeout` there, a little above the attempt timeout.
