//! One step of the mapping, compiled: how it is sent, how its answer is judged, what is read out of
//! it and kept.

use http::{HeaderName, Method, Uri};

use crate::target::wire::{
    command::Format,
    protobuf::{Codec, Schema},
};

use super::{
    batch::compiled::Gather,
    grammar::{self, Auth, Rules, Speaks, Words},
    judge::{Judge, Names},
    pick::Pick,
    read::{Reader, Wrong},
    stray,
    template::{Test, Text, Tree},
};

/// A step, compiled.
#[derive(Debug)]
pub struct Step {
    /// Its key in the file.
    pub key: String,
    /// How it is sent.
    pub way: Way,
    /// No token goes with it.
    pub open: bool,
    /// Headers.
    pub headers: Vec<(HeaderName, Text)>,
    /// They speak of nothing but their robot and the run.
    pub same_headers: bool,
    /// Pairs of the query.
    pub query: Vec<(String, Text)>,
    /// The protobuf message that its answer is.
    pub proto_answer: Option<Codec>,
    /// How its answer is judged.
    pub judge: Judge,
    /// What is read out of it.
    pub reader: Reader,
    /// What is kept of it for the robot.
    pub keep: Vec<(String, Pick)>,
    /// What is kept of it for the job.
    pub keep_job: Vec<(String, Pick)>,
    /// To whom an offer is relayed.
    pub relay: Option<Pick>,
    /// Not sent where this holds.
    pub unless: Option<Test>,
    /// What comes before it.
    pub first: Vec<Step>,
    /// How location updates are gathered.
    pub batch: Option<Gather>,
    /// It is not sent by a robot without a token.
    pub needs_token: bool,
}

impl Step {
    /// Whether anything is to be read out of its answer's body.
    pub fn reads_body(&self) -> bool {
        let kept = self.keep.iter().chain(&self.keep_job).map(|(_, pick)| pick);
        self.reader.needs_body() || kept.chain(&self.relay).any(Pick::needs_body)
    }

    /// What is kept for the robot, by it and by what comes before it.
    pub fn keeps(&self) -> impl Iterator<Item = &(String, Pick)> {
        self.keep.iter().chain(self.first.iter().flat_map(|first| &first.keep))
    }

    /// Whether it lets the robot in.
    pub fn keeps_token(&self) -> bool {
        self.keep.iter().any(|(name, _)| name == super::TOKEN)
    }

    /// It, and all that comes before it.
    pub fn and_firsts(&mut self, see: &mut dyn FnMut(&mut Self)) {
        for first in &mut self.first {
            first.and_firsts(see);
        }
        see(self);
    }
}

/// How a step is sent. `link` is a place in the list of links.
#[derive(Debug)]
pub enum Way {
    /// A request.
    Http {
        /// The link.
        link: usize,
        /// The method.
        method: Method,
        /// The path, from the root of the link.
        path: Text,
        /// The same, where nothing is filled in.
        uri: Option<Uri>,
        /// The body.
        body: Body,
    },
    /// A message on the robot's socket.
    Send {
        /// The link.
        link: usize,
        /// The message.
        message: Tree,
        /// Which message is the answer.
        answer: Option<Test>,
    },
    /// An event on the robot's Socket.IO socket.
    Emit {
        /// The link.
        link: usize,
        /// Its name.
        event: String,
        /// Its payload.
        payload: Option<Tree>,
        /// Whether an acknowledgement is awaited.
        acknowledged: bool,
    },
    /// A message to a broker.
    Publish {
        /// The link.
        link: usize,
        /// The exchange.
        exchange: Text,
        /// The routing key.
        key: Text,
        /// The body.
        body: Body,
        /// Whether an answer is awaited.
        call: bool,
    },
    /// A command.
    Command {
        /// Program and arguments.
        words: Vec<Text>,
        /// How its rows are written.
        rows: Format,
    },
}

impl Way {
    /// Its link's place.
    pub fn link(&self) -> Option<usize> {
        match self {
            Self::Http { link, .. }
            | Self::Send { link, .. }
            | Self::Emit { link, .. }
            | Self::Publish { link, .. } => Some(*link),
            Self::Command { .. } => None,
        }
    }
}

/// The body of a request.
#[derive(Debug)]
pub enum Body {
    /// None.
    None,
    /// JSON.
    Json(Tree),
    /// A form.
    Form(Vec<(String, Text)>),
    /// Protobuf.
    Proto {
        /// As JSON.
        tree: Tree,
        /// The message.
        message: Codec,
    },
}

/// What compiling a step needs to know of the file.
pub struct File<'a> {
    /// Links by name, with what they speak, in the order of their places.
    pub links: &'a [(String, Speaks)],
    /// Protobuf messages of the links, by their places.
    pub schemas: &'a [Option<Schema>],
    /// Auth.
    pub auth: &'a Auth,
    /// Rules for all.
    pub rules: &'a Rules,
    /// Readings that are shared.
    pub shapes: &'a Words<grammar::Read>,
    /// Names that are spoken of, with the keys where that is.
    pub names: Names,
    /// What is kept of robots.
    pub kept: Vec<String>,
    /// What is kept of jobs.
    pub kept_of_jobs: Vec<String>,
}

/// Whether headers speak of nothing but their robot and the run.
pub fn stay_the_same(headers: &[(HeaderName, Text)]) -> bool {
    let root = |name: &String| name.split('.').next().is_some_and(|root| STAYS.contains(&root));
    headers.iter().all(|(_, text)| text.names().iter().all(root))
}

/// What stays the same from one request of a robot to the next.
const STAYS: &[&str] = &["me", "run", "var", "secret", "env"];

impl File<'_> {
    /// Compiles a step that stands at `key`.
    pub fn step(&mut self, step: &grammar::Step, key: &str) -> Result<Step, Wrong> {
        let way = self.way(step, key)?;
        stray::of_step(step, &way, key)?;
        let proto_answer = match (&step.proto_answer, &way) {
            (Some(name), Way::Http { link, .. } | Way::Publish { link, .. }) => {
                Some(self.codec(name, *link, &format!("{key}.proto_answer"))?)
            }
            _ => None,
        };
        let rules = Rules {
            refused: step.refused.clone(),
            undone: step.undone.clone(),
            ok: step.ok.clone(),
            error: step.error.clone(),
        };
        let judge =
            Judge::compile(&rules, key, self.rules, self.auth.expired.as_ref(), &mut self.names)?
                .or_none(step.none.as_ref(), key, &mut self.names)?;
        let read = self.read(&step.read, step.shape.as_ref(), key)?;
        let reader = Reader::compile(&read, &format!("{key}.read"), &mut self.names)?;
        let keep = self.picks(&step.keep, &format!("{key}.keep"))?;
        self.kept.extend(step.keep.keys().cloned());
        let keep_job = self.picks(&step.keep_job, &format!("{key}.keep_job"))?;
        self.kept_of_jobs.extend(step.keep_job.keys().cloned());
        let relay = match &step.relay {
            Some(pick) => Some(self.pick(pick, &format!("{key}.relay"))?),
            None => None,
        };
        let mut headers = self.headers(&step.headers, &format!("{key}.headers"))?;
        let mut query = self.pairs(&step.query, &format!("{key}.query"))?;
        if !step.open {
            headers.extend(self.headers(&self.auth.headers.clone(), "auth.headers")?);
            query.extend(self.pairs(&self.auth.query.clone(), "auth.query")?);
        }
        let unless = self.test(step.unless.as_ref(), &format!("{key}.unless"))?;
        let batch = Gather::compile(self, step, key)?;
        let first = step
            .first
            .iter()
            .enumerate()
            .map(|(n, step)| self.step(step, &format!("{key}.first[{n}]")))
            .collect::<Result<_, _>>()?;
        Ok(Step {
            key: key.to_owned(),
            way,
            proto_answer,
            open: step.open,
            same_headers: stay_the_same(&headers),
            headers,
            query,
            judge,
            reader,
            keep,
            keep_job,
            relay,
            unless,
            first,
            batch,
            needs_token: false,
        })
    }

    /// What is read, with the shapes that are named.
    pub fn read(
        &self,
        own: &grammar::Read,
        shapes: Option<&grammar::OneOrMore>,
        key: &str,
    ) -> Result<grammar::Read, Wrong> {
        let mut read = own.clone();
        for name in shapes.map_or(&[][..], grammar::OneOrMore::all) {
            let Some(shape) = self.shapes.get(name) else {
                let known: Vec<_> = self.shapes.keys().map(String::as_str).collect();
                let hint = crate::base::suggest::must_be_one_of(name, known);
                return Err((
                    format!("{key}.shape"),
                    format!("there is no [shape.{name}]: {hint}"),
                ));
            };
            read = read.or(shape);
        }
        Ok(read)
    }

    fn way(&mut self, step: &grammar::Step, key: &str) -> Result<Way, Wrong> {
        let requests = [
            (&step.get, Method::GET),
            (&step.post, Method::POST),
            (&step.put, Method::PUT),
            (&step.patch, Method::PATCH),
            (&step.delete, Method::DELETE),
        ];
        let mut ways = Vec::new();
        for (path, method) in requests {
            if let Some(path) = path {
                let word = method.as_str().to_lowercase();
                ways.push(self.request(step, key, path, &word, method)?);
            }
        }
        if let Some(message) = &step.send {
            ways.push(Way::Send {
                link: self.link(step, key, &[Speaks::Websocket])?,
                message: self.tree(message, &format!("{key}.send"))?,
                answer: self.test(step.answer_if.as_ref(), &format!("{key}.answer_if"))?,
            });
        }
        if let Some(event) = &step.emit {
            let payload = match &step.json {
                Some(json) => Some(self.tree(json, &format!("{key}.json"))?),
                None => None,
            };
            let link = self.link(step, key, &[Speaks::SocketIo])?;
            let acknowledged =
                step.read != grammar::Read::default() || step.shape.is_some() || step.ok.is_some();
            ways.push(Way::Emit { link, event: event.clone(), payload, acknowledged });
        }
        for (to, word, call) in [(&step.publish, "publish", false), (&step.call, "call", true)] {
            if let Some(to) = to {
                ways.push(self.publish(step, key, to, word, call)?);
            }
        }
        if let Some(words) = &step.command {
            ways.push(self.command(words, step.rows, key)?);
        }
        let count = ways.len();
        match ways.pop() {
            Some(way) if count == 1 => Ok(way),
            None => Err((
                key.to_owned(),
                "does not say what is sent: give one of get, post, put, patch, delete, send, emit, \
                 publish, call, command"
                    .to_owned(),
            )),
            Some(_) => Err((key.to_owned(), "says more than one thing to send".to_owned())),
        }
    }

    fn request(
        &mut self,
        step: &grammar::Step,
        key: &str,
        path: &str,
        word: &str,
        method: Method,
    ) -> Result<Way, Wrong> {
        let at = format!("{key}.{word}");
        if !path.starts_with('/') {
            return Err((at, format!("`{path}` is not a path: it begins with `/`")));
        }
        let link = self.link(step, key, &[Speaks::Http, Speaks::Http2])?;
        let (text, body) = (self.text(path, &at)?, self.body(step, link, key)?);
        let uri = text.is_fixed().then(|| path.parse::<Uri>()).transpose();
        let uri = uri.map_err(|why| (at, format!("`{path}`: {why}")))?;
        Ok(Way::Http { link, method, path: text, uri, body })
    }

    fn publish(
        &mut self,
        step: &grammar::Step,
        key: &str,
        to: &str,
        word: &str,
        call: bool,
    ) -> Result<Way, Wrong> {
        let at = format!("{key}.{word}");
        let Some((exchange, routing)) = to.split_once(' ') else {
            return Err((at, format!("`{to}` is not \"exchange key\"")));
        };
        let link = self.link(step, key, &[Speaks::Amqp])?;
        Ok(Way::Publish {
            link,
            exchange: self.text(exchange, &at)?,
            key: self.text(routing.trim(), &at)?,
            body: self.body(step, link, key)?,
            call,
        })
    }

    fn command(&mut self, words: &[String], rows: grammar::Rows, key: &str) -> Result<Way, Wrong> {
        let at = format!("{key}.command");
        if words.is_empty() {
            return Err((at, "is empty: give the program and its arguments".to_owned()));
        }
        let words = words.iter().map(|word| self.text(word, &at)).collect::<Result<_, _>>()?;
        let rows = match rows {
            grammar::Rows::Json => Format::Json,
            grammar::Rows::JsonLines => Format::JsonLines,
            grammar::Rows::Csv => Format::Csv { separator: ',', columns: None },
            grammar::Rows::Tsv => Format::Tsv { columns: None },
        };
        Ok(Way::Command { words, rows })
    }

    /// The protobuf message of that name, of a link's file.
    pub fn codec(&self, message: &str, link: usize, key: &str) -> Result<Codec, Wrong> {
        let wrong = |why: String| (key.to_owned(), why);
        let schema = self.schemas[link]
            .as_ref()
            .ok_or_else(|| wrong(format!("[link.{}] names no `proto` file", self.links[link].0)))?;
        schema.message(message).map_err(|why| wrong(why.to_string()))
    }

    fn body(&mut self, step: &grammar::Step, link: usize, key: &str) -> Result<Body, Wrong> {
        let tree = match &step.json {
            Some(json) => Some(self.tree(json, &format!("{key}.json"))?),
            None => None,
        };
        match (tree, &step.proto, &step.form) {
            (Some(tree), Some(message), None) => {
                let message = self.codec(message, link, &format!("{key}.proto"))?;
                Ok(Body::Proto { tree, message })
            }
            (Some(tree), None, None) => Ok(Body::Json(tree)),
            (None, None, Some(form)) => self.pairs(form, &format!("{key}.form")).map(Body::Form),
            (None, None, None) => Ok(Body::None),
            (None, Some(_), _) => {
                let why = "needs the message's fields as `json`".to_owned();
                Err((format!("{key}.proto"), why))
            }
            (Some(_), _, Some(_)) => {
                Err((format!("{key}.form"), "there is a `json` body already".to_owned()))
            }
        }
    }

    /// The place of the link that a step uses: the one it names, or the only one that fits.
    fn link(&self, step: &grammar::Step, key: &str, fit: &[Speaks]) -> Result<usize, Wrong> {
        let fits = |(_, (_, speaks)): &(usize, &(String, Speaks))| fit.contains(speaks);
        let named = |place: usize| self.links[place].0.as_str();
        if let Some(name) = &step.via {
            let at = format!("{key}.via");
            let Some(place) = self.links.iter().position(|(known, _)| known == name) else {
                let known = self.links.iter().map(|(name, _)| name.as_str());
                let hint = crate::base::suggest::must_be_one_of(name, known);
                return Err((at, format!("there is no [link.{name}]: {hint}")));
            };
            return if fit.contains(&self.links[place].1) {
                Ok(place)
            } else {
                Err((at, format!("[link.{name}] does not speak what this step needs")))
            };
        }
        let fitting: Vec<usize> =
            self.links.iter().enumerate().filter(fits).map(|(place, _)| place).collect();
        match fitting.as_slice() {
            [only] => Ok(*only),
            [] => Err((key.to_owned(), "there is no [link.…] that speaks what it needs".into())),
            several => {
                let all: Vec<_> = several.iter().map(|place| named(*place)).collect();
                Err((key.to_owned(), format!("say `via`: one of {}", all.join(", "))))
            }
        }
    }

    /// Compiles a text, and notes its names.
    pub fn text(&mut self, source: &str, key: &str) -> Result<Text, Wrong> {
        let text = Text::compile(source).map_err(|why| (key.to_owned(), why))?;
        self.names.extend(text.names().iter().map(|name| (key.to_owned(), name.clone())));
        Ok(text)
    }

    /// Compiles a tree, and notes its names.
    pub fn tree(&mut self, value: &toml::Value, key: &str) -> Result<Tree, Wrong> {
        let tree = Tree::compile(value, key)?;
        tree.names(key, &mut self.names);
        Ok(tree)
    }

    /// Compiles a test, and notes its names.
    pub fn test(&mut self, source: Option<&String>, key: &str) -> Result<Option<Test>, Wrong> {
        let Some(source) = source else { return Ok(None) };
        let test = Test::compile(source).map_err(|why| (key.to_owned(), why))?;
        self.names.extend(test.names().into_iter().map(|name| (key.to_owned(), name)));
        Ok(Some(test))
    }

    /// Compiles a pick, and notes its names.
    pub fn pick(&mut self, pick: &grammar::Pick, key: &str) -> Result<Pick, Wrong> {
        let pick = Pick::compile(pick, key).map_err(|why| (key.to_owned(), why))?;
        if pick.of.is_some() {
            let why = "only a job's id can be kept under another name".to_owned();
            return Err((format!("{key}.of"), why));
        }
        self.names.extend(pick.names().into_iter().map(|name| (key.to_owned(), name)));
        Ok(pick)
    }

    /// The same for several.
    pub fn picks(
        &mut self,
        picks: &Words<grammar::Pick>,
        key: &str,
    ) -> Result<Vec<(String, Pick)>, Wrong> {
        let one = |(name, pick): (&String, &grammar::Pick)| {
            stray::of_kept(pick, &format!("{key}.{name}"))?;
            Ok((name.clone(), self.pick(pick, &format!("{key}.{name}"))?))
        };
        picks.iter().map(one).collect()
    }

    /// Pairs of texts.
    pub fn pairs(
        &mut self,
        pairs: &Words<String>,
        key: &str,
    ) -> Result<Vec<(String, Text)>, Wrong> {
        let one = |(name, source): (&String, &String)| {
            Ok((name.clone(), self.text(source, &format!("{key}.{name}"))?))
        };
        pairs.iter().map(one).collect()
    }

    /// Headers.
    pub fn headers(
        &mut self,
        headers: &Words<String>,
        key: &str,
    ) -> Result<Vec<(HeaderName, Text)>, Wrong> {
        let one = |(name, text): (String, Text)| match name.parse() {
            Ok(header) => Ok((header, text)),
            Err(_) => Err((format!("{key}.{name}"), format!("`{name}` is no name of a header"))),
        };
        self.pairs(headers, key)?.into_iter().map(one).collect()
    }
}
