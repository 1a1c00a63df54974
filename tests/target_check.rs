//! `target check` against a small backend in another language: it walks one job through, and names
//! what is wrong with a mapping in words that a person can act on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test, in the real world"
)]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

/// The server of the tests; it ends with its standard input.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new("/usr/bin/python3")
            .args(["tests/backends/envelope/server.py", "--port", "0", "--until-stdin-closes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn check(file: &Path, url: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_robot-city"))
        .args(["target", "check"])
        .arg(file)
        .env("ENVELOPE_URL", url)
        .env("ENVELOPE_ADMIN_KEY", "operator-key")
        .output()
        .unwrap()
}

/// Checks the server's mapping with one text in it changed; the exit code and all that was said.
fn changed(from: &str, to: &str, url: &str) -> (Option<i32>, String) {
    let text = std::fs::read_to_string("tests/backends/envelope/target.toml").unwrap();
    assert!(text.contains(from), "{from}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("target.toml");
    std::fs::write(&file, text.replace(from, to)).unwrap();
    let output = check(&file, url);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_sound_mapping_is_walked_to_its_end() {
    let server = Server::start();
    let output = check(Path::new("tests/backends/envelope/target.toml"), &server.url);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for words in [
        "sent: POST /v2/auth/register",
        "authorization: ***",
        "x-admin-key: ***",
        "passenger.quote: not mapped, skipped",
        "relayed by the simulator",
        "\ndriver.drop_off\n",
        "\"state\":\"completed\"",
        "\"amount_minor\":",
        "the same request again gave the same job",
        "charged-once: can be judged",
        "the walk went well",
    ] {
        assert!(said.contains(words), "no `{words}` in:\n{said}");
    }
    for secret in ["operator-key", "at_", "rt_", "pw-"] {
        let word = said.split_whitespace().find(|word| word.trim_matches('"').starts_with(secret));
        assert_eq!(word, None, "a secret is shown");
    }
}

#[test]
fn what_is_wrong_with_a_mapping_is_said() {
    let cases = [
        ("/v2/trips/{{ job.trip }}/start", "/v2/trips/{{ job.trip }}/go", "Is the path right?"),
        (
            "fare = { path = \"$.data.fare\"",
            "fare = { path = \"$.data.status\"",
            "is not an amount",
        ),
        ("accepted = [\"CONFIRMED\"]", "accepted = [\"TAKEN\"]", "`CONFIRMED` stands in no list"),
        (
            "keep_job.trip = \"$.data.trip_id\"",
            "keep_job.trip = \"$.data.trip\"",
            "keep_job.trip` matched nothing",
        ),
        (
            "{{ secret.admin_key }}\"",
            "x{{ secret.admin_key }}\"",
            "setup.approve_driver: refused with status 403",
        ),
    ];
    for (from, to, words) in cases {
        // Of its own: nobody meets the accounts of another.
        let server = Server::start();
        let (code, said) = changed(from, to, &server.url);
        assert_eq!(code, Some(69), "{to}: {said}");
        let told = said.split("to put right:").nth(1).unwrap_or_default();
        assert!(told.contains(words), "no `{words}` in:\n{said}");
    }
}

#[test]
fn a_pick_that_never_matched_is_named() {
    let server = Server::start();
    let (code, said) =
        changed("id = \"$.data.payment_id\"", "id = \"$.data.receipt\"", &server.url);
    // What was paid cannot be told.
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("`passenger.pay.read.charges.id` matched nothing"), "{said}");
}

#[test]
fn a_target_that_is_down_and_a_wrong_file_have_codes_of_their_own() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let (code, said) = changed("schema = 1", "schema = 1", &url);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("[link.api]") && said.contains("Is it up"), "{said}");
    let (code, said) = changed("[driver.accept]", "[driver.acept]", &url);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("did you mean `accept`"), "{said}");
}
