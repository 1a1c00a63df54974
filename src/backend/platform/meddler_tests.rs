//! What happens to messages where it is told to.

use super::*;
use crate::world::virtual_::Sim;

struct Kept(RefCell<Vec<Bytes>>);

impl Outgoing for Kept {
    fn send(&self, frame: Bytes) -> Result<(), SendError> {
        self.0.borrow_mut().push(frame);
        Ok(())
    }
}

fn meddling(how: How, toxicity: f64) -> Meddling {
    Meddling {
        endpoint: "/core/job/*".to_owned(),
        asks: true,
        replies: true,
        how: how as u32,
        delay_ms: 50,
        jitter_ms: 10,
        toxicity,
        for_ms: 1_000,
        ..Meddling::default()
    }
}

fn begin(meddler: &Meddler, what: Meddling) {
    assert!(meddler.told(MeddleAsk { begin: Some(what), end: false }).on);
}

const JOB: &str = "/core/job/accept";

#[test]
fn nothing_happens_unless_told_and_none_to_others() {
    let sim = Sim::new("meddler others");
    let env = sim.node(&"a/core-1".into());
    sim.run(async {
        let meddler = Meddler::new(&env);
        assert!(!meddler.is_on());
        assert_eq!(meddler.fate(JOB, Kind::Ask), Fate::Passes);
        begin(&meddler, meddling(How::Lost, 1.0));
        assert_eq!(meddler.fate(JOB, Kind::Ask), Fate::IsLost);
        assert_eq!(meddler.fate(JOB, Kind::News), Fate::Passes);
        assert_eq!(meddler.fate("/core/raziel/ping", Kind::Ask), Fate::Passes);
        begin(&meddler, Meddling { endpoint: "*".to_owned(), ..meddling(How::Lost, 1.0) });
        assert_eq!(meddler.fate("/platform/health/check", Kind::Ask), Fate::Passes);
        let own = Meddling { endpoint: "/platform/*".to_owned(), ..meddling(How::Lost, 1.0) };
        begin(&meddler, own);
        assert_eq!(meddler.fate("/platform/discovery/beat", Kind::Ask), Fate::IsLost);
        assert_eq!(meddler.fate(MEDDLE, Kind::Ask), Fate::Passes, "or nobody could end it");
    })
    .unwrap();
}

#[test]
fn it_happens_to_the_share_that_was_asked_and_is_counted() {
    let sim = Sim::new("meddler share");
    let env = sim.node(&"a/core-1".into());
    sim.run(async {
        let meddler = Meddler::new(&env);
        begin(&meddler, meddling(How::Late, 0.3));
        let mut late = 0;
        for _ in 0..1_000 {
            if let Fate::IsLate(by) = meddler.fate(JOB, Kind::Ask) {
                assert!((40..=60).contains(&by.as_millis()), "{by:?}");
                late += 1;
            }
        }
        // 300 in the mean, five deviations of 14.5.
        assert!((228..=372).contains(&late), "{late}");
        let seen = meddler.told(MeddleAsk::default());
        assert_eq!((seen.met, seen.touched), (1_000, late));
    })
    .unwrap();
}

#[test]
fn it_ends_when_told_and_by_itself() {
    let sim = Sim::new("meddler ends");
    let env = sim.node(&"a/core-1".into());
    sim.run(async {
        let meddler = Meddler::new(&env);
        begin(&meddler, meddling(How::Lost, 1.0));
        assert!(!meddler.told(MeddleAsk { begin: None, end: true }).on);
        assert_eq!(meddler.fate(JOB, Kind::Ask), Fate::Passes);
        begin(&meddler, meddling(How::Lost, 1.0));
        env.sleep(Duration::from_millis(1_001)).await;
        assert_eq!(meddler.fate(JOB, Kind::Ask), Fate::Passes);
    })
    .unwrap();
}

#[test]
fn a_full_disk_refuses_each_write_and_no_message() {
    let sim = Sim::new("meddler full disk");
    let env = sim.node(&"b/storage-1".into());
    sim.run(async {
        let meddler = Meddler::new(&env);
        assert!(!meddler.disk_is_full());
        begin(&meddler, meddling(How::NoRoom, 1.0));
        assert!((0..5).all(|_| meddler.disk_is_full()));
        assert_eq!(meddler.sync_takes_longer(), None);
        let seen = meddler.told(MeddleAsk::default());
        assert_eq!((seen.met, seen.touched), (5, 5));
        assert_eq!(meddler.fate(JOB, Kind::Ask), Fate::Passes);
        env.sleep(Duration::from_millis(1_001)).await;
        assert!(!meddler.disk_is_full());
    })
    .unwrap();
}

#[test]
fn a_node_is_led_to_the_wrong_instance_for_its_share_of_what_it_calls() {
    let sim = Sim::new("meddler names");
    let env = sim.node(&"a/core-1".into());
    sim.run(async {
        let meddler = Meddler::new(&env);
        let leads = |path| meddler.misleads(path, || Some("b/api-1".into())).is_some();
        assert!(!leads(JOB));
        begin(&meddler, Meddling { endpoint: "/core/*".into(), ..meddling(How::Misled, 0.5) });
        let misled = (0..200).filter(|_| leads(JOB)).count();
        assert!((70..130).contains(&misled), "{misled}");
        assert!(!leads("/storage/kv/get") && !leads(MEDDLE));
        assert_eq!(meddler.misleads(JOB, || None), None, "there is nobody else");
        let seen = meddler.told(MeddleAsk::default());
        assert_eq!((seen.met, seen.touched), (200, misled as u64));
        assert_eq!(meddler.fate(JOB, Kind::Ask), Fate::Passes);
        env.sleep(Duration::from_millis(1_001)).await;
        assert!(!leads(JOB));
    })
    .unwrap();
}

#[test]
fn a_clock_is_wrong_for_its_time_and_timers_are_not() {
    let sim = Sim::new("meddler skew");
    let env = sim.node(&"a/core-1".into());
    sim.run(async {
        let (meddler, away) = (Meddler::new(&env), env.clone());
        let off = || away.wall().0 as i64 - (env.now().0 / 1_000_000) as i64;
        let right = off();
        begin(&meddler, Meddling { ahead_ms: -7_000, ..meddling(How::Skewed, 1.0) });
        assert_eq!(off() - right, -7_000);
        let begun = env.now();
        env.sleep(Duration::from_millis(999)).await;
        assert_eq!((off() - right, (env.now() - begun).as_millis()), (-7_000, 999));
        env.sleep(Duration::from_millis(1)).await;
        assert_eq!(off(), right, "it went right by itself");
        begin(&meddler, Meddling { ahead_ms: 300, ..meddling(How::Skewed, 1.0) });
        assert_eq!(off() - right, 300);
        meddler.told(MeddleAsk { begin: None, end: true });
        assert_eq!(off(), right);
        begin(&meddler, Meddling { ahead_ms: 300, ..meddling(How::Skewed, 1.0) });
        begin(&meddler, meddling(How::Lost, 1.0));
        assert_eq!(off(), right, "one thing at a time");
    })
    .unwrap();
}

#[test]
fn replies_are_lost_doubled_and_overtaken() {
    let sim = Sim::new("meddler replies");
    let env = sim.node(&"a/core-1".into());
    sim.run(async {
        let meddler = Meddler::new(&env);
        let kept = Rc::new(Kept(RefCell::default()));
        let to: Rc<dyn Outgoing> = Rc::clone(&kept) as Rc<dyn Outgoing>;
        let send = |text: &'static str| {
            meddler.way_back(JOB, &to).send(Bytes::from_static(text.as_bytes())).unwrap();
        };
        begin(&meddler, meddling(How::Lost, 1.0));
        send("lost");
        begin(&meddler, meddling(How::Twice, 1.0));
        send("twice");
        begin(&meddler, meddling(How::Overtaken, 1.0));
        send("first");
        send("second");
        send("third");
        assert_eq!(*kept.0.borrow(), ["twice", "twice", "second", "first"]);
        // Nothing comes after it.
        env.sleep(OVERTAKEN_WITHIN + Duration::from_millis(1)).await;
        assert_eq!(kept.0.borrow().last().unwrap(), "third");
    })
    .unwrap();
}
