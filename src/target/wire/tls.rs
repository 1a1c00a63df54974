//! TLS to backends: whom to trust, who we are, and what is wrong with a certificate in words. There
//! is no way to leave verification out.

use std::{
    env, fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Names the file of trusted authorities, as other programs have it.
const BUNDLE_ENV: &str = "SSL_CERT_FILE";
/// Where platforms keep their trusted authorities.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// A file that cannot be used: which, what is wrong with it, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub why: String,
}

/// Who we are: a certificate (with those between it and its authority) and its key, PEM files.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate.
    pub certificate: &'a Path,
    /// Its key.
    pub key: &'a Path,
}

/// What is offered in the handshake to be spoken above TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1, also for what begins with it (WebSocket).
    Http1,
    /// HTTP/2.
    Http2,
    /// What the server likes better, HTTP/2 first.
    Either,
    /// Nothing: not for HTTP.
    Nothing,
}

/// Whom to trust, and who we are. A cheap handle.
#[derive(Clone)]
pub struct Tls {
    // One for each of `Speaks`: what is offered is part of rustls's configuration.
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    either: Arc<ClientConfig>,
    nothing: Arc<ClientConfig>,
    trusts: Arc<Path>,
    own_ca: bool,
}

impl Tls {
    /// Trusts the authorities in the PEM file `ca` and nobody else or, without one, those of the
    /// platform: of the file that `SSL_CERT_FILE` names, or of the usual place.
    pub fn new(ca: Option<&Path>, identity: Option<Identity<'_>>) -> Result<Self, TlsError> {
        let path = ca.map_or_else(bundle, Path::to_owned);
        let roots = roots(&path, ca.is_some())?;
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .map_err(|why| wrong(&path, why.to_string()))?
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let (chain, secret) = (certificates(certificate)?, private_key(key)?);
                builder.with_client_auth_cert(chain, secret).map_err(|why| {
                    let certificate = certificate.display();
                    wrong(key, format!("it does not go with the certificate {certificate}: {why}"))
                })?
            }
        };
        let speaking = |protocols: &[&str]| {
            let alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
            let mut config = config.clone();
            config.alpn_protocols = alpn_protocols;
            Arc::new(config)
        };
        Ok(Self {
            http1: speaking(&["http/1.1"]),
            http2: speaking(&["h2"]),
            either: speaking(&["h2", "http/1.1"]),
            nothing: speaking(&[]),
            trusts: path.into(),
            own_ca: ca.is_some(),
        })
    }

    /// The handshake over `stream`, in which the server must prove that it is `host`. Tells why
    /// not in words. Has no deadline of its own.
    pub async fn handshake(
        &self,
        host: &str,
        stream: TcpStream,
        speaks: Speaks,
    ) -> Result<TlsStream<TcpStream>, String> {
        let config = match speaks {
            Speaks::Http1 => &self.http1,
            Speaks::Http2 => &self.http2,
            Speaks::Either => &self.either,
            Speaks::Nothing => &self.nothing,
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("`{host}` cannot be the name in a certificate"))?;
        let connector = TlsConnector::from(Arc::clone(config));
        connector.connect(name, stream).await.map_err(|why| self.words(host, &why))
    }

    /// What is wrong, and what to do.
    fn words(&self, host: &str, why: &io::Error) -> String {
        let inner = why.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(why)) => self.certificate_words(host, why),
            Some(rustls::Error::AlertReceived(
                AlertDescription::CertificateRequired | AlertDescription::BadCertificate,
            )) => "the server wants a certificate of ours: set `certificate` and `key` in `[tls]`"
                .to_owned(),
            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                "the server does not speak this version of HTTP over TLS".to_owned()
            }
            Some(rustls::Error::AlertReceived(alert)) => {
                format!("the server ended the TLS handshake: {alert:?}")
            }
            Some(rustls::Error::InvalidMessage(_)) => {
                "the server does not answer in TLS: is it `http://`, or another port?".to_owned()
            }
            Some(other) => format!("TLS: {other}"),
            None => format!("the TLS handshake broke off: {why}"),
        }
    }

    fn certificate_words(&self, host: &str, why: &CertificateError) -> String {
        let trusts = self.trusts.display();
        match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature if self.own_ca => {
                format!(
                    "the certificate of {host} is from an unknown issuer, none of those in \
                     {trusts}: name the file of its own authority in `[tls] ca = …`"
                )
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "the certificate of {host} is from an unknown issuer, none of those in {trusts}: \
                 put the certificate of its authority in a PEM file and set `[tls] ca = …` to it"
            ),
            CertificateError::Expired => format!("the certificate of {host} has expired: renew it"),
            CertificateError::ExpiredContext { not_after, .. } => {
                format!("the certificate of {host} expired at {}: renew it", Moment(*not_after))
            }
            CertificateError::NotValidYetContext { not_before, .. } => format!(
                "the certificate of {host} is valid from {} only: check the clocks",
                Moment(*not_before)
            ),
            CertificateError::NotValidForNameContext { presented, .. } => format!(
                "the certificate is not for {host} but for {}: use a name that it is for, or \
                 have one made for {host}",
                if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") }
            ),
            other => format!("the certificate of {host} does not verify: {other}"),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls(trusts {})", self.trusts.display())
    }
}

/// A moment as people write it.
struct Moment(UnixTime);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()) {
            Some(moment) => write!(f, "{moment}"),
            None => write!(f, "{seconds} s after 1970"),
        }
    }
}

/// Where the platform's authorities are. A place that exists, if one does.
fn bundle() -> PathBuf {
    if let Some(named) = env::var_os(BUNDLE_ENV).filter(|named| !named.is_empty()) {
        return named.into();
    }
    let there = BUNDLES.iter().find(|place| Path::new(place).exists());
    there.unwrap_or(&BUNDLES[0]).into()
}

fn roots(path: &Path, own_ca: bool) -> Result<RootCertStore, TlsError> {
    let hint = if own_ca { "" } else { "; name a file with `[tls] ca = …` or `SSL_CERT_FILE`" };
    let found = certificates(path).map_err(|error| wrong(path, error.why + hint))?;
    let mut roots = RootCertStore::empty();
    if own_ca {
        for (number, certificate) in (1..).zip(found) {
            roots.add(certificate).map_err(|why| {
                wrong(path, format!("certificate {number} in it is no authority's: {why}"))
            })?;
        }
    } else {
        // A platform may hold some of a kind that nobody needs.
        roots.add_parsable_certificates(found);
    }
    if roots.is_empty() {
        return Err(wrong(path, format!("no certificate in it is an authority's{hint}")));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, pem::Error> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found = found.map_err(|why| wrong(path, pem_words(&why, "CERTIFICATE")))?;
    if found.is_empty() {
        return Err(wrong(path, pem_words(&pem::Error::NoItemsFound, "CERTIFICATE")));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|why| wrong(path, pem_words(&why, "PRIVATE KEY")))
}

fn pem_words(why: &pem::Error, wanted: &str) -> String {
    match why {
        pem::Error::Io(why) => why.to_string(),
        pem::Error::NoItemsFound => {
            format!("nothing between `-----BEGIN {wanted}-----` and its end: is it PEM?")
        }
        // Not the error itself: it may quote a line of a key.
        _ => "its PEM is damaged".to_owned(),
    }
}

fn wrong(path: &Path, why: String) -> TlsError {
    TlsError { path: path.to_owned(), why }
}
