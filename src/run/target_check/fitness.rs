//! What a mapping is good for: the operations it has, the laws that can be judged with them, what
//! would have to be added for the others, and what the walk measured of what is declared.

use super::walk::Walk;
use crate::{
    engine::target::Target as _,
    history::{declares::Declares, op::OpKind},
    law::{LawEntry, registry::LAWS},
};

/// Prints all of it.
pub fn tell(walk: &Walk) {
    let declares = walk.target.declares();
    operations(declares);
    laws(declares);
    measured(walk, declares);
}

fn operations(declares: &Declares) {
    let (mapped, not): (Vec<OpKind>, Vec<OpKind>) =
        OpKind::ALL.iter().partition(|op| declares.ops.contains(op));
    println!("\noperations that are mapped:\n   {}", words(&mapped));
    println!("operations that are not:\n   {}", words(&not));
}

fn laws(declares: &Declares) {
    println!("\nlaws:");
    let mut missing: Vec<OpKind> = Vec::new();
    for law in LAWS {
        match law.not_applicable(declares) {
            None => println!("   {}: can be judged", law.name),
            Some(why) => println!("   {}: cannot: {why}", law.name),
        }
        missing.extend(lacks(law, declares).into_iter().filter_map(|group| group.first()));
    }
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return;
    }
    println!("\nwhat one would have to add:");
    for op in missing {
        let wins = LAWS.iter().filter(|law| {
            let lacks = lacks(law, declares);
            !lacks.is_empty() && lacks.iter().all(|group| group.contains(&op))
        });
        let wins: Vec<_> = wins.map(|law| law.name).collect();
        let what = if wins.is_empty() { "(with others)".to_owned() } else { wins.join(", ") };
        println!("   [{op}] for {what}");
    }
}

/// Of each of these groups of ops a law needs one, and the target has none.
fn lacks(law: &LawEntry, declares: &Declares) -> Vec<&'static [OpKind]> {
    let asked = declares.asked();
    let without = |group: &&[OpKind]| !group.iter().any(|op| asked.has(*op));
    law.needs.iter().copied().filter(without).collect()
}

fn measured(walk: &Walk, declares: &Declares) {
    let measured = walk.measured.borrow();
    println!("\nmeasured, beside what is declared:");
    match (measured.idempotent, measured.key_sent) {
        (Some(true), _) => println!("   the same request again gave the same job"),
        (Some(false), true) => walk.page.problem(
            "the same request with the same key gave another job: it is not idempotent, and \
             idempotent-requests will say so"
                .to_owned(),
        ),
        (Some(false), false) => walk.page.note(
            "the request does not send `ask.key`, and a repeat gave another job: add a header or a \
             key with {{ ask.key }} if the backend knows idempotency keys"
                .to_owned(),
        ),
        (None, _) => println!("   a repeated request: not measured"),
    }
    match measured.own_writes {
        Some(true) => println!("   a look right after the request showed the job"),
        Some(false) => {
            let promised = declares.read_delay;
            walk.page.note(format!(
                "a look right after the request did not show the job: `read_delay` is {promised}"
            ));
        }
        None => println!("   reads after writes: not measured, [passenger.job_status] is missing"),
    }
    if let Some(after) = measured.matched_after {
        println!("   a driver was found after {:.1} s", after.as_secs_f64());
    }
    if let Some(ms) = measured.offer_ms {
        let promised = declares.offer_ttl;
        println!("   the offer said that it lives {ms} ms; `offer_ttl` is {promised}");
        if u128::from(ms) > promised.0.as_millis() {
            walk.page.note(format!("offers live longer than the `offer_ttl` of {promised}"));
        }
    }
}

fn words(ops: &[OpKind]) -> String {
    if ops.is_empty() {
        return "none".to_owned();
    }
    ops.iter().map(|op| op.word()).collect::<Vec<_>>().join(", ")
}
