//! A run in the real world: start → fill → load → drain → heal → settle → read back → stop → judge.
//! What was started is always stopped, and what was broken is always healed, whatever ends the run.

use std::{
    cell::Cell,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::{
    future::{Either, select},
    pin_mut,
};

use super::{
    RunError, Ui,
    costs::Costs,
    fleet::Fleet,
    folder::Folder,
    outputs,
    plan::{RunPlan, sha256},
    progress::Progress,
    recorder::Recorder,
    signals::Signals,
};
use crate::{
    chaos::conductor::Conductor,
    city::{City, clock::CityClock},
    engine::Engine,
    history::{
        declares::Declares,
        record::{Ending, Header, Phase, Record, SCHEMA},
    },
    report::{console, verdict::Exit},
    robot::Surroundings,
    target::embedded::{self, Embedded},
    world::{
        Env,
        real::{process, run_local},
    },
};

/// Sign-off may take that long; what is still on shift then ends with the backend.
const SIGN_OFF_WITHIN: Duration = Duration::from_secs(10);
/// Reading back may take that long.
const READ_BACK_WITHIN: Duration = Duration::from_secs(60);
/// Without that share of the robots signed on there is nothing to test.
const SIGNED_ON_MIN: f64 = 0.9;

/// Runs a plan to its verdict.
#[expect(clippy::disallowed_methods, reason = "the origin of a real run")]
pub fn run(plan: RunPlan, out: &Path, ui: Ui) -> anyhow::Result<Exit> {
    let origin = Instant::now();
    let folder = Folder::create(out, &plan.name, &run_id(&plan))?;
    let text = plan.to_toml()?;
    folder.write("plan.toml", text.as_bytes())?;
    println!("seed {}  scenario {}  {}", plan.seed, plan.name, folder.path().display());
    if !plan.plants.is_empty() {
        println!("!! PLANTED BUGS ARE ON: {} !!", plan.plants.join(", "));
    }
    let city = Rc::new(plan.city(&folder.file("city"))?);
    run_local(async move {
        let mut show = Show::new(plan, &text, city, folder, ui, origin)?;
        show.go().await
    })?
}

/// Starts the embedded backend alone, and keeps it up until a signal.
#[expect(clippy::disallowed_methods, reason = "the origin of a real run")]
pub fn backend_up(plan: RunPlan, out: &Path) -> anyhow::Result<Exit> {
    let origin = Instant::now();
    let folder = Folder::create(out, "backend", &run_id(&plan))?;
    let city = Rc::new(plan.city(&folder.file("city"))?);
    run_local(async move {
        let signals = Signals::take()?;
        let fleet = Fleet::new(&plan, &city, &folder, origin)?;
        let started = select(Box::pin(fleet.start()), Box::pin(signals.wait_for(1))).await;
        if let Either::Left((outcome, _)) = started {
            if let Err(why) = outcome {
                fleet.stop().await;
                return Err(RunError::Unfit(why.to_string()).into());
            }
            for (node, address) in fleet.api_addresses() {
                println!("{node}  http://{address}");
            }
            println!("logs and data in {}; Ctrl-C ends it", folder.path().display());
            signals.wait_for(1).await;
        }
        fleet.stop().await;
        Ok(Exit::Pass)
    })?
}

/// `20261121T013838-42`: start in UTC and seed. Sorts by time.
fn run_id(plan: &RunPlan) -> String {
    let seed: String = plan.seed.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    let now = jiff::Timestamp::now();
    format!("{}-{:03}-{seed}", now.strftime("%Y%m%dT%H%M%S"), now.subsec_millisecond())
}

/// One run, with all its parts.
struct Show {
    plan: RunPlan,
    folder: Folder,
    ui: Ui,
    city: Rc<City>,
    fleet: Rc<Fleet>,
    recorder: Rc<Recorder>,
    robots: Env,
    engine: Option<Rc<Engine>>,
    conductor: Option<Rc<Conductor>>,
    target: Rc<Embedded>,
    signals: Signals,
    phase: Rc<Cell<Phase>>,
    /// Costs when the demand started, and when it stopped.
    marks: Cell<(Option<Costs>, Option<Costs>)>,
}

impl Show {
    fn new(
        plan: RunPlan,
        text: &str,
        city: Rc<City>,
        folder: Folder,
        ui: Ui,
        origin: Instant,
    ) -> anyhow::Result<Self> {
        let fleet = Rc::new(Fleet::new(&plan, &city, &folder, origin)?);
        let target = embedded_target(&plan, &fleet.operator(), &city);
        let declares = crate::engine::target::Target::declares(&target).clone();
        let recorder = Rc::new(Recorder::create(folder.path(), &plan, &declares)?);
        recorder.record(&Record::Run(Box::new(header(&plan, text, &folder, declares))));
        Ok(Self {
            robots: fleet.operator(),
            target: Rc::new(target),
            signals: Signals::take()?,
            plan,
            folder,
            ui,
            city,
            fleet,
            recorder,
            engine: None,
            conductor: None,
            phase: Rc::new(Cell::new(Phase::Start)),
            marks: Cell::default(),
        })
    }

    /// Everything, in order.
    async fn go(&mut self) -> anyhow::Result<Exit> {
        self.enter(Phase::Start);
        let started = match select(Box::pin(self.fleet.start()), Box::pin(self.signals.wait_for(1))).await {
            Either::Left((started, _)) => started.map(|()| None),
            Either::Right((signal, _)) => Ok(Some(signal)),
        };
        match started {
            Ok(None) => self.populate(),
            Ok(signal) => return self.wind_up(signal, false).await,
            Err(why) => return self.unfit(&why.to_string()).await,
        }
        let outcome = {
            let (phases, watch, stop) = (self.phases(), self.watch(), self.signals.wait_for(1));
            pin_mut!(phases, watch, stop);
            match select(select(phases, watch), stop).await {
                Either::Left((Either::Left((done, _)), _)) => done.map(|()| None),
                Either::Left((Either::Right(((), _)), _)) => Ok(None),
                Either::Right((signal, _)) => Ok(Some(signal)),
            }
        };
        match outcome {
            Ok(signal) => {
                let complete = signal.is_none() && !self.recorder.failed();
                self.wind_up(signal, complete).await
            }
            Err(why) => self.unfit(&why).await,
        }
    }

    /// Puts robots and faults together, once the backend is there.
    fn populate(&mut self) {
        let rng = self.plan.rng();
        self.robots = self.fleet.robots(&rng);
        self.target = Rc::new(embedded_target(&self.plan, &self.robots, &self.city));
        let scenario = &self.plan.scenario;
        let fill = scenario.time.fill.0;
        let around = Surroundings {
            city: Rc::clone(&self.city),
            clock: CityClock {
                origin: self.robots.now() + fill,
                start_s: scenario.time.start_s(),
                scale: scenario.time.time_scale,
            },
            habits: Rc::new(scenario.robots.clone()),
            ping_every: Duration::from_secs_f64(
                f64::from(scenario.load.drivers) / scenario.load.updates_per_second,
            ),
        };
        let sink = |recorder: &Rc<Recorder>| {
            let recorder = Rc::clone(recorder);
            Rc::new(move |record: Record| recorder.record(&record))
        };
        self.engine = Some(Rc::new(Engine::new(
            self.robots.clone(),
            Rc::clone(&self.target) as Rc<dyn crate::engine::target::Target>,
            around,
            scenario.load.clone(),
            sink(&self.recorder),
        )));
        self.conductor = Some(Rc::new(Conductor::new(
            self.fleet.operator(),
            Rc::clone(&self.fleet) as Rc<dyn crate::chaos::provider::Provider>,
            self.plan.faults.clone(),
            sink(&self.recorder),
        )));
    }

    /// From the fill to the read-back; an error means that the target was unfit.
    async fn phases(&self) -> Result<(), String> {
        let (Some(engine), Some(conductor)) = (&self.engine, &self.conductor) else {
            return Err("nothing was put together".into());
        };
        let time = &self.plan.scenario.time;
        self.enter(Phase::Fill);
        engine.fill(time.fill.0).await;
        let (there, wanted) = (engine.figures().drivers_on_shift, self.plan.scenario.load.drivers);
        if f64::from(there) < SIGNED_ON_MIN * f64::from(wanted) {
            return Err(format!("only {there} of {wanted} drivers could sign on"));
        }
        self.enter(Phase::Load);
        let zero = self.robots.now();
        self.marks.set((Some(self.costs()), None));
        futures_util::join!(engine.load(time.duration.0), conductor.run(zero));
        self.marks.set((self.marks.get().0, Some(self.costs())));
        self.enter(Phase::Drain);
        engine.drain();
        self.enter(Phase::Heal);
        conductor.heal_all().await;
        self.enter(Phase::Settle);
        engine.settle(time.settle.0).await;
        self.enter(Phase::ReadBack);
        // What could not be read in time is missing from the read-back, and the laws say so.
        let _ = self.robots.timeout(READ_BACK_WITHIN, engine.read_back()).await;
        Ok(())
    }

    /// Once a second: a frame of history ends, and the progress line is shown. Ends only when the
    /// history can no longer be written.
    async fn watch(&self) {
        let env = self.fleet.operator();
        let mut progress = Progress::default();
        let mut due = env.now();
        loop {
            due += Duration::from_secs(1);
            env.sleep_until(due).await;
            self.recorder.flush();
            if self.recorder.failed() {
                return;
            }
            if let (Ui::Plain, Some(engine), Some(conductor)) =
                (self.ui, &self.engine, &self.conductor)
            {
                let broken = self.recorder.broken();
                let faults = conductor.snapshot();
                let line = progress.line(self.phase.get(), engine.figures(), &faults, &broken);
                println!("{line}");
            }
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.recorder.record(&Record::Phase { phase, at: self.fleet.operator().now() });
    }

    fn costs(&self) -> Costs {
        let (backend, proxy) = self.fleet.spent();
        Costs::now(backend, proxy)
    }

    async fn unfit(&self, why: &str) -> anyhow::Result<Exit> {
        self.fleet.stop().await;
        Err(RunError::Unfit(why.to_owned()).into())
    }

    /// Heals, signs off, stops, judges, reports. A second signal ends the process at once: nodes and
    /// proxies end with it.
    async fn wind_up(
        &mut self,
        signal: Option<&'static str>,
        complete: bool,
    ) -> anyhow::Result<Exit> {
        if let Some(signal) = signal {
            println!("SIG{signal}: healing and signing off; once more ends at once");
        }
        let left_behind = {
            let put_back = self.put_back(signal.is_some());
            let again = self.signals.wait_for(2);
            pin_mut!(put_back, again);
            match select(put_back, again).await {
                Either::Left((left, _)) => left,
                Either::Right((signal, _)) => {
                    self.fleet.stop().await;
                    let exit = if signal == "TERM" { Exit::Terminated } else { Exit::Interrupted };
                    std::process::exit(i32::from(exit.code()));
                }
            }
        };
        self.recorder.record(&self.end(signal, left_behind));
        self.report(complete, signal)
    }

    async fn put_back(&self, interrupted: bool) -> Vec<String> {
        let mut left_behind = Vec::new();
        if let Some(conductor) = &self.conductor {
            left_behind = conductor.heal_all().await;
        }
        self.enter(Phase::Stop);
        if let Some(engine) = &self.engine {
            if interrupted {
                engine.drain();
            }
            engine.sign_off(SIGN_OFF_WITHIN).await;
        }
        for node in self.fleet.lost() {
            println!("{node} ended by itself during the run; see its log");
        }
        self.fleet.stop().await;
        left_behind
    }

    fn end(&self, signal: Option<&str>, left_behind: Vec<String>) -> Record {
        let spent = match self.marks.get() {
            (Some(begun), Some(ended)) => ended.since(&begun),
            (Some(begun), None) => self.costs().since(&begun),
            _ => Costs::default(),
        };
        Record::End(Ending {
            at: self.fleet.operator().now(),
            cpu_s: spent.robots.as_secs_f64(),
            rss_mb: process::own_usage().rss_peak_bytes as f64 / 1e6,
            backend_cpu_s: Some(spent.backend.as_secs_f64()),
            proxy_cpu_s: Some(spent.proxy.as_secs_f64()),
            signal: signal.map(str::to_owned),
            left_behind,
        })
    }

    fn report(&mut self, complete: bool, signal: Option<&str>) -> anyhow::Result<Exit> {
        // Nobody else records any more: the engine and the conductor are let go of.
        self.engine = None;
        self.conductor = None;
        let judged = self.recorder.finish(&self.plan, complete)?;
        outputs::write(&self.folder, &judged.summary, &judged.figures)?;
        self.folder.make_latest()?;
        print!("{}", console::render(&judged.summary));
        let exit = Exit::of(&judged.summary, signal);
        println!("\n  report: {}", self.folder.file("report.html").display());
        if exit != Exit::Pass {
            let run = self.folder.path().display();
            println!("  seed {}: run it again with `robot-city replay {run}`", self.plan.seed);
        }
        Ok(exit)
    }
}

fn embedded_target(plan: &RunPlan, env: &Env, city: &City) -> Embedded {
    let nodes = plan.nodes(&city.azs);
    Embedded::new(env.clone(), embedded::Settings::of(&plan.scenario, &plan.seed, &nodes))
}

fn header(plan: &RunPlan, text: &str, folder: &Folder, declares: Declares) -> Header {
    let name = folder.path().file_name().unwrap_or_default();
    Header {
        schema: SCHEMA,
        tool: format!("robot-city {}", env!("CARGO_PKG_VERSION")),
        scenario: plan.name.clone(),
        run: name.to_string_lossy().into_owned(),
        seed: plan.seed.clone(),
        time: plan.time.clone(),
        started_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        labels: plan.labels.clone(),
        declares,
        plants: plan.plants.clone(),
        updates_per_s: plan.scenario.load.updates_per_second,
        time_scale: plan.scenario.time.time_scale,
        plan_sha256: sha256(text),
    }
}
