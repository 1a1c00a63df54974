//! Faults on containers of a real Docker engine: struck and put back by the run, and by its guardian
//! when the run is killed. `scripts/test` starts an engine of its own and says where it is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test, in the real world"
)]

mod company;

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use company::{Company, TARGET, only_run};
use robot_city::run::ledger::{AUDIT, Books, By, Line};

/// Where the engine's socket is.
const SOCKET: &str = "ROBOT_CITY_TEST_DOCKER";
/// Against hanging.
const LIMIT: Duration = Duration::from_mins(2);
const KINDS: [&str; 4] = ["kill", "terminate", "pause", "disconnect"];

/// Four containers, one for each kind, in a network of their own.
struct Containers {
    socket: String,
    name: String,
}

impl Containers {
    fn start(folder: &Path) -> Self {
        let socket = std::env::var(SOCKET).expect("scripts/test starts an engine and says where");
        let name = format!("robot-city-test-{}", std::process::id());
        let containers = Self { socket, name };
        let root = folder.join("image");
        fs::create_dir_all(&root).unwrap();
        // Static: there is nothing else in its image.
        let built = Command::new("rustc")
            .args(["-O", "-C", "target-feature=+crt-static", "tests/docker/still.rs", "-o"])
            .arg(root.join("still"))
            .status()
            .unwrap();
        assert!(built.success());
        let tar = folder.join("image.tar");
        let packed =
            Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status();
        assert!(packed.unwrap().success());
        containers.docker(&["import", tar.to_str().unwrap(), &containers.name]);
        containers.docker(&["network", "create", "--internal", &containers.name]);
        for kind in KINDS {
            let (name, network) = (containers.of(kind), &containers.name);
            let start =
                ["run", "-d", "--name", &name, "--network", network, "--network-alias", kind];
            containers.docker(&[&start[..], &[&containers.name, "/still"]].concat());
        }
        containers
    }

    fn of(&self, kind: &str) -> String {
        format!("{}-{kind}", self.name)
    }

    fn docker(&self, args: &[&str]) -> String {
        let host = format!("unix://{}", self.socket);
        let output = Command::new("docker").args(["-H", &host]).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "docker {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Status, and aliases in the network.
    fn state(&self, kind: &str) -> (String, String) {
        let of = |format: &str| self.docker(&["inspect", "-f", format, &self.of(kind)]);
        let aliases = "{{range .NetworkSettings.Networks}}{{.Aliases}}{{end}}";
        (of("{{.State.Status}}"), of(aliases))
    }

    /// How each is when it is struck.
    fn assert_struck(&self) {
        for (kind, status) in KINDS.iter().zip(["exited", "exited", "paused", "running"]) {
            assert_eq!(self.state(kind).0, status, "{kind}");
        }
        assert_eq!(self.state("disconnect").1, "", "it is off its network");
    }

    fn assert_well(&self) {
        for kind in KINDS {
            let (status, aliases) = self.state(kind);
            assert_eq!(status, "running", "{kind}");
            assert!(aliases.contains(kind), "{kind}: {aliases}");
        }
    }

    fn table(&self) -> String {
        let mut table = String::new();
        for (az, kind) in ["a", "b", "c", "d"].iter().zip(KINDS) {
            let (socket, container) = (&self.socket, self.of(kind));
            let docker = format!("{{ container = \"{container}\", socket = \"{socket}\" }}");
            writeln!(table, "[victims.\"{az}/core-1\"]\ndocker = {docker}").unwrap();
        }
        table
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let host = format!("unix://{}", self.socket);
        let docker = |args: &[&str]| {
            let _ = Command::new("docker")
                .args(["-H", &host])
                .args(args)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        };
        for kind in KINDS {
            docker(&["rm", "-f", &self.of(kind)]);
        }
        docker(&["network", "rm", &self.name]);
        docker(&["rmi", "-f", &self.name]);
    }
}

fn acts(out: &Path) -> Vec<Line> {
    let text = fs::read_to_string(out.join(AUDIT)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn count(out: &Path, act: &str, by: By) -> usize {
    let word = |line: &Line| serde_json::to_value(line.act.act).unwrap() == act;
    acts(out).iter().filter(|line| line.by == by && word(line)).count()
}

fn await_acts(out: &Path, act: &str, run: &mut Child) {
    let until = Instant::now() + LIMIT;
    while count(out, act, By::Run) < KINDS.len() {
        let ended = run.try_wait().unwrap();
        assert!(ended.is_none() && Instant::now() < until, "{ended:?}: {:?}", acts(out));
        thread::sleep(Duration::from_millis(20));
    }
}

/// A run that strikes all four at once, for so long.
fn start(
    company: &Company,
    containers: &Containers,
    root: &Path,
    out: &Path,
    lasts: &str,
) -> Child {
    let mut plan = String::from("[limits]\nazs = 4\nmajority = false\nat_once = 4\n");
    for (az, kind) in ["a", "b", "c", "d"].iter().zip(KINDS) {
        let fault = format!("kind = \"{kind}\"\nnodes = [\"{az}/core-1\"]");
        writeln!(plan, "[[fault]]\n{fault}\nat = \"4s\"\nfor = \"{lasts}\"").unwrap();
    }
    let (target, chaos) = (root.join("target.toml"), root.join("plan.toml"));
    let mapping = fs::read_to_string(TARGET).unwrap();
    fs::write(&target, [&mapping, "\n", &containers.table()].concat()).unwrap();
    fs::write(&chaos, plan).unwrap();
    let mut command = company.run_with(&target, out);
    command.arg("--chaos").arg(chaos).args(["--ui", "none", "--set", "time.fill=2s"]);
    command.args(["--set", "time.duration=50s"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
#[ignore = "needs a Docker engine: scripts/test starts one and runs this"]
fn containers_are_struck_and_put_back_by_the_run_and_by_its_guardian() {
    let root = tempfile::tempdir().unwrap();
    let (company, containers) = (Company::open(), Containers::start(root.path()));
    containers.assert_well();

    let out = root.path().join("well");
    let mut run = start(&company, &containers, root.path(), &out, "12s");
    await_acts(&out, "bit", &mut run);
    containers.assert_struck();
    await_acts(&out, "heal_verified", &mut run);
    containers.assert_well();
    let _ = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    run.wait().unwrap();

    let out = root.path().join("killed");
    let mut run = start(&company, &containers, root.path(), &out, "40s");
    await_acts(&out, "bit", &mut run);
    containers.assert_struck();
    let begun = Instant::now();
    run.kill().unwrap();
    run.wait().unwrap();
    let folder = only_run(&out);
    while Books::is_open(&folder) {
        assert!(begun.elapsed() < LIMIT, "{:?}", acts(&out));
        thread::sleep(Duration::from_millis(1));
    }
    println!("four containers: all in order {:.2} s after SIGKILL", begun.elapsed().as_secs_f64());
    containers.assert_well();
    assert_eq!(count(&out, "heal_verified", By::Guardian), KINDS.len(), "{:?}", acts(&out));
    assert_eq!(company.live(), 0);
}
