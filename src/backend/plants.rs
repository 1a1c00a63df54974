//! Planted bugs: wrong on purpose, each at the place where the real one would be, switched on by
//! name. A plant is looked up once, when a service starts; nothing else changes.

/// One planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plant {
    /// Its name on the command line.
    pub name: &'static str,
    /// What goes wrong.
    pub what: &'static str,
    /// Where it lives.
    pub place: &'static str,
    /// The law that ought to catch it, or the command where no law can.
    pub caught_by: &'static str,
}

/// No compare-and-set in the accept of a job.
pub const DOUBLE_DISPATCH: &str = "double-dispatch";
/// An offer that has expired can still be accepted.
pub const LATE_ACCEPT: &str = "late-accept";
/// Whoever asks for a capture again charges again.
pub const CHARGE_TWICE: &str = "charge-twice";
/// The search for drivers ignores the reach.
pub const OFFER_FAR: &str = "offer-far";
/// The driver of a cancelled job stays busy.
pub const BUSY_LEAK: &str = "busy-leak";
pub use super::storage::ACK_BEFORE_WRITE;
/// A sync that does not sync.
pub const SKIP_SYNC: &str = "skip-sync";
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
        what: "accept looks neither at the job's state nor at its version: whoever was offered it \
               gets it",
        place: "core/job accept",
        caught_by: "one-driver-per-job",
    },
    Plant {
        name: LATE_ACCEPT,
        what: "accept takes an offer that has expired",
        place: "core/job accept",
        caught_by: "offer-dies",
    },
    Plant {
        name: CHARGE_TWICE,
        what: "capture does not look for the charge that is there: a retry charges again",
        place: "core/charge capture",
        caught_by: "charged-once",
    },
    Plant {
        name: OFFER_FAR,
        what: "the search ignores the reach and takes any driver of the city",
        place: "core/raziel search",
        caught_by: "offers-in-reach",
    },
    Plant {
        name: BUSY_LEAK,
        what: "the driver of a job that the passenger cancels stays busy",
        place: "core/job cancel",
        caught_by: "driver-freed",
    },
    Plant {
        name: TOKEN_NEVER_EXPIRES,
        what: "whoever verifies a token checks its signature and not its end",
        place: "platform/token verify",
        caught_by: "tokens-expire",
    },
    Plant {
        name: REVOKED_TOKEN_CACHED,
        what: "the login service remembers sessions that it has seen, and goes on giving tokens for those that \
               were closed",
        place: "core/login exchange",
        caught_by: "tokens-expire",
    },
    Plant {
        name: OTHERS_JOB_READABLE,
        what: "a passenger who knows the id of a job can read it, whoever asked for it",
        place: "api customer/job",
        caught_by: "mine-is-mine",
    },
    Plant {
        name: CANCEL_FOR_OTHERS,
        what: "a passenger who knows the id of a job can cancel it, whoever asked for it",
        place: "api customer/cancel",
        caught_by: "mine-is-mine",
    },
    Plant {
        name: BAD_INPUT_500,
        what: "a body that cannot be read (a number that is none, something missing) is answered with 500",
        place: "api, where bodies are read",
        caught_by: "bad-input-is-4xx",
    },
    Plant {
        name: UNKNOWN_ID_500,
        what: "whoever asks for a job that does not exist is answered with 500",
        place: "api, where errors become answers",
        caught_by: "bad-input-is-4xx",
    },
    Plant {
        name: LIMITED_AFTER_EFFECT,
        what: "who asks for too much is told so with 429 after the request was carried out",
        place: "api, where requests are let in",
        caught_by: "limited-then-served",
    },
    Plant {
        name: ID_AS_FLOAT,
        what: "the id of a job goes through a float on its way out, and loses its last digits",
        place: "api customer/job",
        caught_by: "answers-match-questions",
    },
    Plant {
        name: LAT_LON_SWAPPED,
        what: "the places of an offer are told with latitude and longitude swapped",
        place: "api driver/ping",
        caught_by: "offers-in-reach",
    },
    Plant {
        name: NEW_VERSION_ROUNDS,
        what: "version 2 of the fares rounds off to ten minor units, beside a version 1 that does not",
        place: "core/fare quote",
        caught_by: "versions-agree",
    },
    Plant {
        name: LEAKY_CITY,
        what: "the search for drivers does not ask whose they are: robots meet others than robots",
        place: "core/raziel search",
        caught_by: "city-is-sealed",
    },
    Plant {
        name: ACK_BEFORE_WRITE,
        what: "a commit is acknowledged 250 ms before the sync; by the leader of replicas up to two seconds \
               before it syncs it and tells the others",
        place: "storage commit",
        caught_by: "nothing-acknowledged-is-lost",
    },
    Plant {
        name: SKIP_SYNC,
        what: "the disk of a node does nothing at a sync: a kill loses all since its start (of a \
               majority of replicas: for everybody)",
        place: "the world's disk",
        caught_by: "nothing-acknowledged-is-lost",
    },
    Plant {
        name: READS_CLOCK,
        what: "the service of jobs lets the machine's clock move its own by some \
               milliseconds: harmless, but no run goes the same way twice",
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
