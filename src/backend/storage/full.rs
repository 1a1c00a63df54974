//! A replica whose disk is full. What it has promised it keeps to itself until it is written, so it
//! answers nobody and leads nobody meanwhile: the others elect one who has room. It tries again, and
//! goes on where it stood once there is room.

use std::time::Duration;

use super::{journal::Writes, replica::Replica};
use crate::world::store::{Ack, StoreError, Txn};

/// Between two tries to write what found no room.
const TRY_EVERY: Duration = Duration::from_millis(50);

impl Replica {
    /// Writes; returns once that is done, however long there is no room for it.
    pub(super) async fn write(&self, writes: Writes, ack: Ack) -> Result<(), StoreError> {
        let txn = Txn { expects: Vec::new(), writes };
        loop {
            match self.0.store.commit(txn.clone(), ack).await {
                Err(error) if error.no_room => {
                    self.0.state.borrow_mut().withdraw(&error.to_string());
                }
                done => {
                    self.0.state.borrow_mut().full = false;
                    return done.map(drop);
                }
            }
            self.0.env.sleep(TRY_EVERY).await;
        }
    }
}
