//! `plan.toml`: a run, resolved. Running it again needs nothing else.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    approval::{self, Approval},
    detours, facts,
    folder::Folder,
    victims,
};
use crate::{
    backend::{api::doubled, layout::Layout, plants},
    base::{
        file::{FileError, Source},
        name::NodeName,
        rng::Rng,
        span::Span,
        suggest::must_be_one_of,
    },
    chaos::{
        fault::World,
        limits::Limits,
        plan::Plan as FaultPlan,
        provider::{LinkName, Provider as _, ROBOTS},
        resolved::Resolved,
    },
    city::City,
    history::declares::Declares,
    law::{
        known::{Known, KnownFile},
        registry::LAWS,
    },
    report::gate::Gate,
    scenario::{RABBITMQ, Scenario},
    target::{
        TARGETS,
        embedded::Settings,
        mapped::{Compiled, For},
    },
};

/// The version of the format.
pub const SCHEMA: u32 = 1;

/// A run, resolved.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunPlan {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The scenario's name: its file's stem.
    pub name: String,
    /// The seed, as given.
    pub seed: String,
    /// The world that it runs in.
    pub time: Time,
    /// Planted bugs that are switched on.
    pub plants: Vec<String>,
    /// Labels of the run.
    pub labels: BTreeMap<String, String>,
    /// The scenario, with everything that was left out.
    pub scenario: Scenario,
    /// The faults with their victims and offsets.
    pub faults: Resolved,
    /// The mapping of a target that is not built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<MappingFile>,
    /// The city's files: name to text.
    pub city: BTreeMap<String, String>,
    /// Failures that are known, and so do not fail the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<KnownFile>,
    /// Leave to break things at a target that people use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<MappingFile>,
}

/// A mapping file, kept with the plan. Files that it names are seen from where it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappingFile {
    /// Where it was.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl MappingFile {
    /// Its source, for errors with lines.
    pub fn source(&self) -> Source {
        Source::new(&self.path, &self.text)
    }
}

/// What the command line says of a run beyond the scenario's file.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Instead of the scenario's city.
    pub city: Option<String>,
    /// Instead of the scenario's fault plan; `none` for none.
    pub chaos: Option<String>,
    /// The seed; drawn where it is left out.
    pub seed: Option<String>,
    /// Instead of the scenario's duration.
    pub duration: Option<Span>,
    /// `key=value` over the scenario's file.
    pub sets: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Planted bugs.
    pub plants: Vec<String>,
    /// The file of known failures.
    pub known: Option<PathBuf>,
    /// The file that approves of faults in production.
    pub approval: Option<PathBuf>,
    /// The world.
    pub time: Time,
    /// It is what the runs of a swarm have in common: each of them draws its victims anew, so that
    /// two faults may have drawn the same here.
    pub swarm: bool,
}

/// The two worlds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Time {
    /// Processes, sockets, disks, the clock on the wall.
    #[default]
    Real,
    /// One thread, deterministic: one seed, one history.
    Virtual,
}

impl Time {
    /// The same in the words of the faults.
    fn world(self) -> World {
        match self {
            Self::Real => World::Real,
            Self::Virtual => World::Virtual,
        }
    }

    /// The word in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Virtual => "virtual",
        }
    }
}

impl RunPlan {
    /// Resolves a scenario's file and the wishes of the command line: everything that can be known
    /// to be wrong before a run is found here.
    pub fn resolve(path: &Path, wishes: &Wishes) -> Result<Self, FileError> {
        let source = Source::read(path)?.with_sets(&wishes.all_sets());
        let mut scenario = Scenario::from_source(&source)?;
        for file in [&mut scenario.city, &mut scenario.chaos, &mut scenario.target] {
            *file = named(path, file);
        }
        let seed = wishes.seed.clone().unwrap_or_else(drawn_seed);
        let city = City::load(Path::new(&scenario.city))?;
        let mut plan = Self {
            schema: SCHEMA,
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            seed,
            time: wishes.time,
            plants: wishes.plants.clone(),
            labels: wishes.labels.clone(),
            scenario,
            faults: Resolved::default(),
            mapping: None,
            city: city_files(&city),
            known: wishes
                .known
                .as_deref()
                .map(|file| KnownFile::read(file, today()))
                .transpose()?,
            approval: wishes.approval.as_deref().map(Approval::read).transpose()?,
        };
        plan.check(&source, &city)?;
        plan.mapping = plan.read_mapping(&source)?;
        let faults = plan.fault_plan()?;
        faults.check_world(plan.time.world())?;
        plan.faults = if wishes.swarm {
            plan.aim_some(&faults, &city.azs, |_| true)?
        } else {
            plan.aim(&faults, &city.azs)?
        };
        approval::check(&plan, now())?;
        Ok(plan)
    }

    /// What neither the scenario nor the city can check alone.
    fn check(&self, source: &Source, city: &City) -> Result<(), FileError> {
        let scenario = &self.scenario;
        scenario.check_city(source, city)?;
        facts::check(scenario, &self.nodes(&city.azs))
            .map_err(|(key, why)| source.error(&key, why))?;
        let one_of = |key: &str, word: &str, known: &[&str]| {
            if known.contains(&word) {
                return Ok(());
            }
            let hint = must_be_one_of(word, known.iter().copied());
            Err(source.error(key, format!("no `{word}` here: {hint}")))
        };
        let targets: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        if !is_file(&scenario.target) {
            one_of("target", &scenario.target, &targets)?;
        }
        let doubled: Vec<_> = doubled().collect();
        for path in scenario.backend.routes.keys() {
            one_of("backend.routes", path, &doubled)?;
        }
        let laws: Vec<_> = LAWS.iter().map(|law| law.name).collect();
        for (n, name) in scenario.laws.require.iter().flatten().enumerate() {
            one_of(&format!("laws.require[{n}]"), name, &laws)?;
        }
        for (n, name) in scenario.laws.skip.iter().enumerate() {
            one_of(&format!("laws.skip[{n}]"), name, &laws)?;
        }
        for (n, gate) in scenario.gates.iter().enumerate() {
            Gate::parse(gate)
                .map_err(|why| source.error(&format!("gates[{n}]"), why.to_string()))?;
        }
        let bugs: Vec<_> = plants::ALL.iter().map(|bug| bug.name).collect();
        for name in &self.plants {
            if !bugs.contains(&name.as_str()) {
                let hint = must_be_one_of(name, bugs.iter().copied());
                let option = Path::new("--plant");
                return Err(FileError::whole(option, format!("no bug `{name}`: {hint}")));
            }
        }
        Ok(())
    }

    /// Reads and checks the mapping that the scenario names, if it names one.
    fn read_mapping(&self, source: &Source) -> Result<Option<MappingFile>, FileError> {
        let scenario = &self.scenario;
        if !is_file(&scenario.target) {
            return Ok(None);
        }
        let text = Source::read(Path::new(&scenario.target))?;
        let mapping = MappingFile { path: text.path, text: text.text };
        let compiled = self.compile(&mapping, "not yet")?;
        if !compiled.is_embedded() && self.time == Time::Virtual {
            let why = "it speaks through real sockets, and the virtual world has none: --time real";
            return Err(source.error("target", why));
        }
        let victims = victims::read(&mapping)?;
        if compiled.is_embedded() && !victims.is_empty() {
            let why = "the run starts this backend itself, and its nodes and links are the victims: \
                       leave the table out";
            let key = if victims.names().is_empty() { "backend_link" } else { "victims" };
            return Err(mapping.source().error(key, why));
        }
        let scale = scenario.time.time_scale;
        if !compiled.declares.scaled_time && (scale - 1.0).abs() > f64::EPSILON {
            let why = format!(
                "{} does not declare `scaled_time`, so time runs there as it does here: set it to 1",
                scenario.target
            );
            return Err(source.error("time.time_scale", why));
        }
        Ok(Some(mapping))
    }

    /// A mapping made ready for a run of this plan.
    pub fn compile(&self, mapping: &MappingFile, run: &str) -> Result<Compiled, FileError> {
        // Of the reference backend it is known what holds; of another nothing is taken for granted.
        let ours = Settings::of(&self.scenario, &self.seed, &[]).declares;
        let foreign = Declares { scaled_time: false, ..Declares::default() };
        let made = |defaults: Declares| {
            let run =
                For { run: run.to_owned(), seed: self.seed.clone(), columns: Vec::new(), defaults };
            Compiled::new(&mapping.source(), &run)
        };
        let compiled = made(foreign)?;
        if compiled.is_embedded() { made(ours) } else { Ok(compiled) }
    }

    /// Whether the run starts the reference backend.
    pub fn starts_backend(&self) -> bool {
        self.mapping
            .as_ref()
            .is_none_or(|mapping| self.compile(mapping, "").is_ok_and(|made| made.is_embedded()))
    }

    /// Whether requests are traced: those of the built-in adapter to the backend that the run starts.
    pub fn is_traced(&self) -> bool {
        self.scenario.traces.on && self.mapping.is_none()
    }

    /// The most requests a second that the target's file allows, where it has one and says so.
    pub fn target_ceiling(&self, run: &str) -> Result<Option<u32>, FileError> {
        let Some(mapping) = &self.mapping else { return Ok(None) };
        Ok(self.compile(mapping, run)?.ceiling_per_second)
    }

    /// Whether anything may be broken at all.
    pub fn is_calm(&self) -> bool {
        self.scenario.chaos == "none"
    }

    /// The fault plan as its file has it: nobody is aimed at yet.
    pub fn fault_plan(&self) -> Result<FaultPlan, FileError> {
        if self.is_calm() {
            return Ok(FaultPlan::none());
        }
        let mut plan = FaultPlan::load(Path::new(&self.scenario.chaos))?;
        if !self.starts_backend() {
            plan.limits = plan.limits.over(Limits::OF_OTHERS);
        }
        Ok(plan)
    }

    /// The faults of that plan with the victims of this run's seed.
    pub fn aim(&self, faults: &FaultPlan, azs: &[String]) -> Result<Resolved, FileError> {
        let duration = self.scenario.time.duration.0;
        let Some(outsiders) = victims::outsiders(self)? else {
            let nodes = self.nodes(azs);
            let resolved = faults.resolve(&nodes, &links(&nodes), duration, &self.rng())?;
            faults.check_strikes(&resolved, |_, strike| strike.fits_own())?;
            faults.check_brokers(&resolved, &nodes)?;
            faults.check_limits(&resolved, &nodes)?;
            return Ok(resolved);
        };
        let (nodes, links) = (outsiders.nodes(), detours::links_of(self)?);
        let resolved = faults.resolve(&nodes, &links, duration, &self.rng())?;
        faults.check_foreign(&resolved)?;
        faults.check_strikes(&resolved, |node, strike| outsiders.can(node, strike))?;
        faults.check_limits(&resolved, &nodes)?;
        Ok(resolved)
    }

    /// The same for the kinds that are on; one that is in another's way is drawn again, or left out.
    pub fn aim_some(
        &self,
        faults: &FaultPlan,
        azs: &[String],
        is_on: impl Fn(&str) -> bool,
    ) -> Result<Resolved, FileError> {
        let nodes = self.nodes(azs);
        let duration = self.scenario.time.duration.0;
        faults.resolve_some(&nodes, &links(&nodes), duration, &self.rng(), is_on)
    }

    /// The nodes of the embedded backend; none where the run starts no backend.
    pub fn nodes(&self, azs: &[String]) -> Vec<NodeName> {
        if !self.starts_backend() {
            return Vec::new();
        }
        let backend = &self.scenario.backend;
        let services = Layout::of(
            azs,
            backend.api_per_az as usize,
            backend.orchestration_per_az as usize,
            backend.core_per_az as usize,
            Layout::storage(azs, &backend.storage_az, backend.storage_replicas as usize),
        );
        let brokers = if backend.bus == RABBITMQ { Layout::brokers(azs) } else { Vec::new() };
        brokers.into_iter().chain(services).collect()
    }

    /// The text of `plan.toml`.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// The plan of a recorded run.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let source = Source::read(path)?;
        let plan: Self = source.parse()?;
        if plan.schema != SCHEMA {
            let what =
                format!("this tool reads plans of schema {SCHEMA}, this one is {}", plan.schema);
            return Err(FileError::whole(path, what));
        }
        if let Some((number, why)) = plan.faults.stranger_to(plan.time.world()) {
            return Err(source.error(&format!("faults.fault[{number}].kind"), why));
        }
        Ok(plan)
    }

    /// Its known failures, as they stood when it was resolved.
    pub fn known(&self) -> Result<Known, FileError> {
        Ok(self.known.as_ref().map(KnownFile::parse).transpose()?.unwrap_or_default())
    }

    /// What tells this plan from any other. Known failures and approvals change nothing of what
    /// happens, so they do not count: a history is the same with them and without.
    pub fn fingerprint(&self) -> Result<String, toml::ser::Error> {
        Ok(sha256(&Self { known: None, approval: None, ..self.clone() }.to_toml()?))
    }

    /// Keeps the plan in the run's folder.
    pub fn keep(&self, folder: &Folder) -> anyhow::Result<()> {
        Ok(folder.write("plan.toml", self.to_toml()?.as_bytes())?)
    }

    /// Says what is about to run in that folder; the seed first.
    pub fn announce(&self, folder: &Folder) {
        println!("seed {}  scenario {}  {}", self.seed, self.name, folder.path().display());
        if !self.plants.is_empty() {
            println!("!! PLANTED BUGS ARE ON: {} !!", self.plants.join(", "));
        }
    }

    /// The seed as a part of a file's name.
    pub fn seed_word(&self) -> String {
        self.seed.chars().filter(char::is_ascii_alphanumeric).take(16).collect()
    }

    /// The root of the run's random streams.
    pub fn rng(&self) -> Rng {
        Rng::from_seed(&self.seed)
    }

    /// The city, from the plan's own copy of its files, which is put into `folder`.
    pub fn city(&self, folder: &Path) -> Result<City, FileError> {
        let unusable = |why: std::io::Error| {
            FileError::whole(folder, format!("the city's files cannot be kept there: {why}"))
        };
        std::fs::create_dir_all(folder).map_err(unusable)?;
        for (name, text) in &self.city {
            std::fs::write(folder.join(name), text).map_err(unusable)?;
        }
        City::load(&folder.join(self.city_file()))
    }

    /// The same without a folder.
    pub fn city_in_memory(&self) -> Result<City, FileError> {
        let file = self.city_file();
        let source = |name: &str| {
            let text = self.city.get(name).ok_or_else(|| {
                FileError::whole(Path::new("plan.toml"), format!("it holds no file `{name}`"))
            })?;
            Ok(Source::new(Path::new(name), text))
        };
        let map = self.city.keys().find(|name| **name != file).map_or("", String::as_str);
        City::from_sources(&source(&file)?, &source(map)?)
    }

    /// The name of the city's file.
    pub fn city_file(&self) -> String {
        let name = Path::new(&self.scenario.city).file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

impl Wishes {
    /// Options that stand for a key of the scenario, before those of `--set`.
    fn all_sets(&self) -> Vec<String> {
        // On the command line `./` is the folder where the run is started, as everywhere there.
        let here = |file: &String| file.trim_start_matches("./").to_owned();
        let city = self.city.iter().map(here).map(|file| format!("city={file}"));
        let chaos = self.chaos.iter().map(here).map(|file| format!("chaos={file}"));
        let duration = self.duration.iter().map(|span| format!("time.duration={span}"));
        city.chain(chaos).chain(duration).chain(self.sets.iter().cloned()).collect()
    }
}

/// True for a target that is a file rather than a word of the registry.
fn is_file(target: &str) -> bool {
    Path::new(target).extension().is_some_and(|extension| extension == "toml")
}

/// Every link of a target: between its nodes, and from the robots to each API node.
pub fn links(nodes: &[NodeName]) -> Vec<LinkName> {
    let inner = Layout::links(nodes).into_iter().map(|(from, to)| LinkName { from, to });
    let robots = nodes
        .iter()
        .filter(|node| node.role() == "api")
        .map(|node| LinkName { from: NodeName::from(ROBOTS), to: node.clone() });
    inner.chain(robots).collect()
}

/// Where a file is that a scenario names: seen from the folder where the run is started, or, where
/// its name begins with `./`, from the scenario's own, so that a folder can stand alone.
fn named(scenario: &Path, file: &str) -> String {
    match (file.strip_prefix("./"), scenario.parent()) {
        (Some(beside), Some(folder)) => folder.join(beside).to_string_lossy().into_owned(),
        _ => file.to_owned(),
    }
}

fn city_files(city: &City) -> BTreeMap<String, String> {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    city.sources().iter().map(|source| (name(&source.path), source.text.clone())).collect()
}

/// A seed for a run that was given none: it only has to be another one each time.
#[expect(clippy::disallowed_methods, reason = "drawn before the run begins, and recorded")]
fn drawn_seed() -> String {
    let now = jiff::Timestamp::now().as_nanosecond().unsigned_abs();
    (now % 1_000_000_007).to_string()
}

/// Approvals are judged by it.
#[expect(clippy::disallowed_methods, reason = "read before the run begins")]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The day on which a run begins, in UTC: what expires is judged by it, in either world.
fn today() -> jiff::civil::Date {
    now().to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// SHA-256 of a text, in hexadecimal.
pub fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        use std::fmt::Write as _;
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
