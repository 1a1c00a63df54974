//! What providers do things with: commands, calls, processes. Handed in by `run`, so that what is
//! said to an engine can be tested without one.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{Request, Response};

use crate::{
    chaos::provider::{LinkName, Toxic},
    world::{Env, real::process::Identity},
};

/// Who is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// At a URL, without a path; the certificate authority of an `https` one, where it is its own.
    Url {
        /// `http://host:port`.
        url: String,
        /// A PEM file, seen from the target's file.
        ca: Option<String>,
    },
    /// At a socket of this machine.
    Socket(PathBuf),
}

/// An answer with its whole body.
pub type Answer = Response<Bytes>;

/// The means.
pub trait Hands {
    /// Runs a program with its arguments to its end, no longer than that; what it printed. The text
    /// of an error is for people. No process of it runs on.
    fn run<'a>(
        &'a self,
        command: &'a [String],
        within: Duration,
    ) -> LocalBoxFuture<'a, Result<String, String>>;

    /// Starts a program that is to stay, whatever becomes of this process.
    fn start(&self, command: &[String]) -> Result<Identity, String>;

    /// One call, no longer than that. The request's URI is a path. Hosts beyond loopback that the
    /// target's file does not allow faults on are refused.
    fn call<'a>(
        &'a self,
        server: &'a Server,
        request: Request<Bytes>,
        within: Duration,
    ) -> LocalBoxFuture<'a, Result<Answer, String>>;

    /// Waits a moment between two looks.
    fn rest(&self) -> LocalBoxFuture<'_, ()>;
}

/// Links on which something of the run stands. The text of an error is for people.
pub trait Ways {
    /// Every one.
    fn links(&self) -> Vec<LinkName>;

    /// Makes one sick, instead of what was wrong with it before; an empty list heals it.
    fn impair<'a>(
        &'a self,
        link: &'a LinkName,
        toxics: &'a [Toxic],
    ) -> LocalBoxFuture<'a, Result<(), String>>;

    /// The time of one exchange over it, on a connection of its own, with `load` bytes more than it
    /// needs.
    fn round_trip<'a>(
        &'a self,
        env: &'a Env,
        link: &'a LinkName,
        load: usize,
    ) -> LocalBoxFuture<'a, Result<Duration, String>>;

    /// How long a connection over it takes to end.
    fn closing<'a>(&'a self, link: &'a LinkName) -> LocalBoxFuture<'a, Result<Duration, String>>;
}
