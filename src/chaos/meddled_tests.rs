//! Faults that a node does to itself, as the conductor plays them: its clock, its disk, its queue, its
//! version, its leave.

use super::*;

#[test]
fn a_clock_is_moved_read_and_put_back() {
    let stand = stand(SKEW, &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes(), [(0, Injected), (0, Bit), (0, Healed)]);
    assert!(stand.effect(Bit).contains("a/core-1: its clock is -1500 ms off"), "{SKEW}");
    assert!(stand.fake.is_well());
}

#[test]
fn a_clock_that_was_not_moved_missed() {
    for by in ["-1500ms", "1ms"] {
        let stand = stand(&SKEW.replace("-1500ms", by), &[Trouble::SkewIsLost]);
        stand.clock.run(stand.conductor.run(Time::ZERO, END));
        assert_eq!(stand.changes(), [(0, Injected), (0, Missed), (0, Healed)], "{by}");
    }
}

#[test]
fn a_node_whose_clock_is_wrong_is_not_down() {
    let slow = SLOW.replace("65s", "4s").replace("15s", "2s");
    let stand = stand(&[SKEW.to_owned(), slow].concat(), &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    let bit: Vec<String> = stand.events.borrow().iter().map(|e| e.effect.clone()).collect();
    assert!(bit.iter().any(|effect| effect.contains("6 of 6 links measured")), "{bit:?}");
}

#[test]
fn a_full_disk_is_told_counted_and_ended() {
    let plan =
        "[[fault]]\nkind = \"full-disk\"\nnodes = [\"b/storage-1\"]\nat = \"3s\"\nfor = \"5s\"\n";
    let stand = stand(plan, &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes(), [(0, Injected), (0, Bit), (0, Healed)]);
    assert_eq!(stand.effect(Bit), "b/storage-1: 7 of 7 writes found no room");
    assert!(stand.fake.is_well());
}

const RETIRED: &str = "[[fault]]\nkind = \"scale-in\"\nnodes = [\"c/core-1\"]\nat = \"3s\"\n\
                       for = \"15s\"\n";

#[test]
fn an_instance_that_is_retired_is_quiet_before_it_is_ended() {
    let stand = stand(RETIRED, &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes(), [(0, Injected), (0, Bit), (0, Healed)]);
    assert!(stand.effect(Injected).contains("0 in flight"), "{}", stand.effect(Injected));
    let calls = stand.fake.calls.borrow().join("; ");
    assert_eq!(
        calls,
        "3.00 meddle c/core-1; 4.00 terminate c/core-1; 18.00 end c/core-1; 18.00 start c/core-1"
    );
    assert!(stand.fake.is_well());
}

#[test]
fn an_instance_that_is_never_quiet_is_not_retired_unless_nobody_waits_for_that() {
    let stand = stand(RETIRED, &[Trouble::NeverQuiet]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes(), [(0, Failed), (0, Healed)]);
    assert!(stand.effect(Failed).contains("3 are in flight"), "{}", stand.effect(Failed));
    assert!(stand.fake.is_well());

    let rude = RETIRED.replace("for =", "drain = false\nfor =");
    let stand = self::stand(&rude, &[Trouble::NeverQuiet]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes(), [(0, Injected), (0, Bit), (0, Healed)]);
    assert!(stand.effect(Injected).contains("3 in flight"), "{}", stand.effect(Injected));
}

#[test]
fn a_queue_is_filled_until_it_refuses_and_empties_again() {
    let plan =
        "[[fault]]\nkind = \"fill-queue\"\nnodes = [\"b/core-1\"]\nat = \"3s\"\nfor = \"5s\"\n";
    for (trouble, change) in [(&[][..], Bit), (&[Trouble::ImpairIsLost], Missed)] {
        let stand = stand(plan, trouble);
        stand.clock.run(stand.conductor.run(Time::ZERO, END));
        assert_eq!(stand.changes(), [(0, Injected), (0, change), (0, Healed)]);
        assert_eq!(
            stand.fake.calls.borrow().join("; "),
            "3.00 meddle b/core-1; 3.00 fill b/core-1; 8.00 end b/core-1"
        );
        assert!(stand.fake.is_well());
    }
}

const BAD: &str = "[[fault]]\nkind = \"bad-version\"\nnodes = [\"c/core-1\"]\nshare = 3\nat = \"3s\"\n\
                   for = \"10s\"\n";

#[test]
fn a_bad_version_gets_its_share_and_it_is_measured() {
    let stand = stand(BAD, &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes(), [(0, Injected), (0, Bit), (0, Healed)]);
    // A hundred calls a second against a thousand of each of three others.
    let bit = stand.effect(Bit);
    assert!(bit.contains("got 100 of 3100 calls within 1.0 s (3.2 %, wanted were 3 %)"), "{bit}");
    assert!(stand.fake.is_well());
    // A share that is far from what was asked for is none.
    let stand = self::stand(&BAD.replace("share = 3", "share = 30"), &[]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes(), [(0, Injected), (0, Missed), (0, Healed)]);
}

#[test]
fn a_bad_version_that_nobody_called_missed() {
    let stand = stand(BAD, &[Trouble::ImpairIsLost]);
    stand.clock.run(stand.conductor.run(Time::ZERO, END));
    assert_eq!(stand.changes(), [(0, Injected), (0, Missed), (0, Healed)]);
    assert!(stand.fake.is_well());
}
