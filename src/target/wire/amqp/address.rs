//! Where a broker is: the URI, read once, and the addresses that one may connect to. The only place
//! that knows the password, next to the library that logs in with it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use lapin::uri::{AMQPScheme, AMQPUri};

use super::AmqpError;

/// Says whether one may connect to an address of a host; the words say why not.
pub type Allowed = Rc<dyn Fn(IpAddr, &str) -> Result<(), String>>;

/// A password shorter than this is not searched for in texts: it would be found everywhere.
const SECRET_BYTES_MIN: usize = 4;

/// A broker's address and login.
#[derive(Clone)]
pub(super) struct Address {
    uri: AMQPUri,
    host: String,
    allowed: Option<Allowed>,
}

impl Address {
    /// Reads a URI. An error never quotes it: it holds a password.
    pub fn parse(
        text: &str,
        heartbeat_s: u16,
        allowed: Option<Allowed>,
    ) -> Result<Self, AmqpError> {
        let wrong = |why: &str| AmqpError::Connect(format!("the broker's URI {why}"));
        // The parser's own words may quote the whole URI.
        let mut uri: AMQPUri = text
            .parse()
            .map_err(|_| wrong("must look like amqp://user:password@host:port/virtual-host"))?;
        uri.query.heartbeat.get_or_insert(heartbeat_s);
        let host = bracketed(text).unwrap_or(&uri.authority.host).to_owned();
        Ok(Self { uri, host, allowed })
    }

    /// Whether it is spoken to over TLS.
    pub fn is_secure(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }

    /// The host, as its certificate names it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The addresses of the host, all of them allowed.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, String> {
        let host = &self.host;
        let found = tokio::net::lookup_host((host.as_str(), self.uri.authority.port)).await;
        let found: Vec<_> = found.map_err(|why| format!("no address for {host}: {why}"))?.collect();
        for address in &found {
            self.allow(address.ip())?;
        }
        if found.is_empty() {
            return Err(format!("no address for {host}"));
        }
        Ok(found)
    }

    fn allow(&self, ip: IpAddr) -> Result<(), String> {
        match &self.allowed {
            Some(allowed) => allowed(ip, &self.host),
            None if ip.to_canonical().is_loopback() => Ok(()),
            None => Err(format!("{} ({ip}) is not on loopback", self.host)),
        }
    }

    /// The URI as the library is to connect: the host as a number, so that nobody asks for its name
    /// again, and no TLS, which is not the library's.
    pub fn at(&self, address: SocketAddr) -> AMQPUri {
        let mut uri = self.uri.clone();
        uri.scheme = AMQPScheme::AMQP;
        uri.authority.host = address.ip().to_string();
        uri.authority.port = address.port();
        uri
    }

    /// Words of others without the password.
    pub fn redact(&self, text: &str) -> String {
        let password = &self.uri.authority.userinfo.password;
        if password.len() < SECRET_BYTES_MIN {
            return text.to_owned();
        }
        text.replace(password, "***")
    }

    /// What to look at when a login is refused.
    pub fn hint(&self) -> &'static str {
        match self.uri.vhost.as_str() {
            "" => "; the URI ends with `/`, the virtual host without a name: leave it out for `/`",
            _ => "",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let authority = &self.uri.authority;
        let scheme = if self.is_secure() { "amqps" } else { "amqp" };
        write!(f, "{scheme}://{}@{host}:{}", authority.userinfo.username, authority.port)?;
        match self.uri.vhost.as_str() {
            "/" => Ok(()),
            vhost => write!(f, "/{vhost}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The host in brackets, an IPv6 address: the library's parser takes `localhost` for it.
fn bracketed(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.strip_prefix('[')?.split_once(']').map(|(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::real::run_local;

    fn parse(uri: &str) -> Address {
        Address::parse(uri, 10, None).unwrap()
    }

    #[test]
    fn the_password_is_never_shown() {
        let address = parse("amqp://city:hush-hush@127.0.0.1:5673/rides");
        assert_eq!(address.to_string(), "amqp://city@127.0.0.1:5673/rides");
        assert_eq!(format!("{address:?}"), "amqp://city@127.0.0.1:5673/rides");
        assert_eq!(address.redact("no hush-hush here"), "no *** here");
        let secure = parse("amqps://city:hush-hush@localhost");
        assert_eq!(secure.to_string(), "amqps://city@localhost:5671");
        for wrong in ["amqp://city:hush-hush@host:port", "hush-hush"] {
            let why = Address::parse(wrong, 10, None).unwrap_err().to_string();
            assert!(!why.contains("hush"), "{why}");
        }
    }

    #[test]
    fn a_virtual_host_without_a_name_is_noticed() {
        assert_eq!(parse("amqp://localhost").hint(), "");
        assert_eq!(parse("amqp://localhost/%2f").hint(), "");
        assert!(parse("amqp://localhost/").hint().contains("leave it out"));
    }

    #[test]
    fn only_loopback_unless_somebody_says_otherwise() {
        let resolve = |address: Address| run_local(async move { address.resolve().await }).unwrap();
        assert!(resolve(parse("amqp://127.0.0.1:5673")).unwrap()[0].ip().is_loopback());
        let six = resolve(parse("amqp://u:p@[::1]:5673/v")).unwrap();
        assert_eq!(six, ["[::1]:5673".parse::<SocketAddr>().unwrap()]);
        let why = resolve(parse("amqp://192.0.2.1:5673")).unwrap_err();
        assert!(why.contains("not on loopback"), "{why}");
        let allowed: Allowed = Rc::new(|ip, host| {
            assert_eq!(host, "192.0.2.1");
            if ip.is_ipv4() { Ok(()) } else { Err("no".into()) }
        });
        let address = Address::parse("amqp://192.0.2.1:5673", 10, Some(allowed)).unwrap();
        assert_eq!(resolve(address).unwrap()[0].port(), 5673);
    }
}
