//! Streams to apps: offers to drivers, changes of a job to both sides. What is pushed is a hint: it is
//! read afresh when an event says that something changed, and an app that missed it hears it with its
//! next question. One stream an account and node, and the newest wins. A client that does not read is
//! let go of as soon as its queue is full: it comes back, and is told how things stand.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use serde::Serialize;

use super::{
    READ, account_of,
    json::{JobJson, OfferJson},
    reply::{Refused, to_http},
};
use crate::{
    backend::{
        node::Node,
        orchestration::events::{EVENT, job_of},
        plants,
        platform::{
            rpc::{Router, RpcError},
            token::Role,
        },
        wire::{ChangeEvent, Job, JobAnswer, JobAsk, Nothing, Pending, Standing, WhoseAsk},
    },
    world::{
        link::{DialError, Link, Outgoing},
        stream::Welcome,
    },
};

/// Streams that one node holds; beyond it they are refused with 429.
const STREAMS_MAX: usize = 20_000;
/// Jobs that are read at once because somebody listens; beyond it changes are not pushed.
const READS_MAX: usize = 512;
/// How often a silent stream says that it lives.
pub const BEAT_EVERY: Duration = Duration::from_secs(20);
const BEAT: Bytes = Bytes::from_static(br#"{"topic":"beat"}"#);
/// The paths of streams, and whose they are.
const PATHS: [(&str, Role); 2] =
    [("/v1/driver/stream", Role::Driver), ("/v1/customer/stream", Role::Passenger)];

/// The open streams of a node; a cheap handle.
#[derive(Clone)]
pub struct Streams(Rc<Inner>);

struct Inner {
    node: Node,
    open: RefCell<BTreeMap<u64, Open>>,
    /// Jobs that are being read, and the accounts for which they must be read again.
    reading: RefCell<BTreeMap<u64, BTreeSet<u64>>>,
    next: Cell<u64>,
}

struct Open {
    number: u64,
    outgoing: Rc<dyn Outgoing>,
}

/// One message to an app.
#[derive(Serialize)]
struct Push {
    topic: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    offer: Option<OfferJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<JobJson>,
}

/// Takes streams at this node, and hears of changes.
pub fn mount(node: &Node, router: &mut Router) -> Result<(), DialError> {
    let streams = Streams(Rc::new(Inner {
        node: node.clone(),
        open: RefCell::default(),
        reading: RefCell::default(),
        next: Cell::default(),
    }));
    let hears = streams.clone();
    router.on_sync(EVENT, move |event: ChangeEvent| {
        hears.heard(&event);
        Ok(Nothing {})
    });
    let beats = streams.clone();
    node.env.spawn(async move { beats.beat().await });
    node.env.serve_streams(Rc::new(move |request| streams.let_in(request)))
}

impl Streams {
    /// Checks who asks, as for any request.
    fn let_in(&self, request: &Request<Bytes>) -> Result<Welcome, Box<Response<Bytes>>> {
        let role = PATHS.iter().find(|(path, _)| *path == request.uri().path());
        let let_in = match role {
            None => Err(Refused::not_found("no such stream")),
            Some(_) if !self.0.node.is_ready() => Err(Refused::limited()),
            Some(_) if self.0.open.borrow().len() >= STREAMS_MAX => Err(Refused::limited()),
            Some((_, role)) => account_of(&self.0.node, request, *role).map(|who| (who, *role)),
        };
        let (account, role) = let_in.map_err(|refused| Box::new(to_http(Err(refused))))?;
        let this = self.clone();
        Ok(Box::new(move |link| this.take(account, role, link)))
    }

    fn take(&self, account: u64, role: Role, link: Link) {
        let Link { outgoing, mut incoming } = link;
        let number = self.0.next.get();
        self.0.next.set(number + 1);
        let older = self.0.open.borrow_mut().insert(account, Open { number, outgoing });
        drop(older);
        let this = self.clone();
        self.0.node.env.spawn(async move {
            this.welcome(account, role).await;
            // Apps have nothing to say here: what comes only keeps the way open.
            while incoming.recv().await.is_some() {}
            let mut open = this.0.open.borrow_mut();
            let ended = open.get(&account).is_some_and(|stream| stream.number == number);
            let gone = if ended { open.remove(&account) } else { None };
            drop(open);
            drop(gone);
        });
    }

    /// How things stand: whoever was away for a while has missed something.
    async fn welcome(&self, account: u64, role: Role) {
        let (rpc, ask) = (&self.0.node.rpc, WhoseAsk { account });
        if role == Role::Driver {
            let path = "/core/job/standing";
            if let Ok(standing) = rpc.call::<_, Standing>(path, &ask, READ).await
                && let Some(pending) = &standing.pending
            {
                self.offer(account, pending);
            }
            return;
        }
        let path = "/core/job/of_passenger";
        if let Ok(JobAnswer { job: Some(job) }) = rpc.call(path, &ask, READ).await {
            self.push(account, &Push { topic: "job", offer: None, job: Some(JobJson::of(&job)) });
        }
    }

    /// Something changed: whoever it concerns and listens here is told how it is now. One read a job
    /// at a time, so what is told never goes back.
    fn heard(&self, event: &ChangeEvent) {
        let Some(job) = job_of(event) else { return };
        let listening: Vec<u64> = {
            let open = self.0.open.borrow();
            event.whom.iter().copied().filter(|account| open.contains_key(account)).collect()
        };
        if listening.is_empty() {
            return;
        }
        let mut reading = self.0.reading.borrow_mut();
        if let Some(again) = reading.get_mut(&job) {
            return again.extend(listening);
        }
        if reading.len() >= READS_MAX {
            return;
        }
        reading.insert(job, listening.into_iter().collect());
        drop(reading);
        let this = self.clone();
        self.0.node.env.spawn(async move { this.tell(job).await });
    }

    async fn tell(&self, job: u64) {
        loop {
            let whom = {
                let mut reading = self.0.reading.borrow_mut();
                match reading.get_mut(&job).map(std::mem::take) {
                    Some(whom) if !whom.is_empty() => whom,
                    _ => {
                        reading.remove(&job);
                        return;
                    }
                }
            };
            let ask = JobAsk { job };
            let read: Result<JobAnswer, RpcError> =
                self.0.node.rpc.call("/core/job/get", &ask, READ).await;
            // Without an answer nothing is told: the next question of the app tells it.
            if let Ok(JobAnswer { job: Some(job) }) = read {
                for account in whom {
                    self.changed(account, &job);
                }
            }
        }
    }

    /// Tells an account how a job is now, as far as the job is its own.
    fn changed(&self, account: u64, job: &Job) {
        let offer = job.offers.iter().find(|offer| offer.driver == account);
        if job.passenger == account {
            self.push(
                self.to(account),
                &Push { topic: "job", offer: None, job: Some(JobJson::of(job)) },
            );
        } else if let Some(offer) = offer {
            let pending = Pending {
                offer: offer.id,
                job: job.id,
                pickup: job.pickup,
                dropoff: job.dropoff,
                expires_ms: offer.expires_ms,
                fare_minor: job.quoted_minor,
            };
            self.offer(account, &pending);
        } else if job.assignments.iter().any(|assignment| assignment.driver == account) {
            let job = Some(JobJson::of_driver(job, account));
            self.push(account, &Push { topic: "job", offer: None, job });
        }
    }

    /// Whose stream it goes to: the account's own, or, where the bug is planted, the one after it.
    fn to(&self, account: u64) -> u64 {
        let after = || self.0.open.borrow().range(account + 1..).next().map(|(next, _)| *next);
        let next = if self.0.node.planted(plants::PUSH_ASTRAY) { after() } else { None };
        next.unwrap_or(account)
    }

    fn offer(&self, account: u64, pending: &Pending) {
        let wall_ms = self.0.node.env.wall().0;
        if pending.expires_ms > wall_ms {
            let offer = Some(OfferJson::of(pending, wall_ms));
            self.push(account, &Push { topic: "offer", offer, job: None });
        }
    }

    fn push(&self, account: u64, push: &Push) {
        // What cannot be written is not pushed: it is a hint.
        if let Ok(text) = serde_json::to_vec(push) {
            self.send(account, text.into());
        }
    }

    /// Sends, and lets go of a client that does not read or is gone.
    fn send(&self, account: u64, message: Bytes) {
        let mut open = self.0.open.borrow_mut();
        let Some(stream) = open.get(&account) else { return };
        let gone = match stream.outgoing.send(message) {
            Ok(()) => None,
            Err(_) => open.remove(&account),
        };
        drop(open);
        drop(gone);
    }

    /// Lets clients tell a quiet stream from a dead one, until the node dies.
    async fn beat(&self) {
        loop {
            self.0.node.env.sleep(BEAT_EVERY).await;
            let all: Vec<u64> = self.0.open.borrow().keys().copied().collect();
            for account in all {
                self.send(account, BEAT);
            }
        }
    }
}
