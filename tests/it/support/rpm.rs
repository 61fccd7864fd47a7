//! Roots with a real RPM database: packages made by rpmbuild from one line each, installed by
//! rpm. Built once and kept below `target/tmp`; every test gets a copy.
//!
//! A line is `name version: needs, ...; provides, /files, ...`; all packages are empty but for
//! their files. A `!` in front of the name gives it a script that fails when it is removed.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// What a root is made of.
pub struct RootRecipe<'a> {
    /// What every release of a package ends with: `.amzn2`.
    pub build: &'a str,
    /// The packages.
    pub packages: &'a [&'a str],
    /// Files (path and text) that are there, whether a package owns them or not. A text that
    /// begins with `-> ` makes a link.
    pub files: &'a [(&'a str, &'a str)],
}

/// Makes a fresh root of the recipe in `place`.
pub fn make_root(recipe: &RootRecipe<'_>, place: &Path) -> PathBuf {
    let root = place.join("root");
    run(Command::new("cp")
        .arg("-a")
        .arg(template(recipe))
        .arg(&root));
    root
}

/// Returns the names of the installed packages, sorted.
pub fn installed(root: &Path) -> Vec<String> {
    let output = rpm(root).args(["-qa", "--qf", "%{NAME}\n"]).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
    names.sort();
    names
}

fn rpm(root: &Path) -> Command {
    let mut command = Command::new("rpm");
    command.arg("--root").arg(root);
    command.args(["--dbpath", "/var/lib/rpm"]);
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let program = command.get_program();
    assert!(output.status.success(), "{program:?}: {said}");
}

/// Returns the root of the recipe that nobody changes.
fn template(recipe: &RootRecipe<'_>) -> PathBuf {
    let spec = spec(recipe);
    let all = format!("{spec}{:?}", recipe.files);
    let key = blake3::hash(all.as_bytes()).to_hex();
    // Two that build the same would be in each other's way, and win nothing.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _turn = BUILDING.lock();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rpm-root-{}", &key[..16]));
    if !kept.exists() {
        let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        build(recipe, &spec, scratch.path());
        // Another test may have been faster; its root is the same.
        fs::rename(scratch.path().join("root"), &kept).ok();
    }
    kept
}

fn build(recipe: &RootRecipe<'_>, spec: &str, scratch: &Path) {
    let (root, files) = (scratch.join("root"), scratch.join("files"));
    fs::create_dir_all(root.join("var/lib/rpm")).unwrap();
    fs::create_dir(&files).unwrap();
    fs::write(scratch.join("all.spec"), spec).unwrap();
    // What a package owns has to be there when it is built.
    for (path, text) in recipe.files.iter().copied().chain(owned(recipe)) {
        put(&files, path, text);
    }
    let packed = Command::new("rpmbuild")
        .args(["--quiet", "-bb", "--define"])
        .arg(format!("_topdir {}", scratch.join("build").display()))
        .arg("--define")
        .arg(format!("owned_files {}", files.display()))
        .arg(scratch.join("all.spec"))
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    assert!(packed.status.success(), "{packed:?}");
    let packages = fs::read_dir(scratch.join("build/RPMS/noarch")).unwrap();
    let packages = packages.map(|entry| entry.unwrap().path());
    let mut install = rpm(&root);
    install
        .args(["-i", "--noscripts", "--force-debian"])
        .args(packages);
    run(&mut install);
    for (path, text) in recipe.files {
        put(&root, path, text);
    }
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if fs::symlink_metadata(&path).is_ok() {
        fs::remove_file(&path).unwrap();
    }
    match text.strip_prefix("-> ") {
        Some(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
        None => fs::write(&path, text).unwrap(),
    }
}

/// Returns files of packages that the recipe gives no text.
fn owned<'a>(recipe: &RootRecipe<'a>) -> Vec<(&'a str, &'static str)> {
    let lines = recipe.packages.iter().map(|line| Line::parse(line));
    let files = lines.flat_map(|line| line.files);
    let has_text = |path: &str| recipe.files.iter().any(|(present, _)| *present == path);
    files
        .filter(|path| !has_text(path))
        .map(|path| (path, "x\n"))
        .collect()
}

struct Line<'a> {
    name: &'a str,
    version: &'a str,
    requires: Vec<&'a str>,
    provides: Vec<&'a str>,
    files: Vec<&'a str>,
    has_failing_script: bool,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Line<'a> {
        let (head, rest) = line.split_once(':').unwrap_or((line, ""));
        let (requires, provides) = rest.split_once(';').unwrap_or((rest, ""));
        let (name, version) = head.split_once(' ').unwrap_or((head, "1"));
        let items = |text: &'a str| -> Vec<&'a str> {
            let items = text.split(',').map(str::trim);
            items.filter(|item| !item.is_empty()).collect()
        };
        let (files, provides) = items(provides)
            .into_iter()
            .partition(|item| item.starts_with('/'));
        Line {
            name: name.trim_start_matches('!'),
            version,
            requires: items(requires),
            provides,
            files,
            has_failing_script: name.starts_with('!'),
        }
    }
}

/// Writes one spec file that makes all packages as parts of one.
fn spec(recipe: &RootRecipe<'_>) -> String {
    let mut spec = format!(
        "%global _unpackaged_files_terminate_build 0\n\
         %global __os_install_post %{{nil}}\n%global debug_package %{{nil}}\n\
         Name: instancesync-test\nVersion: 1\nRelease: 1{}\nSummary: x\nLicense: x\n\
         Vendor: Amazon Linux\nBuildArch: noarch\nAutoReqProv: no\n%description\nx\n\
         %install\nmkdir -p %{{buildroot}}\ncp -a %{{owned_files}}/. %{{buildroot}}/\n",
        recipe.build
    );
    for line in recipe.packages.iter().map(|line| Line::parse(line)) {
        let name = line.name;
        let mut add = |text: &str| spec.push_str(text);
        add(&format!(
            "%package -n {name}\nSummary: x\nVersion: {}\nAutoReqProv: no\n",
            line.version
        ));
        line.requires
            .iter()
            .for_each(|need| add(&format!("Requires: {need}\n")));
        line.provides
            .iter()
            .for_each(|capability| add(&format!("Provides: {capability}\n")));
        add(&format!("%description -n {name}\nx\n"));
        if line.has_failing_script {
            add(&format!("%preun -n {name} -p <lua>\nerror(\"no\")\n"));
        }
        add(&format!("%files -n {name}\n"));
        for file in line.files {
            let mark = match file.ends_with(".repo") {
                true => "%config(noreplace) ",
                false => "",
            };
            // Writing to a String cannot fail.
            _ = writeln!(spec, "{mark}{file}");
        }
    }
    spec
}
