//! A mapping file made ready: everything in it compiled and checked, with errors that name its
//! lines. Nothing is connected yet.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    batch,
    grammar::{Accounts, Environment, How, Kind, Mapping, Offers, SCHEMA, Speaks, Word},
    hosts::{check_hosts, check_url, without_query},
    judge::Names,
    phones,
    pick::Pick,
    probe,
    read::{Reader, States, Wrong},
    scope::{ASK_PARTS, Axis, RunFacts, Scope},
    secret::Secrets,
    session::Fields,
    speaks,
    step::{File, Step, stay_the_same},
    stray,
    template::{Test, Text, Tree},
};
use crate::{
    base::{
        file::{FileError, Source},
        id::{RobotId, RobotKind},
        lock,
        span::Span,
        suggest::must_be_one_of,
    },
    history::{
        declares::{self, Declares},
        op::OpKind,
    },
    scenario::Robots,
    target::{
        accounts::{self, Pool},
        spoil,
        wire::protobuf::{Codec, Schema},
    },
};

/// A mapping, ready.
#[derive(Debug)]
pub struct Compiled {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub environment: Environment,
    /// What it declares.
    pub declares: Declares,
    /// The most requests a second.
    pub ceiling_per_second: Option<u32>,
    /// Links, in the order of their names.
    pub links: Vec<Link>,
    /// Steps by the place of their operation.
    pub steps: Vec<Option<Step>>,
    /// Instead of a login, for who had logged in before.
    pub refresh: Option<Step>,
    /// Words of states.
    pub states: States,
    /// Fields of robots, by kind.
    pub fields: [Vec<(String, Text)>; 3],
    /// Some step keeps a token: one that is of no use any more is forgotten.
    pub keeps_token: bool,
    /// What is told unasked.
    pub pushes: Vec<Push>,
    /// How drivers hear of offers.
    pub offers: Offers,
    /// The pool of accounts.
    pub pool: Option<String>,
    /// Facts of the run.
    pub run: RunFacts,
    /// Hosts beyond loopback.
    pub hosts: Vec<String>,
    /// Where the file is: those that it names are seen from there.
    pub folder: PathBuf,
}

/// A way to the backend.
#[derive(Debug)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// What is spoken.
    pub speaks: Speaks,
    /// Where: filled in.
    pub urls: Vec<String>,
    /// As templates of the robot, where they speak of it.
    pub own_urls: Vec<Text>,
    /// Headers of every request.
    pub headers: Vec<(http::HeaderName, Text)>,
    /// They speak of nothing but their robot and the run.
    pub same_headers: bool,
    /// The certificate authority's file.
    pub ca: Option<String>,
    /// Our certificate's file.
    pub certificate: Option<String>,
    /// Its key's.
    pub key: Option<String>,
    /// The first message.
    pub hello: Option<Tree>,
    /// Which message answers it.
    pub welcome_if: Option<Test>,
    /// What is kept of that.
    pub keep: Vec<(String, Pick)>,
    /// The auth frame.
    pub auth: Option<Tree>,
    /// The namespace.
    pub namespace: Option<String>,
    /// The protobuf messages' file.
    pub proto: Option<String>,
}

impl Link {
    /// True for the reference backend, which the run starts.
    pub fn is_embedded(&self) -> bool {
        self.urls.iter().any(|url| url == EMBEDDED)
    }
}

/// The URL of the reference backend.
pub const EMBEDDED: &str = "embedded";

/// Something told unasked.
#[derive(Debug)]
pub struct Push {
    /// Its link's place.
    pub link: usize,
    /// To whom.
    pub to: Option<Kind>,
    /// Which messages.
    pub holds: Option<Test>,
    /// The exchange.
    pub exchange: Option<String>,
    /// Binding keys.
    pub keys: Vec<String>,
    /// The event's name.
    pub event: Option<String>,
    /// Whom it is for.
    pub account: Option<Pick>,
    /// The protobuf message that it is.
    pub proto: Option<Codec>,
    /// What is read.
    pub reader: Reader,
    /// What is kept of the job.
    pub keep_job: Vec<(String, Pick)>,
}

impl Push {
    /// Whether a driver is told of offers by it.
    fn is_of_offers(&self) -> bool {
        self.reader.reads_offers() && self.to != Some(Kind::Passenger)
    }
}

/// A run that a mapping is made ready for.
#[derive(Debug, Clone, Default)]
pub struct For {
    /// The run's id.
    pub run: String,
    /// The seed.
    pub seed: String,
    /// Columns of the pool of accounts.
    pub columns: Vec<String>,
    /// What a target declares that says nothing: of the reference backend, where the run starts it.
    pub defaults: Declares,
}

impl Compiled {
    /// Reads, compiles and checks a mapping; files that it names are seen from its own folder.
    pub fn new(source: &Source, run: &For) -> Result<Self, FileError> {
        let mapping: Mapping = source.parse()?;
        let error = |(key, why): Wrong| source.error(&key, why);
        if mapping.schema != SCHEMA {
            let why = format!("this tool reads mappings of schema {SCHEMA}");
            return Err(source.error("schema", why));
        }
        let folder = source.path.parent().unwrap_or_else(|| Path::new("."));
        let mut run = run.clone();
        let mut pool = None;
        if let Some(Accounts { pool: template }) = &mapping.accounts {
            let wrong = |why: String| source.error("accounts.pool", why);
            let file = Text::compile(template).and_then(|text| {
                let missing = text.names().iter().find_map(|name| missing_variable(name));
                missing.map_or_else(|| render_alone(&text, &RunFacts::default()), Err)
            });
            let file = file.map_err(wrong)?;
            run.columns = accounts::columns(&folder.join(&file))
                .map_err(|why| source.error("accounts.pool", why.to_string()))?;
            pool = Some(file);
        }
        let secrets = Secrets::read(&mapping.secret, folder)
            .map_err(|(name, why)| source.error(&format!("secret.{name}"), why))?;
        let builder = Builder { mapping: &mapping, run: &run, secrets, folder };
        let compiled = builder.build().map_err(error)?;
        Ok(Self { folder: folder.to_owned(), pool, ..compiled })
    }

    /// The step of an operation.
    pub fn step(&self, op: OpKind) -> Option<&Step> {
        self.steps[op.index()].as_ref()
    }

    /// Its pool of accounts, for this run alone until it is dropped.
    pub fn open_pool(&self) -> Result<Option<Pool>, FileError> {
        let Some(file) = &self.pool else { return Ok(None) };
        let path = self.folder.join(file);
        let locks = lock::folder()
            .map_err(|why| FileError::whole(&path, format!("it cannot be locked: {why}")))?;
        Pool::open(&path, &locks).map(Some)
    }

    /// Where it is, for a lock: the host and port of its first link, or its name.
    pub fn place(&self) -> String {
        let url = self.links.iter().flat_map(|link| &link.urls).find(|url| *url != EMBEDDED);
        url.map_or_else(|| self.name.clone(), |url| super::line::instance(url).to_owned())
    }

    /// `host:port` of a URL of a link.
    pub fn instance_of<'u>(&self, url: &'u str) -> &'u str {
        super::line::instance(url)
    }

    /// Leads robots elsewhere: what was to go to a `host:port` of the table goes to the address
    /// beside it.
    pub fn lead_through(&mut self, detours: &BTreeMap<String, SocketAddr>) {
        for url in self.links.iter_mut().flat_map(|link| &mut link.urls) {
            let place = super::line::instance(url).to_owned();
            if let Some(through) = detours.get(&place) {
                *url = url.replacen(&place, &through.to_string(), 1);
            }
        }
    }

    /// Of the probes that it must withstand those are sent that these robots think of.
    pub fn send_probes(&mut self, robots: &Robots) {
        self.declares.probes = spoil::sent(self.declares.probes.iter().copied(), robots);
    }

    /// Every step, those that come before others too.
    pub fn all_steps(&self) -> impl Iterator<Item = &Step> {
        let mut rest: Vec<&Step> = self.steps.iter().flatten().chain(&self.refresh).collect();
        std::iter::from_fn(move || {
            let step = rest.pop()?;
            rest.extend(&step.first);
            Some(step)
        })
    }

    /// True when the run starts the backend itself.
    pub fn is_embedded(&self) -> bool {
        self.links.iter().any(Link::is_embedded)
    }
}

struct Builder<'a> {
    mapping: &'a Mapping,
    run: &'a For,
    secrets: Secrets,
    folder: &'a Path,
}

impl Builder<'_> {
    fn build(self) -> Result<Compiled, Wrong> {
        let mapping = self.mapping;
        let (run, names) = self.facts()?;
        let links: Vec<(String, Speaks)> = mapping
            .link
            .iter()
            .map(|(name, link)| Ok((name.clone(), speaks(name, link, &run)?)))
            .collect::<Result<_, Wrong>>()?;
        if links.is_empty() {
            return Err(("link".into(), "there is no way to the backend: add [link.api]".into()));
        }
        let schemas = self.schemas()?;
        let mut file = File {
            links: &links,
            schemas: &schemas,
            auth: &mapping.auth,
            rules: &mapping.answer,
            shapes: &mapping.shape,
            names,
            kept: vec!["account".into()],
            kept_of_jobs: Vec::new(),
        };
        let mut steps = steps(mapping, &mut file)?;
        let mut refresh = match &mapping.auth.refresh {
            Some(step) => Some(file.step(step, "auth.refresh")?),
            None => None,
        };
        let ways = self.links(&mut file, &run)?;
        let pushes = pushes(mapping, &mut file)?;
        let fields = [
            (&mapping.robot.driver, "robot.driver"),
            (&mapping.robot.passenger, "robot.passenger"),
            (&mapping.robot.auditor, "robot.auditor"),
        ];
        let mut made: [Vec<(String, Text)>; 3] = Default::default();
        for (at, (words, key)) in fields.into_iter().enumerate() {
            made[at] = file.pairs(words, key)?;
        }
        self.check_names(&file)?;
        batch::compiled::check_names(&file.names, mapping.driver.get("ping"))?;
        let keeps_token = speaks::keeps_token(mapping);
        if keeps_token {
            let names: Vec<&str> = links.iter().map(|(name, _)| name.as_str()).collect();
            for step in steps.iter_mut().flatten().chain(&mut refresh) {
                speaks::mark(step, &names, &file.names);
            }
        }
        let mut declares = self.declares(&steps)?;
        declares.keyless = speaks::keyless(&steps, &file.names);
        declares.named_offers = speaks::names_offers(&file.names);
        check_batch(&steps, &declares)?;
        self.check_offers(&steps, &pushes)?;
        let compiled = Compiled {
            name: mapping.name.clone(),
            environment: mapping.environment,
            declares,
            ceiling_per_second: mapping.ceiling_per_second,
            links: ways,
            steps,
            refresh,
            states: states(mapping)?,
            fields: made,
            keeps_token,
            pushes,
            offers: mapping.offers.clone(),
            pool: None,
            run,
            hosts: mapping.hosts.clone(),
            folder: PathBuf::new(),
        };
        check_hosts(&compiled)?;
        Ok(compiled)
    }

    /// The protobuf messages of each link that names a file of them.
    fn schemas(&self) -> Result<Vec<Option<Schema>>, Wrong> {
        let read = |(name, link): (&String, &super::grammar::Link)| {
            let Some(file) = &link.proto else { return Ok(None) };
            let schema = Schema::load(&self.folder.join(file));
            schema.map(Some).map_err(|why| (format!("link.{name}.proto"), why.to_string()))
        };
        self.mapping.link.iter().map(read).collect()
    }

    /// `[var]`, filled in: they may speak of `run` and `secret`.
    fn facts(&self) -> Result<(RunFacts, Names), Wrong> {
        let mut names = Names::new();
        let mut facts = RunFacts {
            id: self.run.run.clone(),
            seed: self.run.seed.clone(),
            vars: BTreeMap::new(),
            secrets: self.secrets.clone(),
        };
        for (name, source) in &self.mapping.var {
            let key = format!("var.{name}");
            let text = Text::compile(source).map_err(|why| (key.clone(), why))?;
            names.extend(text.names().iter().map(|name| (key.clone(), name.clone())));
            let value = render_alone(&text, &facts).map_err(|why| (key, why))?;
            facts.vars.insert(name.clone(), value);
        }
        Ok((facts, names))
    }

    fn links(&self, file: &mut File<'_>, run: &RunFacts) -> Result<Vec<Link>, Wrong> {
        let mut ways = Vec::new();
        for (place, (name, link)) in self.mapping.link.iter().enumerate() {
            let key = format!("link.{name}");
            stray::of_link(link, file.links[place].1, &key)?;
            let (mut urls, mut own_urls) = (Vec::new(), Vec::new());
            for source in link.url.all() {
                let key = format!("{key}.url");
                let text = file.text(source, &key)?;
                let speaks = file.links[place].1;
                let socket = matches!(speaks, Speaks::Websocket | Speaks::SocketIo);
                if text.is_own() && !socket {
                    let why = "robots share this link: give what is each one's own in the path, \
                               query or headers of its steps";
                    return Err((key, why.to_owned()));
                }
                // What robots fill in comes after the host.
                let url = alone(run, |scope| text.render_shared(scope));
                let url = url.map_err(|why| (key.clone(), why))?;
                check_url(&url, speaks).map_err(|why| (key, why))?;
                urls.push(if socket { without_query(url) } else { url });
                own_urls.push(text);
            }
            let tree = |file: &mut File<'_>, value: Option<&toml::Value>, word: &str| match value {
                Some(value) => file.tree(value, &format!("{key}.{word}")).map(Some),
                None => Ok(None),
            };
            let headers = file.headers(&link.headers, &format!("{key}.headers"))?;
            ways.push(Link {
                name: name.clone(),
                speaks: file.links[place].1,
                urls,
                own_urls,
                same_headers: stay_the_same(&headers),
                headers,
                ca: link.ca.clone(),
                certificate: link.certificate.clone(),
                key: link.key.clone(),
                hello: tree(file, link.hello.as_ref(), "hello")?,
                welcome_if: file.test(link.welcome_if.as_ref(), &format!("{key}.welcome_if"))?,
                keep: file.picks(&link.keep, &format!("{key}.keep"))?,
                auth: tree(file, link.auth.as_ref(), "auth")?,
                namespace: link.namespace.clone(),
                proto: link.proto.clone(),
            });
            file.kept.extend(link.keep.keys().cloned());
        }
        Ok(ways)
    }

    /// Every name that a template or an expression speaks of must be known.
    fn check_names(&self, file: &File<'_>) -> Result<(), Wrong> {
        for (key, name) in &file.names {
            let (root, rest) = name.split_once('.').unwrap_or((name, ""));
            let field = rest.split('.').next().unwrap_or(rest);
            let known: Vec<&str> = match root {
                "me" => self.fields_of_robots(file),
                "job" => file.kept_of_jobs.iter().map(String::as_str).chain(["id"]).collect(),
                "run" => vec!["id", "seed"],
                "env" => match missing_variable(name) {
                    Some(why) => return Err((key.clone(), why)),
                    None => continue,
                },
                "var" => self.mapping.var.keys().map(String::as_str).collect(),
                "secret" => self.mapping.secret.keys().map(String::as_str).collect(),
                "at" | "to" => vec![word(Axis::Lat), word(Axis::Lon)],
                "ask" => ASK_PARTS.iter().map(|(word, _)| *word).collect(),
                "status" | "body" | "batch" | "key" => continue,
                _ => {
                    let hint = must_be_one_of(root, ROOTS.iter().copied());
                    return Err((key.clone(), format!("there is no `{name}` here: {hint}")));
                }
            };
            if !field.is_empty() && !known.contains(&field) {
                let hint = if known.is_empty() {
                    format!("nothing is known of `{root}`")
                } else {
                    must_be_one_of(field, known.iter().copied())
                };
                return Err((key.clone(), format!("there is no `{root}.{field}`: {hint}")));
            }
        }
        Ok(())
    }

    fn fields_of_robots<'f>(&'f self, file: &'f File<'_>) -> Vec<&'f str> {
        let robot = &self.mapping.robot;
        let mut known: Vec<&str> = [&robot.driver, &robot.passenger, &robot.auditor]
            .into_iter()
            .flat_map(|words| words.keys().map(String::as_str))
            .chain(file.kept.iter().map(String::as_str))
            .chain(self.run.columns.iter().map(String::as_str))
            .chain(["number", "kind"])
            .collect();
        known.sort_unstable();
        known.dedup();
        known
    }

    fn declares(&self, steps: &[Option<Step>]) -> Result<Declares, Wrong> {
        let mapping = self.mapping;
        let defaults = Declares {
            name: mapping.name.clone(),
            environment: mapping.environment.word().into(),
            ..self.run.defaults.clone()
        };
        let defaults = Declares {
            probes: defaults.probes.into_iter().filter(|one| !probe::LACKS.contains(one)).collect(),
            ..defaults
        };
        let own = ["name", "environment", "ops", "offers", "named_offers", "keyless"];
        if let Some(key) = mapping.declares.0.keys().find(|key| own.contains(&key.as_str())) {
            let why = "is not declared: it follows from the rest of the file".to_owned();
            return Err((format!("declares.{key}"), why));
        }
        let mut declares =
            mapping.declares.over(&defaults).map_err(|why| ("declares".to_owned(), why))?;
        if let Some(probe) = declares.probes.iter().find(|probe| probe::LACKS.contains(probe)) {
            let why = format!("`{probe}` cannot be sent to a backend that a mapping describes");
            return Err(("declares.probes".to_owned(), why));
        }
        if let Some(why) = phones::only_one(steps) {
            if declares.second_phones && mapping.declares.0.contains_key("second_phones") {
                return Err(("declares.second_phones".to_owned(), why));
            }
            declares.second_phones = false;
        }
        let mapped = |op: &OpKind| steps[op.index()].is_some();
        declares.ops = OpKind::ALL.iter().copied().filter(mapped).collect();
        stray::of_offers(&mapping.offers)?;
        let every = mapping.offers.every.unwrap_or(Span::secs(2));
        declares.offers = match mapping.offers.how {
            How::Ping => declares::Offers::Ping,
            How::Poll => declares::Offers::Poll { every },
            How::Push => declares::Offers::Push,
            How::Relay => declares::Offers::Relay,
        };
        Ok(declares)
    }

    fn check_offers(&self, steps: &[Option<Step>], pushes: &[Push]) -> Result<(), Wrong> {
        let has = |op: OpKind| steps[op.index()].is_some();
        let wrong = |why: &str| Err(("offers.how".to_owned(), why.to_owned()));
        if !has(OpKind::DriverAccept) {
            return Ok(());
        }
        match self.mapping.offers.how {
            How::Poll if !has(OpKind::DriverNextOffer) => {
                wrong("`poll` needs the step [driver.next_offer]")
            }
            How::Ping if !has(OpKind::DriverPing) => {
                wrong("`ping` needs the step [driver.ping]; say poll, push or relay")
            }
            How::Push if !pushes.iter().any(Push::is_of_offers) => wrong(
                "`push` needs a [[push]] for drivers that reads an offer: give it `read.offer`",
            ),
            How::Relay if !steps.iter().flatten().any(|step| step.relay.is_some()) => {
                wrong("`relay` needs a step with `relay`: where a passenger sees the driver")
            }
            _ => Ok(()),
        }
    }
}

/// Updates that are gathered must arrive while they are of use.
fn check_batch(steps: &[Option<Step>], declares: &Declares) -> Result<(), Wrong> {
    let step = steps[OpKind::DriverPing.index()].as_ref();
    let Some(gather) = step.and_then(|step| step.batch.as_ref()) else { return Ok(()) };
    let ttl = declares.ping_ttl;
    if gather.within < ttl.0 {
        return Ok(());
    }
    let why = format!(
        "must be shorter than `declares.ping_ttl` ({ttl}): the backend would take the drivers for \
         silent"
    );
    Err((format!("{}.batch.within", batch::compiled::STEP), why))
}

/// What is wrong with a name of the environment that is not there.
fn missing_variable(name: &str) -> Option<String> {
    let variable = name.strip_prefix("env.")?;
    let missing = std::env::var_os(variable).is_none();
    missing.then(|| format!("the environment has no variable {variable}: export it first"))
}

/// Roots of names.
const ROOTS: &[&str] = &[
    "me", "job", "ask", "at", "to", "run", "var", "env", "secret", "batch", "status", "body", "key",
];

fn word(axis: Axis) -> &'static str {
    match axis {
        Axis::Lat => "lat",
        Axis::Lon => "lon",
    }
}

/// A text that speaks of no robot.
fn render_alone(text: &Text, facts: &RunFacts) -> Result<String, String> {
    alone(facts, |scope| text.render(scope))
}

fn alone<T>(facts: &RunFacts, render: impl FnOnce(&Scope<'_>) -> T) -> T {
    let (me, robot) = (Fields::default(), RobotId { kind: RobotKind::Auditor, number: 0 });
    render(&Scope::bare(facts, robot, &me))
}

/// The word after the dot of every operation of a table.
fn steps(mapping: &Mapping, file: &mut File<'_>) -> Result<Vec<Option<Step>>, Wrong> {
    let mut steps: Vec<Option<Step>> = OpKind::ALL.iter().map(|_| None).collect();
    let tables = [
        ("driver", &mapping.driver),
        ("passenger", &mapping.passenger),
        ("audit", &mapping.audit),
        ("setup", &mapping.setup),
        ("cleanup", &mapping.cleanup),
    ];
    for (table, words) in tables {
        for (word, step) in words {
            let key = format!("{table}.{word}");
            let Some(op) = OpKind::from_word(&key) else {
                let known = OpKind::ALL.iter().filter_map(|op| {
                    op.word().strip_prefix(table).and_then(|rest| rest.strip_prefix('.'))
                });
                let hint = must_be_one_of(word, known.collect::<Vec<_>>());
                return Err((key, format!("there is no such operation: {hint}")));
            };
            steps[op.index()] = Some(file.step(step, &key)?);
        }
    }
    Ok(steps)
}

fn states(mapping: &Mapping) -> Result<States, Wrong> {
    let mut states = States::new();
    for (state, words) in &mapping.state {
        for (n, word) in words.iter().enumerate() {
            let text = match word {
                Word::Text(text) => text.clone(),
                Word::Number(number) => number.to_string(),
            };
            if let Some(other) = states.insert(text.clone(), *state) {
                let key = format!("state.{}[{n}]", state.word());
                return Err((key, format!("`{text}` means {} already", other.word())));
            }
        }
    }
    Ok(states)
}

fn pushes(mapping: &Mapping, file: &mut File<'_>) -> Result<Vec<Push>, Wrong> {
    let mut all = Vec::new();
    for (n, push) in mapping.push.iter().enumerate() {
        let key = format!("push[{n}]");
        let Some(link) = file.links.iter().position(|(name, _)| *name == push.via) else {
            let hint = must_be_one_of(
                &push.via,
                file.links.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            );
            let why = format!("there is no [link.{}]: {hint}", push.via);
            return Err((format!("{key}.via"), why));
        };
        let speaks = file.links[link].1;
        stray::of_push(push, speaks, &key)?;
        if speaks == Speaks::Amqp && (push.exchange.is_none() || push.account.is_none()) {
            return Err((key, "a tap on a broker needs `exchange` and `account`".to_owned()));
        }
        if push.account.is_some() && push.to.is_none() {
            let why = "`account` needs `to`: a driver and a passenger may have the same id";
            return Err((key, why.to_owned()));
        }
        all.push(Push {
            link,
            to: push.to,
            holds: file.test(push.holds.as_ref(), &format!("{key}.if"))?,
            exchange: push.exchange.clone(),
            keys: push.keys.clone(),
            event: push.event.clone(),
            proto: match &push.proto {
                Some(name) => Some(file.codec(name, link, &format!("{key}.proto"))?),
                None => None,
            },
            account: match &push.account {
                Some(pick) => Some(file.pick(pick, &format!("{key}.account"))?),
                None => None,
            },
            reader: {
                let read = file.read(&push.read, push.shape.as_ref(), &key)?;
                Reader::compile(&read, &format!("{key}.read"), &mut file.names)?
            },
            keep_job: file.picks(&push.keep_job, &format!("{key}.keep_job"))?,
        });
        file.kept_of_jobs.extend(push.keep_job.keys().cloned());
    }
    Ok(all)
}

/// What a link speaks: as it says, or as its URL does.
fn speaks(name: &str, link: &super::grammar::Link, run: &RunFacts) -> Result<Speaks, Wrong> {
    if let Some(speaks) = link.speaks {
        return Ok(speaks);
    }
    let key = format!("link.{name}.url");
    let source = link.url.all().first().map_or("", String::as_str);
    let text = Text::compile(source).map_err(|why| (key.clone(), why))?;
    if let Some(why) = text.names().iter().find_map(|name| missing_variable(name)) {
        return Err((key, why));
    }
    let url = alone(run, |scope| text.render_shared(scope)).unwrap_or_else(|_| source.to_owned());
    let scheme = url.split("://").next().unwrap_or_default();
    match scheme {
        "http" | "https" | EMBEDDED => Ok(Speaks::Http),
        "ws" | "wss" => Ok(Speaks::Websocket),
        "amqp" | "amqps" => Ok(Speaks::Amqp),
        _ => Err((
            key,
            format!(
                "`{url}` does not tell what is spoken there: begin it with http://, ws:// or \
                     amqp://, or say `speaks`"
            ),
        )),
    }
}
