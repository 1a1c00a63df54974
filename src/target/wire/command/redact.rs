//! Secrets out of texts, also where a text was cut in the middle of one.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::CHUNK_BYTES;

/// A piece of a secret at the edge of a text shorter than this is no piece: every text ends with
/// some letter that a secret begins with.
const PIECE_BYTES: usize = 4;
const STARS: &str = "***";

/// Values to hide.
pub(super) struct Redact<'a> {
    secrets: Vec<&'a [u8]>,
}

impl<'a> Redact<'a> {
    pub fn new(secrets: &'a [String]) -> Self {
        // Nothing would be left of a text without its empty strings.
        let secrets = secrets.iter().map(String::as_bytes).filter(|secret| !secret.is_empty());
        Self { secrets: secrets.collect() }
    }

    /// A text without them.
    pub fn text(&self, text: &str) -> String {
        self.bytes(text.as_bytes(), false)
    }

    /// Bytes without them, as text; `cut` when the front was cut off.
    fn bytes(&self, bytes: &[u8], cut: bool) -> String {
        let hidden = self.hidden(bytes, cut);
        let (mut shown, mut at) = (String::new(), 0);
        while at < bytes.len() {
            let same = hidden[at..].iter().take_while(|h| **h == hidden[at]).count();
            if hidden[at] {
                shown.push_str(STARS);
            } else {
                shown.push_str(&String::from_utf8_lossy(&bytes[at..at + same]));
            }
            at += same;
        }
        shown
    }

    /// Which bytes belong to a secret.
    fn hidden(&self, bytes: &[u8], cut: bool) -> Vec<bool> {
        let mut hidden = vec![false; bytes.len()];
        for secret in &self.secrets {
            for (at, window) in bytes.windows(secret.len()).enumerate() {
                if window == *secret {
                    hidden[at..at + secret.len()].fill(true);
                }
            }
            let pieces = PIECE_BYTES..secret.len();
            let end = pieces
                .clone()
                .rev()
                .find(|n| cut && bytes.starts_with(&secret[secret.len() - n..]));
            if let Some(n) = end {
                hidden[..n].fill(true);
            }
            let begin = pieces.rev().find(|n| bytes.ends_with(&secret[..*n]));
            if let Some(n) = begin {
                hidden[bytes.len() - n..].fill(true);
            }
        }
        hidden
    }
}

/// The end of a stream.
pub(super) struct Tail<'a> {
    redact: Redact<'a>,
    bytes: Vec<u8>,
    most: usize,
    cut: bool,
}

impl<'a> Tail<'a> {
    pub fn new(secrets: &'a [String], most: usize) -> Self {
        Self { redact: Redact::new(secrets), bytes: Vec::new(), most, cut: false }
    }

    /// Reads a stream to its end and keeps its last bytes.
    pub async fn fill(&mut self, stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<()> {
        let Some(mut stream) = stream else { return Ok(()) };
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let n = stream.read(&mut chunk).await?;
            if n == 0 {
                return Ok(());
            }
            self.push(&chunk[..n]);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let over = self.bytes.len().saturating_sub(self.most);
        if over > 0 {
            self.cut = true;
            self.bytes.drain(..over);
        }
    }

    /// The last lines, without secrets.
    pub fn lines(&self, most: usize) -> Vec<String> {
        let shown = self.redact.bytes(&self.bytes, self.cut);
        let lines: Vec<_> = shown.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(most)..].iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Vec<String> {
        vec!["correct-horse".into(), "two\nlines".into(), String::new()]
    }

    #[test]
    fn secrets_become_stars_wherever_they_are() {
        let secrets = secrets();
        let redact = Redact::new(&secrets);
        let text = "correct-horse at correct-horsecorrect-horse, two\nlines, é";
        assert_eq!(redact.text(text), "*** at ***, ***, é");
        assert_eq!(redact.text("nothing here"), "nothing here");
    }

    #[test]
    fn a_secret_that_was_cut_is_hidden_too() {
        let secrets = secrets();
        for most in 1..60 {
            let mut tail = Tail::new(&secrets, most);
            for byte in b"password: correct-horse rejected, correct-h" {
                tail.push(&[*byte]);
            }
            let shown = tail.lines(10).join("\n");
            assert!(!shown.contains("orse") && !shown.contains("corr"), "{most}: {shown}");
        }
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut tail = Tail::new(&[], 16);
        tail.push(b"one\ntwo\n\nthree\nfour\n");
        assert_eq!(tail.lines(2), ["three", "four"]);
    }
}
