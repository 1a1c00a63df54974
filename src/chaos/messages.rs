//! What every fault on messages shares: telling serving nodes what to do to which, counting what was
//! touched, and ending it.

use std::{sync::Arc, time::Duration};

use futures_util::future::{LocalBoxFuture, join_all};
use toml::Spanned;

use super::{
    fault::{Baseline, Fault, KeyEntry, Seen, Stage},
    keys::Keys,
    provider::{Meddle, Meddled, Meddling, Of, ProviderError},
};
use crate::base::{file::FileError, name::NodeName, rng::Rng, suggest::must_be_one_of};

/// How long it may take to tell one node.
const TELL_LIMIT: Duration = Duration::from_secs(3);
/// How long a node has to meet a message of those that it is to touch.
pub(super) const MEET_WITHIN: Duration = Duration::from_secs(8);
/// Between two looks at what was touched.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Tries to end it at a node; it ends by itself, too.
const ENDS_MAX: u32 = 3;
/// A fault that is not ended by its run ends by itself so long after it was to end.
pub(super) const SLACK: Duration = Duration::from_secs(10);
/// Roles that serve endpoints to others than robots.
pub(super) const SERVING: &[&str] = &["orchestration", "core", "storage"];
/// Every endpoint but the platform's own.
const EVERY: &str = "*";

/// The words of `of`.
const OFS: [(&str, &[Of]); 4] = [
    ("all", &[Of::Requests, Of::Replies, Of::News]),
    ("requests", &[Of::Requests]),
    ("replies", &[Of::Replies]),
    ("news", &[Of::News]),
];

/// The keys that all kinds on messages have.
pub(super) const ENDPOINT: KeyEntry = KeyEntry {
    name: "endpoint",
    means: "a pattern of endpoints, like `/core/job/*`; left out: all but the platform's own",
};
/// See [`ENDPOINT`].
pub(super) const OF: KeyEntry = KeyEntry {
    name: "of",
    means: "`requests` that reach the node, `replies` that it sends, `news` that reach it, or `all`; \
            left out: `all`",
};
/// See [`ENDPOINT`].
pub(super) const TOXICITY: KeyEntry = KeyEntry {
    name: "toxicity",
    means: "the share of messages that it happens to, each drawn by itself: more than 0, and 1 at \
            most; left out: 1",
};

/// Of what, and what was done to it.
pub(super) type Did = [&'static str; 2];

/// A fault on the messages of nodes, or on what their disks do.
#[derive(Debug)]
pub(super) struct OnMessages {
    pub kind: &'static str,
    /// What they are and what was done to them, for people: "messages", "were lost".
    pub did: Did,
    pub how: Meddle,
    endpoint: String,
    of: &'static str,
    toxicity: f64,
}

impl OnMessages {
    /// Reads the keys that all kinds have, as far as they mean something to this one.
    pub fn read(
        keys: &mut Keys<'_>,
        kind: &'static str,
        did: Did,
        how: Meddle,
    ) -> Result<Arc<dyn Fault>, FileError> {
        let disk = matches!(how, Meddle::SlowSync(..) | Meddle::NoRoom);
        let endpoint = if disk { EVERY.to_owned() } else { endpoint(keys)? };
        let of = if which(how).is_some() { OFS[0].0 } else { of(keys)? };
        let toxicity = if how == Meddle::NoRoom { 1.0 } else { toxicity(keys)? };
        Ok(Arc::new(Self { kind, did, how, endpoint, of, toxicity }))
    }

    /// Some of all messages, for a run that varies what it breaks.
    pub fn draw(rng: &mut Rng, kind: &'static str, did: Did, how: Meddle) -> Arc<dyn Fault> {
        let of = if which(how).is_some() { OFS[0].0 } else { OFS[rng.below(3)].0 };
        // In hundredths, so that it reads back as it is.
        let some = f64::from(rng.log_between(5.0, 50.0) as u32) / 100.0;
        let toxicity = if how == Meddle::NoRoom { 1.0 } else { some };
        Arc::new(Self { kind, did, how, endpoint: EVERY.to_owned(), of, toxicity })
    }

    fn meddling(&self, lasts: Duration) -> Meddling {
        let ofs = OFS.iter().find(|(word, _)| *word == self.of).map_or(OFS[0].1, |(_, ofs)| ofs);
        Meddling {
            endpoint: self.endpoint.clone(),
            of: which(self.how).unwrap_or(ofs).to_vec(),
            how: self.how,
            toxicity: self.toxicity,
            lasts: lasts + SLACK,
            as_version: None,
        }
    }
}

/// Which messages, where the kind itself says so.
fn which(how: Meddle) -> Option<&'static [Of]> {
    match how {
        Meddle::Refused | Meddle::Slow(..) => Some(&[Of::Requests]),
        Meddle::SlowSync(..)
        | Meddle::NoRoom
        | Meddle::Skewed(_)
        | Meddle::Leaves
        | Meddle::Stuck
        | Meddle::Misled => Some(&[]),
        Meddle::Lost | Meddle::Late(..) | Meddle::Twice | Meddle::Overtaken => None,
    }
}

fn endpoint(keys: &mut Keys<'_>) -> Result<String, FileError> {
    let Some(endpoint) = keys.text("endpoint")? else { return Ok(EVERY.to_owned()) };
    if endpoint.get_ref() != EVERY && !endpoint.get_ref().starts_with('/') {
        let what = "must begin with a slash, like \"/core/job/accept\" or \"/core/job/*\"";
        return Err(keys.wrong(&endpoint.span(), "endpoint", what));
    }
    Ok(endpoint.into_inner())
}

fn of(keys: &mut Keys<'_>) -> Result<&'static str, FileError> {
    let Some(of) = keys.text("of")? else { return Ok(OFS[0].0) };
    let known = OFS.iter().find(|(word, _)| word == of.get_ref());
    known.map(|(word, _)| *word).ok_or_else(|| {
        let what = must_be_one_of(of.get_ref(), OFS.iter().map(|(word, _)| *word));
        keys.wrong(&of.span(), "of", what)
    })
}

pub(super) fn toxicity(keys: &mut Keys<'_>) -> Result<f64, FileError> {
    let toxicity = keys.number("toxicity")?;
    let share = toxicity.as_ref().map_or(1.0, |share| *share.get_ref());
    if let Some(written) = toxicity.filter(|_| !(share > 0.0 && share <= 1.0)) {
        let what = "must be more than 0, and 1 at most: the share of messages that it happens to";
        return Err(keys.wrong(&Spanned::span(&written), "toxicity", what));
    }
    Ok(share)
}

impl Fault for OnMessages {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn settings(&self) -> toml::Table {
        let mut table = toml::Table::new();
        if let Meddle::Late(delay, jitter)
        | Meddle::Slow(delay, jitter)
        | Meddle::SlowSync(delay, jitter) = self.how
        {
            let text = |span: Duration| crate::base::span::Span(span).to_string();
            table.insert("delay".to_owned(), text(delay).into());
            if !jitter.is_zero() {
                table.insert("jitter".to_owned(), text(jitter).into());
            }
        }
        if self.endpoint != EVERY {
            table.insert("endpoint".to_owned(), self.endpoint.clone().into());
        }
        if self.of != OFS[0].0 {
            table.insert("of".to_owned(), self.of.into());
        }
        if self.toxicity < 1.0 {
            table.insert("toxicity".to_owned(), self.toxicity.into());
        }
        table
    }

    fn before<'a>(&'a self, _: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        // What was touched is counted from nothing.
        Box::pin(std::future::ready(Baseline::default()))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let what = self.meddling(stage.lasts);
            tell(stage, &what).await?;
            let names: Vec<&str> = stage.nodes.iter().map(NodeName::as_str).collect();
            Ok(format!("{} was told to", names.join(", ")))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let seen = join_all(stage.nodes.iter().map(|node| self.touched(stage, node))).await;
            let holds = seen.iter().all(Result::is_ok);
            let texts: Vec<String> =
                seen.into_iter().map(|seen| seen.unwrap_or_else(|why| why)).collect();
            Seen { holds, what: texts.join("; ") }
        })
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, _: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(async move {
            let ended = join_all(stage.nodes.iter().map(|node| self.end(stage, node))).await;
            let holds = ended.iter().all(Result::is_ok);
            let texts: Vec<String> =
                ended.into_iter().map(|ended| ended.unwrap_or_else(|why| why)).collect();
            Seen { holds, what: texts.join("; ") }
        })
    }
}

impl OnMessages {
    /// Waits until a node has touched a message.
    async fn touched(&self, stage: &Stage<'_>, node: &NodeName) -> Result<String, String> {
        let until = stage.env.now() + MEET_WITHIN;
        loop {
            let seen = look(stage, node, false).await?;
            if seen.touched > 0 {
                return Ok(format!("{node}: {}", self.words(seen)));
            }
            if stage.env.now() >= until {
                return Err(format!(
                    "{node}: none of {} {} within {} s",
                    seen.met,
                    self.did[0],
                    MEET_WITHIN.as_secs()
                ));
            }
            stage.env.sleep(LOOK_EVERY).await;
        }
    }

    async fn end(&self, stage: &Stage<'_>, node: &NodeName) -> Result<String, String> {
        let mut last = String::new();
        for _ in 0..ENDS_MAX {
            match look(stage, node, true).await {
                Ok(seen) if !seen.on => return Ok(format!("{node}: {}", self.words(seen))),
                Ok(_) => last = format!("{node}: it goes on"),
                Err(why) => last = why,
            }
            stage.env.sleep(LOOK_EVERY).await;
        }
        Err(last)
    }

    fn words(&self, seen: Meddled) -> String {
        let [what, did] = self.did;
        format!("{} of {} {what} {did}", seen.touched, seen.met)
    }
}

/// Tells all of them.
pub(super) async fn tell(stage: &Stage<'_>, what: &Meddling) -> Result<(), ProviderError> {
    let told = join_all(stage.nodes.iter().map(|node| async {
        let tell = stage.provider.meddle(node, what);
        in_time(node, stage.env.timeout(TELL_LIMIT, tell).await)
    }));
    told.await.into_iter().collect()
}

/// What one of them did so far; with `end` it does nothing from now on.
pub(super) async fn look(stage: &Stage<'_>, node: &NodeName, end: bool) -> Result<Meddled, String> {
    let look = stage.provider.meddled(node, end);
    in_time(node, stage.env.timeout(TELL_LIMIT, look).await).map_err(|why| why.to_string())
}

fn in_time<T, E>(
    node: &NodeName,
    done: Result<Result<T, ProviderError>, E>,
) -> Result<T, ProviderError> {
    done.unwrap_or_else(|_| {
        let why = format!("no answer within {TELL_LIMIT:?}");
        Err(ProviderError { victim: node.to_string(), why })
    })
}

/// Reads `delay` and `jitter`.
pub(super) fn delay(keys: &mut Keys<'_>) -> Result<(Duration, Duration), FileError> {
    let delay = keys.needed_span("delay", "say for how long: delay = \"200ms\"")?;
    let jitter = keys.span("jitter")?;
    let (mean, width) =
        (delay.get_ref().0, jitter.as_ref().map_or(Duration::ZERO, |j| j.get_ref().0));
    if !(Duration::from_millis(1)..=DELAY_MAX).contains(&mean) {
        let what = "must be from 1ms to 1m";
        return Err(keys.wrong(&delay.span(), "delay", what));
    }
    if let Some(jitter) = jitter.filter(|_| width > mean) {
        return Err(keys.wrong(&jitter.span(), "jitter", "must be no more than `delay`"));
    }
    Ok((mean, width))
}

const DELAY_MAX: Duration = Duration::from_mins(1);

/// Keys of [`delay`].
pub(super) const DELAY: KeyEntry =
    KeyEntry { name: "delay", means: "for how long in the mean, in whole ms" };
/// See [`DELAY`].
pub(super) const JITTER: KeyEntry =
    KeyEntry { name: "jitter", means: "evenly so much around it; left out: none" };
