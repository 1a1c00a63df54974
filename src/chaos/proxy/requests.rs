//! Where HTTP/1.1 requests begin in what a client says. It reads no more of them than it needs for
//! that; what it cannot read it takes for one request without an end.

/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// One client's side of a connection.
#[derive(Debug, Default)]
pub(super) struct Requests {
    at: At,
}

#[derive(Debug, Default)]
enum At {
    /// Nobody knows where: what follows is not new until it looks so.
    Lost,
    /// Between two requests.
    #[default]
    Between,
    /// In the head, of which this much was read.
    Head(Vec<u8>),
    /// In the body, of which so many bytes are left.
    Body(u64),
    /// In a body of chunks, in a line of which this much was read; the last chunk was seen or not.
    Line(Vec<u8>, bool),
    /// In a chunk, of which so many bytes are left, its line end included.
    Chunk(u64),
    /// Whatever follows is still this request: another protocol, or none that is known.
    Endless,
}

impl Requests {
    /// For a client of whose words some were not looked at.
    pub fn out_of_step() -> Self {
        Self { at: At::Lost }
    }

    /// How many of these bytes (at least one) belong to one request, and whether it begins with the
    /// first of them.
    pub fn split(&mut self, bytes: &[u8]) -> (usize, bool) {
        let begins = match self.at {
            At::Between => true,
            At::Lost => looks_new(bytes),
            _ => false,
        };
        if begins {
            self.at = At::Head(Vec::new());
        }
        let mut read = 0;
        while read < bytes.len() && !matches!(self.at, At::Between) {
            read += self.read(&bytes[read..]);
        }
        (read, begins)
    }

    /// Reads on within the request; how much was read.
    fn read(&mut self, bytes: &[u8]) -> usize {
        match &mut self.at {
            At::Between => 0,
            At::Endless | At::Lost => bytes.len(),
            At::Head(head) => {
                head.push(bytes[0]);
                if head.ends_with(b"\r\n\r\n") {
                    self.at = after_head(head);
                } else if head.len() > HEAD_BYTES_MAX {
                    self.at = At::Endless;
                }
                1
            }
            At::Body(left) => {
                let (taken, rest) = take(*left, bytes);
                self.at = if rest == 0 { At::Between } else { At::Body(rest) };
                taken
            }
            At::Chunk(left) => {
                let (taken, rest) = take(*left, bytes);
                self.at = if rest == 0 { At::Line(Vec::new(), false) } else { At::Chunk(rest) };
                taken
            }
            At::Line(line, last) => {
                line.push(bytes[0]);
                if line.ends_with(b"\r\n") {
                    self.at = after_line(line, *last);
                } else if line.len() > HEAD_BYTES_MAX {
                    self.at = At::Endless;
                }
                1
            }
        }
    }
}

/// It begins as a request's first line does.
fn looks_new(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    line.first().is_some_and(u8::is_ascii_uppercase)
        && line.windows(8).any(|part| part == b" HTTP/1.")
}

fn take(left: u64, bytes: &[u8]) -> (usize, u64) {
    let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
    (taken, left - taken as u64)
}

/// What follows a head.
fn after_head(head: &[u8]) -> At {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    if !first.contains(" HTTP/1.") || first.starts_with("CONNECT ") {
        return At::Endless;
    }
    let mut body = At::Between;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        match name.as_str() {
            "upgrade" => return At::Endless,
            "transfer-encoding" if value.to_ascii_lowercase().ends_with("chunked") => {
                return At::Line(Vec::new(), false);
            }
            "content-length" => match value.parse() {
                Ok(0) => {}
                Ok(length) => body = At::Body(length),
                Err(_) => return At::Endless,
            },
            _ => {}
        }
    }
    body
}

/// What follows a line between chunks: the size of the next one, or a trailer.
fn after_line(line: &[u8], last: bool) -> At {
    if last {
        return if line == b"\r\n" { At::Between } else { At::Line(Vec::new(), true) };
    }
    let text = String::from_utf8_lossy(line);
    let size = text.split(';').next().unwrap_or_default().trim();
    match u64::from_str_radix(size, 16) {
        Ok(0) => At::Line(Vec::new(), true),
        Ok(size) => At::Chunk(size.saturating_add(2)),
        Err(_) => At::Endless,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where requests begin, whatever pieces the bytes come in.
    fn begins(all: &[u8], piece: usize) -> Vec<usize> {
        let (mut requests, mut found, mut at) = (Requests::default(), Vec::new(), 0);
        for piece in all.chunks(piece) {
            let mut rest = piece;
            while !rest.is_empty() {
                let (len, begin) = requests.split(rest);
                assert!(len > 0);
                if begin {
                    found.push(at);
                }
                at += len;
                rest = &rest[len..];
            }
        }
        found
    }

    #[test]
    fn requests_are_told_apart_in_whatever_pieces_they_come() {
        let parts: [&[u8]; 5] = [
            b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /b HTTP/1.1\r\nContent-Length: 20\r\n\r\nGET /no HTTP/1.1\r\n\r\n",
            b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
              12;x=y\r\nGET / HTTP/1.1\r\n\r\n\r\n0\r\nTrailer: 1\r\n\r\n",
            b"DELETE /d HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
            b"GET /e HTTP/1.1\r\n\r\n",
        ];
        let all = parts.concat();
        let mut at = 0;
        let expected: Vec<usize> = parts
            .iter()
            .map(|part| {
                at += part.len();
                at - part.len()
            })
            .collect();
        for piece in [1, 2, 3, 7, 64, all.len()] {
            assert_eq!(begins(&all, piece), expected, "pieces of {piece}");
        }
    }

    #[test]
    fn who_comes_late_waits_for_what_looks_like_a_request() {
        let mut requests = Requests::out_of_step();
        assert_eq!(requests.split(b"rest of a body"), (14, false));
        assert_eq!(requests.split(b"GET /a HTTP/1.1\r\n\r\n"), (19, true));
        assert_eq!(requests.split(b"anything"), (8, true));
    }

    #[test]
    fn what_is_no_http_is_one_request() {
        let upgrade = b"GET /x HTTP/1.1\r\nUpgrade: websocket\r\n\r\n".as_slice();
        let frames = b"\x81\x85GET / HTTP/1.1\r\n\r\n".as_slice();
        assert_eq!(begins(&[upgrade, frames].concat(), 5), [0]);
        assert_eq!(begins(b"\x00\x01binary\r\n\r\nGET / HTTP/1.1\r\n\r\n", 9), [0]);
    }
}
