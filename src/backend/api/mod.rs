//! The API tier: HTTP and JSON outside, rpc inside. Thin: it checks who asks and what, calls one
//! service or flow, and says in JSON what came back. It decides nothing and keeps nothing.

pub mod audit;
pub mod customer;
pub mod driver;
pub mod json;
pub mod limits;
pub mod near;
mod planted;
pub mod reply;
pub mod rules;
pub mod session;
pub mod streams;

use std::{cell::Cell, rc::Rc, time::Duration};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, ready};
use http::{Method, Request, Response, header};
use serde::de::DeserializeOwned;

use super::{
    node::Node,
    plants,
    platform::{
        meter::Served,
        phosphor::Mark,
        rpc::{Code, Policy, Router, refuse},
        server::{InFlight, Server},
        token::Role,
    },
};
use crate::{
    base::time::Time,
    world::{HttpHandler, link::DialError},
};
use limits::Limits;
use planted::Planted;
use reply::Refused;
use rules::Rules;

/// The largest body that is read.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Flows: the deadline lies below the patience of an app, so that it hears what is certain.
pub const FLOW: Policy = Policy {
    deadline: Duration::from_millis(1_900),
    attempt: Duration::from_millis(1_700),
    idempotent: true,
};
/// Reads: nothing is lost by asking another instance.
pub const READ: Policy = Policy {
    deadline: Duration::from_millis(1_800),
    attempt: Duration::from_millis(1_200),
    idempotent: true,
};
/// Pings: the next one is worth more than a late one.
pub const PING: Policy = Policy {
    deadline: Duration::from_millis(900),
    attempt: Duration::from_millis(450),
    idempotent: true,
};

/// One request, let in.
pub struct Call {
    /// This node.
    pub node: Rc<Node>,
    /// Who asks; 0 where no token is needed.
    pub account: u64,
    /// What was sent.
    pub body: Bytes,
    /// What all requests of this node share.
    pub shared: Rc<Shared>,
    /// Planted: it is one too many, which is said when all is done.
    too_many: bool,
    /// Where it is counted, until it is answered.
    asked: Option<Asked>,
}

/// A request that was let in: in flight, and timed, for as long as it lives.
struct Asked {
    node: Rc<Node>,
    served: Rc<Served>,
    begun: Time,
    _in_flight: InFlight,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.served.took(self.node.env.now().since(self.begun));
    }
}

/// What all requests of a node share.
pub struct Shared {
    /// Counts what is in flight.
    server: Server,
    /// Every path, and what is counted of it.
    routes: Vec<(&'static Route, Rc<Served>)>,
    /// Rosters that are being asked about drivers whom an index does not know.
    pub admitting: Cell<usize>,
    /// Which implementation answers whom, where a path has two.
    pub rules: Rules,
    /// What each account may ask.
    limits: Limits,
    /// The bugs that are planted.
    pub planted: Planted,
}

impl Call {
    /// The body as a value.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        serde_json::from_slice(&self.body).map_err(|error| {
            if self.node.planted(plants::BAD_INPUT_500) {
                return refuse(Code::Internal, error.to_string()).into();
            }
            Refused::invalid(&error.to_string())
        })
    }
}

/// One path.
pub struct Route {
    /// Where.
    pub path: &'static str,
    /// Whose token is needed.
    pub role: Option<Role>,
    /// What answers.
    pub run: Run,
    /// What answers a part of the traffic in its stead: see [`Rules`].
    pub newer: Option<Run>,
}

/// What answers a request.
pub type Run = fn(Call) -> LocalBoxFuture<'static, Response<Bytes>>;

/// A route in a table.
macro_rules! route {
    ($path:literal, $role:expr, $handler:path) => {
        $crate::backend::api::Route {
            path: $path,
            role: $role,
            run: |call| Box::pin($crate::backend::api::answer(call, $handler)),
            newer: None,
        }
    };
    ($path:literal, $role:expr, $old:path => $new:path) => {
        $crate::backend::api::Route {
            newer: Some(|call| Box::pin($crate::backend::api::answer(call, $new))),
            ..route!($path, $role, $old)
        }
    };
}
pub(crate) use route;

/// Has a request answered, and counts how it ended.
async fn answer<F: Future<Output = reply::Reply>>(
    mut call: Call,
    handler: impl FnOnce(Call) -> F,
) -> Response<Bytes> {
    let asked = call.asked.take();
    let reply = handler(call).await;
    if let Some(asked) = asked.filter(|_| reply.as_ref().is_err_and(Refused::is_failure)) {
        asked.served.failed();
    }
    reply::to_http(reply)
}

/// The paths that have two implementations.
pub fn doubled() -> impl Iterator<Item = &'static str> {
    let all = ROUTES.iter().flat_map(|routes| routes.iter());
    all.filter(|route| route.newer.is_some()).map(|route| route.path)
}

/// Every path of the API but `GET /health`, which the node itself answers.
pub const ROUTES: [&[Route]; 4] =
    [driver::ROUTES, customer::ROUTES, audit::ROUTES, session::ROUTES];

/// Adds this tier's rpc endpoints, and takes streams; what answers HTTP comes after it.
pub fn mount(node: &Node, router: &mut Router) -> Result<(), DialError> {
    streams::mount(node, router)
}

/// What answers HTTP requests at this node, counted by its `server` like calls; the node itself
/// answers GET /health.
pub fn handler(node: &Node, server: &Server) -> HttpHandler {
    let all = ROUTES.iter().flat_map(|routes| routes.iter());
    let shared = Shared {
        server: server.clone(),
        routes: all.map(|route| (route, server.counting(route.path))).collect(),
        admitting: Cell::default(),
        rules: Rules::new(node.config.settings.product.routes.clone()),
        limits: Limits::default(),
        planted: Planted::of(node),
    };
    let (node, shared) = (Rc::new(node.clone()), Rc::new(shared));
    let own = Rc::clone(&shared);
    node.live.on_change(move |settings| own.rules.swap(settings.product.routes.clone()));
    Rc::new(move |request| serve(&node, &shared, request))
}

fn serve(
    node: &Rc<Node>,
    shared: &Rc<Shared>,
    request: Request<Bytes>,
) -> LocalBoxFuture<'static, Response<Bytes>> {
    let mark = Mark::of_headers(request.headers());
    match let_in(node, shared, request) {
        Ok((route, call)) => {
            let newer = route.newer.filter(|_| shared.rules.is_new(route.path, call.account));
            let run = newer.unwrap_or(route.run);
            let (too_many, unknown) = (call.too_many, node.planted(plants::UNKNOWN_ID_500));
            let answer = if shared.planted.lets_pass() {
                node.rpc.phosphor().answers(mark, route.path, run(call))
            } else {
                let (node, shared) = (Rc::clone(node), Rc::clone(shared));
                Box::pin(async move { shared.planted.through_pool(&node, run(call)).await })
            };
            if too_many || unknown {
                return Box::pin(reply::spoiled(answer, too_many));
            }
            answer
        }
        Err(refused) => Box::pin(ready(reply::to_http(Err(refused)))),
    }
}

/// Counts one thing that is under way for as long as it is: also when its client goes away.
pub struct Counted {
    shared: Rc<Shared>,
    of: fn(&Shared) -> &Cell<usize>,
}

impl Counted {
    /// One more.
    pub fn new(shared: &Rc<Shared>, of: fn(&Shared) -> &Cell<usize>) -> Self {
        of(shared).set(of(shared).get() + 1);
        Self { shared: Rc::clone(shared), of }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let count = (self.of)(&self.shared);
        count.set(count.get() - 1);
    }
}

/// Finds the route and checks the token, or says why not.
fn let_in(
    node: &Rc<Node>,
    shared: &Rc<Shared>,
    request: Request<Bytes>,
) -> Result<(&'static Route, Call), Refused> {
    let path = request.uri().path();
    let found = shared.routes.iter().find(|(route, _)| route.path == path);
    let (route, served) = found.ok_or_else(|| Refused::not_found("no such path"))?;
    if request.method() != Method::POST {
        return Err(Refused::method());
    }
    let in_flight = shared.server.enter().ok_or_else(Refused::limited)?;
    if request.body().len() > BODY_BYTES_MAX {
        return Err(Refused::too_large(BODY_BYTES_MAX));
    }
    let account = match route.role {
        Some(role) => account_of(node, &request, role)?,
        None => 0,
    };
    let limited = route.role.is_some_and(|role| role != Role::Auditor);
    let too_many = limited && !shared.limits.take(account, node.env.now());
    if too_many && !node.planted(plants::LIMITED_AFTER_EFFECT) {
        return Err(Refused::limited());
    }
    let body = request.into_body();
    served.ask();
    let (node, shared, served) = (Rc::clone(node), Rc::clone(shared), Rc::clone(served));
    let begun = node.env.now();
    let asked = Some(Asked { node: Rc::clone(&node), served, begun, _in_flight: in_flight });
    Ok((route, Call { node, account, body, shared, too_many, asked }))
}

/// The account of the bearer, who must play that role.
pub(super) fn account_of(
    node: &Node,
    request: &Request<Bytes>,
    role: Role,
) -> Result<u64, Refused> {
    let header = request.headers().get(header::AUTHORIZATION);
    let token = header
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .ok_or_else(|| Refused::unauthenticated("a bearer token is needed"))?;
    let claims = node
        .verifier
        .verify(token, node.env.wall())
        .map_err(|error| Refused::unauthenticated(&error.to_string()))?;
    if claims.role != role {
        return Err(Refused::forbidden("the token is of another kind of account"));
    }
    Ok(claims.account)
}
