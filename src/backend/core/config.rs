//! `core/config`: JSON by key, compiled from several keys into one answer. What was set is one row, so
//! that every node sees one version of everything; nodes hear of a new one from discovery.

use std::{collections::BTreeMap, rc::Rc};

use serde_json::Value;

use super::{
    Code, Router, RpcError, refuse, serve, table,
    table::{Plan, Read, change},
};
use crate::{
    backend::{
        boot::Settings,
        node::Node,
        platform::{
            binding,
            config::{BYTES_MAX, CURRENT, KEYS_MAX, SETTINGS, check},
        },
        wire::{
            ConfigAnswer, ConfigAsk,
            platform::{
                ConfigChanged, ConfigCurrent, ConfigCurrentAsk, ConfigList, ConfigListAsk,
                ConfigRow, ConfigSetAnswer, ConfigSetAsk,
            },
        },
    },
    base::name::NodeName,
    world::store::Txn,
};

/// Keys in one ask at most.
const ASKED_MAX: usize = 64;
/// The row of everything that was set.
const ROW: &str = "platform/config";
/// Sets a document.
pub const SET: &str = "/core/config/set";
/// Lists all documents.
pub const LIST: &str = "/core/config/list";
/// News: there is a newer version.
const CHANGED: &str = "/core/config/changed";

type Set = BTreeMap<String, Value>;

/// Serves `core/config` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let own = Rc::new(node.clone());
    serve!(router, own, "/core/config/compile", ConfigAsk, |node, ask| compile(&node, &ask));
    serve!(router, own, CURRENT, ConfigCurrentAsk, |node, ask| current(&node, &ask).await);
    serve!(router, own, SET, ConfigSetAsk, |node, ask| set(&node, &ask).await);
    let this = node.clone();
    router.on_sync(LIST, move |_: ConfigListAsk| {
        let (version, all) = this.live.documents().all();
        Ok(ConfigList { version, json: Value::Object(all).to_string() })
    });
    let this = node.clone();
    router.on_sync(CHANGED, move |news: ConfigChanged| {
        this.live.told(news.version);
        Ok(ConfigChanged::default())
    });
}

fn compile(node: &Node, ask: &ConfigAsk) -> Result<ConfigAnswer, RpcError> {
    if ask.keys.len() > ASKED_MAX {
        return Err(refuse(Code::Invalid, "too many keys"));
    }
    let (documents, known) = (node.live.documents(), known(&node.live.settings()));
    let (own, asked): (Vec<_>, Vec<_>) =
        ask.keys.iter().map(String::as_str).partition(|key| known.contains_key(key));
    let mut found = documents.compile(asked)?;
    found.extend(own.into_iter().map(|key| (key.to_owned(), known[key].clone())));
    Ok(ConfigAnswer { json: Value::Object(found).to_string() })
}

/// Settings of the nodes, each under a key of its own. To change them is to set [`SETTINGS`].
fn known(settings: &Settings) -> BTreeMap<&'static str, Value> {
    let millis = |span: std::time::Duration| serde_json::json!(span.as_millis() as u64);
    BTreeMap::from([
        ("offer.ttl_ms", millis(settings.offer_ttl)),
        ("offer.at_once", settings.offers_at_once.into()),
        ("search.ttl_ms", millis(settings.search_ttl)),
        ("search.reach_m", settings.reach_m.into()),
        ("ping.ttl_ms", millis(settings.ping_ttl)),
        ("token.ttl_ms", millis(settings.token_ttl)),
        ("city.name", settings.city.name.clone().into()),
    ])
}

async fn current(node: &Node, ask: &ConfigCurrentAsk) -> Result<ConfigCurrent, RpcError> {
    if node.live.documents().all().0 < ask.at_least {
        load(node).await?;
    }
    let (documents, of) = (node.live.documents(), NodeName::from(ask.node.as_str()));
    let version = documents.all().0;
    if version < ask.at_least {
        return Err(RpcError::Unavailable("that version is not here yet".to_owned()));
    }
    let of = |key| Ok(Value::Object(documents.compile_for(key, &of)?).to_string());
    Ok(ConfigCurrent { version, binding: of(binding::KEY)?, settings: of(SETTINGS)? })
}

/// Reads what was set, and applies it here if it is news.
pub async fn load(node: &Node) -> Result<(), RpcError> {
    let mut read = Read::default();
    read.more(&*table(node), vec![ROW.to_owned()]).await?;
    let version = read.version(ROW);
    if version > 0 {
        node.live.take(version, of_row(&read)?);
    }
    Ok(())
}

fn of_row(read: &Read) -> Result<Set, RpcError> {
    let Some(row) = read.row::<ConfigRow>(ROW)? else { return Ok(Set::new()) };
    let damaged = |why| refuse(Code::Internal, format!("row {ROW} is damaged: {why}"));
    serde_json::from_str(&row.json).map_err(damaged)
}

async fn set(node: &Node, ask: &ConfigSetAsk) -> Result<ConfigSetAnswer, RpcError> {
    if known(&node.config.settings).contains_key(ask.key.as_str()) {
        let why = format!("`{}` is told by the key `{SETTINGS}`: set it in there", ask.key);
        return Err(refuse(Code::Invalid, why));
    }
    let document = match ask.json.as_str() {
        "" => None,
        json => {
            let read = serde_json::from_str(json)
                .map_err(|why| refuse(Code::Invalid, format!("`{}`: no JSON: {why}", ask.key)))?;
            Some(check(&ask.key, read, node.env.now())?)
        }
    };
    let table = table(node);
    let decide = || async {
        let mut read = Read::default();
        read.more(&*table, vec![ROW.to_owned()]).await?;
        let mut set = of_row(&read)?;
        match &document {
            Some(document) => drop(set.insert(ask.key.clone(), document.clone())),
            None => drop(set.remove(&ask.key)),
        }
        let json =
            serde_json::to_string(&set).map_err(|why| refuse(Code::Internal, why.to_string()))?;
        if json.len() > BYTES_MAX || set.len() > KEYS_MAX {
            let why =
                format!("all config together has at most {KEYS_MAX} keys and {BYTES_MAX} bytes");
            return Err(refuse(Code::Invalid, why));
        }
        let mut txn = Txn::default();
        read.put(&mut txn, ROW.to_owned(), &ConfigRow { json });
        Ok(Plan { txn, answer: set })
    };
    let (kept, version) = change(&table, decide).await?;
    node.live.take(version, kept);
    node.rpc.publish(CHANGED, &ConfigChanged { version }, true);
    let json = document.map_or(String::new(), |document| document.to_string());
    Ok(ConfigSetAnswer { version, json })
}
