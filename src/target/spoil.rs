//! How a right request is spoiled on purpose: the same for every target that speaks JSON.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::{history::probe::Probe, scenario::Robots};

/// More than anybody needs for one request.
const OVERSIZED_BYTES: usize = 20_000;
/// Stands for a number until the body is text: JSON has no word for what is none.
const NONE_YET: &str = "@NaN@";

/// Those of the probes that robots with these habits send.
pub fn sent(probes: impl Iterator<Item = Probe>, robots: &Robots) -> Vec<Probe> {
    let wanted = |probe: &Probe| match probe {
        Probe::PingReplay => robots.mishaps.replays > 0.0,
        _ => robots.rogue.share > 0.0,
    };
    probes.filter(wanted).collect()
}

/// The body as it is sent; none where it cannot be wrong in that way.
pub fn body(right: &Bytes, probe: Probe) -> Option<Bytes> {
    if !probe.is_of_input() || probe == Probe::InputUnknownId {
        return Some(right.clone());
    }
    let Ok(Value::Object(mut body)) = serde_json::from_slice(right) else { return None };
    match probe {
        Probe::InputNan => put_number(&mut body, &NONE_YET.into())?,
        Probe::InputRange => put_number(&mut body, &json!(191))?,
        Probe::InputMissing => {
            let first = body.keys().next().cloned()?;
            body.remove(&first);
        }
        Probe::InputType => {
            let (_, value) = body.iter_mut().next()?;
            *value = if value.is_string() { json!(7.5) } else { json!("much") };
        }
        Probe::InputOversized => {
            body.insert("padding".into(), "x".repeat(OVERSIZED_BYTES).into());
        }
        _ => return Some(right.slice(..right.len() / 2)),
    }
    let text = Value::Object(body).to_string();
    Some(text.replace(&format!("\"{NONE_YET}\""), "NaN").into())
}

/// Puts a value in the place of the first number that a body has, however deep; none where it has
/// none.
fn put_number(body: &mut Map<String, Value>, put: &Value) -> Option<()> {
    body.values_mut().find_map(|value| match value {
        Value::Number(_) => {
            *value = put.clone();
            Some(())
        }
        Value::Object(inner) => put_number(inner, put),
        _ => None,
    })
}

/// The same token with another letter in the middle.
pub fn forged(token: &str) -> Option<String> {
    let (at, letter) = token.char_indices().nth(token.chars().count() / 2)?;
    let other = if letter == 'A' { 'B' } else { 'A' };
    let rest = &token[at + letter.len_utf8()..];
    Some(format!("{}{other}{rest}", &token[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(right: &str, probe: Probe) -> Option<String> {
        let body = body(&Bytes::from(right.to_owned()), probe)?;
        Some(String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn each_input_probe_spoils_a_body_in_its_way() {
        let right = r#"{"from":{"lat":53.3,"lon":-6.2},"key":"k","to":{"lat":53.4,"lon":-6.1}}"#;
        let spoiled = |probe| told(right, probe).unwrap();
        assert_eq!(spoiled(Probe::JobOther), right);
        let none = spoiled(Probe::InputNan);
        assert!(none.starts_with(r#"{"from":{"lat":NaN,"lon":-6.2}"#), "{none}");
        let range = spoiled(Probe::InputRange);
        assert!(range.starts_with(r#"{"from":{"lat":191,"lon":-6.2}"#), "{range}");
        assert!(spoiled(Probe::InputMissing).starts_with(r#"{"key""#));
        assert!(spoiled(Probe::InputType).starts_with(r#"{"from":"much""#));
        assert_eq!(told(r#"{"job":"7"}"#, Probe::InputType).unwrap(), r#"{"job":7.5}"#);
        let stars = told(r#"{"job":"7","stars":1}"#, Probe::InputRange).unwrap();
        assert_eq!(stars, r#"{"job":"7","stars":191}"#);
        assert!(spoiled(Probe::InputOversized).len() > OVERSIZED_BYTES);
        assert_eq!(spoiled(Probe::InputGarbled).len(), right.len() / 2);
        for probe in Probe::ALL.iter().filter(|probe| probe.is_of_input()) {
            let same = *probe == Probe::InputUnknownId;
            assert_eq!(spoiled(*probe) == right, same, "{probe}");
            assert_eq!(told("", *probe).is_some(), same, "there is nothing to spoil: {probe}");
        }
        assert_eq!(told(r#"{"job":"7"}"#, Probe::InputNan), None);
        assert_eq!(told("{}", Probe::InputMissing), None);
    }

    #[test]
    fn a_forged_token_differs_in_one_letter() {
        let own = "AAAABBBBCCCC";
        let other = forged(own).unwrap();
        assert_eq!(own.chars().zip(other.chars()).filter(|(one, two)| one != two).count(), 1);
        assert_eq!(forged(""), None);
    }
}
