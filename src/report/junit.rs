//! `junit.xml`: one test case a law, a gate and an adequacy line, as CI servers draw them.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{
    gate::GateVerdict,
    summary::{LawSummary, Summary},
};
use crate::law::{
    Verdict, Violation,
    known::{KnownFailure, times},
};

/// The XML of a summary.
pub fn render(summary: &Summary) -> Result<String, quick_junit::SerializeError> {
    let name = format!("robot-city {}", summary.scenario);
    let banner = summary.banner();
    let mut report = Report::new(
        banner.as_ref().map_or(name.clone(), |banner| format!("{name} !! {banner} !!")),
    );
    let mut laws = TestSuite::new("laws");
    if let Some(banner) = banner {
        laws.set_system_err(banner);
    }
    laws.add_test_cases(summary.laws.iter().map(|law| case(&law.law, law_status(law))));
    if !summary.known_unseen.is_empty() {
        laws.set_system_out(summary.known_unseen.join("\n"));
    }
    let mut gates = TestSuite::new("gates");
    gates.add_test_cases(summary.gates.iter().map(|gate| {
        let status = match gate.verdict {
            GateVerdict::Ok => TestCaseStatus::success(),
            GateVerdict::Missed => failure(&gate.measured()),
            GateVerdict::Unknown => skipped("nothing measured that says something of the target"),
        };
        case(&gate.gate, status)
    }));
    let mut adequacy = TestSuite::new("adequacy");
    adequacy.add_test_cases(summary.adequacy.iter().filter(|asked| asked.required).map(|asked| {
        let status = if asked.enough {
            TestCaseStatus::success()
        } else {
            failure(&format!("seen {}, needed {:?}", asked.seen, asked.needed))
        };
        case(&asked.what, status)
    }));
    report.add_test_suites([laws, gates, adequacy]);
    report.to_string()
}

fn case(name: &str, status: TestCaseStatus) -> TestCase {
    TestCase::new(name, status)
}

fn law_status(law: &LawSummary) -> TestCaseStatus {
    let known: Vec<String> = law.shown().map(KnownFailure::tell).collect();
    match law.verdict {
        // As test runners tell a failure that was expected.
        Verdict::Pass if !known.is_empty() => {
            let mut status = skipped(&format!("known: {}", known.join("; ")));
            status.set_type("known");
            status
        }
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Broken => {
            let told = law.violations.iter().map(tell);
            let known = known.into_iter().map(|known| format!("known: {known}"));
            let mut status = failure(&format!("broken {}", times(law.violations_total)));
            status.set_description(told.chain(known).collect::<Vec<_>>().join("\n"));
            status
        }
        Verdict::Unknown => skipped(&format!("unknown: {}", law.note)),
        Verdict::NotApplicable => skipped(&format!("not applicable: {}", law.note)),
    }
}

/// A violation, its ops in order, what was broken then, and where more is.
fn tell(violation: &Violation) -> String {
    let faults = violation.faults.iter().map(|fault| format!("  while {fault}"));
    let traces = violation.traces.iter().map(|trace| format!("  trace {trace}"));
    let chain = violation.chain.iter().map(|op| format!("  {op}"));
    let bundle = (!violation.bundle.is_empty()).then(|| format!("  see {}", violation.bundle));
    let more: Vec<String> = chain.chain(faults).chain(traces).chain(bundle).collect();
    [violation.what.clone()].into_iter().chain(more).collect::<Vec<_>>().join("\n")
}

fn failure(message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(message);
    status
}

fn skipped(message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(message);
    status
}
