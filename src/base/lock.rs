//! A lock between processes: a file that one of them holds, with a text in it that says who. The
//! kernel gives it back when its holder dies, however that was. Knows nothing of what is locked.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Bytes of a holder's text that are read.
const TEXT_MAX: u64 = 64 * 1024;
/// Times that a lock is tried anew because somebody removed its file meanwhile.
const TRIES: u32 = 8;

/// A lock that is held until it is dropped, or until the process dies.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

/// A lock that was not got.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Somebody holds it, and says this of itself (nothing, for a moment, when it has just begun).
    #[error("it is held: {0}")]
    Held(String),
    /// Its file cannot be used.
    #[error("{path}: cannot be used as a lock: {why}", path = .0.display(), why = .1)]
    Unusable(PathBuf, io::Error),
}

impl FileLock {
    /// Takes the lock of that file without waiting; `text` tells others who holds it. The file stays
    /// when the lock is given back: to remove it would let two hold locks of one name.
    pub fn take(path: &Path, text: &str) -> Result<Self, Refused> {
        let unusable = |why| Refused::Unusable(path.to_owned(), why);
        for _ in 0..TRIES {
            let mut file = open(path).map_err(unusable)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut told = Vec::new();
                    file.take(TEXT_MAX).read_to_end(&mut told).map_err(unusable)?;
                    return Err(Refused::Held(String::from_utf8_lossy(&told).into_owned()));
                }
                Err(TryLockError::Error(why)) => return Err(unusable(why)),
            }
            // A cleaner of old files may have removed it between the two: then it keeps nobody out.
            if is_at(&file, path) {
                write(&mut file, text).map_err(unusable)?;
                return Ok(Self { file });
            }
        }
        Err(unusable(io::Error::other("somebody removes it again and again")))
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // What is left in a free lock is nobody's: a failure here misleads no one. The lock is given
        // back by name, for a child that is just being started may hold a copy of the handle.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn is_at(file: &File, path: &Path) -> bool {
    let same =
        |one: &fs::Metadata, two: &fs::Metadata| (one.dev(), one.ino()) == (two.dev(), two.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(one), Ok(two)) if same(&one, &two))
}

fn write(file: &mut File, text: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

/// Where the locks of this user are. Below the folder for temporary files and not the one of the
/// session: a run that a timer starts has no session, and must meet the lock of one in a terminal.
pub fn folder() -> io::Result<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let own = std::env::temp_dir().join(format!("robot-city-{user}"));
    let locks = own.join("locks");
    DirBuilder::new().recursive(true).mode(0o700).create(&locks)?;
    let found = fs::symlink_metadata(&own)?;
    // Anybody may make a folder of that name there.
    if !found.is_dir() || found.uid() != user || found.mode() & 0o022 != 0 {
        let what = format!("{}: is not a folder that only this user writes to", own.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    Ok(locks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_and_the_other_is_told_who() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.lock");
        let first = FileLock::take(&path, "the first of them").unwrap();
        let Err(Refused::Held(who)) = FileLock::take(&path, "the second") else {
            panic!("two hold it")
        };
        assert_eq!(who, "the first of them");
        FileLock::take(&root.path().join("b.lock"), "").unwrap();
        drop(first);
        drop(FileLock::take(&path, "two").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "", "nobody holds it");
    }

    #[test]
    fn a_lock_whose_file_is_gone_keeps_nobody_out_and_is_not_believed_in() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.lock");
        let old = FileLock::take(&path, "old").unwrap();
        assert!(is_at(&old.file, &path));
        fs::remove_file(&path).unwrap();
        let new = FileLock::take(&path, "new").unwrap();
        assert!(!is_at(&old.file, &path) && is_at(&new.file, &path));
        drop(old);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let error = FileLock::take(Path::new("/proc/nowhere/a.lock"), "").unwrap_err();
        assert!(error.to_string().contains("/proc/nowhere/a.lock"), "{error}");
    }

    #[test]
    fn the_folder_is_this_users_alone() {
        let folder = folder().unwrap();
        let found = fs::metadata(folder.parent().unwrap()).unwrap();
        assert_eq!(found.mode() & 0o077, 0);
    }
}
