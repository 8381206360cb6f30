//! Values as they were given, by flag or by file, each with where it stood: the raw material of
//! [`Settings`](super::Settings).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a value stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// On the command line; the flag with its dashes.
    Flag(String),
    /// In a file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The key, with the tables it is in.
        key: String,
    },
}

/// A value is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", one_line(&format!("{origin}: {message}")))]
pub struct ConfigError {
    /// Where the value stood.
    pub origin: Origin,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

/// A value as it was given; a list has several texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Where it stood.
    pub origin: Origin,
    /// What stood there.
    pub texts: Vec<String>,
}

/// The values of one table: of the process, of a listener or of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys(BTreeMap<String, Given>);

/// What is quoted from a file must not end the line, or do to a terminal what it likes.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() {
            true => line.extend(letter.escape_default()),
            false => line.push(letter),
        }
    }
    line
}

impl Origin {
    /// An error at this place.
    pub fn error(&self, message: impl fmt::Display) -> ConfigError {
        ConfigError {
            origin: self.clone(),
            message: message.to_string(),
        }
    }
}

impl Given {
    /// The one text of a value that is no list; a list's texts with commas between them.
    pub fn text(&self) -> String {
        self.texts.join(",")
    }

    /// Reads the value.
    ///
    /// # Errors
    /// What `parse` says, with where the value stood.
    pub fn parse<T, E: fmt::Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        parse(&self.text()).map_err(|error| self.origin.error(error))
    }
}

impl Keys {
    /// Adds or replaces a value.
    pub fn set(&mut self, key: &str, given: Given) {
        self.0.insert(key.to_owned(), given);
    }

    /// Adds or replaces a value that stood on the command line, if it did.
    pub fn set_flag<T: ToString>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        let texts: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        if !texts.is_empty() {
            let origin = Origin::Flag(format!("--{key}"));
            self.set(key, Given { origin, texts });
        }
    }

    /// Replaces what `other` has too: flags win over a file.
    pub fn override_with(&mut self, other: Keys) {
        self.0.extend(other.0);
    }

    /// The value of a key, if it was given.
    pub fn given(&self, key: &str) -> Option<&Given> {
        self.0.get(key)
    }

    /// The value of a listener's key that the process may have, too: the listener's own, unless the other is a flag.
    pub fn given_or<'a>(&'a self, key: &str, process: &'a Keys) -> Option<&'a Given> {
        let is_flag = |given: &&Given| matches!(given.origin, Origin::Flag(_));
        let (own, of_process) = (self.given(key), process.given(key));
        of_process.filter(is_flag).or(own).or(of_process)
    }

    /// Reads a value, if it was given.
    ///
    /// # Errors
    /// What `parse` says, with where the value stood.
    pub fn parse<T, E: fmt::Display>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ConfigError> {
        self.given(key).map(|given| given.parse(parse)).transpose()
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every key and its value, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Given)> {
        self.0.iter().map(|(key, given)| (key.as_str(), given))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Origin::Flag(flag) => f.write_str(flag),
            Origin::File { path, line, key } if key.is_empty() => {
                write!(f, "{}:{line}", path.display())
            }
            Origin::File { path, line, key } => write!(f, "{}:{line}: {key}", path.display()),
        }
    }
}
