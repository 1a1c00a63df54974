//! Probes: what is wrong on purpose with an op, or what makes it a question of its own beside the
//! load. The robot names the probe, the target writes the request that way, and the history keeps the
//! name: only the laws that are made for probes look at such an op, and no figure counts it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! probes {
    ($($variant:ident = $word:literal, $doc:literal;)*) => {
        /// What is wrong with an op on purpose.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Probe { $(#[doc = $doc] #[serde(rename = $word)] $variant,)* }

        impl Probe {
            /// Every probe.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in files: `token.expired`.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// What it does, in a sentence.
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }
    };
}

probes! {
    TokenAbsent = "token.absent", "No token goes with the request.";
    TokenMalformed = "token.malformed", "What goes with the request is no token at all.";
    TokenForged = "token.forged", "A letter of the robot's own token is another.";
    TokenExpired = "token.expired", "The robot's own token, after its life.";
    TokenRevoked = "token.revoked", "What a session that was closed is still good for.";
    TokenKind = "token.kind", "The token of another kind of account.";
    JobOther = "job.other", "The job, or the offer, is another robot's.";
    InputNan = "input.nan", "A number is none.";
    InputRange = "input.range", "A number is out of its range.";
    InputMissing = "input.missing", "Something that is needed is left out.";
    InputType = "input.type", "Something has the wrong type.";
    InputOversized = "input.oversized", "The request is far larger than any right one.";
    InputGarbled = "input.garbled", "The request is cut off in the middle.";
    InputUnknownId = "input.unknown_id", "There is no such job.";
    PingReplay = "ping.replay", "An older location update once more.";
    LimitBurst = "limit.burst", "One of many at once.";
    LimitAfter = "limit.after", "Asked when the limit said that it may be.";
    Twin = "twin", "A question that is asked three times.";
    Outside = "city.outside", "Asked by somebody of another tenant.";
}

impl Probe {
    /// Who asks is wrong.
    pub const fn is_of_token(self) -> bool {
        matches!(
            self,
            Self::TokenAbsent
                | Self::TokenMalformed
                | Self::TokenForged
                | Self::TokenExpired
                | Self::TokenRevoked
                | Self::TokenKind
        )
    }

    /// What is asked is wrong.
    pub const fn is_of_input(self) -> bool {
        matches!(
            self,
            Self::InputNan
                | Self::InputRange
                | Self::InputMissing
                | Self::InputType
                | Self::InputOversized
                | Self::InputGarbled
                | Self::InputUnknownId
        )
    }
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// A set of probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProbeSet(u32);

impl ProbeSet {
    /// Whether it is in.
    pub const fn has(self, probe: Probe) -> bool {
        self.0 & (1 << probe as u32) != 0
    }

    /// True when nothing is in.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Probe> for ProbeSet {
    fn from_iter<I: IntoIterator<Item = Probe>>(probes: I) -> Self {
        Self(probes.into_iter().fold(0, |set, probe| set | 1 << probe as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_sets_agree() {
        for probe in Probe::ALL {
            assert_eq!(serde_json::to_value(probe).unwrap(), probe.word());
            let alone: ProbeSet = [*probe].into_iter().collect();
            assert_eq!(Probe::ALL.iter().filter(|other| alone.has(**other)).count(), 1);
            assert!(!(probe.is_of_token() && probe.is_of_input()), "{probe}");
        }
        assert!(ProbeSet::default().is_empty());
    }
}
