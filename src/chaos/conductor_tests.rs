//! The conductor with a target that records, on a clock that jumps.

use std::{cell::RefCell, path::Path, rc::Rc, time::Duration};

use futures_util::future;

use super::*;
use crate::{
    base::{dist::Around, rng::Rng},
    chaos::{
        Plan,
        provider::Toxic,
        testing::{Clock, Fake, Trouble},
    },
};
use FaultChange::{Bit, Failed, Healed, Injected, Missed};

const KILL: &str =
    "[[fault]]\nkind = \"kill\"\nnodes = [\"b/storage-1\"]\nat = \"30s\"\nfor = \"5s\"\n";
const SLOW: &str = "[[fault]]\nkind = \"latency\"\nlinks = { az = \"a\" }\nlatency = \"100ms\"\n\
                    jitter = \"50ms\"\nat = \"65s\"\nfor = \"15s\"\n";

/// Later than anything here.
const END: Time = Time(24 * 3_600_000_000_000);

struct Stand {
    clock: Rc<Clock>,
    fake: Rc<Fake>,
    conductor: Conductor,
    events: Rc<RefCell<Vec<FaultEvent>>>,
}

#[path = "meddled_tests.rs"]
mod meddled;

fn stand(plan: &str, troubles: &[Trouble]) -> Stand {
    let clock = Rc::new(Clock::default());
    let env = clock.env();
    let fake = Fake::new(&env, troubles);
    let resolved = Plan::parse(plan, Path::new("plan.toml"))
        .and_then(|plan| {
            let day = Duration::from_hours(24);
            plan.resolve(&fake.nodes, &fake.links, day, &Rng::from_seed("42"))
        })
        .unwrap();
    let events = Rc::new(RefCell::new(Vec::new()));
    let heard = events.clone();
    let sink: Sink = Rc::new(move |record| match record {
        Record::Fault(event) => heard.borrow_mut().push(event),
        other => panic!("{other:?}"),
    });
    let conductor = Conductor::new(env, fake.clone(), fake.clone(), fake.gauges(), resolved, sink);
    Stand { clock, fake, conductor, events }
}

impl Stand {
    fn changes(&self) -> Vec<(u32, FaultChange)> {
        self.events.borrow().iter().map(|event| (event.fault, event.change)).collect()
    }

    fn effect(&self, change: FaultChange) -> String {
        let events = self.events.borrow();
        events.iter().find(|event| event.change == change).unwrap().effect.clone()
    }

    /// Lets the plan run for `seconds`, drops it in the middle of whatever it does, and heals.
    fn interrupt_after(&self, seconds: f64) -> Vec<String> {
        let env = self.clock.env();
        self.clock.run(async {
            let until = Duration::from_secs_f64(seconds);
            let _ = env.timeout(until, self.conductor.run(Time::ZERO, END)).await;
            self.conductor.heal_all().await
        })
    }
}

#[test]
fn a_plan_is_played_on_time_and_bites_and_heals() {
    let stand = stand(&[KILL, SLOW].concat(), &[]);
    let zero = Time::from_secs_f64(20.0);
    stand.clock.run(stand.conductor.run(zero, END));
    let expected = [(0, Injected), (0, Bit), (0, Healed), (1, Injected), (1, Bit), (1, Healed)];
    assert_eq!(stand.changes(), expected);
    let events = stand.events.borrow();
    assert_eq!(events[0].planned, zero + Duration::from_secs(30));
    assert_eq!(events[0].at, events[0].planned + Duration::from_millis(20), "the kill's own time");
    assert_eq!(events[3].at, zero + Duration::from_secs(65), "measuring first made it no later");
    assert_eq!(events[5].planned, zero + Duration::from_secs(80));
    assert_eq!(events[3].victims.len(), 6, "{:?}", events[3].victims);
    assert!(events[4].effect.contains("0.4 ms → 200.4 ms"), "{}", events[4].effect);
    assert!(stand.fake.is_well());
    assert!(stand.conductor.snapshot().is_empty());
}

#[test]
fn the_snapshot_shows_what_is_in_force() {
    let stand = stand(KILL, &[]);
    let env = stand.clock.env();
    let seen = stand.clock.run(async {
        let run = stand.conductor.run(Time::ZERO, END);
        let _ = env.timeout(Duration::from_secs(32), run).await;
        stand.conductor.snapshot()
    });
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].kind, seen[0].since), ("kill", Time::from_secs_f64(30.0)));
    assert_eq!(seen[0].until, Time::from_secs_f64(35.0));
}

#[test]
fn a_kill_that_killed_nothing_missed() {
    let stand = stand(KILL, &[Trouble::KillsNothing]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes(), [(0, Injected), (0, Missed), (0, Healed)]);
    assert!(stand.effect(Missed).contains("still answers"), "{}", stand.effect(Missed));
}

#[test]
fn a_kill_of_a_dead_node_missed() {
    let stand = stand(KILL, &[]);
    stand.fake.dead.borrow_mut().insert("b/storage-1".into());
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert!(stand.effect(FaultChange::Missed).contains("down before"));
}

#[test]
fn latency_that_never_reached_the_link_missed() {
    let stand = stand(SLOW, &[Trouble::ImpairIsLost]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert!(stand.effect(FaultChange::Missed).contains("0.4 ms → 0.4 ms"));
}

#[test]
fn partition_and_reset_bite_and_heal() {
    for kind in ["partition", "reset"] {
        let plan = format!(
            "[[fault]]\nkind = \"{kind}\"\nlinks = {{ between = [{{ az = \"a\" }}, \
             {{ az = \"b\" }}] }}\nat = \"3s\"\nfor = \"5s\"\n"
        );
        let stand = stand(&plan, &[]);
        stand.clock.run(stand.conductor.run(Time::ZERO, END));
        assert_eq!(stand.changes(), [(0, Injected), (0, Bit), (0, Healed)], "{kind}");
        assert_eq!(stand.events.borrow()[0].victims.len(), 2, "{kind}");
    }
}

const SKEW: &str = "[[fault]]\nkind = \"skew\"\nselect = { role = \"core\" }\nmode = \"all\"\n\
                    by = \"-1500ms\"\nat = \"3s\"\nfor = \"5s\"\n";

#[test]
fn what_failed_half_way_is_healed_at_once() {
    let stand = stand(SLOW, &[Trouble::SecondLinkFails]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes(), [(0, Failed), (0, Healed)]);
    assert!(stand.fake.is_well());
    let cures = stand.fake.calls.borrow().iter().filter(|call| call.contains("cure")).count();
    assert_eq!(cures, 6, "the link that failed is healed too: {:?}", stand.fake.calls.borrow());
}

#[test]
fn a_start_that_fails_once_is_tried_again() {
    let stand = stand(KILL, &[Trouble::StartFailsOnce]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes().last(), Some(&(0, FaultChange::Healed)));
    assert!(stand.fake.is_well());
}

#[test]
fn what_cannot_be_put_back_is_told_and_tried_again_each_time() {
    let stand = stand(KILL, &[Trouble::StartFails]);
    let left = stand.interrupt_after(100.0);
    assert_eq!(stand.changes().last(), Some(&(0, FaultChange::HealUnverified)));
    assert_eq!(left.len(), 1);
    assert!(left[0].contains("b/storage-1") && left[0].contains("port in use"), "{left:?}");
    stand.fake.troubles.borrow_mut().clear();
    assert!(stand.clock.run(stand.conductor.heal_all()).is_empty());
    assert!(stand.fake.is_well());
    let told = stand.events.borrow().len();
    assert!(stand.clock.run(stand.conductor.heal_all()).is_empty());
    assert_eq!(stand.events.borrow().len(), told, "a third time there is nothing to do");
}

#[test]
fn an_interruption_at_any_moment_leaves_nothing_broken() {
    for tenth in 0..1_000 {
        let stand = stand(&[KILL, SLOW].concat(), &[]);
        let left = stand.interrupt_after(f64::from(tenth) / 10.0);
        assert!(left.is_empty(), "after {tenth} tenths: {left:?}");
        assert!(stand.fake.is_well(), "after {tenth} tenths");
    }
}

#[test]
fn an_injection_that_hangs_is_healed_when_dropped() {
    let stand = stand(KILL, &[Trouble::KillHangs]);
    let left = stand.interrupt_after(31.0);
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(*stand.fake.calls.borrow(), ["30.00 kill b/storage-1", "31.00 start b/storage-1"]);
    assert!(stand.fake.is_well());
}

#[test]
fn an_injection_that_hangs_is_healed_while_the_run_is_still_polled() {
    let stand = stand(KILL, &[Trouble::KillHangs]);
    let env = stand.clock.env();
    let left = stand.clock.run(async {
        let heal = async {
            env.sleep(Duration::from_secs(31)).await;
            stand.conductor.heal_all().await
        };
        future::join(stand.conductor.run(Time::ZERO, END), heal).await.1
    });
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(*stand.fake.calls.borrow(), ["30.00 kill b/storage-1", "31.00 start b/storage-1"]);
}

#[test]
fn nothing_is_injected_after_heal_all() {
    let stand = stand(&[KILL, SLOW].concat(), &[]);
    stand.clock.run(async {
        assert!(stand.conductor.heal_all().await.is_empty());
        stand.conductor.run(Time::ZERO, END).await;
    });
    assert!(stand.fake.calls.borrow().is_empty());
    assert!(stand.events.borrow().is_empty());
}

#[test]
fn a_fault_waits_until_its_victim_is_free() {
    let again = KILL.replace("30s", "35s");
    let stand = stand(&[KILL, &again].concat(), &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    let calls = stand.fake.calls.borrow().clone();
    let expected = [
        "30.00 kill b/storage-1",
        "35.00 start b/storage-1",
        "35.50 kill b/storage-1",
        "40.00 start b/storage-1",
    ];
    assert_eq!(calls, expected);
    let bits = stand.changes().iter().filter(|(_, change)| *change == FaultChange::Bit).count();
    assert_eq!(bits, 2);
}

#[test]
fn links_of_a_dead_node_are_not_asked_to_be_well() {
    let kill = "[[fault]]\nkind = \"kill\"\nnodes = [\"a/core-1\"]\nat = \"70s\"\nfor = \"30s\"\n";
    let stand = stand(&[kill, SLOW].concat(), &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes().last(), Some(&(0, FaultChange::Healed)));
    assert!(stand.changes().contains(&(1, FaultChange::Healed)), "{:?}", stand.changes());
}

#[test]
fn links_that_were_down_a_moment_ago_are_measured_at_the_last() {
    let kill = "[[fault]]\nkind = \"kill\"\nnodes = [\"a/core-1\"]\nat = \"60s\"\nfor = \"4s\"\n";
    let slow = SLOW.replace("{ az = \"a\" }", "{ to = \"a/core-1\" }");
    let stand = stand(&[kill, &slow].concat(), &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert!(stand.changes().contains(&(1, FaultChange::Bit)), "{:?}", stand.changes());
    assert!(stand.fake.is_well());
}

#[test]
fn the_provider_is_told_what_the_plan_says() {
    let stand = stand(SLOW, &[]);
    let env = stand.clock.env();
    stand.clock.run(async {
        let _ = env.timeout(Duration::from_secs(66), stand.conductor.run(Time::ZERO, END)).await;
    });
    let toxic = Toxic::Latency { latency_ms: 100, jitter_ms: 50, around: Around::Uniform };
    assert!(stand.fake.sick.borrow().values().all(|toxics| *toxics == [toxic.clone()]));
    assert_eq!(stand.fake.sick.borrow().len(), 6);
}

fn on_nodes(kind: &str, nodes: &str, more: &str) -> String {
    format!("[[fault]]\nkind = \"{kind}\"\nnodes = [{nodes}]\n{more}\nat = \"3s\"\nfor = \"20s\"\n")
}

/// What the target was told, without the seconds.
fn told(stand: &Stand) -> Vec<String> {
    let calls = stand.fake.calls.borrow();
    calls.iter().filter_map(|call| Some(call.split_once(' ')?.1.to_owned())).collect()
}

#[test]
fn each_fault_on_processes_bites_and_heals_and_misses_when_nothing_was_struck() {
    for kind in ["terminate", "pause", "restart", "crash-loop", "rolling-restart"] {
        let plan = on_nodes(kind, "\"a/core-1\", \"b/core-1\"", "");
        let well = stand(&plan, &[]);
        well.clock.run(well.conductor.run(Time::ZERO, END));
        assert_eq!(well.changes(), [(0, Injected), (0, Bit), (0, Healed)], "{kind}");
        assert!(well.fake.is_well(), "{kind}");
        let idle = stand(&plan, &[Trouble::KillsNothing]);
        idle.clock.run(idle.conductor.run(Time::ZERO, END));
        assert_eq!(idle.changes(), [(0, Injected), (0, Missed), (0, Healed)], "{kind}");
        for half in 0..60 {
            let cut = stand(&plan, &[]);
            let left = cut.interrupt_after(f64::from(half) / 2.0);
            assert!(left.is_empty() && cut.fake.is_well(), "{kind} after {half} halves: {left:?}");
        }
    }
}

#[test]
fn a_restart_does_not_wait_for_its_end() {
    let stand = stand(&on_nodes("restart", "\"a/core-1\"", ""), &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    let calls = stand.fake.calls.borrow().clone();
    let expected = ["3.00 terminate a/core-1", "3.02 start a/core-1", "23.00 start a/core-1"];
    assert_eq!(calls, expected);
}

#[test]
fn a_rolling_restart_takes_one_after_the_other() {
    let plan = on_nodes("rolling-restart", "\"a/core-1\", \"b/core-1\"", "pause = \"2s\"");
    let stand = stand(&plan, &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    let calls = stand.fake.calls.borrow()[..4].to_vec();
    let expected = [
        "3.00 terminate a/core-1",
        "3.02 start a/core-1",
        "5.52 terminate b/core-1",
        "5.54 start b/core-1",
    ];
    assert_eq!(calls, expected);
}

#[test]
fn a_crash_loop_goes_on_until_its_end() {
    let stand = stand(&on_nodes("crash-loop", "\"a/core-1\"", "lives = \"3s\""), &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    let deaths = told(&stand).iter().filter(|call| *call == "kill a/core-1").count();
    // Every 3.52 s within 20 s.
    assert_eq!(deaths, 6, "{:?}", told(&stand));
    assert_eq!(told(&stand).last().unwrap(), "start a/core-1");
    assert!(stand.fake.is_well());
}

#[test]
fn each_fault_on_links_bites_and_heals_and_misses_when_nothing_was_made_sick() {
    let kinds = [
        ("bandwidth", "rate = 64"),
        ("slicer", "size = 100"),
        ("timeout", ""),
        ("limit-data", "bytes = 4096"),
        ("slow-close", "delay = \"500ms\""),
        ("flapping", "down = \"2s\""),
        ("swizzle", "pause = \"100ms\""),
        ("phone-network", "profile = \"edge\""),
        ("limit-time", "life = \"500ms\""),
        ("dns", "answer = \"gone\""),
        ("dns", "answer = \"wrong\""),
        ("dns", "answer = \"slow\"\ndelay = \"3s\""),
        ("partition", "direction = \"back\""),
        ("reset", "toxicity = 0.1\ntoxicity_per = \"connection\""),
        ("latency", "latency = \"100ms\"\ntoxicity = 0.2\ntoxicity_per = \"connection\""),
    ];
    for (kind, more) in kinds {
        let plan = format!(
            "[[fault]]\nkind = \"{kind}\"\nlinks = {{ az = \"a\" }}\n{more}\nat = \"3s\"\n\
             for = \"20s\"\n"
        );
        let well = stand(&plan, &[]);
        well.clock.run(well.conductor.run(Time::ZERO, END));
        assert_eq!(well.changes(), [(0, Injected), (0, Bit), (0, Healed)], "{kind}");
        assert!(well.fake.is_well(), "{kind}");
        let idle = stand(&plan, &[Trouble::ImpairIsLost]);
        idle.clock.run(idle.conductor.run(Time::ZERO, END));
        assert_eq!(idle.changes(), [(0, Injected), (0, Missed), (0, Healed)], "{kind}");
        for half in 0..60 {
            let cut = stand(&plan, &[]);
            let left = cut.interrupt_after(f64::from(half) / 2.0);
            assert!(left.is_empty() && cut.fake.is_well(), "{kind} after {half} halves: {left:?}");
        }
    }
}

#[test]
fn a_swizzle_brings_links_back_in_another_order() {
    let plan = "[[fault]]\nkind = \"swizzle\"\nlinks = { az = \"a\" }\npause = \"200ms\"\nat = \"3s\"\n\
                for = \"20s\"\n";
    let stand = stand(plan, &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    let links = |word: &str| -> Vec<String> {
        told(&stand).iter().filter_map(|call| Some(call.strip_prefix(word)?.to_owned())).collect()
    };
    let (stopped, back) = (links("impair "), links("cure "));
    let count = stopped.len();
    assert!(count > 4, "{stopped:?}");
    // Once in turn, and once more when it is healed.
    assert_eq!(back.len(), 2 * count, "{back:?}");
    let sorted = |links: &[String]| {
        let mut links = links.to_vec();
        links.sort();
        links
    };
    assert_eq!(sorted(&stopped), sorted(&back[..count]), "each of them");
    assert_ne!(stopped, back[..count]);
}

#[test]
fn flapping_comes_and_goes_until_its_end() {
    let plan = "[[fault]]\nkind = \"flapping\"\nlinks = { from = \"robots\" }\ndown = \"2s\"\n\
                up = \"3s\"\nat = \"3s\"\nfor = \"20s\"\n";
    let stand = stand(plan, &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    let impaired = told(&stand).iter().filter(|call| call.starts_with("impair")).count();
    assert_eq!(impaired, 4, "{:?}", told(&stand));
    assert!(told(&stand).last().unwrap().starts_with("cure"), "{:?}", told(&stand));
}

const WAITS: &str = "[[fault]]\nkind = \"kill\"\nnodes = [\"b/core-1\"]\nafter = { accepts = 1 }\n\
                     at = \"3s\"\nfor = \"5s\"\n";

#[test]
fn what_waits_for_something_begins_after_it() {
    // The fake counts what it was told: the kill of the storage is the first.
    let stand = stand(&[WAITS, KILL].concat(), &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    let events = stand.events.borrow();
    let first = events.iter().find(|event| event.fault == 0).unwrap();
    assert_eq!(first.change, Injected);
    let at = first.at.as_secs_f64();
    assert!((33.0..33.2).contains(&at), "{at}");
    assert!(stand.fake.is_well());
}

#[test]
fn what_waits_for_something_that_never_happens_failed() {
    let stand = stand(WAITS, &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, Time::from_secs_f64(60.0)));
    assert_eq!(stand.changes(), [(0, Failed)]);
    assert!(stand.effect(Failed).contains("0 of 1"), "{}", stand.effect(Failed));
}

#[test]
fn a_fault_may_end_with_the_recovery_of_its_victims() {
    let kill = KILL.replace("5s", "20s").replace("for", "until = \"recovered\"\nfor");
    let stand = stand(&kill, &[]);
    let env = stand.clock.env();
    stand.clock.run(async {
        let someone = async {
            env.sleep(Duration::from_secs(38)).await;
            stand.fake.dead.borrow_mut().clear();
        };
        futures_util::join!(stand.conductor.run(Time::ZERO, END), someone);
    });
    let events = stand.events.borrow();
    let healed = events.iter().find(|event| event.change == Healed).unwrap();
    assert!((38.0..38.5).contains(&healed.at.as_secs_f64()), "{}", healed.at);
}

const LOSES: &str = "[[fault]]\nkind = \"message-drop\"\nnodes = [\"b/core-1\"]\ntoxicity = 0.2\n\
                     of = \"replies\"\nat = \"3s\"\nfor = \"9s\"\n";

#[test]
fn messages_are_touched_and_then_no_more() {
    let stand = stand(LOSES, &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes(), [(0, Injected), (0, Bit), (0, Healed)]);
    assert_eq!(stand.effect(Bit), "b/core-1: 7 of 7 messages were lost");
    assert!(stand.fake.is_well());
}

#[test]
fn where_nobody_calls_no_message_is_touched() {
    let stand = stand(LOSES, &[Trouble::ImpairIsLost]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes(), [(0, Injected), (0, Missed), (0, Healed)]);
    assert!(stand.effect(Missed).contains("none of 0 messages"), "{}", stand.effect(Missed));
}

/// What the books were told, in order, beside what the target was.
#[derive(Default)]
struct Book {
    lines: RefCell<Vec<String>>,
    fake: RefCell<Option<Rc<Fake>>>,
    full: bool,
}

impl Book {
    fn note(&self, line: String) {
        self.lines.borrow_mut().push(line);
    }

    /// Calls that the target has had so far.
    fn calls(&self) -> usize {
        self.fake.borrow().as_ref().map_or(0, |fake| fake.calls.borrow().len())
    }
}

impl Ledger for Book {
    fn take(&self, lease: &Lease) -> Result<(), String> {
        if self.full {
            return Err("no space left".to_owned());
        }
        let lasts = lease.expires.duration_since(lease.taken).as_secs();
        let calls = self.calls();
        self.note(format!("take {} for {lasts} s after {calls} calls", lease.victims().join(",")));
        Ok(())
    }

    fn give_back(&self, fault: u32) {
        self.note(format!("give back {fault}"));
    }

    fn tell(&self, act: &Act) {
        self.note(format!("{:?} {}", act.act, act.kind));
    }
}

fn kept(plan: &str, troubles: &[Trouble], full: bool) -> (Stand, Rc<Book>) {
    let stand = stand(plan, troubles);
    let fake = RefCell::new(Some(stand.fake.clone()));
    let book = Rc::new(Book { fake, full, ..Book::default() });
    let conductor = stand.conductor.written_in(book.clone());
    (Stand { conductor, ..stand }, book)
}

#[test]
fn a_lease_is_taken_before_anything_is_touched_and_given_back_when_all_is_well() {
    let (stand, book) = kept(KILL, &[], false);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    let expected = [
        "take b/storage-1 for 125 s after 0 calls",
        "Inject kill",
        "Bit kill",
        "Heal kill",
        "HealVerified kill",
        "give back 0",
    ];
    assert_eq!(*book.lines.borrow(), expected);
    let (stand, book) = kept(KILL, &[Trouble::StartFails], false);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(book.lines.borrow().last().unwrap(), "HealUnverified kill");
}

#[test]
fn what_cannot_be_written_down_is_not_broken() {
    let (stand, _) = kept(KILL, &[], true);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes(), [(0, Failed)]);
    assert!(stand.effect(Failed).contains("no space left"), "{}", stand.effect(Failed));
    assert!(stand.fake.calls.borrow().is_empty());
}

/// A node is killed, and another when the first is to be well again.
fn one_after_the_other(limits: &str) -> String {
    let other = "[[fault]]\nkind = \"kill\"\nnodes = [\"a/core-1\"]\nat = \"35s\"\nfor = \"10s\"\n";
    [&format!("[limits]\n{limits}\n"), KILL, other].concat()
}

#[test]
fn what_would_break_a_limit_waits_and_is_refused_when_that_does_not_help() {
    for limits in ["at_once = 1", "azs = 1"] {
        let plan = one_after_the_other(limits);
        let well = stand(&plan, &[]);
        well.clock.run(well.conductor.run(Time::ZERO, END));
        let expected = [(0, Injected), (0, Bit), (0, Healed), (1, Injected), (1, Bit), (1, Healed)];
        assert_eq!(well.changes(), expected, "{limits}");
        let sick = stand(&plan, &[Trouble::StartFails]);
        sick.clock.run(sick.conductor.run(Time::ZERO, END));
        let failed = sick.effect(Failed);
        assert!(failed.starts_with("refused: ") && failed.contains(&limits[..3]), "{failed}");
        assert_eq!(sick.changes().iter().filter(|(_, change)| *change == Injected).count(), 1);
        let struck: Vec<String> =
            told(&sick).into_iter().filter(|c| c.contains("a/core")).collect();
        assert!(struck.is_empty(), "{struck:?}");
    }
}

const SPIKE: &str =
    "[[fault]]\nkind = \"spike\"\nfactor = 3.0\nupdates = 2.0\nat = \"30s\"\nfor = \"15s\"\n";
const LOG_IN: &str = "[[fault]]\nkind = \"log-in\"\nshare = 0.5\nat = \"30s\"\nfor = \"5s\"\n";

#[test]
fn a_spike_raises_the_load_and_says_what_it_asks_for() {
    let stand = stand(SPIKE, &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes(), [(0, Injected), (0, Bit), (0, Healed)]);
    let events = stand.events.borrow();
    assert_eq!(events[0].victims, ["robots".into()]);
    let asks: Vec<f64> = events.iter().map(|event| event.more_updates_per_s).collect();
    assert_eq!(asks, [20.0, 0.0, 0.0]);
    assert!(events[1].effect.contains("1.0/s → 3.0/s"), "{}", events[1].effect);
    assert!(events[1].effect.contains("20.0/s → 40.0/s"), "{}", events[1].effect);
    assert!(stand.fake.is_well());
}

#[test]
fn robots_that_do_not_hear_are_seen_not_to() {
    for plan in [SPIKE, LOG_IN] {
        let stand = stand(plan, &[Trouble::RobotsAreDeaf]);
        stand.clock.run(stand.conductor.run(Time::ZERO, END));
        assert_eq!(stand.changes()[..2], [(0, Injected), (0, Missed)], "{plan}");
    }
}

#[test]
fn who_is_refused_at_the_login_tries_once_more_and_is_in() {
    let stand = stand(LOG_IN, &[Trouble::FirstLoginFails]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes(), [(0, Injected), (0, Bit), (0, Healed)]);
    assert!(stand.effect(Bit).contains("5 of 5 logins were sent"), "{}", stand.effect(Bit));
    assert!(stand.effect(Bit).contains("0 were in"), "{}", stand.effect(Bit));
    assert!(stand.fake.is_well());
}

#[test]
fn who_is_not_in_again_is_left_behind() {
    let stand = stand(LOG_IN, &[Trouble::RobotsAreDeaf]);
    let left = stand.interrupt_after(32.0);
    assert_eq!(left, ["log-in of robots: 5 of 5 robots are not in again"]);
}

#[test]
fn a_spike_that_is_cut_short_is_ended() {
    let stand = stand(SPIKE, &[]);
    assert!(stand.interrupt_after(33.0).is_empty());
    assert!(stand.fake.is_well());
}

#[test]
fn what_would_begin_after_the_demand_is_not_waited_for() {
    let late = "[[group]]\nafter = { accepts = 1 }\n[[group.fault]]\nkind = \"kill\"\nnodes = \
                [\"a/core-1\"]\nfor = \"5s\"\n[[group.fault]]\nkind = \"kill\"\nnodes = \
                [\"b/core-1\"]\nfor = \"5s\"\n";
    let stand = stand(&[KILL, late].concat(), &[]);
    let end = Time::from_secs_f64(34.0);
    stand.clock.run(stand.conductor.run(Time::ZERO, end));
    assert!(stand.clock.env().now() < end + Duration::from_secs(1));
    let of = |fault: u32| -> Vec<FaultChange> {
        let changes = stand.changes();
        changes.iter().filter(|(known, _)| *known == fault).map(|(_, change)| *change).collect()
    };
    assert_eq!(of(1), [Injected, Bit, Healed], "its event came with the first kill");
    assert_eq!(of(2), [Failed]);
    assert!(stand.effect(Failed).contains("after the demand"), "{}", stand.effect(Failed));
}
