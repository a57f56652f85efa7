//! What is at the other end: one server, the master that sentinels know, or a cluster.

use super::{Around, RedisOptions};
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, Pipeline, RedisFuture, RedisResult, Value};

/// Where to connect to.
pub(super) enum Place {
    Server(Box<Client>, ConnectionManagerConfig),
    #[cfg(feature = "redis-sentinel")]
    Sentinels(Box<tokio::sync::Mutex<redis::sentinel::SentinelClient>>, ConnectionManagerConfig),
    #[cfg(feature = "redis-cluster")]
    Cluster(Box<redis::cluster::ClusterClient>),
}

impl Place {
    pub(super) fn new(options: &RedisOptions, config: ConnectionManagerConfig) -> RedisResult<Self> {
        let client = Client::open(options.url.as_str())?;
        #[cfg(feature = "redis-tls")]
        choose_cryptography();
        match &options.around {
            Around::Nothing => Ok(Self::Server(Box::new(client), config)),
            #[cfg(feature = "redis-sentinel")]
            Around::Sentinels(sentinels) => {
                use redis::ConnectionAddr;
                use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
                let info = client.get_connection_info();
                let mut node = SentinelNodeConnectionInfo::default().set_redis_connection_info(info.redis_settings().clone());
                let (ConnectionAddr::Tcp(name, _) | ConnectionAddr::TcpTls { host: name, .. }) = info.addr() else {
                    return Err((redis::ErrorKind::InvalidClientConfig, "a socket has no name that sentinels know").into());
                };
                if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
                    node = node.set_tls_mode(redis::TlsMode::Secure);
                }
                let sentinels = SentinelClient::build(sentinels.clone(), name.clone(), Some(node), SentinelServerType::Master)?;
                Ok(Self::Sentinels(Box::new(tokio::sync::Mutex::new(sentinels)), config))
            }
            #[cfg(feature = "redis-cluster")]
            Around::Cluster(nodes) => {
                let nodes = std::iter::once(&options.url).chain(nodes).map(String::as_str);
                let client = redis::cluster::ClusterClient::builder(nodes)
                    // It would send what was under way again, and a count would count twice.
                    .retries(0)
                    .connection_timeout(options.connect_timeout)
                    .response_timeout(options.response_timeout)
                    .build()?;
                Ok(Self::Cluster(Box::new(client)))
            }
        }
    }

    /// The connection, where that is made without waiting for anybody: it connects by itself when it is used.
    pub(super) fn at_once(&self) -> Option<RedisResult<Server>> {
        match self {
            Self::Server(client, config) => {
                Some(ConnectionManager::new_lazy_with_config((**client).clone(), config.clone()).map(Server::Single))
            }
            #[cfg(feature = "redis-sentinel")]
            Self::Sentinels(..) => None,
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(_) => None,
        }
    }

    pub(super) async fn connect(&self) -> RedisResult<Server> {
        match self {
            Self::Server(client, config) => ConnectionManager::new_lazy_with_config((**client).clone(), config.clone()).map(Server::Single),
            #[cfg(feature = "redis-sentinel")]
            Self::Sentinels(sentinels, config) => {
                let client = sentinels.lock().await.async_get_client().await?;
                ConnectionManager::new_lazy_with_config(client, config.clone()).map(Server::Single)
            }
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(client) => client.get_async_connection().await.map(Server::Cluster),
        }
    }

    /// A connection that listens to what is published.
    pub(super) async fn ear(&self) -> RedisResult<redis::aio::PubSub> {
        match self {
            Self::Server(client, _) => client.get_async_pubsub().await,
            #[cfg(feature = "redis-sentinel")]
            Self::Sentinels(sentinels, _) => {
                let client = sentinels.lock().await.async_get_client().await?;
                client.get_async_pubsub().await
            }
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(_) => Err((redis::ErrorKind::InvalidClientConfig, "a backplane wants one server").into()),
        }
    }

    /// Whether an error may mean that the server is another one by now.
    pub(super) const fn moves(&self) -> bool {
        match self {
            Self::Server(..) => false,
            #[cfg(feature = "redis-sentinel")]
            Self::Sentinels(..) => true,
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(_) => false, // finds out by itself
        }
    }
}

/// `rustls` panics when a program has chosen none, or has brought two. Whoever chooses before us, has chosen.
#[cfg(feature = "redis-tls")]
fn choose_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default(); // somebody else was first: as good
    }
}

/// A connection. Clones are the same one.
#[derive(Clone)]
pub(in crate::store::redis) enum Server {
    Single(ConnectionManager),
    #[cfg(feature = "redis-cluster")]
    Cluster(redis::cluster_async::ClusterConnection),
}

impl ConnectionLike for Server {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(server) => server.req_packed_command(cmd),
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(cluster) => cluster.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(&'a mut self, pipeline: &'a Pipeline, offset: usize, count: usize) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(server) => server.req_packed_commands(pipeline, offset, count),
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(server) => server.get_db(),
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}
