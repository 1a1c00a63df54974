//! The same for laws about the city at rest.

use super::agree;
use crate::{
    base::id::Id,
    history::{
        answer::{JobState, Refusal},
        op::{Op, OpKind, Outcome},
    },
    law::{
        fact::job_of,
        testkit::{Tweak, account, d},
    },
};

#[test]
fn charged_once() {
    agree(
        "charged-once",
        |pen| {
            let count = pen.rng.below(3);
            let mut tale = pen.tale(&[OpKind::PassengerPay], count);
            pen.rest(&mut tale);
            tale
        },
        |story| {
            story.listed().iter().filter(|job| job.state == JobState::Completed).any(|job| {
                let charges = story.sums(OpKind::AuditCharges, &job.id);
                let fares = charges.iter().filter(|one| !one.fee && one.amount_minor != 0).count();
                fares > 1 || fares == 0 && story.says(OpKind::PassengerPay, &job.id)
            })
        },
    );
}

#[test]
fn charge_matches_fare() {
    agree(
        "charge-matches-fare",
        |pen| {
            let mut tale = pen.tale(&[OpKind::PassengerPay], 0);
            tale.declares.ops.retain(|op| *op != OpKind::AuditRefunds);
            pen.rest(&mut tale);
            tale
        },
        |story| {
            story.listed().iter().filter(|job| job.state == JobState::Completed).any(|job| {
                let charges = story.sums(OpKind::AuditCharges, &job.id);
                let fares: Vec<i64> = charges
                    .iter()
                    .filter(|one| !one.fee && one.amount_minor != 0)
                    .map(|one| one.amount_minor)
                    .collect();
                fares.len() == 1 && Some(fares[0]) != job.fare_minor
            })
        },
    );
}

#[test]
fn money_is_conserved() {
    agree(
        "money-is-conserved",
        |pen| {
            let mut tale = pen.tale(&[OpKind::DriverDropOff], 6);
            tale.declares.money.commission = 0.2;
            pen.rest(&mut tale);
            tale
        },
        |story| {
            let total = |kind, job: &Id| -> i64 {
                story.sums(kind, job).iter().map(|sum| sum.amount_minor).sum()
            };
            story.listed().iter().filter(|job| job.state == JobState::Completed).any(|job| {
                let once = story.sums(OpKind::AuditCharges, &job.id).len() == 1;
                let paid = total(OpKind::AuditCharges, &job.id);
                let back = total(OpKind::AuditRefunds, &job.id);
                let earned = total(OpKind::AuditEarnings, &job.id) as f64;
                let off = |paid: i64| (earned - paid as f64 * 0.8).abs() > 1.0;
                let over = story.says(OpKind::DriverDropOff, &job.id);
                once && over && off(paid) && off(paid + back)
            })
        },
    );
}

#[test]
fn cancelled_charged_by_rule() {
    agree(
        "cancelled-charged-by-rule",
        |pen| {
            let count = pen.rng.below(3);
            let mut tale = pen.tale(&[OpKind::DriverAccept], count);
            pen.rest(&mut tale);
            tale
        },
        |story| {
            let numbers = story.listed().iter().any(|job| job.assignment > 0);
            let ended = [JobState::Cancelled, JobState::Expired];
            story.listed().iter().filter(|job| ended.contains(&job.state)).any(|job| {
                let taken = story.ops.iter().any(|op| {
                    op.kind() == OpKind::DriverAccept
                        && op.outcome != Outcome::Fail
                        && job_of(op) == Some(&job.id)
                });
                let had_driver = job.assignment > 0 || taken || !numbers;
                let charges = story.sums(OpKind::AuditCharges, &job.id);
                let many = charges.iter().filter(|one| one.amount_minor != 0).count();
                many > 1 || many == 1 && (job.state == JobState::Expired || !had_driver)
            })
        },
    );
}

#[test]
fn rejected_changes_nothing() {
    agree(
        "rejected-changes-nothing",
        |pen| {
            let count = pen.rng.below(3);
            let mut tale = pen.tale(&[OpKind::DriverAccept], count);
            for _ in 0..2 {
                let (job, who, when) = (pen.job(), pen.robot(OpKind::DriverAccept), pen.when());
                let refusal = pen.one(&[Refusal::NotFound, Refusal::Conflict]);
                tale.accept(who, when, job, 1).refused(refusal);
            }
            pen.rest(&mut tale);
            tale
        },
        |story| {
            story.listed().iter().any(|job| {
                [d(1), d(2)].iter().any(|driver| {
                    let tries: Vec<&Op> = story
                        .ops
                        .iter()
                        .filter(|op| {
                            op.kind() == OpKind::DriverAccept
                                && op.robot == *driver
                                && job_of(op) == Some(&job.id)
                        })
                        .collect();
                    let refused = |op: &&Op| {
                        op.outcome == Outcome::Fail && op.answer.refusal != Some(Refusal::Conflict)
                    };
                    let has = job.driver.as_ref() == Some(&account(*driver));
                    has && !tries.is_empty() && tries.iter().all(refused)
                })
            })
        },
    );
}
