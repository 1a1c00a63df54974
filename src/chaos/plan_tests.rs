//! Drawing the victims of a plan.

use super::*;

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
                [[fault]]\nkind = \"skew\"\nnodes = [\"a/core-1\"]\nby = \"2s\"\nat = \"3s\"\n\
                for = \"1s\"\n";
    let plan = Plan::parse(text, Path::new("plan.toml")).unwrap();
    plan.check_world(World::Virtual).unwrap();
    let error = plan.check_world(World::Real).unwrap_err().to_string();
    let start = "plan.toml:7: `fault.kind`: `skew` has no meaning in the real world: run it with \
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
