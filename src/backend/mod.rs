//! The reference backend: a small, honest model of a taxi platform, made to be broken.
//!
//! Tiers: `api` (HTTP, JSON) may call `orchestration` and `core`; `orchestration` may call `core`;
//! `core` owns data in `storage` and never calls another service. Imports `base` and `world` only.

pub mod api;
pub mod boot;
pub mod core;
pub mod layout;
pub mod node;
#[cfg(test)]
mod node_tests;
pub mod orchestration;
pub mod plants;
pub mod platform;
#[cfg(test)]
mod platform_tests;
pub mod product;
pub mod storage;

/// Messages between the services, from `proto/`.
#[allow(missing_docs, clippy::pedantic)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/robotcity.rs"));

    /// What the platform itself says.
    pub mod platform {
        include!(concat!(env!("OUT_DIR"), "/robotcity.platform.rs"));
    }

    /// What the collector of traces is handed.
    pub mod phosphor {
        include!(concat!(env!("OUT_DIR"), "/robotcity.phosphor.rs"));
    }

    /// What the replicas of storage say to one another.
    pub mod storage {
        include!(concat!(env!("OUT_DIR"), "/robotcity.storage.rs"));
    }
}
