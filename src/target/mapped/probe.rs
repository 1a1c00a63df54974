//! Requests that are wrong on purpose: a right one is made, and spoiled. Only steps that are one HTTP
//! request can be: what cannot be spoiled in that way is not sent. What comes of a probe changes no
//! session, and pauses nobody.

use bytes::Bytes;
use http::{HeaderValue, Request, header};

use super::{
    Ended, Judged, Mapped, TOKEN, pause, raw,
    scope::Scope,
    session::Fields,
    step::{Step, Way},
};
use crate::{
    base::{id::RobotId, time::Time},
    history::{answer::Refusal, op::Ask, probe::Probe},
    target::spoil,
    world::HttpError,
};

/// Probes for which more would have to be known of the backend than a mapping says.
pub const LACKS: [Probe; 2] = [Probe::TokenRevoked, Probe::Outside];

/// A token that nobody has: what it is found in is where tokens go.
const NOBODYS: &str = "of-bad-news";
const NO_TOKEN: &str = "the robot has no token of its own";

impl Mapped {
    /// One request that is wrong in that way.
    pub(super) async fn probe(
        &self,
        robot: RobotId,
        probe: Probe,
        ask: &Ask,
        deadline: Time,
    ) -> Ended {
        if let Some(ended) = self.hold_back(deadline).await {
            return ended;
        }
        let sent = match self.file.step(ask.op) {
            Some(step) => self.spoil_and_send(robot, probe, step, ask, deadline).await,
            None => Err(format!("`{}` has no step for {}", self.file.name, ask.op)),
        };
        sent.unwrap_or_else(|why| {
            let why = self.hide(robot, &format!("nothing was sent: {why}"));
            Ended::unsent(Judged::refused(Refusal::Other, why))
        })
    }

    async fn spoil_and_send(
        &self,
        robot: RobotId,
        probe: Probe,
        step: &Step,
        ask: &Ask,
        deadline: Time,
    ) -> Result<Ended, String> {
        let Way::Http { link, .. } = &step.way else {
            return Err(format!("`{}` is no HTTP request", step.key));
        };
        if !step.first.is_empty() || self.is_gathered(ask.op) {
            return Err(format!("`{}` is more than one request", step.key));
        }
        let own = self.fields(robot)?;
        let notes = ask.job.as_ref().and_then(|job| self.book.fields(job));
        let scope = Scope {
            ask: Some(ask),
            job: notes.as_ref(),
            wall: self.env.wall(),
            deadline,
            ..self.scope(robot, &own)
        };
        let request = if probe.is_of_token() {
            self.with_bad_token(robot, probe, step, *link, &scope)?
        } else if step.needs_token && own.get(TOKEN).is_none() {
            return Err(NO_TOKEN.to_owned());
        } else {
            let mut request = self.to_http(robot, step, *link, &scope)?;
            *request.body_mut() = spoil::body(request.body(), probe)
                .ok_or_else(|| format!("the body of `{}` cannot be wrong so", step.key))?;
            request
        };
        Ok(self.sent_as_it_is(robot, step, *link, request, &scope).await)
    }

    /// A request that is right but for its token. One that a secret of the run lets in as well would be
    /// answered rightly, and is none.
    fn with_bad_token(
        &self,
        robot: RobotId,
        probe: Probe,
        step: &Step,
        link: usize,
        scope: &Scope<'_>,
    ) -> Result<Request<Bytes>, String> {
        let with = |token: &str| {
            let mut me: Fields = scope.me.clone();
            me.set(TOKEN, token);
            self.to_http(robot, step, link, &Scope { me: &me, ..*scope })
        };
        let mut marked = with(NOBODYS)?;
        let open = self.file.run.secrets.iter().any(|(_, secret)| is_in(&marked, secret));
        if open || !is_in(&marked, NOBODYS) {
            return Err(format!("`{}` lets a robot in by more than its token", step.key));
        }
        let own = || scope.me.get(TOKEN).ok_or(NO_TOKEN.to_owned());
        match probe {
            Probe::TokenMalformed => Ok(marked),
            Probe::TokenAbsent => {
                let has = |value: &HeaderValue| holds(value.as_bytes(), NOBODYS);
                let bad: Vec<_> = marked.headers().iter().filter(|(_, value)| has(value)).collect();
                let names: Vec<_> = bad.into_iter().map(|(name, _)| name.clone()).collect();
                for name in names {
                    marked.headers_mut().remove(name);
                }
                if is_in(&marked, NOBODYS) {
                    return Err(format!("the token of `{}` is in no header", step.key));
                }
                Ok(marked)
            }
            Probe::TokenForged => with(&spoil::forged(own()?).ok_or("its token is empty")?),
            _ => with(own()?),
        }
    }

    async fn sent_as_it_is(
        &self,
        robot: RobotId,
        step: &Step,
        link: usize,
        request: Request<Bytes>,
        scope: &Scope<'_>,
    ) -> Ended {
        let via = &self.lines[link];
        let (away, instance) = self.instance(robot.into(), via.instances());
        let sent = self.env.timeout(self.left(scope), via.exchange(instance, request)).await;
        let status = match &sent {
            Ok(Ok(response)) => Some(response.status().as_u16()),
            _ => None,
        };
        let mut judged = match sent {
            Ok(Ok(response)) => {
                let mut judged = self.judge(step, scope, &raw(step, &response), None);
                if judged.answer.refusal == Some(Refusal::Limited) {
                    let told = response.headers().get(header::RETRY_AFTER);
                    let wait = told.and_then(|after| pause::span(after, self.env.wall()));
                    judged.answer.retry_after_ms = wait.map(|wait| wait.as_millis() as u32);
                }
                judged
            }
            Ok(Err(HttpError::NotConnected(why))) => Judged::not_sent(why),
            Ok(Err(HttpError::Broken(why))) => Judged::unknown(why),
            Err(_) => Judged::unknown("no answer in time".to_owned()),
        };
        if judged.instance_failed {
            self.move_on(robot.into(), away, via.instances());
        }
        let of_token = scope.ask.and_then(|ask| ask.probe).is_some_and(Probe::is_of_token);
        if let Some(why) = judged.error.as_mut().filter(|_| of_token) {
            // The backend's words may have the token in them that is nearly the robot's own.
            *why =
                status.map_or("no answer".to_owned(), |status| format!("answered with {status}"));
        }
        Ended { judged, node: Some(via.node(instance)), status }
    }
}

/// Whether that text is anywhere in the request.
fn is_in(request: &Request<Bytes>, text: &str) -> bool {
    let headers = request.headers().values().any(|value| holds(value.as_bytes(), text));
    headers || request.uri().to_string().contains(text) || holds(request.body(), text)
}

fn holds(bytes: &[u8], text: &str) -> bool {
    !text.is_empty() && bytes.windows(text.len()).any(|part| part == text.as_bytes())
}
