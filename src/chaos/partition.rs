//! Partition: nothing passes a link, and nobody is told; connections stay open and stall.

use std::sync::Arc;

use super::{
    fault::{Fault, FaultEntry, Hits, KeyEntry, World},
    keys::Keys,
    links::Silent,
    provider::{Toxic, Way},
};
use crate::base::{file::FileError, suggest::must_be_one_of};

const FAULT: Silent =
    Silent { kind: "partition", toxics: &[Toxic::BlackHole], only: None, did: "nothing passes" };

/// Its place in the list.
pub(super) const ENTRY: FaultEntry = FaultEntry {
    name: FAULT.kind,
    means: "lets nothing pass a link: connections stay open and stall, new ones too; what was sent arrives after the healing",
    bites: "no answer comes back over links that answered before",
    hits: Hits::Links,
    roles: &[],
    worlds: World::BOTH,
    keys: &[KeyEntry {
        name: "direction",
        means: "`both`; `there`: nothing comes from the one who dials; `back`: nothing comes to it; left out: `both`",
    }],
    example: "[[fault]]\n\
              kind = \"partition\"\n\
              links = { between = [{ az = \"a\" }, { az = \"b\" }] }\n\
              direction = \"both\"\n\
              at = \"30s\"\n\
              for = \"5s\"\n",
    read,
    draw: |_| Arc::new(FAULT),
};

const DIRECTIONS: [(&str, Option<Way>); 3] =
    [("both", None), ("there", Some(Way::Upstream)), ("back", Some(Way::Downstream))];

fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Fault>, FileError> {
    let Some(word) = keys.text("direction")? else { return Ok(Arc::new(FAULT)) };
    let known = DIRECTIONS.into_iter().find(|(known, _)| known == word.get_ref());
    let Some((_, only)) = known else {
        let hint = must_be_one_of(word.get_ref(), DIRECTIONS.map(|(known, _)| known));
        let what = format!("`{}` is no direction: {hint}", word.get_ref());
        return Err(keys.wrong(&word.span(), "direction", what));
    };
    Ok(Arc::new(Silent { only, ..FAULT }))
}
