//! Accounts that exist already: a pool file (CSV with a header) whose rows robots lease, for backends
//! that let nobody register. One run at a time has a pool. What is secret in it never reaches a log,
//! a report or an error of this room.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    fmt,
    fs::File,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process,
    rc::Rc,
};

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};
use sha2::{Digest as _, Sha256};

use crate::base::{
    file::FileError,
    id::{RobotId, RobotKind},
    lock::{FileLock, Refused},
    suggest::must_be_one_of,
};

/// Rows of a pool.
pub const ROWS_MAX: usize = 1_000_000;
/// Bytes of a pool's file.
pub const BYTES_MAX: u64 = 256_000_000;
/// Columns with one of these words in their name are secret, where nobody says otherwise.
pub const SECRET: &[&str] = &["password", "token", "secret", "pin", "otp"];
/// The column that says who may have an account.
const ROLE: &str = "role";
/// The column whose values stand once in a role.
const ID: &str = "id";
/// Those whom a row may name. What a rogue has is the account of somebody whom it plays.
const ROLES: [RobotKind; 3] = [RobotKind::Driver, RobotKind::Passenger, RobotKind::Auditor];

/// One account.
#[derive(Clone)]
pub struct Account {
    columns: Rc<Columns>,
    values: StringRecord,
    line: usize,
}

#[derive(Debug)]
struct Columns {
    names: Vec<String>,
    /// Which of them are secret.
    secret: Vec<bool>,
    role: Option<usize>,
}

/// The accounts of a file, for this run alone until it is dropped.
#[derive(Debug)]
pub struct Pool {
    path: PathBuf,
    /// The accounts of each kind of robot, in the order of the file.
    of: [Vec<Account>; RobotKind::ALL.len()],
    /// Those without a role that nobody has yet: whoever comes first beyond the accounts of its kind.
    anybody: Vec<Account>,
    /// Places of those that are still free.
    free: RefCell<BTreeSet<usize>>,
    /// Places of those that somebody has. Not iterated.
    spares: RefCell<HashMap<RobotId, usize>>,
    _locks: [FileLock; 2],
}

impl Account {
    /// The value of a column; secret ones too, for whoever signs in with them.
    pub fn get(&self, column: &str) -> Option<&str> {
        let at = self.columns.names.iter().position(|name| name == column)?;
        self.values.get(at)
    }

    /// Every column but the role, with its value, in the order of the file.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let role = self.columns.role;
        let all = self.columns.names.iter().map(String::as_str).zip(&self.values).enumerate();
        all.filter(move |(at, _)| Some(*at) != role).map(|(_, field)| field)
    }

    /// The values that must not be printed, for whoever cleans what it prints. Empty ones are none.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let all = self.values.iter().zip(&self.columns.secret);
        all.filter(|(value, secret)| **secret && !value.is_empty()).map(|(value, _)| value)
    }

    /// The line of the file that it stands on.
    pub fn line(&self) -> usize {
        self.line
    }
}

/// Tells what is not secret.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for ((name, secret), value) in
            self.columns.names.iter().zip(&self.columns.secret).zip(&self.values)
        {
            map.entry(name, if *secret { &"***" } else { &value });
        }
        map.finish()
    }
}

impl Pool {
    /// Opens the pool of that file for this run alone; its locks are in `lock_dir`
    /// (see [`crate::base::lock::folder`]).
    pub fn open(path: &Path, lock_dir: &Path) -> Result<Self, FileError> {
        Self::open_with(path, lock_dir, SECRET)
    }

    /// The same where other columns are secret: those with one of these words in their name.
    pub fn open_with<S: AsRef<str>>(
        path: &Path,
        lock_dir: &Path,
        secret: &[S],
    ) -> Result<Self, FileError> {
        let unreadable =
            |why: std::io::Error| FileError::whole(path, format!("cannot be read: {why}"));
        let whole = path.canonicalize().map_err(unreadable)?;
        let file = File::open(&whole).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        // By its name, for editors put a new file in the place of the old one; and by what it is,
        // for a file may have two names.
        let hash = Sha256::digest(whole.as_os_str().as_encoded_bytes());
        let name = hash[..8].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let names = [
            format!("pool-{name:016x}.lock"),
            format!("pool-{}-{}.lock", found.dev(), found.ino()),
        ];
        let [by_name, by_file] = names.map(|name| lock(path, &lock_dir.join(name)));
        let locks = [by_name?, by_file?];
        let mut pool = Self {
            path: path.to_owned(),
            of: Default::default(),
            anybody: Vec::new(),
            free: RefCell::default(),
            spares: RefCell::default(),
            _locks: locks,
        };
        pool.read(file, secret)?;
        Ok(pool)
    }

    fn read<S: AsRef<str>>(&mut self, file: File, secret: &[S]) -> Result<(), FileError> {
        let text = self.text(file)?;
        let mut lines = Lines { text: &text, at: 0, line: 1 };
        let mut reader = ReaderBuilder::new().trim(Trim::Headers).from_reader(&text[..]);
        let header = reader.headers().map_err(|why| self.unreadable(&why, &mut lines))?;
        let columns = Rc::new(Columns::of(header, secret, &self.path)?);
        for (n, row) in reader.into_records().enumerate() {
            let values = row.map_err(|why| self.unreadable(&why, &mut lines))?;
            let line = values.position().map_or(0, |at| lines.of(at));
            if n == ROWS_MAX {
                return Err(self.wrong(line, None, format!("more than {ROWS_MAX} accounts")));
            }
            let account = Account { columns: Rc::clone(&columns), values, line };
            match self.role_of(&account)? {
                Some(kind) => self.of[index(kind)].push(account),
                None => self.anybody.push(account),
            }
        }
        self.each_stands_once()
    }

    fn text(&self, file: File) -> Result<Vec<u8>, FileError> {
        let mut text = Vec::new();
        let read = file.take(BYTES_MAX + 1).read_to_end(&mut text);
        read.map_err(|why| FileError::whole(&self.path, format!("cannot be read: {why}")))?;
        if text.len() as u64 > BYTES_MAX {
            let what = format!("is larger than {} MB", BYTES_MAX / 1_000_000);
            return Err(FileError::whole(&self.path, what));
        }
        Ok(text)
    }

    fn role_of(&self, account: &Account) -> Result<Option<RobotKind>, FileError> {
        let word = account.get(ROLE).unwrap_or_default().trim();
        if word.is_empty() {
            return Ok(None);
        }
        let kind = ROLES.into_iter().find(|kind| kind.word() == word);
        kind.map(Some).ok_or_else(|| {
            let hint = must_be_one_of(word, ROLES.map(RobotKind::word));
            let what = format!("no role `{word}`: {hint}, or empty for anybody");
            self.wrong(account.line, Some(ROLE), what)
        })
    }

    /// Two robots with one account would disturb each other.
    fn each_stands_once(&self) -> Result<(), FileError> {
        // Not iterated.
        let mut rows = HashMap::new();
        let mut ids = HashMap::new();
        for account in self.of.iter().flatten().chain(&self.anybody) {
            if let Some(before) =
                rows.insert(account.values.iter().collect::<Vec<_>>(), account.line)
            {
                let what = format!("the same account as on line {before}");
                return Err(self.wrong(account.line, None, what));
            }
            let Some(id) = account.get(ID).filter(|id| !id.is_empty()) else { continue };
            if let Some(before) = ids.insert((account.get(ROLE), id), account.line) {
                let what = format!("the same id as on line {before}: each is of one account");
                return Err(self.wrong(account.line, Some(ID), what));
            }
        }
        Ok(())
    }

    /// Makes sure, before any robot starts, that so many find an account each. Accounts without a
    /// role go to the drivers that lack one, then to the passengers, then one to the auditor. Rogues
    /// have the last accounts of those whom they play.
    pub fn enough(&mut self, drivers: u32, passengers: u32, rogues: u32) -> Result<(), FileError> {
        let plays = |number: u32| RobotId { kind: RobotKind::Rogue, number }.plays();
        let rides = (0..rogues).filter(|number| plays(*number) == RobotKind::Passenger).count();
        let at_wheels = rogues as usize - rides;
        let lacks = |kind, wanted: u32, more: usize| {
            (wanted as usize + more).saturating_sub(self.rows(kind))
        };
        let lacking = [
            lacks(RobotKind::Driver, drivers, at_wheels),
            lacks(RobotKind::Passenger, passengers, rides),
        ];
        if lacking.iter().sum::<usize>() > self.anybody.len() {
            let also = match rogues {
                0 => String::new(),
                some => format!(" (and {some} rogues, who play either)"),
            };
            let what = format!(
                "the scenario wants {drivers} drivers and {passengers} passengers{also}, and the \
                 pool has {}: add accounts, or lower load.drivers or load.passengers",
                self.told()
            );
            return Err(FileError::whole(&self.path, what));
        }
        for (kind, lacking) in [RobotKind::Driver, RobotKind::Passenger].into_iter().zip(lacking) {
            self.deal(kind, lacking);
        }
        let auditors = usize::from(self.rows(RobotKind::Auditor) == 0 && !self.anybody.is_empty());
        self.deal(RobotKind::Auditor, auditors);
        for number in 0..rogues {
            let account = self.of[index(plays(number))].pop();
            self.of[index(RobotKind::Rogue)].extend(account);
        }
        self.free.replace((0..self.anybody.len()).collect());
        Ok(())
    }

    fn deal(&mut self, kind: RobotKind, count: usize) {
        let dealt = self.anybody.drain(..count);
        self.of[index(kind)].extend(dealt);
    }

    /// The account of a robot: always the same, by its number, and beyond those of its kind one of
    /// anybody's, in the order in which they come: for whoever takes the place of a driver that went
    /// home, and for passengers whom the demand brings.
    pub fn lease(&self, robot: RobotId) -> Result<&Account, FileError> {
        let own = self.of[index(robot.kind)].get(robot.number as usize);
        own.or_else(|| self.spare(robot)).ok_or_else(|| {
            let what = format!(
                "no account is left for {robot}: the pool has {}. Give it spare ones without a role",
                self.told()
            );
            FileError::whole(&self.path, what)
        })
    }

    fn spare(&self, robot: RobotId) -> Option<&Account> {
        let known = self.spares.borrow().get(&robot).copied();
        let place = known.or_else(|| {
            let place = self.free.borrow_mut().pop_first()?;
            self.spares.borrow_mut().insert(robot, place);
            Some(place)
        })?;
        self.anybody.get(place)
    }

    /// The robot has the spare account of that id, if there is one: known from a run before. Asked
    /// before any other is leased.
    pub fn recall(&self, robot: RobotId, id: &str) {
        if self.of[index(robot.kind)].get(robot.number as usize).is_some() {
            return;
        }
        let place = self.anybody.iter().position(|account| account.get(ID) == Some(id));
        if let Some(place) = place.filter(|place| self.free.borrow_mut().remove(place)) {
            self.spares.borrow_mut().insert(robot, place);
        }
    }

    /// Accounts of that kind of robot.
    pub fn rows(&self, kind: RobotKind) -> usize {
        self.of[index(kind)].len()
    }

    /// The values that must not be printed.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.of.iter().flatten().chain(&self.anybody).flat_map(Account::secrets)
    }

    /// `3 accounts for drivers, 2 for passengers, 4 for anybody`.
    fn told(&self) -> String {
        let [drivers, passengers, _] = ROLES.map(|kind| self.rows(kind));
        let anybody = self.anybody.len();
        format!(
            "{drivers} accounts for drivers, {passengers} for passengers, {anybody} for anybody"
        )
    }

    fn wrong(&self, line: usize, key: Option<&str>, what: String) -> FileError {
        FileError { path: self.path.clone(), line: Some(line), key: key.map(str::to_owned), what }
    }

    /// In words that hold nothing of the file's values.
    fn unreadable(&self, why: &csv::Error, lines: &mut Lines<'_>) -> FileError {
        let what = match why.kind() {
            ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("has {len} values, and the header names {expected_len} columns")
            }
            ErrorKind::Utf8 { .. } => "is not UTF-8 text".into(),
            ErrorKind::Io(why) => format!("cannot be read: {why}"),
            _ => "is not CSV".into(),
        };
        let line = why.position().map(|at| lines.of(at));
        FileError { path: self.path.clone(), line, key: None, what }
    }
}

/// The columns of a pool's file beside the role: its header alone is read, and nothing is locked.
pub fn columns(path: &Path) -> Result<Vec<String>, FileError> {
    let unreadable =
        |why: &dyn fmt::Display| FileError::whole(path, format!("cannot be read: {why}"));
    let file = File::open(path).map_err(|why| unreadable(&why))?;
    let mut reader = ReaderBuilder::new().trim(Trim::Headers).from_reader(file.take(BYTES_MAX));
    let header = reader.headers().map_err(|_| unreadable(&"its header is not CSV"))?;
    let columns = Columns::of(header, SECRET, path)?;
    Ok(columns.names.into_iter().filter(|name| name != ROLE).collect())
}

/// Where rows stand. The reader's own count of lines is that of the end of the row before, and goes
/// wrong after blank lines and with Windows' line ends.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl Lines<'_> {
    /// The line on which the row at that place begins; asked in the order of the file.
    fn of(&mut self, place: &csv::Position) -> usize {
        let start = (place.byte() as usize).clamp(self.at, self.text.len());
        let blank = self.text[start..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
        let passed = &self.text[self.at..start + blank];
        self.line += passed.split(|byte| *byte == b'\n').count() - 1;
        self.at = start + blank;
        self.line
    }
}

impl Columns {
    fn of<S: AsRef<str>>(
        header: &StringRecord,
        secret: &[S],
        path: &Path,
    ) -> Result<Self, FileError> {
        let names: Vec<String> = header.iter().map(str::to_owned).collect();
        let wrong =
            |what: String| Err(FileError { path: path.to_owned(), line: Some(1), key: None, what });
        for (at, name) in names.iter().enumerate() {
            if name.is_empty() {
                return wrong(format!("column {} has no name in the header", at + 1));
            }
            if names[..at].contains(name) {
                return wrong(format!("column `{name}` stands twice in the header"));
            }
        }
        let role = names.iter().position(|name| name == ROLE);
        if names.len() == usize::from(role.is_some()) {
            return wrong(
                "the header must name the columns of an account, as in role,id,password".into(),
            );
        }
        let secret = names.iter().map(|name| is_secret(name, secret)).collect();
        Ok(Self { names, secret, role })
    }
}

/// `access_token`, `accessToken` and `Token` are secret, `shipping` is not.
fn is_secret<S: AsRef<str>>(name: &str, secret: &[S]) -> bool {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in name.chars() {
        if (lower && c.is_uppercase()) || !c.is_alphanumeric() {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.iter_mut().last().into_iter().for_each(|word| word.extend(c.to_lowercase()));
        }
        lower = c.is_lowercase();
    }
    words.iter().any(|word| secret.iter().any(|one| one.as_ref().eq_ignore_ascii_case(word)))
        || secret.iter().any(|one| one.as_ref().eq_ignore_ascii_case(name))
}

fn index(kind: RobotKind) -> usize {
    match kind {
        RobotKind::Driver => 0,
        RobotKind::Passenger => 1,
        RobotKind::Auditor => 2,
        RobotKind::Rogue => 3,
    }
}

fn lock(pool: &Path, path: &Path) -> Result<FileLock, FileError> {
    let own = format!("process {}", process::id());
    FileLock::take(path, &own).map_err(|why| match why {
        Refused::Held(who) => {
            let who = if who.is_empty() { "a process that is just beginning or ending" } else { &who };
            let what = format!(
                "another run leases from this pool ({who}), and two runs must not share an account: \
                 wait until it ends, or give this run a file with other accounts"
            );
            FileError::whole(pool, what)
        }
        unusable @ Refused::Unusable(..) => FileError::whole(pool, unusable.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: &str = "role,id,name,password\n\
                        driver,d-1,Ann,hunter2\n\
                        passenger,p-1,Bob,swordfish\n\
                        driver,d-2,\"Cy, the second\",opensesame\n\
                        auditor,a-1,Dee,xyzzy\n";

    struct Place {
        root: tempfile::TempDir,
    }

    impl Place {
        fn with(text: &[u8]) -> Self {
            let place = Self { root: tempfile::tempdir().unwrap() };
            std::fs::write(place.file(), text).unwrap();
            place
        }

        fn file(&self) -> PathBuf {
            self.root.path().join("pool.csv")
        }

        fn open(&self) -> Result<Pool, FileError> {
            Pool::open(&self.file(), self.root.path())
        }

        /// The error without the folder in front of the file's name.
        fn error(&self) -> String {
            let text = self.open().unwrap_err().to_string();
            text.replace(&format!("{}/", self.root.path().display()), "")
        }
    }

    fn wrong(text: &str) -> String {
        Place::with(text.as_bytes()).error()
    }

    #[test]
    fn a_robot_has_the_account_of_its_number_in_its_role() {
        let place = Place::with(POOL.as_bytes());
        let mut pool = place.open().unwrap();
        pool.enough(2, 1, 0).unwrap();
        let second = pool.lease(RobotId::driver(1)).unwrap();
        assert_eq!((second.get("id"), second.line()), (Some("d-2"), 4));
        let fields: Vec<_> = second.fields().collect();
        let wanted = [("id", "d-2"), ("name", "Cy, the second"), ("password", "opensesame")];
        assert_eq!(fields, wanted);
        assert_eq!(second.get("telephone"), None);
        assert_eq!(pool.lease(RobotId::passenger(0)).unwrap().get("id"), Some("p-1"));
        let auditor = RobotId { kind: RobotKind::Auditor, number: 0 };
        assert_eq!(pool.lease(auditor).unwrap().get("id"), Some("a-1"));
        let error = pool.lease(RobotId::driver(2)).unwrap_err().to_string();
        assert!(error.contains("no account is left for driver/00002"), "{error}");
    }

    #[test]
    fn accounts_without_a_role_go_to_who_lacks_one() {
        let place = Place::with(b"id,role\n1,\n2,passenger\n3,\n4, \n5,\n6,\n");
        let mut pool = place.open().unwrap();
        assert!(pool.lease(RobotId::driver(0)).is_err(), "nobody was dealt any");
        pool.enough(2, 2, 0).unwrap();
        let of = |pool: &Pool, robot| pool.lease(robot).unwrap().get(ID).unwrap().to_owned();
        assert_eq!([0, 1].map(|n| of(&pool, RobotId::driver(n))), ["1", "3"]);
        assert_eq!([0, 1].map(|n| of(&pool, RobotId::passenger(n))), ["2", "4"]);
        assert_eq!(of(&pool, RobotId { kind: RobotKind::Auditor, number: 0 }), "5");
        // The last is spare: for whoever comes first, again and again.
        assert_eq!([4, 4].map(|n| of(&pool, RobotId::driver(n))), ["6", "6"]);
        let error = pool.lease(RobotId::passenger(2)).unwrap_err().to_string();
        assert!(error.contains("spare ones without a role"), "{error}");
        // Rogues have accounts of those whom they play, and nobody else has them.
        let mut mixed =
            Place::with(b"id,role\n1,driver\n2,passenger\n3,\n4,\n5,\n").open().unwrap();
        mixed.enough(1, 1, 2).unwrap();
        let rogue = |number| RobotId { kind: RobotKind::Rogue, number };
        assert_eq!([0, 1].map(|n| of(&mixed, rogue(n))), ["4", "3"]);
        assert_eq!(of(&mixed, RobotId::driver(0)), "1");
        let error = mixed.lease(RobotId::driver(1)).unwrap_err().to_string();
        assert!(error.contains("no account is left"), "{error}");
        let mut all = Place::with(b"id\n1\n2\n").open().unwrap();
        all.enough(1, 1, 0).unwrap();
        assert_eq!(of(&all, RobotId::passenger(0)), "2");
        assert_eq!(all.rows(RobotKind::Auditor), 0);
    }

    #[test]
    fn a_spare_account_is_recalled_by_its_id() {
        let mut pool = Place::with(b"id\n1\n2\n3\n4\n").open().unwrap();
        pool.enough(1, 0, 0).unwrap();
        pool.recall(RobotId::driver(7), "4");
        let id = |robot| pool.lease(robot).unwrap().get(ID).unwrap().to_owned();
        assert_eq!([8, 7, 0].map(|n| id(RobotId::driver(n))), ["3", "4", "1"]);
    }

    #[test]
    fn too_few_are_told_before_any_robot_starts() {
        let place = Place::with(POOL.as_bytes());
        let error = place.open().unwrap().enough(2, 3, 0).unwrap_err().to_string();
        for part in [
            "wants 2 drivers and 3 passengers",
            "2 accounts for drivers, 1 for passengers, 0 for anybody",
            "load.passengers",
        ] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        let empty = Place::with(b"id,password\n").open().unwrap().enough(1, 0, 0).unwrap_err();
        assert!(empty.to_string().contains("0 for anybody"), "{empty}");
    }

    #[test]
    fn one_run_at_a_time_has_a_pool_by_whatever_name() {
        let place = Place::with(POOL.as_bytes());
        let first = place.open().unwrap();
        let told = place.error();
        assert!(
            told.starts_with("pool.csv: another run leases from this pool (process "),
            "{told}"
        );
        let (link, hard) = (place.root.path().join("link.csv"), place.root.path().join("hard.csv"));
        std::os::unix::fs::symlink(place.file(), &link).unwrap();
        std::fs::hard_link(place.file(), &hard).unwrap();
        for other in [&link, &hard] {
            assert!(Pool::open(other, place.root.path()).is_err(), "{}", other.display());
        }
        // As editors do it: another file in the same place.
        std::fs::remove_file(place.file()).unwrap();
        std::fs::write(place.file(), POOL).unwrap();
        place.open().unwrap_err();
        drop(first);
        place.open().unwrap();
    }

    #[test]
    fn what_is_secret_is_never_printed() {
        let text = "role,id,password,accessToken,PIN,card-otp,shipping\n\
                    driver,d-1,hunter2,t0k3n,4711,999,Cork\n\
                    ,x-1,hunter3,t0k4n,4712,998,Sligo\n";
        let pool = Place::with(text.as_bytes()).open().unwrap();
        let shown = format!("{pool:?} {:?}", pool.lease(RobotId::driver(0)).unwrap());
        let secrets: Vec<&str> = pool.secrets().collect();
        let wanted = ["hunter2", "t0k3n", "4711", "999", "hunter3", "t0k4n", "4712", "998"];
        assert_eq!(secrets, wanted);
        for secret in secrets {
            assert!(!shown.contains(secret), "{secret} is in: {shown}");
        }
        for open in ["d-1", "Cork", "Sligo", "***"] {
            assert!(shown.contains(open), "{open} is not in: {shown}");
        }
        let place = Place::with(b"id,phone\n1,0871234567\n");
        let pool = Pool::open_with(&place.file(), place.root.path(), &["phone"]).unwrap();
        assert!(!format!("{pool:?}").contains("0871234567"));
    }

    #[test]
    fn errors_name_line_and_column_and_no_secret() {
        let cases = [
            (
                "role,id\ndriver,1\ndriwer,2\n",
                "pool.csv:3: `role`: no role `driwer`: did you mean `driver`? must be one of driver, \
                 passenger, auditor, or empty for anybody",
            ),
            ("id,password\n1,a\n2\n", "pool.csv:3: has 1 values, and the header names 2 columns"),
            ("id,,x\n", "pool.csv:1: column 2 has no name in the header"),
            ("id,pin,id\n", "pool.csv:1: column `id` stands twice in the header"),
            (
                "role\ndriver\n",
                "pool.csv:1: the header must name the columns of an account, as in role,id,password",
            ),
            ("id,pin\n1,2\n\n1,2\n", "pool.csv:4: the same account as on line 2"),
            (
                "role,id,pin\ndriver,1,2\npassenger,1,3\ndriver,1,4\n",
                "pool.csv:4: `id`: the same id as on line 2: each is of one account",
            ),
        ];
        for (text, error) in cases {
            assert_eq!(wrong(text), error, "{text}");
        }
        let latin = Place::with(b"id,password\n1,caf\xe9\n").error();
        assert_eq!(latin, "pool.csv:2: is not UTF-8 text");
        assert!(wrong("").starts_with("pool.csv:1: "), "{}", wrong(""));
        let none = Pool::open(Path::new("no/such.csv"), Path::new("no")).unwrap_err();
        assert!(none.to_string().starts_with("no/such.csv: cannot be read: "), "{none}");
    }

    #[test]
    fn files_of_other_programs_are_read_as_they_are() {
        let text = "\u{feff}id , password\r\n1, with blanks \r\n2,\"two\nlines\"\r\n3,x\r\n";
        let mut pool = Place::with(text.as_bytes()).open().unwrap();
        pool.enough(3, 0, 0).unwrap();
        let at = |n| pool.lease(RobotId::driver(n)).unwrap();
        assert_eq!((at(0).get("id"), at(0).get("password")), (Some("1"), Some(" with blanks ")));
        assert_eq!((at(1).get("password"), at(2).line()), (Some("two\nlines"), 5));
    }
}
