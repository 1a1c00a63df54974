//! Federation: a broker follows the exchanges of another. It binds a queue of its own there with
//! every key that its users bind here, and publishes here what comes in. The queue outlives the
//! connection, so what is published while the way is cut arrives later, unless its time is over.
//! Nothing is copied twice: what came from another broker enters no queue of a federation.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{
    future::{Either, select},
    pin_mut,
};

use super::{
    client::{self, Simulated},
    frames::{Exchange, Queue},
    server::Broker,
};
use crate::{
    base::name::NodeName,
    world::broker::{BrokerError, Consumer, Session},
};

/// Between two attempts to reach the other broker.
const RECONNECT_EVERY: Duration = Duration::from_secs(1);
/// Messages under way between two brokers at once.
const PREFETCH: u16 = 1_000;
/// Messages that wait for a broker that is away; beyond it the oldest are dropped.
const LENGTH_MAX: u32 = 10_000;

/// Follows the exchanges called `federated` of `upstream`, for ever.
pub(super) async fn follow(broker: Broker, upstream: NodeName, federated: &'static [&'static str]) {
    let mut following: Vec<Following> =
        federated.iter().map(|name| Following::new(name, broker.env().name())).collect();
    loop {
        if let Ok(session) = client::connect(broker.env(), &upstream).await {
            // However it ends, it begins again.
            let _lost = connected(&broker, &session, &mut following).await;
        }
        broker.env().sleep(RECONNECT_EVERY).await;
    }
}

async fn connected(
    broker: &Broker,
    session: &Simulated,
    following: &mut [Following],
) -> Result<(), BrokerError> {
    for one in &mut *following {
        one.bound.clear();
        one.runs = false;
    }
    loop {
        let changed = broker.bindings_changed();
        pin_mut!(changed);
        for one in &mut *following {
            one.keep_up(broker, session).await?;
        }
        match select(changed, session.closed()).await {
            Either::Left(_) => {}
            Either::Right((why, _)) => return Err(BrokerError::Lost(why)),
        }
    }
}

/// One exchange that is followed.
struct Following {
    exchange: &'static str,
    queue: String,
    /// Keys that are bound there, as far as this connection knows.
    bound: BTreeSet<String>,
    /// Keys that may be bound there.
    perhaps: BTreeSet<String>,
    runs: bool,
}

impl Following {
    fn new(exchange: &'static str, own: &NodeName) -> Self {
        let queue = format!("federation: {exchange} -> {own}");
        let (bound, perhaps) = (BTreeSet::new(), BTreeSet::new());
        Self { exchange, queue, bound, perhaps, runs: false }
    }

    /// Binds there what is bound here.
    async fn keep_up(&mut self, broker: &Broker, session: &Simulated) -> Result<(), BrokerError> {
        let Some((kind, wanted)) = broker.look(|state| state.wanted(self.exchange)) else {
            return Ok(());
        };
        if !self.runs {
            session.declare(Exchange { name: self.exchange.to_owned(), kind }).await?;
            session.declare_raw(self.spec()).await?;
            let consumer = session.consume(&self.queue, PREFETCH).await?;
            broker.env().spawn(copy(broker.clone(), consumer));
            self.runs = true;
        }
        for key in wanted.difference(&self.bound) {
            session.bind(&self.queue, self.exchange, key).await?;
        }
        for key in self.perhaps.difference(&wanted) {
            session.unbind(&self.queue, self.exchange, key).await?;
        }
        self.perhaps.clone_from(&wanted);
        self.bound = wanted;
        Ok(())
    }

    fn spec(&self) -> Queue {
        Queue {
            name: self.queue.clone(),
            length_max: Some(LENGTH_MAX),
            upstream: true,
            ..Queue::default()
        }
    }
}

async fn copy(broker: Broker, mut from: Consumer) {
    while let Some(delivery) = from.deliveries.recv().await {
        broker.take_in(&delivery.message.clone().into());
        delivery.ack();
    }
}
