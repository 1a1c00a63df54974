//! A `RabbitMQ` of a test's own, from the system's package: spare ports on loopback, everything it
//! writes in a scratch folder, no plugins. It ends with the test's process, however that ends.
//!
//! Used by unit tests and by tests in this folder: it must not need anything of the crate.

#![allow(dead_code, reason = "each user uses a part")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test without its broker fails")]
#![allow(
    clippy::disallowed_methods,
    reason = "a process of the real world, waited for on the clock"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Where the package puts the program. Not `/usr/sbin`: that one switches users and folders.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// A machine that runs other tests at the same time is slow.
const START_WITHIN: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const USER: &str = "city";
/// Tests look for it where it must not be.
pub const PASSWORD: &str = "not-to-be-seen";

/// Stands between the test and the broker: does what its stdin says, and at the end of its stdin,
/// which is also the end of the test's process, kills what it started and removes the folder.
const GUARD: &str = r#"
epmd -port "$ERL_EPMD_PORT" -address 127.0.0.1 </dev/null >/dev/null 2>&1 &
epmd=$!
start() { setsid "$PROGRAM" </dev/null >>"$HOME/out" 2>&1 & broker=$!; }
stop() { kill -KILL "-$broker"; wait "$broker"; }
while read -r word; do
    case "$word" in
        start) start;;
        kill) stop;;
        pause) kill -STOP "-$broker";;
        resume) kill -CONT "-$broker";;
    esac 2>/dev/null
    echo "$word $broker"
done
stop 2>/dev/null
kill -KILL "$epmd"
cd /
rm -rf "$HOME"
"#;

/// A running broker. Dropping it ends it.
pub struct RabbitMq {
    port: u16,
    folder: PathBuf,
    guard: Child,
    words: Option<ChildStdin>,
    echo: BufReader<ChildStdout>,
}

/// The broker that the tests of a binary share, started when first asked for. Who kills or pauses a
/// broker starts one of their own.
pub fn shared() -> &'static RabbitMq {
    static SHARED: OnceLock<RabbitMq> = OnceLock::new();
    SHARED.get_or_init(RabbitMq::start)
}

impl RabbitMq {
    /// Starts a broker and waits until it accepts AMQP. Panics when that is not possible: a test
    /// that needs a broker fails without one.
    pub fn start() -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "{PROGRAM} is missing: install the package rabbitmq-server (scripts/test does)"
        );
        // Between looking for a port and listening on it somebody else may have taken it.
        for _ in 0..2 {
            if let Ok(broker) = Self::try_start() {
                return broker;
            }
        }
        Self::try_start().unwrap_or_else(|why| panic!("no broker for the tests: {why}"))
    }

    fn try_start() -> Result<Self, String> {
        let [port, epmd, dist] = spare_ports();
        let folder = folder(port);
        let mut guard = Command::new("/bin/sh")
            .args(["-c", GUARD])
            .envs(environment(&folder, port, epmd, dist))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C in a terminal is for the test, whose end is the guard's sign.
            .process_group(0)
            .spawn()
            .map_err(|why| format!("/bin/sh: {why}"))?;
        let (words, stdout) = (guard.stdin.take(), guard.stdout.take());
        let echo = BufReader::new(stdout.ok_or("the guard has no stdout")?);
        let mut broker = Self { port, folder, guard, words, echo };
        broker.start_again()?;
        Ok(broker)
    }

    /// The URI of its default virtual host.
    pub fn uri(&self) -> String {
        format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL to the broker; returns when it is gone.
    pub fn kill(&mut self) {
        self.say("kill");
    }

    /// Starts it again on the same port, with what it had on its disk, and waits until it accepts
    /// AMQP.
    pub fn start_again(&mut self) -> Result<(), String> {
        let pid = self.say("start");
        let begin = Instant::now();
        while !accepts(self.port) {
            if !Path::new(&format!("/proc/{pid}")).exists() || is_zombie(&pid) {
                return Err(format!("it ended at once:\n{}", self.last_words()));
            }
            if begin.elapsed() > START_WITHIN {
                return Err(format!("not up within {START_WITHIN:?}:\n{}", self.last_words()));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// SIGSTOP: it holds its connections and says nothing. Returns when its last thread stands.
    pub fn pause(&mut self) {
        let pid = self.say("pause");
        while !stands(&pid) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.say("resume");
    }

    /// Has the guard do something; the id of the broker's process.
    fn say(&mut self, word: &str) -> String {
        let words = self.words.as_mut().expect("taken by drop alone");
        writeln!(words, "{word}").expect("the guard listens");
        let mut line = String::new();
        self.echo.read_line(&mut line).expect("the guard answers");
        let pid = line.trim().strip_prefix(word).unwrap_or_else(|| panic!("guard said {line:?}"));
        pid.trim().to_owned()
    }

    fn last_words(&self) -> String {
        let mut text = fs::read_to_string(self.folder.join("out")).unwrap_or_default();
        let from = text.lines().count().saturating_sub(30);
        text = text.lines().skip(from).collect::<Vec<_>>().join("\n");
        text
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        drop(self.words.take());
        let _ = self.guard.wait();
    }
}

fn environment(
    folder: &Path,
    port: u16,
    epmd: u16,
    dist: u16,
) -> impl Iterator<Item = (&'static str, String)> {
    let within = |name: &str| folder.join(name).display().to_string();
    let erl = "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1} \
               +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none";
    [
        ("PROGRAM", PROGRAM.to_owned()),
        ("HOME", folder.display().to_string()),
        ("ERL_EPMD_PORT", epmd.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_NODENAME", format!("city{port}@localhost")),
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
        // One process less between the guard and the broker: nobody forwards signals here.
        ("detached", "yes".to_owned()),
    ]
    .into_iter()
}

fn folder(port: u16) -> PathBuf {
    let name = format!("robot-city-broker-{}-{port}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(folder.join("log")).expect("a scratch folder");
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("written");
    write("enabled_plugins", "[].\n".into());
    let conf = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\n\
         num_acceptors.tcp = 2\n\
         default_user = {USER}\n\
         default_pass = {PASSWORD}\n\
         disk_free_limit.absolute = 1MB\n\
         log.file.level = warning\n"
    );
    write("rabbitmq.conf", conf);
    folder
}

/// Ports below the range that the kernel gives to outgoing connections: the broker must get its port
/// again after it was killed. Other processes start their search elsewhere.
fn spare_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(331);
    let mut free = std::iter::from_fn(|| {
        let step = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        Some(11_000 + (step % 20_000) as u16)
    })
    .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    std::array::from_fn(|_| free.next().expect("it has no end"))
}

/// Whether AMQP is spoken there: a broker answers the protocol's header.
fn accepts(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let within = Some(Duration::from_secs(5));
    let mut first = [0];
    stream.set_read_timeout(within).is_ok()
        && stream.write_all(b"AMQP\x00\x00\x09\x01").is_ok()
        && stream.read_exact(&mut first).is_ok()
        && first == [1]
}

/// Whether no thread of a process runs.
fn stands(pid: &str) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the broker lives");
    threads.flatten().all(|thread| state(&thread.path().join("stat")).is_none_or(|s| s == 'T'))
}

fn is_zombie(pid: &str) -> bool {
    state(Path::new(&format!("/proc/{pid}/stat"))) == Some('Z')
}

fn state(stat: &Path) -> Option<char> {
    fs::read_to_string(stat).ok()?.rsplit_once(')')?.1.trim_start().chars().next()
}
