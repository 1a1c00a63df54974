//! Whom a fault hits: names, or a selector over nodes or links with a mode that says how many.

use std::{collections::BTreeSet, ops::RangeInclusive};

use toml::{Spanned, de::DeValue};

use super::{
    keys::{At, Keys, Source},
    provider::LinkName,
    shape::Shape,
};
use crate::base::{file::FileError, name::NodeName, rng::Rng, suggest::must_be_one_of};

/// The modes, in the words of Chaos Mesh.
const MODES: [&str; 5] = ["one", "all", "fixed", "fixed-percent", "random-max-percent"];

/// How many of those that a selector matches are hit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    One,
    All,
    Fixed(usize),
    FixedPercent(f64),
    RandomMaxPercent(f64),
}

/// One end of a link, or a node: everything that is given must match.
#[derive(Debug, Clone, Default)]
struct End {
    at: At,
    key: String,
    name: Option<String>,
    az: Option<String>,
    role: Option<String>,
}

/// Which links.
#[derive(Debug, Clone)]
enum Way {
    /// Those with this end, whichever of the two it is.
    Touching(End),
    /// Those dialled by the one to the other; an end left out matches all.
    FromTo(Option<End>, Option<End>),
    /// Those between the two, whoever dials.
    Between(End, End),
    /// Those between nodes among these that do not see each other.
    Torn(Shape, End),
}

#[derive(Debug, Clone)]
enum Wanted {
    Nodes(Vec<End>),
    Links(Vec<Way>),
}

/// Whom a fault hits, before it is resolved.
#[derive(Debug, Clone)]
pub(super) struct Aim {
    at: At,
    key: String,
    wanted: Wanted,
    mode: Mode,
}

impl Aim {
    /// Reads `nodes` or `select`, with `mode` and `value`.
    pub fn nodes(keys: &mut Keys<'_>) -> Result<Self, FileError> {
        let named = keys.value("nodes");
        let select = keys.value("select");
        let (at, key, ends, default) = match (named, select) {
            (Some(named), None) => {
                let at = named.span();
                (at, "nodes", names(keys, named)?, Some(Mode::All))
            }
            (None, Some(select)) => {
                let at = select.span();
                (at, "select", vec![End::read(keys, "select", select)?], None)
            }
            (Some(_), Some(select)) => {
                let what = "cannot stand beside `nodes`: keep one of them";
                return Err(keys.wrong(&select.span(), "select", what));
            }
            (None, None) => {
                let hint = "say whom to hit: nodes = [\"b/storage-1\"], or \
                            select = { role = \"core\", az = \"c\" } with a mode";
                return Err(keys.lacks("nodes", hint));
            }
        };
        let mode = Mode::read(keys, default)?;
        Ok(Self { at, key: keys.dotted(key), wanted: Wanted::Nodes(ends), mode })
    }

    /// Reads `links`, with `mode` and `value`.
    pub fn links(keys: &mut Keys<'_>) -> Result<Self, FileError> {
        let Some(value) = keys.value("links") else {
            let hint = "say which: links = { az = \"a\" }, { from = \"robots\" } or \
                        { from = { role = \"core\" }, to = \"b/storage-1\" }";
            return Err(keys.lacks("links", hint));
        };
        let at = value.span();
        let ways = match value.into_inner() {
            DeValue::Array(list) => {
                list.into_iter().map(|item| Way::read(keys, item)).collect::<Result<Vec<_>, _>>()?
            }
            other => vec![Way::read(keys, Spanned::new(at.clone(), other))?],
        };
        let mode = Mode::read(keys, Some(Mode::All))?;
        Ok(Self { at, key: keys.dotted("links"), wanted: Wanted::Links(ways), mode })
    }

    /// The nodes and links that are hit, drawn with `rng`, sorted.
    pub fn resolve(
        &self,
        source: Source<'_>,
        nodes: &BTreeSet<NodeName>,
        links: &BTreeSet<LinkName>,
        rng: &mut Rng,
    ) -> Result<(Vec<NodeName>, Vec<LinkName>), FileError> {
        let nothing =
            |of: &str| source.error(&self.at, &self.key, format!("matches no {of} of this target"));
        match &self.wanted {
            Wanted::Nodes(ends) => {
                for end in ends {
                    end.check(source, nodes)?;
                }
                let found: BTreeSet<_> =
                    nodes.iter().filter(|node| ends.iter().any(|end| end.matches(node))).collect();
                if found.is_empty() {
                    return Err(nothing("node"));
                }
                Ok((self.draw(source, found, rng)?, Vec::new()))
            }
            Wanted::Links(ways) => {
                let known: BTreeSet<NodeName> =
                    links.iter().flat_map(|link| [link.from.clone(), link.to.clone()]).collect();
                for end in ways.iter().flat_map(Way::ends) {
                    end.check(source, &known)?;
                }
                let mut found = BTreeSet::new();
                for way in ways {
                    found.extend(way.find(source, &known, links, rng)?);
                }
                if found.is_empty() {
                    return Err(nothing("link"));
                }
                Ok((Vec::new(), self.draw(source, found, rng)?))
            }
        }
    }

    /// Some of those that were found, as the mode says, in their own order.
    fn draw<T: Clone + Ord>(
        &self,
        source: Source<'_>,
        found: BTreeSet<&T>,
        rng: &mut Rng,
    ) -> Result<Vec<T>, FileError> {
        let mut left: Vec<&T> = found.into_iter().collect();
        let percent = |p: f64| (libm::ceil(left.len() as f64 * p / 100.0) as usize).max(1);
        let count = match self.mode {
            Mode::All => left.len(),
            Mode::One => 1,
            Mode::Fixed(count) if count > left.len() => {
                let what = format!("{count} are to be hit, and only {} match", left.len());
                return Err(source.error(&self.at, &self.key, what));
            }
            Mode::Fixed(count) => count,
            Mode::FixedPercent(p) => percent(p),
            Mode::RandomMaxPercent(p) => 1 + rng.below(percent(p)),
        };
        let mut drawn = BTreeSet::new();
        while drawn.len() < count && !left.is_empty() {
            drawn.insert(left.swap_remove(rng.below(left.len())).clone());
        }
        Ok(drawn.into_iter().collect())
    }
}

/// The list of `nodes`.
fn names(keys: &Keys<'_>, value: Spanned<DeValue<'_>>) -> Result<Vec<End>, FileError> {
    let at = value.span();
    let wrong =
        || keys.source.error(&at, &keys.dotted("nodes"), "must be a list of names of nodes");
    let DeValue::Array(list) = value.into_inner() else { return Err(wrong()) };
    list.into_iter()
        .map(|item| {
            let at = item.span();
            let DeValue::String(name) = item.into_inner() else { return Err(wrong()) };
            let name = Some(name.into_owned());
            Ok(End { at, key: keys.dotted("nodes"), name, ..End::default() })
        })
        .collect()
}

impl End {
    /// A name, or a table of `name`, `az` and `role`.
    fn read<'t>(
        keys: &Keys<'t>,
        key: &str,
        value: Spanned<DeValue<'t>>,
    ) -> Result<Self, FileError> {
        let at = value.span();
        if let DeValue::String(name) = value.get_ref() {
            let name = Some(name.clone().into_owned());
            return Ok(Self { at, key: keys.dotted(key), name, ..Self::default() });
        }
        let mut inner = keys.table(key, value)?;
        let end = Self::of_keys(&mut inner)?;
        if !end.says_something() {
            return Err(inner.lacks("az", "say az, role or name, or every node is hit"));
        }
        inner.finish()?;
        Ok(end)
    }

    fn of_keys(keys: &mut Keys<'_>) -> Result<Self, FileError> {
        let mut text = |key| keys.text(key).map(|read| read.map(Spanned::into_inner));
        let (name, az, role) = (text("name")?, text("az")?, text("role")?);
        let key = keys.dotted("").trim_end_matches('.').to_owned();
        Ok(Self { at: keys.at.clone(), key, name, az, role })
    }

    fn says_something(&self) -> bool {
        self.name.is_some() || self.az.is_some() || self.role.is_some()
    }

    fn matches(&self, node: &NodeName) -> bool {
        let is = |wanted: &Option<String>, word: &str| wanted.as_ref().is_none_or(|w| w == word);
        is(&self.name, node.as_str()) && is(&self.az, node.az()) && is(&self.role, node.role())
    }

    /// Every word must be that of some node, so that a slip of the pen is not "matches nothing".
    fn check(&self, source: Source<'_>, nodes: &BTreeSet<NodeName>) -> Result<(), FileError> {
        type Word = fn(&NodeName) -> &str;
        let words: [(&Option<String>, &str, Word); 3] = [
            (&self.name, "no node is called", NodeName::as_str),
            (&self.az, "no node is in the AZ", NodeName::az),
            (&self.role, "no node has the role", NodeName::role),
        ];
        for (wanted, complaint, word) in words {
            let Some(wanted) = wanted else { continue };
            let known: BTreeSet<&str> =
                nodes.iter().map(word).filter(|known| !known.is_empty()).collect();
            if !known.contains(wanted.as_str()) {
                let hint = must_be_one_of(wanted, known);
                let what = format!("{complaint} `{wanted}`: {hint}");
                return Err(source.error(&self.at, &self.key, what));
            }
        }
        Ok(())
    }
}

impl Way {
    fn read<'t>(keys: &Keys<'t>, value: Spanned<DeValue<'t>>) -> Result<Self, FileError> {
        let mut inner = keys.table("links", value)?;
        let from = inner.value("from").map(|end| End::read(&inner, "from", end)).transpose()?;
        let to = inner.value("to").map(|end| End::read(&inner, "to", end)).transpose()?;
        let between = inner.value("between");
        let shape = inner.text("shape")?;
        let among = inner.value("among").map(|end| End::read(&inner, "among", end)).transpose()?;
        let touching = End::of_keys(&mut inner)?;
        let directed = from.is_some() || to.is_some();
        let torn = shape.is_some() || among.is_some();
        let ways = [directed, between.is_some(), torn, touching.says_something()];
        let way = match (ways.iter().filter(|given| **given).count(), between) {
            (1, Some(between)) => Self::between(&inner, between)?,
            (1, None) if torn => Self::torn(&inner, shape, among)?,
            (1, None) if directed => Self::FromTo(from, to),
            (1, None) => Self::Touching(touching),
            _ => {
                let what = "must say one of these: az, role or name of one end; from and to; \
                            between = [one end, the other]; or shape and among";
                return Err(inner.source.error(&inner.at, &keys.dotted("links"), what));
            }
        };
        inner.finish()?;
        Ok(way)
    }

    fn between<'t>(keys: &Keys<'t>, value: Spanned<DeValue<'t>>) -> Result<Self, FileError> {
        let at = value.span();
        let wrong = || {
            let what = "must be a list of two: [{ az = \"a\" }, { az = \"b\" }]";
            keys.source.error(&at, &keys.dotted("between"), what)
        };
        let DeValue::Array(list) = value.into_inner() else { return Err(wrong()) };
        let mut ends = list.into_iter();
        let (Some(one), Some(other), None) = (ends.next(), ends.next(), ends.next()) else {
            return Err(wrong());
        };
        Ok(Self::Between(End::read(keys, "between", one)?, End::read(keys, "between", other)?))
    }

    fn torn(
        keys: &Keys<'_>,
        shape: Option<Spanned<String>>,
        among: Option<End>,
    ) -> Result<Self, FileError> {
        let words = Shape::ALL.map(|(word, _)| word);
        let Some(shape) = shape else {
            return Err(keys.lacks("shape", &must_be_one_of("", words)));
        };
        let Some(among) = among else {
            let hint = "say which nodes are torn apart: among = { role = \"core\" }";
            return Err(keys.lacks("among", hint));
        };
        let known = Shape::ALL.into_iter().find(|(word, _)| word == shape.get_ref());
        let Some((_, known)) = known else {
            let hint = must_be_one_of(shape.get_ref(), words);
            let what = format!("`{}` is no shape: {hint}", shape.get_ref());
            return Err(keys.wrong(&shape.span(), "shape", what));
        };
        Ok(Self::Torn(known, among))
    }

    /// The links that are meant; `nodes` are the ends of all of them.
    fn find<'a>(
        &self,
        source: Source<'_>,
        nodes: &BTreeSet<NodeName>,
        links: &'a BTreeSet<LinkName>,
        rng: &mut Rng,
    ) -> Result<BTreeSet<&'a LinkName>, FileError> {
        let Self::Torn(shape, among) = self else {
            return Ok(links.iter().filter(|link| self.matches(link)).collect());
        };
        let torn = nodes.iter().filter(|node| among.matches(node)).cloned().collect();
        shape.cut(&torn, links, rng).map_err(|why| source.error(&among.at, &among.key, why))
    }

    fn ends(&self) -> Vec<&End> {
        match self {
            Self::Touching(end) | Self::Torn(_, end) => vec![end],
            Self::FromTo(from, to) => from.iter().chain(to).collect(),
            Self::Between(one, other) => vec![one, other],
        }
    }

    fn matches(&self, link: &LinkName) -> bool {
        let fits = |end: &Option<End>, node| end.as_ref().is_none_or(|end| end.matches(node));
        match self {
            Self::Touching(end) => end.matches(&link.from) || end.matches(&link.to),
            Self::FromTo(from, to) => fits(from, &link.from) && fits(to, &link.to),
            Self::Between(one, other) => {
                (one.matches(&link.from) && other.matches(&link.to))
                    || (other.matches(&link.from) && one.matches(&link.to))
            }
            // Which of them is drawn: see `find`.
            Self::Torn(_, among) => among.matches(&link.from) && among.matches(&link.to),
        }
    }
}

impl Mode {
    fn read(keys: &mut Keys<'_>, default: Option<Self>) -> Result<Self, FileError> {
        let word = keys.text("mode")?;
        let value = keys.number("value")?;
        let Some(word) = word else {
            return match (default, value) {
                (Some(mode), None) => Ok(mode),
                (_, Some(_)) => Err(keys.lacks("mode", "`value` needs a mode that uses it")),
                (None, None) => {
                    let hint = format!("say how many of them: {}", MODES.join(", "));
                    Err(keys.lacks("mode", &hint))
                }
            };
        };
        match word.get_ref().as_str() {
            plain @ ("one" | "all") => match value {
                None if plain == "one" => Ok(Self::One),
                None => Ok(Self::All),
                Some(value) => {
                    let what = format!("means nothing with the mode `{plain}`");
                    Err(keys.wrong(&value.span(), "value", what))
                }
            },
            "fixed" => {
                let wanted = "how many: a whole number from 1";
                let at = value.as_ref().map(Spanned::span);
                let count = Self::value(keys, value, 1.0..=1e6, wanted)?;
                match at {
                    Some(at) if count.fract() > 0.0 => {
                        Err(keys.wrong(&at, "value", format!("must be {wanted}")))
                    }
                    _ => Ok(Self::Fixed(count as usize)),
                }
            }
            "fixed-percent" => Ok(Self::FixedPercent(Self::percent(keys, value)?)),
            "random-max-percent" => Ok(Self::RandomMaxPercent(Self::percent(keys, value)?)),
            other => {
                let what = format!("`{other}` is no mode: {}", must_be_one_of(other, MODES));
                Err(keys.wrong(&word.span(), "mode", what))
            }
        }
    }

    fn percent(keys: &Keys<'_>, value: Option<Spanned<f64>>) -> Result<f64, FileError> {
        Self::value(keys, value, f64::MIN_POSITIVE..=100.0, "a percentage above 0, up to 100")
    }

    fn value(
        keys: &Keys<'_>,
        value: Option<Spanned<f64>>,
        range: RangeInclusive<f64>,
        wanted: &str,
    ) -> Result<f64, FileError> {
        let Some(value) = value else { return Err(keys.lacks("value", &format!("say {wanted}"))) };
        if range.contains(value.get_ref()) {
            return Ok(*value.get_ref());
        }
        Err(keys.wrong(&value.span(), "value", format!("must be {wanted}")))
    }
}
