//! Picks: what is read out of an answer by a JSONPath, an expression, or a constant, and how it is
//! turned into an id, a number, an amount, a place.

use std::borrow::Cow;

use serde_json::Value;
use serde_json_path::JsonPath;

use super::{
    grammar::{self, Unit},
    scope::{Answered, Scope},
    template::Test,
};
use crate::base::id::Id;

/// A JSONPath; a chain of names is followed without a detour.
#[derive(Debug)]
pub enum Path {
    /// `$.a.b`.
    Chain(Vec<String>),
    /// Anything else.
    Query(Box<JsonPath>),
}

impl Path {
    /// Compiles it; the error says what is wrong.
    pub fn compile(source: &str) -> Result<Self, String> {
        let word = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if source == "$" {
            return Ok(Self::Chain(Vec::new()));
        }
        if let Some(rest) = source.strip_prefix("$.")
            && rest.split('.').all(word)
            && !rest.starts_with(|c: char| c.is_ascii_digit())
        {
            return Ok(Self::Chain(rest.split('.').map(str::to_owned).collect()));
        }
        match JsonPath::parse(source) {
            Ok(path) => Ok(Self::Query(Box::new(path))),
            Err(why) => Err(format!(
                "`{source}` is not a JSONPath ({}): write it like $.data.id or $.jobs[*]",
                why.message()
            )),
        }
    }

    /// Whether it leads to anything, and be it `null`.
    fn leads(&self, value: &Value) -> bool {
        match self {
            Self::Chain(names) => names
                .iter()
                .try_fold(value, |value, name| value.get(name.as_str()))
                .is_some_and(|found| !names.is_empty() || !found.is_null()),
            Self::Query(path) => path.query(value).first().is_some(),
        }
    }

    /// Its first match that is not null.
    pub fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        let found = match self {
            Self::Chain(names) => {
                names.iter().try_fold(value, |value, name| value.get(name.as_str()))
            }
            Self::Query(path) => path.query(value).first(),
        };
        found.filter(|value| !value.is_null())
    }

    /// All its matches; a single match that is a list stands for its entries.
    pub fn all<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let all = match self {
            Self::Chain(_) => self.first(value).into_iter().collect(),
            Self::Query(path) => path.query(value).all(),
        };
        match all.as_slice() {
            [Value::Array(list)] => list.iter().collect(),
            _ => all,
        }
    }
}

/// Parts of a JSONPath that may match nothing of what is there.
const MANY: &[&str] = &["[*", "[?", ".*", ".."];

/// A JSONPath to entries, which can be told from a path to nothing: none of them, and no list, are
/// two things.
#[derive(Debug)]
pub struct List {
    path: Path,
    /// The list itself, where the path leads to its entries (`$.jobs` of `$.jobs[*]`).
    whole: Option<Path>,
}

impl List {
    /// Compiles it; the error says what is wrong.
    pub fn compile(source: &str) -> Result<Self, String> {
        let path = Path::compile(source)?;
        // Up to the first part that may match nothing of what is there. What does not read as a
        // path was cut within a name.
        let many = |at: &usize| MANY.iter().any(|many| source[*at..].starts_with(many));
        let mut cuts = source.char_indices().map(|(at, _)| at).filter(many);
        let whole = cuts.find_map(|at| Path::compile(&source[..at]).ok());
        Ok(Self { path, whole })
    }

    /// The entries; `None` where the list is not there at all. One that is `null` has none.
    pub fn entries<'v>(&self, value: &'v Value) -> Option<Vec<&'v Value>> {
        let all = self.path.all(value);
        let is_there = !all.is_empty() || self.whole.as_ref().unwrap_or(&self.path).leads(value);
        is_there.then(|| all.into_iter().filter(|entry| !entry.is_null()).collect())
    }

    /// Its entries, as far as there are any.
    pub fn all<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        self.entries(value).unwrap_or_default()
    }
}

/// Where a value comes from.
#[derive(Debug)]
enum From {
    Path(Path),
    Formula(Test),
    Is(Value),
}

/// One thing that is picked, compiled.
#[derive(Debug)]
pub struct Pick {
    /// The key in the file, for errors.
    key: String,
    from: From,
    unit: Option<Unit>,
    /// It is what is kept of a job under that name.
    pub of: Option<String>,
}

impl Pick {
    /// Compiles it; `key` leads to it. The error says what is wrong.
    pub fn compile(pick: &grammar::Pick, key: &str) -> Result<Self, String> {
        let more = match pick {
            grammar::Pick::Path(path) => {
                let from = From::Path(Path::compile(path)?);
                return Ok(Self { key: key.to_owned(), from, unit: None, of: None });
            }
            grammar::Pick::More(more) => more,
        };
        let from = match (&more.path, &more.expr, &more.is) {
            (Some(path), None, None) => From::Path(Path::compile(path)?),
            (None, Some(expr), None) => From::Formula(Test::compile(expr)?),
            (None, None, Some(is)) => {
                From::Is(serde_json::to_value(is).map_err(|why| why.to_string())?)
            }
            _ => return Err("give one of path, expr, is".to_owned()),
        };
        Ok(Self { key: key.to_owned(), from, unit: more.unit, of: more.of.clone() })
    }

    /// The key in the file.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The names of its expression.
    pub fn names(&self) -> Vec<String> {
        match &self.from {
            From::Formula(test) => test.names(),
            _ => Vec::new(),
        }
    }

    /// Whether it reads anything of the body.
    pub fn needs_body(&self) -> bool {
        match &self.from {
            From::Path(_) => true,
            From::Formula(test) => test.names().iter().any(|name| is_of(name, "body")),
            From::Is(_) => false,
        }
    }

    /// What is said where it found nothing and had to.
    pub fn missing(&self) -> String {
        format!("`{}` matched nothing", self.key)
    }

    /// The value, in `within` (an entry of a list, or the whole body).
    pub fn value<'v>(&'v self, scope: &Scope<'_>, within: &'v Value) -> Option<Cow<'v, Value>> {
        match &self.from {
            From::Path(path) => path.first(within).map(Cow::Borrowed),
            From::Is(value) => Some(Cow::Borrowed(value)),
            From::Formula(test) => {
                let answer =
                    scope.answer.map_or(Answered { status: 0, body: within, key: "" }, |answer| {
                        Answered { body: within, ..answer }
                    });
                let scope = Scope { answer: Some(answer), ..*scope };
                test.value(&scope).filter(|value| !value.is_null()).map(Cow::Owned)
            }
        }
    }

    /// The same as text: texts, numbers and truths.
    pub fn text(&self, scope: &Scope<'_>, within: &Value) -> Result<Option<String>, String> {
        let Some(value) = self.value(scope, within) else { return Ok(None) };
        match value.as_ref() {
            Value::String(text) => Ok(Some(text.clone())),
            Value::Number(number) => Ok(Some(number.to_string())),
            Value::Bool(truth) => Ok(Some(truth.to_string())),
            other => Err(self.wrong(other, "a text or a number")),
        }
    }

    /// The same as an id.
    pub fn id(&self, scope: &Scope<'_>, within: &Value) -> Result<Option<Id>, String> {
        let text = self.text(scope, within)?;
        Ok(text.filter(|text| !text.is_empty()).map(|text| Id::from(text.as_str())))
    }

    /// The same as a truth: false, 0 and no text are not.
    pub fn truth(&self, scope: &Scope<'_>, within: &Value) -> bool {
        match self.value(scope, within).as_deref() {
            None | Some(Value::Null) => false,
            Some(Value::Bool(truth)) => *truth,
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            Some(Value::String(text)) => !matches!(text.as_str(), "" | "false" | "0"),
            Some(_) => true,
        }
    }

    /// The same as a number in our unit (degrees, seconds).
    pub fn number(&self, scope: &Scope<'_>, within: &Value) -> Result<Option<f64>, String> {
        let Some(text) = self.text(scope, within)? else { return Ok(None) };
        let number: f64 = text
            .trim()
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .ok_or_else(|| self.wrong(&Value::from(text), "a number"))?;
        Ok(Some(match self.unit {
            Some(Unit::Minutes) => number * 60.0,
            Some(Unit::MicroDegrees) => number / 1e6,
            _ => number,
        }))
    }

    /// The same as milliseconds: a plain number is in them.
    pub fn millis(&self, scope: &Scope<'_>, within: &Value) -> Result<Option<u64>, String> {
        let per_unit = match self.unit {
            // `number` makes seconds of minutes.
            Some(Unit::Seconds | Unit::Minutes) => 1e3,
            _ => 1.0,
        };
        Ok(self.number(scope, within)?.map(|number| (number * per_unit).max(0.0) as u64))
    }

    /// The same as an amount in minor units, of which `digits` decimals make a major one. Exact: no
    /// float is in between where the backend sends a text or a plain decimal.
    pub fn amount(
        &self,
        scope: &Scope<'_>,
        within: &Value,
        digits: u32,
    ) -> Result<Option<i64>, String> {
        let Some(text) = self.text(scope, within)? else { return Ok(None) };
        let digits = if self.unit == Some(Unit::Major) { digits } else { 0 };
        match decimal(text.trim(), digits) {
            Some(amount) => Ok(Some(amount)),
            None => Err(self.wrong(&Value::from(text), "an amount of money")),
        }
    }

    /// What was found is not what the key needs.
    fn wrong(&self, found: &Value, wanted: &str) -> String {
        let mut found = found.to_string();
        if found.len() > 80 {
            found = found.chars().take(80).chain("…".chars()).collect();
        }
        format!("`{}`: {found} is not {wanted}", self.key)
    }
}

/// Whether a dotted name is of that root.
fn is_of(name: &str, root: &str) -> bool {
    name.split('.').next() == Some(root)
}

/// A decimal times ten to the `digits`, exactly; `None` for anything else, and for what has more
/// decimals that are not zero.
fn decimal(text: &str, digits: u32) -> Option<i64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(part) {
        return None;
    }
    let kept = part.len().min(digits as usize);
    if part[kept..].bytes().any(|byte| byte != b'0') {
        return None;
    }
    let padding = "0".repeat(digits as usize - kept);
    let amount: i64 = format!("{whole}{}{padding}", &part[..kept]).parse().ok()?;
    Some(if negative { -amount } else { amount })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_follow_names_and_queries() {
        let value = json!({"data": {"id": 7, "none": null, "list": [{"a": 1}, {"a": 2}]}});
        let first = |path: &str| Path::compile(path).unwrap().first(&value).cloned();
        assert_eq!(first("$.data.id"), Some(json!(7)));
        assert_eq!(first("$.data.none"), None);
        assert_eq!(first("$.data.list[1].a"), Some(json!(2)));
        assert_eq!(first("$.data.list[?@.a == 2].a"), Some(json!(2)));
        assert_eq!(first("$.nothing.at.all"), None);
        assert_eq!(Path::compile("$.data.list").unwrap().all(&value).len(), 2);
        assert_eq!(Path::compile("$.data.list[*].a").unwrap().all(&value).len(), 2);
        let list = |path: &str| List::compile(path).unwrap().entries(&value).map(|all| all.len());
        assert_eq!(list("$.data.list"), Some(2));
        assert_eq!(list("$.data.list[*]"), Some(2));
        assert_eq!(list("$.data.list[?@.a == 9]"), Some(0));
        assert_eq!(list("$.data.list[?@['a'] == 9]"), Some(0));
        // No list, and a list of none, are two things.
        assert_eq!((list("$.data.none"), list("$.data.lost")), (Some(0), None));
        assert_eq!((list("$.data.list[*].b"), list("$['data']['lost']")), (Some(0), None));
        assert_eq!((list("$.data.lost[*]"), list("$.lost[?@.a == 9]")), (None, None));
        assert!(Path::compile("data.id").unwrap_err().contains("is not a JSONPath"));
        assert!(Path::compile("$.data[").is_err());
    }

    #[test]
    fn money_is_exact() {
        assert_eq!(decimal("12.50", 2), Some(1_250));
        assert_eq!(decimal("12.5", 2), Some(1_250));
        assert_eq!(decimal("-0.07", 2), Some(-7));
        assert_eq!(decimal("12", 2), Some(1_200));
        assert_eq!(decimal("12", 0), Some(12));
        assert_eq!(decimal("12.000", 2), Some(1_200));
        for wrong in ["12.505", "1e3", "", ".5", "12,50", "abc", "-"] {
            assert_eq!(decimal(wrong, 2), None, "{wrong}");
        }
    }
}
