//! A real HTTP server that remembers what it saw, and one that lies.
#![allow(dead_code, reason = "each test file uses its own part of it")]

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

/// One request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: String,
    after: Duration,
}

pub(crate) fn reply(status: u16) -> Reply {
    Reply { status: StatusCode::from_u16(status).unwrap(), ..Reply::default() }
}

impl Reply {
    pub(crate) fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(crate) fn body(mut self, body: impl ToString) -> Self {
        self.body = body.to_string();
        self
    }

    /// Keeps the head back for so long.
    pub(crate) fn after(mut self, wait: Duration) -> Self {
        self.after = wait;
        self
    }
}

pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// `script` is told which request it is, beginning with 1.
    pub(crate) async fn start(script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    pub(crate) fn on(listener: TcpListener, script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let connections = Arc::new(AtomicUsize::new(0));
        let (log, script, count) = (Arc::clone(&seen), Arc::new(script), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                    async move {
                        let at = Instant::now();
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                        let seen = Seen { method: head.method, path: head.uri.path().to_owned(), headers: head.headers, body, at };
                        let number = {
                            let mut log = log.lock().unwrap();
                            log.push(seen.clone());
                            log.len()
                        };
                        let reply = script(number, &seen);
                        tokio::time::sleep(reply.after).await;
                        let mut response = Response::builder().status(reply.status);
                        for (name, value) in reply.headers {
                            response = response.header(name, value);
                        }
                        Ok::<_, Infallible>(response.body(Full::new(Bytes::from(reply.body))).unwrap())
                    }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(stream), service));
            }
        });
        Self { url, seen, connections }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// A server that answers every connection with these bytes, whatever it is asked, and hangs up.
pub(crate) struct Liar {
    pub(crate) url: String,
    seen: Arc<Mutex<usize>>,
}

impl Liar {
    pub(crate) async fn start(bytes: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<usize>> = Arc::default();
        let count = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
                    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                        match stream.read(&mut buffer).await {
                            Ok(0) | Err(_) => return,
                            Ok(read) => head.extend_from_slice(&buffer[..read]),
                        }
                    }
                    *count.lock().unwrap() += 1;
                    let _ = stream.write_all(bytes).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { url, seen }
    }

    pub(crate) fn count(&self) -> usize {
        *self.seen.lock().unwrap()
    }
}

/// An address where nobody listens, until somebody calls `listen`. It is taken all the while, so that no other test gets it.
pub(crate) fn nobody() -> (String, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    (format!("http://{}", socket.local_addr().unwrap()), socket)
}
