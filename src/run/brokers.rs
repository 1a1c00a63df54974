//! The brokers of a real fleet: a RabbitMQ for each AZ, federated with the others. Starts, kills and
//! ends them; what they carry is not its matter.

use std::{cell::RefCell, collections::BTreeMap, path::Path, rc::Rc, time::Duration};

use tokio::sync::Mutex;

use super::{health, ledger::Books};
use crate::{
    backend::platform::bus::FEDERATED,
    base::name::NodeName,
    chaos::provider::Health,
    world::{
        Env,
        real::{
            process,
            rabbitmq::{Config, Rabbit, installed},
        },
    },
};

/// An Erlang machine on a busy computer takes that long to start.
const START_WITHIN: Duration = Duration::from_mins(2);
/// Between two looks at one that starts.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The brokers that run.
#[derive(Default)]
pub struct Brokers {
    by_name: RefCell<BTreeMap<NodeName, Rc<Broker>>>,
    /// Where each is noted that was started.
    books: RefCell<Option<Books>>,
}

struct Broker {
    rabbit: Mutex<Rabbit>,
    /// Killed on purpose, and CPU time of the lives before.
    down: RefCell<bool>,
}

impl Brokers {
    /// Starts a broker at `port` for each of `names`, which keeps its files in the run's folder, and
    /// waits until all take AMQP. `dialled` tells where one reaches another.
    pub async fn bring_up(
        &self,
        env: &Env,
        books: &Books,
        ports: &BTreeMap<NodeName, u16>,
        dialled: impl Fn(&NodeName, &NodeName) -> String,
    ) -> Result<(), String> {
        if ports.is_empty() {
            return Ok(());
        }
        installed()?;
        let folder = &books.folder().file("brokers");
        self.books.replace(Some(books.clone()));
        for (name, &port) in ports {
            let others = ports.keys().filter(|other| *other != name);
            let config = Config {
                folder: absolute(folder).join(name.as_str().replace('/', "-")),
                port,
                upstreams: others
                    .map(|other| (other.to_string().replace('/', "-"), dialled(name, other)))
                    .collect(),
                federated: FEDERATED.iter().map(|&exchange| exchange.to_owned()).collect(),
            };
            let rabbit = Rabbit::new(config).map_err(|why| format!("{name}: {why}"))?;
            let broker = Broker { rabbit: Mutex::new(rabbit), down: RefCell::new(false) };
            self.by_name.borrow_mut().insert(name.clone(), Rc::new(broker));
            self.start(name).await?;
        }
        for name in ports.keys() {
            self.await_healthy(env, name).await?;
        }
        Ok(())
    }

    fn find(&self, name: &NodeName) -> Result<Rc<Broker>, String> {
        self.by_name.borrow().get(name).cloned().ok_or_else(|| "it was never started".to_owned())
    }

    async fn start(&self, name: &NodeName) -> Result<(), String> {
        let broker = self.find(name)?;
        let mut rabbit = broker.rabbit.lock().await;
        rabbit.start().await.map_err(|why| format!("{name}: {why}"))?;
        if let (Some(books), Some(pid)) = (&*self.books.borrow(), rabbit.pid()) {
            books.note_process(name.as_str(), pid);
        }
        broker.down.replace(false);
        Ok(())
    }

    /// Waits until it takes AMQP.
    pub async fn await_healthy(&self, env: &Env, name: &NodeName) -> Result<(), String> {
        let broker = self.find(name)?;
        let until = env.now() + START_WITHIN;
        loop {
            let Health::Down(why) = health::look_at_broker(env, name, health::DIRECT).await else {
                return Ok(());
            };
            let rabbit = broker.rabbit.lock().await;
            let why = match rabbit.pid() {
                None => "it ended at its start".to_owned(),
                Some(_) if env.now() >= until => format!("not up within {START_WITHIN:?}: {why}"),
                Some(_) => {
                    drop(rabbit);
                    env.sleep(LOOK_EVERY).await;
                    continue;
                }
            };
            return Err(format!("broker {name}: {why}:\n{}", rabbit.last_words()));
        }
    }

    /// SIGKILL; what was killed.
    pub async fn kill(&self, name: &NodeName) -> Result<String, String> {
        let broker = self.find(name)?;
        broker.down.replace(true);
        let mut rabbit = broker.rabbit.lock().await;
        let pid = rabbit.pid().ok_or("there is no process to kill")?;
        rabbit.kill().await.map_err(|why| why.to_string())?;
        Ok(format!("process {pid} and its children were killed"))
    }

    /// SIGTERM, and waits until it is gone.
    pub async fn terminate(&self, env: &Env, name: &NodeName) -> Result<String, String> {
        let broker = self.find(name)?;
        broker.down.replace(true);
        let pid = self.tell(name, process::Word::Terminate).await?;
        while broker.rabbit.lock().await.pid().is_some() {
            env.sleep(LOOK_EVERY).await;
        }
        Ok(format!("process {pid} ended"))
    }

    /// SIGSTOP.
    pub async fn pause(&self, name: &NodeName) -> Result<String, String> {
        let pid = self.tell(name, process::Word::Pause).await?;
        Ok(format!("process {pid} stands still"))
    }

    async fn tell(&self, name: &NodeName, word: process::Word) -> Result<u32, String> {
        let pid = self.find(name)?.rabbit.lock().await.pid().ok_or("there is no process")?;
        process::tell(pid, word).map_err(|why| why.to_string())?;
        Ok(pid)
    }

    /// Starts it again unless it runs, lets it go on where it stands still, and waits until it takes
    /// AMQP.
    pub async fn revive(&self, env: &Env, name: &NodeName) -> Result<(), String> {
        let runs = self.tell(name, process::Word::Resume).await.is_ok();
        if !runs {
            self.start(name).await?;
        }
        self.await_healthy(env, name).await
    }

    /// Those that ended without having been told to.
    pub fn lost(&self) -> Vec<NodeName> {
        let brokers = self.by_name.borrow();
        let gone = |broker: &Broker| {
            !*broker.down.borrow()
                && broker.rabbit.try_lock().is_ok_and(|rabbit| rabbit.pid().is_none())
        };
        brokers.iter().filter(|(_, b)| gone(b)).map(|(name, _)| name.clone()).collect()
    }

    /// CPU time of those that run.
    pub fn spent(&self) -> Duration {
        let brokers = self.by_name.borrow();
        let pids = brokers.values().filter_map(|broker| broker.rabbit.try_lock().ok()?.pid());
        pids.filter_map(process::usage).map(|usage| usage.cpu).sum()
    }

    /// Ends all, and waits until their folders are gone.
    pub async fn bring_down(&self) {
        let brokers = std::mem::take(&mut *self.by_name.borrow_mut());
        let ends = brokers.into_values().filter_map(Rc::into_inner);
        let closing = ends.map(|broker| broker.rabbit.into_inner().close());
        futures_util::future::join_all(closing).await;
    }
}

/// A broker's own shell goes elsewhere.
fn absolute(folder: &Path) -> std::path::PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}
