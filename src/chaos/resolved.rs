//! The faults of one run: victims drawn, offsets fixed. It is written into the run's `plan.toml`,
//! so that a replay uses exactly these.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use super::{
    event::Event,
    fault::{self, FAULTS, Fault, World},
    keys::{Keys, Source},
    limits::Limits,
    provider::{LinkName, ROBOTS, Toxicity},
    toxicity,
};
use crate::base::{name::NodeName, span::Span, suggest::must_be_one_of, time::Time};

/// Every fault of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolved {
    /// In the order of the plan; a fault's number in the history is its place here.
    #[serde(rename = "fault", default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<ResolvedFault>,
    /// How far they may reach.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
}

/// One fault with its victims.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct ResolvedFault {
    /// When, after time zero.
    pub at: Span,
    /// For how long.
    pub lasts: Span,
    /// The nodes that it hits.
    pub nodes: Vec<NodeName>,
    /// The links that it hits.
    pub links: Vec<LinkName>,
    /// How much of what passes the links it hits; none: all.
    pub toxicity: Option<Toxicity>,
    /// What has to happen first: then `at` counts from that moment, and not from time zero.
    pub after: Option<Event>,
    /// It is over as soon as its victims are well by themselves.
    pub until_recovered: bool,
    /// The number of the fault in the plan that it comes from; none where nobody wrote it down.
    pub(super) planned: Option<usize>,
    fault: Arc<dyn Fault>,
}

/// As it stands in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: String,
    at: Span,
    #[serde(rename = "for")]
    lasts: Span,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    until_recovered: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<NodeName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    links: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    toxicity: Option<Toxicity>,
    after: Option<Event>,
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    settings: toml::Table,
}

impl Resolved {
    /// The number of the first fault that has no meaning in that world, and why.
    pub fn stranger_to(&self, world: World) -> Option<(usize, String)> {
        self.faults.iter().enumerate().find_map(|(number, fault)| {
            let kind = fault::entry(fault.kind())?.refusal(world);
            let part = fault.toxicity.filter(|_| world == World::Virtual);
            let part = part.and_then(|part| toxicity::no_connections(part, &fault.links));
            Some((number, kind.or(part)?))
        })
    }

    /// The number of the first fault that breaks a limit when it begins, the limit's key, and why.
    pub fn breach(&self, nodes: &[NodeName]) -> Option<(usize, &'static str, String)> {
        let windows: Vec<_> = self.faults.iter().map(|fault| fault.window(Time::ZERO)).collect();
        (0..self.faults.len()).find_map(|number| {
            let begins = windows[number].0;
            // Of two that begin at once the later one in the plan is too much.
            let holds = |other: &usize| {
                let (from, to) = windows[*other];
                from < begins && begins < to || from == begins && *other <= number
            };
            let together: Vec<_> =
                (0..self.faults.len()).filter(holds).map(|other| &self.faults[other]).collect();
            let (key, why) = self.limits.breach(&together, nodes)?;
            Some((number, key, why))
        })
    }

    /// The links that some fault may strike: a proxy is put on these, and on no others.
    pub fn links_touched(&self) -> BTreeSet<LinkName> {
        self.faults.iter().flat_map(|fault| fault.links.iter().cloned()).collect()
    }
}

impl ResolvedFault {
    pub(super) fn new(
        fault: Arc<dyn Fault>,
        at: Span,
        lasts: Span,
        nodes: Vec<NodeName>,
        links: Vec<LinkName>,
    ) -> Self {
        Self {
            at,
            lasts,
            nodes,
            links,
            toxicity: None,
            after: None,
            until_recovered: false,
            planned: None,
            fault,
        }
    }

    /// Its kind's word.
    pub fn kind(&self) -> &'static str {
        self.fault.kind()
    }

    pub(super) fn keeps_down(&self) -> bool {
        self.fault.keeps_down()
    }

    pub(super) fn one_by_one(&self) -> bool {
        self.fault.one_by_one()
    }

    pub(super) fn cuts(&self) -> bool {
        self.fault.cuts()
    }

    pub(super) fn fault(&self) -> &dyn Fault {
        &*self.fault
    }

    /// True for one that hits neither nodes nor links, but what the robots do.
    fn hits_the_load(&self) -> bool {
        self.nodes.is_empty() && self.links.is_empty()
    }

    /// Its victims as the history writes them.
    pub fn victims(&self) -> Vec<NodeName> {
        if self.hits_the_load() {
            return vec![ROBOTS.into()];
        }
        let links = self.links.iter().map(|link| NodeName::from(link.to_string().as_str()));
        self.nodes.iter().cloned().chain(links).collect()
    }

    /// When it is due, and when it is to be put back.
    pub fn window(&self, zero: Time) -> (Time, Time) {
        let due = zero + self.at.0;
        (due, due + self.lasts.0)
    }

    /// A victim on which this and `other` cannot both hold: a node killed twice, or a link for
    /// which the second would take the place of the first.
    pub(super) fn clash(&self, other: &Self) -> Option<String> {
        let (from, to) = self.window(Time::ZERO);
        let (other_from, other_to) = other.window(Time::ZERO);
        // Nobody knows yet when that will be which one of them waits for: then they take turns.
        if to <= other_from || other_to <= from || self.after != other.after {
            return None;
        }
        let node = self.nodes.iter().find(|node| other.nodes.contains(node));
        let link = self.links.iter().find(|link| other.links.contains(link));
        let load = self.loads_alike(other).then(|| ROBOTS.to_owned());
        node.map(ToString::to_string).or_else(|| link.map(ToString::to_string)).or(load)
    }

    /// Whether both do the same to the load, so that the second takes the place of the first.
    fn loads_alike(&self, other: &Self) -> bool {
        self.hits_the_load() && other.hits_the_load() && self.kind() == other.kind()
    }

    /// Whether it is in force at some moment of that window, as far as is known beforehand.
    pub(super) fn overlaps(&self, (at, lasts): (Span, Span)) -> bool {
        self.after.is_some() || (self.at.0 < at.0 + lasts.0 && at.0 < self.at.0 + self.lasts.0)
    }

    /// Whether it may be in force beside all others that are at the same time.
    pub(super) fn keeps_to(&self, limits: Limits, others: &[Self], nodes: &[NodeName]) -> bool {
        let window = (self.at, self.lasts);
        let at_once = others.iter().filter(|other| other.overlaps(window));
        let together: Vec<&Self> = at_once.chain([self]).collect();
        limits.breach(&together, nodes).is_none()
    }

    /// True when the two hit one victim, at whatever time.
    pub(super) fn shares_a_victim(&self, other: &Self) -> bool {
        self.nodes.iter().any(|node| other.nodes.contains(node))
            || self.links.iter().any(|link| other.links.contains(link))
            || self.loads_alike(other)
    }
}

impl PartialEq for ResolvedFault {
    fn eq(&self, other: &Self) -> bool {
        Written::from(self.clone()) == Written::from(other.clone())
    }
}

impl From<ResolvedFault> for Written {
    fn from(fault: ResolvedFault) -> Self {
        Self {
            kind: fault.kind().to_owned(),
            at: fault.at,
            lasts: fault.lasts,
            toxicity: fault.toxicity,
            until_recovered: fault.until_recovered,
            after: fault.after,
            settings: fault.fault.settings(),
            links: fault.links.iter().map(ToString::to_string).collect(),
            nodes: fault.nodes,
        }
    }
}

impl TryFrom<Written> for ResolvedFault {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        let entry = fault::entry(&written.kind).ok_or_else(|| {
            let hint = must_be_one_of(&written.kind, FAULTS.iter().map(|entry| entry.name));
            format!("`{}` is no kind of fault: {hint}", written.kind)
        })?;
        // Through the same reader as a plan's file, so that nothing is accepted here only.
        let text = toml::to_string(&written.settings).map_err(|error| error.to_string())?;
        let table = DeTable::parse(&text).map_err(|error| error.to_string())?;
        let source = Source { path: Path::new("settings"), text: None };
        let mut keys = Keys::new(source, entry.name, table.span(), table.into_inner());
        let fault = (entry.read)(&mut keys).map_err(|error| error.to_string())?;
        keys.finish().map_err(|error| error.to_string())?;
        let links: Result<Vec<LinkName>, _> =
            written.links.iter().map(|link| link.parse()).collect();
        let links = links.map_err(|error: super::provider::NotALink| error.to_string())?;
        let mut read = Self::new(fault, written.at, written.lasts, written.nodes, links);
        read.after = written.after;
        read.until_recovered = written.until_recovered;
        read.toxicity = written.toxicity;
        Ok(read)
    }
}
