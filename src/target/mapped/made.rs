//! Made things for templates: phone numbers by a pattern, plates, names, addresses, UUIDs. Drawn
//! from the run and the robot, so that a replay makes the same and a second run never meets the
//! leftovers of the first.

use minijinja::{Environment, Error, ErrorKind, State, Value};
use sha2::{Digest, Sha256};

use crate::base::rng::Rng;

const FIRST: &[&str] = &[
    "Aoife", "Brian", "Ciara", "Declan", "Emer", "Fionn", "Grace", "Hugh", "Isolde", "Jack",
    "Keeva", "Liam", "Maeve", "Niall", "Orla", "Padraig", "Roisin", "Sean", "Tara", "Una",
];
const LAST: &[&str] = &[
    "Byrne",
    "Carroll",
    "Doyle",
    "Egan",
    "Farrell",
    "Gallagher",
    "Hayes",
    "Kavanagh",
    "Lynch",
    "Murphy",
    "Nolan",
    "O'Brien",
    "Power",
    "Quinn",
    "Ryan",
    "Sheehan",
    "Tierney",
    "Walsh",
];
const STREETS: &[&str] =
    &["Abbey Street", "Castle Street", "Harbour Road", "High Street", "Mill Lane", "North Quay"];
/// Robots in the texts that they draw from, and a letter for each kind.
const KINDS: [(&str, char); 4] =
    [("/driver/", 'd'), ("/passenger/", 'p'), ("/auditor/", 'a'), ("/rogue/", 'r')];
/// Fewer digits cannot tell both robots and runs apart.
const PLACES_MIN: usize = 6;
/// Letters that nobody takes for a digit.
const LETTERS: &[u8] = b"ABCDEFGHJKLMNPRSTUVWXYZ";

/// The functions and filters of templates.
pub fn mount(environment: &mut Environment<'static>) {
    environment.add_function("pattern", pattern);
    environment.add_function("plate", plate);
    environment.add_function("unique", unique);
    environment.add_function("uuid", uuid);
    environment.add_function("person", person);
    environment.add_function("address", address);
    environment.add_filter("iso", iso);
    environment.add_filter("sha256", |text: &str| sha256(text));
    environment.add_filter("base64", |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    });
}

/// The names of the functions, for the documents.
pub const FUNCTIONS: &[(&str, &str)] = &[
    (
        "pattern('+353 8# ### ####')",
        "each `#` a digit, six or more of them; unique among the robots of a run, and hardly ever met \
         by another run (eight digits, 1,000 robots: once in 16,000 pairs of runs)",
    ),
    ("plate()", "a number plate, unique among the robots of a run"),
    ("unique('rc-')", "the text, then what tells run and robot apart"),
    ("uuid()", "a UUID (version 4): the same for a robot throughout a run"),
    ("person()", "a first and a last name"),
    ("address(at)", "a street and a number for a place"),
    ("ask.wall_ms | iso", "a moment as RFC 3339 in UTC, to the millisecond"),
    ("text | sha256", "SHA-256 in hexadecimal"),
    ("text | base64", "base64, for HTTP basic authentication"),
];

/// Milliseconds since 1970 as people and most backends write a moment.
fn iso(ms: i64) -> Result<String, Error> {
    let moment = jiff::Timestamp::from_millisecond(ms)
        .map_err(|why| Error::new(ErrorKind::InvalidOperation, why.to_string()))?;
    Ok(format!("{moment:.3}"))
}

/// Who draws: run and robot.
fn who(state: &State<'_, '_>) -> (String, u64) {
    let draw = state.lookup("draw__").map(|value| value.to_string()).unwrap_or_default();
    let number = draw.rsplit('/').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    (draw, number)
}

/// Which of [`KINDS`] draws.
fn kind(draw: &str) -> usize {
    KINDS.iter().position(|(kind, _)| draw.contains(kind)).unwrap_or(0)
}

/// The run alone, as a word of hexadecimal digits.
fn run_word(draw: &str) -> String {
    let run = draw.rsplit_once('/').and_then(|(rest, _)| rest.rsplit_once('/'));
    sha256(run.map_or(draw, |(run, _)| run))
}

/// Counts on from a place of the run's own, and around at the end: robots of one run never share a
/// text, and two runs of `n` robots do with a chance of about `6 n / 10^places`.
fn pattern(state: &State<'_, '_>, pattern: &str) -> Result<String, Error> {
    let (draw, number) = who(state);
    let places = pattern.bytes().filter(|byte| *byte == b'#').count();
    if places < PLACES_MIN {
        let why = format!(
            "`{pattern}` has {places} `#`, and needs at least {PLACES_MIN} to tell robots and runs \
             apart"
        );
        return Err(Error::new(ErrorKind::InvalidOperation, why));
    }
    let run = u64::from_str_radix(&run_word(&draw)[..16], 16).unwrap_or(0);
    let own = number * KINDS.len() as u64 + kind(&draw) as u64;
    let all = 10_u64.checked_pow(places as u32).unwrap_or(u64::MAX);
    let filled = format!("{:0places$}", (run % all).wrapping_add(own) % all);
    let mut digits = filled.chars();
    Ok(pattern.chars().map(|c| if c == '#' { digits.next().unwrap_or('0') } else { c }).collect())
}

fn plate(state: &State<'_, '_>) -> String {
    let (draw, number) = who(state);
    let mut rng = Rng::from_seed(&run_word(&draw)[..8]);
    let letters: String = (0..3).map(|_| char::from(LETTERS[rng.below(LETTERS.len())])).collect();
    format!("{letters}-{number:05}")
}

fn unique(state: &State<'_, '_>, head: &str) -> String {
    let (draw, number) = who(state);
    format!("{head}{}-{}{number:05}", &run_word(&draw)[..8], KINDS[kind(&draw)].1)
}

fn uuid(state: &State<'_, '_>) -> String {
    let digest = sha256(&format!("uuid of {}", who(state).0));
    // Version 4, variant 8: the digits between them are the digest's own.
    format!(
        "{}-{}-4{}-8{}-{}",
        &digest[..8],
        &digest[8..12],
        &digest[13..16],
        &digest[17..20],
        &digest[20..32]
    )
}

fn person(state: &State<'_, '_>) -> String {
    let mut rng = Rng::from_seed(&who(state).0);
    let (first, last) = (FIRST[rng.below(FIRST.len())], LAST[rng.below(LAST.len())]);
    format!("{first} {last}")
}

fn address(at: &Value) -> Result<String, Error> {
    let degrees = |axis: &str| {
        at.get_attr(axis).ok().and_then(|value| f64::try_from(value).ok()).ok_or_else(|| {
            Error::new(ErrorKind::InvalidOperation, "address() needs a place: at or to")
        })
    };
    let (lat, lon) = (degrees("lat")?, degrees("lon")?);
    let mut rng = Rng::from_seed(&format!("{lat:.4} {lon:.4}"));
    Ok(format!("{} {}", 1 + rng.below(180), STREETS[rng.below(STREETS.len())]))
}

fn sha256(text: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(source: &str, run: &str, robot: &str) -> Result<String, String> {
        let mut environment = Environment::new();
        mount(&mut environment);
        let formula = environment.compile_expression_owned(source.to_owned()).unwrap();
        let draw = minijinja::context! { draw__ => format!("seed/{run}/{robot}") };
        formula.eval(draw).map(|value| value.to_string()).map_err(|why| why.to_string())
    }

    #[test]
    fn robots_and_runs_are_told_apart() {
        let robots = ["driver/00000", "driver/00001", "passenger/00000", "auditor/00000"];
        for source in ["pattern('+353 8# ### ###')", "unique('rc-')", "uuid()"] {
            let all = ["one", "two"].map(|run| robots.map(|robot| made(source, run, robot)));
            let all: std::collections::BTreeSet<_> =
                all.into_iter().flatten().map(Result::unwrap).collect();
            assert_eq!(all.len(), 8, "{all:?}");
            assert_eq!(made(source, "one", robots[1]), made(source, "one", robots[1]));
        }
        let phone = made("pattern('+353 8# ### ###')", "one", "driver/00000").unwrap();
        assert!(phone.starts_with("+353 8") && phone.len() == 15, "{phone}");
    }

    #[test]
    fn too_few_digits_are_refused() {
        let why = made("pattern('8#-####')", "one", "driver/00000").unwrap_err();
        assert!(why.contains("at least 6"), "{why}");
    }
}
