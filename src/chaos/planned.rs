//! One fault as a plan has it: what, when and whom, before its victims are drawn.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use toml::Spanned;

use super::{
    aim::Aim,
    fault::{self, FAULTS, Fault, FaultEntry, Hits},
    keys::{At, Keys, Source},
    provider::{LinkName, Per, Toxicity},
    resolved::ResolvedFault,
    toxicity,
    when::When,
};
use crate::base::{file::FileError, name::NodeName, rng::Rng, span::Span, suggest::must_be_one_of};

/// A file that was read; a plan may be made of several.
#[derive(Debug)]
pub(super) struct Sheet {
    pub path: PathBuf,
    pub text: String,
}

impl Sheet {
    pub fn source(&self) -> Source<'_> {
        Source { path: &self.path, text: Some(&self.text) }
    }
}

/// A fault, not yet aimed.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub sheet: Arc<Sheet>,
    pub place: At,
    pub kind: At,
    pub entry: &'static FaultEntry,
    pub fault: Arc<dyn Fault>,
    /// None of one that hits the load.
    aim: Option<Aim>,
    toxicity: Option<Spanned<Toxicity>>,
    pub beats: Arc<Beats>,
    /// How long after each of its moments it begins.
    pub offset: Span,
    pub lasts: Spanned<Span>,
    until_recovered: bool,
}

/// The moments of a fault, or of all faults of a group together.
#[derive(Debug)]
pub(super) struct Beats {
    pub when: When,
    /// From a moment to the end of the last fault that belongs to it.
    pub length: Span,
    /// The stream that they are drawn with: one for all of a group.
    pub stream: String,
}

impl Beats {
    /// The same, drawn as those of the plan that is taken in at that place.
    pub fn of_plan(&self, number: usize) -> Self {
        let stream = format!("plan/{number}/{}", self.stream);
        Self { when: self.when.clone(), length: self.length, stream }
    }
}

/// Everything of a fault but when it strikes.
pub(super) struct Body {
    place: At,
    kind: At,
    entry: &'static FaultEntry,
    fault: Arc<dyn Fault>,
    aim: Option<Aim>,
    toxicity: Option<Spanned<Toxicity>>,
    pub lasts: Spanned<Span>,
    until_recovered: bool,
}

impl Body {
    /// Reads a table but for the keys that say when.
    pub fn read(keys: &mut Keys<'_>) -> Result<Self, FileError> {
        let names = FAULTS.iter().map(|entry| entry.name);
        let Some(kind) = keys.text("kind")? else {
            return Err(keys.lacks("kind", &must_be_one_of("", names)));
        };
        let Some(entry) = fault::entry(kind.get_ref()) else {
            let hint = must_be_one_of(kind.get_ref(), names);
            let what = format!("`{}` is no kind of fault: {hint}", kind.get_ref());
            return Err(keys.wrong(&kind.span(), "kind", what));
        };
        let aim = match entry.hits {
            Hits::Nodes => Some(Aim::nodes(keys)?),
            Hits::Links => Some(Aim::links(keys)?),
            Hits::Load => no_aim(keys, entry)?,
        };
        let toxicity = match entry.hits {
            Hits::Nodes | Hits::Load => None,
            Hits::Links => toxicity::read(keys)?,
        };
        let lasts = keys.needed_span("for", "say for how long: for = \"5s\"")?;
        if lasts.get_ref().0.is_zero() {
            let what = "must be more than zero: a fault of no length breaks nothing";
            return Err(keys.wrong(&lasts.span(), "for", what));
        }
        let until_recovered = until(keys, entry)?;
        let fault = (entry.read)(keys)?;
        if let Some(toxicity) = &toxicity
            && toxicity.get_ref().per == Per::Request
            && !fault.of_requests()
        {
            let what = format!("must be `connection`: `{}` is no matter of requests", entry.name);
            return Err(keys.wrong(&toxicity.span(), "toxicity_per", what));
        }
        let (place, kind) = (keys.at.clone(), kind.span());
        Ok(Self { place, kind, entry, fault, aim, toxicity, lasts, until_recovered })
    }

    /// The fault, at `offset` after each of those moments.
    pub fn at(self, sheet: &Arc<Sheet>, beats: &Arc<Beats>, offset: Span) -> Planned {
        let Self { place, kind, entry, fault, aim, toxicity, lasts, until_recovered } = self;
        let (sheet, beats) = (Arc::clone(sheet), Arc::clone(beats));
        Planned {
            sheet,
            place,
            kind,
            entry,
            fault,
            aim,
            toxicity,
            beats,
            offset,
            lasts,
            until_recovered,
        }
    }
}

/// Refuses whatever aims at nodes or links, where neither is hit.
fn no_aim(keys: &mut Keys<'_>, entry: &FaultEntry) -> Result<Option<Aim>, FileError> {
    for key in ["nodes", "select", "links", "mode", "value"] {
        if let Some(aim) = keys.value(key) {
            let what = format!(
                "has no meaning here: `{}` hits the load itself, of all robots together, and takes \
                 no aim; leave it out",
                entry.name
            );
            return Err(keys.wrong(&aim.span(), key, what));
        }
    }
    Ok(None)
}

/// Reads `until = "recovered"`.
fn until(keys: &mut Keys<'_>, entry: &FaultEntry) -> Result<bool, FileError> {
    let Some(until) = keys.text("until")? else { return Ok(false) };
    if until.get_ref() != "recovered" {
        let what = "must be \"recovered\": the fault is over once its victims are well by themselves, \
                    and after `for` at the latest";
        return Err(keys.wrong(&until.span(), "until", what));
    }
    if entry.hits != Hits::Nodes {
        let what = "has a meaning only for faults on nodes: nothing else recovers by itself";
        return Err(keys.wrong(&until.span(), "until", what));
    }
    Ok(true)
}

impl Planned {
    /// Its moments in a demand of `duration`, in order.
    pub fn moments(&self, duration: Duration, rng: &Rng) -> Vec<Span> {
        let mut stream = rng.fork(&self.beats.stream);
        let room = duration.saturating_sub(self.offset.0);
        self.beats.when.moments(room, self.beats.length.0, &mut stream)
    }

    /// Draws its victims, for one that begins at its offset after `moment`.
    pub fn resolve(
        &self,
        moment: Span,
        nodes: &BTreeSet<NodeName>,
        links: &BTreeSet<LinkName>,
        duration: Duration,
        rng: &mut Rng,
    ) -> Result<ResolvedFault, FileError> {
        let source = self.sheet.source();
        let (at, lasts) = (Span(moment.0.saturating_add(self.offset.0)), *self.lasts.get_ref());
        let ends = Span(at.0.saturating_add(lasts.0));
        if ends.0 > duration {
            let what = format!(
                "the fault lasts until {ends} after time zero, and the run only {}: start it \
                 earlier, make it shorter, or make the run longer",
                Span(duration)
            );
            return Err(source.error(&self.lasts.span(), "fault.for", what));
        }
        let (nodes, links) = match &self.aim {
            Some(aim) => aim.resolve(source, nodes, links, rng)?,
            None => Default::default(),
        };
        if let Some(stranger) = nodes.iter().find(|node| !self.entry.suits(node)) {
            let what = format!(
                "`{}` has no meaning for {stranger}: aim at nodes of the role {}",
                self.entry.name,
                self.entry.roles.join(" or ")
            );
            return Err(source.error(&self.place, "fault", what));
        }
        let needs = self.fault.needs(nodes.len().max(links.len()));
        if lasts.0 < needs {
            let what = format!(
                "must be {} or more: {} victims, one after the other, need that to be broken and \
                 measured",
                Span(needs),
                nodes.len().max(links.len())
            );
            return Err(source.error(&self.lasts.span(), "fault.for", what));
        }
        if let Some(toxicity) = &self.toxicity
            && let Some(why) = toxicity::no_requests(*toxicity.get_ref(), &links)
        {
            return Err(source.error(&toxicity.span(), "fault.toxicity_per", why));
        }
        let mut fault = ResolvedFault::new(self.fault.clone(), at, lasts, nodes, links);
        fault.toxicity = self.toxicity.as_ref().map(|toxicity| *toxicity.get_ref());
        fault.after = self.beats.when.after;
        fault.until_recovered = self.until_recovered;
        Ok(fault)
    }
}
