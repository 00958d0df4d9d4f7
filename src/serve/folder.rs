//! The scenario files that a server goes by: all those of a folder, or a single one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::scenario::source::plain_words;
use crate::scenario::{Error, Scenario};

/// A folder may have so many scenario files.
pub const MAX_FILES: usize = 1_000;

const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// A scenario and what to ask for it by.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file's name without its ending; no two of a folder have the same.
    pub stem: String,
    /// What stands in it.
    pub scenario: Arc<Scenario>,
}

/// Reads the scenario files of a folder in the order of their names, or a single file. Hidden files and
/// folders in the folder are left alone.
///
/// # Errors
///
/// Everything that is wrong with any of them, as `check` shows it, without colours.
pub fn load(dir: &Path) -> Result<Vec<Loaded>, String> {
    let files = files(dir)?;
    let mut loaded: Vec<Loaded> = Vec::with_capacity(files.len());
    let mut wrong = String::new();
    for file in &files {
        let stem = stem(file);
        if let Some(other) = files.iter().find(|other| self::stem(other) == stem)
            && other != file
        {
            wrong.push_str(&format!(
                "error: `{}` and `{}` are both called `{stem}`\n  help: rename one of them; runs ask for a scenario by that name\n\n",
                other.display(),
                file.display()
            ));
        }
        match Scenario::load(&file.to_string_lossy()) {
            Ok(scenario) => loaded.push(Loaded {
                stem,
                scenario: Arc::new(scenario),
            }),
            Err(Error::Invalid(findings)) => wrong.push_str(&findings.render(false)),
            Err(Error::Unreadable(message)) => {
                wrong.push_str(&format!("error: {message}\n\n"));
            }
        }
    }
    match wrong.trim_end() {
        "" => Ok(loaded),
        wrong => Err(wrong.to_owned()),
    }
}

/// What probably is not as meant in them, as `check` shows it; empty if there is nothing.
pub fn warnings(loaded: &[Loaded]) -> String {
    let shown = loaded.iter().map(|one| one.scenario.warnings.render(false));
    shown.collect::<String>().trim_end().to_owned()
}

/// Whether a file of that name in a folder is a scenario.
pub fn is_scenario(name: &Path) -> bool {
    let hidden = name
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let ending = name.extension().and_then(|ending| ending.to_str());
    !hidden && ending.is_some_and(|ending| ENDINGS.contains(&ending))
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let cannot = |path: &Path, error: io::Error| {
        let help = match error.kind() {
            io::ErrorKind::NotFound => "name a folder of scenario files, or one such file",
            _ => "is it there, and may you read it?",
        };
        format!(
            "error: cannot read `{}`: {}\n  help: {help}",
            path.display(),
            plain_words(&error)
        )
    };
    if !fs::metadata(dir)
        .map_err(|error| cannot(dir, error))?
        .is_dir()
    {
        return Ok(vec![dir.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| cannot(dir, error))? {
        let file = entry.map_err(|error| cannot(dir, error))?.path();
        // Opening a pipe would wait for whoever writes to it. What cannot be looked at is for the reader to
        // complain of.
        if !is_scenario(&file) || fs::metadata(&file).is_ok_and(|found| !found.is_file()) {
            continue;
        }
        if files.len() == MAX_FILES {
            return Err(format!(
                "error: `{}` has more than {MAX_FILES} scenario files\n  help: put those that belong together into one file, or others into another folder",
                dir.display()
            ));
        }
        files.push(file);
    }
    files.sort();
    Ok(files)
}

fn stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A scenario with one event.
    pub(crate) fn scenario(name: &str) -> String {
        format!("scenario: {name}\nevents:\n  - event_type: order\n")
    }

    fn stems(loaded: &[Loaded]) -> Vec<&str> {
        loaded.iter().map(|one| one.stem.as_str()).collect()
    }

    #[test]
    fn the_files_of_a_folder_come_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "c.yml", "a.json"] {
            fs::write(dir.path().join(name), scenario(name)).unwrap();
        }
        for other in [".hidden.yaml", "notes.txt", "b.yaml~", "state.db"] {
            fs::write(dir.path().join(other), "no: scenario").unwrap();
        }
        fs::create_dir(dir.path().join("folder.yaml")).unwrap();
        fs::write(dir.path().join("folder.yaml/d.yaml"), "no: scenario").unwrap();
        let loaded = load(dir.path()).unwrap();
        assert_eq!(stems(&loaded), ["a", "b", "c"]);
        assert_eq!(loaded[0].scenario.name, "a.json");
        assert_eq!(warnings(&loaded), "");
    }

    #[test]
    fn a_folder_may_be_empty_and_a_single_file_have_any_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).unwrap().is_empty());
        let file = dir.path().join("one.txt");
        fs::write(&file, scenario("One")).unwrap();
        assert_eq!(stems(&load(&file).unwrap()), ["one"]);
    }

    #[test]
    fn everything_wrong_with_any_file_is_said_at_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), "sceanrio: Typo\n").unwrap();
        fs::write(dir.path().join("b.yaml"), scenario("Good")).unwrap();
        fs::write(dir.path().join("c.yaml"), b"scenario: \xff\n").unwrap();
        fs::write(dir.path().join("d.yaml"), "seed: many\n").unwrap();
        let wrong = load(dir.path()).unwrap_err();
        for words in ["a.yaml:1", "`scenario`", "c.yaml", "UTF-8", "d.yaml:1"] {
            assert!(wrong.contains(words), "no {words} in:\n{wrong}");
        }
        assert!(!wrong.contains("b.yaml"), "{wrong}");
        assert!(!wrong.contains('\x1b'), "{wrong}");
    }

    #[test]
    fn two_files_of_one_name_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.yaml", "a.json"] {
            fs::write(dir.path().join(name), scenario("Same")).unwrap();
        }
        let wrong = load(dir.path()).unwrap_err();
        assert!(wrong.contains("both called `a`"), "{wrong}");
    }

    #[test]
    fn what_is_not_there_or_too_much_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let wrong = load(&dir.path().join("nowhere")).unwrap_err();
        assert!(
            wrong.contains("nowhere") && wrong.contains("help: name a folder"),
            "{wrong}"
        );
        for number in 0..=MAX_FILES {
            fs::write(dir.path().join(format!("{number}.yaml")), "").unwrap();
        }
        let wrong = load(dir.path()).unwrap_err();
        assert!(wrong.contains("more than 1000 scenario files"), "{wrong}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_a_dangling_one_is_said() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("there.txt"), scenario("Linked")).unwrap();
        std::os::unix::fs::symlink("there.txt", dir.path().join("a.yaml")).unwrap();
        assert_eq!(load(dir.path()).unwrap()[0].scenario.name, "Linked");
        std::os::unix::fs::symlink("gone.txt", dir.path().join("b.yaml")).unwrap();
        let wrong = load(dir.path()).unwrap_err();
        assert!(wrong.contains("b.yaml"), "{wrong}");
    }
}
