//! HTTP exchanges of the virtual world: the objects themselves travel, with the delays and faults of
//! the network. Nothing is parsed or printed here.
//!
//! A connection is opened by the first exchange of a route (one round trip more) and used by all
//! later ones, in any order, until the server dies or the route is reset. A caller that goes away
//! takes no request back that was sent, but its connection closes, and the server drops what it was
//! doing for it when it learns of that.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{Request, Response};

use super::{
    core::Core,
    link::CONNECT_WITHIN,
    network::{BACK, Parcel, THERE, met_way_of, way_of},
    node::Life,
    tasks::{Rouse, Work},
};
use crate::{
    base::{name::NodeName, pool::Key},
    world::HttpError,
};

type Outcome = Result<Response<Bytes>, HttpError>;

/// Where an exchange is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The connection is asked for.
    Knocking,
    /// The connection was granted.
    Granted,
    /// The request is under way.
    Asking,
    /// A task of the server makes the response.
    Serving,
    /// The outcome is under way.
    Answering,
    /// The outcome is there.
    Done,
}

pub(super) struct Exchange {
    route: u32,
    /// It meets a fault that only a share meets.
    met: bool,
    server: u32,
    incarnation: u32,
    stage: Stage,
    /// The caller is gone.
    abandoned: bool,
    /// When the last step arrives (if nothing holds it up).
    due_ns: u64,
    /// The task of the server that makes the response.
    task: Key,
    caller: Option<Rouse>,
    request: Option<Request<Bytes>>,
    outcome: Option<Outcome>,
}

impl Exchange {
    /// Its way in one direction.
    fn way(&self, direction: u32) -> u32 {
        met_way_of(self.route, direction, self.met)
    }

    /// What the request has beside its head.
    fn asks_bytes(&self) -> usize {
        self.request.as_ref().map_or(0, |request| request.body().len())
    }
}

fn broken(why: &str) -> Outcome {
    Err(HttpError::Broken(why.into()))
}

fn not_connected(why: &str) -> Outcome {
    Err(HttpError::NotConnected(why.into()))
}

impl Core {
    /// Begins an exchange; the request is sent now.
    pub(super) fn http(
        self: &Rc<Self>,
        life: &Rc<Life>,
        to: &NodeName,
        request: Request<Bytes>,
    ) -> LocalBoxFuture<'static, Outcome> {
        if !life.is_alive() {
            return Box::pin(std::future::ready(not_connected("the caller died")));
        }
        let Some(route) = self.route_to(life, to) else {
            let why = format!("no node is called {to}");
            return Box::pin(std::future::ready(Err(HttpError::NotConnected(why))));
        };
        let (server, warm, met) = {
            let mut network = self.network.borrow_mut();
            let route = network.get_mut(route);
            (route.dialled, route.warm, route.draw_met())
        };
        let exchange = Exchange {
            route,
            met,
            server,
            incarnation: warm.unwrap_or(0),
            stage: if warm.is_some() { Stage::Asking } else { Stage::Knocking },
            abandoned: false,
            due_ns: 0,
            task: Key::NOBODY,
            caller: None,
            request: Some(request),
            outcome: None,
        };
        let bytes = if warm.is_some() { exchange.asks_bytes() } else { 0 };
        let way = exchange.way(THERE);
        let mut exchanges = self.exchanges.borrow_mut();
        let key = exchanges.insert(exchange);
        let due_ns = self.carry_bytes(bytes, way, Parcel::Exchange(key));
        if let Some(exchange) = exchanges.get_mut(key) {
            exchange.due_ns = due_ns;
        }
        drop(exchanges);
        if warm.is_none() {
            let at_ns = (self.now() + CONNECT_WITHIN).0;
            self.later(at_ns, move |core| core.give_up_connecting(key));
        }
        Box::pin(Exchanging { core: Rc::clone(self), key })
    }

    /// An exchange reaches an end of its route.
    pub(super) fn step_exchange(self: &Rc<Self>, key: Key) {
        let mut exchanges = self.exchanges.borrow_mut();
        let Some(exchange) = exchanges.get_mut(key) else { return };
        let route = exchange.route;
        match exchange.stage {
            Stage::Knocking | Stage::Granted | Stage::Answering if exchange.abandoned => {
                let gone = exchanges.remove(key);
                drop(exchanges);
                drop(gone);
            }
            Stage::Knocking => {
                self.knock_http(exchange);
                self.carry(exchange.way(BACK), Parcel::Exchange(key));
            }
            Stage::Granted => {
                self.network.borrow_mut().get_mut(route).warm = Some(exchange.incarnation);
                exchange.stage = Stage::Asking;
                let (bytes, way) = (exchange.asks_bytes(), exchange.way(THERE));
                exchange.due_ns = self.carry_bytes(bytes, way, Parcel::Exchange(key));
            }
            Stage::Asking => {
                let (server, incarnation) = (exchange.server, exchange.incarnation);
                let handler = self.nodes.borrow().handler_of(server, incarnation);
                // One of a share that is cut on a connection that goes on for the others.
                let cut =
                    exchange.met && self.network.borrow_mut().get_mut(route).is_reset(exchange.met);
                let handler = handler.filter(|_| !cut);
                if let (Some(handler), Some(request)) = (handler, exchange.request.take()) {
                    exchange.stage = Stage::Serving;
                    drop(exchanges);
                    let answer = handler(request);
                    self.serve(server, key, answer);
                } else {
                    exchange.stage = Stage::Answering;
                    exchange.outcome = Some(broken("connection reset by peer"));
                    self.carry(exchange.way(BACK), Parcel::Exchange(key));
                }
            }
            Stage::Answering => {
                exchange.stage = Stage::Done;
                if matches!(exchange.outcome, Some(Err(_))) {
                    self.cool(route, exchange.incarnation);
                }
                if let Some(caller) = exchange.caller.take() {
                    drop(exchanges);
                    self.rouse_now(caller);
                }
            }
            Stage::Serving | Stage::Done => {}
        }
    }

    /// Lets a task of the server make the response.
    fn serve(
        self: &Rc<Self>,
        server: u32,
        key: Key,
        answer: LocalBoxFuture<'static, Response<Bytes>>,
    ) {
        let mut exchanges = self.exchanges.borrow_mut();
        let Some(exchange) = exchanges.get_mut(key).filter(|_| self.is_alive(server)) else {
            // The handler's first words killed its own node, or cut the route.
            drop(exchanges);
            drop(answer);
            return;
        };
        let task = self.tasks.borrow_mut().insert(server, Work::Answer(answer, key));
        exchange.task = task;
        drop(exchanges);
        self.poll(task);
    }

    /// The connection was not granted in time.
    fn give_up_connecting(&self, key: Key) {
        let mut exchanges = self.exchanges.borrow_mut();
        let Some(exchange) = exchanges.get_mut(key) else { return };
        if exchange.abandoned || !matches!(exchange.stage, Stage::Knocking | Stage::Granted) {
            return;
        }
        exchange.stage = Stage::Done;
        exchange.outcome = Some(not_connected("no answer to the connect in time"));
        let caller = exchange.caller.take();
        drop(exchanges);
        if let Some(caller) = caller {
            self.rouse(caller);
        }
    }

    /// The caller closed the connection of an exchange: nobody wants the response any more, so the
    /// server drops what it was doing for it.
    fn hang_up(&self, key: Key) {
        let mut exchanges = self.exchanges.borrow_mut();
        let serving = exchanges.get_mut(key).filter(|one| one.stage == Stage::Serving);
        let Some(task) = serving.map(|exchange| exchange.task) else { return };
        let gone = exchanges.remove(key);
        drop(exchanges);
        let work = self.tasks.borrow_mut().cancel(task);
        drop((gone, work));
    }

    /// The server's side of opening a connection.
    fn knock_http(&self, exchange: &mut Exchange) {
        exchange.stage = Stage::Answering;
        if self.network.borrow_mut().get_mut(exchange.route).is_reset(exchange.met) {
            exchange.outcome = Some(broken("connection reset"));
            return;
        }
        match self.nodes.borrow().serving(exchange.server) {
            None => exchange.outcome = Some(not_connected("connection refused")),
            Some(incarnation) => {
                exchange.incarnation = incarnation;
                exchange.stage = Stage::Granted;
            }
        }
    }

    /// A task of the server has made the response.
    pub(super) fn respond(&self, key: Key, response: Response<Bytes>) {
        let mut exchanges = self.exchanges.borrow_mut();
        let Some(exchange) = exchanges.get_mut(key) else { return };
        if exchange.stage != Stage::Serving {
            return;
        }
        if exchange.abandoned {
            let gone = exchanges.remove(key);
            drop(exchanges);
            drop(gone);
            return;
        }
        let bytes = response.body().len();
        exchange.outcome = Some(Ok(response));
        exchange.stage = Stage::Answering;
        self.carry_bytes(bytes, exchange.way(BACK), Parcel::Exchange(key));
    }

    /// The server of some exchanges died: what it worked on breaks, once its peers learn of it.
    pub(super) fn sever_exchanges(self: &Rc<Self>, node: u32, incarnation: u32) {
        let mut exchanges = self.exchanges.borrow_mut();
        for key in exchanges.keys_where(|one| one.server == node && one.stage == Stage::Serving) {
            let Some(exchange) = exchanges.get_mut(key) else { continue };
            exchange.outcome = Some(broken("the server died"));
            exchange.stage = Stage::Answering;
            self.carry(exchange.way(BACK), Parcel::Exchange(key));
        }
        drop(exchanges);
        self.network.borrow_mut().cool_from(node);
        let warm = self.network.borrow().warm_to(node);
        for route in warm {
            let close = move |core: &Rc<Self>| core.cool(route, incarnation);
            self.carry(way_of(route, BACK), Parcel::Call(Box::new(close)));
        }
    }

    /// The dialler learns that its connection to that incarnation is closed.
    fn cool(&self, route: u32, incarnation: u32) {
        let mut network = self.network.borrow_mut();
        let warm = &mut network.get_mut(route).warm;
        *warm = warm.filter(|&open| open != incarnation);
    }

    /// Cuts every exchange of a route at once; or those that meet what a share meets.
    pub(super) fn reset_exchanges(&self, route: u32, met_alone: bool) {
        if !met_alone {
            self.network.borrow_mut().get_mut(route).warm = None;
        }
        let (mut wake, mut served) = (Vec::new(), Vec::new());
        let mut exchanges = self.exchanges.borrow_mut();
        let hit = |one: &Exchange| one.route == route && (one.met || !met_alone);
        for key in exchanges.keys_where(|one| hit(one) && one.stage != Stage::Done) {
            let Some(exchange) = exchanges.get_mut(key) else { continue };
            if exchange.stage == Stage::Serving {
                served.push(exchange.task);
            }
            if exchange.abandoned {
                exchanges.remove(key);
                continue;
            }
            let sent = !matches!(exchange.stage, Stage::Knocking | Stage::Granted);
            let why = "connection reset";
            exchange.outcome = Some(if sent { broken(why) } else { not_connected(why) });
            exchange.stage = Stage::Done;
            wake.extend(exchange.caller.take());
        }
        drop(exchanges);
        for caller in wake {
            self.rouse(caller);
        }
        // The server's end of the connection is closed as well.
        for task in served {
            let work = self.tasks.borrow_mut().cancel(task);
            drop(work);
        }
    }
}

/// The caller's side.
struct Exchanging {
    core: Rc<Core>,
    key: Key,
}

impl Future for Exchanging {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut exchanges = self.core.exchanges.borrow_mut();
        let Some(exchange) = exchanges.get_mut(self.key) else {
            return Poll::Ready(broken("the world has ended"));
        };
        if exchange.stage == Stage::Done {
            let outcome = exchange.outcome.take();
            exchanges.discard(self.key);
            drop(exchanges);
            self.key = Key::NOBODY;
            return Poll::Ready(outcome.unwrap_or_else(|| broken("no outcome")));
        }
        let waker = context.waker();
        if exchange.caller.as_ref().is_none_or(|known| !self.core.reaches(known, waker)) {
            let old = exchange.caller.replace(self.core.rouse_of(waker));
            drop(exchanges);
            drop(old);
        }
        Poll::Pending
    }
}

impl Drop for Exchanging {
    fn drop(&mut self) {
        if self.key == Key::NOBODY {
            return;
        }
        let mut exchanges = self.core.exchanges.borrow_mut();
        let Some(exchange) = exchanges.get_mut(self.key) else { return };
        exchange.abandoned = true;
        if matches!(exchange.stage, Stage::Asking | Stage::Serving) {
            // Sent behind the request, so it arrives behind it.
            let (key, way) = (self.key, exchange.way(THERE));
            let parcel = Parcel::Call(Box::new(move |core: &Rc<Core>| core.hang_up(key)));
            self.core.carry_after(exchange.due_ns, way, parcel);
        }
        let caller = exchange.caller.take();
        let done = if exchange.stage == Stage::Done { exchanges.remove(self.key) } else { None };
        drop(exchanges);
        drop((caller, done));
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;
    use crate::{
        base::time::Time,
        world::{
            HttpHandler, TimedOut,
            virtual_::{
                LinkFault,
                tests::{A, B, ask, name, plain, serve},
            },
        },
    };

    #[test]
    fn http_takes_a_round_trip_and_one_more_to_connect() {
        let sim = plain("http");
        serve(&sim, A, Duration::from_millis(5));
        let b = sim.node(&name(B));
        let timed = |body: &'static str| {
            let start = sim.now();
            let answer = sim.run(b.http(&name(A), ask(body))).unwrap().unwrap();
            assert_eq!(answer.body(), body.as_bytes());
            sim.now() - start
        };
        assert_eq!(timed("first"), Duration::from_millis(45));
        assert_eq!(timed("second"), Duration::from_millis(25));
        sim.impair(&name(B), &name(A), LinkFault::slow(Duration::from_millis(100), Duration::ZERO));
        assert_eq!(timed("slow"), Duration::from_millis(225));
        assert_eq!(sim.core().exchanges.borrow().slots(), 1);
    }

    #[test]
    fn http_tells_what_the_server_can_have_seen() {
        let sim = plain("http faults");
        let b = sim.node(&name(B));
        let a = sim.node(&name(A));
        let go = |body| sim.run(b.http(&name(A), ask(body))).unwrap();
        assert!(matches!(go("nobody serves"), Err(HttpError::NotConnected(_))));
        let unknown = sim.run(b.http(&name("c/none-1"), ask(""))).unwrap();
        assert!(matches!(unknown, Err(HttpError::NotConnected(_))));
        serve(&sim, A, Duration::from_secs(1));
        assert!(go("fine").is_ok());
        assert!(
            sim.run(a.serve_http(Rc::new(|_| unreachable!()))).unwrap().is_err(),
            "once a node"
        );

        // It dies in the middle of the work.
        let (here, start) = (sim.clone(), sim.now());
        b.spawn(async move {
            here.sleep(Duration::from_millis(300)).await;
            here.kill(&name(A));
        });
        assert!(matches!(go("in the middle"), Err(HttpError::Broken(_))));
        assert_eq!(sim.now() - start, Duration::from_millis(310));
        assert!(matches!(go("dead"), Err(HttpError::NotConnected(_))));

        // It dies while the request is on an open connection to it.
        serve(&sim, A, Duration::ZERO);
        assert!(go("fine again").is_ok());
        sim.kill(&name(A));
        assert!(matches!(go("too late"), Err(HttpError::Broken(_))));
        assert_eq!(sim.core().exchanges.borrow().len(), 0);
    }

    #[test]
    fn a_request_is_handled_though_its_caller_gave_up() {
        let sim = plain("gave up");
        let handled = Rc::new(Cell::new(0));
        let a = sim.node(&name(A));
        let count = Rc::clone(&handled);
        let answer: HttpHandler = Rc::new(move |_| {
            count.set(count.get() + 1);
            Box::pin(std::future::ready(Response::new(Bytes::new())))
        });
        sim.run(a.serve_http(answer)).unwrap().unwrap();
        let b = sim.node(&name(B));
        sim.run(b.http(&name(A), ask(""))).unwrap().unwrap();
        let late = sim.run(b.timeout(Duration::from_millis(1), b.http(&name(A), ask("")))).unwrap();
        assert!(late.is_err());
        assert_eq!(handled.get(), 1);
        sim.run_until(Time::from_secs_f64(1.0)).unwrap();
        assert_eq!((handled.get(), sim.core().exchanges.borrow().len()), (2, 0));
        // Held by a black hole, and handled when that ends.
        sim.partition(&name(A), &name(B));
        let late = sim.run(b.timeout(Duration::from_secs(5), b.http(&name(A), ask("")))).unwrap();
        assert_eq!((late.is_err(), handled.get()), (true, 2));
        sim.impair(&name(B), &name(A), LinkFault::NONE);
        sim.run_until(Time::from_secs_f64(60.0)).unwrap();
        assert_eq!((handled.get(), sim.core().exchanges.borrow().len()), (3, 0));
    }

    #[test]
    fn a_server_drops_what_nobody_waits_for() {
        let sim = plain("hang up");
        serve(&sim, A, Duration::from_secs(100));
        let b = sim.node(&name(B));
        let late = sim.run(b.timeout(Duration::from_secs(1), b.http(&name(A), ask("")))).unwrap();
        assert_eq!(late.unwrap_err(), TimedOut);
        assert_eq!((sim.core().exchanges.borrow().len(), sim.core().agenda.borrow().len()), (1, 3));
        sim.run_until(sim.now() + Duration::from_millis(10)).unwrap();
        // What is left is the time-out of the connect.
        assert_eq!((sim.core().exchanges.borrow().len(), sim.core().agenda.borrow().len()), (0, 1));
        // A caller that dies hangs up too.
        let env = b.clone();
        b.spawn(async move { drop(env.http(&name(A), ask("")).await) });
        sim.run_until(sim.now() + Duration::from_millis(50)).unwrap();
        assert_eq!(sim.core().exchanges.borrow().len(), 1);
        sim.kill(&name(B));
        sim.run_until(sim.now() + Duration::from_millis(10)).unwrap();
        assert_eq!(sim.core().exchanges.borrow().len(), 0);
    }
}
