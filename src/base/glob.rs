//! Names by pattern: `*` stands for any run of characters, everything else for itself.

/// True when all of `text` fits `pattern`.
pub fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        // The earliest place leaves the most to what follows.
        match text.split_once(part) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_is_any_run_of_characters_none_included() {
        for (pattern, text) in [
            ("a/core-1", "a/core-1"),
            ("*", ""),
            ("*/core-*", "b/core-12"),
            ("a/*", "a/api-1"),
            ("*-1", "a-1/core-1"),
            ("a*b*c", "axxbyybzc"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("a/core-1", "a/core-12"),
            ("a/*", "b/api-1"),
            ("*-2", "a/core-1"),
            ("ab*b", "ab"),
            ("", "a"),
        ] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
