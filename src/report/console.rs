//! The end of a run on a terminal: laws first, then the figures in the layout that k6's users know.

use std::fmt::Write as _;

use super::{
    gate::GateVerdict,
    summary::{OpSummary, RunVerdict, Summary},
};
use crate::law::{Verdict, known::times};

/// Violations of one law that are told in full.
const TOLD_MAX: usize = 3;
/// The column where values begin.
const COLUMN: usize = 34;

/// The text.
pub fn render(summary: &Summary) -> String {
    let mut text = String::new();
    banner(&mut text, summary);
    laws(&mut text, summary);
    gates(&mut text, summary);
    adequacy(&mut text, summary);
    faults(&mut text, summary);
    totals(&mut text, summary);
    ops(&mut text, &summary.ops);
    verdict(&mut text, summary);
    text
}

/// One line; writing to a string cannot fail.
fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
    text.push('\n');
}

fn banner(text: &mut String, summary: &Summary) {
    if let Some(banner) = summary.banner() {
        line(text, format_args!("\n!! {banner} !!"));
    }
}

fn dotted(name: &str) -> String {
    let dots = COLUMN.saturating_sub(name.chars().count() + 2).max(3);
    format!("{name}{}:", ".".repeat(dots))
}

fn laws(text: &mut String, summary: &Summary) {
    line(text, format_args!("\n  █ LAWS\n"));
    for law in &summary.laws {
        let excused = law.excused();
        let mark = match law.verdict {
            Verdict::Pass if excused > 0 => "~",
            Verdict::Pass => "✓",
            Verdict::Broken => "✗",
            Verdict::Unknown => "?",
            Verdict::NotApplicable => "-",
        };
        let told = match law.verdict {
            Verdict::Pass if excused > 0 => {
                format!("{} opportunities, {excused} violations, all known", law.opportunities)
            }
            Verdict::Pass => format!("{} opportunities, none violated", law.opportunities),
            Verdict::Broken => format!("BROKEN {}", times(law.violations_total)),
            Verdict::Unknown => format!("unknown: {}", law.note),
            Verdict::NotApplicable => format!("not applicable: {}", law.note),
        };
        line(text, format_args!("    {mark} {} {told}", dotted(&law.law)));
        for violation in law.violations.iter().take(TOLD_MAX) {
            line(text, format_args!("        ↳ {}", violation.what));
            line(text, format_args!("          ops {}", violation.ops.join(", ")));
            for fault in &violation.faults {
                line(text, format_args!("          while {fault}"));
            }
            if let Some(trace) = violation.traces.first() {
                line(text, format_args!("          trace {trace}"));
            }
            if !violation.bundle.is_empty() {
                line(text, format_args!("          all of it: {}", violation.bundle));
            }
        }
        if law.violations_total > TOLD_MAX as u64 && law.verdict == Verdict::Broken {
            let more = law.violations_total - TOLD_MAX as u64;
            line(text, format_args!("        ↳ and {more} more (report.html)"));
        }
        for known in law.shown() {
            line(text, format_args!("        ~ {}", known.tell()));
        }
    }
    for unseen in &summary.known_unseen {
        line(text, format_args!("    - {unseen}"));
    }
}

fn gates(text: &mut String, summary: &Summary) {
    if summary.gates.is_empty() {
        return;
    }
    line(text, format_args!("\n  █ GATES\n"));
    for gate in &summary.gates {
        let mark = match gate.verdict {
            GateVerdict::Ok => "✓",
            GateVerdict::Missed => "✗",
            GateVerdict::Unknown => "?",
        };
        line(text, format_args!("    {mark} {}  ({})", gate.gate, gate.measured()));
    }
}

fn adequacy(text: &mut String, summary: &Summary) {
    line(text, format_args!("\n  █ WAS ENOUGH SEEN?\n"));
    for asked in &summary.adequacy {
        let mark = match (asked.enough, asked.required) {
            (true, _) => "✓",
            (false, true) => "✗",
            (false, false) => "-",
        };
        let needed = asked.needed.map_or(String::new(), |n| format!(" (asked {})", figure(n)));
        line(
            text,
            format_args!("    {mark} {} {}{needed}", dotted(&asked.what), figure(asked.seen)),
        );
    }
}

/// A number as people write it: whole where it is whole.
fn figure(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.4}") }
}

fn faults(text: &mut String, summary: &Summary) {
    if summary.faults.is_empty() {
        return;
    }
    line(text, format_args!("\n  █ FAULTS\n"));
    for fault in &summary.faults {
        let mark = if fault.bit && fault.healed_s.is_some() { "✓" } else { "✗" };
        let at = |moment: Option<f64>| moment.map_or("never".into(), |s| format!("{s:.1} s"));
        line(
            text,
            format_args!(
                "    {mark} {} {}: injected {}, healed {}, {}, recovered {}",
                fault.kind,
                few(&fault.victims),
                at(fault.injected_s),
                at(fault.healed_s),
                if fault.bit { "bit" } else { "DID NOT BITE" },
                at(fault.recovered_s),
            ),
        );
        line(text, format_args!("        ↳ {}", fault.effect));
    }
}

/// The first victims, and how many more.
fn few(victims: &[String]) -> String {
    match victims {
        [] => "nobody".into(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

fn totals(text: &mut String, summary: &Summary) {
    let load = &summary.load;
    let updates = &load.updates;
    let jobs = &load.jobs;
    line(text, format_args!("\n  █ TOTALS\n"));
    let row = |text: &mut String, name: &str, value: String| {
        line(text, format_args!("    {} {value}", dotted(name)));
    };
    row(
        text,
        "location updates",
        format!(
            "{} sent, {:.1}/s planned, {:.1}/s sent, {:.1}/s ok (asked {:.1}/s)",
            updates.count,
            updates.planned_per_s,
            updates.sent_per_s,
            updates.ok_per_s,
            updates.target_per_s
        ),
    );
    if let Some(share) = updates.ok_outside_faults {
        row(text, "updates ok outside faults", format!("{:.3} %", share * 100.0));
    }
    row(
        text,
        "jobs",
        format!(
            "{} requested, {} completed, {} cancelled, {} expired, {} open",
            jobs.requested, jobs.completed, jobs.cancelled, jobs.expired, jobs.open
        ),
    );
    if jobs.offers_relayed > 0 {
        let what = "synthetic: told to drivers by the simulator, of what passengers saw";
        row(text, "offers relayed", format!("{} ({what})", jobs.offers_relayed));
    }
    row(
        text,
        "robots",
        format!("{} drivers, {} passengers", load.robots.drivers, load.robots.passengers),
    );
    row(
        text,
        "lag",
        format!(
            "p(50)={} p(99)={} max={}",
            span(load.lag_us.p50),
            span(load.lag_us.p99),
            span(load.lag_us.max)
        ),
    );
    if let (Some(cpu_s), Some(mb)) = (load.generator_cpu_s, load.generator_rss_mb) {
        row(text, "robots' process", format!("{} of CPU, {mb:.0} MB", core(cpu_s, load.seconds)));
    }
    if let Some(cpu_s) = load.backend_cpu_s {
        row(text, "backend's processes", format!("{} of CPU", core(cpu_s, load.seconds)));
    }
    if let Some(cpu_s) = load.proxy_cpu_s.filter(|spent| *spent > 0.0) {
        row(text, "fault proxy", format!("{} of CPU", core(cpu_s, load.seconds)));
    }
}

fn ops(text: &mut String, ops: &[OpSummary]) {
    line(text, format_args!("\n  █ OPS (response time, from the planned moment)\n"));
    for op in ops {
        let t = &op.response_us;
        line(
            text,
            format_args!(
                "    {} avg={} min={} med={} max={} p(90)={} p(95)={} p(99)={} p(99.9)={}",
                dotted(op.op.word()),
                span(t.avg),
                span(t.min),
                span(t.p50),
                span(t.max),
                span(t.p90),
                span(t.p95),
                span(t.p99),
                span(t.p999),
            ),
        );
        line(
            text,
            format_args!(
                "    {} {} ok, {} fail, {} info, {} more attempts; service med={} p(99)={}",
                " ".repeat(COLUMN - 1),
                op.ok,
                op.fail,
                op.info,
                op.retries,
                span(op.service_us.p50),
                span(op.service_us.p99),
            ),
        );
    }
}

/// CPU seconds, and what share of one core that is.
fn core(cpu_s: f64, of_s: f64) -> String {
    format!("{cpu_s:.1} s ({:.1} % of a core)", cpu_s * 100.0 / of_s.max(1e-9))
}

/// Microseconds for people.
pub fn span(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}µs"),
        1_000..1_000_000 => format!("{:.2}ms", us as f64 / 1e3),
        _ => format!("{:.2}s", us as f64 / 1e6),
    }
}

fn verdict(text: &mut String, summary: &Summary) {
    let word = match summary.verdict {
        RunVerdict::Pass => "PASS",
        RunVerdict::Broken => "BROKEN",
        RunVerdict::Inconclusive => "INCONCLUSIVE",
        RunVerdict::GateMissed => "GATE MISSED",
    };
    line(text, format_args!("\n  verdict: {word}"));
    for reason in &summary.reasons {
        line(text, format_args!("    - {reason}"));
    }
    for left in &summary.left_behind {
        line(text, format_args!("    - LEFT BEHIND: {left}"));
    }
    banner(text, summary);
}
