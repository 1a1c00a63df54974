//! Fills the queue of a node at its broker, and looks whether that takes one more. What it puts there is
//! no message that a node understands: it is dropped as soon as it is taken over.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use futures_util::{FutureExt as _, future::join_all};

use crate::{
    backend::{
        layout::BROKER,
        platform::bus::{CALLS_WAITING_MAX, PREFETCH, RPC, ask_key},
    },
    base::name::NodeName,
    chaos::provider::ProviderError,
    world::{
        Env,
        broker::{ExchangeKind, Message, Published, Session},
    },
};

/// What fills a queue that was empty, with what its node is given beside.
const FILLING: u32 = CALLS_WAITING_MAX + PREFETCH as u32;
/// Messages that leave in one breath, and the pause after them, in which the run does something else.
const BREATH: u32 = 256;
const PAUSE: Duration = Duration::from_millis(1);
/// Messages that are put on top together, each with the broker's word for it.
const AT_ONCE: u32 = 16;
/// A queue that took so many times its length is none that refuses.
const TIMES_MAX: u32 = 4;
/// One that is only to see whether there is room waits no longer.
const PROBE_TTL: Duration = Duration::from_secs(1);

/// The way to the queues of these nodes.
pub struct Queues {
    env: Env,
    nodes: Vec<NodeName>,
    /// What is open for each node, until it is in use: to open one takes longer than to fill a queue.
    sessions: RefCell<BTreeMap<NodeName, Rc<dyn Session>>>,
}

impl Queues {
    /// That of the operator.
    pub fn new(env: Env, nodes: Vec<NodeName>) -> Self {
        Self { env, nodes, sessions: RefCell::default() }
    }

    /// Fills one; the text says how.
    pub async fn fill(&self, of: &NodeName, lasts: Duration) -> Result<String, ProviderError> {
        self.at_broker(of, async |session| self.fill_at(session, of, lasts).await).await
    }

    /// Whether it takes one more.
    pub async fn has_room(&self, of: &NodeName) -> Result<bool, ProviderError> {
        self.at_broker(of, async |session| {
            let probe = Message { mandatory: true, ..junk(of, PROBE_TTL) };
            match session.publish(probe).await {
                Published::Confirmed => Ok(true),
                Published::Refused => Ok(false),
                other => Err(format!("its broker says {other:?}")),
            }
        })
        .await
    }

    async fn fill_at(
        &self,
        session: &dyn Session,
        of: &NodeName,
        lasts: Duration,
    ) -> Result<String, String> {
        let mandatory = Message { mandatory: true, ..junk(of, lasts) };
        match session.publish(mandatory).await {
            Published::Confirmed => {}
            Published::Refused => return Ok("its queue was full already".to_owned()),
            Published::Unroutable => return Err("it is not at its own broker".to_owned()),
            other => return Err(format!("its broker takes nothing: {other:?}")),
        }
        // The broker's word for each would take longer than the messages.
        for n in 1..FILLING {
            session.tell(junk(of, lasts))?;
            if n.is_multiple_of(BREATH) {
                self.env.sleep(PAUSE).await;
            }
        }
        let mut put = FILLING;
        while put < CALLS_WAITING_MAX * TIMES_MAX {
            let told = join_all((0..AT_ONCE).map(|_| session.publish(junk(of, lasts)))).await;
            put += AT_ONCE;
            match told.iter().find(|told| **told != Published::Confirmed) {
                Some(Published::Refused) => {
                    return Ok(format!("its queue was full after {put} messages"));
                }
                Some(other) => return Err(format!("after {put} messages: {other:?}")),
                None => {}
            }
        }
        Err(format!("its queue was not full after {put} messages"))
    }

    /// Does something at the broker of a node. A session over which it did not come about, or was given up,
    /// is not used again.
    async fn at_broker<T>(
        &self,
        of: &NodeName,
        work: impl AsyncFnOnce(&dyn Session) -> Result<T, String>,
    ) -> Result<T, ProviderError> {
        let done = async {
            let open = self.sessions.borrow_mut().remove(of);
            let session = match open.filter(|open| open.closed().now_or_never().is_none()) {
                Some(session) => session,
                None => self.open(of).await?,
            };
            let done = work(&*session).await?;
            self.sessions.borrow_mut().insert(of.clone(), session);
            Ok(done)
        };
        done.await.map_err(|why| ProviderError { victim: of.to_string(), why })
    }

    async fn open(&self, of: &NodeName) -> Result<Rc<dyn Session>, String> {
        let own = |node: &&NodeName| node.role() == BROKER && node.az() == of.az();
        let broker = self.nodes.iter().find(own).ok_or("its AZ has no broker: --bus rabbitmq")?;
        let session = self.env.broker(broker).await.map_err(|why| why.to_string())?;
        let declared = session.declare_exchange(RPC, ExchangeKind::Direct).await;
        declared.map_err(|why| why.to_string())?;
        Ok(session)
    }
}

fn junk(of: &NodeName, lasts: Duration) -> Message {
    Message { exchange: RPC.into(), key: ask_key(of), ttl: Some(lasts), ..Message::default() }
}
