//! Whatever commands can break: one for each way of striking, one that heals, one that looks.

use std::{rc::Rc, time::Duration};

use futures_util::future::{LocalBoxFuture, ready};
use serde::Deserialize;

use super::{Done, ProviderEntry, Reach, cannot, hands::Hands, written::WITHIN};
use crate::{
    base::span::Span,
    chaos::provider::{Health, Strike},
};

/// Its place in the list.
pub(super) const ENTRY: ProviderEntry = ProviderEntry {
    name: "exec",
    means: "anything that commands of yours strike, heal and look at",
};

/// As the file says it: programs and their arguments, without a shell.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exec {
    pub(super) kill: Vec<String>,
    pub(super) terminate: Vec<String>,
    pub(super) pause: Vec<String>,
    pub(super) disconnect: Vec<String>,
    pub(super) inject: Vec<String>,
    /// Puts everything back, whatever was struck; it may be called when nothing was.
    pub(super) heal: Vec<String>,
    /// Ends with 0 when all is well.
    pub(super) probe: Vec<String>,
    /// How long each may take.
    pub(super) within: Span,
    /// The host on which they act, where it is not this one.
    pub(super) on: Option<String>,
}

impl Default for Exec {
    fn default() -> Self {
        let none = Vec::new;
        Self {
            kill: none(),
            terminate: none(),
            pause: none(),
            disconnect: none(),
            inject: none(),
            heal: none(),
            probe: none(),
            within: WITHIN,
            on: None,
        }
    }
}

impl Exec {
    fn command(&self, how: Strike) -> &[String] {
        match how {
            Strike::Kill => &self.kill,
            Strike::Terminate => &self.terminate,
            Strike::Pause => &self.pause,
            Strike::Disconnect => &self.disconnect,
            Strike::Inject => &self.inject,
        }
    }

    pub(super) fn reach(self, hands: Rc<dyn Hands>) -> Box<dyn Reach> {
        Box::new(Reached { exec: self, hands })
    }
}

struct Reached {
    exec: Exec,
    hands: Rc<dyn Hands>,
}

impl Reached {
    fn within(&self) -> Duration {
        self.exec.within.0
    }
}

/// What a command printed, or that it ended well.
fn words(printed: &str) -> String {
    match printed.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => line.trim().to_owned(),
        None => "its command ended with 0".to_owned(),
    }
}

impl Reach for Reached {
    fn check(&self) -> LocalBoxFuture<'_, Done<()>> {
        for (key, command) in [("heal", &self.exec.heal), ("probe", &self.exec.probe)] {
            if command.is_empty() {
                let why = format!("`exec.{key}` must be given: a program and its arguments");
                return Box::pin(ready(Err(why)));
            }
        }
        Box::pin(async {
            let probed = self.hands.run(&self.exec.probe, self.within()).await;
            probed
                .map(drop)
                .map_err(|why| format!("its probe fails before anything is struck: {why}"))
        })
    }

    fn can(&self, how: Strike) -> bool {
        !self.exec.command(how).is_empty()
    }

    fn strike(&self, how: Strike) -> LocalBoxFuture<'_, Done<String>> {
        if !self.can(how) {
            return cannot(how);
        }
        Box::pin(async move {
            let done = self.hands.run(self.exec.command(how), self.within()).await;
            done.map(|printed| words(&printed))
        })
    }

    fn heal(&self) -> LocalBoxFuture<'_, Done<String>> {
        Box::pin(async {
            let done = self.hands.run(&self.exec.heal, self.within()).await;
            done.map(|printed| words(&printed))
        })
    }

    fn look(&self) -> LocalBoxFuture<'_, Done<Health>> {
        Box::pin(async {
            let probed = self.hands.run(&self.exec.probe, self.within()).await;
            Ok(probed.map_or_else(Health::Down, |_| Health::Up))
        })
    }
}
