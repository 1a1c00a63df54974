//! Plays the faults of a run on time, measures each, and puts everything back: on schedule, and on
//! demand at any moment. It runs on the time of an [`Env`] alone, so in either world.
//!
//! Before a victim is touched its fault is marked as under way, and the mark goes only when a probe
//! has seen it well again: whatever is dropped in between, [`Conductor::heal_all`] knows what to do.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use futures_util::{
    future::{Either, join_all, select},
    pin_mut,
};
use tokio::sync::{Mutex, Notify, watch};

use super::{
    event::{Event, Gauges},
    fault::{Baseline, Seen, Stage},
    lease::{Act, Deed, GRACE, Lease, Ledger, NoLedger},
    limits::Limits,
    load::Crowd,
    provider::{Health, Provider},
    resolved::{Resolved, ResolvedFault},
};
use crate::{
    base::{name::NodeName, time::Time},
    history::record::{FaultChange, FaultEvent, Record},
    world::Env,
};

/// Where records of faults go.
pub type Sink = Rc<dyn Fn(Record)>;

/// How long before it is due a fault starts to measure its victims.
const LEAD: Duration = Duration::from_millis(2_500);
/// A fault whose links could not be measured by then is late by so much at most for another look.
const LAST_LOOK: Duration = Duration::from_millis(500);
/// How often it is looked whether something has happened, or a victim is well again.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long `heal_all` waits for a fault that is being played to let go. It lets go at once where
/// the future of `run` is polled or dropped; this is for one who does neither.
const LET_GO_LIMIT: Duration = Duration::from_secs(2);

/// A fault in force, for people who watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Its number in the run.
    pub fault: u32,
    /// Its kind.
    pub kind: &'static str,
    /// Its victims.
    pub victims: Vec<NodeName>,
    /// Since when.
    pub since: Time,
    /// When it is to be put back.
    pub until: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was touched.
    Waiting,
    /// Its victims are touched, or may be.
    UnderWay,
    /// Put back, and seen to be well.
    Healed,
    /// Put back as far as can be told; the probe does not confirm it.
    Unverified,
    /// It never started.
    Skipped,
}

/// One fault on its way through the run.
struct Scene {
    number: u32,
    fault: ResolvedFault,
    state: Cell<State>,
    since: Cell<Time>,
    /// Due, and to be put back; known once the run has a time zero.
    window: Cell<(Time, Time)>,
    before: RefCell<Rc<Baseline>>,
    /// Held while somebody acts on the victims.
    acting: Mutex<()>,
}

/// Plays the faults of one run.
pub struct Conductor {
    env: Env,
    provider: Rc<dyn Provider>,
    crowd: Rc<dyn Crowd>,
    /// What faults may wait for.
    gauges: Gauges,
    scenes: Vec<Scene>,
    sink: Sink,
    ledger: Rc<dyn Ledger>,
    limits: Limits,
    /// True once nothing may be injected any more.
    closed: watch::Sender<bool>,
    /// A fault has let its victims go.
    freed: Notify,
}

impl Conductor {
    /// A conductor of these faults; nothing happens yet.
    pub fn new(
        env: Env,
        provider: Rc<dyn Provider>,
        crowd: Rc<dyn Crowd>,
        gauges: Gauges,
        resolved: Resolved,
        sink: Sink,
    ) -> Self {
        let limits = resolved.limits;
        let scenes = resolved.faults.into_iter().zip(0..).map(|(fault, number)| Scene {
            number,
            window: Cell::new(fault.window(Time::ZERO)),
            fault,
            state: Cell::new(State::Waiting),
            since: Cell::new(Time::ZERO),
            before: RefCell::default(),
            acting: Mutex::new(()),
        });
        Self {
            env,
            provider,
            crowd,
            gauges,
            scenes: scenes.collect(),
            sink,
            ledger: Rc::new(NoLedger),
            limits,
            closed: watch::Sender::new(false),
            freed: Notify::new(),
        }
    }

    /// Writes every lease and every act down there.
    #[must_use]
    pub fn written_in(mut self, ledger: Rc<dyn Ledger>) -> Self {
        self.ledger = ledger;
        self
    }

    /// Plays every fault, `zero` being time zero of the plan. What has not happened by `end` is waited
    /// for no longer. Ends when the last fault is healed, or once [`Self::heal_all`] was called. It may
    /// be dropped at any moment; call `heal_all` then.
    pub async fn run(&self, zero: Time, end: Time) {
        join_all(self.scenes.iter().map(|scene| async move {
            let play = self.play(scene, zero, end);
            let closed = self.when_closed();
            pin_mut!(play, closed);
            // Biased: once closed, nothing new is begun.
            if let Either::Left(_) = select(closed, play).await
                && scene.state.get() == State::Waiting
            {
                scene.state.set(State::Skipped);
            }
        }))
        .await;
    }

    /// Puts back everything that is, or may be, in force; nothing is injected from now on. Safe at
    /// any moment, and as often as one likes. The texts say what could not be verified.
    pub async fn heal_all(&self) -> Vec<String> {
        self.closed.send_replace(true);
        // Nodes first: a link can be measured when both of its ends are up.
        let (nodes, links): (Vec<_>, Vec<_>) =
            self.scenes.iter().partition(|scene| !scene.fault.nodes.is_empty());
        let mut left = Vec::new();
        for group in [nodes, links] {
            let healed = join_all(group.into_iter().map(|scene| self.put_back(scene))).await;
            left.extend(healed.into_iter().flatten());
        }
        left
    }

    /// The faults in force right now, in the order of the plan.
    pub fn snapshot(&self) -> Vec<InForce> {
        let in_force = self.scenes.iter().filter(|scene| scene.is_in_force());
        in_force
            .map(|scene| InForce {
                fault: scene.number,
                kind: scene.fault.kind(),
                victims: scene.fault.victims(),
                since: scene.since.get(),
                until: scene.window.get().1,
            })
            .collect()
    }

    async fn when_closed(&self) {
        // An error would mean that the sender is gone, and it is a field of `self`.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// One fault from its first measurement to its healing.
    async fn play(&self, scene: &Scene, zero: Time, end: Time) {
        let Some(zero) = self.zero_of(scene, zero, end).await else { return };
        let (due, off) = scene.fault.window(zero);
        let off = off.min(end.max(due));
        scene.window.set((due, off));
        if due >= end {
            let late = "what it waits for came so late that it would begin after the demand";
            return self.skip(scene, late.to_owned());
        }
        self.env.sleep_until(due.saturating_sub(LEAD)).await;
        self.wait_for_victims(scene).await;
        let _acting = scene.acting.lock().await;
        let is_down = |node: &NodeName| self.is_down(node, scene);
        let stage = self.stage(scene, &is_down);
        let mut before = scene.fault.fault().before(&stage).await;
        self.env.sleep_until(due).await;
        self.wait_for_victims(scene).await;
        if self.env.now() >= off {
            let late = "its victims were not free before it was over";
            return self.skip(scene, late.to_owned());
        }
        if !scene.fault.links.is_empty() && before.round_trips.is_empty() {
            // What kept all its links from being measured may be over by now.
            let within = LAST_LOOK.min((off - self.env.now()) / 4);
            let look = self.env.timeout(within, scene.fault.fault().before(&stage)).await;
            before = look.unwrap_or(before);
        }
        let before = Rc::new(before);
        *scene.before.borrow_mut() = before.clone();
        if let Err(why) = self.wait_for_limits(scene).await {
            return self.skip(scene, format!("refused: {why}"));
        }
        if let Err(why) = self.ledger.take(&self.lease(scene)) {
            return self.skip(scene, format!("its lease could not be written down: {why}"));
        }
        scene.since.set(self.env.now());
        scene.state.set(State::UnderWay);
        match scene.fault.fault().inject(&stage).await {
            Ok(done) => {
                let took = self.env.now() - scene.since.get();
                self.tell(scene, FaultChange::Injected, due, within(done, took));
                self.measure(scene, &stage, &before).await;
                let goes_on = async {
                    scene.fault.fault().go_on(&stage).await;
                    std::future::pending::<()>().await;
                };
                let over = self.recovered(scene);
                pin_mut!(goes_on, over);
                // It is over when its time is, whatever goes on.
                let _ = self.env.timeout(off - self.env.now(), select(goes_on, over)).await;
            }
            // It may have struck some of its victims: it is healed at once.
            Err(error) => self.tell(scene, FaultChange::Failed, due, error.to_string()),
        }
        self.heal(scene).await;
    }

    /// The moment from which a fault counts; none when what it waits for does not happen by `end`.
    async fn zero_of(&self, scene: &Scene, zero: Time, end: Time) -> Option<Time> {
        let Some(event) = scene.fault.after else { return Some(zero) };
        self.env.sleep_until(zero).await;
        if self.env.timeout(end - zero, self.happens(event)).await.is_ok() {
            return Some(self.env.now());
        }
        let (seen, wanted) = ((self.gauges)(event.gauge), event.count);
        let never = format!("it waits for {event}, which did not happen: {seen} of {wanted}");
        self.tell(scene, FaultChange::Failed, end, never);
        scene.state.set(State::Skipped);
        None
    }

    async fn happens(&self, event: Event) {
        while (self.gauges)(event.gauge) < event.count {
            self.env.sleep(LOOK_EVERY).await;
        }
    }

    /// Resolves when all victims of a fault that ends so are well by themselves; for others never.
    async fn recovered(&self, scene: &Scene) {
        if !scene.fault.until_recovered {
            return std::future::pending().await;
        }
        loop {
            let looks = scene.fault.nodes.iter().map(|node| self.provider.health(node));
            if join_all(looks).await.iter().all(|seen| matches!(seen, Ok(Health::Up))) {
                return;
            }
            self.env.sleep(LOOK_EVERY).await;
        }
    }

    /// It never starts.
    fn skip(&self, scene: &Scene, why: String) {
        self.tell(scene, FaultChange::Failed, scene.window.get().0, why);
        scene.state.set(State::Skipped);
    }

    /// Waits until it breaks no limit beside what is in force: an earlier fault may not be healed
    /// yet. Half of its own time later it is not worth it any more; then it is an error, which one.
    async fn wait_for_limits(&self, scene: &Scene) -> Result<(), String> {
        let (due, off) = scene.window.get();
        let latest = due + (off - due) / 2;
        loop {
            let freed = self.freed.notified();
            let Some(why) = self.breach(scene) else { return Ok(()) };
            let left = latest - self.env.now();
            if left.is_zero() {
                return Err(why);
            }
            // Whether one was freed or the time is over: the next look tells.
            let _ = self.env.timeout(left, freed).await;
        }
    }

    /// Which limit it would break beside all that is in force: what was to be healed by now may not
    /// be.
    fn breach(&self, scene: &Scene) -> Option<String> {
        let others =
            self.scenes.iter().filter(|other| other.number != scene.number && other.is_in_force());
        let together: Vec<_> = others.chain([scene]).map(|scene| &scene.fault).collect();
        let (key, why) = self.limits.breach(&together, &self.provider.nodes())?;
        Some(format!("{why} (`{key}`)"))
    }

    fn lease(&self, scene: &Scene) -> Lease {
        let nodes = scene.fault.nodes.iter();
        let taken = self.env.wall().timestamp();
        let lasts = (scene.window.get().1 - self.env.now()) + GRACE;
        Lease {
            fault: scene.number,
            kind: scene.fault.kind().to_owned(),
            nodes: nodes.map(|node| (node.clone(), self.provider.tag(node))).collect(),
            links: scene.fault.links.clone(),
            taken,
            expires: taken.saturating_add(lasts).unwrap_or(taken),
        }
    }

    /// Looks whether it bit; no longer than it is in force.
    async fn measure(&self, scene: &Scene, stage: &Stage<'_>, before: &Baseline) {
        let (due, off) = scene.window.get();
        let look = scene.fault.fault().bite(stage, before);
        let seen = self.env.timeout(off - self.env.now(), look).await.unwrap_or_else(|_| Seen {
            holds: false,
            what: "it was over before its effect could be measured: let it last longer".into(),
        });
        let change = if seen.holds { FaultChange::Bit } else { FaultChange::Missed };
        self.tell(scene, change, due, seen.what);
    }

    /// Heals one fault and says what the probe saw. Its victims are free afterwards.
    async fn heal(&self, scene: &Scene) -> Seen {
        let before = scene.before.borrow().clone();
        let is_down = |node: &NodeName| self.is_down(node, scene);
        self.act(scene, Deed::Heal, String::new());
        let seen = scene.fault.fault().heal(&self.stage(scene, &is_down), &before).await;
        let (change, state) = if seen.holds {
            (FaultChange::Healed, State::Healed)
        } else {
            (FaultChange::HealUnverified, State::Unverified)
        };
        self.tell(scene, change, scene.window.get().1, seen.what.clone());
        scene.state.set(state);
        if state == State::Healed {
            self.ledger.give_back(scene.number);
        }
        self.freed.notify_waiters();
        seen
    }

    /// What `heal_all` does for one fault; the text says what could not be verified.
    async fn put_back(&self, scene: &Scene) -> Option<String> {
        let _acting = self.env.timeout(LET_GO_LIMIT, scene.acting.lock()).await;
        match scene.state.get() {
            State::Waiting => {
                scene.state.set(State::Skipped);
                None
            }
            State::Skipped | State::Healed => None,
            State::UnderWay | State::Unverified => {
                let seen = self.heal(scene).await;
                let left = || {
                    let victims: Vec<String> =
                        scene.fault.victims().iter().map(ToString::to_string).collect();
                    format!("{} of {}: {}", scene.fault.kind(), victims.join(", "), seen.what)
                };
                (!seen.holds).then(left)
            }
        }
    }

    /// Waits while an earlier fault still holds one of the victims.
    async fn wait_for_victims(&self, scene: &Scene) {
        loop {
            let freed = self.freed.notified();
            let held = |other: &&Scene| {
                other.number != scene.number
                    && other.state.get() == State::UnderWay
                    && other.fault.shares_a_victim(&scene.fault)
            };
            if !self.scenes.iter().any(|other| held(&other)) {
                return;
            }
            freed.await;
        }
    }

    /// True while a fault other than `but` keeps that node down.
    fn is_down(&self, node: &NodeName, but: &Scene) -> bool {
        self.scenes.iter().any(|scene| {
            scene.number != but.number
                && scene.fault.fault().keeps_down()
                && scene.is_in_force()
                && scene.fault.nodes.contains(node)
        })
    }

    fn stage<'a>(&'a self, scene: &'a Scene, is_down: &'a dyn Fn(&NodeName) -> bool) -> Stage<'a> {
        Stage {
            env: &self.env,
            provider: &*self.provider,
            crowd: &*self.crowd,
            nodes: &scene.fault.nodes,
            links: &scene.fault.links,
            lasts: scene.fault.lasts.0,
            toxicity: scene.fault.toxicity,
            is_down,
        }
    }

    fn tell(&self, scene: &Scene, change: FaultChange, planned: Time, effect: String) {
        let deed = match change {
            FaultChange::Injected => Deed::Inject,
            FaultChange::Bit => Deed::Bit,
            FaultChange::Missed => Deed::Missed,
            FaultChange::Failed => Deed::Failed,
            FaultChange::Healed => Deed::HealVerified,
            FaultChange::HealUnverified => Deed::HealUnverified,
        };
        self.act(scene, deed, effect.clone());
        (self.sink)(Record::Fault(FaultEvent {
            fault: scene.number,
            kind: scene.fault.kind().to_owned(),
            victims: scene.fault.victims(),
            change,
            planned,
            at: self.env.now(),
            more_updates_per_s: if change == FaultChange::Injected {
                let fault = scene.fault.fault();
                fault.more_updates_per_s(&self.stage(scene, &|_| false))
            } else {
                0.0
            },
            effect,
        }));
    }
}

impl Conductor {
    fn act(&self, scene: &Scene, act: Deed, what: String) {
        let victims = scene.fault.victims().iter().map(ToString::to_string).collect();
        let kind = scene.fault.kind().to_owned();
        self.ledger.tell(&Act { act, fault: scene.number, kind, victims, what });
    }
}

/// What was done, and how long that took where it took any time.
fn within(done: String, took: Duration) -> String {
    if took.is_zero() {
        return done;
    }
    format!("{done}, in force within {:.1} ms", took.as_secs_f64() * 1e3)
}

impl Scene {
    fn is_in_force(&self) -> bool {
        matches!(self.state.get(), State::UnderWay | State::Unverified)
    }
}

#[cfg(test)]
#[path = "conductor_tests.rs"]
mod tests;
