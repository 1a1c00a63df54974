//! DNS: new connections over a link fare as if the name at its other end were unknown, led to an address
//! where nobody is, or were found late. A name is looked up to open a connection: those that are open go on.

use std::{sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, KeyEntry, Seen, Stage, World},
    keys::Keys,
    links::{self, ms},
    provider::{Answer, ProviderError, Toxic},
};
use crate::base::{file::FileError, rng::Rng, span::Span, suggest::must_be_one_of};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "dns",
    means: "lets new connections over a link fare as if the name at its other end were unknown, led to nobody, or were found late; open ones go on",
    bites: "an exchange over a new connection failed, or took at least half of `delay` longer",
    hits: Hits::Links,
    roles: &[],
    // There, an HTTP exchange has no connection of its own.
    worlds: &[World::Real],
    keys: &[
        KeyEntry {
            name: "answer",
            means: "`gone`: the name is unknown, and a new connection ends at once; `wrong`: it leads to an address where nobody is, and a new connection waits for an answer that does not come; `slow`: it is found after `delay`",
        },
        KeyEntry {
            name: "delay",
            means: "how long a slow answer takes, in whole ms, from `100ms` to `30s`",
        },
    ],
    example: "[[fault]]\n\
              kind = \"dns\"\n\
              links = { from = \"robots\", to = { az = \"b\" } }\n\
              answer = \"slow\"\n\
              delay = \"1s\"\n\
              at = \"30s\"\n\
              for = \"10s\"\n",
    read,
    draw,
};

/// Less than that can hardly be told from none.
const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(30);
/// What is needed beside one slow answer.
const LOOK_NEEDS: Duration = Duration::from_secs(1);
/// How much slower than before a healed link may be.
const SLACK: Duration = Duration::from_millis(200);

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let Some(word) = keys.text("answer")? else {
        return Err(keys.lacks("answer", "say which: answer = \"gone\""));
    };
    let delay = keys.span("delay")?;
    let answer = match (word.get_ref().as_str(), delay) {
        ("slow", None) => {
            let what = "a slow answer takes how long? delay = \"1s\"";
            return Err(keys.wrong(&word.span(), "answer", what));
        }
        ("slow", Some(delay)) => {
            if !(DELAY_MIN..=DELAY_MAX).contains(&delay.get_ref().0) {
                let what = format!("must be between {} and {}", Span(DELAY_MIN), Span(DELAY_MAX));
                return Err(keys.wrong(&delay.span(), "delay", what));
            }
            Answer::Slow { delay_ms: delay.get_ref().0.as_millis() as u64 }
        }
        ("gone" | "wrong", Some(delay)) => {
            let what = "means something for a slow answer only: answer = \"slow\"";
            return Err(keys.wrong(&delay.span(), "delay", what));
        }
        ("gone", None) => Answer::Gone,
        ("wrong", None) => Answer::Wrong,
        (other, _) => {
            let what = format!(
                "`{other}` is no answer: {}",
                must_be_one_of(other, ["gone", "wrong", "slow"])
            );
            return Err(keys.wrong(&word.span(), "answer", what));
        }
    };
    Ok(Arc::new(Dns { answer }))
}

fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    let slow = Answer::Slow { delay_ms: rng.log_between(100.0, 5_000.0) as u64 };
    let answers = [Answer::Gone, Answer::Wrong, slow];
    Arc::new(Dns { answer: answers[rng.below(answers.len())] })
}

#[derive(Debug)]
struct Dns {
    answer: Answer,
}

impl Dns {
    /// By how much a slow answer is late.
    fn delay(&self) -> Option<Span> {
        match self.answer {
            Answer::Slow { delay_ms } => Some(Span::millis(delay_ms)),
            Answer::Gone | Answer::Wrong => None,
        }
    }

    fn word(&self) -> &'static str {
        match self.answer {
            Answer::Gone => "gone",
            Answer::Wrong => "wrong",
            Answer::Slow { .. } => "slow",
        }
    }
}

impl Fault for Dns {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        let mut settings = toml::Table::from_iter([("answer".to_owned(), self.word().into())]);
        if let Some(delay) = self.delay() {
            settings.insert("delay".to_owned(), delay.to_string().into());
        }
        settings
    }

    /// Whoever has to connect is cut off.
    fn cuts(&self) -> bool {
        self.delay().is_none()
    }

    fn needs(&self, _victims: usize) -> Duration {
        self.delay().map_or(Duration::ZERO, |delay| delay.0 + LOOK_NEEDS)
    }

    fn of_requests(&self) -> bool {
        false
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(links::baseline(stage, 0))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let done = links::impair(stage, &[Toxic::Names { answer: self.answer }]).await?;
            let late = self.delay().map(|delay| format!(" by {delay}")).unwrap_or_default();
            Ok(format!("the answer for a name is {}{late} {done}", self.word()))
        })
    }

    /// Each measurement opens a connection of its own.
    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        let Some(Span(delay)) = self.delay() else {
            return Box::pin(links::are_silent(stage, before));
        };
        // Not to its end: some links are given up on before a slow answer comes.
        Box::pin(links::bites(stage, before, move |link, rtt| async move {
            match links::round_trip(stage, link, 0, rtt + delay / 2).await {
                Ok(now) => Err(format!("a new connection answered within {}", ms(now))),
                Err(why) => Ok(format!("{why} (before: {})", ms(rtt))),
            }
        }))
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        let slack = self.delay().map_or(SLACK, |delay| SLACK.min(delay.0 / 2));
        Box::pin(links::heal(stage, before, slack, 0))
    }
}
