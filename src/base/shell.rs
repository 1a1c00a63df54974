//! A word as a shell takes it, for the commands that people are shown. It runs nothing.

/// The word, in quotes where a shell would read something else out of it.
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,%+@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_every_word() {
        assert_eq!(word("a3a9b65"), "a3a9b65");
        assert_eq!(word("--seed=-5"), "--seed=-5");
        assert_eq!(word("an evening; rm"), "'an evening; rm'");
        assert_eq!(word("it's"), "'it'\\''s'");
        assert_eq!(word("~"), "'~'");
        assert_eq!(word(""), "''");
    }
}
