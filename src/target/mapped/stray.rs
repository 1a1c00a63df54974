//! Keys that would have no effect where they stand: whoever wrote them meant something by them, so
//! they are errors.

use super::{
    grammar::{How, Link, Offers, Pick, PickMore, Push, Rows, Speaks, Step},
    read::Wrong,
    step::Way,
};

/// The first key that is given and has no effect.
fn first(key: &str, why: &str, keys: &[(&str, bool)]) -> Result<(), Wrong> {
    match keys.iter().find(|(_, given)| *given) {
        Some((word, _)) => Err((format!("{key}.{word}"), format!("has no effect here: {why}"))),
        None => Ok(()),
    }
}

/// Of a step.
pub fn of_step(step: &Step, way: &Way, key: &str) -> Result<(), Wrong> {
    let rows = ("rows", step.rows != Rows::default());
    let answer_if = ("answer_if", step.answer_if.is_some());
    let query = ("query", !step.query.is_empty());
    let proto_answer = ("proto_answer", step.proto_answer.is_some());
    let bodies = [
        ("form", step.form.is_some()),
        ("proto", step.proto.is_some()),
        proto_answer,
        ("headers", !step.headers.is_empty()),
    ];
    let json = ("json", step.json.is_some());
    match way {
        Way::Http { .. } => first(key, "this is a request over HTTP", &[rows, answer_if]),
        Way::Publish { call, .. } => {
            let why = "this is a message to a broker";
            first(key, why, &[rows, answer_if, query])?;
            let why = "nothing answers what is published: use `call`";
            first(key, why, &[proto_answer].map(|(word, given)| (word, given && !call)))
        }
        Way::Send { .. } => {
            let why = "`send` is the whole message";
            first(key, why, &[rows, query, json])?;
            first(key, why, &bodies)
        }
        Way::Emit { .. } => {
            let why = "an event has a name and a JSON payload";
            first(key, why, &[rows, query, answer_if])?;
            first(key, why, &bodies)
        }
        Way::Command { .. } => {
            let why = "a command has its words alone";
            first(key, why, &[query, answer_if, json, ("via", step.via.is_some())])?;
            first(key, why, &bodies)
        }
    }
}

/// Of a link.
pub fn of_link(link: &Link, speaks: Speaks, key: &str) -> Result<(), Wrong> {
    let of_websocket = [
        ("hello", link.hello.is_some()),
        ("welcome_if", link.welcome_if.is_some()),
        ("keep", !link.keep.is_empty()),
    ];
    let of_socket_io = [("auth", link.auth.is_some()), ("namespace", link.namespace.is_some())];
    let proto = ("proto", link.proto.is_some());
    if speaks != Speaks::Websocket {
        first(key, "it is of a WebSocket", &of_websocket)?;
    } else if link.welcome_if.is_none() {
        first(key, "it is kept of the answer that `welcome_if` waits for", &of_websocket[2..])?;
    }
    if speaks != Speaks::SocketIo {
        first(key, "it is of Socket.IO", &of_socket_io)?;
    }
    if matches!(speaks, Speaks::Websocket | Speaks::SocketIo) {
        first(key, "messages on a socket are JSON", &[proto])?;
    }
    if speaks == Speaks::Amqp && link.url.all().len() > 1 {
        let why = "a broker has one URL: that of the cluster, where it is one";
        return Err((format!("{key}.url"), why.to_owned()));
    }
    Ok(())
}

/// Of what is told unasked.
pub fn of_push(push: &Push, speaks: Speaks, key: &str) -> Result<(), Wrong> {
    if matches!(speaks, Speaks::Http | Speaks::Http2) {
        let why = "nothing is told unasked over HTTP: name a socket or a broker";
        return Err((format!("{key}.via"), why.to_owned()));
    }
    let of_broker = [
        ("exchange", push.exchange.is_some()),
        ("keys", !push.keys.is_empty()),
        ("proto", push.proto.is_some()),
    ];
    if speaks != Speaks::Amqp {
        first(key, "it is of a broker", &of_broker)?;
    }
    if speaks != Speaks::SocketIo {
        first(key, "only Socket.IO has events with a name", &[("event", push.event.is_some())])?;
    }
    Ok(())
}

/// Of the way of offers.
pub fn of_offers(offers: &Offers) -> Result<(), Wrong> {
    let given = offers.every.is_some() && offers.how != How::Poll;
    first("offers", "drivers ask for offers with `how = \"poll\"` alone", &[("every", given)])
}

/// Of what is kept: a text as it came.
pub fn of_kept(pick: &Pick, key: &str) -> Result<(), Wrong> {
    let Pick::More(PickMore { unit, of, .. }) = pick else { return Ok(()) };
    let keys = [("as", unit.is_some()), ("of", of.is_some())];
    first(key, "what is kept is kept as it came", &keys)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{
        base::file::Source,
        target::mapped::{Compiled, For},
    };

    #[test]
    fn what_would_be_ignored_is_said() {
        const HTTP: &str = "[link.a]\nurl = 'http://127.0.0.1:1'\n";
        const SOCKET: &str = "[link.a]\nurl = 'ws://127.0.0.1:1'\n";
        const BROKER: &str = "[link.a]\nurl = 'amqp://127.0.0.1:1'\n";
        let ping = |link: &str, step: &str| format!("{link}[driver.ping]\n{step}");
        for (file, key) in [
            (ping(HTTP, "get = '/x'\nrows = 'csv'"), "driver.ping.rows"),
            (ping(HTTP, "get = '/x'\nkeep.a = { path = '$.a', as = 'major' }"), "keep.a.as"),
            (ping(SOCKET, "send = { a = 1 }\nheaders.a = 'b'"), "driver.ping.headers"),
            (ping(BROKER, "publish = 'a b'\nquery.a = 'b'"), "driver.ping.query"),
            (ping(BROKER, "publish = 'a b'\nproto_answer = 'X'"), "driver.ping.proto_answer"),
            (ping(HTTP, "command = ['ls']\nvia = 'a'"), "driver.ping.via"),
            (format!("{HTTP}hello = {{ a = 1 }}\n"), "link.a.hello"),
            (format!("{SOCKET}keep.a = '$.a'\n"), "link.a.keep"),
            (format!("{SOCKET}namespace = '/x'\n"), "link.a.namespace"),
            ("[link.a]\nurl = ['amqp://127.0.0.1:1', 'amqp://127.0.0.1:2']\n".into(), "link.a.url"),
            (format!("{HTTP}[[push]]\nvia = 'a'\n"), "push[0].via"),
            (format!("{SOCKET}[[push]]\nvia = 'a'\nkeys = ['#']\n"), "push[0].keys"),
            (format!("{HTTP}[offers]\nhow = 'relay'\nevery = '1s'\n"), "offers.every"),
        ] {
            let text = format!("schema = 1\nname = 'x'\n{file}");
            let source = Source::new(Path::new("x.toml"), &text);
            let why = Compiled::new(&source, &For::default()).unwrap_err().to_string();
            assert!(why.contains(key), "{key}: {why}");
        }
    }
}
