//! Looking into a root, with a note of what could not be read. Knows nothing of what it reads.

use std::cell::RefCell;

use crate::fs::{Root, Status};

/// LIMIT: notes of what is unknown; a root full of unreadable files needs no longer list.
const MAX_NOTES: usize = 50;

/// A root and the notes taken on the way.
pub(super) struct Look<'r> {
    root: &'r Root,
    unknown: RefCell<Vec<String>>,
}

impl<'r> Look<'r> {
    /// Begins to look into `root`.
    pub(super) fn new(root: &'r Root) -> Look<'r> {
        let unknown = RefCell::default();
        Look { root, unknown }
    }

    /// Returns the root itself.
    pub(super) fn root(&self) -> &Root {
        self.root
    }

    /// Tells whether this is the running system.
    pub(super) fn is_live(&self) -> bool {
        self.root.is_live()
    }

    /// Notes a sentence of what could not be found out.
    pub(super) fn note(&self, sentence: String) {
        let mut unknown = self.unknown.borrow_mut();
        if unknown.len() < MAX_NOTES && !unknown.contains(&sentence) {
            unknown.push(sentence);
        }
    }

    /// Ends the look: what could not be read.
    pub(super) fn into_unknown(self) -> Vec<String> {
        self.unknown.into_inner()
    }

    /// Returns the text of a file; notes it when it is there and cannot be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        match self.root.read(path) {
            Ok(bytes) => bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => {
                self.note(format!("{path} could not be read: {}", error.cause()));
                None
            }
        }
    }

    /// Returns the text of a file that only matters where it can be read, without white space
    /// around it; `None` when there is nothing in it.
    pub(super) fn word(&self, path: &str) -> Option<String> {
        let bytes = self.root.read_head(path, 4096).ok().flatten()?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// Returns the text of a link.
    pub(super) fn link(&self, path: &str) -> Option<String> {
        self.root.link(path)
    }

    /// Returns the names in a directory that are UTF-8, sorted: all that anybody looks for here.
    pub(super) fn names(&self, directory: &str) -> Vec<String> {
        let names = self.root.names(directory).into_iter();
        names.filter_map(|name| name.into_string().ok()).collect()
    }

    /// Returns the paths in a directory whose names end so, sorted.
    pub(super) fn paths(&self, directory: &str, ending: &str) -> Vec<String> {
        let names = self.names(directory).into_iter();
        names
            .filter(|name| name.ends_with(ending))
            .map(|name| format!("{directory}/{name}"))
            .collect()
    }

    /// Looks at what a path leads to.
    pub(super) fn status(&self, path: &str) -> Option<Status> {
        self.root.status(path)
    }

    /// Tells whether there is something, at the end of all links.
    pub(super) fn exists(&self, path: &str) -> bool {
        self.status(path).is_some()
    }

    /// Tells whether there is a directory.
    pub(super) fn is_directory(&self, path: &str) -> bool {
        self.status(path)
            .is_some_and(|status| status.is_directory())
    }

    /// Returns the first of the paths that is there. A name that ends in `*` stands for any
    /// name in its directory that begins so.
    pub(super) fn first<'p>(&self, paths: impl IntoIterator<Item = &'p str>) -> Option<String> {
        paths.into_iter().find_map(|path| {
            let Some(start) = path.strip_suffix('*') else {
                return self.exists(path).then(|| path.to_owned());
            };
            let (directory, start) = start.rsplit_once('/')?;
            let mut names = self.names(directory).into_iter();
            let name = names.find(|name| name.starts_with(start))?;
            Some(format!("{directory}/{name}"))
        })
    }

    /// Tells whether one of the paths is there.
    pub(super) fn any(&self, paths: &[&str]) -> bool {
        self.first(paths.iter().copied()).is_some()
    }
}

/// Returns the lines of a file with something in them, without comments and white space around.
pub(super) fn active_lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}
