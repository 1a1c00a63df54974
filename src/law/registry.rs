//! The list of the laws. One more law is one more file and one more line here.

use super::{
    LawEntry, charged_once, every_job_ends, idempotent_requests, legal_transitions, nothing_lost,
    offers_in_reach, one_driver_per_job, one_job_per_driver, unique_ids,
};

/// Every law, in the order in which people read them.
pub static LAWS: &[LawEntry] = &[
    one_job_per_driver::ENTRY,
    one_driver_per_job::ENTRY,
    legal_transitions::ENTRY,
    every_job_ends::ENTRY,
    charged_once::ENTRY,
    nothing_lost::ENTRY,
    idempotent_requests::ENTRY,
    unique_ids::ENTRY,
    offers_in_reach::ENTRY,
];

/// The law of that name.
pub fn entry(name: &str) -> Option<&'static LawEntry> {
    LAWS.iter().find(|law| law.name == name)
}
