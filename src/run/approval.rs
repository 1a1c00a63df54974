//! Leave to break things at a target that people use: a file that names the very faults, who allowed
//! them, and when. Without faults nobody asks for it.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plan::{MappingFile, RunPlan, sha256};
use crate::{
    base::file::{FileError, Source},
    target::mapped::grammar::Environment,
};

/// What an approval says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// SHA-256 of the resolved fault plan.
    pub plan_sha256: String,
    /// Who approved it.
    pub approver: String,
    /// RFC 3339: not before that moment.
    pub not_before: Timestamp,
    /// RFC 3339: from that moment on no more.
    pub expires: Timestamp,
}

impl Approval {
    /// Keeps the file's text for a plan; whether it is good is asked by [`check`].
    pub fn read(path: &Path) -> Result<MappingFile, FileError> {
        let source = Source::read(path)?;
        source.parse::<Self>()?;
        Ok(MappingFile { path: PathBuf::from(&source.path), text: source.text })
    }
}

/// What the faults of a plan are approved by.
pub fn fault_sha256(plan: &RunPlan) -> Result<String, FileError> {
    let text = toml::to_string(&plan.faults).map_err(|why| {
        FileError::whole(Path::new(&plan.scenario.chaos), format!("cannot be written: {why}"))
    })?;
    Ok(sha256(&text))
}

/// Whether the plan may begin now; asked before a robot starts.
pub fn check(plan: &RunPlan, now: Timestamp) -> Result<(), FileError> {
    let Some(mapping) = &plan.mapping else { return Ok(()) };
    if plan.is_calm() || plan.compile(mapping, "not yet")?.environment != Environment::Production {
        return Ok(());
    }
    let sha = fault_sha256(plan)?;
    let Some(file) = &plan.approval else {
        let why = format!(
            "is `production`, and faults ({}) need an approval there: give --approval FILE, a TOML \
             with plan_sha256 = \"{sha}\", approver, not_before and expires; or --chaos none",
            plan.scenario.chaos
        );
        return Err(mapping.source().error("environment", why));
    };
    let source = file.source();
    judge(&source, &source.parse()?, &sha, now)
}

fn judge(source: &Source, approval: &Approval, sha: &str, now: Timestamp) -> Result<(), FileError> {
    let wrong = |key: &str, why: String| Err(source.error(key, why));
    if approval.plan_sha256 != sha {
        let why = format!(
            "approves other faults: those of this run are \"{sha}\" (victims and times follow from \
             --seed: give the one that was approved)"
        );
        return wrong("plan_sha256", why);
    }
    if approval.approver.trim().is_empty() {
        return wrong("approver", "names nobody".to_owned());
    }
    if approval.expires <= approval.not_before {
        return wrong("expires", "comes before `not_before`".to_owned());
    }
    if now < approval.not_before {
        return wrong("not_before", format!("is still to come: it is {now}"));
    }
    if now >= approval.expires {
        return wrong("expires", format!("has passed: it is {now}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "plan_sha256 = \"ab12\"\napprover = \"Ann\"\n\
                        not_before = \"2026-11-21T20:00:00Z\"\nexpires = \"2026-11-21T22:00:00Z\"\n";

    fn judged(text: &str, now: &str) -> Result<(), String> {
        let source = Source::new(Path::new("ok.toml"), text);
        let approval = source.parse().map_err(|why: FileError| why.to_string())?;
        judge(&source, &approval, "ab12", now.parse().unwrap()).map_err(|why| why.to_string())
    }

    #[test]
    fn an_approval_is_of_these_faults_by_somebody_and_for_now() {
        let now = "2026-11-21T21:00:00Z";
        judged(GOOD, now).unwrap();
        for (text, at, key, word) in [
            (GOOD.replace("ab12", "cd34"), now, "plan_sha256", "ab12"),
            (GOOD.replace("Ann", " "), now, "approver", "nobody"),
            (GOOD.replace("T22", "T19"), now, "expires", "not_before"),
            (GOOD.to_owned(), "2026-11-21T19:59:59Z", "not_before", "still to come"),
            (GOOD.to_owned(), "2026-11-21T22:00:00Z", "expires", "has passed"),
            (GOOD.replace("T22:00:00Z", ""), now, "expires", "ok.toml"),
            (format!("{GOOD}wish = 1\n"), now, "wish", "ok.toml"),
        ] {
            let why = judged(&text, at).unwrap_err();
            assert!(why.contains(key) && why.contains(word) && why.contains("ok.toml"), "{why}");
        }
    }
}
