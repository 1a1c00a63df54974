//! Templates, compiled once: texts with `{{ … }}` in them, JSON trees of such texts, and tests. A
//! plain name (`{{ at.lat }}`) is looked up without a detour; everything else is minijinja's.

use std::{fmt::Write as _, sync::LazyLock};

use minijinja::{Environment, Expression, UndefinedBehavior, Value, value::ValueKind};

use super::{
    made,
    scope::{Found, Name, Scope},
};

/// Bytes of most texts.
const TEXT_BYTES: usize = 64;
/// The list of updates that go out together.
const BATCH: &str = "batch";

/// Functions and filters are the same everywhere.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    made::mount(&mut environment);
    environment
});

/// An expression of minijinja, with what it speaks of.
struct Formula {
    source: String,
    compiled: Expression<'static, 'static>,
    roots: Vec<String>,
}

impl Formula {
    fn compile(source: &str) -> Result<Self, String> {
        let compiled = ENVIRONMENT
            .compile_expression_owned(source.to_owned())
            .map_err(|why| format!("`{source}` is not an expression: {}", said(&why)))?;
        let mut roots: Vec<String> = compiled
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| ENVIRONMENT.globals().all(|(global, _)| global != name))
            .collect();
        // Its order is that of a hash set.
        roots.sort();
        Ok(Self { source: source.to_owned(), compiled, roots })
    }

    /// Every name it speaks of, dotted as far as it is written so.
    fn names(&self) -> Vec<String> {
        let known = |name: &String| {
            let root = name.split('.').next().unwrap_or(name);
            self.roots.iter().any(|known| known == root)
        };
        let mut names: Vec<String> =
            self.compiled.undeclared_variables(true).into_iter().filter(known).collect();
        names.sort();
        names
    }

    fn eval(&self, scope: &Scope<'_>) -> Result<Value, String> {
        let draw = std::iter::once("draw__");
        let roots = self.roots.iter().map(String::as_str).chain(draw);
        let context = Value::from_pairs(roots.map(|root| (root.to_owned(), scope.value(root))));
        self.compiled.eval(context).map_err(|why| format!("`{}`: {}", self.source, said(&why)))
    }
}

impl std::fmt::Debug for Formula {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)
    }
}

fn said(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

/// One part of a text.
#[derive(Debug)]
enum Piece {
    Text(String),
    Name(Name),
    /// The same, as a whole number: `{{ job.id | int }}`.
    Whole(Name),
    /// The same, as a text: `{{ at.lat | string }}`.
    Worded(Name),
    Formula(Formula),
    /// `{{ batch }}`: JSON already.
    Batch,
}

impl Piece {
    fn compile(inner: &str) -> Result<Self, String> {
        if inner == BATCH {
            return Ok(Self::Batch);
        }
        if let Some(name) = Name::parse(inner) {
            return Ok(Self::Name(name));
        }
        if let Some((name, filter)) = inner.split_once('|')
            && let Some(name) = Name::parse(name.trim())
        {
            match filter.trim() {
                "int" => return Ok(Self::Whole(name)),
                "string" => return Ok(Self::Worded(name)),
                _ => {}
            }
        }
        Formula::compile(inner).map(Self::Formula)
    }

    fn has_value(&self, scope: &Scope<'_>) -> Result<bool, String> {
        match self {
            Self::Text(_) => Ok(true),
            Self::Name(name) | Self::Whole(name) | Self::Worded(name) => {
                Ok(scope.find(name) != Found::Nothing)
            }
            Self::Batch => Ok(scope.batch.is_some()),
            Self::Formula(formula) => {
                let value = formula.eval(scope)?;
                Ok(!value.is_undefined() && !value.is_none())
            }
        }
    }

    /// Its text, at the end of `to`.
    fn render(&self, scope: &Scope<'_>, to: &mut String) -> Result<(), String> {
        match self {
            Self::Text(text) => to.push_str(text),
            Self::Name(name) | Self::Whole(name) | Self::Worded(name) => {
                if !scope.find(name).show(to) {
                    return Err(nothing(name));
                }
            }
            Self::Batch => to.push_str(&scope.batch.ok_or("there is no batch here")?.json),
            Self::Formula(formula) => {
                let value = formula.eval(scope)?;
                if value.is_undefined() {
                    return Err(format!("`{}` has no value here", formula.source));
                }
                to.push_str(&value.to_string());
            }
        }
        Ok(())
    }

    /// Whether it is another for each robot.
    fn is_own(&self) -> bool {
        match self {
            Self::Text(_) | Self::Batch => false,
            Self::Name(name) | Self::Whole(name) | Self::Worded(name) => {
                matches!(name, Name::Me(_) | Name::Number | Name::Kind)
            }
            Self::Formula(formula) => formula.roots.iter().any(|root| root == "me"),
        }
    }

    fn names(&self, inner: &str) -> Vec<String> {
        match self {
            Self::Text(_) => Vec::new(),
            Self::Name(_) | Self::Whole(_) | Self::Worded(_) => {
                vec![inner.split('|').next().unwrap_or(inner).trim().to_owned()]
            }
            Self::Batch => vec![BATCH.to_owned()],
            Self::Formula(formula) => formula.names(),
        }
    }
}

/// A text with `{{ … }}` in it.
#[derive(Debug)]
pub struct Text {
    pieces: Vec<Piece>,
    names: Vec<String>,
}

impl Text {
    /// Compiles it; the error says what cannot be read.
    pub fn compile(source: &str) -> Result<Self, String> {
        if source.contains("{%") {
            return Err("`{% … %}` has no meaning here: use `{{ … }}`".to_owned());
        }
        let (mut pieces, mut names) = (Vec::new(), Vec::new());
        let mut rest = source;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inner, after) = after
                .split_once("}}")
                .ok_or_else(|| format!("`{source}` opens `{{{{` and never closes it"))?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let piece = Piece::compile(inner.trim())?;
            names.extend(piece.names(inner));
            pieces.push(piece);
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { pieces, names })
    }

    /// The names it speaks of, dotted.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The text; a name that is not there is an error.
    pub fn render(&self, scope: &Scope<'_>) -> Result<String, String> {
        let mut text = String::with_capacity(TEXT_BYTES);
        self.render_to(scope, &mut text)?;
        Ok(text)
    }

    /// The same; `None` for a lone `{{ … }}` that has no value.
    pub fn render_maybe(&self, scope: &Scope<'_>) -> Result<Option<String>, String> {
        if let [piece] = self.pieces.as_slice()
            && !piece.has_value(scope)?
        {
            return Ok(None);
        }
        self.render(scope).map(Some)
    }

    /// The same, at the end of `to`.
    pub fn render_to(&self, scope: &Scope<'_>, to: &mut String) -> Result<(), String> {
        self.pieces.iter().try_for_each(|piece| piece.render(scope, to))
    }

    /// The same as a path: what is filled in is encoded.
    pub fn render_path(&self, scope: &Scope<'_>) -> Result<String, String> {
        let mut path = String::new();
        for piece in &self.pieces {
            if let Piece::Text(text) = piece {
                path.push_str(text);
                continue;
            }
            let mut filled = String::new();
            piece.render(scope, &mut filled)?;
            encode_to(&filled, &mut path);
        }
        Ok(path)
    }

    /// What stands before the first piece that each robot fills in by itself, and the whole where
    /// there is none.
    pub fn render_shared(&self, scope: &Scope<'_>) -> Result<String, String> {
        let mut text = String::new();
        for piece in self.pieces.iter().take_while(|piece| !piece.is_own()) {
            piece.render(scope, &mut text)?;
        }
        Ok(text)
    }

    /// True where robots fill something in by themselves.
    pub fn is_own(&self) -> bool {
        self.pieces.iter().any(Piece::is_own)
    }

    /// True when nothing is filled in.
    pub fn is_fixed(&self) -> bool {
        self.names.is_empty() && self.pieces.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }
}

fn nothing(name: &Name) -> String {
    let name = match name {
        Name::Me(name) => format!("me.{name}"),
        Name::Job(name) => format!("job.{name}"),
        Name::Degrees(..) => "the place".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    };
    format!("{name} is not known here")
}

/// What may stand in a segment of a path as it is (RFC 3986, unreserved).
fn encode_to(text: &str, to: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            to.push('%');
            let _ = write!(to, "{byte:02X}");
        }
    }
}

/// A JSON tree whose texts are templates.
#[derive(Debug)]
pub enum Tree {
    /// Nothing is filled in: as JSON.
    Fixed(String),
    /// A text that is one `{{ … }}`: it keeps its type.
    Lone(Lone),
    /// A text.
    Text(Text),
    /// A table.
    Table(Vec<Entry>),
    /// A list.
    List(Vec<Self>),
}

/// An entry of a table.
#[derive(Debug)]
pub struct Entry {
    name: String,
    /// The same as JSON, with a comma before it and its colon.
    json: String,
    tree: Tree,
}

/// A text that is one `{{ … }}`.
#[derive(Debug)]
pub struct Lone {
    piece: Piece,
    names: Vec<String>,
}

impl Tree {
    /// Compiles a TOML value; `key` leads to it. The error names the key within.
    pub fn compile(value: &toml::Value, key: &str) -> Result<Self, (String, String)> {
        match value {
            toml::Value::String(text) => Self::text(text).map_err(|why| (key.to_owned(), why)),
            toml::Value::Table(table) => {
                let entry = |(name, value): (&String, &toml::Value)| {
                    let tree = Self::compile(value, &format!("{key}.{name}"))?;
                    Ok(Entry { name: name.clone(), json: format!(",{}:", quoted(name)), tree })
                };
                table.iter().map(entry).collect::<Result<_, _>>().map(Self::Table)
            }
            toml::Value::Array(list) => {
                let entry = |(n, value): (usize, &toml::Value)| {
                    Self::compile(value, &format!("{key}[{n}]"))
                };
                list.iter().enumerate().map(entry).collect::<Result<_, _>>().map(Self::List)
            }
            other => Ok(Self::Fixed(other.to_string())),
        }
    }

    fn text(source: &str) -> Result<Self, String> {
        let trimmed = source.trim();
        let lone = trimmed.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        if let Some(inner) = lone.filter(|inner| !inner.contains("{{")) {
            let piece = Piece::compile(inner.trim())?;
            let names = piece.names(inner);
            return Ok(Self::Lone(Lone { piece, names }));
        }
        let text = Text::compile(source)?;
        if text.is_fixed() {
            return Ok(Self::Fixed(quoted(source)));
        }
        Ok(Self::Text(text))
    }

    /// The names it speaks of, with the keys where it does.
    pub fn names(&self, key: &str, to: &mut Vec<(String, String)>) {
        let mut put = |names: &[String]| {
            to.extend(names.iter().map(|name| (key.to_owned(), name.clone())));
        };
        match self {
            Self::Fixed(_) => {}
            Self::Lone(lone) => put(&lone.names),
            Self::Text(text) => put(text.names()),
            Self::Table(entries) => {
                for Entry { name, tree, .. } in entries {
                    tree.names(&format!("{key}.{name}"), to);
                }
            }
            Self::List(entries) => {
                for (n, tree) in entries.iter().enumerate() {
                    tree.names(&format!("{key}[{n}]"), to);
                }
            }
        }
    }

    /// The JSON. False when it has no value, and nothing was written.
    pub fn render(&self, scope: &Scope<'_>, to: &mut String) -> Result<bool, String> {
        match self {
            Self::Fixed(json) => to.push_str(json),
            Self::Lone(lone) => return lone.render(scope, to),
            Self::Text(text) => quote(&text.render(scope)?, to),
            Self::Table(entries) => {
                to.push('{');
                let mut filled = false;
                for Entry { json, tree, .. } in entries {
                    let before = to.len();
                    to.push_str(if filled { json } else { &json[1..] });
                    if tree.render(scope, to)? {
                        filled = true;
                    } else {
                        to.truncate(before);
                    }
                }
                to.push('}');
            }
            Self::List(entries) => {
                to.push('[');
                for (n, tree) in entries.iter().enumerate() {
                    if n > 0 {
                        to.push(',');
                    }
                    if !tree.render(scope, to)? {
                        to.push_str("null");
                    }
                }
                to.push(']');
            }
        }
        Ok(true)
    }
}

impl Lone {
    fn render(&self, scope: &Scope<'_>, to: &mut String) -> Result<bool, String> {
        match &self.piece {
            Piece::Text(text) => quote(text, to),
            Piece::Name(name) => match scope.find(name) {
                Found::Text(text) => quote(&text, to),
                Found::Nothing => return Ok(false),
                number => return Ok(number.show(to)),
            },
            Piece::Whole(name) => return whole(&scope.find(name), to),
            Piece::Worded(name) => {
                let mut text = String::new();
                if !scope.find(name).show(&mut text) {
                    return Ok(false);
                }
                quote(&text, to);
            }
            Piece::Batch => match scope.batch {
                Some(parcel) => to.push_str(&parcel.json),
                None => return Ok(false),
            },
            Piece::Formula(formula) => {
                let value = formula.eval(scope)?;
                if value.is_undefined() || value.kind() == ValueKind::Undefined {
                    return Ok(false);
                }
                let json = serde_json::to_string(&value)
                    .map_err(|why| format!("`{}`: {why}", formula.source))?;
                to.push_str(&json);
            }
        }
        Ok(true)
    }
}

fn whole(found: &Found<'_>, to: &mut String) -> Result<bool, String> {
    let mut text = String::new();
    if !found.show(&mut text) {
        return Ok(false);
    }
    let number: i128 = text.trim().parse().map_err(|_| format!("`{text}` is no whole number"))?;
    to.push_str(&number.to_string());
    Ok(true)
}

fn quoted(text: &str) -> String {
    let mut to = String::with_capacity(text.len() + 2);
    quote(text, &mut to);
    to
}

/// A JSON text.
fn quote(text: &str, to: &mut String) {
    let plain = text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if plain {
        to.push('"');
        to.push_str(text);
        to.push('"');
    } else {
        to.push_str(&serde_json::Value::from(text).to_string());
    }
}

/// A test: an expression that holds or does not.
#[derive(Debug)]
pub struct Test(Formula);

impl Test {
    /// Compiles it.
    pub fn compile(source: &str) -> Result<Self, String> {
        Formula::compile(source).map(Self)
    }

    /// The names it speaks of.
    pub fn names(&self) -> Vec<String> {
        self.0.names()
    }

    /// Whether it holds. One that cannot be reckoned does not.
    pub fn holds(&self, scope: &Scope<'_>) -> bool {
        self.0.eval(scope).is_ok_and(|value| value.is_true())
    }

    /// Its value as JSON; `None` when it has none.
    pub fn value(&self, scope: &Scope<'_>) -> Option<serde_json::Value> {
        let value = self.0.eval(scope).ok()?;
        if value.is_undefined() { None } else { serde_json::to_value(value).ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{
            id::{Id, RobotId},
            place::Place,
        },
        history::op::{Ask, OpKind},
        target::mapped::{scope::RunFacts, session::Fields},
    };

    fn filled(source: &str) -> Result<String, String> {
        let run = RunFacts { id: "r1".into(), seed: "7".into(), ..RunFacts::default() };
        let mut me = Fields::default();
        me.set("token", "t\"1");
        me.set("phone", "+353 1");
        let ask = Ask {
            at: Some(Place { lat_e6: 53_349_800, lon_e6: -6_260_001 }),
            job: Some(Id::from("17")),
            ..Ask::new(OpKind::DriverPing)
        };
        let scope = Scope {
            run: &run,
            robot: RobotId::driver(3),
            me: &me,
            ask: Some(&ask),
            job: None,
            batch: None,
            wall: crate::base::time::Wall(0),
            answer: None,
            deadline: crate::base::time::Time::ZERO,
        };
        let value: toml::Table = source.parse().map_err(|_| "not TOML".to_owned())?;
        let tree = Tree::compile(&toml::Value::Table(value), "json").map_err(|(_, why)| why)?;
        let mut json = String::new();
        tree.render(&scope, &mut json)?;
        Ok(json)
    }

    #[test]
    fn a_tree_keeps_types_and_leaves_out_what_is_not_there() {
        let cases = [
            ("lat = '{{ at.lat }}'\nlon = '{{ at.lon }}'", r#"{"lat":53.349800,"lon":-6.260001}"#),
            ("n = '{{ me.number }}'\nx = '{{ ask.seq }}'", r#"{"n":3}"#),
            ("t = 'Bearer {{ me.token }}'", r#"{"t":"Bearer t\"1"}"#),
            ("id = '{{ job.id }}'\nnum = '{{ job.id | int }}'", r#"{"id":"17","num":17}"#),
            ("list = [1, '{{ ask.key }}', true]", r#"{"list":[1,null,true]}"#),
            (
                "sum = '{{ me.number + 1 }}'\nup = '{{ me.kind | upper }}'",
                r#"{"sum":4,"up":"DRIVER"}"#,
            ),
            ("a = '{{ ask.job.x }}'", "{}"),
        ];
        for (source, json) in cases {
            assert_eq!(filled(source).as_deref(), Ok(json), "{source}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_said() {
        for (source, part) in [
            ("a = 'x {{ me.nothing }}'", "me.nothing"),
            ("a = '{{ me. }}'", "not an expression"),
            ("a = 'x {{ me.token'", "never closes"),
            ("a = '{% if me.token %}{{ me.token }}'", "no meaning"),
            ("a = '{{ me.phone | int }}'", "no whole number"),
        ] {
            let why = filled(source).unwrap_err();
            assert!(why.contains(part), "{source}: {why}");
        }
    }

    #[test]
    fn names_are_told_as_they_are_written() {
        let text = Text::compile("/{{ me.x }}/{{ job.trip | upper }}/{{ uuid() }}").unwrap();
        assert_eq!(text.names(), ["me.x", "job.trip"]);
        let predicate = Test::compile("body.success and status == 200").unwrap();
        assert_eq!(predicate.names(), ["body.success", "status"]);
    }
}
