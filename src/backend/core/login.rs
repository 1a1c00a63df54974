//! `core/login`: credentials and sessions; the only issuer of signed tokens. A secret is stored
//! salted and hashed, never as it is.

use std::{cell::RefCell, rc::Rc, time::Duration};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    Code, Router, RpcError, refuse, serve, session, table,
    table::{Plan, Read, Table, change},
};
use crate::{
    backend::{
        node::Node,
        plants,
        platform::{
            ids::of_tenant,
            token::{Claims, Role, Signer},
        },
        wire::{AccountKind, AccountRow, Credentials, LoginAnswer, RegisterAnswer},
    },
    base::{rng::Rng, time::Wall},
    world::store::Txn,
};

/// The account of whoever reads back.
const AUDITOR: u64 = 1;

/// The service.
pub(super) struct Logins {
    pub(super) table: Rc<dyn Table>,
    signer: Signer,
    audit_secret: String,
    pub(super) node: Node,
    pub(super) salts: RefCell<Rng>,
    pub(super) kept: Option<session::Kept>,
}

/// Serves `core/login` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    // Salts differ between two lives of a node, too.
    let salts = node.env.rng("login").fork(&node.config.incarnation.to_string());
    let logins = Rc::new(Logins {
        table: table(node),
        signer: Signer::of_seed(&node.config.seed),
        audit_secret: audit_secret(&node.config.seed),
        node: node.clone(),
        salts: RefCell::new(salts),
        kept: node.planted(plants::REVOKED_TOKEN_CACHED).then(session::Kept::default),
    });
    serve!(router, logins, "/core/login/register", Credentials, |logins, ask| {
        logins.register(&ask).await
    });
    serve!(router, logins, "/core/login/login", Credentials, |logins, ask| {
        logins.login(&ask).await
    });
    session::mount(&logins, router);
}

/// The secret of the auditor of a run.
pub fn audit_secret(seed: &str) -> String {
    hex(&Sha256::digest(format!("auditor of {seed}").as_bytes()))
}

impl Logins {
    /// Opens an account; the same credentials once more lead to the same account.
    async fn register(&self, ask: &Credentials) -> Result<RegisterAnswer, RpcError> {
        check(ask)?;
        let id = of_tenant(self.node.next_id(), ask.tenant);
        let salt = self.salts.borrow_mut().u64().to_be_bytes();
        let plan = || async move {
            let key = at_account(ask.kind(), &ask.phone);
            let mut read = Read::default();
            read.more(&*self.table, vec![key.clone()]).await?;
            let mut txn = Txn::default();
            let (account, replayed) = match read.row::<AccountRow>(&key)? {
                Some(row) if fits(&row, &ask.secret) => (row.id, row.id != id),
                Some(_) => return Err(refuse(Code::Conflict, "the phone has an account")),
                None => {
                    let digest = Bytes::copy_from_slice(&digest(&salt, &ask.secret));
                    let salt = Bytes::copy_from_slice(&salt);
                    let row = AccountRow { id, kind: ask.kind, salt, digest };
                    read.put(&mut txn, key, &row);
                    (id, false)
                }
            };
            Ok(Plan { txn, answer: RegisterAnswer { account, replayed } })
        };
        Ok(change(&self.table, plan).await?.0)
    }

    async fn login(&self, ask: &Credentials) -> Result<LoginAnswer, RpcError> {
        let (account, role) = self.who(ask).await?;
        Ok(self.issue(account, role, Duration::MAX))
    }

    /// Whose credentials these are.
    pub(super) async fn who(&self, ask: &Credentials) -> Result<(u64, Role), RpcError> {
        let wrong = || refuse(Code::Unauthenticated, "no account has these credentials");
        Ok(match ask.kind() {
            AccountKind::Nobody => return Err(refuse(Code::Invalid, "who logs in?")),
            AccountKind::Auditor if ask.secret == self.audit_secret => (AUDITOR, Role::Auditor),
            AccountKind::Auditor => return Err(wrong()),
            kind => {
                check(ask)?;
                let key = at_account(kind, &ask.phone);
                let mut read = Read::default();
                read.more(&*self.table, vec![key.clone()]).await?;
                let row = read.row::<AccountRow>(&key)?.filter(|row| fits(row, &ask.secret));
                let role = if kind == AccountKind::Driver { Role::Driver } else { Role::Passenger };
                (row.ok_or_else(wrong)?.id, role)
            }
        })
    }

    /// A token of the usual life, or a shorter one.
    pub(super) fn issue(&self, account: u64, role: Role, at_most: Duration) -> LoginAnswer {
        let life = self.node.live.settings().token_ttl.min(at_most);
        let expires: Wall = self.node.env.wall().plus(life);
        let token = self.signer.sign(Claims { account, role, expires });
        LoginAnswer { account, token, expires_in_ms: life.as_millis() as u64 }
    }
}

fn check(ask: &Credentials) -> Result<(), RpcError> {
    if !matches!(ask.kind(), AccountKind::Driver | AccountKind::Passenger) {
        return Err(refuse(Code::Invalid, "only drivers and passengers have accounts"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_');
    if ask.phone.is_empty() || ask.phone.len() > 64 || !ask.phone.chars().all(plain) {
        return Err(refuse(Code::Invalid, "`phone` must be 1 to 64 letters, digits or + - . _"));
    }
    if ask.secret.is_empty() || ask.secret.len() > 128 {
        return Err(refuse(Code::Invalid, "`secret` must have 1 to 128 characters"));
    }
    Ok(())
}

fn fits(row: &AccountRow, secret: &str) -> bool {
    let given = digest(&row.salt, secret);
    // Every byte is looked at: how long it takes tells nothing.
    row.digest.len() == given.len()
        && row.digest.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn digest(salt: &[u8], secret: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(salt);
    hash.update(secret.as_bytes());
    hash.finalize().into()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn at_account(kind: AccountKind, phone: &str) -> String {
    let kind = if kind == AccountKind::Driver { "driver" } else { "passenger" };
    format!("account/{kind}/{phone}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_fits_its_own_row_only() {
        let salt = *b"12345678";
        let row = AccountRow {
            salt: Bytes::copy_from_slice(&salt),
            digest: Bytes::copy_from_slice(&digest(&salt, "sesame")),
            ..AccountRow::default()
        };
        assert!(fits(&row, "sesame"));
        assert!(!fits(&row, "sesam") && !fits(&AccountRow::default(), ""));
        assert_ne!(digest(b"1", "sesame"), digest(b"2", "sesame"));
        assert_eq!(audit_secret("42").len(), 64);
        assert_ne!(audit_secret("42"), audit_secret("43"));
    }

    #[test]
    fn odd_credentials_are_refused() {
        let good = Credentials {
            kind: AccountKind::Driver.into(),
            phone: "+353-1".into(),
            secret: "s".into(),
            tenant: 0,
        };
        assert!(check(&good).is_ok());
        for phone in ["", "a/b", "a b", &"9".repeat(65)] {
            assert!(
                check(&Credentials { phone: phone.into(), ..good.clone() }).is_err(),
                "{phone}"
            );
        }
        assert!(check(&Credentials { kind: 3, ..good }).is_err());
    }
}
