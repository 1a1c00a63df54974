//! The progress line of a run: rates, p99, faults, open jobs, laws. One line a second.

use crate::{
    chaos::conductor::InForce, engine::figures::Figures, history::record::Phase,
    report::console::span,
};

/// What the last line told, so that the next can tell rates.
#[derive(Default)]
pub struct Progress {
    last: Option<Figures>,
}

impl Progress {
    /// The next line.
    pub fn line(
        &mut self,
        phase: Phase,
        now: Figures,
        faults: &[InForce],
        broken: &[&str],
    ) -> String {
        let (sent, ok) = self.rates(&now);
        let faults: Vec<String> = faults.iter().map(tell).collect();
        let told = |parts: &[String], none: &str| match parts {
            [] => none.to_owned(),
            some => some.join(", "),
        };
        let broken: Vec<String> = broken.iter().map(|law| format!("BROKEN {law}")).collect();
        let line = format!(
            "{:6.1}s {:<9} drivers {:>5}  updates {sent:>6.0}/s ok {ok:>6.0}/s p99 {:>8}  \
             jobs open {:>4} asked {:>5}  lag p99 {:>8}  faults: {}  laws: {}",
            now.at.as_secs_f64(),
            word(phase),
            now.drivers_on_shift,
            span(now.response_us.value_at_quantile(0.99)),
            now.open_jobs,
            now.wishes,
            span(now.lag_us.value_at_quantile(0.99)),
            told(&faults, "none"),
            told(&broken, "hold"),
        );
        self.last = Some(now);
        line
    }

    /// Updates sent and ended ok, each second since the last line.
    fn rates(&self, now: &Figures) -> (f64, f64) {
        let Some(last) = &self.last else { return (0.0, 0.0) };
        let seconds = (now.at - last.at).as_secs_f64().max(1e-9);
        let a_second = |now: u64, last: u64| now.saturating_sub(last) as f64 / seconds;
        (a_second(now.pings.sent, last.pings.sent), a_second(now.pings.ok, last.pings.ok))
    }
}

fn tell(fault: &InForce) -> String {
    match &fault.victims[..] {
        [one] => format!("{} {one}", fault.kind),
        many => format!("{} on {}", fault.kind, many.len()),
    }
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Start => "start",
        Phase::Fill => "fill",
        Phase::Load => "load",
        Phase::Drain => "drain",
        Phase::Heal => "heal",
        Phase::Settle => "settle",
        Phase::ReadBack => "read back",
        Phase::Stop => "stop",
    }
}
