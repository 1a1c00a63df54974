//! Brokers and commands of a mapping: one connection a link and run, opened when it is needed first,
//! with its taps.

use std::{cell::RefCell, rc::Rc, time::Duration};

use futures_util::{FutureExt as _, future::Shared};
use serde_json::Value;
use tokio::sync::oneshot;

use super::{
    Ended, Judged, Mapped, TOKEN,
    accepted::is_read_back,
    compiled::{Compiled, Link},
    grammar::Speaks,
    judge::Raw,
    line,
    scope::Scope,
    step::{Step, Way},
};
use crate::{
    base::name::NodeName,
    engine::target::Gap as Gone,
    target::wire::{
        amqp::{AmqpError, Broker, Gap, Limits, Message, Received, Tap},
        command::{CommandError, Probe},
        protobuf::Codec,
    },
};

/// Between two attempts to have a broker's taps.
const TAP_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Binding keys of a tap that names none: everything.
const EVERYTHING: &str = "#";

/// A broker, once somebody needed it. Whoever needs it while it is being connected to waits for that,
/// no longer than it likes.
#[derive(Default)]
pub struct Connection(RefCell<State>);

#[derive(Default)]
enum State {
    #[default]
    Away,
    Coming(Shared<oneshot::Receiver<Result<Broker, String>>>),
    /// The taps are held, so that they go on.
    Here(Broker, #[expect(dead_code, reason = "dropped, a tap ends")] Vec<Tap>),
}

/// Opens a connection, without anything else.
pub async fn connect(file: &Compiled, link: &Link) -> Result<Broker, String> {
    let url = link.urls.first().map_or("", String::as_str);
    let (tls, allowed) = (line::tls_of(file, link)?, Some(line::allowed(file)));
    let broker = Broker::connect_over(url, Limits::default(), allowed, tls).await;
    broker.map_err(|why| format!("[link.{}]: {why}", link.name))
}

impl Mapped {
    /// Starts to listen on every broker that is tapped.
    pub(super) fn tap_brokers(&self) {
        for (place, link) in self.file.links.iter().enumerate() {
            let tapped = self.file.pushes.iter().any(|push| push.link == place);
            if link.speaks != Speaks::Amqp || !tapped {
                continue;
            }
            let me = self.me.clone();
            self.env.spawn(async move {
                let mut told = false;
                while let Some(mapped) = me.upgrade() {
                    let Err(why) = mapped.broker(place).await else {
                        if told {
                            mapped.missed(place, "heard from now on");
                        }
                        return;
                    };
                    if !told {
                        mapped.missed(place, &format!("nothing is heard: {why}"));
                    }
                    told = true;
                    let pause = mapped.env.sleep(TAP_AGAIN_AFTER);
                    drop(mapped);
                    pause.await;
                }
            });
        }
    }

    /// The broker of a link, with its taps.
    async fn broker(&self, place: usize) -> Result<Broker, String> {
        let coming = {
            let state = &mut *self.brokers[place].0.borrow_mut();
            match state {
                State::Here(broker, _) => return Ok(broker.clone()),
                State::Coming(coming) => coming.clone(),
                State::Away => {
                    let (tells, told) = oneshot::channel();
                    let coming = told.shared();
                    *state = State::Coming(coming.clone());
                    self.fetch(place, tells);
                    coming
                }
            }
        };
        coming.await.unwrap_or_else(|_| Err("the run is over".to_owned()))
    }

    /// Connects in a task of its own: it goes on when those who wait for it do not.
    fn fetch(&self, place: usize, tells: oneshot::Sender<Result<Broker, String>>) {
        let me = self.me.clone();
        self.env.spawn(async move {
            let Some(mapped) = me.upgrade() else { return };
            let came = mapped.come(place).await;
            let (state, came) = match came {
                Ok((broker, taps)) => (State::Here(broker.clone(), taps), Ok(broker)),
                Err(why) => (State::Away, Err(why)),
            };
            mapped.brokers[place].0.replace(state);
            // Who does not wait any more does not mind.
            let _ = tells.send(came);
        });
    }

    async fn come(&self, place: usize) -> Result<(Broker, Vec<Tap>), String> {
        let broker = connect(&self.file, &self.file.links[place]).await?;
        let mut taps = Vec::new();
        for push in self.file.pushes.iter().filter(|push| push.link == place) {
            let Some(exchange) = &push.exchange else { continue };
            let keys =
                if push.keys.is_empty() { vec![EVERYTHING.to_owned()] } else { push.keys.clone() };
            let (me, number) = (self.me.clone(), taps.len());
            let hear = Rc::new(move |received: Received| {
                if let Some(mapped) = me.upgrade() {
                    mapped.tapped(place, number, &received);
                }
            });
            let me = self.me.clone();
            let miss = Rc::new(move |gap: Gap| {
                if let Some(mapped) = me.upgrade() {
                    mapped.missed(place, &words(&gap));
                }
            });
            let tap = broker.tap(exchange, &keys, hear, miss).await;
            taps.push(tap.map_err(|why| why.to_string())?);
        }
        Ok((broker, taps))
    }

    /// What robots were to be told over a link may never have come.
    fn missed(&self, place: usize, why: &str) {
        let ears = self.ears.borrow().clone();
        if let Some(ears) = ears {
            let link = self.file.links[place].name.clone();
            ears.missed(Gone { link, why: self.file.run.secrets.hide(why) });
        }
    }

    /// A message came to the tap of that number.
    fn tapped(&self, place: usize, number: usize, received: &Received) {
        let of_link = self.file.pushes.iter().filter(|push| push.link == place);
        if let Some(push) = of_link.filter(|push| push.exchange.is_some()).nth(number) {
            self.pushed(push, None, &raw(received, push.proto.as_ref()));
        }
    }

    /// One op over a broker.
    pub(super) async fn over_broker(
        &self,
        step: &Step,
        scope: &Scope<'_>,
    ) -> Result<Ended, String> {
        let Way::Publish { link, exchange, key, body, call } = &step.way else {
            return Err("it is no message to a broker".to_owned());
        };
        let (content, body) = body.render(scope)?;
        let mut message = Message {
            exchange: exchange.render(scope)?,
            routing_key: key.render(scope)?,
            body,
            ..Message::default()
        };
        message.properties.content_type = content.map(str::to_owned);
        for (name, text) in self.file.links[*link].headers.iter().chain(&step.headers) {
            message.headers.insert(name.to_string(), Value::from(text.render(scope)?));
        }
        let node = Some(NodeName::from(self.file.links[*link].name.as_str()));
        let ended = |judged| Ended { judged, node, status: None };
        let broker = match self.env.timeout(self.left(scope), self.broker(*link)).await {
            Ok(Ok(broker)) => broker,
            Ok(Err(why)) => return Ok(ended(Judged::not_sent(why))),
            Err(_) => {
                let why = "the broker could not be connected to in time".to_owned();
                return Ok(ended(Judged::not_sent(why)));
            }
        };
        let answered = if *call {
            broker
                .rpc(&message, self.left(scope))
                .await
                .map(|received| Some(raw(&received, step.proto_answer.as_ref())))
        } else {
            let published = broker.publish(&message, true);
            match self.env.timeout(self.left(scope), published).await {
                Ok(published) => published.map(|_| None),
                Err(_) => Err(AmqpError::Unknown("no confirmation in time".to_owned())),
            }
        };
        let judged = match answered {
            Ok(Some(raw)) => self.judge(step, scope, &raw, None),
            // The broker's word on a message is not the backend's word on what it asks for.
            Ok(None) => {
                Judged::unanswered(scope.ask, "the broker has it, and `publish` awaits no answer")
            }
            Err(why) if why.certainly_not() => Judged::not_sent(why.to_string()),
            Err(why) => Judged::unknown(why.to_string()),
        };
        self.remember(scope.app(), scope.me.get(TOKEN), &judged);
        Ok(ended(judged))
    }

    /// One op that is a command: its rows are the answer.
    pub(super) async fn by_command(&self, step: &Step, scope: &Scope<'_>) -> Result<Ended, String> {
        let Way::Command { words, rows } = &step.way else {
            return Err("it is no command".to_owned());
        };
        let words: Vec<String> =
            words.iter().map(|word| word.render(scope)).collect::<Result<_, _>>()?;
        let mut probe = Probe::new(words);
        probe.format = rows.clone();
        probe.redact = self.file.run.secrets.iter().map(|(_, value)| value.to_owned()).collect();
        probe.within = self.left(scope);
        let judged = match probe.run().await {
            Ok(rows) => {
                let body = Value::Array(rows.into_iter().map(Value::Object).collect());
                let raw = Raw { body, ..Raw::default() };
                self.judge(step, scope, &raw, None)
            }
            Err(why @ (CommandError::Empty | CommandError::Start { .. })) => {
                Judged::not_sent(why.to_string())
            }
            // Nothing is changed by a read that failed.
            Err(why) if scope.ask.is_some_and(|ask| is_read_back(ask.op)) => {
                Judged::not_sent(why.to_string())
            }
            Err(why) => Judged::unknown(why.to_string()),
        };
        Ok(Ended { judged, node: None, status: None })
    }
}

/// What a gap is, in words.
fn words(gap: &Gap) -> String {
    match gap {
        Gap::Lost { why } => format!("nothing is heard: {why}"),
        Gap::Back => "heard from now on".to_owned(),
        Gap::Dropped { at_least } => {
            format!("at least {at_least} messages were dropped: the tap was too slow")
        }
        Gap::TooLong { routing_key, bytes } => {
            format!("a message of {bytes} bytes (`{routing_key}`) was too long")
        }
    }
}

/// A message as an answer; one that cannot be read is `null`.
fn raw(received: &Received, message: Option<&Codec>) -> Raw {
    let body = match message {
        Some(message) => message.decode(&received.body).ok(),
        None => serde_json::from_slice(&received.body).ok(),
    };
    Raw {
        status: 0,
        text: received.body.clone(),
        body: body.unwrap_or(Value::Null),
        key: received.routing_key.clone(),
    }
}
