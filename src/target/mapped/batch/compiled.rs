//! `[driver.ping.batch]`, compiled and checked. Sends nothing.

use std::time::Duration;

use super::{
    super::{
        grammar::{Read, Rules, Step},
        judge::{Judge, Names},
        pick::{Path, Pick},
        read::Wrong,
        step::File,
        template::{Text, Tree},
    },
    grammar::{Batch, Of, Results},
};

/// The most updates of one request that a file may ask for.
const MOST_MAX: u32 = 10_000;
/// The step that gathers.
pub const STEP: &str = "driver.ping";
/// What an answer is about one robot alone, and a request of many is not.
const OF_ONE: &[&str] = &["at", "to", "ask", "job"];

/// How updates are gathered.
#[derive(Debug)]
pub struct Gather {
    /// The most of one request.
    pub most: usize,
    /// How long the oldest waits for company.
    pub within: Duration,
    /// Whose go together.
    pub of: Of,
    /// One update.
    pub each: Tree,
    /// Updates that may wait.
    pub queue: usize,
    /// Requests under way at once.
    pub at_once: usize,
    /// What becomes of each.
    pub results: Option<Entries>,
}

/// What the answer says of each update.
#[derive(Debug)]
pub struct Entries {
    /// Where they are.
    pub each: Path,
    /// What names the update of an entry, and what names it here.
    pub named: Option<(Pick, Text)>,
    /// How an entry is judged.
    pub judge: Judge,
}

impl Gather {
    /// Compiles the batch of the step that stands at `key`.
    pub fn compile(file: &mut File<'_>, step: &Step, key: &str) -> Result<Option<Self>, Wrong> {
        let Some(batch) = &step.batch else { return Ok(None) };
        let at = format!("{key}.batch");
        if key != STEP {
            let why = "only [driver.ping] gathers: nothing else can wait for company".to_owned();
            return Err((at, why));
        }
        check(batch, &at)?;
        for (word, given) in
            [("relay", step.relay.is_some()), ("keep_job", !step.keep_job.is_empty())]
        {
            if given {
                let why = "has no meaning with `batch`: a request of many is about no job";
                return Err((format!("{key}.{word}"), why.to_owned()));
            }
        }
        let reads = step.read != Read::default() || step.shape.is_some();
        if batch.of == Of::All && reads && batch.results.is_none() {
            let why = "an answer to many drivers is read by its entries: say where they are in \
                       `results.each`";
            return Err((at, why.to_owned()));
        }
        let results = match &batch.results {
            Some(results) => Some(entries(file, results, &format!("{at}.results"))?),
            None => None,
        };
        Ok(Some(Self {
            most: batch.most as usize,
            within: batch.within.0,
            of: batch.of,
            each: file.tree(&batch.each, &format!("{at}.each"))?,
            queue: batch.queue as usize,
            at_once: if batch.of == Of::Driver { 1 } else { batch.at_once as usize },
            results,
        }))
    }
}

fn check(batch: &Batch, at: &str) -> Result<(), Wrong> {
    let wrong = |word: &str, why: String| Err((format!("{at}.{word}"), why));
    if !(2..=MOST_MAX).contains(&batch.most) {
        return wrong("most", format!("must be from 2 to {MOST_MAX}"));
    }
    if batch.within.0.is_zero() {
        return wrong("within", "must be longer than nothing: nobody would have company".into());
    }
    if batch.queue < batch.most {
        return wrong("queue", format!("must be at least `most`, {}", batch.most));
    }
    if batch.at_once == 0 {
        return wrong("at_once", "must be at least 1".into());
    }
    Ok(())
}

fn entries(file: &mut File<'_>, results: &Results, at: &str) -> Result<Entries, Wrong> {
    let each = Path::compile(&results.each).map_err(|why| (format!("{at}.each"), why))?;
    let named = match (&results.id, &results.is) {
        (Some(id), Some(is)) => {
            Some((file.pick(id, &format!("{at}.id"))?, file.text(is, &format!("{at}.is"))?))
        }
        (None, None) => None,
        _ => return Err((at.to_owned(), "`id` and `is` go together".to_owned())),
    };
    let rules = Rules {
        refused: results.refused.clone(),
        undone: results.undone.clone(),
        ok: results.ok.clone(),
        error: results.error.clone(),
    };
    let judge = Judge::compile(&rules, at, &Rules::default(), None, &mut file.names)?;
    Ok(Entries { each, named, judge })
}

/// What a step that gathers may speak of: `batch` there alone, and what is of one update not beside
/// it.
pub fn check_names(names: &Names, step: Option<&Step>) -> Result<(), Wrong> {
    let batch = step.and_then(|step| step.batch.as_ref());
    let within = |key: &str, part: &str| {
        key.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let (parcel, first) = (format!("{STEP}.batch"), format!("{STEP}.first"));
    for (key, name) in names {
        let root = name.split('.').next().unwrap_or(name);
        let beside = within(key, STEP) && !within(key, &parcel) && !within(key, &first);
        if root == "batch" && !(beside && batch.is_some()) {
            let why = format!("there is no `batch` here, but beside [{parcel}]");
            return Err((key.clone(), why));
        }
        let all = batch.is_some_and(|batch| batch.of == Of::All);
        if all && beside && OF_ONE.contains(&root) {
            let why = format!(
                "`{name}` is of one update, and this request of many: say it in `batch.each`"
            );
            return Err((key.clone(), why));
        }
    }
    Ok(())
}
