//! tonic: codes, pushback, and passing the deadline on. (Compiled against a stand-in of `tonic::{Code, Request, Status}`.)
//!
//! ```
//! # mod tonic {
//! #     use std::{collections::HashMap, time::Duration};
//! #     #[derive(Clone, Copy, Debug, PartialEq)] pub enum Code { Unavailable, ResourceExhausted, Aborted, DeadlineExceeded, NotFound, InvalidArgument,
//! #         AlreadyExists, FailedPrecondition, Cancelled, PermissionDenied, Unauthenticated, OutOfRange, Internal }
//! #     #[derive(Debug)] pub struct Status(pub Code, pub HashMap<&'static str, Text>);
//! #     #[derive(Debug)] pub struct Text(pub &'static str);
//! #     impl Text { pub fn to_str(&self) -> Result<&str, ()> { Ok(self.0) } }
//! #     impl Status { pub fn code(&self) -> Code { self.0 } pub fn metadata(&self) -> &HashMap<&'static str, Text> { &self.1 } }
//! #     impl std::fmt::Display for Status { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{:?}", self.0) } }
//! #     pub struct Request<T>(pub T, pub Option<Duration>);
//! #     impl<T> Request<T> { pub fn new(t: T) -> Self { Self(t, None) } pub fn set_timeout(&mut self, d: Duration) { self.1 = Some(d); } }
//! # }
//! # use tonic::Status;
//! # #[derive(Clone)] struct GreeterClient;
//! # impl GreeterClient { async fn hello(&mut self, request: tonic::Request<String>) -> Result<String, Status> { assert!(request.1.is_some()); Ok(request.0) } }
//! use std::time::Duration;
//! use tonic::{Code, Request};
//! use steadfast::{Error, Pipeline, Verdict};
//!
//! fn verdict(status: &Status) -> Verdict {
//!     // What the server says itself goes first: so many milliseconds, or a negative number for "do not come back".
//!     let pushback = status.metadata().get("grpc-retry-pushback-ms").and_then(|text| text.to_str().ok()?.parse::<i64>().ok());
//!     match (status.code(), pushback.map(u64::try_from)) {
//!         (_, Some(Err(_))) => Verdict::permanent(),
//!         (Code::Unavailable | Code::ResourceExhausted | Code::Aborted, Some(Ok(ms))) => Verdict::retry_after(Duration::from_millis(ms)),
//!         (Code::Unavailable | Code::ResourceExhausted | Code::Aborted | Code::DeadlineExceeded, _) => Verdict::transient(),
//!         (Code::NotFound | Code::AlreadyExists | Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange, _) => Verdict::Ignored,
//!         _ => Verdict::permanent(),
//!     }
//! }
//!
//! async fn hello(api: &Pipeline, client: &GreeterClient, name: &str) -> Result<String, Error<Status>> {
//!     api.call_with(|attempt| {
//!         let mut client = client.clone(); // a handle; its methods take `&mut self`
//!         let mut request = Request::new(name.to_owned());
//!         if let Some(left) = attempt.remaining() {
//!             request.set_timeout(left); // the server stops working on what nobody waits for
//!         }
//!         async move { client.hello(request).await }
//!     })
//!     .await
//! }
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! # let api = Pipeline::http("greeter").classify(verdict).build().unwrap();
//! # assert_eq!(hello(&api, &GreeterClient, "Ada").await.unwrap(), "Ada");
//! # }
//! ```
//!
//! * `DeadlineExceeded` and `Unavailable` do not say that nothing happened. For methods that may not happen twice use
//!   [`api.once()`](crate::Pipeline::once), or send an [idempotency key](super::idempotency_keys)
//!   in the metadata.
//! * A server stream is one call until its first message. Open it in the pipeline; what comes after is [yours](super::streaming_bodies).
//! * Turn off retries in a service mesh in between, or here.
