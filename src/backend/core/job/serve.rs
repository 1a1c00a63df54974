//! The endpoints of `core/job`.

use std::{cell::Cell, future::Future, rc::Rc, time::Duration};

use super::{
    Jobs,
    board::{Rules, Terms},
    moves::{Move, Step},
    planted::{Copies, Planted, slow},
    shift::Wish,
};
use crate::backend::{
    boot::Settings,
    core::{Router, RpcError, serve, table, tariff::Road},
    node::Node,
    plants,
    wire::{
        CreateAsk, DueAnswer, DueAsk, JobAnswer, JobAsk, MoveAnswer, MoveAsk, OfferAnswer, PageAsk,
        ShiftAsk, WhoseAsk,
    },
};

/// Planted: how far, below this, the machine's clock moves the service's.
const STRAY_MS_MAX: u64 = 17;

/// Serves `core/job` on this node.
pub fn mount(node: &Node, router: &mut Router) {
    let jobs = Rc::new(service(node));
    mount_moves(&jobs, router);
    mount_shifts(&jobs, router);
    mount_reads(&jobs, router);
}

fn terms(settings: &Settings) -> Terms {
    Terms {
        offer_ttl_ms: millis(settings.offer_ttl),
        search_ttl_ms: millis(settings.search_ttl),
        offers_at_once: settings.offers_at_once.max(1) as usize,
    }
}

fn service(node: &Node) -> Jobs {
    // As the config has it by now: the scenario may have changed it before anything began.
    let settings = node.live.settings();
    let terms = Rc::new(Cell::new(terms(&settings)));
    let told = Rc::clone(&terms);
    node.live.on_change(move |settings| told.set(self::terms(settings)));
    let rules = Rules { terms, road: Road::new(&settings.city), planted: Planted::of(node) };
    let (clock, ids) = (node.env.clone(), node.clone());
    let new_id = Box::new(move || ids.next_id());
    let now_ms: Box<dyn Fn() -> u64> = if node.planted(plants::READS_CLOCK) {
        Box::new(move || clock.wall().0 + stray_ms())
    } else {
        Box::new(move || clock.wall().0)
    };
    Jobs::new(slow(node, table(node)), rules, now_ms, new_id)
}

/// Planted: digits of the machine's clock, which no world hands out.
#[expect(clippy::disallowed_methods, reason = "planted: the replay check must catch this")]
fn stray_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::from(since.subsec_micros()) % STRAY_MS_MAX)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn mount_moves(jobs: &Rc<Jobs>, router: &mut Router) {
    serve!(router, jobs, "/core/job/create", CreateAsk, |jobs, ask| jobs.create(&ask).await);
    serve!(router, jobs, "/core/job/offer", MoveAsk, |jobs, ask| offer(&jobs, &ask).await);
    moving(jobs, router, "/core/job/accept", |ask| Move::Accept {
        driver: ask.actor,
        offer: ask.offer,
    });
    moving(jobs, router, "/core/job/decline", |ask| Move::Decline {
        driver: ask.actor,
        offer: ask.offer,
    });
    moving(jobs, router, "/core/job/cancel", |ask| Move::Cancel { passenger: ask.actor });
    moving(jobs, router, "/core/job/tend", |ask| Move::Tend { due_ms: ask.due_ms });
    moving(jobs, router, "/core/job/paid", |_| Move::Paid);
    for (path, step) in [
        ("/core/job/arrive", Step::Arrive),
        ("/core/job/pick_up", Step::PickUp),
        ("/core/job/drop_off", Step::DropOff),
        ("/core/job/driver_cancel", Step::Cancel),
        ("/core/job/no_show", Step::NoShow),
    ] {
        moving(jobs, router, path, move |ask| Move::Step {
            step,
            driver: ask.actor,
            assignment: ask.assignment,
        });
    }
}

fn moving(
    jobs: &Rc<Jobs>,
    router: &mut Router,
    path: &'static str,
    to_move: impl Fn(&MoveAsk) -> Move + 'static,
) {
    let jobs = Rc::clone(jobs);
    router.on(path, move |ask: MoveAsk| {
        let (jobs, a_move) = (Rc::clone(&jobs), to_move(&ask));
        async move { Ok::<MoveAnswer, RpcError>(jobs.make(ask.job, a_move).await?.into()) }
    });
}

async fn offer(jobs: &Jobs, ask: &MoveAsk) -> Result<OfferAnswer, RpcError> {
    let id = (jobs.new_id)();
    let done = jobs.make(ask.job, Move::Offer { driver: ask.actor, offer: id }).await?;
    let standing = done.standings.into_iter().find(|standing| standing.driver == ask.actor);
    Ok(OfferAnswer { job: Some(done.board.job), offer: done.moved.offer, standing })
}

fn mount_shifts(jobs: &Rc<Jobs>, router: &mut Router) {
    for (path, wish) in [
        ("/core/job/online", Wish::Online),
        ("/core/job/offline", Wish::Offline),
        ("/core/job/pause", Wish::Pause),
        ("/core/job/resume", Wish::Resume),
    ] {
        let jobs = Rc::clone(jobs);
        router.on(path, move |ask: ShiftAsk| {
            let jobs = Rc::clone(&jobs);
            async move { jobs.shift(ask.driver, wish).await }
        });
    }
}

fn mount_reads(jobs: &Rc<Jobs>, router: &mut Router) {
    let copies = Rc::new((Rc::clone(jobs), Copies::default()));
    serve!(router, copies, "/core/job/get", JobAsk, |copies, ask| {
        answer(async { copies.1.job(&copies.0, ask.job).await.map(Some) }).await
    });
    serve!(router, jobs, "/core/job/of_driver", WhoseAsk, |jobs, ask| {
        answer(jobs.of_driver(ask.account)).await
    });
    serve!(router, jobs, "/core/job/of_passenger", WhoseAsk, |jobs, ask| {
        answer(jobs.of_passenger(ask.account)).await
    });
    serve!(router, jobs, "/core/job/standing", WhoseAsk, |jobs, ask| {
        jobs.standing(ask.account).await
    });
    serve!(router, jobs, "/core/job/due", DueAsk, |jobs, ask| {
        Ok::<_, RpcError>(DueAnswer { due: jobs.due(ask.limit as usize).await? })
    });
    serve!(router, jobs, "/core/job/page", PageAsk, |jobs, ask| {
        jobs.page(&ask.after, ask.limit as usize).await
    });
}

async fn answer(
    job: impl Future<Output = Result<Option<crate::backend::wire::Job>, RpcError>>,
) -> Result<JobAnswer, RpcError> {
    Ok(JobAnswer { job: job.await? })
}
