//! A fault plan as people write it: `chaos/*.toml` to a typed value, and from there, with the
//! nodes and links of a target and a seed, to the faults of one run.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    aim::Aim,
    fault::{self, FAULTS, Fault, FaultEntry, Hits, World},
    keys::{At, Keys, Source},
    provider::{LinkName, Per, Toxicity},
    resolved::{Resolved, ResolvedFault},
    toxicity,
};
use crate::base::{file::FileError, name::NodeName, rng::Rng, span::Span, suggest::must_be_one_of};

/// Draws of the victims of one fault until it is in nobody's way, where the run may do without it.
const TRIES_MAX: u32 = 32;

/// Faults in one plan at most.
pub const FAULTS_MAX: usize = 1_000;

/// A plan: what is broken when, and for how long. Whom it hits is not yet drawn.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it is for, in a sentence.
    pub about: String,
    path: PathBuf,
    text: String,
    faults: Vec<Planned>,
}

#[derive(Debug, Clone)]
struct Planned {
    place: At,
    kind: At,
    entry: &'static FaultEntry,
    fault: Arc<dyn Fault>,
    aim: Aim,
    toxicity: Option<Spanned<Toxicity>>,
    at: Spanned<Span>,
    lasts: Spanned<Span>,
}

impl Plan {
    /// No faults at all.
    pub fn none() -> Self {
        Self {
            about: String::new(),
            path: PathBuf::from("none"),
            text: String::new(),
            faults: Vec::new(),
        }
    }

    /// Reads a plan's file.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path).map_err(|error| FileError {
            path: path.to_owned(),
            line: None,
            key: None,
            what: format!("cannot be read: {error}"),
        })?;
        Self::parse(&text, path)
    }

    /// Reads a plan that came from `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        let source = Source { path, text: Some(text) };
        let table = DeTable::parse(text).map_err(|error| {
            source.error(&error.span().unwrap_or(0..0), "", error.message().trim())
        })?;
        let mut keys = Keys::new(source, "", table.span(), table.into_inner());
        let about = keys.text("about")?.map(Spanned::into_inner).unwrap_or_default();
        let faults = match keys.value("fault") {
            Some(list) => read_faults(&keys, list)?,
            None => Vec::new(),
        };
        keys.finish()?;
        Ok(Self { about, path: path.to_owned(), text: text.to_owned(), faults })
    }

    /// The kinds of its faults, in order.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.faults.iter().map(|planned| planned.fault.kind())
    }

    /// Refuses a plan with a fault that has no meaning in that world.
    pub fn check_world(&self, world: World) -> Result<(), FileError> {
        for planned in &self.faults {
            if let Some(why) = planned.entry.refusal(world) {
                return Err(self.source().error(&planned.kind, "fault.kind", why));
            }
        }
        Ok(())
    }

    /// Draws the victims among the nodes and links of a target, with the stream `chaos` of the
    /// run's root stream; each fault has a stream of its own, so that adding one changes no other.
    pub fn resolve(
        &self,
        nodes: &[NodeName],
        links: &[LinkName],
        duration: Duration,
        rng: &Rng,
    ) -> Result<Resolved, FileError> {
        let (nodes, links) = (nodes.iter().cloned().collect(), links.iter().cloned().collect());
        let rng = rng.fork("chaos");
        let mut faults: Vec<ResolvedFault> = Vec::new();
        for (number, planned) in self.faults.iter().enumerate() {
            let mut stream = rng.fork(&format!("fault/{number}"));
            let fault = self.resolve_one(planned, &nodes, &links, duration, &mut stream)?;
            if let Some((earlier, victim)) =
                faults.iter().enumerate().find_map(|(i, other)| Some((i, other.clash(&fault)?)))
            {
                return Err(self.cannot_both_hold(planned, earlier, &victim));
            }
            faults.push(fault);
        }
        Ok(Resolved { faults })
    }

    /// The same for a run that varies what it breaks: only the kinds that are on are drawn at all,
    /// one that cannot hold beside an earlier one is drawn again, and left out where that helps
    /// nothing. An error is one of the plan, whatever the seed.
    pub fn resolve_some(
        &self,
        nodes: &[NodeName],
        links: &[LinkName],
        duration: Duration,
        rng: &Rng,
        is_on: impl Fn(&str) -> bool,
    ) -> Result<Resolved, FileError> {
        let (nodes, links) = (nodes.iter().cloned().collect(), links.iter().cloned().collect());
        let rng = rng.fork("chaos");
        let mut faults: Vec<ResolvedFault> = Vec::new();
        let on = self.faults.iter().enumerate().filter(|(_, fault)| is_on(fault.entry.name));
        for (number, planned) in on {
            // The first draw is that of `resolve`.
            let mut stream = rng.fork(&format!("fault/{number}"));
            for _ in 0..TRIES_MAX {
                let fault = self.resolve_one(planned, &nodes, &links, duration, &mut stream)?;
                if faults.iter().all(|other| other.clash(&fault).is_none()) {
                    faults.push(fault);
                    break;
                }
            }
        }
        Ok(Resolved { faults })
    }

    fn resolve_one(
        &self,
        planned: &Planned,
        nodes: &BTreeSet<NodeName>,
        links: &BTreeSet<LinkName>,
        duration: Duration,
        rng: &mut Rng,
    ) -> Result<ResolvedFault, FileError> {
        let source = self.source();
        let (at, lasts) = (*planned.at.get_ref(), *planned.lasts.get_ref());
        let ends = Span(at.0.saturating_add(lasts.0));
        if ends.0 > duration {
            let what = format!(
                "the fault lasts until {ends} after time zero, and the run only {}: start it \
                 earlier, make it shorter, or make the run longer",
                Span(duration)
            );
            return Err(source.error(&planned.lasts.span(), "fault.for", what));
        }
        let (nodes, links) = planned.aim.resolve(source, nodes, links, rng)?;
        let needs = planned.fault.needs(nodes.len().max(links.len()));
        if lasts.0 < needs {
            let what = format!(
                "must be {} or more: {} victims, one after the other, need that to be broken and \
                 measured",
                Span(needs),
                nodes.len().max(links.len())
            );
            return Err(source.error(&planned.lasts.span(), "fault.for", what));
        }
        if let Some(toxicity) = &planned.toxicity
            && let Some(why) = toxicity::no_requests(*toxicity.get_ref(), &links)
        {
            return Err(source.error(&toxicity.span(), "fault.toxicity_per", why));
        }
        let toxicity = planned.toxicity.as_ref().map(|toxicity| *toxicity.get_ref());
        let fault = ResolvedFault::new(planned.fault.clone(), at, lasts, nodes, links);
        Ok(fault.with_toxicity(toxicity))
    }

    fn cannot_both_hold(&self, planned: &Planned, earlier: usize, victim: &str) -> FileError {
        let source = self.source();
        let other = self.faults.get(earlier).and_then(|other| source.line(&other.place));
        let what = format!(
            "this `{}` and the fault of line {} cannot both hold on {victim}: they overlap in time",
            planned.fault.kind(),
            other.unwrap_or_default(),
        );
        source.error(&planned.at.span(), "fault.at", what)
    }

    fn source(&self) -> Source<'_> {
        Source { path: &self.path, text: Some(&self.text) }
    }
}

fn read_faults<'t>(keys: &Keys<'t>, list: Spanned<DeValue<'t>>) -> Result<Vec<Planned>, FileError> {
    let at = list.span();
    let DeValue::Array(list) = list.into_inner() else {
        return Err(keys.source.error(&at, "fault", "must be written as [[fault]], once for each"));
    };
    if list.len() > FAULTS_MAX {
        let what = format!("there are {} faults, and {FAULTS_MAX} are the most", list.len());
        return Err(keys.source.error(&at, "fault", what));
    }
    list.into_iter().map(|fault| read_fault(keys.table("fault", fault)?)).collect()
}

fn read_fault(mut keys: Keys<'_>) -> Result<Planned, FileError> {
    let names = FAULTS.iter().map(|entry| entry.name);
    let Some(kind) = keys.text("kind")? else {
        return Err(keys.lacks("kind", &must_be_one_of("", names)));
    };
    let Some(entry) = fault::entry(kind.get_ref()) else {
        let hint = must_be_one_of(kind.get_ref(), names);
        let what = format!("`{}` is no kind of fault: {hint}", kind.get_ref());
        return Err(keys.source.error(&kind.span(), "fault.kind", what));
    };
    let aim = match entry.hits {
        Hits::Nodes => Aim::nodes(&mut keys)?,
        Hits::Links => Aim::links(&mut keys)?,
    };
    let toxicity = match entry.hits {
        Hits::Nodes => None,
        Hits::Links => toxicity::read(&mut keys)?,
    };
    let at = keys.needed_span("at", "say when, after time zero: at = \"30s\"")?;
    let lasts = keys.needed_span("for", "say for how long: for = \"5s\"")?;
    if lasts.get_ref().0.is_zero() {
        let what = "must be more than zero: a fault of no length breaks nothing";
        return Err(keys.wrong(&lasts.span(), "for", what));
    }
    let fault = (entry.read)(&mut keys)?;
    if let Some(toxicity) = &toxicity
        && toxicity.get_ref().per == Per::Request
        && !fault.of_requests()
    {
        let what = format!("must be `connection`: `{}` is no matter of requests", entry.name);
        return Err(keys.wrong(&toxicity.span(), "toxicity_per", what));
    }
    let place = keys.at.clone();
    keys.finish()?;
    Ok(Planned { place, kind: kind.span(), entry, fault, aim, toxicity, at, lasts })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
