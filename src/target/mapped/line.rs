//! A link at work: where requests really go.

use std::{path::Path, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};

use super::{
    broker,
    compiled::{Compiled, EMBEDDED, Link},
    grammar::Speaks,
    hosts::is_loopback,
};
use crate::{
    base::name::NodeName,
    target::wire::{
        base::Base,
        dial::{Allowed, Dialer},
        http::{HttpClient, Options, Version},
        tls::{self, Identity, Tls},
        websocket,
    },
    world::{Env, HttpError},
};

/// What is spoken over TLS.
const SECURE: &[&str] = &["https://", "wss://", "amqps://"];
/// How long it may take to open a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A link at work.
pub enum Line {
    /// The reference backend's API instances, in whichever world.
    Nodes {
        /// The robots' environment.
        env: Env,
        /// The instances.
        nodes: Vec<NodeName>,
    },
    /// Servers that speak HTTP.
    Http {
        /// The client.
        client: HttpClient,
        /// The instances.
        bases: Vec<Base>,
        /// Their names, for the history.
        names: Vec<NodeName>,
    },
    /// Not for requests.
    Other,
}

impl Line {
    /// Connects nothing yet.
    pub fn new(
        env: &Env,
        file: &Compiled,
        link: &Link,
        nodes: &[NodeName],
    ) -> Result<Self, String> {
        if link.is_embedded() {
            let nodes = nodes.iter().filter(|node| node.role() == "api").cloned().collect();
            return Ok(Self::Nodes { env: env.clone(), nodes });
        }
        let version = match link.speaks {
            Speaks::Http => Version::Auto,
            Speaks::Http2 => Version::H2,
            _ => return Ok(Self::Other),
        };
        let mut options = Options::new(tls_of(file, link)?, allowed(file));
        options.version = version;
        options.connect_within = CONNECT_WITHIN;
        Ok(Self::Http {
            client: HttpClient::new(options),
            bases: bases(link)?,
            names: link.urls.iter().map(|url| NodeName::from(instance(url))).collect(),
        })
    }

    /// Instances.
    pub fn instances(&self) -> usize {
        match self {
            Self::Nodes { nodes, .. } => nodes.len(),
            Self::Http { bases, .. } => bases.len(),
            Self::Other => 0,
        }
    }

    /// The name of an instance, for the history.
    pub fn node(&self, instance: usize) -> NodeName {
        match self {
            Self::Nodes { nodes: names, .. } | Self::Http { names, .. } => {
                names.get(instance).cloned().unwrap_or_default()
            }
            Self::Other => NodeName::default(),
        }
    }

    /// One exchange; has no deadline of its own.
    pub async fn exchange(
        &self,
        instance: usize,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, HttpError> {
        let nobody = || Err(HttpError::NotConnected("the target has no instance".into()));
        match self {
            Self::Nodes { env, nodes } => match nodes.get(instance) {
                Some(node) => env.http(node, request).await,
                None => nobody(),
            },
            Self::Http { client, bases, .. } => match bases.get(instance) {
                // In a box: it needs much more room than a request to the reference backend.
                Some(base) => Box::pin(client.exchange(base, request)).await,
                None => nobody(),
            },
            Self::Other => nobody(),
        }
    }
}

/// How the sockets of a link are opened, if it is one of sockets.
pub fn door(file: &Compiled, link: &Link) -> Result<Option<websocket::Options>, String> {
    match link.speaks {
        Speaks::Websocket | Speaks::SocketIo => {
            Ok(Some(websocket::Options::new(tls_of(file, link)?, allowed(file))))
        }
        _ => Ok(None),
    }
}

/// Opens a connection to every instance of every link, and closes it again: whether the target is
/// there at all, and its certificates are good, before a robot starts.
pub async fn reach(file: &Compiled) -> Result<(), String> {
    for link in &file.links {
        if link.is_embedded() {
            continue;
        }
        if link.speaks == Speaks::Amqp {
            broker::connect(file, link).await?.close().await;
            continue;
        }
        let dialer = Dialer {
            tls: tls_of(file, link)?,
            connect_within: CONNECT_WITHIN,
            allowed: allowed(file),
        };
        let speaks = match link.speaks {
            Speaks::Http => tls::Speaks::Either,
            Speaks::Http2 => tls::Speaks::Http2,
            _ => tls::Speaks::Http1,
        };
        for base in bases(link)? {
            let opened = dialer.dial(&base, speaks).await;
            opened.map_err(|why| format!("[link.{}]: {why}", link.name))?;
        }
    }
    Ok(())
}

/// TLS, where any of its URLs asks for it.
pub fn tls_of(file: &Compiled, link: &Link) -> Result<Option<Tls>, String> {
    let secure = |url: &String| SECURE.iter().any(|scheme| url.starts_with(scheme));
    if !link.urls.iter().any(secure) {
        return Ok(None);
    }
    let seen = |name: &String| file.folder.join(name);
    let (ca, certificate, key) = (
        link.ca.as_ref().map(seen),
        link.certificate.as_ref().map(seen),
        link.key.as_ref().map(seen),
    );
    let identity = match (&certificate, &key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        (None, None) => None,
        _ => return Err(format!("[link.{}]: `certificate` and `key` go together", link.name)),
    };
    let made = Tls::new(ca.as_deref().map(Path::new), identity);
    made.map(Some).map_err(|why| format!("[link.{}]: {why}", link.name))
}

/// Whether an address may be connected to: loopback, or one that a host of the file led to.
pub fn allowed(file: &Compiled) -> Allowed {
    let hosts = file.hosts.clone();
    Rc::new(move |address, host| {
        if address.is_loopback() && is_loopback(host) || hosts.iter().any(|known| known == host) {
            return Ok(());
        }
        Err(format!("{host} ({address}) is not in `hosts` of the target's file"))
    })
}

fn bases(link: &Link) -> Result<Vec<Base>, String> {
    let base =
        |url: &String| Base::parse(url).map_err(|why| format!("[link.{}]: {why}", link.name));
    link.urls.iter().filter(|url| *url != EMBEDDED).map(base).collect()
}

/// `127.0.0.1:8080` of a URL.
pub fn instance(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    host.rsplit_once('@').map_or(host, |(_, host)| host)
}
