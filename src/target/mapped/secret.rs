//! Secrets: read from the environment or a file, used in templates, and never shown.

use std::{collections::BTreeMap, fmt, path::Path};

use super::grammar::{Secret, Words};

/// Secrets by name. Printing it shows the names alone.
#[derive(Default, Clone)]
pub struct Secrets(BTreeMap<String, String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A shorter secret would hide half of every text.
const HIDDEN_BYTES_MIN: usize = 4;

impl Secrets {
    /// Reads them all; the error is the name of one that cannot be had, and why. Files are seen from
    /// `folder`.
    pub fn read(wanted: &Words<Secret>, folder: &Path) -> Result<Self, (String, String)> {
        let read = |(name, secret): (&String, &Secret)| match value(secret, folder) {
            Ok(value) => Ok((name.clone(), value)),
            Err(why) => Err((name.clone(), why)),
        };
        wanted.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The one of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All of them, for templates.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The text with every secret in it replaced.
    pub fn hide(&self, text: &str) -> String {
        hide(text.to_owned(), self.0.values().map(String::as_str))
    }
}

/// The text with every one of `secrets` in it replaced.
pub fn hide<'a>(text: String, secrets: impl Iterator<Item = &'a str>) -> String {
    let long = secrets.filter(|value| value.len() >= HIDDEN_BYTES_MIN);
    long.fold(text, |text, value| text.replace(value, "***"))
}

fn value(secret: &Secret, folder: &Path) -> Result<String, String> {
    let value = match secret {
        Secret::Env(name) => std::env::var(name)
            .map_err(|_| format!("the environment has no variable {name}: export it first"))?,
        Secret::File(file) => {
            let path = folder.join(file);
            std::fs::read_to_string(&path)
                .map_err(|why| format!("{} cannot be read: {why}", path.display()))?
        }
    };
    match value.trim() {
        "" => Err("it is empty".to_owned()),
        value => Ok(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_used_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "hush-hush\n").unwrap();
        let wanted = Words::from([("key".to_owned(), Secret::File("key".into()))]);
        let secrets = Secrets::read(&wanted, folder.path()).unwrap();
        assert_eq!(secrets.get("key"), Some("hush-hush"));
        assert_eq!(secrets.hide("x hush-hush y"), "x *** y");
        assert_eq!(format!("{secrets:?}"), "{\"key\"}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let wanted =
            Words::from([("key".to_owned(), Secret::Env("ROBOT_CITY_NO_SUCH_THING".into()))]);
        let (name, why) = Secrets::read(&wanted, Path::new(".")).unwrap_err();
        assert_eq!(name, "key");
        assert!(why.contains("ROBOT_CITY_NO_SUCH_THING"), "{why}");
    }
}
