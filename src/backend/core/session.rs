//! Sessions of `core/login`: an app keeps a session's id for as long as it likes and exchanges it for
//! short-lived tokens, which every service verifies by itself. Only the hash of an id is stored.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use sha2::{Digest, Sha256};

use super::{
    Code, Router, RpcError,
    login::{Logins, hex},
    refuse, serve,
    table::{Plan, Read, change, put_blind},
};
use crate::{
    backend::{
        platform::token::Role,
        wire::{
            AccountKind, Credentials, LoginAnswer, SessionAnswer, SessionAsk, SessionClosed,
            SessionRow,
        },
    },
    world::store::Txn,
};

/// Planted: sessions as they were when they were last seen.
pub(super) type Kept = RefCell<BTreeMap<String, SessionRow>>;

/// How long a session lives.
const LIFE: Duration = Duration::from_hours(24);

/// Serves the sessions of `core/login`.
pub(super) fn mount(logins: &Rc<Logins>, router: &mut Router) {
    serve!(router, logins, "/core/login/open", Credentials, |logins, ask| {
        open(&logins, &ask).await
    });
    serve!(router, logins, "/core/login/exchange", SessionAsk, |logins, ask| {
        exchange(&logins, &ask.session).await
    });
    serve!(router, logins, "/core/login/close", SessionAsk, |logins, ask| {
        close(&logins, &ask.session).await
    });
}

/// Opens a session for whoever has the credentials.
async fn open(logins: &Rc<Logins>, ask: &Credentials) -> Result<SessionAnswer, RpcError> {
    let (account, _) = logins.who(ask).await?;
    let session = {
        let mut stream = logins.salts.borrow_mut();
        hex(&[stream.u64().to_be_bytes(), stream.u64().to_be_bytes()].concat())
    };
    let ends_ms = logins.node.env.wall().plus(LIFE).0;
    let row = SessionRow { account, kind: ask.kind as u32, ends_ms };
    let mut txn = Txn::default();
    // Nobody else can have drawn the same.
    put_blind(&mut txn, at_session(&session), &row);
    logins.table.commit(txn).await?;
    Ok(SessionAnswer { session, account, expires_in_ms: LIFE.as_millis() as u64 })
}

/// A token for a session's id. It does not outlive the session.
async fn exchange(logins: &Rc<Logins>, session: &str) -> Result<LoginAnswer, RpcError> {
    let key = at_session(session);
    let mut read = Read::default();
    read.more(&*logins.table, vec![key.clone()]).await?;
    let now = logins.node.env.wall().0;
    let row = match &logins.kept {
        Some(kept) => kept_or(read.row::<SessionRow>(&key)?, kept, &key),
        None => read.row::<SessionRow>(&key)?,
    };
    let row = row.filter(|row| row.ends_ms > now);
    let over = || refuse(Code::Unauthenticated, "the session is over: open another");
    let row = row.ok_or_else(over)?;
    let role = match AccountKind::try_from(row.kind as i32) {
        Ok(AccountKind::Driver) => Role::Driver,
        Ok(AccountKind::Passenger) => Role::Passenger,
        Ok(AccountKind::Auditor) => Role::Auditor,
        Ok(AccountKind::Nobody) | Err(_) => return Err(over()),
    };
    Ok(logins.issue(row.account, role, Duration::from_millis(row.ends_ms - now)))
}

/// Planted: the row, or else as it was when it was last seen.
fn kept_or(row: Option<SessionRow>, kept: &Kept, key: &str) -> Option<SessionRow> {
    match row {
        Some(row) => {
            kept.borrow_mut().insert(key.to_owned(), row);
            Some(row)
        }
        None => kept.borrow().get(key).copied(),
    }
}

/// Ends a session; its tokens live on until they expire.
async fn close(logins: &Rc<Logins>, session: &str) -> Result<SessionClosed, RpcError> {
    let key = &at_session(session);
    let decide = || async move {
        let mut read = Read::default();
        read.more(&*logins.table, vec![key.clone()]).await?;
        let mut txn = Txn::default();
        let there = read.version(key) > 0;
        if there {
            txn.writes.push((key.clone(), None));
        }
        Ok(Plan { txn, answer: SessionClosed { replayed: !there } })
    };
    Ok(change(&logins.table, decide).await?.0)
}

fn at_session(session: &str) -> String {
    format!("session/{}", hex(&Sha256::digest(session.as_bytes())))
}
