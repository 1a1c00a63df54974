//! Where a mapping's links lead: which URLs are of use, and which hosts may be spoken to. Opens nothing.

use std::net::IpAddr;

use super::{
    compiled::{Compiled, EMBEDDED},
    grammar::Speaks,
    read::Wrong,
};

pub fn check_url(url: &str, speaks: Speaks) -> Result<(), String> {
    if url == EMBEDDED && speaks == Speaks::Http {
        return Ok(());
    }
    let fit: &[&str] = match speaks {
        Speaks::Http | Speaks::Http2 => &["http", "https"],
        Speaks::Websocket | Speaks::SocketIo => &["ws", "wss", "http", "https"],
        Speaks::Amqp => &["amqp", "amqps"],
    };
    let parsed: http::Uri =
        url.parse().map_err(|why| format!("`{}` is not a URL: {why}", without_password(url)))?;
    if matches!(speaks, Speaks::Http | Speaks::Http2) && parsed.query().is_some() {
        return Err("ends before its `?`: give `query` with the steps".to_owned());
    }
    match (parsed.scheme_str(), parsed.host()) {
        (Some(scheme), Some(host)) if fit.contains(&scheme) && !host.is_empty() => Ok(()),
        _ => Err(format!(
            "`{}` is not a URL of this link: it begins with {}:// and has a host",
            without_password(url),
            fit.join(":// or ")
        )),
    }
}

/// Where a socket is reached, without what it is told on the way in.
pub fn without_query(mut url: String) -> String {
    url.truncate(url.find('?').unwrap_or(url.len()));
    url
}

/// The URL without what stands before the `@`.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://***@{rest}"),
        _ => url.to_owned(),
    }
}

/// The host of a URL, without brackets and port.
fn host_of(url: &str) -> String {
    let host = url.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    host.unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// True for the machine itself.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Nothing goes to a host that the file does not allow, and none beyond loopback without a ceiling.
pub fn check_hosts(compiled: &Compiled) -> Result<(), Wrong> {
    for link in &compiled.links {
        for url in link.urls.iter().filter(|url| *url != EMBEDDED) {
            let host = host_of(url);
            if is_loopback(&host) {
                continue;
            }
            if !compiled.hosts.contains(&host) {
                let why = format!(
                    "the host `{host}` is not this machine, and not allowed: add it to `hosts` if \
                     robots may speak to it"
                );
                return Err((format!("link.{}.url", link.name), why));
            }
            if compiled.ceiling_per_second.is_none() {
                let why = format!(
                    "must be given, since `{host}` is not this machine: the most requests a second \
                     that it may be sent"
                );
                return Err(("ceiling_per_second".to_owned(), why));
            }
        }
    }
    Ok(())
}
