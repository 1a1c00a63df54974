//! The list of the laws. One more law is one more file and one more line here.

use super::{
    LawEntry, accept_cancel, answers_match, availability_respected, bad_input, both_sides_agree,
    cancelled_charged_by_rule, charge_matches_fare, charged_once, city_is_sealed, driver_freed,
    eta_and_fare, event_then_read, every_job_ends, idempotent_requests, job_register,
    legal_transitions, limited_then_served, live_issues, mine_is_mine, money_is_conserved,
    near_fresh, near_missing, never_goes_back, no_server_error, no_silent_degradation,
    nothing_lost, nothing_unasked, offer_dies, offers_in_reach, old_ping, one_driver_per_job,
    one_job_per_driver, paid_eventually, push_to_owner, read_your_writes, recovers_in_time,
    rejected_changes_nothing, resume_after_restart, tokens_expire, unique_ids, versions_agree,
    waiting_is_served,
};
use crate::history::op::OpKind;

/// Every law, in the order in which people read them.
pub static LAWS: &[LawEntry] = &[
    one_job_per_driver::ENTRY,
    one_driver_per_job::ENTRY,
    accept_cancel::ENTRY,
    job_register::ENTRY,
    legal_transitions::ENTRY,
    every_job_ends::ENTRY,
    driver_freed::ENTRY,
    waiting_is_served::ENTRY,
    charged_once::ENTRY,
    charge_matches_fare::ENTRY,
    paid_eventually::ENTRY,
    cancelled_charged_by_rule::ENTRY,
    money_is_conserved::ENTRY,
    nothing_lost::ENTRY,
    nothing_unasked::ENTRY,
    idempotent_requests::ENTRY,
    rejected_changes_nothing::ENTRY,
    unique_ids::ENTRY,
    offer_dies::ENTRY,
    offers_in_reach::ENTRY,
    availability_respected::ENTRY,
    near_fresh::ENTRY,
    near_missing::ENTRY,
    old_ping::ENTRY,
    eta_and_fare::ENTRY,
    never_goes_back::ENTRY,
    read_your_writes::ENTRY,
    resume_after_restart::ENTRY,
    both_sides_agree::ENTRY,
    answers_match::ENTRY,
    push_to_owner::ENTRY,
    event_then_read::ENTRY,
    no_silent_degradation::ENTRY,
    no_server_error::ENTRY,
    recovers_in_time::ENTRY,
    live_issues::ENTRY,
    tokens_expire::ENTRY,
    mine_is_mine::ENTRY,
    bad_input::ENTRY,
    limited_then_served::ENTRY,
    versions_agree::ENTRY,
    city_is_sealed::ENTRY,
];

/// The law of that name.
pub fn entry(name: &str) -> Option<&'static LawEntry> {
    LAWS.iter().find(|law| law.name == name)
}

/// The table of the laws for the documents, in Markdown.
pub fn table() -> String {
    let mut table = String::from("| law | broken when | needs | blind spot |\n|---|---|---|---|\n");
    for law in LAWS {
        let group = |group: &&[OpKind]| {
            let ops: Vec<_> = group.iter().map(|op| format!("`{op}`")).collect();
            ops.join(" or ")
        };
        let needs: Vec<_> = law.needs.iter().map(group).collect();
        let needs = if needs.is_empty() { "–".to_owned() } else { needs.join(", ") };
        let row = format!("| **{}** | {} | {needs} | {} |\n", law.name, law.means, law.blind_spot);
        table.push_str(&row);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const BEGIN: &str = "<!-- laws: begin -->\n";
    const END: &str = "<!-- laws: end -->";

    #[test]
    fn the_document_has_the_table_of_the_registry() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/laws.md");
        let text = fs::read_to_string(&path).unwrap();
        let (head, rest) = text.split_once(BEGIN).unwrap();
        let (old, tail) = rest.split_once(END).unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, format!("{head}{BEGIN}{}{END}{tail}", table())).unwrap();
            return;
        }
        assert_eq!(
            old,
            table(),
            "run the tests with UPDATE_DOCS=1 to bring docs/laws.md up to date"
        );
    }

    #[test]
    fn names_are_words_with_hyphens_and_stand_once() {
        for (at, law) in LAWS.iter().enumerate() {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(law.name.chars().all(plain), "{}", law.name);
            assert!(LAWS[..at].iter().all(|other| other.name != law.name), "{}", law.name);
            assert!(!law.means.is_empty() && !law.blind_spot.is_empty(), "{}", law.name);
        }
    }
}
