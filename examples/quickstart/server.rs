//! A small HTTP server with a bad day: how it answers depends on the phase it is in.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::RETRY_AFTER;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Answers within 25 ms.
    Healthy,
    /// Answers within 150 ms, but one request in three hangs.
    Slow,
    /// Answers 503 at once, and asks for a second of peace.
    Storm,
    /// Does not listen at all.
    Down,
}

pub(crate) struct Server {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
}

impl Server {
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = free_port().await?;
        let address = listener.local_addr()?;
        let (phase, phases) = watch::channel(Phase::Healthy);
        tokio::spawn(live(listener, address, phases));
        Ok(Self { address, phase })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }
}

/// The port is given up for a while and taken again, so it must not be one the system hands out to others meanwhile.
async fn free_port() -> io::Result<TcpListener> {
    let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
    for port in 18_080..18_180 {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => taken = error,
        }
    }
    Err(taken)
}

/// Up until the server is down, down until it is up.
async fn live(mut listener: TcpListener, address: SocketAddr, mut phases: watch::Receiver<Phase>) -> io::Result<()> {
    loop {
        let answering = phases.clone();
        tokio::select! {
            // Dropped when the other branch is first: that closes the port and every connection.
            () = accept(listener, answering) => {}
            closed = async { phases.wait_for(|phase| *phase == Phase::Down).await.is_err() } => if closed { return Ok(()) },
        }
        if phases.wait_for(|phase| *phase != Phase::Down).await.is_err() {
            return Ok(());
        }
        listener = TcpListener::bind(address).await?;
    }
}

async fn accept(listener: TcpListener, phases: watch::Receiver<Phase>) {
    let requests = Arc::new(AtomicU64::new(0));
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (requests, phases) = (Arc::clone(&requests), phases.clone());
        connections.spawn(async move {
            let service = service_fn(|_| {
                let (phase, number) = (*phases.borrow(), requests.fetch_add(1, Ordering::Relaxed));
                async move { Ok::<_, Infallible>(answer(phase, number).await) }
            });
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
        });
        while connections.try_join_next().is_some() {} // forget those that ended
    }
}

async fn answer(phase: Phase, number: u64) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from("hello"));
    match phase {
        Phase::Healthy => sleep(Duration::from_millis(5 + number % 20)).await,
        Phase::Slow if number.is_multiple_of(3) => sleep(Duration::from_secs(30)).await,
        Phase::Slow => sleep(Duration::from_millis(50 + number % 100)).await,
        Phase::Storm | Phase::Down => {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response.headers_mut().insert(RETRY_AFTER, 1.into());
        }
    }
    response
}
