//! The hidden processes of a run: a node of the embedded backend, and the fault proxy. Both end when
//! the run does, whatever way it ends.

use serde::{Deserialize, Serialize};

use crate::{
    backend::{self, boot::NodeConfig, node::NodeError},
    base::rng::Rng,
    world::{
        Env,
        real::{Boot, RealWorld, clock::origin_from_machine, process, run_local},
    },
};

/// How much a node steps back behind the robots.
const NODE_NICENESS: i32 = 5;

/// The exit code of a node that no replica of discovery heard any more.
pub const UNHEARD: u8 = 75;

/// The first line on a node's standard input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeOrder {
    /// The process that started it, and with which it ends.
    pub parent: u32,
    /// The origin of the run, so that all its processes count time alike.
    pub origin: u64,
    /// Where it lives.
    pub boot: Boot,
    /// What it is.
    pub config: NodeConfig,
}

/// Serves one node until its parent ends.
pub fn serve() -> anyhow::Result<u8> {
    let order: NodeOrder = serde_json::from_str(&process::first_line()?)?;
    process::die_with_parent(order.parent)?;
    process::end_with_stdin()?;
    // On a machine that the robots share, they come first: a generator that is late measures
    // itself. Where it is refused the node runs as it is.
    let _ = rustix::process::nice(NODE_NICENESS);
    let ended = run_local(async move {
        let name = order.config.name.clone();
        let world = RealWorld::new(name.clone(), order.boot, origin_from_machine(order.origin));
        let env = Env::new(name, &Rng::from_seed(&order.config.seed), world);
        backend::node::run(env, order.config).await
    })?;
    match ended {
        Err(why @ NodeError::Unheard(_)) => {
            eprintln!("{why}");
            Ok(UNHEARD)
        }
        ended => Ok(ended.map(|()| 0)?),
    }
}

/// Serves the fault proxy of the run `parent` until its standard input ends.
pub fn links(seed: &str, parent: u32) -> anyhow::Result<()> {
    process::die_with_parent(parent)?;
    Ok(crate::chaos::proxy::child(seed)?)
}
