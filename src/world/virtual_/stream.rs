//! Streams of the virtual world: links that a client opens at the node that serves HTTP, with the
//! small bounds of a stream. Nothing is parsed or printed here.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::{Either, LocalBoxFuture, select};
use http::Request;
use tokio::sync::oneshot;

use super::{
    core::{Core, Sleep},
    link::CONNECT_WITHIN,
    network::{BACK, Parcel, THERE, met_way_of},
    node::Life,
};
use crate::{
    base::name::NodeName,
    world::{
        link::Link,
        stream::{MESSAGES_MAX, StreamError},
    },
};

type Opened = Result<Link, StreamError>;

fn not_connected(why: impl Into<String>) -> Opened {
    Err(StreamError::NotConnected(why.into()))
}

impl Core {
    /// Asks for a stream; the outcome comes after a round trip.
    pub(super) fn stream(
        self: &Rc<Self>,
        life: &Rc<Life>,
        to: &NodeName,
        request: Request<Bytes>,
    ) -> LocalBoxFuture<'static, Opened> {
        let Some(route) = self.route_to(life, to) else {
            return Box::pin(std::future::ready(not_connected(format!("no node is called {to}"))));
        };
        let (done, outcome) = oneshot::channel();
        let client = Rc::clone(life);
        let met = self.network.borrow_mut().get_mut(route).draw_met();
        let knock = Parcel::Call(Box::new(move |core: &Rc<Self>| {
            let answer = core.knock_for_stream((route, met), &client, &request);
            let reply = Parcel::Call(Box::new(move |_: &Rc<Self>| drop(done.send(answer))));
            core.carry(met_way_of(route, BACK, met), reply);
        }));
        if life.is_alive() {
            self.carry(met_way_of(route, THERE, met), knock);
        }
        let alarm = Sleep::new(Rc::clone(self), self.now() + CONNECT_WITHIN);
        Box::pin(async move {
            match select(outcome, alarm).await {
                Either::Left((Ok(outcome), _)) => outcome,
                Either::Left(_) => not_connected("the client died"),
                Either::Right(_) => not_connected(format!("no answer within {CONNECT_WITHIN:?}")),
            }
        })
    }

    /// The node's side of opening a stream.
    fn knock_for_stream(
        self: &Rc<Self>,
        (route, met): (u32, bool),
        client: &Rc<Life>,
        request: &Request<Bytes>,
    ) -> Opened {
        let (node, cut) = {
            let mut network = self.network.borrow_mut();
            let route = network.get_mut(route);
            (route.dialled, route.is_reset(met))
        };
        let Some((life, handler)) = self.nodes.borrow().streams_of(node) else {
            return not_connected("connection refused");
        };
        if !client.is_alive() {
            return not_connected("the client died");
        }
        if cut {
            return not_connected("connection reset");
        }
        let welcome =
            handler(request).map_err(|refusal| StreamError::Refused(refusal.status().as_u16()))?;
        let [near, far] = self.open((route, met), [client, &life], MESSAGES_MAX);
        welcome(far);
        Ok(near)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, time::Duration};

    use http::{Response, StatusCode};

    use super::*;
    use crate::world::{
        HttpHandler,
        link::SendError,
        virtual_::tests::{A, B, ask, name, plain},
    };

    fn plain_http() -> HttpHandler {
        Rc::new(|_| Box::pin(std::future::ready(Response::new(Bytes::new()))))
    }

    #[test]
    fn a_stream_is_ordered_bounded_and_ends_with_either_side() {
        let sim = plain("streams");
        let (a, b) = (sim.node(&name(A)), sim.node(&name(B)));
        let held: Rc<RefCell<Vec<Link>>> = Rc::default();
        let taken = Rc::clone(&held);
        a.serve_streams(Rc::new(move |request| {
            if request.body() != "let me in" {
                let mut refusal = Response::new(Bytes::new());
                *refusal.status_mut() = StatusCode::UNAUTHORIZED;
                return Err(Box::new(refusal));
            }
            let taken = Rc::clone(&taken);
            Ok(Box::new(move |link| taken.borrow_mut().push(link)))
        }))
        .unwrap();
        let open = |words| sim.run(b.stream(&name(A), ask(words))).unwrap();
        assert!(matches!(open("let me in"), Err(StreamError::NotConnected(_))), "no HTTP yet");
        sim.run(a.serve_http(plain_http())).unwrap().unwrap();
        assert!(matches!(open("please"), Err(StreamError::Refused(401))));
        let mut link = open("let me in").unwrap();
        for n in 0..MESSAGES_MAX {
            let sent = held.borrow()[0].outgoing.send(Bytes::from(n.to_string()));
            sent.unwrap();
        }
        let full = held.borrow()[0].outgoing.send(Bytes::from_static(b"one too many"));
        assert_eq!(full, Err(SendError::Full));
        for n in 0..MESSAGES_MAX {
            let came = sim.run(link.incoming.recv()).unwrap().unwrap();
            assert_eq!(came, n.to_string().as_bytes());
        }
        held.borrow_mut().clear();
        assert!(sim.run(link.incoming.recv()).unwrap().is_none(), "the node let go");
        let mut link = open("let me in").unwrap();
        sim.kill(&name(A));
        assert!(sim.run(link.incoming.recv()).unwrap().is_none(), "the node died");
        let late = sim.run(b.timeout(Duration::from_secs(5), b.stream(&name(A), ask("let me in"))));
        assert!(late.unwrap().unwrap().is_err());
    }
}
