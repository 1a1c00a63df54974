//! A fault plan as people write it: `chaos/*.toml` to a typed value, and from there, with the
//! nodes and links of a target and a seed, to the faults of one run.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use toml::{Spanned, de::DeTable};

use super::{
    draw::Ground,
    fault::{self, World},
    group,
    keys::{Keys, Source},
    limits::Limits,
    monkey::Monkey,
    planned::{Planned, Sheet},
    provider::{LinkName, Strike},
    resolved::{Resolved, ResolvedFault},
};
use crate::base::{file::FileError, name::NodeName, rng::Rng, span::Span};

/// Draws of the victims of one fault until it is in nobody's way, where the run may do without it.
const TRIES_MAX: u32 = 32;

/// Faults in one plan at most.
pub const FAULTS_MAX: usize = 1_000;

/// A plan: what is broken when, and for how long. Whom it hits is not yet drawn.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// What it is for, in a sentence.
    pub about: String,
    /// How far its faults may reach; plans that it takes in keep to these, too.
    pub limits: Limits,
    faults: Vec<Planned>,
    monkeys: Vec<Monkey>,
}

impl Plan {
    /// No faults at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a plan's file, and those that it is made of.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        Self::load_at(path, 0)
    }

    pub(super) fn load_at(path: &Path, depth: usize) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path).map_err(|error| FileError {
            path: path.to_owned(),
            line: None,
            key: None,
            what: format!("cannot be read: {error}"),
        })?;
        Self::parse_at(&text, path, depth)
    }

    /// Reads a plan that came from `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        Self::parse_at(text, path, 0)
    }

    fn parse_at(text: &str, path: &Path, depth: usize) -> Result<Self, FileError> {
        let source = Source { path, text: Some(text) };
        let table = DeTable::parse(text).map_err(|error| {
            source.error(&error.span().unwrap_or(0..0), "", error.message().trim())
        })?;
        let sheet = Arc::new(Sheet { path: path.to_owned(), text: text.to_owned() });
        let mut keys = Keys::new(source, "", table.span(), table.into_inner());
        let about = keys.text("about")?.map(Spanned::into_inner).unwrap_or_default();
        let limits = match keys.value("limits") {
            Some(table) => Limits::read(keys.table("limits", table)?)?,
            None => Limits::default(),
        };
        let mut plan = Self { about, limits, ..Self::default() };
        for fault in group::tables(&mut keys, "fault")? {
            plan.faults.push(group::fault(fault, &sheet, plan.faults.len())?);
        }
        for group in group::tables(&mut keys, "group")? {
            plan.faults.extend(group::group(group, &sheet, plan.faults.len())?);
        }
        for monkey in group::tables(&mut keys, "monkey")? {
            plan.monkeys.push(Monkey::read(monkey, &sheet)?);
        }
        for (number, other) in group::tables(&mut keys, "plan")?.into_iter().enumerate() {
            let (other, at) = group::plan(other, depth)?;
            plan.take_in(other, at, number);
        }
        keys.finish()?;
        Ok(plan)
    }

    /// Adds what another plan breaks, that much later. Its moments are drawn with streams of its own:
    /// of two copies each strikes at gaps of its own.
    fn take_in(&mut self, other: Self, at: Span, number: usize) {
        self.faults.extend(other.faults.into_iter().map(|mut planned| {
            planned.offset = Span(planned.offset.0.saturating_add(at.0));
            planned.beats = Arc::new(planned.beats.of_plan(number));
            planned
        }));
        self.monkeys.extend(other.monkeys.into_iter().map(|mut monkey| {
            monkey.offset = Span(monkey.offset.0.saturating_add(at.0));
            monkey
        }));
    }

    /// The kinds of its faults, in order; without those of its monkeys.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.faults.iter().map(|planned| planned.fault.kind())
    }

    /// Refuses a plan with a fault that has no meaning in that world.
    pub fn check_world(&self, world: World) -> Result<(), FileError> {
        for planned in &self.faults {
            if let Some(why) = planned.entry.refusal(world) {
                return Err(planned.sheet.source().error(&planned.kind, "fault.kind", why));
            }
        }
        self.monkeys.iter().find_map(|monkey| monkey.refusal(world)).map_or(Ok(()), Err)
    }

    /// Refuses faults that strike a node in a way that it has not.
    pub fn check_strikes(
        &self,
        resolved: &Resolved,
        can: impl Fn(&NodeName, Strike) -> bool,
    ) -> Result<(), FileError> {
        for fault in &resolved.faults {
            let Some(strike) = fault.fault().strike() else { continue };
            if let Some(node) = fault.nodes.iter().find(|node| !can(node, strike)) {
                let what = format!(
                    "there is no way to {strike} {node}, and to bring it back: give one in \
                     [victims] of the target's file, or take another fault"
                );
                return Err(self.error(fault, "fault.kind", what));
            }
        }
        Ok(())
    }

    /// Refuses faults that only nodes of the reference backend do to themselves.
    pub fn check_foreign(&self, resolved: &Resolved) -> Result<(), FileError> {
        for fault in &resolved.faults {
            if fault::entry(fault.kind()).is_some_and(|entry| !entry.roles.is_empty()) {
                let what = format!(
                    "`{}` is done by nodes of the reference backend, and by no others: take another \
                     fault",
                    fault.kind()
                );
                return Err(self.error(fault, "fault.kind", what));
            }
        }
        Ok(())
    }

    /// Refuses faults on what brokers hold where there are none.
    pub fn check_brokers(&self, resolved: &Resolved, nodes: &[NodeName]) -> Result<(), FileError> {
        if nodes.iter().any(|node| node.role() == "broker") {
            return Ok(());
        }
        let Some(fault) = resolved.faults.iter().find(|fault| fault.fault().on_brokers()) else {
            return Ok(());
        };
        let what = format!(
            "`{}` needs a broker, and the services of this run talk without: run it with --bus \
             rabbitmq, or take another fault",
            fault.kind()
        );
        Err(self.error(fault, "fault.kind", what))
    }

    /// Refuses faults that are to be in force together and would break a limit then.
    pub fn check_limits(&self, resolved: &Resolved, nodes: &[NodeName]) -> Result<(), FileError> {
        let Some((number, key, why)) = resolved.breach(nodes) else { return Ok(()) };
        Err(self.error(&resolved.faults[number], key, why))
    }

    /// An error about a fault, at its place.
    fn error(&self, fault: &ResolvedFault, key: &str, what: String) -> FileError {
        let planned = fault.planned.and_then(|number| self.faults.get(number));
        let monkey = self.monkeys.first().map(|monkey| monkey.error(key, &what));
        let at_its_place = planned.map(|planned| {
            let place =
                if key == "fault.kind" { &planned.kind } else { planned.beats.when.place() };
            planned.sheet.source().error(place, key, what.as_str())
        });
        at_its_place.or(monkey).unwrap_or(FileError {
            path: "none".into(),
            line: None,
            key: Some(key.to_owned()),
            what,
        })
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
        let rng = rng.fork("chaos");
        let ground = Ground { nodes, links, duration };
        let mut drawn = Drawn::on(&ground, self.limits);
        for (number, planned) in self.faults.iter().enumerate() {
            if planned.beats.when.repeats() {
                drawn.repeat(planned, number, &rng)?;
                continue;
            }
            for moment in planned.moments(duration, &rng) {
                let fault =
                    drawn.draw(planned, moment, &mut rng.fork(&format!("fault/{number}")))?;
                if let Some((earlier, victim)) = drawn.clash(&fault) {
                    return Err(self.cannot_both_hold(planned, earlier, &victim));
                }
                drawn.take(fault, number);
            }
        }
        let mut faults = drawn.faults;
        for (number, monkey) in self.monkeys.iter().enumerate() {
            let rng = rng.fork(&format!("monkey/{number}"));
            monkey.draw(&ground, self.limits, &mut faults, &rng);
        }
        Ok(Resolved { faults, limits: self.limits })
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
        let rng = rng.fork("chaos");
        let ground = Ground { nodes, links, duration };
        let mut drawn = Drawn::on(&ground, self.limits);
        let on = self.faults.iter().enumerate().filter(|(_, fault)| is_on(fault.entry.name));
        for (number, planned) in on {
            drawn.repeat(planned, number, &rng)?;
        }
        Ok(Resolved { faults: drawn.faults, limits: self.limits })
    }

    fn cannot_both_hold(&self, planned: &Planned, earlier: usize, victim: &str) -> FileError {
        let other = self.faults.get(earlier);
        let line = other.and_then(|other| other.sheet.source().line(&other.place));
        let what = format!(
            "this `{}` and the fault of line {} cannot both hold on {victim}: they overlap in time",
            planned.fault.kind(),
            line.unwrap_or_default(),
        );
        planned.beats.when.wrong(planned.sheet.source(), what)
    }
}

/// The faults that are drawn so far.
struct Drawn {
    nodes: BTreeSet<NodeName>,
    links: BTreeSet<LinkName>,
    duration: Duration,
    limits: Limits,
    faults: Vec<ResolvedFault>,
}

impl Drawn {
    fn on(ground: &Ground<'_>, limits: Limits) -> Self {
        Self {
            nodes: ground.nodes.iter().cloned().collect(),
            links: ground.links.iter().cloned().collect(),
            duration: ground.duration,
            limits,
            faults: Vec::new(),
        }
    }

    fn draw(
        &self,
        planned: &Planned,
        moment: Span,
        rng: &mut Rng,
    ) -> Result<ResolvedFault, FileError> {
        planned.resolve(moment, &self.nodes, &self.links, self.duration, rng)
    }

    /// The planned fault, and the victim, with which this one cannot hold.
    fn clash(&self, fault: &ResolvedFault) -> Option<(usize, String)> {
        self.faults.iter().find_map(|other| Some((other.planned?, other.clash(fault)?)))
    }

    fn take(&mut self, mut fault: ResolvedFault, number: usize) {
        fault.planned = Some(number);
        self.faults.push(fault);
    }

    /// Whether one more may be in force beside the others.
    fn fits(&self, fault: &ResolvedFault) -> bool {
        let nodes: Vec<NodeName> = self.nodes.iter().cloned().collect();
        self.clash(fault).is_none() && fault.keeps_to(self.limits, &self.faults, &nodes)
    }

    /// Takes a fault at each of its moments. One that is in another's way is drawn again, and left out
    /// where that helps nothing.
    fn repeat(&mut self, planned: &Planned, number: usize, rng: &Rng) -> Result<(), FileError> {
        let source = planned.sheet.source();
        let moments = planned.moments(self.duration, rng);
        if moments.is_empty() {
            let what = format!("does not strike once in a run of {}", Span(self.duration));
            return Err(planned.beats.when.wrong(source, what));
        }
        for (time, moment) in moments.into_iter().enumerate() {
            // The first draw is the one that a fault has which strikes once.
            let again = if time == 0 { String::new() } else { format!("/{time}") };
            let mut stream = rng.fork(&format!("fault/{number}{again}"));
            for _ in 0..TRIES_MAX {
                let fault = self.draw(planned, moment, &mut stream)?;
                if self.fits(&fault) {
                    self.take(fault, number);
                    break;
                }
            }
        }
        if self.faults.len() > FAULTS_MAX {
            let what =
                format!("makes more than {FAULTS_MAX} faults of this plan: strike less often");
            return Err(planned.beats.when.wrong(source, what));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
