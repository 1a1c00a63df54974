//! Drawing the victims of a plan.

use super::*;
use crate::chaos::{
    event::{Event, Gauge},
    fault::FAULTS,
    provider::Per,
};

fn nodes() -> Vec<NodeName> {
    let mut nodes: Vec<NodeName> = ["a", "b", "c"]
        .into_iter()
        .flat_map(|az| {
            ["api-1", "core-1", "core-2"].map(|node| format!("{az}/{node}").as_str().into())
        })
        .collect();
    nodes.push("b/storage-1".into());
    nodes
}

fn links() -> Vec<LinkName> {
    let all = nodes();
    let of = |role: &'static str| all.iter().filter(move |node| node.role() == role);
    let link = |from: &NodeName, to: &NodeName| LinkName { from: from.clone(), to: to.clone() };
    let mut links: Vec<LinkName> =
        of("api").flat_map(|api| of("core").map(move |core| link(api, core))).collect();
    links.extend(of("core").map(|core| link(core, &"b/storage-1".into())));
    links.extend(of("api").map(|api| link(&"robots".into(), api)));
    links
}

fn resolve(fault: &str, seed: &str) -> Result<Resolved, FileError> {
    let text = format!("[[fault]]\n{fault}\nat = \"1s\"\nfor = \"1s\"\n");
    let plan = Plan::parse(&text, Path::new("plan.toml"))?;
    plan.resolve(&nodes(), &links(), Duration::from_secs(90), &Rng::from_seed(seed))
}

fn hit(fault: &str, seed: &str) -> Vec<String> {
    let resolved = resolve(fault, seed).unwrap();
    resolved.faults[0].victims().iter().map(ToString::to_string).collect()
}

#[test]
fn the_modes_hit_as_many_as_they_say() {
    let core = |mode: &str| {
        hit(&format!("kind = \"kill\"\nselect = {{ role = \"core\" }}\nmode = {mode}"), "42").len()
    };
    assert_eq!(core("\"all\""), 6);
    assert_eq!(core("\"one\""), 1);
    assert_eq!(core("\"fixed\"\nvalue = 4"), 4);
    assert_eq!(core("\"fixed-percent\"\nvalue = 50"), 3);
    assert_eq!(core("\"fixed-percent\"\nvalue = 1"), 1, "never nobody");
    assert!((1..=3).contains(&core("\"random-max-percent\"\nvalue = 50")));
}

#[test]
fn the_seed_draws_the_victims_and_every_one_can_be_hit() {
    let one = |seed: &str| hit("kind = \"kill\"\nselect = { az = \"c\" }\nmode = \"one\"", seed);
    assert_eq!(one("42"), one("42"));
    let all: BTreeSet<_> = (0..50).map(|seed| one(&seed.to_string())).collect();
    assert_eq!(all.len(), 3);
}

#[test]
fn one_more_fault_changes_no_other() {
    let kill = |at: &str| {
        format!(
            "[[fault]]\nkind = \"kill\"\nselect = {{ role = \"core\" }}\nmode = \"one\"\n\
             at = \"{at}\"\nfor = \"1s\"\n"
        )
    };
    let first = |text: &str| {
        let plan = Plan::parse(text, Path::new("plan.toml")).unwrap();
        let rng = Rng::from_seed("42");
        let resolved = plan.resolve(&nodes(), &links(), Duration::from_secs(90), &rng).unwrap();
        resolved.faults[0].clone()
    };
    assert_eq!(first(&kill("1s")), first(&[kill("1s"), kill("5s")].concat()));
}

#[test]
fn links_are_found_by_their_ends() {
    let count = |links: &str| hit(&format!("kind = \"partition\"\nlinks = {links}"), "42").len();
    // api to core: 1 × 6 from a, 2 × 2 into a; core to storage: 2; robots to a's API: 1.
    assert_eq!(count("{ az = \"a\" }"), 13);
    assert_eq!(count("{ from = \"robots\" }"), 3);
    assert_eq!(count("{ from = \"robots\", to = { az = \"a\" } }"), 1);
    assert_eq!(count("{ from = { az = \"a\" }, to = { az = \"b\", role = \"core\" } }"), 2);
    assert_eq!(count("{ between = [{ az = \"a\" }, { az = \"c\" }] }"), 4);
    assert_eq!(count("[{ from = \"robots\" }, { to = \"b/storage-1\" }]"), 9);
    assert_eq!(count("{ az = \"a\" }\nmode = \"one\""), 1);
}

#[test]
fn a_resolved_plan_survives_its_file() {
    let fault =
        "kind = \"latency\"\nlinks = { az = \"a\" }\nlatency = \"100ms\"\njitter = \"50ms\"";
    let mut resolved = resolve(fault, "42").unwrap();
    let kill = "kind = \"kill\"\nnodes = [\"b/storage-1\"]";
    resolved.faults.extend(resolve(kill, "42").unwrap().faults);
    let text = toml::to_string(&resolved).unwrap();
    assert!(text.contains("robots -> a/api-1"), "{text}");
    let back: Resolved = toml::from_str(&text).unwrap();
    assert_eq!(back, resolved);
    assert_eq!(back.links_touched().len(), 13);
    let wrong = text.replace("jitter", "jitters");
    let error = toml::from_str::<Resolved>(&wrong).unwrap_err().to_string();
    assert!(error.contains("did you mean `jitter`"), "{error}");
}

#[test]
fn a_fault_without_a_meaning_in_a_world_is_refused_with_its_place() {
    let text = "[[fault]]\nkind = \"kill\"\nnodes = [\"a/core-1\"]\nat = \"1s\"\nfor = \"1s\"\n\
                [[fault]]\nkind = \"torn-write\"\nnodes = [\"b/storage-1\"]\nat = \"3s\"\n\
                for = \"1s\"\n";
    let plan = Plan::parse(text, Path::new("plan.toml")).unwrap();
    plan.check_world(World::Virtual).unwrap();
    let error = plan.check_world(World::Real).unwrap_err().to_string();
    let start = "plan.toml:7: `fault.kind`: `torn-write` has no meaning in the real world: run it with \
                 --time virtual, or take another fault (one of kill, terminate";
    assert!(error.starts_with(start), "{error}");
    let resolved =
        plan.resolve(&nodes(), &links(), Duration::from_secs(9), &Rng::from_seed("42")).unwrap();
    assert!(resolved.stranger_to(World::Virtual).is_none());
    assert_eq!(resolved.stranger_to(World::Real).unwrap().0, 1);
    let back: Resolved = toml::from_str(&toml::to_string(&resolved).unwrap()).unwrap();
    assert_eq!(back, resolved);
}

#[test]
fn a_fault_on_what_brokers_hold_is_refused_where_there_are_none() {
    let text =
        "[[fault]]\nkind = \"fill-queue\"\nnodes = [\"a/core-1\"]\nat = \"1s\"\nfor = \"1s\"\n";
    let plan = Plan::parse(text, Path::new("plan.toml")).unwrap();
    let resolved =
        plan.resolve(&nodes(), &links(), Duration::from_secs(9), &Rng::from_seed("42")).unwrap();
    let error = plan.check_brokers(&resolved, &nodes()).unwrap_err().to_string();
    assert!(error.starts_with("plan.toml:2: `fault.kind`: `fill-queue` needs a broker"), "{error}");
    let with = [nodes(), vec![NodeName::from("a/broker-1")]].concat();
    plan.check_brokers(&resolved, &with).unwrap();
}

#[test]
fn a_clock_that_jumps_is_one_that_is_wrong_again_and_again() {
    let text = "[[fault]]\nkind = \"skew\"\nnodes = [\"a/api-1\"]\nby = \"10s\"\nat = \"5s\"\n\
                for = \"3s\"\nevery = \"8s\"\n";
    let plan = Plan::parse(text, Path::new("plan.toml")).unwrap();
    plan.check_world(World::Real).unwrap();
    let resolved =
        plan.resolve(&nodes(), &links(), Duration::from_secs(30), &Rng::from_seed("42")).unwrap();
    let at: Vec<u64> = resolved.faults.iter().map(|fault| fault.at.0.as_secs()).collect();
    assert_eq!(at, [5, 13, 21]);
    assert!(resolved.faults.iter().all(|fault| fault.lasts.0.as_secs() == 3));
}

#[test]
fn adjoining_faults_of_one_victim_are_allowed_and_overlapping_ones_are_not() {
    let two = |second: &str| {
        let text = format!(
            "[[fault]]\nkind = \"kill\"\nnodes = [\"a/core-1\"]\nat = \"1s\"\nfor = \"2s\"\n\
             [[fault]]\nkind = \"kill\"\nselect = {{ az = \"a\" }}\nmode = \"all\"\n\
             at = \"{second}\"\nfor = \"2s\"\n"
        );
        let plan = Plan::parse(&text, Path::new("plan.toml")).unwrap();
        plan.resolve(&nodes(), &links(), Duration::from_secs(90), &Rng::from_seed("42"))
    };
    assert!(two("3s").is_ok());
    let error = two("2s").unwrap_err().to_string();
    assert!(error.contains("line 1 cannot both hold on a/core-1"), "{error}");
}

#[test]
fn each_kind_is_taken_in_its_worlds_and_in_no_other() {
    for entry in FAULTS {
        let plan = Plan::parse(entry.example, Path::new("example.toml")).unwrap();
        for world in World::BOTH {
            let taken = plan.check_world(*world);
            assert_eq!(taken.is_ok(), entry.worlds.contains(world), "{}: {taken:?}", entry.name);
        }
    }
}

fn plan(text: &str, seconds: u64, seed: &str) -> Result<Resolved, FileError> {
    let plan = Plan::parse(text, Path::new("plan.toml"))?;
    plan.resolve(&nodes(), &links(), Duration::from_secs(seconds), &Rng::from_seed(seed))
}

fn starts(resolved: &Resolved) -> Vec<f64> {
    resolved.faults.iter().map(|fault| fault.at.0.as_secs_f64()).collect()
}

const ONE_CORE: &str =
    "kind = \"kill\"\nselect = { role = \"core\" }\nmode = \"one\"\nfor = \"5s\"\n";

#[test]
fn every_strikes_again_and_again_and_draws_anew() {
    let text = format!("[[fault]]\n{ONE_CORE}every = \"20s\"\n");
    let resolved = plan(&text, 104, "42").unwrap();
    // The one at 100 s would end after the run.
    assert_eq!(starts(&resolved), [20.0, 40.0, 60.0, 80.0]);
    let victims: BTreeSet<_> = resolved.faults.iter().map(|f| f.nodes[0].clone()).collect();
    assert!(victims.len() > 1, "{victims:?}");
    let text = format!("[[fault]]\n{ONE_CORE}every = \"20s\"\nat = \"3s\"\ntimes = 2\n");
    assert_eq!(starts(&plan(&text, 104, "42").unwrap()), [3.0, 23.0]);
}

#[test]
fn what_strikes_again_leaves_out_what_cannot_hold() {
    let text =
        "[[fault]]\nkind = \"kill\"\nnodes = [\"b/storage-1\"]\nfor = \"25s\"\nevery = \"20s\"\n";
    assert_eq!(starts(&plan(text, 130, "42").unwrap()), [20.0, 60.0, 100.0]);
}

#[test]
fn poisson_strikes_as_often_as_it_says_in_the_mean() {
    let text = format!("[[fault]]\n{ONE_CORE}poisson = \"60s\"\nat = \"10s\"\n");
    let day = plan(&text, 86_400, "42").unwrap();
    // 1,440 in the mean, deviation 38; some find no free victim. No more than a plan may have.
    assert_eq!(day.faults.len(), 1_000);
    let hours = plan(&text, 36_000, "42").unwrap();
    assert!((520..=680).contains(&hours.faults.len()), "{}", hours.faults.len());
    assert!(starts(&hours).iter().all(|at| *at > 10.0));
    assert_eq!(hours, plan(&text, 36_000, "42").unwrap());
    assert_ne!(starts(&hours), starts(&plan(&text, 36_000, "43").unwrap()));
}

#[test]
fn a_sequence_follows_and_a_parallel_group_falls_together() {
    let two = format!("[[group.fault]]\n{ONE_CORE}[[group.fault]]\n{ONE_CORE}");
    let sequence = format!("[[group]]\nname = \"twice\"\nat = \"10s\"\npause = \"2s\"\n{two}");
    assert_eq!(starts(&plan(&sequence, 60, "42").unwrap()), [10.0, 17.0]);
    let again = format!("[[group]]\nevery = \"20s\"\npause = \"2s\"\n{two}");
    assert_eq!(starts(&plan(&again, 60, "42").unwrap()), [20.0, 40.0, 27.0, 47.0]);
    let parallel = "[[group]]\norder = \"parallel\"\nat = \"10s\"\n[[group.fault]]\nkind = \"kill\"\n\
                    nodes = [\"a/core-1\"]\nfor = \"5s\"\n[[group.fault]]\nkind = \"kill\"\nnodes = \
                    [\"b/core-1\"]\nfor = \"5s\"\nat = \"1s\"\n";
    assert_eq!(starts(&plan(parallel, 60, "42").unwrap()), [10.0, 11.0]);
}

#[test]
fn a_plan_takes_in_another() {
    let folder = tempfile::tempdir().unwrap();
    let inner = format!("[[fault]]\n{ONE_CORE}at = \"5s\"\n");
    std::fs::write(folder.path().join("inner.toml"), inner).unwrap();
    let outer = folder.path().join("outer.toml");
    let twice = "[[plan]]\nfile = \"inner.toml\"\n[[plan]]\nfile = \"inner.toml\"\nat = \"20s\"\n";
    std::fs::write(&outer, twice).unwrap();
    let plan = Plan::load(&outer).unwrap();
    let resolved =
        plan.resolve(&nodes(), &links(), Duration::from_mins(1), &Rng::from_seed("1")).unwrap();
    assert_eq!(starts(&resolved), [5.0, 25.0]);
    let monkey = "[[monkey]]\nevery = \"20s\"\nkinds = [\"kill\"]\n";
    std::fs::write(folder.path().join("inner.toml"), monkey).unwrap();
    std::fs::write(&outer, "[[plan]]\nfile = \"inner.toml\"\nat = \"30s\"\n").unwrap();
    let resolved = Plan::load(&outer)
        .unwrap()
        .resolve(&nodes(), &links(), Duration::from_mins(2), &Rng::from_seed("1"))
        .unwrap();
    assert_eq!(starts(&resolved), [50.0, 70.0, 90.0, 110.0]);
    std::fs::write(&outer, "[[plan]]\nfile = \"outer.toml\"\n").unwrap();
    let error = Plan::load(&outer).unwrap_err();
    assert!(error.what.contains("4 deep"), "{error}");
}

#[test]
fn each_copy_of_a_plan_strikes_at_gaps_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let now_and_then = |node: &str| {
        format!(
            "[[fault]]\nkind = \"kill\"\nnodes = [\"{node}\"]\npoisson = \"30s\"\nfor = \"3s\"\n"
        )
    };
    std::fs::write(folder.path().join("inner.toml"), now_and_then("b/core-1")).unwrap();
    let outer = folder.path().join("outer.toml");
    let moments = |plans: usize| {
        let own = now_and_then("a/core-1");
        let text = own + &"[[plan]]\nfile = \"inner.toml\"\n".repeat(plans);
        std::fs::write(&outer, text).unwrap();
        let plan = Plan::load(&outer).unwrap();
        let rng = Rng::from_seed("1").fork("chaos");
        let hour = Duration::from_hours(1);
        plan.faults.iter().map(|fault| fault.moments(hour, &rng)).collect::<Vec<_>>()
    };
    let (alone, together) = (moments(0), moments(2));
    assert_eq!(alone[0], together[0], "what is taken in changes nothing of what is there");
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let common = together[one].iter().filter(|at| together[other].contains(at)).count();
        assert_eq!(common, 0, "{one} and {other} strike together");
    }
    assert!(together.iter().all(|moments| moments.len() > 50));
}

#[test]
fn a_monkey_keeps_to_its_kinds_and_to_so_many_at_once() {
    let text =
        "[[monkey]]\npoisson = \"20s\"\nkinds = [\"kill\", \"latency\"]\nlongest = \"10s\"\n";
    let resolved = plan(text, 600, "42").unwrap();
    assert!(resolved.faults.len() > 10, "{}", resolved.faults.len());
    for (n, fault) in resolved.faults.iter().enumerate() {
        assert!(["kill", "latency"].contains(&fault.kind()));
        assert!((3.0..=10.0).contains(&fault.lasts.0.as_secs_f64()), "{}", fault.lasts);
        let window = (fault.at, fault.lasts);
        assert!(resolved.faults[..n].iter().all(|other| !other.overlaps(window)));
    }
    assert_eq!(resolved, plan(text, 600, "42").unwrap());
}

#[test]
fn what_waits_for_an_event_reads_back() {
    let text = "[[fault]]\nkind = \"kill\"\nnodes = [\"a/core-1\"]\nafter = { jobs-open = 100 }\n\
                until = \"recovered\"\nfor = \"5s\"\n";
    let resolved = plan(text, 60, "42").unwrap();
    let fault = &resolved.faults[0];
    assert_eq!(fault.after, Some(Event { gauge: Gauge::JobsOpen, count: 100 }));
    assert!(fault.until_recovered && fault.at.0.is_zero());
    assert_eq!(toml::from_str::<Resolved>(&toml::to_string(&resolved).unwrap()).unwrap(), resolved);
    assert_eq!(plan(&resolved.to_plan("again"), 60, "1").unwrap(), resolved);
}

#[test]
fn what_makes_no_sense_is_refused_where_it_stands() {
    let of = |keys: &str| {
        let text = format!("[[fault]]\n{ONE_CORE}{keys}\n");
        plan(&text, 60, "42").unwrap_err().to_string()
    };
    for (keys, words) in [
        ("every = \"10s\"\npoisson = \"10s\"", "plan.toml:7: `fault.poisson`"),
        ("every = \"10ms\"", "must be a second or more"),
        ("every = \"70s\"", "does not strike once in a run of"),
        ("at = \"1s\"\ntimes = 3", "only beside `every` or `poisson`"),
        ("every = \"10s\"\ntimes = 0", "from 1 to 1000"),
        ("every = \"10s\"\nafter = { accepts = 1 }", "cannot stand beside `after`"),
        ("after = { accept = 1 }", "accepts"),
        ("after = { }", "say what it waits for"),
        ("at = \"1s\"\nuntil = \"dawn\"", "must be \"recovered\""),
        ("", "say when"),
    ] {
        assert!(of(keys).contains(words), "{keys}: {}", of(keys));
    }
    let group = |rest: &str| plan(&format!("[[group]]\n{rest}"), 60, "42").unwrap_err().to_string();
    assert!(group("at = \"1s\"").contains("[[group.fault]]"));
    assert!(group("order = \"seqence\"\nat = \"1s\"").contains("sequence"));
    assert!(
        group("order = \"parallel\"\npause = \"1s\"\nat = \"1s\"").contains("only in a sequence")
    );
    let monkey =
        |rest: &str| plan(&format!("[[monkey]]\n{rest}"), 60, "42").unwrap_err().to_string();
    assert!(monkey("at = \"1s\"").contains("say how often"));
    assert!(monkey("every = \"9s\"\nkinds = [\"kil\"]").contains("kill"));
    assert!(monkey("every = \"9s\"\nlongest = \"1s\"").contains("shortest"));
}

#[test]
fn a_toxicity_says_what_it_is_drawn_for_and_links_must_have_that() {
    let partly = |links: &str, per: &str| {
        resolve(&format!("kind = \"reset\"\nlinks = {links}\ntoxicity = 0.1\n{per}"), "42")
    };
    let robots = "{ from = \"robots\" }";
    let resolved = partly(robots, "toxicity_per = \"request\"").unwrap();
    let toxicity = resolved.faults[0].toxicity.unwrap();
    assert_eq!((toxicity.share, toxicity.per), (0.1, Per::Request));
    assert!(resolved.stranger_to(World::Real).is_none());
    assert!(resolved.stranger_to(World::Virtual).is_none());
    let connections = partly(robots, "toxicity_per = \"connection\"").unwrap();
    assert!(connections.stranger_to(World::Real).is_none());
    let (_, why) = connections.stranger_to(World::Virtual).unwrap();
    assert!(why.contains("no connection of its own"), "{why}");
    let why = partly("{ az = \"a\" }", "toxicity_per = \"request\"").unwrap_err().to_string();
    assert!(why.contains("must be `connection` on a/api-1 -> "), "{why}");
    let why = partly(robots, "").unwrap_err().to_string();
    assert!(why.contains("toxicity_per") && why.contains("or \"request\""), "{why}");
}

#[test]
fn a_shape_tears_nodes_apart_and_the_seed_says_which() {
    // These cores do not dial each other.
    let error = resolve(
        "kind = \"partition\"\nlinks = { shape = \"ring\", among = { role = \"core\" } }",
        "1",
    );
    assert!(error.unwrap_err().to_string().contains("matches no link"));
    let among_all = |shape: &str, seed: &str| {
        let aim = format!("links = {{ shape = \"{shape}\", among = {{ az = \"a\" }} }}");
        hit(&format!("kind = \"partition\"\n{aim}"), seed)
    };
    let drawn: BTreeSet<_> = (0..30).map(|seed| among_all("isolate", &seed.to_string())).collect();
    assert!(drawn.len() > 1, "{drawn:?}");
    assert_eq!(among_all("isolate", "7"), among_all("isolate", "7"));
}
