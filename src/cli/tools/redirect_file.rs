//! A file that leads a browser to an address. The attack: the arguments of a program can be read by everybody on the computer, so a
//! secret in an address must not be an argument of the browser. The file is readable for its owner only.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::Environment;
use crate::text::escape_html;

/// The file; it is removed with this.
pub(super) struct RedirectFile(PathBuf);

impl RedirectFile {
    /// Writes a file that leads to `url`: in the directory of the person's session, or in that of temporary files.
    pub(super) fn make(url: &str) -> io::Result<Self> {
        let environment = Environment::of_process();
        let session = environment.read("XDG_RUNTIME_DIR").map(PathBuf::from);
        let directory = session.filter(|path| path.is_absolute() && path.is_dir());
        Self::make_in(&directory.unwrap_or_else(std::env::temp_dir), url)
    }

    fn make_in(directory: &Path, url: &str) -> io::Result<Self> {
        let path = directory.join(format!("caxton-{}.html", uuid::Uuid::now_v7().simple()));
        let page = format!(
            "<!doctype html><meta charset=utf-8><meta name=referrer content=no-referrer><meta http-equiv=refresh content=\"0;url={}\"><title>Caxton</title>\n",
            escape_html(url)
        );
        // It must not be there: a link that another has put there would be followed.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let made = Self(path);
        file.write_all(page.as_bytes())?;
        Ok(made)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for RedirectFile {
    fn drop(&mut self) {
        // What is gone needs no removal, and what cannot be removed counts for ten minutes.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn its_owner_reads_it_and_nobody_else_and_not_for_long() {
        let directory = tempfile::tempdir().unwrap();
        let file = RedirectFile::make_in(directory.path(), "https://a/?flow=x&\"").unwrap();
        let path = file.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("0;url=https://a/?flow=x&amp;&quot;\""), "{text}");
        drop(file);
        assert!(!path.exists());
    }
}
