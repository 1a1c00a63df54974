//! Hands that do nothing, say what they were told to, and remember what was asked of them.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, ready};
use http::{Request, Response};
use serde_json::Value;

use super::{Answer, Hands, Server};
use crate::world::real::process::Identity;

/// One answer that is given next.
type Next = Result<(u16, Value), String>;

/// The hands.
#[derive(Default)]
pub struct Scripted {
    /// Answers to calls and commands, the next one first.
    pub answers: RefCell<VecDeque<Next>>,
    /// What was asked: `METHOD path body`, or a command's words.
    pub asked: RefCell<Vec<String>>,
    /// The headers of the last call.
    pub headers: RefCell<http::HeaderMap>,
}

impl Scripted {
    /// Hands that answer so.
    pub fn new(answers: impl IntoIterator<Item = (u16, Value)>) -> Rc<Self> {
        let scripted = Self::default();
        scripted.answers.borrow_mut().extend(answers.into_iter().map(Ok));
        Rc::new(scripted)
    }

    /// What was asked since the last time.
    pub fn take(&self) -> Vec<String> {
        self.asked.take()
    }

    /// What is answered next.
    pub fn then(&self, answers: impl IntoIterator<Item = (u16, Value)>) {
        self.answers.borrow_mut().extend(answers.into_iter().map(Ok));
    }

    fn next(&self) -> Next {
        let next = self.answers.borrow_mut().pop_front();
        next.unwrap_or_else(|| panic!("asked too much: {:?}", self.asked.borrow()))
    }
}

impl Hands for Scripted {
    fn run<'a>(
        &'a self,
        command: &'a [String],
        _: Duration,
    ) -> LocalBoxFuture<'a, Result<String, String>> {
        self.asked.borrow_mut().push(command.join(" "));
        Box::pin(ready(match self.next() {
            Ok((0, Value::String(printed))) => Ok(printed),
            Ok((code, said)) => Err(format!("exit code {code}: {said}")),
            Err(why) => Err(why),
        }))
    }

    fn start(&self, command: &[String]) -> Result<Identity, String> {
        self.asked.borrow_mut().push(format!("start {}", command.join(" ")));
        Identity::of(std::process::id()).ok_or_else(|| "no /proc".to_owned())
    }

    fn call<'a>(
        &'a self,
        _: &'a Server,
        request: Request<Bytes>,
        _: Duration,
    ) -> LocalBoxFuture<'a, Result<Answer, String>> {
        let (method, path) = (request.method(), request.uri());
        let body = String::from_utf8_lossy(request.body());
        self.asked.borrow_mut().push(format!("{method} {path} {body}").trim().to_owned());
        *self.headers.borrow_mut() = request.headers().clone();
        Box::pin(ready(self.next().and_then(|(status, body)| {
            let text = if body.is_null() { String::new() } else { body.to_string() };
            let answer = Response::builder().status(status).body(Bytes::from(text));
            answer.map_err(|why| why.to_string())
        })))
    }

    fn rest(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}
