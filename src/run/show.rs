//! One run, the same in both worlds: start → fill → load → drain → heal → settle → read back → stop
//! → judge. What was started is always stopped, and what was broken is always healed, whatever ends
//! the run.

use std::{
    cell::{Cell, RefCell},
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{Either, select},
    pin_mut,
};

use super::{
    RunError, Ui,
    again::Judged,
    approval,
    costs::Costs,
    gauges::gauges,
    guests::Guests,
    ledger::Books,
    plan::{RunPlan, now},
    progress::Progress,
    recorder::Recorder,
    stage::Stage,
    stop_condition::{self, StopCondition},
    targets,
    traces::{self, Traces},
};
use crate::{
    base::name::NodeName,
    chaos::conductor::Conductor,
    city::{City, clock::CityClock},
    engine::{Engine, Sink, target::Flow},
    history::{
        declares::Declares,
        op::OpKind,
        record::{Ending, Header, Phase, Record, SCHEMA},
        services::ServiceMap,
    },
    report::verdict::Exit,
    robot::Surroundings,
    scenario::Load,
    world::Env,
};

/// Sign-off may take that long; what is still on shift then ends with the backend.
pub const SIGN_OFF_WITHIN: Duration = Duration::from_secs(10);
/// Reading back may take that long.
const READ_BACK_WITHIN: Duration = Duration::from_mins(1);
/// Without that share of the drivers signed on there is nothing to test.
const SIGNED_ON_MIN: f64 = 0.9;

/// Between two looks at gates that may end the demand.
const GATES_EVERY: Duration = Duration::from_millis(500);
/// Seconds between two looks at what the laws say so far: each looks through all that it holds.
const ASK_THE_LAWS_EVERY: u64 = 5;

/// Where and when a run takes place, in words.
pub struct Billing {
    /// The run's id.
    pub run: String,
    /// RFC 3339, UTC.
    pub started_at: String,
}

/// How a run came out.
pub struct Played {
    /// The verdict, and the figures behind it.
    pub judged: Judged,
    /// Its exit code.
    pub exit: Exit,
    /// Records of its history.
    pub records: u64,
    /// The sum over them: that of another play of the same virtual run is the same.
    pub sum: u64,
    /// Bytes between robots and target, in the order of `OpKind::ALL`; empty where nobody counts.
    pub traffic: Vec<Flow>,
}

impl Played {
    /// The laws that it broke, by name.
    pub fn broken(&self) -> Vec<String> {
        self.judged.broken()
    }

    /// A signal came before it was over.
    pub fn interrupted(&self) -> bool {
        self.judged.figures.end.as_ref().is_some_and(|end| end.signal.is_some())
    }
}

/// One run, with all its parts.
pub struct Show {
    plan: RunPlan,
    run: String,
    ui: Ui,
    city: Rc<City>,
    stage: Rc<dyn Stage>,
    recorder: Rc<Recorder>,
    cast: Option<Cast>,
    phase: Cell<Phase>,
    /// Costs when the demand started, and when it stopped.
    marks: Cell<(Option<Costs>, Option<Costs>)>,
    /// Who sees each op and each phase beside the recorder.
    audience: Option<Rc<dyn Sink>>,
    sign_off_within: Duration,
    /// The backend's services at the end of the demand.
    services: RefCell<ServiceMap>,
    /// The run's folder, where it is kept.
    kept: Option<PathBuf>,
    traces: Option<Rc<Traces>>,
    /// Who is at the backend, where that is not the run's own.
    guests: Option<Rc<RefCell<Guests>>>,
    /// Where leases and acts are written, in a world that something may outlive the run in.
    books: Option<Rc<Books>>,
    /// Why all faults were called off.
    called_off: RefCell<Option<String>>,
}

/// Robots and faults, once the backend is there.
struct Cast {
    robots: Env,
    engine: Engine,
    conductor: Conductor,
}

impl Show {
    /// Opens the history in the folder `kept`, or keeps none; nothing runs yet.
    pub fn new(
        plan: RunPlan,
        city: Rc<City>,
        kept: Option<&Path>,
        ui: Ui,
        stage: Rc<dyn Stage>,
        billing: Billing,
    ) -> anyhow::Result<Self> {
        approval::check(&plan, now())?;
        let target = targets::of(&plan, stage.operator(), &city, &billing.run)?;
        let declares = target.declares().clone();
        let signs_off = declares.asked().has(OpKind::DriverGoOffline);
        let recorder = Rc::new(Recorder::create(kept, &plan, &declares)?);
        let run = billing.run.clone();
        recorder.record(&Record::Run(Box::new(header(&plan, billing, declares)?)));
        let guests = (!plan.starts_backend()).then_some(signs_off);
        let guests = guests.map(|signs_off| Rc::new(RefCell::new(Guests::new(signs_off))));
        Ok(Self {
            plan,
            run,
            ui,
            city,
            stage,
            recorder,
            cast: None,
            phase: Cell::new(Phase::Start),
            marks: Cell::default(),
            audience: None,
            sign_off_within: SIGN_OFF_WITHIN,
            services: RefCell::default(),
            kept: kept.map(Path::to_owned),
            traces: None,
            guests,
            books: None,
            called_off: RefCell::default(),
        })
    }

    /// Writes down there what has to be put back, whatever becomes of this process.
    #[must_use]
    pub fn written_in(mut self, books: Books) -> Self {
        self.books = Some(Rc::new(books));
        self
    }

    /// Lets the robots' requests be traced.
    #[must_use]
    pub fn traced(mut self, traces: Option<Traces>) -> Self {
        self.traces = traces.map(Rc::new);
        self
    }

    /// Lets `audience` see each op and each phase as well.
    #[must_use]
    pub fn watched_by(mut self, audience: Rc<dyn Sink>) -> Self {
        self.audience = Some(audience);
        self
    }

    /// Lets the sign-off take so long: robots in the middle of a job go home when it is over.
    #[must_use]
    pub fn signing_off_within(mut self, span: Duration) -> Self {
        self.sign_off_within = span;
        self
    }

    /// Everything, in order.
    pub async fn play(mut self) -> anyhow::Result<Played> {
        self.enter(Phase::Start);
        let started = match select(self.stage.start(), self.stage.signal(1)).await {
            Either::Left((started, _)) => started.map(|()| None),
            Either::Right((signal, _)) => Ok(Some(signal)),
        };
        match started {
            Ok(None) => match self.assemble() {
                Ok(cast) => self.cast = Some(cast),
                Err(why) => return Err(self.unfit(format!("{why:#}")).await),
            },
            Ok(signal) => return self.wind_up(signal, false).await,
            Err(why) => return Err(self.unfit(why).await),
        }
        let outcome = {
            let (phases, watch, stop) = (self.phases(), self.watch(), self.stage.signal(1));
            pin_mut!(phases, watch);
            match select(select(phases, watch), stop).await {
                Either::Left((Either::Left((done, _)), _)) => done.map(|()| None),
                Either::Left((Either::Right(((), _)), _)) => Ok(None),
                Either::Right((signal, _)) => Ok(Some(signal)),
            }
        };
        match outcome {
            Ok(signal) => {
                let stopped = self.recorder.failed() || self.recorder.leaks();
                let complete = signal.is_none() && !stopped;
                self.wind_up(signal, complete).await
            }
            Err(why) => Err(self.unfit(why).await),
        }
    }

    /// Puts robots and faults together.
    fn assemble(&self) -> anyhow::Result<Cast> {
        let robots = self.stage.robots();
        let scenario = &self.plan.scenario;
        let detours = self.stage.detours();
        let target = targets::through(&self.plan, robots.clone(), &self.city, &self.run, &detours)?;
        let declares = target.declares();
        let mishaps = &scenario.robots.mishaps;
        let around = Surroundings {
            city: Rc::clone(&self.city),
            clock: CityClock {
                origin: robots.now() + scenario.time.fill.0,
                start_s: scenario.time.start_s(),
                scale: scenario.time.time_scale,
            },
            habits: Rc::new(scenario.robots.clone()),
            ping_every: Duration::from_secs_f64(
                f64::from(scenario.load.drivers) / scenario.load.updates_per_second,
            ),
            ops: declares.asked(),
            offers: declares.offers,
            search_ttl: declares.search_ttl.0,
            token_ttl: declares.token_ttl.0,
            probes: declares.probed(),
            second_phones: if declares.second_phones { mishaps.second_phones } else { 0.0 },
        };
        if let Some(traces) = &self.traces {
            target.traced(traces.tracing());
        }
        let (recorder, audience) = (Rc::clone(&self.recorder), self.audience.clone());
        let (traces, guests) = (self.traces.clone(), self.guests.clone());
        let sink = Rc::new(move |record: Record| {
            recorder.record(&record);
            if let Some(guests) = &guests {
                guests.borrow_mut().see(&record);
            }
            if let Some(traces) = &traces {
                traces.see(&record);
            }
            if let Some(audience) = &audience {
                audience.record(record);
            }
        });
        let load = Load {
            ceiling_per_second: lower(
                scenario.load.ceiling_per_second,
                self.plan.target_ceiling(&self.run)?,
            ),
            ..scenario.load.clone()
        };
        let engine = Engine::new(robots.clone(), target, around, load, sink.clone());
        let conductor = Conductor::new(
            self.stage.operator(),
            Rc::clone(&self.stage).provider(),
            Rc::new(engine.reins()),
            gauges(engine.onlooker()),
            self.plan.faults.clone(),
            sink,
        );
        let conductor = match &self.books {
            Some(books) => conductor.written_in(books.clone()),
            None => conductor,
        };
        if let (Some(books), false) = (&self.books, self.plan.starts_backend()) {
            books.robots_come()?;
        }
        Ok(Cast { robots, engine, conductor })
    }

    /// From the fill to the read-back; an error means that the target was unfit.
    async fn phases(&self) -> Result<(), String> {
        let Some(Cast { robots, engine, conductor }) = &self.cast else {
            return Err("nothing was put together".into());
        };
        let time = &self.plan.scenario.time;
        self.enter(Phase::Fill);
        engine.fill(time.fill.0).await;
        let (there, wanted) = (engine.figures().drivers_on_shift, engine.wanted_at(robots.now()));
        if f64::from(there) < SIGNED_ON_MIN * f64::from(wanted) {
            return Err(format!("only {there} of {wanted} drivers could sign on"));
        }
        self.enter(Phase::Load);
        let zero = robots.now();
        self.marks.set((self.stage.costs(), None));
        let demand = async {
            futures_util::join!(
                engine.load(time.duration.0),
                conductor.run(zero, zero + time.duration.0)
            )
        };
        let (missed, stopped) = (self.until_a_gate_ends_it(), self.until_it_is_called_off(engine));
        pin_mut!(missed, stopped, demand);
        // What is broken then is healed after the drain, as always.
        select(demand, select(missed, stopped)).await;
        self.marks.set((self.marks.get().0, self.stage.costs()));
        self.services.replace(self.stage.services().await);
        self.enter(Phase::Drain);
        engine.drain();
        self.enter(Phase::Heal);
        conductor.heal_all().await;
        self.enter(Phase::Settle);
        engine.settle(time.settle.0).await;
        self.enter(Phase::ReadBack);
        // What could not be read in time is missing from the read-back, and the laws say so.
        let _ = robots.timeout(READ_BACK_WITHIN, engine.read_back()).await;
        Ok(())
    }

    /// Resolves when a gate that was missed is to end the demand.
    async fn until_a_gate_ends_it(&self) {
        if !self.recorder.may_abort() {
            return std::future::pending().await;
        }
        let env = self.stage.operator();
        loop {
            env.sleep(GATES_EVERY).await;
            if let Some(why) = self.recorder.abort() {
                if self.ui != Ui::None {
                    println!("  gate missed, the demand ends: {why}");
                }
                return;
            }
        }
    }

    /// Resolves when the stop condition of the fault plan holds.
    async fn until_it_is_called_off(&self, engine: &Engine) {
        let Some(mut condition) = StopCondition::of(&self.plan.faults.limits) else {
            return std::future::pending().await;
        };
        let env = self.stage.operator();
        loop {
            env.sleep(stop_condition::LOOK_EVERY).await;
            if let Some(why) = condition.look(&engine.figures()) {
                if self.ui != Ui::None {
                    println!("  called off, all is healed and the demand ends: {why}");
                }
                self.called_off.replace(Some(why));
                return;
            }
        }
    }

    /// Once a second: a frame of history ends, and the progress line is shown. Ends only when the
    /// history can no longer be written, or when robots meet others than robots.
    async fn watch(&self) {
        let env = self.stage.operator();
        let mut progress = Progress::default();
        let mut due = env.now();
        let mut broken = Vec::new();
        for second in 1_u64.. {
            due += Duration::from_secs(1);
            env.sleep_until(due).await;
            self.recorder.flush();
            self.stage.look_after().await;
            if self.recorder.leaks() && matches!(self.ui, Ui::Plain) {
                println!("robots meet others than robots: healing and signing off");
            }
            if self.recorder.failed() || self.recorder.leaks() {
                return;
            }
            if let (Ui::Plain, true, Some(cast)) = (self.ui, self.stage.wants_line(), &self.cast) {
                if second.is_multiple_of(ASK_THE_LAWS_EVERY) {
                    broken = self.recorder.broken();
                }
                let (now, faults) = (cast.engine.figures(), cast.conductor.snapshot());
                println!("{}", progress.line(self.phase.get(), now, &faults, &broken));
            }
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        let record = Record::Phase { phase, at: self.stage.operator().now() };
        self.recorder.record(&record);
        if let Some(audience) = &self.audience {
            audience.record(record);
        }
    }

    async fn unfit(&self, why: String) -> anyhow::Error {
        self.stage.stop().await;
        RunError::Unfit(why).into()
    }

    /// Heals, signs off, stops, judges. A second signal ends the process at once: whatever
    /// the run started ends with it.
    async fn wind_up(
        &mut self,
        signal: Option<&'static str>,
        complete: bool,
    ) -> anyhow::Result<Played> {
        let mut heard = signal.map(|signal| (signal, self.stage.operator().now()));
        if let Some(signal) = signal {
            println!("SIG{signal}: healing and signing off; once more ends at once");
        }
        let (left_behind, lost) = {
            let (put_back, again) = (self.put_back(), self.stage.signal(2));
            pin_mut!(put_back);
            match select(put_back, again).await {
                Either::Left((left, _)) => left,
                Either::Right((signal, _)) => {
                    self.stage.stop().await;
                    let exit = if signal == "TERM" { Exit::Terminated } else { Exit::Interrupted };
                    std::process::exit(i32::from(exit.code()));
                }
            }
        };
        // One that came during the sign-off of a run that had ended by itself counts too.
        let late = || Some((self.stage.signal(1).now_or_never()?, self.stage.operator().now()));
        heard = heard.or_else(late);
        let cut_short = !complete;
        self.recorder.record(&Record::End(Ending {
            signal: heard.map(|(signal, _)| signal.to_owned()),
            signal_at: heard.map(|(_, at)| at),
            cut_short,
            left_behind,
            lost,
            ..self.end()
        }));
        let traffic = self.cast.as_ref().and_then(|cast| cast.engine.traffic());
        // Nobody records any more.
        self.cast = None;
        let mut judged = self.recorder.finish(&self.plan, complete)?;
        if let Some(traces) = &self.traces {
            traces.finish()?;
        }
        if let Some(folder) = &self.kept {
            traces::attach(&mut judged, folder)?;
        }
        let exit = Exit::of(&judged.summary, heard.map(|(signal, _)| signal));
        let (records, sum) = (self.recorder.records(), self.recorder.sum());
        Ok(Played { judged, exit, records, sum, traffic: traffic.unwrap_or_default() })
    }

    async fn put_back(&self) -> (Vec<String>, Vec<NodeName>) {
        let mut left_behind = Vec::new();
        if let (Some(begun), None) = self.marks.get() {
            self.marks.set((Some(begun), self.stage.costs()));
        }
        if let Some(cast) = &self.cast {
            left_behind = cast.conductor.heal_all().await;
            self.enter(Phase::Stop);
            cast.engine.drain();
            // Who is still on shift then goes with the backend, which the run itself stops: nothing
            // of a robot is left behind in it.
            let all_left = cast.engine.sign_off(self.sign_off_within).await;
            let stay = self.who_stays(&cast.engine);
            if let (Some(books), true, true) = (&self.books, all_left, stay.is_empty()) {
                books.robots_left();
            }
            left_behind.extend(stay);
        }
        let lost = self.stage.lost();
        self.stage.stop().await;
        (left_behind, lost)
    }

    /// What of the robots is still at a backend that goes on without the run, in words.
    fn who_stays(&self, engine: &Engine) -> Vec<String> {
        let Some(guests) = &self.guests else { return Vec::new() };
        guests.borrow().left(&engine.present())
    }

    /// The last record, as far as nothing but time and costs are in it.
    fn end(&self) -> Ending {
        let (begun, ended) = self.marks.get();
        let spent = begun.and_then(|begun| Some(ended.or(self.stage.costs())?.since(&begun)));
        Ending {
            at: self.stage.operator().now(),
            cpu_s: spent.map(|spent| spent.robots.as_secs_f64()),
            rss_mb: spent.map(|spent| spent.robots_peak_mb),
            backend_cpu_s: spent.map(|spent| spent.backend.as_secs_f64()),
            proxy_cpu_s: spent.map(|spent| spent.proxy.as_secs_f64()),
            services: self.services.take(),
            called_off: self.called_off.take(),
            ..Ending::default()
        }
    }
}

/// The lower of two ceilings, where there are any.
fn lower(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    one.into_iter().chain(other).min()
}

fn header(plan: &RunPlan, billing: Billing, declares: Declares) -> anyhow::Result<Header> {
    Ok(Header {
        schema: SCHEMA,
        tool: format!("robot-city {}", env!("CARGO_PKG_VERSION")),
        scenario: plan.name.clone(),
        run: billing.run,
        seed: plan.seed.clone(),
        time: plan.time.word().to_owned(),
        started_at: billing.started_at,
        labels: plan.labels.clone(),
        // A target without a place for positions is sent none.
        updates_per_s: if declares.asked().has(OpKind::DriverPing) {
            plan.scenario.mean_updates_per_second()
        } else {
            0.0
        },
        declares,
        plants: plan.plants.clone(),
        time_scale: plan.scenario.time.time_scale,
        plan_sha256: plan.fingerprint()?,
    })
}

#[cfg(test)]
mod tests {
    use super::lower;

    #[test]
    fn the_lower_ceiling_holds() {
        assert_eq!(lower(None, None), None);
        assert_eq!(lower(Some(50), None), Some(50));
        assert_eq!(lower(None, Some(20)), Some(20));
        assert_eq!(lower(Some(50), Some(20)), Some(20));
        assert_eq!(lower(Some(10), Some(20)), Some(10));
    }
}
