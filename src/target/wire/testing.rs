//! What tests of the transports share: an authority that signs what they need, and small servers.
//! Nothing else may use it.

use std::{cell::Cell, convert::Infallible, fs, path::PathBuf, rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    rt::Executor,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    runtime,
    task::{LocalSet, spawn_local},
};
use tokio_rustls::TlsAcceptor;

use super::{base::Base, dial::Allowed, tls::Tls};

/// Runs a test to its end on this thread.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, work)
}

/// Lets every address pass.
pub fn anywhere() -> Allowed {
    Rc::new(|_, _| Ok(()))
}

/// An authority of our own.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key.
pub struct Signed {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
    pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    /// Its certificate as a file.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Who trusts it and nobody else.
    pub fn trusted(&self) -> Tls {
        Tls::new(Some(&self.path()), None).unwrap()
    }

    pub fn signs(&self, name: &str) -> Signed {
        self.signs_until(name, 4096)
    }

    pub fn signs_until(&self, name: &str, year: i32) -> Signed {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Signed { chain: vec![certificate.der().clone()], pem: certificate.pem(), key }
    }

    /// The certificate and its key as files.
    pub fn files(&self, signed: &Signed) -> (PathBuf, PathBuf) {
        let paths = (self.folder.path().join("me.pem"), self.folder.path().join("me.key"));
        fs::write(&paths.0, &signed.pem).unwrap();
        fs::write(&paths.1, signed.key.serialize_pem()).unwrap();
        paths
    }

    /// A server's side; it wants a certificate of this authority if `asks`.
    pub fn accepts(&self, signed: Signed, speaks: &[&str], asks: bool) -> TlsAcceptor {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&ring),
        );
        let builder = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if asks {
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(signed.key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(signed.chain, key).unwrap();
        config.alpn_protocols = speaks.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A listener on loopback, and its URL.
pub async fn listener(scheme: &str) -> (TcpListener, Base) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = if scheme == "https" { "localhost" } else { "127.0.0.1" };
    (listener, Base::parse(&format!("{scheme}://{host}:{port}")).unwrap())
}

/// A server that answers with what it was sent. Counts its connections.
pub struct Echo {
    pub base: Base,
    pub connections: Rc<Cell<usize>>,
}

/// How [`Echo`] listens.
#[derive(Default)]
pub struct Listens {
    pub tls: Option<TlsAcceptor>,
    /// HTTP/2 without TLS, with so many streams at once.
    pub http2_streams: Option<u32>,
}

impl Echo {
    pub async fn start(listens: Listens) -> Self {
        let scheme = if listens.tls.is_some() { "https" } else { "http" };
        let (listener, base) = listener(scheme).await;
        let connections = Rc::new(Cell::new(0));
        let count = Rc::clone(&connections);
        spawn_local(async move {
            let Listens { tls, http2_streams } = listens;
            while let Ok((stream, _)) = listener.accept().await {
                count.set(count.get() + 1);
                let tls = tls.clone();
                spawn_local(async move {
                    let Some(tls) = tls else {
                        return talk(stream, http2_streams.is_some(), http2_streams).await;
                    };
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    talk(stream, http2, None).await;
                });
            }
        });
        Self { base, connections }
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    http2: bool,
    streams: Option<u32>,
) {
    let (stream, service) = (TokioIo::new(stream), service_fn(echo));
    // A client that goes away is no failure of the server's.
    let _ = if http2 {
        let mut builder = http2::Builder::new(LocalTasks);
        builder.max_concurrent_streams(streams).serve_connection(stream, service).await
    } else {
        http1::Builder::new().serve_connection(stream, service).await
    };
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
    let host = host.or_else(|| request.uri().authority().map(ToString::to_string));
    let path = request.uri().path_and_query().unwrap().to_string();
    let response = Response::builder()
        .status(if path == "/moved" { 302 } else { 200 })
        .header("location", "/elsewhere")
        .header("path", path)
        .header("host", host.unwrap_or_default())
        .header("version", format!("{:?}", request.version()));
    // Of a request that was cancelled.
    let Ok(body) = request.into_body().collect().await else {
        return Ok(Response::default());
    };
    Ok(response.body(Full::new(body.to_bytes())).unwrap())
}

#[derive(Clone)]
struct LocalTasks;

impl<F: Future<Output = ()> + 'static> Executor<F> for LocalTasks {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}
