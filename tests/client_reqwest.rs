//! `reqwest` through a pipeline, against a real server that remembers what it saw. Real sockets, so real time: pauses of milliseconds,
//! and only lower bounds are asserted on them (and upper ones so wide that only a hang breaks them).
#![cfg_attr(feature = "reqwest", expect(clippy::unwrap_used, reason = "a test may panic"))]
#![cfg(feature = "reqwest")]

mod client_server;

use client_server::{Liar, Server, nobody, reply};
use http_body_util::StreamBody;
use reqwest::{Body, Client, Method, Response, StatusCode};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};
use steadfast::client::reqwest::{SendThrough, judge, judge_error};
use steadfast::{
    Bulkhead, CircuitBreaker, CircuitState, Error, Event, Hedge, Jitter, Monitor, Observer, Outcome, Pipeline, PipelineBuilder,
    RateLimiter, RejectedKind, Retry, Stats, StopReason, Verdict,
};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(20);

fn retrying(retries: u32) -> PipelineBuilder {
    Pipeline::builder("api").retry(Retry::constant(retries, MS).jitter(Jitter::None).without_budget()).total_timeout(LONG)
}

fn counted(pipeline: &Pipeline) -> Stats {
    pipeline.stats().calls.unwrap().all_time().clone()
}

fn client() -> Client {
    Client::builder().build().unwrap()
}

/// A body that can be sent once.
fn stream() -> Body {
    let chunks = futures_util::stream::iter(
        ["one ", "two"].map(|chunk| Ok::<_, std::io::Error>(hyper::body::Frame::data(bytes::Bytes::from(chunk)))),
    );
    Body::wrap(StreamBody::new(chunks))
}

// ------------------------------------------------------------------ answers

#[tokio::test]
async fn each_attempt_is_a_fresh_copy_of_the_whole_request() {
    let server = Server::start(|n, _| if n < 3 { reply(503).body("busy") } else { reply(200).body("done") }).await;
    let pipeline = retrying(3).build().unwrap();
    let request = client().put(format!("{}/item?x=1", server.url)).header("x-trace", "7").body("whole body");
    let response = request.send_through(&pipeline).await.unwrap();
    assert_eq!((response.status(), response.text().await.unwrap().as_str()), (StatusCode::OK, "done"));
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    for request in seen {
        assert_eq!((request.method.as_str(), request.path.as_str(), &request.body[..]), ("PUT", "/item", &b"whole body"[..]));
        assert_eq!(request.headers["x-trace"], "7");
    }
}

#[tokio::test]
async fn the_last_response_comes_back_as_it_is_and_counts_as_a_failure() {
    let server = Server::start(|n, _| reply(503).header("x-n", n).body(format!("busy {n}"))).await;
    let pipeline = retrying(2).monitor(Monitor::new()).build().unwrap();
    let response = client().get(&server.url).send_through(&pipeline).await.unwrap();
    assert_eq!((response.status(), response.headers()["x-n"].to_str().unwrap()), (StatusCode::SERVICE_UNAVAILABLE, "3"));
    assert_eq!(response.text().await.unwrap(), "busy 3");
    let stats = pipeline.stats();
    assert_eq!(stats.retry.unwrap().stopped(StopReason::Attempts), 1);
    let monitored = counted(&pipeline);
    assert_eq!((monitored.calls(), monitored.successes(), monitored.attempts()), (1, 0, 3));
}

#[tokio::test]
async fn h72_what_is_retried_by_status() {
    let server = Server::start(|_, seen| reply(seen.path[1..].parse().unwrap())).await;
    let (client, pipeline) = (client(), retrying(1).build().unwrap());
    let mut before = 0;
    for (status, attempts) in [
        (200, 1),
        (204, 1),
        (304, 1),
        (400, 1),
        (401, 1),
        (403, 1),
        (404, 1),
        (409, 1),
        (410, 1),
        (422, 1),
        (451, 1),
        (408, 2),
        (425, 2),
        (429, 2),
        (500, 2),
        (501, 2),
        (502, 2),
        (503, 2),
        (504, 2),
        (505, 2),
        (599, 2),
        (600, 2),
        (999, 2),
    ] {
        let response = client.get(format!("{}/{status}", server.url)).send_through(&pipeline).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(server.count() - before, attempts, "{status}");
        before = server.count();
    }
}

#[tokio::test]
async fn retry_after_in_seconds_is_obeyed() {
    let server = Server::start(|n, _| if n == 1 { reply(503).header("retry-after", 1) } else { reply(200) }).await;
    let response = client().get(&server.url).send_through(&retrying(1).build().unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let seen = server.seen();
    assert!(seen[1].at - seen[0].at >= 950 * MS, "the server's own clock may be read a little later");
}

#[tokio::test]
async fn retry_after_as_a_date_is_obeyed_by_the_servers_own_clock() {
    let server = Server::start(|n, _| match n {
        1 => reply(429).header("date", "Sun, 06 Nov 1994 08:49:37 GMT").header("retry-after", "Sun, 06 Nov 1994 08:49:38 GMT"),
        _ => reply(200),
    })
    .await;
    let response = client().get(&server.url).send_through(&retrying(1).build().unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let seen = server.seen();
    assert!(seen[1].at - seen[0].at >= 950 * MS);
}

#[tokio::test]
async fn h73_hostile_hints_neither_hang_a_call_nor_hammer_the_server() {
    let hints = ["-1", "NaN", "inf", "1e300", "", "soon", "Thu, 01 Jan 1970 00:00:00 GMT", "0", "315360000", "99999999999999999999999"];
    let server = Server::start(move |_, seen| reply(503).header("retry-after", hints[seen.path[1..].parse::<usize>().unwrap()])).await;
    let retry = Retry::constant(1, 5 * MS).jitter(Jitter::None).without_budget();
    let (client, pipeline) = (client(), Pipeline::builder("api").retry(retry).build().unwrap());
    for (n, hint) in hints.iter().enumerate() {
        let before = server.count();
        let response = client.get(format!("{}/{n}", server.url)).send_through(&pipeline).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{hint}");
        let seen = server.seen().split_off(before);
        // Centuries are refused at once; nonsense, and a "now", leave it to the backoff.
        let expected = if n < 8 { 2 } else { 1 };
        assert_eq!(seen.len(), expected, "{hint}");
        assert!(n >= 8 || seen[1].at - seen[0].at >= 4 * MS, "{hint}");
    }
    assert_eq!(pipeline.stats().retry.unwrap().stopped(StopReason::HintTooLong), 2);
}

#[tokio::test]
async fn a_retry_that_our_own_gate_refuses_gives_back_the_response_there_was() {
    let server = Server::start(|_, _| reply(503).body("still readable")).await;
    let pipeline = retrying(3).rate_limit(RateLimiter::per_hour(1)).build().unwrap();
    let response = client().get(&server.url).send_through(&pipeline).await.unwrap();
    assert_eq!((server.count(), response.text().await.unwrap().as_str()), (1, "still readable"));
    let refused = client().get(&server.url).send_through(&pipeline).await.unwrap_err();
    assert!(refused.is_rate_limited());
}

#[tokio::test]
async fn answers_open_the_breaker() {
    let server = Server::start(|_, _| reply(500)).await;
    let breaker = CircuitBreaker::consecutive_failures(3).build().unwrap();
    let pipeline = Pipeline::builder("api").circuit_breaker(breaker.clone()).build().unwrap();
    for _ in 0..3 {
        assert_eq!(client().post(&server.url).send_through(&pipeline).await.unwrap().status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(breaker.state(), CircuitState::Open);
    assert!(client().post(&server.url).send_through(&pipeline).await.unwrap_err().is_circuit_open());
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn a_judge_of_ones_own_sees_the_whole_result() {
    let server = Server::start(|n, _| if n == 1 { reply(200).header("x-state", "building") } else { reply(404) }).await;
    let pipeline = retrying(3).build().unwrap();
    let own = |result: &Result<Response, reqwest::Error>| match result {
        Ok(response) if response.headers().contains_key("x-state") => Verdict::transient(),
        Ok(response) if response.status() == StatusCode::NOT_FOUND => Verdict::Success,
        result => judge(result),
    };
    let response = client().get(&server.url).send_through(&pipeline).classify(own).await.unwrap();
    assert_eq!((response.status(), server.count()), (StatusCode::NOT_FOUND, 2));
}

// ------------------------------------------------------------------ what may not happen twice

#[tokio::test]
async fn h77_a_post_that_was_sent_is_not_sent_again() {
    let server = Server::start(|_, _| reply(503).header("retry-after", 1).body("busy")).await;
    let (client, pipeline) = (client(), retrying(3).build().unwrap());
    for request in [client.post(&server.url), client.patch(&server.url), client.request("MKCOL".parse().unwrap(), &server.url)] {
        let before = server.count();
        let response = request.body("x").send_through(&pipeline).await.unwrap();
        assert_eq!((response.status(), response.text().await.unwrap().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "busy"));
        assert_eq!(server.count() - before, 1);
    }
    assert_eq!(pipeline.stats().retry.unwrap().stopped(StopReason::NotRetryable), 3);
}

#[tokio::test]
async fn h77_not_even_by_a_judge_who_calls_it_transient() {
    let server = Server::start(|_, _| reply(200)).await;
    let pipeline = retrying(3).build().unwrap();
    let response = client().post(&server.url).send_through(&pipeline).classify(|_| Verdict::transient()).await.unwrap();
    assert_eq!((response.status(), server.count()), (StatusCode::OK, 1));
}

#[tokio::test]
async fn a_post_that_is_idempotent_by_the_callers_word_is() {
    let server = Server::start(|n, _| if n < 3 { reply(503) } else { reply(201) }).await;
    let pipeline = retrying(3).build().unwrap();
    let response = client().post(&server.url).body("order").send_through(&pipeline).idempotent().await.unwrap();
    assert_eq!((response.status(), server.count()), (StatusCode::CREATED, 3));
    assert!(server.seen().iter().all(|seen| &seen.body[..] == b"order"));
}

#[tokio::test]
async fn a_post_is_sent_as_soon_as_there_is_somebody_to_send_it_to() {
    let (url, socket) = nobody();
    let retry = Retry::constant(400, 10 * MS).jitter(Jitter::None).without_budget();
    let pipeline = Pipeline::builder("api").retry(retry).total_timeout(LONG).build().unwrap();
    let call = client().post(url).body("order").send_through(&pipeline);
    let serve = async {
        while pipeline.stats().retry.unwrap().retries() < 3 {
            tokio::time::sleep(5 * MS).await;
        }
        Server::on(socket.listen(16).unwrap(), |_, _| reply(201))
    };
    let (response, server) = tokio::join!(call, serve);
    assert_eq!(response.unwrap().status(), StatusCode::CREATED);
    assert_eq!(server.count(), 1, "three and more were refused, one was sent");
}

#[tokio::test]
async fn h77_a_post_that_timed_out_is_not_sent_again_and_a_get_is() {
    let server = Server::start(|_, _| reply(200).after(LONG)).await;
    let pipeline = retrying(2).attempt_timeout(300 * MS).build().unwrap();
    let error = client().post(&server.url).send_through(&pipeline).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts(), server.count()), (Some(RejectedKind::Timeout), Some(1), 1));
    let error = client().get(&server.url).send_through(&pipeline).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts(), server.count()), (Some(RejectedKind::Timeout), Some(3), 4));
    let error = client().post(&server.url).send_through(&pipeline).idempotent().await.unwrap_err();
    assert_eq!((error.attempts(), server.count()), (Some(3), 7));
}

#[tokio::test]
async fn h77_the_clients_own_timeout_is_no_licence_either() {
    let server = Server::start(|_, _| reply(200).after(LONG)).await;
    let (client, pipeline) = (client(), retrying(2).build().unwrap());
    let error = client.post(&server.url).timeout(300 * MS).send_through(&pipeline).await.unwrap_err();
    assert!(error.inner().is_some_and(reqwest::Error::is_timeout));
    assert_eq!(server.count(), 1);
    let error = client.get(&server.url).timeout(300 * MS).send_through(&pipeline).await.unwrap_err();
    assert!(error.inner().is_some_and(reqwest::Error::is_timeout));
    assert_eq!(server.count(), 4);
}

#[tokio::test]
async fn a_connection_cut_before_the_answer_is_retried_for_a_get_only() {
    for bytes in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-le", b"HTTP/1.1 99 Odd\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n\r\n"] {
        let server = Liar::start(bytes).await;
        let pipeline = retrying(2).build().unwrap();
        let error = client().post(&server.url).body("x").send_through(&pipeline).await.unwrap_err();
        assert!(error.inner().is_some());
        assert_eq!(server.count(), 1, "{bytes:?}");
        let error = client().get(&server.url).send_through(&pipeline).await.unwrap_err();
        assert!(error.inner().is_some());
        assert_eq!(server.count(), 4, "{bytes:?}");
    }
}

#[tokio::test]
async fn h77_a_post_that_is_redirected_is_one_post() {
    let (url, _socket) = nobody();
    let server = Server::start(move |_, _| reply(303).header("location", &url)).await;
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let response = client.post(&server.url).send_through(&retrying(3).build().unwrap()).await.unwrap();
    assert_eq!((response.status(), server.count()), (StatusCode::SEE_OTHER, 1), "as the documentation advises: see the module");
}

// ------------------------------------------------------------------ bodies

#[tokio::test]
async fn h77_what_may_be_tried_again_is_hedged_with_a_copy_and_nothing_else_is() {
    let pipeline = Pipeline::builder("p").hedge(Hedge::after(Duration::MAX).idempotent()).build().unwrap();
    let cases = [(Method::GET, false, 2), (Method::PUT, false, 2), (Method::PUT, true, 1), (Method::POST, false, 1)];
    for (method, streamed, requests) in cases {
        let server = Server::start(|n, _| reply(if n == 1 { 503 } else { 200 })).await;
        let body = if streamed { stream() } else { "x".into() };
        let response = client().request(method.clone(), &server.url).body(body).send_through(&pipeline).await.unwrap();
        assert_eq!((server.count(), response.status().is_success()), (requests, requests == 2), "{method} {streamed}");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_repeated_is_refused_before_the_first_attempt_with_the_cure() {
    let server = Server::start(|_, _| reply(200)).await;
    let pipeline = retrying(3).build().unwrap();
    for request in [client().put(&server.url), client().post(&server.url)] {
        let error = request.body(stream()).send_through(&pipeline).await.unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (Some(RejectedKind::NotRepeatable), Some(0)));
        let text = error.to_string();
        assert!(text.starts_with("api: not attempted: ") && text.contains("buffer it") && text.contains(".once()"), "{text}");
    }
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn it_is_sent_where_nothing_would_be_repeated() {
    let server = Server::start(|_, _| reply(503)).await;
    let (plain, pipeline) = (Pipeline::builder("api").build().unwrap(), retrying(3).build().unwrap());
    let none = retrying(0).build().unwrap();
    for call in [
        client().post(&server.url).body(stream()).send_through(&plain),
        client().post(&server.url).body(stream()).send_through(&none),
        client().put(&server.url).body(stream()).send_through(&pipeline).once(),
    ] {
        let before = server.count();
        assert_eq!(call.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(server.count() - before, 1);
        assert_eq!(&server.seen()[before].body[..], b"one two");
    }
    // Inside an outer pipeline's retries the inner one makes none, so there is nothing to refuse.
    let outer = retrying(1).build().unwrap();
    let url = server.url.clone();
    let before = server.count();
    let result =
        outer.call(|| async { client().put(&url).body(stream()).send_through(&pipeline).await?.error_for_status().map_err(Error::Inner) });
    let error: Error<Error<reqwest::Error>> = result.await.unwrap_err();
    assert_eq!(error.flatten().inner().unwrap().status(), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(server.count() - before, 2);
}

#[tokio::test]
async fn reading_the_body_is_outside_and_part_of_an_operation_where_it_matters() {
    let server = Liar::start(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this").await;
    let pipeline = retrying(2).classify(judge_error).build().unwrap();
    let response = client().get(&server.url).send_through(&pipeline).await.unwrap();
    let error = response.bytes().await.unwrap_err();
    assert_eq!((server.count(), judge_error(&error)), (1, Verdict::transient()), "{error:?}");
    let error = pipeline.call(|| async { client().get(&server.url).send().await?.bytes().await }).await.unwrap_err();
    assert!(error.inner().is_some());
    assert_eq!(server.count(), 4);
}

#[tokio::test]
async fn a_body_that_never_ends_does_not_hold_the_call() {
    let server = Liar::start(b"HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwait\r\n").await;
    let pipeline = retrying(1).build().unwrap();
    let response = client().get(&server.url).send_through(&pipeline).await.unwrap();
    assert_eq!((response.status(), server.count()), (StatusCode::SERVICE_UNAVAILABLE, 2));
}

// ------------------------------------------------------------------ servers that lie

#[tokio::test]
async fn a_redirect_loop_is_followed_once_to_its_limit() {
    let server = Server::start(|_, _| reply(302).header("location", "/again?token=hunter2")).await;
    let pipeline = retrying(3).monitor(Monitor::new()).build().unwrap();
    let error = client().get(&server.url).send_through(&pipeline).await.unwrap_err();
    assert!(error.inner().is_some_and(reqwest::Error::is_redirect));
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    assert_eq!(server.count(), 11, "ten redirects, one attempt");
    assert_eq!(counted(&pipeline).attempts_by(Outcome::Judged(Verdict::Permanent)), 1);
}

#[tokio::test]
async fn a_204_with_a_body_is_a_204() {
    let server = Liar::start(b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nliar!").await;
    let response = client().get(&server.url).send_through(&retrying(2).build().unwrap()).await.unwrap();
    assert_eq!((response.status(), server.count()), (StatusCode::NO_CONTENT, 1));
    assert_eq!(response.bytes().await.unwrap().len(), 0);
}

// ------------------------------------------------------------------ options, errors, secrets

#[tokio::test]
async fn options_of_the_call_reach_the_pipeline() {
    let server = Server::start(|_, _| reply(200).after(60 * MS)).await;
    let limiter = RateLimiter::per_hour(10).build().unwrap();
    let pipeline = Pipeline::builder("api").rate_limit(limiter).build().unwrap();
    assert!(client().get(&server.url).send_through(&pipeline).cost(10).key("acme").await.is_ok());
    assert!(client().get(&server.url).send_through(&pipeline).await.unwrap_err().is_rate_limited());
    assert!(client().get(&server.url).send_through(&pipeline).cost(0).await.is_ok());
    for call in [
        client().get(&server.url).send_through(&pipeline).cost(0).within(5 * MS),
        client().get(&server.url).send_through(&pipeline).cost(0).deadline(tokio::time::Instant::now() + 5 * MS),
    ] {
        assert_eq!(call.await.unwrap_err().kind(), Some(RejectedKind::DeadlineExceeded));
    }
}

#[tokio::test]
async fn a_rejection_quotes_the_last_answer() {
    let server = Server::start(|n, _| if n == 1 { reply(503) } else { reply(200).after(LONG) }).await;
    let pipeline = retrying(1).attempt_timeout(300 * MS).build().unwrap();
    let error = client().get(&server.url).send_through(&pipeline).await.unwrap_err();
    assert_eq!(error.rejected().unwrap().last_error(), Some("status 503"));
}

#[tokio::test]
async fn a_request_that_cannot_be_built_is_nobodys_failure() {
    let breaker = CircuitBreaker::consecutive_failures(1).build().unwrap();
    let pipeline = retrying(3).circuit_breaker(breaker.clone()).build().unwrap();
    for url in ["not a url", "ftp://files.example/x?token=hunter2", "http://"] {
        let error = client().get(url).send_through(&pipeline).await.unwrap_err();
        assert!(error.inner().is_some_and(reqwest::Error::is_builder), "{url}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert_eq!(pipeline.stats().retry.unwrap().retries(), 0);
}

#[tokio::test]
async fn the_pipelines_own_judge_of_errors_comes_first() {
    let (url, _socket) = nobody();
    let pipeline = retrying(3).monitor(Monitor::new()).classify(|_: &reqwest::Error| Verdict::permanent()).build().unwrap();
    assert!(client().get(&url).send_through(&pipeline).await.unwrap_err().inner().unwrap().is_connect());
    assert_eq!(counted(&pipeline).attempts(), 1);
    let _ = client().get(&url).send_through(&pipeline).classify(judge).await;
    assert_eq!(counted(&pipeline).attempts(), 5);
}

#[tokio::test]
async fn h86_no_secret_of_a_request_is_told() {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<String>>);
    impl Observer for Log {
        fn on_event(&self, _: &str, event: &Event) {
            self.0.lock().unwrap().push_str(&format!("{event:?}"));
        }
    }
    let (log, (refused, _socket)) = (Log::default(), nobody());
    let url = format!("{}/path?token=hunter2#hunter2", refused.replace("http://", "http://hunter2:hunter2@"));
    let pipeline = retrying(1).observer(log.clone()).monitor(Monitor::new()).spans().build().unwrap();
    let request = client().post(&url).header("authorization", "hunter2").header("cookie", "hunter2").body("hunter2");
    let through = request.send_through(&pipeline).key("hunter2");
    let mut told = format!("{through:?}");
    let error = through.await.unwrap_err();
    assert!(error.to_string().contains("/path"), "what is left helps to find the call: {error}");
    told.push_str(&format!("{error} {error:?}"));
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        told.push_str(&format!("{inner} {inner:?}"));
        cause = inner.source();
    }
    told.push_str(&log.0.lock().unwrap());
    told.push_str(&format!("{:?} {pipeline:?} {:?}", pipeline.stats(), pipeline.monitor()));
    assert!(told.contains("Retrying") && !told.contains("hunter2"), "{told}");
    // And in what a rejection quotes.
    let pipeline = Pipeline::builder("api")
        .retry(Retry::constant(9, 200 * MS).jitter(Jitter::None))
        .rate_limit(RateLimiter::per_hour(1))
        .build()
        .unwrap();
    let error = client().get(&url).send_through(&pipeline).await.unwrap_err();
    assert!(!format!("{error}").contains("hunter2"), "{error}");
}

static API: LazyLock<Pipeline> = LazyLock::new(|| Pipeline::http("api").build().unwrap());

#[tokio::test]
async fn it_lives_in_statics_and_spawned_tasks() {
    let server = Server::start(|_, _| reply(200)).await;
    let request = client().get(&server.url);
    let awaited = tokio::spawn(async move { request.send_through(&API).await.map(|response| response.status()) });
    let request = client().get(&server.url);
    let sent = tokio::spawn(async move { request.send_through(&API).key("k").send().await.map(|response| response.status()) });
    assert_eq!(awaited.await.unwrap().unwrap(), StatusCode::OK);
    assert_eq!(sent.await.unwrap().unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn a_dropped_call_gives_everything_back() {
    let server = Server::start(|_, _| reply(200).after(LONG)).await;
    let places = Bulkhead::new(1).build().unwrap();
    let pipeline = retrying(1).bulkhead(places.clone()).build().unwrap();
    let call = client().get(&server.url).send_through(&pipeline).into_future();
    tokio::select! {
        _ = call => unreachable!(),
        () = async { while server.count() == 0 { tokio::time::sleep(MS).await } } => {}
    }
    assert!(places.try_acquire().is_ok());
}

#[tokio::test]
async fn four_thousand_nines_do_not_take_long() {
    let started = Instant::now();
    let server = Server::start(|_, _| reply(503).header("retry-after", "9".repeat(4_000))).await;
    let response = client().get(&server.url).send_through(&retrying(3).build().unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), server.count()), (503, 1));
    assert!(started.elapsed() < LONG);
}

#[tokio::test]
async fn a_retry_goes_over_the_connection_there_is() {
    let server = Server::start(|n, _| if n < 4 { reply(503).body("busy") } else { reply(200).body("done") }).await;
    let response = client().get(&server.url).send_through(&retrying(5).build().unwrap()).await.unwrap();
    assert_eq!((response.status(), server.count(), server.connections()), (StatusCode::OK, 4, 1));
}
