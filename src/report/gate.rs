//! Gates: thresholds on measured figures, written `driver.ping response p(99) < 50ms` or
//! `passenger.request_job rate(fail) < 0.1%`.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::figures::{Figures, OpFigures};
use crate::{
    base::{span::Span, suggest::must_be_one_of},
    history::op::{OpKind, Outcome},
};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Measure {
    /// A percentile of response or service time, in milliseconds.
    Percentile { service: bool, percent: f64 },
    /// The share of ops with an outcome, in percent.
    Rate(Outcome),
}

/// One threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    text: String,
    op: OpKind,
    measure: Measure,
    below: bool,
    limit: f64,
}

/// How a gate came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// Held.
    Ok,
    /// Not held.
    Missed,
    /// Nothing was measured, or the generator failed.
    Unknown,
}

/// A text that is no gate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("gate `{gate}`: {why}")]
pub struct NotAGate {
    gate: String,
    why: String,
}

const SHAPE: &str =
    "write `OP response p(99) < 50ms`, `OP service p(50) < 5ms` or `OP rate(fail) < 0.1%`";

impl Gate {
    /// Parses one gate.
    pub fn parse(text: &str) -> Result<Self, NotAGate> {
        let wrong = |why: String| NotAGate { gate: text.to_owned(), why };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (op, measure, sign, limit) = match words[..] {
            [op, time @ ("response" | "service"), percentile, sign, limit] => {
                (op, percentile_of(time, percentile), sign, limit)
            }
            [op, rate, sign, limit] => (op, rate_of(rate), sign, limit),
            _ => return Err(wrong(SHAPE.into())),
        };
        let words = OpKind::ALL.iter().map(|op| op.word());
        let op = OpKind::from_word(op)
            .ok_or_else(|| wrong(format!("no op `{op}`: {}", must_be_one_of(op, words))))?;
        let measure = measure.ok_or_else(|| wrong(SHAPE.into()))?;
        let below = match sign {
            "<" => true,
            ">" => false,
            other => return Err(wrong(format!("`{other}` must be < or >"))),
        };
        let limit = limit_of(measure, limit).ok_or_else(|| wrong(SHAPE.into()))?;
        Ok(Self { text: text.to_owned(), op, measure, below, limit })
    }

    /// The measured value (milliseconds, or percent) and the verdict.
    pub fn judge(&self, figures: &Figures) -> (Option<f64>, GateVerdict) {
        let Some(op) = figures.op(self.op) else {
            return (None, GateVerdict::Unknown);
        };
        let value = self.measure.of(op);
        let held = if self.below { value < self.limit } else { value > self.limit };
        (Some(value), if held { GateVerdict::Ok } else { GateVerdict::Missed })
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Measure {
    fn of(self, op: &OpFigures) -> f64 {
        match self {
            Self::Percentile { service, percent } => {
                let times = if service { &op.service_us } else { &op.response_us };
                times.value_at_quantile(percent / 100.0) as f64 / 1_000.0
            }
            Self::Rate(outcome) => {
                op.outcomes[outcome as usize] as f64 * 100.0 / op.count().max(1) as f64
            }
        }
    }
}

fn percentile_of(time: &str, text: &str) -> Option<Measure> {
    let percent: f64 = text.strip_prefix("p(")?.strip_suffix(')')?.parse().ok()?;
    let service = time == "service";
    (0.0..=100.0).contains(&percent).then_some(Measure::Percentile { service, percent })
}

fn rate_of(text: &str) -> Option<Measure> {
    match text {
        "rate(ok)" => Some(Measure::Rate(Outcome::Ok)),
        "rate(fail)" => Some(Measure::Rate(Outcome::Fail)),
        "rate(info)" => Some(Measure::Rate(Outcome::Info)),
        _ => None,
    }
}

fn limit_of(measure: Measure, text: &str) -> Option<f64> {
    match measure {
        Measure::Percentile { .. } => {
            let Span(limit) = text.parse().ok()?;
            (limit > Duration::ZERO).then_some(limit.as_secs_f64() * 1_000.0)
        }
        Measure::Rate(_) => {
            let percent: f64 = text.strip_suffix('%')?.parse().ok()?;
            (0.0..=100.0).contains(&percent).then_some(percent)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_read_and_wrong_ones_explained() {
        for good in [
            "driver.ping response p(99) < 50ms",
            "driver.ping service p(99.9) < 1s",
            "passenger.request_job rate(fail) < 0.1%",
            "driver.ping rate(ok) > 95%",
        ] {
            assert_eq!(Gate::parse(good).unwrap().to_string(), good);
        }
        let typo = Gate::parse("driver.pign rate(ok) > 95%").unwrap_err().to_string();
        assert!(typo.contains("did you mean `driver.ping`"), "{typo}");
        for bad in ["driver.ping", "driver.ping p(99) < 50ms", "driver.ping rate(ok) = 95%"] {
            assert!(Gate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_gate_that_measured_nothing_is_unknown() {
        let gate = Gate::parse("driver.ping rate(ok) > 95%").unwrap();
        assert_eq!(gate.judge(&Figures::default()), (None, GateVerdict::Unknown));
    }
}
