//! Known failures: the file, and what a law says of breaches that are in it.

use std::path::Path;

use super::{
    Judgement, Verdict,
    known::{ENTRIES_MAX, KNOWN_KEPT, Known, KnownFile},
    tally::VIOLATIONS_KEPT,
    testkit::{Tale, Tweak, d, good_end, good_journey},
};
use crate::base::place::Place;

const LAW: &str = "no-server-error";

fn file(text: &str) -> KnownFile {
    let on = "2026-06-19".parse().unwrap();
    KnownFile { file: "known.toml".into(), on, text: text.into() }
}

fn known(text: &str) -> Known {
    file(text).parse().unwrap_or_else(|error| panic!("{error}"))
}

fn entry(pattern: &str, expires: &str) -> String {
    format!(
        "[[known]]\nlaw = '{LAW}'\nmatch = '{pattern}'\nissue = 'https://issues/1'\n\
         expires = '{expires}'\n"
    )
}

/// As many pings that are answered with 500 as there are words.
fn answered(errors: &[&str]) -> Tale {
    let mut tale = Tale::default();
    for (n, error) in errors.iter().enumerate() {
        let ping = tale.ping(d(n as u32), (1.0, 1.1), Place::default(), None);
        ping.info();
        ping.attempts[0].status = Some(500);
        ping.attempts[0].error = Some((*error).into());
    }
    tale
}

fn judged(errors: &[&str], text: &str) -> Judgement {
    answered(errors).judge_with(LAW, &known(text))
}

fn wrong(text: &str) -> String {
    file(text).parse().unwrap_err().to_string()
}

#[test]
fn known_breaches_alone_break_nothing_and_are_told() {
    let judgement = judged(&["no shard", "no shard"], &entry("no shard", "2026-12-31"));
    assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Pass, 0));
    assert!(judgement.violations.is_empty());
    let known = &judgement.known[0];
    assert_eq!((known.matched, known.total, known.excuses(), known.expired), (2, 2, 2, false));
    assert_eq!(known.violations.len(), 2);
    assert_eq!(known.tell(), "2 times: https://issues/1 (known until 2026-12-31)");
}

#[test]
fn one_breach_that_is_not_known_breaks_the_law() {
    let judgement = judged(&["no shard", "out of memory"], &entry("no shard", "2026-12-31"));
    assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
    assert!(judgement.violations[0].what.contains("out of memory"));
    assert_eq!(judgement.known[0].total, 1);
}

#[test]
fn a_breach_behind_any_number_of_known_ones_is_seen() {
    let mut errors = vec!["no shard"; 10 * VIOLATIONS_KEPT];
    errors.push("out of memory");
    let judgement = judged(&errors, &entry("no shard", "2026-12-31"));
    assert_eq!((judgement.verdict, judgement.violations_total), (Verdict::Broken, 1));
    assert!(judgement.violations[0].what.contains("out of memory"));
    let known = &judgement.known[0];
    assert_eq!((known.total, known.violations.len()), (10 * VIOLATIONS_KEPT as u64, KNOWN_KEPT));
    // And the other way round: a known one behind any number of others.
    let mut errors = vec!["out of memory"; 2 * VIOLATIONS_KEPT];
    errors.push("no shard");
    let judgement = judged(&errors, &entry("no shard", "2026-12-31"));
    assert_eq!(judgement.violations_total, 2 * VIOLATIONS_KEPT as u64);
    assert_eq!((judgement.violations.len(), judgement.known[0].total), (VIOLATIONS_KEPT, 1));
}

#[test]
fn an_entry_is_known_through_its_last_day() {
    let last = judged(&["no shard"], &entry("no shard", "2026-06-19"));
    assert_eq!(last.verdict, Verdict::Pass);
    let over = judged(&["no shard"], &entry("no shard", "2026-06-18"));
    assert_eq!((over.verdict, over.violations_total), (Verdict::Broken, 1));
    assert_eq!(over.violations.len(), 1);
    let known = &over.known[0];
    assert!(known.expired && known.violations.is_empty());
    assert_eq!((known.total, known.excuses()), (1, 0));
    assert_eq!(known.tell(), "once: https://issues/1 (expired on 2026-06-18)");
}

#[test]
fn of_two_that_fit_the_one_that_has_not_expired_counts() {
    let text = entry("no shard", "2026-01-01") + &entry("shard", "2026-12-31");
    let judgement = judged(&["no shard", "no shard"], &text);
    assert_eq!(judgement.verdict, Verdict::Pass);
    let counts: Vec<_> = judgement.known.iter().map(|k| (k.matched, k.total)).collect();
    assert_eq!(counts, [(2, 0), (2, 2)]);
}

#[test]
fn an_entry_of_another_law_excuses_nothing() {
    let text = entry("no shard", "2026-12-31").replace(LAW, "charged-once");
    let judgement = judged(&["no shard"], &text);
    assert_eq!(judgement.verdict, Verdict::Broken);
    assert!(judgement.known.is_empty());
}

#[test]
fn words_match_in_part_or_as_a_regular_expression() {
    let fits = |pattern: &str| {
        let judgement = judged(&["no shard\n   for zone 7"], &entry(pattern, "2026-12-31"));
        judgement.verdict == Verdict::Pass
    };
    for pattern in [
        "no shard for zone",
        "no shard   for",
        "/no shard for zone [0-9]+$/",
        r"/^driver\/\d+ .* 500/",
        "/(?i)NO SHARD/",
        "(ok",
    ] {
        assert_eq!(fits(pattern), pattern != "(ok", "{pattern}");
    }
    assert!(!fits("No shard"), "letters count");
    assert!(!fits("shard.*zone"), "without slashes it is plain text");
    assert!(!fits("/^no shard/"));
}

#[test]
fn laws_that_judge_at_the_end_know_them_too() {
    let mut tale = Tale::default();
    good_journey(&mut tale, 10.0, "J1");
    let (job, charge) = good_end("J1");
    let again = crate::history::answer::ChargeView { id: "C9".into(), ..charge.clone() };
    tale.read_back(100.0, vec![job], vec![charge, again]);
    assert_eq!(tale.judge("charged-once").verdict, Verdict::Broken);
    let what = tale.judge("charged-once").violations[0].what.clone();
    let text = entry("J1", "2026-12-31").replace(LAW, "charged-once");
    let judgement = tale.judge_with("charged-once", &known(&text));
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert_eq!(judgement.known[0].violations[0].what, what);
    // It may be asked again and again: nothing adds up.
    assert_eq!(tale.judge_with("charged-once", &known(&text)).known[0].total, 1);
    tale.complete = false;
    let cut = tale.judge_with("charged-once", &known(&text));
    assert_ne!(cut.verdict, Verdict::Broken);
}

#[test]
fn errors_name_file_line_and_key() {
    let good = entry("no shard", "2026-12-31");
    let cases = [
        (
            good.replace(LAW, "no-server-errors"),
            "known.toml:2: `known[0].law`: no law `no-server-errors`: did you mean \
             `no-server-error`? must be one of ",
        ),
        (
            good.replace("issue = 'https://issues/1'\n", ""),
            "known.toml:1: `known[0].issue`: must be given",
        ),
        (good.replace("https://issues/1", " "), "known.toml:4: `known[0].issue`: must say where"),
        (
            good.clone() + &good.replace("2026-12-31", "2026-02-30"),
            "known.toml:10: `known[1].expires`: `2026-02-30` is no day: write it like \"2026-12-31\"",
        ),
        (
            good.replace("'2026-12-31'", "2026-12-31T10:00:00Z"),
            "known.toml:5: `known[0].expires`: `2026-12-31T10:00:00Z` is no day",
        ),
        (
            good.replace("'2026-12-31'", "20261231"),
            "known.toml:5: `known[0].expires`: invalid type: integer `20261231`, expected a day like",
        ),
        (
            good.replace("expires", "expire"),
            "known.toml:5: `known[0].expire`: unknown key: did you mean `expires`?",
        ),
        (good.replace("no shard", ""), "known.toml:3: `known[0].match`: would fit every breach"),
        (good.replace("no shard", "//"), "known.toml:3: `known[0].match`: would fit every breach"),
        (
            good.replace("no shard", "/no (shard/"),
            "known.toml:3: `known[0].match`: `no (shard` is no regular expression: unclosed group",
        ),
        (
            good.replace("[[known]]", "[[knwon]]"),
            "known.toml:1: `knwon`: unknown key: did you mean `known`?",
        ),
        ("law = \n".into(), "known.toml:1: this is not TOML: "),
    ];
    for (text, start) in cases {
        let error = wrong(&text);
        assert!(error.starts_with(start), "{error}\n  does not start with\n{start}");
    }
    let none = KnownFile::read(Path::new("no/such.toml"), "2026-06-19".parse().unwrap());
    assert!(none.unwrap_err().to_string().starts_with("no/such.toml: cannot be read: "));
    let many = wrong(&good.repeat(ENTRIES_MAX + 1));
    assert!(many.starts_with("known.toml:5001: `known[1000]`: holds more than 1000"), "{many}");
}

#[test]
fn a_day_may_stand_without_quotes_and_a_file_without_entries() {
    let bare = entry("no shard", "2026-12-31").replace("'2026-12-31'", "2026-12-31");
    assert_eq!(known(&bare).entries()[0].expires.to_string(), "2026-12-31");
    assert!(known("").entries().is_empty());
    assert!(known("# all fixed\n").entries().is_empty());
}
