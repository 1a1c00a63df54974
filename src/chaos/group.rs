//! Plans that are made of parts: faults one after the other or together, and other plans.

use std::{path::Path, sync::Arc};

use toml::{Spanned, de::DeValue};

use super::{
    keys::{At, Keys},
    plan::{FAULTS_MAX, Plan},
    planned::{Beats, Body, Planned, Sheet},
    when::When,
};
use crate::base::{file::FileError, span::Span, suggest::must_be_one_of};

/// How the faults of a group follow each other.
const ORDERS: [&str; 2] = ["sequence", "parallel"];
/// Plans within plans within plans.
const DEPTH_MAX: usize = 4;

/// The tables of a list that is written as `[[key]]`, once for each.
pub(super) fn tables<'t>(
    keys: &mut Keys<'t>,
    key: &'static str,
) -> Result<Vec<Keys<'t>>, FileError> {
    let Some(list) = keys.value(key) else { return Ok(Vec::new()) };
    let at = list.span();
    let DeValue::Array(list) = list.into_inner() else {
        let what = format!("must be written as [[{}]], once for each", keys.dotted(key));
        return Err(keys.wrong(&at, key, what));
    };
    if list.len() > FAULTS_MAX {
        let what = format!("there are {} of them, and {FAULTS_MAX} are the most", list.len());
        return Err(keys.wrong(&at, key, what));
    }
    list.into_iter().map(|table| keys.table(key, table)).collect()
}

/// Reads a `[[fault]]`; `number` is its place in the whole plan.
pub(super) fn fault(
    mut keys: Keys<'_>,
    sheet: &Arc<Sheet>,
    number: usize,
) -> Result<Planned, FileError> {
    let body = Body::read(&mut keys)?;
    let when = When::read(&mut keys, None)?;
    keys.finish()?;
    let beats = Beats { when, length: *body.lasts.get_ref(), stream: format!("when/{number}") };
    Ok(body.at(sheet, &Arc::new(beats), Span::default()))
}

/// Reads a `[[group]]`; `number` is the place of its first fault in the whole plan.
pub(super) fn group(
    mut keys: Keys<'_>,
    sheet: &Arc<Sheet>,
    number: usize,
) -> Result<Vec<Planned>, FileError> {
    // For people alone.
    let _name = keys.text("name")?;
    let in_turn = order(&mut keys)?;
    let pause = keys.span("pause")?;
    if let (Some(pause), false) = (&pause, in_turn) {
        let what = "has a meaning only in a sequence: it is the time between two of its faults";
        return Err(keys.wrong(&pause.span(), "pause", what));
    }
    let pause = pause.map_or(Span::default(), Spanned::into_inner);
    let when = When::read(&mut keys, None)?;
    let (mut parts, mut length) = (Vec::new(), Span::default());
    for mut inner in tables(&mut keys, "fault")? {
        let body = Body::read(&mut inner)?;
        let own = if in_turn { None } else { inner.span("at")?.map(Spanned::into_inner) };
        inner.finish()?;
        let gap = if parts.is_empty() { Span::default() } else { pause };
        let next = if in_turn { Span(length.0 + gap.0) } else { Span::default() };
        let offset = own.unwrap_or(next);
        length = length.max(Span(offset.0 + body.lasts.get_ref().0));
        parts.push((body, offset));
    }
    if parts.is_empty() {
        return Err(keys.lacks("fault", "a group is made of faults: write them as [[group.fault]]"));
    }
    keys.finish()?;
    let beats = Arc::new(Beats { when, length, stream: format!("when/{number}") });
    Ok(parts.into_iter().map(|(body, offset)| body.at(sheet, &beats, offset)).collect())
}

/// Whether its faults follow each other.
fn order(keys: &mut Keys<'_>) -> Result<bool, FileError> {
    let Some(order) = keys.text("order")? else { return Ok(true) };
    if !ORDERS.contains(&order.get_ref().as_str()) {
        let what = must_be_one_of(order.get_ref(), ORDERS);
        return Err(keys.wrong(&order.span(), "order", what));
    }
    Ok(order.get_ref() == ORDERS[0])
}

/// Reads a `[[plan]]`: another file, whose time zero is `at` of this one.
pub(super) fn plan(mut keys: Keys<'_>, depth: usize) -> Result<(Plan, Span), FileError> {
    let Some(file) = keys.text("file")? else {
        return Err(keys.lacks("file", "say which: file = \"zone-loss.toml\", beside this one"));
    };
    let at = keys.span("at")?.map(Spanned::into_inner).unwrap_or_default();
    let here: At = file.span();
    if depth >= DEPTH_MAX {
        let what = format!("plans within plans are read {DEPTH_MAX} deep at most");
        return Err(keys.wrong(&here, "file", what));
    }
    let folder = keys.source.path.parent().unwrap_or(Path::new("."));
    let path = folder.join(file.get_ref());
    keys.finish()?;
    Ok((Plan::load_at(&path, depth + 1)?, at))
}
