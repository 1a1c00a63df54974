//! A unit of systemd, through `systemctl`: killed, stopped, paused; started, let go on.

use std::{rc::Rc, time::Duration};

use futures_util::future::LocalBoxFuture;
use serde::Deserialize;

use super::{Done, ProviderEntry, Reach, cannot, hands::Hands};
use crate::{
    chaos::provider::{Health, Strike},
    world::real::process::Identity,
};

/// Its place in the list.
pub(super) const ENTRY: ProviderEntry = ProviderEntry {
    name: "systemd",
    means: "a unit of systemd: kill (all of its processes), terminate (stop), pause",
};

/// How long `systemctl` may take for one thing; to stop a unit it waits for it.
const WITHIN: Duration = Duration::from_secs(30);

/// As the file says it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Systemd {
    /// `taxi-api.service`.
    unit: String,
    /// A unit of this user's own manager.
    #[serde(default)]
    user: bool,
    /// The program, where it is not the one in `PATH`.
    #[serde(default = "systemctl")]
    systemctl: String,
}

fn systemctl() -> String {
    "systemctl".to_owned()
}

impl Systemd {
    pub(super) fn reach(self, hands: Rc<dyn Hands>) -> Box<dyn Reach> {
        Box::new(Reached { wanted: self, hands })
    }
}

struct Reached {
    wanted: Systemd,
    hands: Rc<dyn Hands>,
}

impl Reached {
    async fn systemctl(&self, words: &[&str]) -> Done<String> {
        let user = self.wanted.user.then_some("--user");
        let program = [self.wanted.systemctl.as_str()];
        let all = program.into_iter().chain(user).chain(words.iter().copied());
        let all: Vec<String> = all.chain([self.wanted.unit.as_str()]).map(str::to_owned).collect();
        self.hands.run(&all, WITHIN).await
    }

    /// Its state, and its main process where it has one.
    async fn show(&self) -> Done<(String, Option<u32>)> {
        let shown = self.systemctl(&["show", "--property=LoadState,ActiveState,MainPID"]).await?;
        let value = |key: &str| {
            let line = shown.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().to_owned()
        };
        if value("LoadState") != "loaded" {
            return Err(format!("there is no unit {} here", self.wanted.unit));
        }
        let pid = value("MainPID").parse().ok().filter(|pid| *pid > 0);
        Ok((value("ActiveState"), pid))
    }

    async fn look_once(&self) -> Done<Health> {
        let (state, pid) = self.show().await?;
        if state != "active" {
            return Ok(Health::Down(format!("systemd says that it is {state}")));
        }
        let still = pid.and_then(Identity::of).is_some_and(|it| it.state() == Some('T'));
        if still {
            return Ok(Health::Down("its main process stands still".to_owned()));
        }
        Ok(Health::Up)
    }
}

impl Reach for Reached {
    fn check(&self) -> LocalBoxFuture<'_, Done<()>> {
        Box::pin(async {
            match self.look_once().await? {
                Health::Up => Ok(()),
                Health::Down(why) => {
                    Err(format!("{}: {why}, before it is struck", self.wanted.unit))
                }
            }
        })
    }

    fn can(&self, how: Strike) -> bool {
        matches!(how, Strike::Kill | Strike::Terminate | Strike::Pause)
    }

    fn strike(&self, how: Strike) -> LocalBoxFuture<'_, Done<String>> {
        let words: &[&str] = match how {
            Strike::Kill => &["kill", "--signal=SIGKILL"],
            Strike::Terminate => &["stop"],
            Strike::Pause => &["kill", "--signal=SIGSTOP"],
            _ => return cannot(how),
        };
        Box::pin(async move {
            self.systemctl(words).await?;
            Ok(format!("systemctl {} {}", words.join(" "), self.wanted.unit))
        })
    }

    fn heal(&self) -> LocalBoxFuture<'_, Done<String>> {
        Box::pin(async {
            // A unit without processes has none that could go on: that is no error.
            let _ = self.systemctl(&["kill", "--signal=SIGCONT"]).await;
            // One that was killed may be in the state `failed`, with too many starts behind it.
            let _ = self.systemctl(&["reset-failed"]).await;
            self.systemctl(&["start"]).await?;
            Ok(format!("{} was let go on and started", self.wanted.unit))
        })
    }

    fn look(&self) -> LocalBoxFuture<'_, Done<Health>> {
        Box::pin(self.look_once())
    }
}
