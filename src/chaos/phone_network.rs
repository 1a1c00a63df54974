//! A phone network between the robots and the API: slow, narrow for each phone, and lossy.

use std::{sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;

use super::{
    fault::{Baseline, Fault, FaultEntry, Hits, KeyEntry, Seen, Stage, World},
    keys::Keys,
    links::{self, ms},
    provider::{ProviderError, Toxic},
};
use crate::base::{dist::Around, file::FileError, rng::Rng, suggest::must_be_one_of};

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: "phone-network",
    means: "makes links as bad as a phone network: slow in both directions, each connection with a narrow line of its own, and packets that are lost and come later",
    bites: "the round trip over the links rose by at least half of the network's",
    hits: Hits::Links,
    roles: &[],
    worlds: World::BOTH,
    keys: &[KeyEntry {
        name: "profile",
        means: "`gprs`: 500 ms there and back, 50 kbit/s, 2 % lost; `edge`: 300 ms, 250 kbit/s, 1.5 %; `3g`: 250 ms, 750 kbit/s, 1.5 %",
    }],
    example: "[[fault]]\n\
              kind = \"phone-network\"\n\
              links = { from = \"robots\" }\n\
              profile = \"edge\"\n\
              at = \"30s\"\n\
              for = \"20s\"\n",
    read,
    draw,
};

/// A kind of network. Delay, rate and loss are those of the table "Network Condition Profiles" in the
/// README of `tylertreat/comcast`, where they are called good ones.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Profile {
    word: &'static str,
    round_trip_ms: u64,
    kbit_s: u64,
    lost: f64,
}

const PROFILES: [Profile; 3] = [
    Profile { word: "gprs", round_trip_ms: 500, kbit_s: 50, lost: 0.02 },
    Profile { word: "edge", round_trip_ms: 300, kbit_s: 250, lost: 0.015 },
    Profile { word: "3g", round_trip_ms: 250, kbit_s: 750, lost: 0.015 },
];

/// The width of the jitter of one direction, as a part of its delay. Illustrative.
const JITTER_PART: u64 = 5;
/// A lost packet is sent again after the round trip and that: Linux's least (`TCP_RTO_MIN`), by the
/// rule of RFC 6298.
const AGAIN_MS: u64 = 200;

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let words = PROFILES.map(|profile| profile.word);
    let Some(word) = keys.text("profile")? else {
        return Err(keys.lacks("profile", &must_be_one_of("", words)));
    };
    let known = PROFILES.into_iter().find(|profile| profile.word == word.get_ref());
    let Some(profile) = known else {
        let hint = must_be_one_of(word.get_ref(), words);
        let what = format!("`{}` is no phone network: {hint}", word.get_ref());
        return Err(keys.wrong(&word.span(), "profile", what));
    };
    Ok(Arc::new(PhoneNetwork { profile }))
}

fn draw(rng: &mut Rng) -> Arc<dyn Fault> {
    Arc::new(PhoneNetwork { profile: PROFILES[rng.below(PROFILES.len())] })
}

#[derive(Debug)]
struct PhoneNetwork {
    profile: Profile,
}

impl PhoneNetwork {
    fn toxics(&self) -> [Toxic; 3] {
        let Profile { round_trip_ms, kbit_s, lost, .. } = self.profile;
        let latency_ms = round_trip_ms / 2;
        let jitter_ms = latency_ms / JITTER_PART;
        [
            Toxic::Latency { latency_ms, jitter_ms, around: Around::Uniform },
            Toxic::Bandwidth { rate: kbit_s * 1_000 / 8, each: true },
            Toxic::Loss { share: lost, again_ms: round_trip_ms + AGAIN_MS },
        ]
    }

    fn round_trip(&self) -> Duration {
        Duration::from_millis(self.profile.round_trip_ms)
    }
}

impl Fault for PhoneNetwork {
    fn kind(&self) -> &'static str {
        ENTRY.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::from_iter([("profile".to_owned(), self.profile.word.into())])
    }

    fn before<'a>(&'a self, stage: &'a Stage<'a>) -> LocalBoxFuture<'a, Baseline> {
        Box::pin(links::baseline(stage, 0))
    }

    fn inject<'a>(
        &'a self,
        stage: &'a Stage<'a>,
    ) -> LocalBoxFuture<'a, Result<String, ProviderError>> {
        Box::pin(async move {
            let done = links::impair(stage, &self.toxics()).await?;
            Ok(format!("as bad as {} {done}", self.profile.word))
        })
    }

    fn bite<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        // Opening a connection costs round trips of its own, and a packet may be lost more than once.
        let limit = links::WELL_LIMIT + self.round_trip() * 16;
        Box::pin(links::bites(stage, before, move |link, rtt| async move {
            let now = links::median(stage, link, 0, limit).await?;
            let text = format!("round trip {} → {}", ms(rtt), ms(now));
            if now >= rtt + self.round_trip() / 2 { Ok(text) } else { Err(text) }
        }))
    }

    fn heal<'a>(&'a self, stage: &'a Stage<'a>, before: &'a Baseline) -> LocalBoxFuture<'a, Seen> {
        Box::pin(links::heal(stage, before, self.round_trip() / 2, 0))
    }
}
