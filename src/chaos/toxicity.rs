//! Toxicity: how much of what passes a link meets a fault. Left out, all of it does.

use toml::Spanned;

use super::{
    keys::Keys,
    provider::{LinkName, Per, ROBOTS, Toxicity},
};
use crate::base::{file::FileError, suggest::must_be_one_of};

/// A smaller share is hardly ever met, and could not be measured.
const SHARE_MIN: f64 = 0.01;
/// How sure a measurement is to meet it.
const SURE: f64 = 0.9999;

/// Reads `toxicity` and `toxicity_per`.
pub(super) fn read(keys: &mut Keys<'_>) -> Result<Option<Spanned<Toxicity>>, FileError> {
    let share = keys.number("toxicity")?;
    let word = keys.text("toxicity_per")?;
    let Some(share) = share else {
        let Some(word) = word else { return Ok(None) };
        let what = "means nothing without `toxicity`: say how many: toxicity = 0.1";
        return Err(keys.wrong(&word.span(), "toxicity_per", what));
    };
    let at = share.span();
    let share = share.into_inner();
    if !(SHARE_MIN..=1.0).contains(&share) {
        let what = format!("must be from {SHARE_MIN} to 1: the share that meets the fault");
        return Err(keys.wrong(&at, "toxicity", what));
    }
    let Some(word) = word else {
        let hint = "say what it is drawn for: toxicity_per = \"connection\" or \"request\"";
        return Err(keys.lacks("toxicity_per", hint));
    };
    let known = Per::ALL.into_iter().find(|(known, _)| known == word.get_ref());
    let Some((_, per)) = known else {
        let hint = must_be_one_of(word.get_ref(), Per::ALL.map(|(known, _)| known));
        let what = format!("`{}` is nothing to draw for: {hint}", word.get_ref());
        return Err(keys.wrong(&word.span(), "toxicity_per", what));
    };
    Ok(Some(Spanned::new(word.span(), Toxicity { share, per })))
}

/// Why it cannot be drawn for each request on these links, if it cannot.
pub(super) fn no_requests(toxicity: Toxicity, links: &[LinkName]) -> Option<String> {
    let link = links.iter().find(|link| link.from.as_str() != ROBOTS)?;
    (toxicity.per == Per::Request).then(|| {
        format!(
            "must be `connection` on {link}: it carries many requests at once, and only the \
             robots' links have one after the other"
        )
    })
}

/// Why it cannot be drawn for each connection on these links in virtual time, if it cannot.
pub(super) fn no_connections(toxicity: Toxicity, links: &[LinkName]) -> Option<String> {
    let link = links.iter().find(|link| link.from.as_str() == ROBOTS)?;
    (toxicity.per == Per::Connection).then(|| {
        format!(
            "toxicity_per = \"connection\" has no meaning on {link} in the virtual world, where an \
             HTTP exchange has no connection of its own: take \"request\", or run it with --time \
             real"
        )
    })
}

impl Per {
    /// Its word in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Request => "request",
        }
    }
}

/// How often somebody has to look until it is sure that a fault is met.
pub(super) fn looks(toxicity: Option<Toxicity>) -> u32 {
    match toxicity {
        Some(Toxicity { share, .. }) if share < 1.0 => {
            libm::ceil(libm::log(1.0 - SURE) / libm::log(1.0 - share)) as u32
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_ones_are_looked_for_longer() {
        let of = |share| looks(Some(Toxicity { share, per: Per::Connection }));
        assert_eq!(looks(None), 1);
        assert_eq!([of(1.0), of(0.5), of(0.1), of(0.01)], [1, 14, 88, 917]);
    }

    #[test]
    fn the_words_are_those_of_the_list() {
        assert!(Per::ALL.iter().all(|(word, per)| per.word() == *word));
    }
}
