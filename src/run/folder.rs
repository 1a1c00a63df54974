//! A run's folder: `reports/<scenario>/<run-id>/`. Every file but the history appears whole or not
//! at all; `reports/latest` moves only to a run that has its report.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}. Choose another folder with --out, or make room", path.display())]
pub struct FolderError {
    /// Which file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub why: io::Error,
}

/// A run's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    path: PathBuf,
}

impl Folder {
    /// Makes the folder of a new run below `root` and proves that it can be written to.
    pub fn create(root: &Path, scenario: &str, run: &str) -> Result<Self, FolderError> {
        let path = root.join(scenario).join(run);
        fs::create_dir_all(path.join("nodes")).map_err(at(&path))?;
        let folder = Self { root: root.to_owned(), path };
        // A full disk shows at the first bytes, not at the folder.
        folder.write(".probe", &[0; 4_096])?;
        fs::remove_file(folder.file(".probe")).map_err(at(&folder.path))?;
        Ok(folder)
    }

    /// The same for a run whose id may have been used before: `-2`, `-3` … is added then.
    pub fn create_numbered(root: &Path, scenario: &str, run: &str) -> Result<Self, FolderError> {
        let mut name = run.to_owned();
        let mut number = 1;
        while root.join(scenario).join(&name).exists() {
            number += 1;
            name = format!("{run}-{number}");
        }
        Self::create(root, scenario, &name)
    }

    /// The folder of a recorded run. `latest` and any link work.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let path = path.canonicalize().map_err(at(path))?;
        let root = path.ancestors().nth(2).unwrap_or(&path).to_owned();
        Ok(Self { root, path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of all runs, this one's among them.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a text file in it.
    pub fn read(&self, name: &str) -> Result<String, FolderError> {
        fs::read_to_string(self.file(name)).map_err(at(&self.file(name)))
    }

    /// Makes a folder in it.
    pub fn make(&self, name: &str) -> Result<(), FolderError> {
        let path = self.file(name);
        fs::create_dir_all(&path).map_err(at(&path))
    }

    /// Removes a folder in it, with its files, where there is one.
    pub fn clear(&self, name: &str) -> Result<(), FolderError> {
        let path = self.file(name);
        match fs::remove_dir_all(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(at(&path)(why)),
            _ => Ok(()),
        }
    }

    /// Writes a file whole: beside it first, then in its place.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let (path, beside) = (self.file(name), self.file(&format!("{name}.tmp")));
        let write = || -> io::Result<()> {
            let mut file = fs::File::create(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        };
        write().map_err(at(&path))
    }

    /// Points `reports/latest` at this run, in one step.
    pub fn make_latest(&self) -> Result<(), FolderError> {
        let link = self.root.join("latest");
        let beside = self.root.join(format!("latest.{}.tmp", std::process::id()));
        let target = self.path.strip_prefix(&self.root).unwrap_or(&self.path);
        let _ = fs::remove_file(&beside);
        std::os::unix::fs::symlink(target, &beside)
            .and_then(|()| fs::rename(&beside, &link))
            .map_err(at(&link))
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> FolderError + '_ {
    move |why| FolderError { path: path.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_points_at_the_newest_finished_run() {
        let root = tempfile::tempdir().unwrap();
        for run in ["one", "two"] {
            let folder = Folder::create(root.path(), "smoke", run).unwrap();
            folder.write("summary.json", run.as_bytes()).unwrap();
            folder.make_latest().unwrap();
        }
        let latest = Folder::open(&root.path().join("latest")).unwrap();
        assert_eq!(latest.read("summary.json").unwrap(), "two");
        assert!(
            fs::read_dir(root.path())
                .unwrap()
                .all(|f| { !f.unwrap().file_name().to_string_lossy().ends_with(".tmp") })
        );
    }

    #[test]
    fn a_folder_that_cannot_be_made_says_which_and_what_to_do() {
        let error = Folder::create(Path::new("/proc/nowhere"), "smoke", "one").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/proc/nowhere") && text.contains("--out"), "{text}");
    }
}
