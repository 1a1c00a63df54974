//! Links of the virtual world: two pipes between two nodes. A pipe keeps its frames in order, holds
//! no more than its limit, and ends when its sender closes it, dies, or is cut off.

use std::{collections::VecDeque, rc::Rc, time::Duration};

use bytes::Bytes;
use futures_util::{
    future::{Either, LocalBoxFuture, select},
    pin_mut,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    core::{Core, Event, Sleep},
    network::{BACK, Parcel, THERE, met_way_of},
    node::Life,
    tasks::Work,
};
use crate::{
    base::{name::NodeName, pool::Key},
    world::link::{DialError, FRAME_BYTES_MAX, FRAMES_MAX, Link, Listener, Outgoing, SendError},
};

/// Links that may wait to be accepted by a node; more are refused.
const ACCEPT_MAX: usize = 4_096;
/// Bytes that may be under way in one direction; beyond it the link counts as full.
const FLIGHT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a dial may take, as in the real world.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(2);

enum Item {
    Frame(Bytes),
    End,
}

/// The receiving end of a pipe; dropping it ends it.
struct Inbox {
    frames: mpsc::Sender<Bytes>,
    /// Lets go of the task that watches whether the receiver lets go.
    _watched: oneshot::Sender<()>,
}

/// One direction of a link.
struct Pipe {
    /// To the receiving end; gone when the pipe has ended there.
    inbox: Option<Inbox>,
    /// Under way, with the time of their arrival, which never goes down.
    flight: VecDeque<(u64, Item)>,
    flight_bytes: usize,
    last_ns: u64,
    /// An event for the first item is planned (or held by a fault).
    planned: bool,
    /// The sender may send no more.
    closing: bool,
}

/// A link: `pipes[0]` from the dialler, `pipes[1]` to it.
pub(super) struct LinkState {
    route: u32,
    /// It meets a fault that only a share meets.
    met: bool,
    /// The nodes that send into the pipes.
    senders: [u32; 2],
    pipes: [Pipe; 2],
}

impl LinkState {
    fn has_ended(&self) -> bool {
        self.pipes.iter().all(|pipe| pipe.inbox.is_none())
    }
}

impl Pipe {
    fn new(frames: mpsc::Sender<Bytes>, watched: oneshot::Sender<()>) -> Self {
        Self {
            inbox: Some(Inbox { frames, _watched: watched }),
            flight: VecDeque::new(),
            flight_bytes: 0,
            last_ns: 0,
            planned: false,
            closing: false,
        }
    }

    /// Frames under way and frames that wait at the receiver share one limit.
    fn is_full(&self, frame_bytes: usize) -> bool {
        if self.flight_bytes + frame_bytes > FLIGHT_BYTES_MAX {
            return true;
        }
        self.inbox.as_ref().is_some_and(|inbox| self.flight.len() >= inbox.frames.capacity())
    }
}

impl Core {
    /// Queues an item on a pipe; the caller has checked that it may.
    fn push(&self, link: &mut LinkState, key: Key, direction: u32, item: Item) {
        let way = met_way_of(link.route, direction, link.met);
        let bytes = match &item {
            Item::Frame(frame) => frame.len(),
            Item::End => 0,
        };
        let delay_ns = self.network.borrow_mut().delay_ns(way, bytes, self.now_ns());
        let pipe = &mut link.pipes[direction as usize];
        pipe.last_ns = pipe.last_ns.max(self.now_ns().saturating_add(delay_ns));
        pipe.flight.push_back((pipe.last_ns, item));
        if !pipe.planned {
            pipe.planned = true;
            self.plan(pipe.last_ns, Event::Arrive(way, Parcel::Frames(key, direction)));
        }
    }

    fn send_frame(&self, key: Key, direction: u32, frame: Bytes) -> Result<(), SendError> {
        let mut links = self.links.borrow_mut();
        let link = links.get_mut(key).ok_or(SendError::Closed)?;
        let pipe = &mut link.pipes[direction as usize];
        if pipe.closing {
            return Err(SendError::Closed);
        }
        if frame.len() > FRAME_BYTES_MAX {
            drop(links);
            self.close_pipe(key, direction);
            return Err(SendError::Closed);
        }
        if pipe.is_full(frame.len()) {
            return Err(SendError::Full);
        }
        // The receiver is dead and the sender does not know yet: the frame is lost on the way.
        if pipe.inbox.is_some() {
            pipe.flight_bytes += frame.len();
            self.push(link, key, direction, Item::Frame(frame));
        }
        Ok(())
    }

    /// The sender closes its pipe; the receiver sees it after the frames before.
    fn close_pipe(&self, key: Key, direction: u32) {
        let mut links = self.links.borrow_mut();
        if let Some(link) = links.get_mut(key)
            && !std::mem::replace(&mut link.pipes[direction as usize].closing, true)
        {
            self.push(link, key, direction, Item::End);
        }
    }

    /// Hands over what is due, and plans the rest.
    pub(super) fn deliver_frames(&self, key: Key, direction: u32) {
        let mut links = self.links.borrow_mut();
        let Some(link) = links.get_mut(key) else { return };
        let pipe = &mut link.pipes[direction as usize];
        let mut ended = false;
        while let Some((_, item)) = pipe.flight.pop_front_if(|(at, _)| *at <= self.now_ns()) {
            match (item, &pipe.inbox) {
                // A receiver that nobody reads any more: the frame is lost, as on a real stream.
                (Item::Frame(frame), inbox) => {
                    pipe.flight_bytes -= frame.len();
                    if let Some(inbox) = inbox {
                        drop(inbox.frames.try_send(frame));
                    }
                }
                (Item::End, _) => ended = true,
            }
        }
        pipe.planned = false;
        if let Some(&(at, _)) = pipe.flight.front() {
            pipe.planned = true;
            let parcel = Parcel::Frames(key, direction);
            let way = met_way_of(link.route, direction, link.met);
            self.plan(at, Event::Arrive(way, parcel));
        }
        if !ended {
            return;
        }
        pipe.inbox = None;
        let other = 1 - direction;
        let back = &mut link.pipes[other as usize];
        if !std::mem::replace(&mut back.closing, true) && back.inbox.is_some() {
            self.push(link, key, other, Item::End);
        }
        if link.has_ended() {
            links.remove(key);
        }
    }

    /// Closes the links of a node that died: its peers learn of it as far as the network lets them.
    pub(super) fn sever_links(&self, node: u32) {
        let mut links = self.links.borrow_mut();
        for key in links.keys_where(|link| link.senders.contains(&node)) {
            let Some(link) = links.get_mut(key) else { continue };
            for direction in [THERE, BACK] {
                if link.senders[direction as usize] != node {
                    continue;
                }
                let inward = &mut link.pipes[1 - direction as usize];
                inward.inbox = None;
                inward.flight.clear();
                inward.flight_bytes = 0;
                let outward = &mut link.pipes[direction as usize];
                if !std::mem::replace(&mut outward.closing, true) && outward.inbox.is_some() {
                    self.push(link, key, direction, Item::End);
                }
            }
            if link.has_ended() {
                links.remove(key);
            }
        }
    }

    /// Cuts every link of a route at once, at both ends; or those that meet what a share meets.
    pub(super) fn reset_links(&self, route: u32, met_alone: bool) {
        let mut links = self.links.borrow_mut();
        for key in links.keys_where(|link| link.route == route && (link.met || !met_alone)) {
            links.remove(key);
        }
    }

    /// Draws for every link of a route whether it meets what only a share meets.
    pub(super) fn draw_links(&self, route: u32) {
        let mut links = self.links.borrow_mut();
        for key in links.keys_where(|link| link.route == route) {
            if let Some(link) = links.get_mut(key) {
                link.met = self.network.borrow_mut().get_mut(route).draw_met();
            }
        }
    }

    /// Opens a link on which so many frames may wait each way; both ends of it, the dialler's first.
    pub(super) fn open(
        self: &Rc<Self>,
        (route, met): (u32, bool),
        ends: [&Rc<Life>; 2],
        frames_max: usize,
    ) -> [Link; 2] {
        let [near_pipe, far_pipe] = [(); 2].map(|()| mpsc::channel(frames_max));
        let [near_end, far_end] = [(); 2].map(|()| oneshot::channel());
        let pipes =
            [Pipe::new(far_pipe.0.clone(), far_end.0), Pipe::new(near_pipe.0.clone(), near_end.0)];
        let senders = [ends[0].node, ends[1].node];
        let key = self.links.borrow_mut().insert(LinkState { route, met, senders, pipes });
        let end = |direction: u32, inbox, incoming, ended| {
            let life = Rc::clone(ends[direction as usize]);
            let watch = watch(Rc::clone(self), key, direction, inbox, ended);
            self.spawn(life.node, Work::Plain(Box::pin(watch)));
            let outgoing = Rc::new(Sending { core: Rc::clone(self), life, key, direction });
            Link { outgoing, incoming }
        };
        [
            end(THERE, near_pipe.0, near_pipe.1, near_end.1),
            end(BACK, far_pipe.0, far_pipe.1, far_end.1),
        ]
    }

    /// Dials; the outcome comes after a round trip.
    pub(super) fn dial(
        self: &Rc<Self>,
        life: &Rc<Life>,
        to: &NodeName,
    ) -> LocalBoxFuture<'static, Result<Link, DialError>> {
        let Some(route) = self.route_to(life, to) else {
            return Box::pin(std::future::ready(Err(DialError::UnknownName(to.clone()))));
        };
        let (done, outcome) = oneshot::channel();
        let (dialler, name) = (Rc::clone(life), to.clone());
        let met = self.network.borrow_mut().get_mut(route).draw_met();
        let knock: Parcel = Parcel::Call(Box::new(move |core| {
            let answer = core.knock((route, met), &dialler, &name);
            let reply = Parcel::Call(Box::new(move |_: &Rc<Self>| drop(done.send(answer))));
            core.carry(met_way_of(route, BACK, met), reply);
        }));
        if life.is_alive() {
            self.carry(met_way_of(route, THERE, met), knock);
        }
        let (to, alarm) = (to.clone(), Sleep::new(Rc::clone(self), self.now() + CONNECT_WITHIN));
        Box::pin(async move {
            let why = match select(outcome, alarm).await {
                Either::Left((Ok(outcome), _)) => return outcome,
                Either::Left(_) => "the dialler died".into(),
                Either::Right(_) => format!("no answer within {CONNECT_WITHIN:?}"),
            };
            Err(DialError::Unreachable { to, why })
        })
    }

    /// Somebody wants a link to the node at the end of `route`.
    fn knock(
        self: &Rc<Self>,
        (route, met): (u32, bool),
        dialler: &Rc<Life>,
        to: &NodeName,
    ) -> Result<Link, DialError> {
        let refused = |why: &str| DialError::Unreachable { to: to.clone(), why: why.into() };
        let (node, cut) = {
            let mut network = self.network.borrow_mut();
            let route = network.get_mut(route);
            (route.dialled, route.is_reset(met))
        };
        let Some((life, listener)) = self.nodes.borrow().listener_of(node) else {
            return Err(refused("connection refused"));
        };
        if !dialler.is_alive() {
            return Err(refused("the dialler died"));
        }
        let [near, far] = self.open((route, met), [dialler, &life], FRAMES_MAX);
        if cut {
            // Opened and cut at once, as a proxy in between does.
            self.reset_links(route, met);
            return Ok(near);
        }
        match listener.try_send(far) {
            Ok(()) => Ok(near),
            Err(mpsc::error::TrySendError::Full(_)) => Err(refused("too many wait to be accepted")),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(refused("connection refused")),
        }
    }

    /// Accepts links to a node.
    pub(super) fn listen(&self, life: &Life) -> Result<Listener, DialError> {
        let (sender, listener) = mpsc::channel(ACCEPT_MAX);
        if life.is_alive() && self.nodes.borrow_mut().set_listener(life.node, sender) {
            return Ok(listener);
        }
        let why = if life.is_alive() { "this node listens already" } else { "this node is dead" };
        Err(DialError::CannotListen { address: life.name.to_string(), why: why.into() })
    }
}

/// Closes a link as soon as one end lets go of its receiving half.
async fn watch(
    core: Rc<Core>,
    key: Key,
    direction: u32,
    inbox: mpsc::Sender<Bytes>,
    ended: oneshot::Receiver<()>,
) {
    let let_go = {
        let closed = inbox.closed();
        pin_mut!(closed);
        matches!(select(ended, closed).await, Either::Right(_))
    };
    drop(inbox);
    if let_go {
        core.close_pipe(key, direction);
    }
}

/// The sending half of one end.
struct Sending {
    core: Rc<Core>,
    life: Rc<Life>,
    key: Key,
    direction: u32,
}

impl Outgoing for Sending {
    fn send(&self, frame: Bytes) -> Result<(), SendError> {
        if !self.life.is_alive() {
            return Err(SendError::Closed);
        }
        self.core.send_frame(self.key, self.direction, frame)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.life.is_alive() {
            self.core.close_pipe(self.key, self.direction);
        }
    }
}
