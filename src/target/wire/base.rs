//! URLs of backends: scheme, host, port and the path before all paths, checked once. Errors never
//! show what stands before an `@` or behind a `?`: secrets live there.

use std::{fmt, rc::Rc};

use http::{
    HeaderValue, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

/// A text that is no URL of a backend: what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BaseError(String);

/// Where a backend is: `https://host:port/prefix`. A cheap handle.
#[derive(Clone, PartialEq, Eq)]
pub struct Base(Rc<Parts>);

#[derive(PartialEq, Eq)]
struct Parts {
    secure: bool,
    host: String,
    port: u16,
    authority: Authority,
    header: HeaderValue,
    prefix: String,
}

impl Base {
    /// Reads `http://`, `https://`, `ws://` or `wss://` with a host, perhaps a port and a path.
    pub fn parse(text: &str) -> Result<Self, BaseError> {
        let (base, path) = Self::with_path(text)?;
        if path.query().is_some() {
            return Err(wrong("a base URL ends before its `?`: give the query with each request"));
        }
        let prefix = path.path().trim_end_matches('/').to_owned();
        let parts = Rc::into_inner(base.0).ok_or_else(|| wrong("shared too early"))?;
        Ok(Self(Rc::new(Parts { prefix, ..parts })))
    }

    /// Reads a whole URL: where the backend is, without a prefix, and the path and query there.
    pub fn with_path(text: &str) -> Result<(Self, PathAndQuery), BaseError> {
        if !text.contains("://") {
            return Err(wrong("it has no scheme: begin it with `http://` or `https://`"));
        }
        if text.contains('#') {
            return Err(wrong("it has a `#`: what is behind one is never sent, leave it out"));
        }
        let uri: Uri = text.parse().map_err(|why| wrong(&format!("it cannot be read: {why}")))?;
        let secure = secure(&uri)?;
        let authority = authority(&uri)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let standard = if secure { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(standard);
        let shown = if port == standard {
            authority.host().to_owned()
        } else {
            format!("{}:{port}", authority.host())
        };
        let bad = |_| wrong("its host cannot be sent in a header");
        let header = HeaderValue::from_str(&shown).map_err(|why| bad(why.to_string()))?;
        let authority = shown.parse().map_err(|why: http::uri::InvalidUri| bad(why.to_string()))?;
        let path = uri.path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let parts = Parts { secure, host, port, authority, header, prefix: String::new() };
        Ok((Self(Rc::new(parts)), path))
    }

    /// Whether it is spoken to over TLS.
    pub fn secure(&self) -> bool {
        self.0.secure
    }

    /// Its name or address, an IPv6 one without brackets.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// Its port, given or implied.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// What comes before every path: empty, or `/…` without a `/` at its end.
    pub fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// What a request names as its host: without a port that the scheme implies.
    pub fn host_header(&self) -> &HeaderValue {
        &self.0.header
    }

    /// The scheme of its HTTP.
    pub fn scheme(&self) -> Scheme {
        if self.0.secure { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// Host and port as they stand in a URL.
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// Whether both are the same server, whatever their prefixes.
    pub fn same_server(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        Rc::ptr_eq(a, b) || (a.port == b.port && a.secure == b.secure && a.host == b.host)
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.0.authority, self.0.prefix)
    }
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn wrong(why: &str) -> BaseError {
    BaseError(why.to_owned())
}

fn secure(uri: &Uri) -> Result<bool, BaseError> {
    match uri.scheme_str().unwrap_or_default().to_ascii_lowercase().as_str() {
        "http" | "ws" => Ok(false),
        "https" | "wss" => Ok(true),
        other => Err(wrong(&format!(
            "its scheme is `{other}`: `http`, `https`, `ws` and `wss` can be spoken"
        ))),
    }
}

fn authority(uri: &Uri) -> Result<&Authority, BaseError> {
    let Some(authority) = uri.authority() else {
        return Err(wrong("it has no host"));
    };
    let text = authority.as_str();
    if text.contains('@') {
        return Err(wrong(
            "it has a name or password before an `@`: give these in the authentication, from the \
             environment or a file",
        ));
    }
    if authority.host().trim_matches(['[', ']']).is_empty() {
        return Err(wrong("it has no host"));
    }
    // Whatever is behind the host is a port that fits 16 bits.
    if text.len() > authority.host().len() && authority.port_u16().is_none_or(|port| port == 0) {
        return Err(wrong("its port is not a number from 1 to 65535"));
    }
    Ok(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_read_with_what_is_implied() {
        let base = Base::parse("https://city.example/api/v2/").unwrap();
        assert_eq!((base.host(), base.port(), base.secure()), ("city.example", 443, true));
        assert_eq!(
            (base.prefix(), base.host_header()),
            ("/api/v2", &"city.example".parse().unwrap())
        );
        assert_eq!(base.to_string(), "https://city.example/api/v2");
        let base = Base::parse("HTTP://[::1]:8080").unwrap();
        assert_eq!((base.host(), base.port(), base.secure()), ("::1", 8080, false));
        assert_eq!((base.prefix(), base.host_header()), ("", &"[::1]:8080".parse().unwrap()));
        let (base, path) = Base::with_path("wss://a:9/x?token=1").unwrap();
        assert_eq!((base.port(), base.secure(), path.as_str()), (9, true, "/x?token=1"));
        assert_eq!(Base::parse("http://a:80").unwrap().host_header(), "a");
        assert_eq!(Base::with_path("ws://a").unwrap().1.as_str(), "/");
    }

    #[test]
    fn a_text_that_is_no_base_says_why_and_keeps_secrets() {
        let cases = [
            ("city.example/api", "no scheme"),
            ("ftp://city.example", "`ftp`"),
            ("http://", "read"),
            ("http://:80/", "host"),
            ("http://a:99999", "port"),
            ("http://a:0", "port"),
            ("http://a:", "port"),
            ("http://me:hunter2@a/", "`@`"),
            ("http://a/?token=hunter2", "`?`"),
            ("http://a/#hunter2", "`#`"),
            ("http://a b/hunter2", "read"),
        ];
        for (text, wanted) in cases {
            let why = Base::parse(text).unwrap_err().to_string();
            assert!(why.contains(wanted), "{text}: {why}");
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
