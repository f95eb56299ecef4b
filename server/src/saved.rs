//! A file that somebody may save while this process runs.

use std::{fs, path::PathBuf, time::SystemTime};

pub struct Saved {
    path: PathBuf,
    seen: Option<SystemTime>,
}

impl Saved {
    pub fn new(path: PathBuf) -> Self {
        let seen = saved_at(&path);
        Saved { path, seen }
    }

    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Whether it was saved since the last look. One that is gone is not new.
    pub fn is_new(&mut self) -> bool {
        let now = saved_at(&self.path);
        let is_new = now.is_some() && now != self.seen;
        if is_new {
            self.seen = now;
        }
        is_new
    }
}

fn saved_at(path: &PathBuf) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
