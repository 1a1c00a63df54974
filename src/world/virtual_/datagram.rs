//! Datagrams of the virtual world: whoever receives under a name has each at once, in the order of
//! their sending. They take no time, and nothing of the world is drawn for them, so that a run is
//! the same whether anybody receives or not.

use std::{collections::BTreeMap, rc::Rc};

use super::{Sim, core::Core};
use crate::base::name::NodeName;

/// What takes the datagrams of one receiver.
pub(super) type Receiver = Rc<dyn Fn(&[u8])>;
/// Who receives, by name.
pub(super) type Receivers = BTreeMap<NodeName, Receiver>;

impl Core {
    /// Hands a datagram over; false when nobody receives under that name.
    pub(super) fn datagram(&self, to: &NodeName, bytes: &[u8]) -> bool {
        let receiver = self.receivers.borrow().get(to).map(Rc::clone);
        receiver.map(|receiver| receiver(bytes)).is_some()
    }
}

impl Sim {
    /// Lets `receiver` have every datagram to `name`, until the world ends. It belongs to no node
    /// and must not reach back into the world.
    pub fn receive(&self, name: &NodeName, receiver: impl Fn(&[u8]) + 'static) {
        self.core().receivers.borrow_mut().insert(name.clone(), Rc::new(receiver));
    }
}
