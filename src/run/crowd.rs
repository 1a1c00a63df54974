//! The robots of a run, as faults may move them: a handle on the engine.

use crate::{
    base::time::Time,
    chaos::load::{Crowd, Extra, Logins, Rates},
    engine::reins::{Reins, Sent},
};

impl Crowd for Reins {
    fn surge(&self, jobs: f64, updates: f64) {
        self.surge(jobs, updates);
    }

    fn end_surge(&self) {
        self.end_surge();
    }

    fn extra(&self) -> Extra {
        let extra = self.extra();
        Extra { wishes: extra.wishes, updates: extra.updates }
    }

    fn usual(&self) -> Rates {
        rates(self.usual())
    }

    fn sent_since(&self, from: Time) -> Rates {
        rates(self.sent_since(from))
    }

    fn updates_per_s(&self) -> f64 {
        self.updates_per_s()
    }

    fn log_all_in(&self, share: f64) -> u32 {
        self.log_all_in(share)
    }

    fn log_in_again(&self) {
        self.log_in_again();
    }

    fn logins(&self) -> Logins {
        let logins = self.logins();
        Logins { asked: logins.asked, sent: logins.sent, away: logins.away }
    }
}

fn rates(sent: Sent) -> Rates {
    let seconds = sent.seconds as f64;
    let per_s = |count: u64| if sent.seconds == 0 { 0.0 } else { count as f64 / seconds };
    Rates { requests_per_s: per_s(sent.requests), updates_per_s: per_s(sent.updates), seconds }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, rc::Rc, sync::Arc};

    use crate::{
        report::verdict::Exit,
        run::{
            Ui,
            plan::{RunPlan, Time, Wishes},
            signals::Stops,
            virtual_,
        },
    };

    const RUSH: &str = "[[fault]]\nkind = \"spike\"\nfactor = 3.0\nupdates = 2.0\nat = \"4s\"\nfor = \
                        \"6s\"\n[[fault]]\nkind = \"log-in\"\nat = \"6s\"\nfor = \"3s\"\n";

    #[test]
    fn a_healthy_backend_gets_over_a_rush_and_what_was_asked_for_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let chaos = folder.path().join("rush.toml");
        std::fs::write(&chaos, RUSH).unwrap();
        let wishes = Wishes {
            seed: Some("7".into()),
            time: Time::Virtual,
            chaos: Some(chaos.to_string_lossy().into_owned()),
            ..Wishes::default()
        };
        let plan = RunPlan::resolve(Path::new("scenarios/smoke.toml"), &wishes).unwrap();
        let city = Rc::new(plan.city_in_memory().unwrap());
        let played =
            virtual_::play(&plan, &city, None, Ui::None, Arc::new(Stops::default())).unwrap();
        let summary = &played.judged.summary;
        assert_eq!(played.exit, Exit::Pass, "{:?}", summary.reasons);
        assert!(summary.faults.iter().all(|fault| fault.bit && fault.healed_s.is_some()));
        // Twenty a second, and as many more for six of the twelve seconds.
        let updates = &summary.load.updates;
        assert!((updates.target_per_s - 30.0).abs() < 0.1, "{updates:?}");
        assert!((updates.planned_per_s - 30.0).abs() < 0.5, "{updates:?}");
    }
}
