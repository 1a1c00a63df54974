//! Who may be hit at a target that the run did not start, and the hands with which they are reached:
//! commands, sockets and processes of this machine, calls to hosts on which faults are allowed.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::Request;

use super::plan::{MappingFile, RunPlan};
use crate::{
    base::file::FileError,
    chaos::{
        provider::Provider,
        providers::{Answer, Hands, Outsiders, Server, Victims},
    },
    target::{
        mapped::is_loopback,
        wire::{
            base::Base,
            command::Probe,
            dial::Allowed,
            http::{HttpClient, Options},
            tls::Tls,
        },
    },
    world::real::{
        http_client::{Limits, Pool},
        process::{Identity, start_to_stay},
    },
};

/// Between two looks at a victim.
const REST: Duration = Duration::from_millis(10);
/// Bytes of what a command prints, or of an answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// How long a connection may take to open.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// The victims of a target's file; none where it names none.
pub fn read(mapping: &MappingFile) -> Result<Victims, FileError> {
    Victims::read(&mapping.source())
}

/// The way to the victims of that plan's target; none where the run starts its backend itself.
pub fn of(plan: &RunPlan) -> anyhow::Result<Option<Rc<dyn Provider>>> {
    let outsiders = outsiders(plan)?;
    Ok(outsiders.map(|outsiders| Rc::new(outsiders) as Rc<dyn Provider>))
}

/// The same, before anybody is a mere provider.
pub fn outsiders(plan: &RunPlan) -> Result<Option<Outsiders>, FileError> {
    let Some(mapping) = plan.mapping.as_ref().filter(|_| !plan.starts_backend()) else {
        return Ok(None);
    };
    let victims = read(mapping)?;
    Ok(Some(Outsiders::new(&victims, &hands(mapping, &victims))))
}

/// The hands for a target.
pub fn hands(mapping: &MappingFile, victims: &Victims) -> Rc<dyn Hands> {
    let folder = mapping.path.parent().unwrap_or(Path::new("")).to_owned();
    Rc::new(OwnHands { hosts: victims.fault_hosts.clone(), folder })
}

/// Those of this machine.
struct OwnHands {
    /// Hosts beyond loopback on which faults are allowed.
    hosts: Vec<String>,
    /// Where the target's file is.
    folder: PathBuf,
}

impl OwnHands {
    fn allowed(&self) -> Allowed {
        let hosts = self.hosts.clone();
        Rc::new(move |address, host| {
            let here = address.is_loopback() && is_loopback(host);
            if here || hosts.iter().any(|known| known == host) {
                return Ok(());
            }
            Err(format!("{host} ({address}) is not in `fault_hosts` of the target's file"))
        })
    }

    async fn call_url(
        &self,
        url: &str,
        ca: Option<&String>,
        request: Request<Bytes>,
    ) -> Result<Answer, String> {
        let base = Base::parse(url).map_err(|why| why.to_string())?;
        let ca = ca.map(|name| self.folder.join(name));
        let tls = base.secure().then(|| Tls::new(ca.as_deref(), None)).transpose();
        let tls = tls.map_err(|why| why.to_string())?;
        let mut options = Options::new(tls, self.allowed());
        options.connect_within = CONNECT_WITHIN;
        options.answer_bytes_max = ANSWER_BYTES_MAX;
        let client = HttpClient::new(options);
        client.exchange(&base, request).await.map_err(|why| why.to_string())
    }
}

async fn call_socket(path: &Path, request: Request<Bytes>) -> Result<Answer, String> {
    let limits = Limits { idle_max: 0, answer_bytes_max: ANSWER_BYTES_MAX, ..Limits::default() };
    let pool = Pool::new("localhost", limits);
    let dial = async || {
        let stream = tokio::net::UnixStream::connect(path).await;
        stream.map_err(|why| format!("nothing answers at {}: {why}", path.display()))
    };
    pool.exchange(request, dial).await.map_err(|why| why.to_string())
}

impl Hands for OwnHands {
    fn run<'a>(
        &'a self,
        command: &'a [String],
        within: Duration,
    ) -> LocalBoxFuture<'a, Result<String, String>> {
        Box::pin(async move {
            let probe = Probe { within, output_bytes: ANSWER_BYTES_MAX, ..Probe::new(command) };
            let printed = probe.output().await.map_err(|why| why.to_string())?;
            Ok(String::from_utf8_lossy(&printed).into_owned())
        })
    }

    fn start(&self, command: &[String]) -> Result<Identity, String> {
        start_to_stay(command).map_err(|why| format!("`{}`: {why}", command.join(" ")))
    }

    #[expect(clippy::disallowed_methods, reason = "a call into the real world")]
    fn call<'a>(
        &'a self,
        server: &'a Server,
        request: Request<Bytes>,
        within: Duration,
    ) -> LocalBoxFuture<'a, Result<Answer, String>> {
        Box::pin(async move {
            let call = async {
                match server {
                    Server::Url { url, ca } => self.call_url(url, ca.as_ref(), request).await,
                    Server::Socket(path) => call_socket(path, request).await,
                }
            };
            let late = || Err(format!("no answer within {within:?}"));
            tokio::time::timeout(within, call).await.unwrap_or_else(|_| late())
        })
    }

    #[expect(clippy::disallowed_methods, reason = "a moment of the real world")]
    fn rest(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(REST))
    }
}
