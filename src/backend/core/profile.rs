//! `core/driver` and `core/customer`: profiles, and what passengers say of a journey.

use std::rc::Rc;

use super::{
    Code, Router, RpcError, refuse, serve, table,
    table::{Plan, Read, Table, change},
};
use crate::{
    backend::{
        node::Node,
        wire::{Nothing, Profile, ProfileAsk, Rating},
    },
    world::store::Txn,
};

/// Serves `core/driver` and `core/customer` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let table = table(node);
    serve!(router, table, "/core/driver/put", Profile, |table, ask| {
        put(&table, format!("driver/{:020}", ask.account), ask).await
    });
    serve!(router, table, "/core/driver/get", ProfileAsk, |table, ask| {
        get(&table, format!("driver/{:020}", ask.account)).await
    });
    serve!(router, table, "/core/customer/put", Profile, |table, ask| {
        put(&table, format!("customer/{:020}", ask.account), ask).await
    });
    serve!(router, table, "/core/customer/get", ProfileAsk, |table, ask| {
        get(&table, format!("customer/{:020}", ask.account)).await
    });
    serve!(router, table, "/core/customer/rate", Rating, |table, ask| {
        if !(1..=5).contains(&ask.stars) {
            return Err(refuse(Code::Invalid, "stars must be 1 to 5"));
        }
        put(&table, format!("rating/{:020}", ask.job), ask).await
    });
}

/// Writes a row, whatever was there; the same once more writes nothing.
async fn put<M: prost::Message + Default + PartialEq>(
    table: &Rc<dyn Table>,
    key: String,
    value: M,
) -> Result<Nothing, RpcError> {
    let plan = || async {
        let mut read = Read::default();
        read.more(&**table, vec![key.clone()]).await?;
        let mut txn = Txn::default();
        if read.row::<M>(&key)?.as_ref() != Some(&value) {
            read.put(&mut txn, key.clone(), &value);
        }
        Ok(Plan { txn, answer: Nothing {} })
    };
    Ok(change(table, plan).await?.0)
}

async fn get(table: &Rc<dyn Table>, key: String) -> Result<Profile, RpcError> {
    let mut read = Read::default();
    read.more(&**table, vec![key.clone()]).await?;
    read.row(&key)?.ok_or_else(|| refuse(Code::NotFound, "no such profile"))
}
