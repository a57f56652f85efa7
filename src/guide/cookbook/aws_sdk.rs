//! AWS SDK: its own retries off, and throttling found where it hides. (Compiled against a stand-in of `SdkError`.)
//!
//! The SDK tries three times by itself. Around it our retries would multiply, and our breaker would count one failure for three. Off:
//!
//! ```text
//! let config = aws_config::defaults(BehaviorVersion::latest())
//!     .retry_config(RetryConfig::disabled())      // aws_config::retry::RetryConfig
//!     .load()
//!     .await;
//! let s3 = aws_sdk_s3::Client::new(&config);
//! ```
//!
//! What it knew about errors is then the judge's business. Throttling often comes as status **400**
//! with a code, and so does a timeout of the server's:
//!
//! ```
//! # mod sdk {
//! #     pub trait ProvideErrorMetadata { fn code(&self) -> Option<&str>; }
//! #     #[derive(Debug)] pub enum SdkError<E> { ConstructionFailure(()), TimeoutError(()), DispatchFailure(()), ResponseError(u16), ServiceError(E, u16) }
//! #     pub struct Response(u16); pub struct Code(u16);
//! #     impl Response { pub fn status(&self) -> Code { Code(self.0) } } impl Code { pub fn as_u16(&self) -> u16 { self.0 } }
//! #     impl<E> SdkError<E> { pub fn raw_response(&self) -> Option<Response> { match self { Self::ResponseError(s) | Self::ServiceError(_, s) => Some(Response(*s)), _ => None } } }
//! #     impl<E: ProvideErrorMetadata> ProvideErrorMetadata for SdkError<E> { fn code(&self) -> Option<&str> { if let Self::ServiceError(e, _) = self { e.code() } else { None } } }
//! #     impl<E> std::fmt::Display for SdkError<E> { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("sdk") } }
//! #     #[derive(Debug)] pub struct GetObjectError(pub &'static str);
//! #     impl ProvideErrorMetadata for GetObjectError { fn code(&self) -> Option<&str> { Some(self.0) } }
//! # }
//! # use sdk::{GetObjectError, ProvideErrorMetadata, SdkError};
//! use steadfast::{Pipeline, Verdict};
//!
//! const MAY_PASS: &[&str] = &[
//!     "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "TooManyRequestsException", "SlowDown",
//!     "ProvisionedThroughputExceededException", "RequestLimitExceeded", "BandwidthLimitExceeded", "LimitExceededException", "RequestTimeout", "RequestTimeoutException",
//! ];
//!
//! fn verdict<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Verdict {
//!     let status = error.raw_response().map(|response| response.status().as_u16());
//!     match (error, status) {
//!         (SdkError::ConstructionFailure(..), _) => Verdict::Ignored, // never sent
//!         _ if error.code().is_some_and(|code| MAY_PASS.contains(&code)) => Verdict::transient(),
//!         (_, None | Some(408 | 429 | 500..)) => Verdict::transient(), // no answer, or a server in trouble
//!         (_, Some(404)) => Verdict::Ignored,
//!         _ => Verdict::permanent(),
//!     }
//! }
//!
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! // One judge for each operation's error type; one pipeline for the service.
//! let s3 = Pipeline::http("s3").classify(verdict::<GetObjectError>).build()?;
//! # assert_eq!(verdict(&SdkError::ServiceError(GetObjectError("SlowDown"), 400)), Verdict::transient());
//! # assert_eq!(verdict(&SdkError::ServiceError(GetObjectError("AccessDenied"), 403)), Verdict::Permanent);
//! # assert_eq!(verdict::<GetObjectError>(&SdkError::TimeoutError(())), Verdict::transient());
//! # let _ = (SdkError::<()>::ConstructionFailure(()), SdkError::<()>::DispatchFailure(()), SdkError::<()>::ResponseError(1), s3); Ok(()) }
//! ```
//!
//! ```text
//! let object = s3.call(|| client.get_object().bucket("b").key("k").send()).await?;
//! ```
//!
//! * Timeouts: leave the SDK's operation timeouts out, keep its connect timeout. Ours cover all of an attempt.
//! * If you would rather keep the SDK's retries (they know each service well), leave `retry` out here and keep breaker, bulkhead and total timeout.
//! * An object's body is read after the call: see [streaming bodies](super::streaming_bodies).
