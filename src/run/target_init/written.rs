//! The text of a mapping that a document gave, with TODO where it does not tell. Chooses nothing.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    matching::is_job,
    openapi::{Document, Operation},
};
use crate::history::{answer::JobState, op::OpKind};

/// How deep a body or an answer is looked into.
const DEPTH_MAX: usize = 4;

/// The backend's usual words for a state, in small letters without separators.
const STATES: &[(JobState, &[&str])] = &[
    (JobState::Requested, &["request", "search", "pending", "creat", "new", "open", "waiting"]),
    (JobState::Offered, &["offer", "propos", "dispatch"]),
    (JobState::Accepted, &["accept", "confirm", "match", "assign", "enroute"]),
    (JobState::Arrived, &["arriv", "atpickup"]),
    (JobState::PickedUp, &["pick", "start", "progress", "ongoing", "ontrip", "riding", "ontheway"]),
    (JobState::Completed, &["complet", "finish", "done", "ended", "dropped", "closed", "paid"]),
    (JobState::Cancelled, &["cancel", "abort"]),
    (JobState::Expired, &["expir", "timeout", "nodriver", "unmatched", "failed"]),
];

/// The whole file.
pub fn text(document: &Document, chosen: &[(OpKind, usize)]) -> String {
    let mut text = head(document);
    let has = |op: OpKind| chosen.iter().any(|(known, _)| *known == op);
    let job = chosen.iter().find_map(|(op, at)| {
        let wanted = matches!(op, OpKind::PassengerRequestJob | OpKind::PassengerJobStatus);
        let answer = document.operations[*at].answer.as_ref()?;
        wanted.then_some(answer).filter(|answer| id_path(document, answer).is_some())
    });
    states(document, job, &mut text);
    let how = if has(OpKind::DriverNextOffer) { "poll" } else { "ping" };
    let _ = write!(
        text,
        "\n# ping, poll, push or relay: TODO if this is not how a driver hears of an offer.\n\
         [offers]\nhow = \"{how}\"\n\n\
         [declares]\noffer_ttl = \"15s\"\nsearch_ttl = \"60s\"\n\n\
         [shape.job.job]\n"
    );
    let id = job.and_then(|job| id_path(document, job));
    let _ = writeln!(text, "id = {}", quoted(id.as_deref().unwrap_or("$.TODO")));
    if let Some(path) = job.and_then(|job| find(document, job, &["status", "state"])) {
        let _ = writeln!(text, "state = {}", quoted(&path));
    }
    if how == "ping" && has(OpKind::DriverPing) {
        text.push_str("\n[shape.offer.offer]\nid = \"$.offer.TODO\"\njob = \"$.offer.TODO\"\n");
    }
    for (op, at) in chosen {
        step(document, *op, &document.operations[*at], how, &mut text);
    }
    rest(document, chosen, &mut text);
    text
}

fn head(document: &Document) -> String {
    let url = document.url.as_deref().unwrap_or("http://127.0.0.1:8080");
    let host = url.split("://").nth(1).unwrap_or_default().split(['/', ':']).next();
    let host = host.unwrap_or_default();
    let mut text = format!(
        "# Made from an OpenAPI document by words: look every step over, and put right what says \
         TODO.\n\nschema = 1\nname = {}\nabout = \"TODO\"\n",
        quoted(&document.title)
    );
    if !matches!(host, "127.0.0.1" | "localhost") {
        let _ = write!(
            text,
            "environment = \"staging\" # TODO: local, staging or production\n\
             hosts = [{}]\nceiling_per_second = 10\n",
            quoted(host)
        );
    }
    let todo = if document.url.is_none() { " # TODO" } else { "" };
    let _ = writeln!(text, "\n[link.api]\nurl = {}{todo}", quoted(url));
    for kind in ["driver", "passenger"] {
        let _ = write!(
            text,
            "\n[robot.{kind}]\nphone = \"{{{{ pattern('+353#########') }}}}\"\n\
             name = \"{{{{ person() }}}}\"\nemail = \"{{{{ unique('robot-') }}}}@example.com\"\n\
             password = \"{{{{ unique('pw-') }}}}\"\n"
        );
    }
    match &document.auth {
        Some((name, value)) => {
            let _ = writeln!(text, "\n[auth]\nheaders.{} = {}", key(name), quoted(value));
        }
        None => {
            text.push_str("\n# TODO: the document names no bearer token and no header with one.\n");
        }
    }
    text.push_str("\n[answer]\nerror = \"$.message\" # TODO: its words on what went wrong\n");
    text
}

fn states(document: &Document, job: Option<&Value>, text: &mut String) {
    let words = job.and_then(|job| property(document, job, &["status", "state"]));
    let words: Vec<String> = words
        .as_ref()
        .and_then(|state| state["enum"].as_array())
        .map(|words| words.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    text.push_str("\n# The backend's words for the states of a job.\n[state]\n");
    let ours = |word: &str| {
        let word: String =
            word.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
        let fits = |parts: &[&str]| parts.iter().any(|part| word.contains(part));
        STATES.iter().rev().find(|(_, parts)| fits(parts)).map(|(state, _)| *state)
    };
    for state in JobState::ALL {
        let mine: Vec<_> =
            words.iter().filter(|word| ours(word) == Some(state)).map(|w| quoted(w)).collect();
        let todo = if mine.is_empty() { " # TODO" } else { "" };
        let _ = writeln!(text, "{} = [{}]{todo}", state.word(), mine.join(", "));
    }
    for word in words.iter().filter(|word| ours(word).is_none()) {
        let _ = writeln!(text, "# TODO: where does {} belong?", quoted(word));
    }
}

fn step(document: &Document, op: OpKind, operation: &Operation, how: &str, text: &mut String) {
    let path = quoted(&path(&operation.path));
    let _ = write!(text, "\n[{op}]\n{} = {path}\n", operation.method.to_lowercase());
    let (table, word) = op.word().split_once('.').unwrap_or(("", ""));
    let enters = matches!(word, "register" | "login");
    if operation.open.unwrap_or(enters) || enters {
        text.push_str("open = true\n");
    }
    if let Some((kind, schema)) = &operation.body {
        let body = body(document, schema, table, "at", 0);
        let _ = writeln!(text, "{kind} = {body}");
    }
    let answer = operation.answer.as_ref();
    let found = |names: &[&str]| {
        answer.and_then(|answer| find(document, answer, names)).unwrap_or("$.TODO".into())
    };
    match op {
        OpKind::DriverRegister | OpKind::PassengerRegister => {
            let names = ["user_id", "driver_id", "passenger_id", "customer_id", "account_id", "id"];
            let _ = writeln!(text, "read.account = {}", quoted(&found(&names)));
        }
        OpKind::DriverLogin | OpKind::PassengerLogin => {
            let path = found(&["access_token", "accesstoken", "token", "jwt", "session"]);
            let _ = writeln!(text, "keep.token = {}", quoted(&path));
        }
        OpKind::DriverPing if how == "ping" => text.push_str("shape = \"offer\"\n"),
        OpKind::DriverNextOffer => {
            let (id, job) = (found(&["offer_id", "id"]), found(&["ride_id", "job_id", "trip_id"]));
            let _ = writeln!(
                text,
                "read.offer = {{ id = {}, job = {} }}",
                quoted(&id),
                quoted(&job)
            );
        }
        OpKind::PassengerQuote => {
            let _ = writeln!(text, "read.quote = {{ fare = {} }}", quoted(&found(&["fare", "price", "amount"])));
        }
        OpKind::PassengerPay => {
            let (id, amount) = (found(&["payment_id", "charge_id", "id"]), found(&["amount", "total"]));
            let _ = writeln!(
                text,
                "read.charges = {{ id = {}, amount = {{ path = {}, as = \"major\" }} }}",
                quoted(&id),
                quoted(&amount)
            );
        }
        OpKind::AuditJobs => text.push_str(
            "read.jobs = { each = \"$\", id = \"$.TODO\", state = \"$.TODO\" }\n",
        ),
        OpKind::AuditCharges => text.push_str(
            "read.charges = { each = \"$\", id = \"$.TODO\", job = \"$.TODO\", amount = \"$.TODO\" }\n",
        ),
        OpKind::PassengerRequestJob
        | OpKind::PassengerJobStatus
        | OpKind::PassengerCurrentJob
        | OpKind::DriverCurrentJob
        | OpKind::AuditJob => text.push_str("shape = \"job\"\n"),
        _ if answer.is_some_and(|answer| id_path(document, answer).is_some()) => {
            text.push_str("shape = \"job\"\n");
        }
        _ => {}
    }
}

/// A path with what robots know in the place of its parameters.
fn path(path: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.split('/') {
        let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
            parts.push(part.to_owned());
            continue;
        };
        let before = parts.last().map_or("", String::as_str);
        let filled = if is_job(before) || is_job(name) {
            "{{ job.id }}"
        } else if before.starts_with("offer") || name.to_lowercase().starts_with("offer") {
            "{{ ask.offer }}"
        } else if ["driver", "passenger", "customer", "user"].iter().any(|w| before.starts_with(w))
        {
            "{{ me.account }}"
        } else {
            "TODO"
        };
        parts.push(filled.to_owned());
    }
    parts.join("/")
}

/// A body as an inline table; `place` is the one that a bare `lat` is of.
fn body(document: &Document, schema: &Value, table: &str, place: &str, depth: usize) -> String {
    let schema = document.resolved(schema);
    if let Some(items) = schema.get("items")
        && depth < DEPTH_MAX
    {
        return format!("[{}]", body(document, items, table, place, depth + 1));
    }
    let Some(properties) = schema["properties"].as_object().filter(|_| depth < DEPTH_MAX) else {
        return quoted("TODO");
    };
    let mut pairs = Vec::new();
    for (name, inner) in properties {
        let plain: String =
            name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
        let goes = ["to", "dest", "drop", "end"].iter().any(|word| plain.starts_with(word));
        let place = if goes { "to" } else { place };
        let inner = document.resolved(inner);
        let value = if inner.get("properties").is_some() || inner.get("items").is_some() {
            body(document, &inner, table, place, depth + 1)
        } else {
            known(&plain, table, place)
        };
        pairs.push(format!("{} = {value}", key(name)));
    }
    format!("{{ {} }}", pairs.join(", "))
}

/// What a field of that name is filled with.
fn known(plain: &str, table: &str, place: &str) -> String {
    let ends = |words: &[&str]| words.iter().any(|word| plain.ends_with(word));
    let template = if ends(&["lat", "latitude"]) {
        format!("{{{{ {place}.lat }}}}")
    } else if ends(&["lon", "lng", "long", "longitude"]) {
        format!("{{{{ {place}.lon }}}}")
    } else if ends(&["phone", "mobile", "phonenumber", "msisdn"]) {
        "{{ me.phone }}".to_owned()
    } else if ends(&["password", "secret", "pin"]) {
        "{{ me.password }}".to_owned()
    } else if ends(&["email", "mail"]) {
        "{{ me.email }}".to_owned()
    } else if plain.ends_with("name") {
        "{{ me.name }}".to_owned()
    } else if plain == "role" || plain == "usertype" {
        table.to_owned()
    } else if ends(&["idempotencykey", "requestid", "clientref"]) {
        "{{ ask.key }}".to_owned()
    } else if is_job(plain) && plain.ends_with("id") {
        "{{ job.id }}".to_owned()
    } else if ends(&["stars", "rating", "score"]) {
        "{{ ask.stars }}".to_owned()
    } else if plain == "reason" {
        "{{ ask.reason }}".to_owned()
    } else {
        "TODO".to_owned()
    };
    quoted(&template)
}

/// Where an answer has the id of its job.
fn id_path(document: &Document, answer: &Value) -> Option<String> {
    let names = ["ride_id", "rideid", "job_id", "jobid", "trip_id", "tripid", "booking_id"];
    let by_name = find(document, answer, &names);
    by_name.or_else(|| find(document, answer, &["order_id", "orderid", "id", "uuid"]))
}

/// The JSONPath of the first property of one of those names, the better name first.
fn find(document: &Document, schema: &Value, names: &[&str]) -> Option<String> {
    names
        .iter()
        .find_map(|name| search(document, schema, name, 0).map(|(path, _)| format!("${path}")))
}

fn property(document: &Document, schema: &Value, names: &[&str]) -> Option<Value> {
    names.iter().find_map(|name| search(document, schema, name, 0).map(|(_, found)| found))
}

fn search(
    document: &Document,
    schema: &Value,
    name: &str,
    depth: usize,
) -> Option<(String, Value)> {
    let schema = document.resolved(schema);
    let properties = schema["properties"].as_object().filter(|_| depth < DEPTH_MAX)?;
    let plain = |name: &str| name.to_lowercase().replace(['_', '-'], "");
    let own = properties.iter().find(|(known, _)| plain(known) == plain(name));
    if let Some((known, found)) = own {
        return Some((step_of(known), document.resolved(found)));
    }
    properties.iter().find_map(|(known, inner)| {
        let (path, found) = search(document, inner, name, depth + 1)?;
        Some((format!("{}{path}", step_of(known)), found))
    })
}

fn step_of(name: &str) -> String {
    if is_bare(name) && !name.contains('-') { format!(".{name}") } else { format!("['{name}']") }
}

/// What is left of the document.
fn rest(document: &Document, chosen: &[(OpKind, usize)], text: &mut String) {
    text.push_str("\n# Of the document nobody uses:\n");
    for (at, operation) in document.operations.iter().enumerate() {
        if !chosen.iter().any(|(_, taken)| *taken == at) {
            let _ = writeln!(text, "#   {} {}", operation.method, operation.path);
        }
    }
}

fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn key(name: &str) -> String {
    if is_bare(name) { name.to_owned() } else { quoted(name) }
}

/// As TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
