//! "Did you mean": the nearest known word to one that is not known.

/// The known word nearest to `word`, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| {
            // Words that share nothing are not meant, however short.
            *distance <= 1 + candidate.len() / 3 && *distance < candidate.len().max(word.len())
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// The end of an error about an unknown word: a suggestion, and all that is known.
pub fn must_be_one_of<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let all: Vec<&str> = known.clone().into_iter().collect();
    if all.is_empty() {
        return "there is none here".to_owned();
    }
    let hint = nearest(word, known).map(|near| format!("did you mean `{near}`? "));
    format!("{}must be one of {}", hint.unwrap_or_default(), all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_none_no_list_is_promised() {
        assert_eq!(must_be_one_of("x", []), "there is none here");
        assert_eq!(must_be_one_of("latancy", ["kill"]), "must be one of kill");
    }

    #[test]
    fn suggests_what_was_meant_and_nothing_else() {
        assert_eq!(nearest("latancy", ["kill", "latency"]), Some("latency"));
        assert_eq!(nearest("umbrella", ["kill", "latency"]), None);
        assert_eq!(nearest("x", ["a", "b"]), None);
        assert_eq!(nearest("aa", ["a", "b"]), Some("a"));
    }
}
