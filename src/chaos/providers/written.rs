//! `[victims]` of a target's file, as people write it.

use std::{collections::BTreeMap, fmt, net::IpAddr, rc::Rc, time::Duration};

use bytes::Bytes;
use http::Request;
use serde::Deserialize;

use super::{
    BackendLink, PROVIDERS, Reach, backend_link,
    docker::{self, Docker},
    exec::{self, Exec},
    hands::{Hands, Server},
    http::{self as http_calls, Call, Calls},
    kubernetes::{self, Kubernetes},
    process::{self, Process},
    systemd::{self, Systemd},
};
use crate::{
    base::{
        file::{FileError, Source},
        name::NodeName,
        span::Span,
    },
    chaos::provider::Health,
};

/// How long a command or a call may take, where the file does not say.
pub(super) const WITHIN: Span = Span::secs(10);

/// The victims of a target, and the hosts on which faults are allowed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Victims {
    /// Hosts beyond loopback that may be called to break something there.
    pub fault_hosts: Vec<String>,
    #[serde(rename = "victims")]
    wanted: BTreeMap<NodeName, Wanted>,
    /// Links between its parts on which the run's proxy stands.
    pub backend_link: Vec<BackendLink>,
}

/// One victim: one of the ways to reach it, and perhaps a probe of its own.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    /// Whether it is well, beside what the way to reach it sees.
    pub probe: Option<Probe>,
    process: Option<Process>,
    exec: Option<Exec>,
    http: Option<Calls>,
    docker: Option<Docker>,
    systemd: Option<Systemd>,
    kubernetes: Option<Kubernetes>,
}

/// A look from outside.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// It is well when this call is answered with 2xx.
    #[serde(default)]
    call: Option<Call>,
    /// It is well when this command ends with 0.
    #[serde(default)]
    command: Option<Vec<String>>,
    /// How long either may take.
    #[serde(default = "probe_within")]
    within: Span,
}

fn probe_within() -> Span {
    Span::secs(1)
}

/// A secret: used, and never shown.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Secret {
    /// In a variable of the environment.
    Env(String),
    /// In a file, without the blanks around it.
    File(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env {name}"),
            Self::File(name) => write!(f, "file {name}"),
        }
    }
}

impl Secret {
    /// Its value; the text says where it was looked for.
    pub(super) fn read(&self) -> Result<String, String> {
        let value = match self {
            Self::Env(name) => std::env::var(name)
                .map_err(|_| format!("the environment has no variable {name}: export it first"))?,
            Self::File(path) => std::fs::read_to_string(path)
                .map_err(|why| format!("{path}: cannot be read: {why}"))?,
        };
        match value.trim() {
            "" => Err(format!("{self:?} is empty")),
            value => Ok(value.to_owned()),
        }
    }
}

impl Victims {
    /// Those of a target's file; every error names its line.
    pub fn read(source: &Source) -> Result<Self, FileError> {
        let read: Self = source.parse()?;
        backend_link::check(&read.backend_link, &read.fault_hosts, source)?;
        for (name, wanted) in &read.wanted {
            let key = format!("victims.{name}");
            let wrong = |why: String| Err(source.error(&key, why));
            if name.az().is_empty() || name.role().is_empty() {
                return wrong(format!("`{name}` is no name of a node: write it like \"a/api-1\""));
            }
            if let Err(why) = wanted.check() {
                return wrong(why);
            }
            for host in wanted.hosts() {
                if !is_loopback(&host) && !read.fault_hosts.contains(&host) {
                    return wrong(format!(
                        "`{host}` is not this machine, and faults are not allowed there: add it to \
                         `fault_hosts` if they may be"
                    ));
                }
            }
        }
        Ok(read)
    }

    /// Their names, sorted.
    pub fn names(&self) -> Vec<NodeName> {
        self.wanted.keys().cloned().collect()
    }

    /// True where there are none, and no links.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.backend_link.is_empty()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&NodeName, &Wanted)> {
        self.wanted.iter()
    }
}

/// True for the machine itself.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Wanted {
    fn given(&self) -> Vec<&'static str> {
        let given = [
            (process::ENTRY.name, self.process.is_some()),
            (exec::ENTRY.name, self.exec.is_some()),
            (http_calls::ENTRY.name, self.http.is_some()),
            (docker::ENTRY.name, self.docker.is_some()),
            (systemd::ENTRY.name, self.systemd.is_some()),
            (kubernetes::ENTRY.name, self.kubernetes.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }

    fn check(&self) -> Result<(), String> {
        let given = self.given();
        if given.len() != 1 {
            let words: Vec<&str> = PROVIDERS.iter().map(|entry| entry.name).collect();
            let has = if given.is_empty() { "none".to_owned() } else { given.join(" and ") };
            return Err(format!("has {has}: must have one of {}", words.join(", ")));
        }
        if let Some(probe) = &self.probe
            && probe.call.is_some() == probe.command.is_some()
        {
            return Err("`probe` needs one of `call` and `command`".to_owned());
        }
        if let Some(process) = &self.process {
            process.check()?;
        }
        if let Some(docker) = &self.docker {
            docker.server()?;
        }
        if let Some(kubernetes) = &self.kubernetes {
            kubernetes.check()?;
        }
        Ok(())
    }

    /// Every host that is called.
    fn hosts(&self) -> Vec<String> {
        let mut urls: Vec<&str> = Vec::new();
        urls.extend(self.probe.iter().filter_map(|probe| Some(probe.call.as_ref()?.url.as_str())));
        urls.extend(self.http.iter().flat_map(Calls::urls));
        urls.extend(self.docker.iter().filter_map(|docker| docker.host.as_deref()));
        urls.extend(self.kubernetes.iter().map(|kubernetes| kubernetes.server.as_str()));
        let mut hosts: Vec<String> = urls.into_iter().map(host_of).collect();
        hosts.extend(self.exec.iter().filter_map(|exec| exec.on.clone()));
        hosts
    }

    /// The way to it.
    pub(super) fn reach(&self, hands: &Rc<dyn Hands>) -> Box<dyn Reach> {
        let hands = Rc::clone(hands);
        if let Some(process) = &self.process {
            return process.clone().reach(hands);
        }
        if let Some(calls) = &self.http {
            return calls.clone().reach(hands);
        }
        if let Some(docker) = &self.docker {
            return docker.clone().reach(hands);
        }
        if let Some(systemd) = &self.systemd {
            return systemd.clone().reach(hands);
        }
        if let Some(kubernetes) = &self.kubernetes {
            return kubernetes.clone().reach(hands);
        }
        // It has exactly one: `check` has seen to that.
        self.exec.clone().unwrap_or_default().reach(hands)
    }
}

/// The host of a URL, without brackets and port; the whole text where it is none.
fn host_of(url: &str) -> String {
    let host = url.parse::<::http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    let host = host.unwrap_or_else(|| url.to_owned());
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

impl Probe {
    /// Looks once.
    pub async fn look(&self, hands: &dyn Hands) -> Health {
        let seen = match (&self.call, &self.command) {
            (Some(call), _) => call.make(hands, &[], self.within.0).await.map(drop),
            (None, Some(command)) => hands.run(command, self.within.0).await.map(drop),
            (None, None) => Ok(()),
        };
        seen.map_or_else(Health::Down, |()| Health::Up)
    }
}

/// One exchange with an engine's API: its answer, or its own words on what went wrong.
pub(super) async fn exchange(
    hands: &dyn Hands,
    server: &Server,
    request: Request<Bytes>,
    within: Duration,
) -> Result<(u16, serde_json::Value), String> {
    let answer = hands.call(server, request, within).await?;
    // Some answers have no body, and some errors are plain text.
    let body = serde_json::from_slice(answer.body()).unwrap_or_else(|_| {
        serde_json::Value::String(String::from_utf8_lossy(answer.body()).trim().to_owned())
    });
    Ok((answer.status().as_u16(), body))
}
