//! The traces of a run: starts the collector where the run's world wants it, hands it the robots'
//! own ends, and brings what it found into the summary. In the real world the collector has a
//! thread: the robots' own does not wait for it, and what it has no room for is dropped.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    again::Judged,
    collector::{Collector, FIGURES, Order},
    folder::Folder,
    plan::RunPlan,
};
use crate::{
    backend::platform::phosphor::COLLECTOR,
    base::name::NodeName,
    history::{
        hop::{Hop, Sampling, Subject, TraceId, Tracing, half_of_run},
        op::Op,
        reader::Reader,
        record::Record,
        traces::{FOLDER, read},
    },
    law::Violation,
    report::traces::{ShownTrace, TracesSummary},
    world::{
        real::{clock::Clock, datagram},
        virtual_::{Settings, Sim},
    },
};

/// Ops of robots that may wait for the collector; further ones are dropped.
const OPS_MAX: usize = 4_096;
/// One wait for a datagram.
const PATIENCE: Duration = Duration::from_millis(20);
/// Datagrams between two looks at the robots' ops.
const AT_ONCE: usize = 64;
/// Waits after which what was written is handed to the system: about a second of silence.
const FLUSH_EVERY: u32 = 50;
/// A datagram is never longer.
const DATAGRAM_BYTES: usize = 65_536;
/// Traces of evidence that the report shows; all are in the summary.
const SHOWN_MAX: usize = 6;

/// A collector at work.
pub struct Traces {
    tracing: Tracing,
    way: Way,
    address: Option<String>,
}

enum Way {
    Here(std::rc::Rc<RefCell<Option<Collector>>>),
    Thread(RefCell<Option<Worker>>, SyncSender<Vec<Hop>>, Cell<u64>),
}

/// The thread of a collector.
struct Worker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Collector>,
}

impl Traces {
    /// In the virtual world: the collector has each datagram as it is sent.
    pub fn virtual_(
        plan: &RunPlan,
        run: &str,
        folder: &Path,
        sim: &Sim,
    ) -> anyhow::Result<Option<Self>> {
        let Some(order) = order(plan, run, folder, "virtual", Settings::default().epoch_ms) else {
            return Ok(None);
        };
        let tracing = order.tracing;
        let collector = std::rc::Rc::new(RefCell::new(Some(Collector::create(order)?)));
        let own = std::rc::Rc::clone(&collector);
        sim.receive(&NodeName::from(COLLECTOR), move |bytes| {
            if let Some(collector) = &mut *own.borrow_mut() {
                collector.datagram(bytes);
            }
        });
        Ok(Some(Self { tracing, way: Way::Here(collector), address: None }))
    }

    /// In the real world: a thread of its own receives at a free port.
    #[expect(clippy::disallowed_methods, reason = "the collector's own thread")]
    pub fn real(
        plan: &RunPlan,
        run: &str,
        folder: &Path,
        origin: Instant,
    ) -> anyhow::Result<Option<Self>> {
        let clock = Clock::new(origin);
        let epoch_ms = clock.wall().0.saturating_sub(clock.now().0 / 1_000_000);
        let Some(order) = order(plan, run, folder, "127.0.0.1", epoch_ms) else { return Ok(None) };
        let tracing = order.tracing;
        let socket = datagram::Receiver::bind(PATIENCE)?;
        let address = socket.address()?.to_string();
        let (ops, told) = sync_channel(OPS_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let (collector, stopped) = (Collector::create(order)?, Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("collector".into())
            .spawn(move || collect(collector, &socket, &told, &stopped))?;
        let worker = RefCell::new(Some(Worker { stop, thread }));
        Ok(Some(Self {
            tracing,
            way: Way::Thread(worker, ops, Cell::new(0)),
            address: Some(address),
        }))
    }

    /// How requests are marked.
    pub fn tracing(&self) -> Tracing {
        self.tracing
    }

    /// Where the nodes send what they hand over; none in the virtual world.
    pub fn address(&self) -> Option<String> {
        self.address.clone()
    }

    /// Takes the robots' ends of an op. Never waits.
    pub fn see(&self, record: &Record) {
        let Record::Op(op) = record else { return };
        let hops = self.tracing.hops(op);
        if hops.is_empty() {
            return;
        }
        match &self.way {
            Way::Here(collector) => {
                if let Some(collector) = &mut *collector.borrow_mut() {
                    collector.take(&hops);
                }
            }
            Way::Thread(_, ops, dropped) => {
                let many = hops.len() as u64;
                if ops.try_send(hops).is_err() {
                    dropped.set(dropped.get() + many);
                }
            }
        }
    }

    /// Ends the collecting and writes its figures; the nodes are gone by then.
    pub fn finish(&self) -> anyhow::Result<()> {
        let (collector, dropped) = match &self.way {
            Way::Here(collector) => (collector.borrow_mut().take(), 0),
            Way::Thread(worker, _, dropped) => {
                let collector = worker.borrow_mut().take().map(Worker::end).transpose()?;
                (collector, dropped.get())
            }
        };
        if let Some(mut collector) = collector {
            collector.dropped(dropped);
            collector.finish()?;
        }
        Ok(())
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Way::Thread(worker, ..) = &self.way
            && let Some(worker) = worker.borrow_mut().take()
        {
            // The run ended without a verdict: nobody wants its figures.
            let _unfinished = worker.end();
        }
    }
}

impl Worker {
    fn end(self) -> anyhow::Result<Collector> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the collector of traces panicked"))
    }
}

/// The life of the collector's thread: until it is stopped and nothing more comes.
fn collect(
    mut collector: Collector,
    socket: &datagram::Receiver,
    told: &Receiver<Vec<Hop>>,
    stop: &AtomicBool,
) -> Collector {
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let mut quiet = 0;
    loop {
        let stopped = stop.load(Ordering::Relaxed);
        let mut silent = false;
        for _ in 0..AT_ONCE {
            let Some(length) = socket.receive(&mut buffer) else {
                silent = true;
                break;
            };
            collector.datagram(&buffer[..length]);
        }
        for hops in told.try_iter() {
            collector.take(&hops);
        }
        quiet += 1;
        if quiet % FLUSH_EVERY == 0 {
            collector.flush();
        }
        if stopped && silent {
            return collector;
        }
    }
}

fn order(plan: &RunPlan, run: &str, folder: &Path, host: &str, epoch_ms: u64) -> Option<Order> {
    let traces = &plan.scenario.traces;
    plan.is_traced().then(|| Order {
        folder: folder.to_owned(),
        tracing: Tracing {
            run: half_of_run(run),
            sampling: Sampling {
                pings_one_in: traces.pings_one_in,
                looks_one_in: traces.looks_one_in,
            },
        },
        host: host.into(),
        bytes_max: u64::from(traces.mb_max) * 1_000_000,
        sink: traces.sink(),
        epoch_ms,
    })
}

/// Brings the traces in a run's folder into what was judged of it: the figures, the traces of the
/// evidence, and those that the report shows. The same live and from the disk.
pub fn attach(judged: &mut Judged, folder: &Path) -> anyhow::Result<()> {
    let Ok(text) = std::fs::read(folder.join(FOLDER).join(FIGURES)) else { return Ok(()) };
    let figures: TracesSummary = serde_json::from_slice(&text)?;
    let violations = judged.summary.laws.iter().flat_map(|law| &law.violations);
    let evidence: BTreeSet<Subject> = violations.flat_map(proof).collect();
    let slow: BTreeSet<TraceId> = figures.slowest.iter().map(|slow| slow.trace).collect();
    let wanted = |trace: TraceId| slow.contains(&trace) || evidence.contains(&trace.subject());
    let mut found: BTreeMap<TraceId, Vec<Hop>> = BTreeMap::new();
    for hop in read(folder, wanted)? {
        found.entry(hop.trace).or_default().push(hop);
    }
    let mut shown: Vec<(TraceId, String)> = Vec::new();
    for law in &mut judged.summary.laws {
        for violation in &mut law.violations {
            let proof = proof(violation);
            let of = found.keys().filter(|trace| proof.contains(&trace.subject()));
            violation.traces = of.clone().map(ToString::to_string).collect();
            let why = format!("evidence of {}", law.law);
            shown.extend(of.map(|trace| (*trace, why.clone())));
        }
    }
    let mut seen = BTreeSet::new();
    shown.retain(|(trace, _)| seen.insert(*trace));
    shown.truncate(SHOWN_MAX);
    let slowest = figures.slowest.iter().map(|s| (s.trace, format!("the slowest {}", s.op)));
    shown.extend(slowest.filter(|(trace, _)| !seen.contains(trace)));
    judged.figures.traces = shown
        .into_iter()
        .filter_map(|(trace, why)| {
            Some(ShownTrace { trace, why, hops: found.get(&trace)?.clone() })
        })
        .collect();
    judged.summary.traces = Some(figures);
    Ok(())
}

/// What proves a violation: its ops, and what was done for its job.
fn proof(violation: &Violation) -> BTreeSet<Subject> {
    let number = |text: &str| text.parse::<u64>().ok();
    let ops = violation.ops.iter().filter_map(|op| number(op).map(Subject::Op));
    let job = violation.job.iter().filter_map(|job| number(job.as_str()).map(Subject::Job));
    ops.chain(job).collect()
}

/// The traces of what `id` names, each in the order of time: a trace by its digits, an op by its
/// number, or else every op that was about the job of that id.
pub fn find(run: &Path, id: &str) -> anyhow::Result<Vec<Vec<Hop>>> {
    let folder = Folder::open(run)?;
    if !folder.file(FOLDER).exists() {
        anyhow::bail!(
            "{}: the run has no traces: only the embedded backend's are collected, unless the \
             scenario says `traces.on = false`",
            folder.path().display()
        );
    }
    let hops = if let Ok(wanted) = id.parse::<TraceId>() {
        read(folder.path(), |trace| trace == wanted)?
    } else {
        let subjects = subjects_of(folder.path(), id)?;
        read(folder.path(), |trace| subjects.contains(&trace.subject()))?
    };
    if hops.is_empty() {
        anyhow::bail!(
            "{}: nothing was traced of `{id}`: it must be an op's number, a job's id or a trace's \
             32 digits, and of location updates only one in `traces.pings_one_in` is traced",
            folder.path().display()
        );
    }
    // In the order in which they begin.
    let mut traces: Vec<Vec<Hop>> = Vec::new();
    let mut places = BTreeMap::new();
    for hop in hops {
        let place = *places.entry(hop.trace).or_insert(traces.len());
        if place == traces.len() {
            traces.push(Vec::new());
        }
        traces[place].push(hop);
    }
    Ok(traces)
}

/// The op of that number; or else the job of that id, and the ops about it.
fn subjects_of(run: &Path, id: &str) -> anyhow::Result<BTreeSet<Subject>> {
    let mut about: BTreeSet<Subject> = id.parse().map(Subject::Job).into_iter().collect();
    for record in Reader::open(run)? {
        let Record::Op(op) = record? else { continue };
        if op.id.to_string() == id {
            return Ok(BTreeSet::from([Subject::Op(op.id)]));
        }
        if is_about(&op, id) {
            about.insert(Subject::Op(op.id));
        }
    }
    Ok(about)
}

fn is_about(op: &Op, job: &str) -> bool {
    let asked = op.ask.job.iter();
    let answered = op.answer.job.iter().map(|view| &view.id);
    let offered = op.answer.offer.iter().map(|view| &view.job);
    asked.chain(answered).chain(offered).any(|id| id.as_str() == job)
}
