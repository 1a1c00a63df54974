//! What an answer to many updates says of each of them.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    super::{
        Judged, Mapped,
        judge::{Meaning, Raw, answered},
        scope::Scope,
        step::Step,
    },
    Parcel, Update,
    compiled::Entries,
};
use crate::history::{answer::Refusal, op::Outcome};

impl Mapped {
    /// A request was answered well: notes what became of each of its updates where the answer says
    /// so. `None` where it does not.
    pub(in super::super) fn share_out(
        &self,
        step: &Step,
        parcel: &Parcel,
        scope: &Scope<'_>,
        raw: &Raw,
    ) -> Option<Judged> {
        let entries = step.batch.as_ref()?.results.as_ref()?;
        let found = entries.each.all(&raw.body);
        let matched = match self.matched(entries, parcel, scope, &found) {
            Ok(matched) => matched,
            Err(why) => {
                let why = self.hide(scope.robot, &why);
                return Some(Judged { retry: false, ..Judged::unknown(why) });
            }
        };
        let fates = parcel.updates.iter().zip(matched).map(|(update, entry)| match entry {
            Some(entry) => self.fate(step, entries, update, raw, entry),
            None => Judged::unknown("the answer does not name this update".to_owned()),
        });
        parcel.fates.replace(fates.collect());
        Some(Judged::new(Outcome::Ok, None))
    }

    /// The entry of each update.
    fn matched<'v>(
        &self,
        entries: &Entries,
        parcel: &Parcel,
        scope: &Scope<'_>,
        found: &[&'v Value],
    ) -> Result<Vec<Option<&'v Value>>, String> {
        let Some((id, is)) = &entries.named else {
            let (entries, updates) = (found.len(), parcel.updates.len());
            if entries != updates {
                // Whose is which cannot be told.
                return Err(format!("the answer has {entries} entries for {updates} updates"));
            }
            return Ok(found.iter().map(|entry| Some(*entry)).collect());
        };
        let mut by_name = HashMap::with_capacity(found.len());
        for entry in found {
            if let Some(name) = id.text(scope, entry)? {
                // A name that comes twice says nothing for certain.
                by_name.entry(name).and_modify(|known| *known = None).or_insert(Some(*entry));
            }
        }
        let one = |update: &Update| {
            let me = self.fields(update.robot)?;
            let name = is.render(&self.of_update(update, &me))?;
            Ok(by_name.get(&name).copied().flatten())
        };
        parcel.updates.iter().map(one).collect()
    }

    fn fate(
        &self,
        step: &Step,
        entries: &Entries,
        update: &Update,
        raw: &Raw,
        entry: &Value,
    ) -> Judged {
        let me = match self.fields(update.robot) {
            Ok(me) => me,
            Err(why) => return Judged::unknown(why),
        };
        let scope = self.of_update(update, &me);
        let text = entry.to_string().into();
        let own = Raw { status: raw.status, text, body: entry.clone(), key: raw.key.clone() };
        let words = || self.hide(update.robot, &entries.judge.words(&scope, &own));
        match entries.judge.meaning(&scope, &own, true) {
            Meaning::Ok => {
                let around = self.around(answered(&scope, &own));
                match step.reader.read(&around, &own.body) {
                    Ok(answer) => Judged { answer, ..Judged::new(Outcome::Ok, None) },
                    Err(why) => {
                        let why = self.hide(update.robot, &why);
                        Judged::unknown(format!("unreadable answer: {why}"))
                    }
                }
            }
            Meaning::Nothing => Judged::new(Outcome::Ok, None),
            Meaning::Expired => Judged::refused(Refusal::Unauthenticated, words()),
            Meaning::Refused(refusal) => Judged::refused(refusal, words()),
            Meaning::Undone => Judged::not_sent(words()),
            Meaning::Unknown => Judged::unknown(words()),
        }
    }
}
