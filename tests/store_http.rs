//! The store behind HTTP, against real servers.
#![cfg(feature = "http-store")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod client_server;

use bytes::Bytes;
use client_server::{Liar, Server, nobody, reply};
use std::time::Duration;
use steadfast::store::{HttpStore, HttpStoreBuilder, Key, SetOptions, Store, StoreErrorKind};
use steadfast::{Pipeline, RejectedKind, Retry};

fn key(raw: impl AsRef<[u8]>) -> Key {
    Key::new(raw).unwrap()
}

/// Without retries, so that each request is one.
fn plain(url: &str) -> HttpStoreBuilder {
    HttpStore::builder(url).pipeline(Pipeline::builder("plain").build().unwrap())
}

#[cfg(feature = "testing")]
mod conforms {
    use super::*;
    use axum::extract::{DefaultBodyLimit, Path, State};
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::get;
    use serde_json::{Value, json};
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};
    use std::time::Instant;
    use steadfast::testing::conformance::{self, Setup};

    /// What a cache service might be: it knows the wire and nothing of steadfast.
    type Shelf = Arc<Mutex<HashMap<String, (Value, Option<Instant>)>>>;

    fn is_live(item: &(Value, Option<Instant>)) -> bool {
        item.1.is_none_or(|end| Instant::now() < end)
    }

    async fn read(State(shelf): State<Shelf>, Path(key): Path<String>) -> Result<String, StatusCode> {
        let shelf = shelf.lock().unwrap();
        let item = shelf.get(&key).filter(|item| is_live(item)).ok_or(StatusCode::NOT_FOUND)?;
        let mut body = item.0.clone();
        body["timeout"] = item.1.map_or(Value::Null, |end| json!(end.saturating_duration_since(Instant::now()).as_secs_f64()));
        Ok(body.to_string())
    }

    async fn write(State(shelf): State<Shelf>, Path(key): Path<String>, headers: HeaderMap, body: Bytes) -> StatusCode {
        let body: Value = serde_json::from_slice(&body).unwrap();
        let mut shelf = shelf.lock().unwrap();
        if headers.contains_key("if-none-match") && shelf.get(&key).is_some_and(is_live) {
            return StatusCode::PRECONDITION_FAILED;
        }
        let end = body["timeout"].as_f64().map(Duration::from_secs_f64).and_then(|ttl| Instant::now().checked_add(ttl));
        shelf.insert(key, (body, end));
        StatusCode::NO_CONTENT
    }

    async fn remove(State(shelf): State<Shelf>, Path(key): Path<String>) -> StatusCode {
        let removed = shelf.lock().unwrap().remove(&key);
        if removed.is_some_and(|item| is_live(&item)) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
    }

    async fn clear(State(shelf): State<Shelf>) -> String {
        let deleted = shelf.lock().unwrap().drain().filter(|(_, item)| is_live(item)).count();
        json!({ "deleted": deleted }).to_string()
    }

    async fn serve() -> String {
        let app = axum::Router::new()
            .route("/v1/cache/{key}", get(read).put(write).delete(remove))
            .route("/v1/cache", axum::routing::delete(clear))
            .layer(DefaultBodyLimit::disable())
            .with_state(Shelf::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_http_store_conforms() {
        let suite = conformance::stores(|setup: Setup| async move {
            let mut builder = plain(&serve().await).if_absent();
            if let Some(bytes) = setup.max_value_bytes {
                builder = builder.max_value_bytes(bytes);
            }
            let possible = setup.max_entries.is_none() && setup.max_size_bytes.is_none();
            possible.then(|| builder.build().unwrap())
        });
        let findings = suite.run().await;
        findings.assert();
        // What needs patterns, tags, or a capacity that only the server has.
        assert_eq!(findings.skipped(), ["A19", "A20", "A23", "B33", "C37", "C38", "C40", "C41", "F64", "F64a", "F65", "F65a"]);
    }

    #[tokio::test]
    async fn clear_tells_what_the_server_told() {
        let store = plain(&serve().await).build().unwrap();
        store.set(&key("a"), "v".into(), SetOptions::new()).await.unwrap();
        store.set(&key("b"), "v".into(), SetOptions::new().ttl(Duration::from_millis(1))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(store.clear().await.unwrap(), 1);
        let error = store.set(&key("a"), "v".into(), SetOptions::new().if_absent()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unsupported, "no winner where the server was not said to choose one");
    }
}

#[tokio::test]
async fn e4_16_the_wire_is_as_written() {
    let server = Server::start(|number, _| match number {
        2 => reply(200).body("{\"value\": \"Ada\"}"),
        _ => reply(204),
    })
    .await;
    let store = plain(&format!("{}/base//", server.url)).token("hunter2").build().unwrap();
    let k = key("a/b?c#d%");
    let options = SetOptions::new().ttl(Duration::from_secs(60)).metadata("endpoint", "/users");
    assert!(store.set(&k, "Ada".into(), options).await.unwrap());
    assert_eq!(store.get(&k).await.unwrap().unwrap().value, "Ada");
    assert!(store.delete(&k).await.unwrap());
    assert!(store.set(&k, Bytes::from_static(b"\xff"), SetOptions::new().ttl(Duration::from_micros(1))).await.unwrap());
    let seen = server.seen();
    assert!(seen.iter().all(|request| request.path == "/base/cache/a%2Fb%3Fc%23d%2525"), "{seen:?}");
    assert!(seen.iter().all(|request| request.headers["authorization"] == "Bearer hunter2"));
    assert_eq!(seen.iter().map(|request| request.method.as_str()).collect::<Vec<_>>(), ["PUT", "GET", "DELETE", "PUT"]);
    let body = |at: usize| serde_json::from_slice::<serde_json::Value>(&seen[at].body).unwrap();
    assert_eq!(body(0), serde_json::json!({"value": "Ada", "timeout": 60, "metadata": {"endpoint": "/users"}}));
    assert_eq!(body(3), serde_json::json!({"value": "base64:/w==", "timeout": 0.001}));
    assert_eq!(server.connections(), 1, "one connection for all of them");
}

#[tokio::test]
async fn a89_each_status_is_what_it_is() {
    for (status, kind, retriable) in [
        (400, StoreErrorKind::Protocol, false),
        (401, StoreErrorKind::Denied, false),
        (403, StoreErrorKind::Denied, false),
        (302, StoreErrorKind::Protocol, false),
        (405, StoreErrorKind::Unsupported, false),
        (413, StoreErrorKind::TooLarge, false),
        (429, StoreErrorKind::Busy, true),
        (500, StoreErrorKind::Unavailable, true),
        (503, StoreErrorKind::Unavailable, true),
        (504, StoreErrorKind::Timeout, true),
        (507, StoreErrorKind::Full, false),
    ] {
        let server = Server::start(move |_, _| reply(status).header("retry-after", 2).header("location", "http://127.0.0.1:1/")).await;
        let store = plain(&server.url).build().unwrap();
        let error = store.get(&key("k")).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retriable()), (kind, retriable), "{status}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(2)), "{status}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(server.count(), 1);
        assert_eq!(store.stats().errors, 1);
    }
    let server = Server::start(|_, _| reply(404)).await;
    let store = plain(&server.url).build().unwrap();
    assert_eq!((store.get(&key("k")).await, store.delete(&key("k")).await), (Ok(None), Ok(false)));
    assert_eq!(store.set(&key("k"), "v".into(), SetOptions::new()).await.map_err(|error| error.kind()), Err(StoreErrorKind::Protocol));
}

#[tokio::test]
async fn a89_what_may_pass_is_tried_again_and_what_may_not_is_not() {
    let server = Server::start(|number, _| if number < 3 { reply(503) } else { reply(200).body("{\"value\": \"v\"}") }).await;
    let store = HttpStore::builder(&server.url).build().unwrap();
    assert_eq!(store.get(&key("k")).await.unwrap().unwrap().value, "v");
    assert_eq!((server.count(), store.stats().errors), (3, 0));
    let server = Server::start(|_, _| reply(400)).await;
    let store = HttpStore::builder(&server.url).build().unwrap();
    store.get(&key("k")).await.unwrap_err();
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a89_slow_answers_and_no_answers() {
    let server = Server::start(|_, _| reply(200).after(Duration::from_secs(30))).await;
    let store = plain(&server.url).timeout(Duration::from_millis(50)).if_absent().build().unwrap();
    let error = store.get(&key("k")).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (StoreErrorKind::Timeout, true));
    let error = store.set(&key("k"), "v".into(), SetOptions::new().if_absent()).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (StoreErrorKind::OutcomeUnknown, false), "it may have been the first");
    let (url, _socket) = nobody();
    let error = plain(&url).build().unwrap().get(&key("k")).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (StoreErrorKind::Unavailable, true));
    let limited = Pipeline::builder("p").attempt_timeout(Duration::from_millis(20)).retry(Retry::constant(1, Duration::ZERO));
    let store = HttpStore::builder(&server.url).pipeline(limited.build().unwrap()).build().unwrap();
    let error = store.get(&key("k")).await.unwrap_err();
    assert_eq!(error.rejected().map(|rejected| rejected.kind()), Some(RejectedKind::Timeout));
}

#[tokio::test]
async fn a89_answers_that_are_none() {
    for (bytes, kind) in [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"value\"".as_slice(), StoreErrorKind::Unavailable),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", StoreErrorKind::Protocol),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", StoreErrorKind::Protocol),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 29\r\n\r\n{\"value\": \"v\", \"timeout\": -1}", StoreErrorKind::Protocol),
        (b"this is not HTTP\r\n\r\n", StoreErrorKind::Unavailable),
    ] {
        let liar = Liar::start(bytes).await;
        let error = plain(&liar.url).build().unwrap().get(&key("k")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", String::from_utf8_lossy(bytes));
    }
}

#[tokio::test]
async fn a89_an_answer_without_end_is_cut() {
    let server = Server::start(|_, _| reply(200).body(format!("{{\"value\": \"{}\"}}", "x".repeat(1 << 20)))).await;
    let error = plain(&server.url).max_value_bytes(1_000).build().unwrap().get(&key("k")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Protocol);
    assert!(error.detail().contains("longer"), "{error}");
}

#[tokio::test]
async fn h86_no_secret_and_no_key_is_printed() {
    let (url, _socket) = nobody();
    let url = url.replace("http://", "http://user:hunter2@");
    let builder = plain(&url).token("hunter2");
    assert!(!format!("{builder:?}").contains("hunter2"));
    let store = builder.build().unwrap();
    let error = store.get(&key("alice")).await.unwrap_err();
    for text in [format!("{store:?}"), format!("{error} {error:?}"), format!("{:?}", std::error::Error::source(&error))] {
        assert!(!text.contains("hunter2") && !text.contains("alice"), "{text}");
    }
}

#[test]
fn a93_every_fault_at_once() {
    let error = HttpStore::builder("ftp://x").token("a\nb").timeout(Duration::ZERO).max_value_bytes(0).build().unwrap_err();
    let fields: Vec<_> = error.faults().iter().map(|fault| fault.field()).collect();
    assert_eq!(fields, ["base_url", "token", "timeout", "max_value_bytes"]);
    for bad in ["", "cache", "http://", "http://host?x=1", "http://host/#x", "file:///etc/passwd"] {
        assert!(HttpStore::builder(bad).build().is_err(), "{bad}");
    }
    assert!(!error.to_string().contains("a\nb"));
    // Outside a runtime it is an error, and not a panic.
    let store = plain("http://127.0.0.1:1").build().unwrap();
    let k = key("k");
    let get = std::pin::pin!(store.get(&k));
    let polled = get.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(matches!(polled, std::task::Poll::Ready(Err(_))));
}
