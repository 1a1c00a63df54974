//! A RabbitMQ of a run's own, from the system's package: given ports on loopback, all that it writes
//! in one folder, which goes with it. Between it and us stands a guard, a small shell: at the end of
//! its stdin, which is also the end of this process however that comes, it kills the broker and
//! removes the folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::ports::free_ports;
use crate::world::broker::HEARTBEAT;

/// Where the package puts the program. Not `/usr/sbin`: that one switches users and folders.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// How long what waits for a broker that is away is kept for it.
const UPSTREAM_TTL_MS: u64 = 10_000;
/// How long a broker that is away is remembered.
const UPSTREAM_EXPIRES_MS: u64 = 300_000;
/// Messages under way between two brokers at once.
const UPSTREAM_PREFETCH: u64 = 1_000;

const GUARD: &str = r#"
epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 </dev/null >/dev/null 2>&1 &
epmd=$!
start() { setsid "$PROGRAM" </dev/null >>"$HOME/out" 2>&1 & broker=$!; }
stop() { kill -KILL "-$broker"; wait "$broker"; broker=; }
while read -r word number; do
    case "$word" in
        start) start;;
        kill) stop;;
    esac 2>/dev/null
    echo "$number $broker"
done
stop 2>/dev/null
kill -KILL "$epmd" 2>/dev/null
cd /
rm -rf "$HOME"
"#;

/// What a broker is like.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of its own, which is made, and goes with it.
    pub folder: PathBuf,
    /// The port of 127.0.0.1 at which it takes AMQP.
    pub port: u16,
    /// The brokers that it follows: name and `address:port`.
    pub upstreams: Vec<(String, String)>,
    /// The exchanges in which it follows them.
    pub federated: Vec<String>,
}

/// A broker, started or not. Dropping it ends it, and removes its folder.
pub struct Rabbit {
    config: Config,
    guard: Child,
    words: Option<ChildStdin>,
    echo: Lines<BufReader<ChildStdout>>,
    said: u64,
    pid: Option<u32>,
}

/// Whether the package is there; what to do otherwise.
pub fn installed() -> Result<(), String> {
    let wanted = [PROGRAM, "/usr/bin/epmd", "/usr/bin/setsid"];
    match wanted.into_iter().find(|program| !Path::new(program).exists()) {
        None => Ok(()),
        Some(missing) => Err(format!(
            "{missing} is missing: install the package rabbitmq-server (apt-get install \
             rabbitmq-server), or use the bus `embedded`"
        )),
    }
}

impl Rabbit {
    /// Makes its folder and its guard; starts no broker yet.
    pub fn new(config: Config) -> io::Result<Self> {
        let [epmd, dist] = free_ports(2)?[..] else { return Err(io::ErrorKind::Other.into()) };
        config.write()?;
        let mut guard = Command::new("/bin/sh")
            .args(["-c", GUARD])
            .envs(config.environment(epmd, dist))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal is for this process, whose end is the guard's sign.
            .process_group(0)
            .spawn()?;
        let gone = || io::Error::other("the broker's guard ended at once");
        let words = Some(guard.stdin.take().ok_or_else(gone)?);
        let echo = BufReader::new(guard.stdout.take().ok_or_else(gone)?).lines();
        Ok(Self { config, guard, words, echo, said: 0, pid: None })
    }

    /// Starts it, with what it had on its disk. It takes AMQP some seconds later.
    pub async fn start(&mut self) -> io::Result<()> {
        self.say("start").await
    }

    /// SIGKILL; resolves when it is gone.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.say("kill").await
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.pid.filter(|pid| !matches!(state(*pid), None | Some('Z')))
    }

    /// The last lines that it wrote.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(self.config.folder.join("out")).unwrap_or_default();
        let from = text.lines().count().saturating_sub(20);
        text.lines().skip(from).collect::<Vec<_>>().join("\n")
    }

    /// Ends it and waits until its folder is gone.
    pub async fn close(mut self) {
        drop(self.words.take());
        // One that is gone already is as good.
        let _ = self.guard.wait().await;
    }

    /// Has the guard do something. A caller may give up at any moment: answers have numbers.
    async fn say(&mut self, word: &str) -> io::Result<()> {
        self.said += 1;
        let gone = || io::Error::other("the broker's guard is gone");
        let words = self.words.as_mut().ok_or_else(gone)?;
        words.write_all(format!("{word} {}\n", self.said).as_bytes()).await?;
        while let Some(line) = self.echo.next_line().await? {
            let (number, pid) = line.split_once(' ').unwrap_or_default();
            self.pid = pid.parse().ok();
            if number.parse() == Ok(self.said) {
                return Ok(());
            }
        }
        Err(gone())
    }
}

impl Config {
    /// Writes the files that it reads.
    fn write(&self) -> io::Result<()> {
        let folder = &self.folder;
        fs::create_dir_all(folder.join("log"))?;
        fs::write(folder.join("enabled_plugins"), "[rabbitmq_federation].\n")?;
        fs::write(folder.join("definitions.json"), self.definitions().to_string())?;
        let conf = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\n\
             num_acceptors.tcp = 2\n\
             disk_free_limit.absolute = 1MB\n\
             log.file.level = warning\n\
             load_definitions = {}\n",
            self.port,
            folder.join("definitions.json").display(),
        );
        fs::write(folder.join("rabbitmq.conf"), conf)
    }

    fn definitions(&self) -> serde_json::Value {
        let upstream = |(name, address): &(String, String)| {
            let heartbeat = HEARTBEAT.as_secs();
            json!({
                "vhost": "/", "component": "federation-upstream", "name": name,
                "value": {
                    "uri": format!("amqp://guest:guest@{address}/%2f?heartbeat={heartbeat}"),
                    "max-hops": 1,
                    "reconnect-delay": 1,
                    "ack-mode": "no-ack",
                    "prefetch-count": UPSTREAM_PREFETCH,
                    "expires": UPSTREAM_EXPIRES_MS,
                    "message-ttl": UPSTREAM_TTL_MS,
                },
            })
        };
        let all = ".*";
        json!({
            "vhosts": [{"name": "/"}],
            "users": [{"name": "guest", "password": "guest", "tags": ["administrator"]}],
            "permissions":
                [{"user": "guest", "vhost": "/", "configure": all, "write": all, "read": all}],
            "parameters": self.upstreams.iter().map(upstream).collect::<Vec<_>>(),
            "policies": [{
                "vhost": "/", "name": "federated", "priority": 0, "apply-to": "exchanges",
                "pattern": format!("^({})$", self.federated.join("|")),
                "definition": {"federation-upstream-set": "all"},
            }],
        })
    }

    fn environment(&self, epmd: u16, dist: u16) -> Vec<(&'static str, String)> {
        let within = |name: &str| self.folder.join(name).display().to_string();
        let erl = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1} \
                   +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none";
        vec![
            ("PROGRAM", PROGRAM.to_owned()),
            ("HOME", self.folder.display().to_string()),
            ("ERL_EPMD_PORT", epmd.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODENAME", format!("city{}@localhost", self.port)),
            ("RABBITMQ_DIST_PORT", dist.to_string()),
            ("RABBITMQ_CONFIG_FILE", within("rabbitmq.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", within("advanced.config")),
            ("RABBITMQ_CONF_ENV_FILE", within("rabbitmq-env.conf")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", within("enabled_plugins")),
            ("RABBITMQ_MNESIA_BASE", within("mnesia")),
            ("RABBITMQ_LOG_BASE", within("log")),
            ("RABBITMQ_GENERATED_CONFIG_DIR", within("generated")),
            ("RABBITMQ_PID_FILE", within("pid")),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erl.to_owned()),
            // One process less between the guard and the broker.
            ("detached", "yes".to_owned()),
        ]
    }
}

/// The state of a process, by its letter in `/proc`.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}
