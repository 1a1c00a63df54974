//! Bugs that can be planted in the way of calls, all off by default.

use std::cell::{Cell, RefCell};

use super::{directory::Directory, quick::QuickMap};
use crate::{backend::plants, base::name::NodeName};

/// What is wrong with the calls of a node.
#[derive(Debug, Default)]
pub struct Wires {
    /// A reply goes to whoever waits in its place of the table, whichever call it is of.
    pub cross_talk: Cell<bool>,
    /// A link that is dead, and who was asked over it, are kept for ever.
    pub dead_link: Cell<bool>,
    // Looked up only.
    first: RefCell<QuickMap<String, NodeName>>,
}

impl Wires {
    /// Takes the bugs that are switched on.
    pub fn plant(&self, plants: &[String]) {
        self.cross_talk.set(plants::is_on(plants, plants::CROSS_TALK));
        self.dead_link.set(plants::is_on(plants, plants::DEAD_LINK));
    }

    /// The first of those who served when a service was called first, if that is kept.
    pub fn first(&self, service: &str, directory: &Directory) -> Option<NodeName> {
        if !self.dead_link.get() {
            return None;
        }
        let mut first = self.first.borrow_mut();
        if let Some(known) = first.get(service) {
            return Some(known.clone());
        }
        let known = directory.serving(service).into_iter().min()?;
        first.insert(service.to_owned(), known.clone());
        Some(known)
    }
}
