//! Planted bugs: wrong on purpose, each at the place where the real one would be, switched on by
//! name. A plant is looked up once, when a service starts; nothing else changes.

/// One planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plant {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about.
    pub group: &'static str,
    /// What goes wrong.
    pub what: &'static str,
    /// Where it lives.
    pub place: &'static str,
    /// The law that ought to catch it, or the command where no law can.
    pub caught_by: &'static str,
}

impl Plant {
    /// The scenario in which it has its chance: what is wrong with identities, input and versions shows
    /// only to robots that look for it.
    pub fn scenario(&self) -> &'static str {
        match self.group {
            "Identity and input" | "Versions" => "scenarios/rogue.toml",
            _ => "scenarios/zoo.toml",
        }
    }
}

pub use super::storage::ACK_BEFORE_WRITE;
/// No compare-and-set in the accept of a job.
pub const DOUBLE_DISPATCH: &str = "double-dispatch";
/// An offer that has expired can still be accepted.
pub const LATE_ACCEPT: &str = "late-accept";
/// An offer of a job that was cancelled can still be accepted.
pub const REVIVED_CANCEL: &str = "revived-cancel";
/// A cancel is answered and not written.
pub const LOST_CANCEL: &str = "lost-cancel";
/// A time-out fires after the accept.
pub const LATE_TIMER: &str = "late-timer";
/// A search for a driver never expires.
pub const ENDLESS_SEARCH: &str = "endless-search";
/// The timer of an offer dies with its node.
pub const LOST_TIMER: &str = "lost-timer";
/// The driver of a cancelled job stays busy.
pub const BUSY_LEAK: &str = "busy-leak";
/// A sync that does not sync.
pub const SKIP_SYNC: &str = "skip-sync";
/// No compare-and-set in the cancel of a job.
pub const BLIND_CANCEL: &str = "blind-cancel";
/// Jobs are read from copies.
pub const STALE_READ: &str = "stale-read";
/// A job is not found just after it was made.
pub const UNBORN_READ: &str = "unborn-read";
/// A node serves before it has all of its config.
pub const HALF_APPLIED_CONFIG: &str = "half-applied-config";
/// A message that is delivered twice is processed twice.
pub const REDELIVERED_REQUEST: &str = "redelivered-request";
/// A poison message blocks its queue.
pub const POISON_JOB: &str = "poison-job";
/// A reply goes to another question.
pub const CROSS_TALK: &str = "cross-talk";
/// A payment is dropped while whoever takes it is down.
pub const LOST_PAYMENT: &str = "lost-payment";
/// A time-out is told as a refusal.
pub const UNKNOWN_AS_REFUSAL: &str = "unknown-as-refusal";
/// Calls go on to an instance that is dead.
pub const DEAD_LINK: &str = "dead-link";
/// A push goes to another stream.
pub const PUSH_ASTRAY: &str = "push-astray";
/// Whoever asks for a capture again charges again.
pub const CHARGE_TWICE: &str = "charge-twice";
/// A charge that waits in memory is lost with its node.
pub const CHARGE_IN_MEMORY: &str = "charge-in-memory";
/// The fare of a cancelled job is taken.
pub const CHARGE_AFTER_CANCEL: &str = "charge-after-cancel";
/// The estimate is charged instead of the fare.
pub const ESTIMATE_CHARGED: &str = "estimate-charged";
/// Money is rounded in floating point.
pub const FLOAT_MONEY: &str = "float-money";
/// A journey is timed by the local clock.
pub const MIDNIGHT_FARE: &str = "midnight-fare";
/// The search for drivers ignores the reach.
pub const OFFER_FAR: &str = "offer-far";
/// A bounding box stands for the shape in it.
pub const BOX_FOR_CIRCLE: &str = "box-for-circle";
/// Positions are taken over late.
pub const STALE_LOCATION: &str = "stale-location";
/// Positions are acknowledged and dropped.
pub const SILENT_DROP: &str = "silent-drop";
/// An older position wins.
pub const SEQ_AS_TEXT: &str = "seq-as-text";
/// Whoever takes a job is listed as free.
pub const BUSY_LISTED: &str = "busy-listed";
/// Ids repeat after a restart or a step of the clock.
pub const ID_REPEATS: &str = "id-repeats";
/// Retries keep a service down.
pub const RETRY_STORM: &str = "retry-storm";
/// A pool runs dry.
pub const POOL_LEAK: &str = "pool-leak";
/// A list that nobody clears.
pub const STALE_ISSUES: &str = "stale-issues";
/// A service that reads the machine's clock behind the back of its world.
pub const READS_CLOCK: &str = "reads-clock";

/// Whoever looks at a token does not look at its end.
pub const TOKEN_NEVER_EXPIRES: &str = "token-never-expires";
/// Whoever exchanges sessions for tokens remembers those that were closed.
pub const REVOKED_TOKEN_CACHED: &str = "revoked-token-cached";
/// Nobody looks whose job it is that is read.
pub const OTHERS_JOB_READABLE: &str = "others-job-readable";
/// Nobody looks whose job it is that is cancelled.
pub const CANCEL_FOR_OTHERS: &str = "cancel-for-others";
/// A body that cannot be read ends in an error of the server's own.
pub const BAD_INPUT_500: &str = "bad-input-500";
/// A job that does not exist makes the service fail.
pub const UNKNOWN_ID_500: &str = "unknown-id-500";
/// The limit of an account is looked at when all is done.
pub const LIMITED_AFTER_EFFECT: &str = "limited-after-effect";
/// An id goes through a float.
pub const ID_AS_FLOAT: &str = "id-as-float";
/// Latitude and longitude of an offer change places.
pub const LAT_LON_SWAPPED: &str = "lat-lon-swapped";
/// Version 2 of the fares rounds off.
pub const NEW_VERSION_ROUNDS: &str = "new-version-rounds";
/// A search finds drivers of every tenant.
pub const LEAKY_CITY: &str = "leaky-city";

/// Every planted bug of the reference backend.
pub const ALL: &[Plant] = &[
    Plant {
        name: DOUBLE_DISPATCH,
        group: "Dispatch",
        what: "accept looks neither at the job's state nor at its version: whoever was offered it \
               gets it",
        place: "core/job accept",
        caught_by: "one-driver-per-job",
    },
    Plant {
        name: LATE_ACCEPT,
        group: "Dispatch",
        what: "accept takes an offer that has expired",
        place: "core/job accept",
        caught_by: "offer-dies",
    },
    Plant {
        name: REVIVED_CANCEL,
        group: "Dispatch",
        what: "accept looks at the offer alone, and takes one of a job that its passenger has \
               cancelled",
        place: "core/job accept",
        caught_by: "accept-cancel-one-winner",
    },
    Plant {
        name: LOST_CANCEL,
        group: "Dispatch",
        what: "a cancel that comes while the job is offered is answered as done, and writes \
               nothing",
        place: "core/job cancel",
        caught_by: "accept-cancel-one-winner",
    },
    Plant {
        name: LATE_TIMER,
        group: "Dispatch",
        what: "accept does not stop the timer of the offers: when it fires, the job is sought a \
               driver for again",
        place: "core/job tend",
        caught_by: "one-driver-per-job",
    },
    Plant {
        name: ENDLESS_SEARCH,
        group: "Dispatch",
        what: "nobody looks whether the search is over",
        place: "core/job tend",
        caught_by: "every-job-ends",
    },
    Plant {
        name: LOST_TIMER,
        group: "Dispatch",
        what: "that an offer ends is known to a timer in the memory of one node: killed, it leaves \
               the offer stuck",
        place: "orchestration/dispatch",
        caught_by: "every-job-ends",
    },
    Plant {
        name: BUSY_LEAK,
        group: "Dispatch",
        what: "the driver of a job that the passenger cancels stays busy",
        place: "core/job cancel",
        caught_by: "driver-freed",
    },
    Plant {
        name: ACK_BEFORE_WRITE,
        group: "Durability",
        what: "a commit is acknowledged 250 ms before the sync; by the leader of replicas up to \
               two seconds before it syncs it and tells the others",
        place: "storage commit",
        caught_by: "nothing-acknowledged-is-lost",
    },
    Plant {
        name: SKIP_SYNC,
        group: "Durability",
        what: "the disk of a node does nothing at a sync: a kill loses all since its start (of a \
               majority of replicas: for everybody)",
        place: "the world's disk",
        caught_by: "nothing-acknowledged-is-lost",
    },
    Plant {
        name: BLIND_CANCEL,
        group: "Durability",
        what: "a cancel reads the job, sees to its fee, and writes the job as it was: an accept that came \
               between is lost",
        place: "core/job cancel",
        caught_by: "nothing-acknowledged-is-lost",
    },
    Plant {
        name: STALE_READ,
        group: "Durability",
        what: "each node shows a job as it was up to four seconds ago",
        place: "core/job get",
        caught_by: "job-register-linearizable",
    },
    Plant {
        name: UNBORN_READ,
        group: "Durability",
        what: "jobs are looked up in a list that is three seconds behind: a new one does not exist \
               yet",
        place: "core/job get",
        caught_by: "nothing-acknowledged-is-lost",
    },
    Plant {
        name: HALF_APPLIED_CONFIG,
        group: "Durability",
        what: "a node that was started again quotes prices before it has the tariff: nothing",
        place: "core/fare quote",
        caught_by: "no-silent-degradation",
    },
    Plant {
        name: REDELIVERED_REQUEST,
        group: "Bus",
        what: "a request that comes twice is carried out twice: nobody looks for its key",
        place: "core/job create",
        caught_by: "idempotent-requests",
    },
    Plant {
        name: POISON_JOB,
        group: "Bus",
        what: "the sweep stops at the first due job that it cannot read (one in 24), and all \
               behind it wait for ever",
        place: "orchestration sweep",
        caught_by: "every-job-ends",
    },
    Plant {
        name: CROSS_TALK,
        group: "Bus",
        what: "a reply that comes too late goes to whoever waits in its place by now",
        place: "platform calls",
        caught_by: "answers-match-questions",
    },
    Plant {
        name: LOST_PAYMENT,
        group: "Bus",
        what: "a payment is told one way to the charge service that is first in the list and acknowledged, \
               whether that is up or not",
        place: "orchestration/dispatch pay",
        caught_by: "charged-once",
    },
    Plant {
        name: UNKNOWN_AS_REFUSAL,
        group: "Bus",
        what: "a request that core did not answer in time is refused as if it had certainly not \
               been carried out",
        place: "orchestration/dispatch request",
        caught_by: "nothing-unasked-exists",
    },
    Plant {
        name: DEAD_LINK,
        group: "Bus",
        what: "everybody asks the core node that was there first, for ever, over the link of then, \
               though it has died and come back",
        place: "platform rpc",
        caught_by: "recovers-in-time",
    },
    Plant {
        name: PUSH_ASTRAY,
        group: "Bus",
        what: "what is pushed to a passenger goes to the stream that stands next in the list",
        place: "api streams",
        caught_by: "push-reaches-owner-only",
    },
    Plant {
        name: CHARGE_TWICE,
        group: "Money",
        what: "capture does not look for the charge that is there: a retry charges again",
        place: "core/charge capture",
        caught_by: "charged-once",
    },
    Plant {
        name: CHARGE_IN_MEMORY,
        group: "Money",
        what: "payments are acknowledged, and taken in a batch six seconds later: a restart \
               forgets them",
        place: "orchestration/dispatch pay",
        caught_by: "charged-once",
    },
    Plant {
        name: CHARGE_AFTER_CANCEL,
        group: "Money",
        what: "what was quoted is taken for a cancelled job too",
        place: "orchestration/dispatch capture",
        caught_by: "cancelled-charged-by-rule",
    },
    Plant {
        name: ESTIMATE_CHARGED,
        group: "Money",
        what: "the quoted fare is taken, and not the final one",
        place: "orchestration/dispatch capture",
        caught_by: "charge-matches-fare",
    },
    Plant {
        name: FLOAT_MONEY,
        group: "Money",
        what: "a sum goes through euros in floating point and back, and is cut off: some lose a \
               cent",
        place: "orchestration/dispatch capture",
        caught_by: "charge-matches-fare",
    },
    Plant {
        name: MIDNIGHT_FARE,
        group: "Money",
        what: "the time of a journey is the difference of two local clock readings: over midnight \
               it is a day short",
        place: "core/job drop_off",
        caught_by: "eta-and-fare-sane",
    },
    Plant {
        name: TOKEN_NEVER_EXPIRES,
        group: "Identity and input",
        what: "whoever verifies a token checks its signature and not its end",
        place: "platform/token verify",
        caught_by: "tokens-expire",
    },
    Plant {
        name: REVOKED_TOKEN_CACHED,
        group: "Identity and input",
        what: "the login service remembers sessions that it has seen, and goes on giving tokens for those that \
               were closed",
        place: "core/login exchange",
        caught_by: "tokens-expire",
    },
    Plant {
        name: OTHERS_JOB_READABLE,
        group: "Identity and input",
        what: "a passenger who knows the id of a job can read it, whoever asked for it",
        place: "api customer/job",
        caught_by: "mine-is-mine",
    },
    Plant {
        name: CANCEL_FOR_OTHERS,
        group: "Identity and input",
        what: "a passenger who knows the id of a job can cancel it, whoever asked for it",
        place: "api customer/cancel",
        caught_by: "mine-is-mine",
    },
    Plant {
        name: BAD_INPUT_500,
        group: "Identity and input",
        what: "a body that cannot be read (a number that is none, something missing) is answered with 500",
        place: "api, where bodies are read",
        caught_by: "bad-input-is-4xx",
    },
    Plant {
        name: UNKNOWN_ID_500,
        group: "Identity and input",
        what: "whoever asks for a job that does not exist is answered with 500",
        place: "api, where errors become answers",
        caught_by: "bad-input-is-4xx",
    },
    Plant {
        name: LIMITED_AFTER_EFFECT,
        group: "Identity and input",
        what: "who asks for too much is told so with 429 after the request was carried out",
        place: "api, where requests are let in",
        caught_by: "limited-then-served",
    },
    Plant {
        name: ID_AS_FLOAT,
        group: "Identity and input",
        what: "the id of a job goes through a float on its way out, and loses its last digits",
        place: "api customer/job",
        caught_by: "answers-match-questions",
    },
    Plant {
        name: LAT_LON_SWAPPED,
        group: "Identity and input",
        what: "the places of an offer are told with latitude and longitude swapped",
        place: "api driver/ping",
        caught_by: "offers-in-reach",
    },
    Plant {
        name: LEAKY_CITY,
        group: "Identity and input",
        what: "the search for drivers does not ask whose they are: robots meet others than robots",
        place: "core/raziel search",
        caught_by: "city-is-sealed",
    },
    Plant {
        name: NEW_VERSION_ROUNDS,
        group: "Versions",
        what: "version 2 of the fares rounds off to ten minor units, beside a version 1 that does not",
        place: "core/fare quote",
        caught_by: "versions-agree",
    },
    Plant {
        name: OFFER_FAR,
        group: "Geo",
        what: "the search ignores the reach and takes any driver of the city",
        place: "core/raziel search",
        caught_by: "offers-in-reach",
    },
    Plant {
        name: BOX_FOR_CIRCLE,
        group: "Geo",
        what: "the search takes whoever is in the box around the circle",
        place: "core/raziel search",
        caught_by: "offers-in-reach",
    },
    Plant {
        name: STALE_LOCATION,
        group: "Geo",
        what: "the index takes over one position of 256 of a driver, and calls it fresh",
        place: "core/raziel ping",
        caught_by: "offers-in-reach",
    },
    Plant {
        name: SILENT_DROP,
        group: "Geo",
        what: "the positions of a quarter of the drivers are answered and dropped: nobody finds \
               them",
        place: "core/raziel ping",
        caught_by: "waiting-is-served",
    },
    Plant {
        name: SEQ_AS_TEXT,
        group: "Geo",
        what: "the numbers of positions are compared as text: after number 9 comes 90",
        place: "core/raziel ping",
        caught_by: "old-ping-never-wins",
    },
    Plant {
        name: BUSY_LISTED,
        group: "Geo",
        what: "the index does not hear that a driver took a job: it is shown to passengers as free",
        place: "core/raziel mark",
        caught_by: "near-drivers-fresh",
    },
    Plant {
        name: ID_REPEATS,
        group: "Time and slow rot",
        what: "ids carry the minute and a count that begins anew with each start: after a restart, \
               or a step of the clock, they repeat",
        place: "platform ids",
        caught_by: "unique-ids",
    },
    Plant {
        name: RETRY_STORM,
        group: "Time and slow rot",
        what: "pings that waited too long for their worker are tried again at once, and done all \
               the same: it never catches up",
        place: "api/driver ping",
        caught_by: "recovers-in-time",
    },
    Plant {
        name: POOL_LEAK,
        group: "Time and slow rot",
        what: "a request that fails, or whose client goes away, does not give its place in the pool \
               back: eight, and the node answers nobody",
        place: "api",
        caught_by: "recovers-in-time",
    },
    Plant {
        name: STALE_ISSUES,
        group: "Time and slow rot",
        what: "a job that is over stays in the book of live jobs as it was, and becomes an issue",
        place: "orchestration/live-issues",
        caught_by: "live-issues-true",
    },
    Plant {
        name: READS_CLOCK,
        group: "Time and slow rot",
        what: "the service of jobs lets the machine's clock move its own by some milliseconds: \
               harmless, but no run goes the same way twice",
        place: "core/job clock",
        caught_by: "replay of a virtual run",
    },
];

/// The planted bug of that name.
pub fn find(name: &str) -> Option<&'static Plant> {
    ALL.iter().find(|plant| plant.name == name)
}

/// True when `plant` is among those switched on.
pub fn is_on(switched_on: &[String], plant: &str) -> bool {
    switched_on.iter().any(|name| name == plant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (index, plant) in ALL.iter().enumerate() {
            assert_eq!(find(plant.name), Some(plant));
            assert!(ALL[..index].iter().all(|earlier| earlier.name != plant.name));
        }
        assert!(find("no-such-bug").is_none());
        assert!(is_on(&["late-accept".into()], LATE_ACCEPT));
        assert!(!is_on(&["late-accept".into()], BUSY_LEAK));
    }
}
