//! Gates: thresholds on measured figures, written `driver.ping response p(99) < 50ms` or
//! `passenger.request_job rate(fail) < 0.1%`; over the whole run, over every window of some length,
//! or around the faults. What they measure is in `meter`.

use std::{fmt, time::Duration};

use hdrhistogram::{Counter, Histogram};
use serde::{Deserialize, Serialize};

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

/// Which ops count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Those of the whole run.
    Whole,
    /// Those that end within any window of that length while the demand runs; the worst one counts.
    Over(Duration),
    /// Those that end in the last stretch of that length before each fault.
    Before(Duration),
    /// Those that end while a fault is in force; each fault by itself.
    During,
    /// Those that end in the first stretch of that length after each heal.
    After(Duration),
}

/// One threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    text: String,
    /// Of which op.
    pub op: OpKind,
    measure: Measure,
    /// What is measured is to be below the limit, and not above it.
    pub below: bool,
    limit: f64,
    /// Which ops count.
    pub when: When,
    /// A miss ends the demand, once it has run for so long.
    pub abort_after: Option<Duration>,
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

const SHAPE: &str = "write `OP response p(99) < 50ms`, `OP service p(50) < 5ms` or `OP rate(fail) < 0.1%`, and after \
     it, if you like, `over 10s`, `before faults`, `during faults` or `after faults`, and `abort` or \
     `abort after 30s`";
/// A stretch before or after a fault that does not say how long it is.
const STRETCH: Duration = Duration::from_secs(30);
/// The shortest window: a second of ops.
const WINDOW_MIN: Duration = Duration::from_secs(1);
/// The longest: what is in it is kept.
const WINDOW_MAX: Duration = Duration::from_hours(1);

impl Gate {
    /// Parses one gate.
    pub fn parse(text: &str) -> Result<Self, NotAGate> {
        let wrong = |why: String| NotAGate { gate: text.to_owned(), why };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (op, measure, sign, limit, rest) = match words[..] {
            [op, time @ ("response" | "service"), percentile, sign, limit, ref rest @ ..] => {
                (op, percentile_of(time, percentile), sign, limit, rest)
            }
            [op, rate, sign, limit, ref rest @ ..] => (op, rate_of(rate), sign, limit, rest),
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
        let (when, rest) = when_of(rest).map_err(wrong)?;
        let abort_after = abort_of(rest).map_err(wrong)?;
        Ok(Self { text: text.to_owned(), op, measure, below, limit, when, abort_after })
    }

    /// What is measured (milliseconds, or percent) of some ops.
    pub fn value<C: Counter>(&self, times: [&Histogram<C>; 2], outcomes: [u64; 3]) -> f64 {
        match self.measure {
            Measure::Percentile { service, percent } => {
                times[usize::from(service)].value_at_quantile(percent / 100.0) as f64 / 1_000.0
            }
            Measure::Rate(outcome) => {
                let all: u64 = outcomes.iter().sum();
                outcomes[outcome as usize] as f64 * 100.0 / all.max(1) as f64
            }
        }
    }

    /// Whether that is within the limit.
    pub fn holds(&self, value: f64) -> bool {
        if self.below { value < self.limit } else { value > self.limit }
    }
}

/// Which ops count, and what is left of the words.
fn when_of<'a>(words: &'a [&'a str]) -> Result<(When, &'a [&'a str]), String> {
    let window = |text: &str| match text.parse() {
        Ok(Span(span)) if (WINDOW_MIN..=WINDOW_MAX).contains(&span) => Ok(span),
        _ => Err(format!("`{text}` must be a span from 1s to 1h, like 10s")),
    };
    let stretch = |rest: &'a [&'a str]| match rest {
        [] | ["abort", ..] => Ok((STRETCH, rest)),
        [span, rest @ ..] => Ok::<_, String>((window(span)?, rest)),
    };
    match words {
        ["over", span, rest @ ..] => Ok((When::Over(window(span)?), rest)),
        ["over"] => Err("`over` wants a span, as in `over 10s`".into()),
        ["before", "faults", rest @ ..] => stretch(rest).map(|(of, rest)| (When::Before(of), rest)),
        ["during", "faults", rest @ ..] => Ok((When::During, rest)),
        ["after", "faults", rest @ ..] => stretch(rest).map(|(of, rest)| (When::After(of), rest)),
        rest => Ok((When::Whole, rest)),
    }
}

fn abort_of(words: &[&str]) -> Result<Option<Duration>, String> {
    match words {
        [] => Ok(None),
        ["abort"] => Ok(Some(Duration::ZERO)),
        ["abort", "after", span] => match span.parse() {
            Ok(Span(span)) => Ok(Some(span)),
            Err(why) => Err(why.to_string()),
        },
        [word, ..] => Err(format!("`{word}` is not understood here: {SHAPE}")),
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
            "driver.ping rate(ok) > 95% over 10s",
            "driver.ping response p(99) < 50ms before faults",
            "driver.ping response p(99) < 50ms before faults 20s",
            "driver.ping response p(99) < 2s during faults abort after 1m",
            "driver.ping rate(info) < 5% after faults 20s abort",
        ] {
            assert_eq!(Gate::parse(good).unwrap().to_string(), good);
        }
        let typo = Gate::parse("driver.pign rate(ok) > 95%").unwrap_err().to_string();
        assert!(typo.contains("did you mean `driver.ping`"), "{typo}");
        for (bad, why) in [
            ("driver.ping", "write `OP"),
            ("driver.ping p(99) < 50ms", "write `OP"),
            ("driver.ping rate(ok) = 95%", "must be < or >"),
            ("driver.ping rate(ok) > 95% over", "wants a span"),
            ("driver.ping rate(ok) > 95% over soon", "`soon` must be a span from 1s to 1h"),
            ("driver.ping rate(ok) > 95% over 2h", "`2h` must be a span"),
            ("driver.ping rate(ok) > 95% between faults", "`between` is not understood"),
            ("driver.ping rate(ok) > 95% abort later", "`abort` is not understood"),
        ] {
            let error = Gate::parse(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn the_words_after_the_limit_say_which_ops_count() {
        let read = |text: &str| {
            let gate = Gate::parse(&format!("driver.ping rate(ok) > 95% {text}")).unwrap();
            (gate.when, gate.abort_after)
        };
        let s = Duration::from_secs;
        assert_eq!(read(""), (When::Whole, None));
        assert_eq!(read("over 10s abort"), (When::Over(s(10)), Some(s(0))));
        assert_eq!(read("before faults"), (When::Before(STRETCH), None));
        assert_eq!(read("after faults 5s abort after 1m"), (When::After(s(5)), Some(s(60))));
        assert_eq!(read("during faults"), (When::During, None));
    }
}
