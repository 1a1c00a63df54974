//! A monkey: breaks something now and then, and nobody wrote down what. The seed draws when, what and
//! whom; a replay plays the very same.

use std::{sync::Arc, time::Duration};

use toml::{Spanned, de::DeValue};

use super::{
    draw::Ground,
    fault::{self, FAULTS, FaultEntry, World},
    keys::{At, Keys},
    limits::Limits,
    planned::Sheet,
    resolved::ResolvedFault,
    when::When,
};
use crate::base::{file::FileError, rng::Rng, span::Span, suggest::must_be_one_of};

/// A fault of a monkey is no shorter, unless it says so: a shorter one may not be measured.
const SHORTEST: Span = Span::secs(3);
/// And no longer, unless it says so.
const LONGEST: Span = Span::secs(15);
/// Faults of it at a time, unless it says otherwise.
const AT_ONCE: u32 = 1;
const AT_ONCE_MAX: u32 = 100;

/// Draws faults at a rate.
#[derive(Debug, Clone)]
pub(super) struct Monkey {
    sheet: Arc<Sheet>,
    place: At,
    when: When,
    kinds: Vec<&'static FaultEntry>,
    shortest: Span,
    longest: Span,
    at_once: usize,
    /// Its time zero, where its plan is part of another.
    pub offset: Span,
}

impl Monkey {
    pub fn read(mut keys: Keys<'_>, sheet: &Arc<Sheet>) -> Result<Self, FileError> {
        let place = keys.at.clone();
        let when = When::read(&mut keys, None)?;
        if !when.repeats() {
            let hint = "say how often: poisson = \"60s\" is once a minute in the mean";
            return Err(keys.lacks("poisson", hint));
        }
        let kinds = kinds(&mut keys)?;
        let shortest = keys.span("shortest")?.map_or(SHORTEST, Spanned::into_inner);
        let longest = keys.span("longest")?;
        let most = longest.as_ref().map_or(LONGEST.max(shortest), |most| *most.get_ref());
        if most < shortest || shortest.0.is_zero() {
            let at = longest.map_or_else(|| place.clone(), |most| most.span());
            let what = format!("must be `shortest` ({shortest}) or more, and both more than zero");
            return Err(keys.wrong(&at, "longest", what));
        }
        let at_once = match keys.number("at_once")? {
            None => AT_ONCE,
            Some(number) => a_few(&keys, &number)?,
        };
        keys.finish()?;
        let sheet = Arc::clone(sheet);
        let (longest, at_once, offset) = (most, at_once as usize, Span::default());
        Ok(Self { sheet, place, when, kinds, shortest, longest, at_once, offset })
    }

    /// The kinds that it may draw and where it is written, for the refusal of those that have no
    /// meaning in a world.
    pub fn refusal(&self, world: World) -> Option<FileError> {
        let why = self.kinds.iter().find_map(|entry| entry.refusal(world))?;
        Some(self.sheet.source().error(&self.place, "monkey.kinds", why))
    }

    /// An error about what it draws.
    pub fn error(&self, key: &str, what: &str) -> FileError {
        self.sheet.source().error(&self.place, key, what)
    }

    /// Adds what it breaks to `faults`. Where nothing fits beside what is there, it does nothing at
    /// that moment.
    pub fn draw(
        &self,
        ground: &Ground<'_>,
        limits: Limits,
        faults: &mut Vec<ResolvedFault>,
        rng: &Rng,
    ) {
        let mut times = rng.fork("when");
        let room = ground.duration.saturating_sub(self.offset.0);
        let moments = self.when.moments(room, self.shortest.0, &mut times);
        for (number, moment) in moments.into_iter().enumerate() {
            let at = Span(moment.0 + self.offset.0);
            let mut rng = rng.fork(&number.to_string());
            let lasts = self.lasts(ground.duration.saturating_sub(at.0), &mut rng);
            let window = (at, lasts);
            let at_once = faults.iter().filter(|other| other.overlaps(window)).count();
            if at_once >= self.at_once || self.kinds.is_empty() {
                continue;
            }
            let kind = self.kinds[rng.below(self.kinds.len())];
            let drawn = ground.draw_at(kind, window, faults, &mut rng);
            faults.extend(drawn.filter(|fault| fault.keeps_to(limits, faults, ground.nodes)));
        }
    }

    /// For how long, in whole milliseconds and no longer than there is room; short ones are likelier.
    fn lasts(&self, room: Duration, rng: &mut Rng) -> Span {
        let ms = |span: Span| span.0.as_millis() as f64;
        let drawn = Span::millis(rng.log_between(ms(self.shortest), ms(self.longest)) as u64);
        drawn.min(Span(room))
    }
}

/// The kinds of `kinds`; without it all that have a meaning in both worlds.
fn kinds(keys: &mut Keys<'_>) -> Result<Vec<&'static FaultEntry>, FileError> {
    let Some(list) = keys.value("kinds") else {
        let both =
            |entry: &&FaultEntry| World::BOTH.iter().all(|world| entry.worlds.contains(world));
        return Ok(FAULTS.iter().filter(both).collect());
    };
    let at = list.span();
    let wrong = || keys.wrong(&at, "kinds", "must be a list of kinds: [\"kill\", \"latency\"]");
    let DeValue::Array(list) = list.into_inner() else { return Err(wrong()) };
    let read = list.into_iter().map(|item| {
        let at = item.span();
        let DeValue::String(name) = item.into_inner() else { return Err(wrong()) };
        fault::entry(&name).ok_or_else(|| {
            let hint = must_be_one_of(&name, FAULTS.iter().map(|entry| entry.name));
            keys.wrong(&at, "kinds", format!("`{name}` is no kind of fault: {hint}"))
        })
    });
    let kinds: Vec<_> = read.collect::<Result<_, _>>()?;
    if kinds.is_empty() {
        return Err(wrong());
    }
    Ok(kinds)
}

fn a_few(keys: &Keys<'_>, number: &Spanned<f64>) -> Result<u32, FileError> {
    let value = *number.get_ref();
    if value.fract() == 0.0 && (1.0..=f64::from(AT_ONCE_MAX)).contains(&value) {
        return Ok(value as u32);
    }
    let what = format!("must be a whole number from 1 to {AT_ONCE_MAX}");
    Err(keys.wrong(&number.span(), "at_once", what))
}
