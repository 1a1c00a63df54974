//! What changed, told to whoever listens: a topic, a type and where to read it, and no payload, for a
//! thing that has an identity is read where it lives. (Pings have none: they are a stream of values.)
//! One way and best effort: who must not miss anything looks for itself now and then.

use crate::backend::{
    core::job::moves::word,
    node::Node,
    wire::{ChangeEvent, Charge, Job},
};

/// Where listeners hear of changes: whoever serves it is told.
pub const EVENT: &str = "/platform/resn/event";
/// What stands before the id in the address of a job, a driver's standing, and a job's charges.
pub const JOB_HREF: &str = "/core/job/get/";
const DRIVER_HREF: &str = "/core/job/standing/";
const CHARGE_HREF: &str = "/core/charge/of_job/";

/// A job changed. `touched` are drivers that it concerns besides the one who holds it.
pub fn job(node: &Node, job: &Job, touched: impl IntoIterator<Item = u64>) {
    let holder = job.assignments.last().map(|assignment| assignment.driver);
    let mut whom = vec![job.passenger];
    for driver in holder.into_iter().chain(touched) {
        if !whom.contains(&driver) {
            whom.push(driver);
        }
    }
    tell(node, "job", word(job.state()), format!("{JOB_HREF}{}", job.id), whom);
}

/// A driver's shift changed: `what` is the last word of the endpoint that changed it.
pub fn driver(node: &Node, driver: u64, what: &str) {
    tell(node, "driver", what, format!("{DRIVER_HREF}{driver}"), vec![driver]);
}

/// Money was taken.
pub fn charge(node: &Node, charge: &Charge) {
    let what = if charge.fee { "fee" } else { "fare" };
    tell(node, "charge", what, format!("{CHARGE_HREF}{}", charge.job), vec![charge.passenger]);
}

/// The job that an event is about, if it is about one.
pub fn job_of(event: &ChangeEvent) -> Option<u64> {
    let id = event.href.strip_prefix(JOB_HREF).filter(|_| event.topic == "job");
    id.and_then(|id| id.parse().ok())
}

fn tell(node: &Node, topic: &str, what: &str, href: String, whom: Vec<u64>) {
    let at_ms = node.env.wall().0;
    let (topic, what) = (topic.to_owned(), what.to_owned());
    node.rpc.publish(EVENT, &ChangeEvent { topic, r#type: what, href, at_ms, whom }, false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_of_jobs_name_one() {
        let event = |topic: &str, href: &str| ChangeEvent {
            topic: topic.into(),
            href: href.into(),
            ..ChangeEvent::default()
        };
        assert_eq!(
            job_of(&event("job", "/core/job/get/77669839702851584")),
            Some(77_669_839_702_851_584)
        );
        for (topic, href) in
            [("job", "/core/job/get/"), ("job", "/x/7"), ("charge", "/core/job/get/7")]
        {
            assert_eq!(job_of(&event(topic, href)), None, "{topic} {href}");
        }
    }
}
