//! A PostgreSQL server of a test's own: the real one, with its files in a folder that goes with it, reached through a Unix socket
//! there and by nothing else. What it is told to keep it keeps (`fsync = on`), so that killing it is worth something.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use strongroom_wire::{Code, Refusal, Result};
use tempfile::TempDir;

/// The user that the server runs as where the test is root's, as which it refuses to run: `nobody`.
const NOBODY: u32 = 65534;

/// Who opens databases.
const USER: &str = "strongroom";

/// From the start of a server until it answers, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a server says once it answers.
const READY: &str = "ready to accept connections";

/// A server that runs until this is dropped.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    /// Before the folder, which is its place.
    disk: Option<SmallDisk>,
    folder: TempDir,
    settings: Vec<String>,
    server: Option<Child>,
}

impl Postgres {
    /// The one of a test, by the programs that the environment variable `POSTGRES` names (`tests/peers/setup`). `None`, and the test
    /// says so: it names nothing.
    ///
    /// # Errors
    /// As [`Self::start`]; `io` also where it names nothing and CI, or somebody else who means it, runs the test as root.
    pub fn of_test() -> Result<Option<Self>> {
        programs()?.map(|programs| Self::start(&programs)).transpose()
    }

    /// As [`Self::of_test`], on a disk of so many MiB that it has for itself. `None`, and the test says so, also where nobody may mount
    /// one.
    ///
    /// # Errors
    /// As [`Self::of_test`].
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    pub fn of_test_on_a_disk_of(mebibytes: u32) -> Result<Option<Self>> {
        let Some(programs) = programs()? else { return Ok(None) };
        let folder = new_folder()?;
        let Some(disk) = SmallDisk::mount(folder.path(), mebibytes) else {
            eprintln!("skipped: no disk can be mounted");
            return Ok(None);
        };
        // Of the log no more than the disk has room for.
        let settings = ["max_wal_size=32MB", "min_wal_size=32MB"].map(str::to_owned).to_vec();
        Self::make(&programs, Some(disk), folder, settings).map(Some)
    }

    /// A server in a folder of its own, by the programs in the folder `programs`.
    ///
    /// # Errors
    /// `io`: a program does not run, or the server says on stderr why it does not answer.
    pub fn start(programs: &Path) -> Result<Self> {
        Self::make(programs, None, new_folder()?, Vec::new())
    }

    fn make(programs: &Path, disk: Option<SmallDisk>, folder: TempDir, settings: Vec<String>) -> Result<Self> {
        let mut server = Self { programs: programs.to_owned(), disk, folder, settings, server: None };
        if is_root() {
            chown(server.folder.path(), Some(NOBODY), None).map_err(|e| Refusal::io("folder of PostgreSQL", &e))?;
        }
        let data = server.data();
        let made =
            server.run("initdb", &["--no-sync", "-A", "trust", "-E", "UTF8", "--locale=C", "-U", USER, "-D", &data])?;
        if !made.status.success() {
            return Err(failed("initdb").got(String::from_utf8_lossy(&made.stderr)));
        }
        server.restart()?;
        Ok(server)
    }

    /// Adds a setting, `name=value`, that counts from the next [`Self::restart`].
    pub fn set(&mut self, setting: &str) {
        self.settings.push(setting.to_owned());
    }

    /// The URL of a database of it, which has to be made ([`Self::sql`]), but for `postgres`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user={USER}", self.folder.path().display())
    }

    /// Its folder, in which the programs of every such server may write.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves no room on the disk that it has for itself, or gives back what this took.
    ///
    /// # Errors
    /// `io`: it has no such disk.
    pub fn fill_disk(&self, is_full: bool) -> Result<()> {
        self.disk
            .as_ref()
            .ok_or_else(|| failed("disk"))?
            .fill(is_full)
            .map_err(|e| Refusal::io("disk of PostgreSQL", &e))
    }

    /// Starts the server that was killed, or another time.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let begun = Instant::now();
        loop {
            match self.attempt() {
                // What served the last one's connections notices after it that it is gone, and says so to nobody.
                Err(refusal) if begun.elapsed() > PATIENCE => return Err(refusal),
                Err(_) => thread::sleep(Duration::from_millis(50)),
                Ok(server) => {
                    self.server = Some(server);
                    return Ok(());
                }
            }
        }
    }

    fn attempt(&self) -> Result<Child> {
        let (data, socket) = (self.data(), self.folder.path().display().to_string());
        let mut command = self.command("postgres");
        command.args(["-D", &data, "-k", &socket, "-c", "listen_addresses=", "-c", "fsync=on"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let mut server = command.stderr(Stdio::piped()).spawn().map_err(|e| Refusal::io("postgres", &e))?;
        let mut lines = BufReader::new(server.stderr.take().ok_or_else(|| failed("postgres"))?)
            .lines()
            .map_while(core::result::Result::ok);
        let mut said = Vec::new();
        for line in lines.by_ref() {
            if line.contains(READY) {
                // It would stop at a pipe that nobody reads.
                thread::spawn(move || lines.for_each(drop));
                return Ok(server);
            }
            said.push(line);
        }
        drop(server.wait());
        Err(failed("postgres").got(said.join("; ")))
    }

    /// Ends it as a power cut would: `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let id = server.id();
            // Those that serve connections would finish what they are at.
            let serving = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
            let mut all = Command::new("kill");
            drop(all.arg("-KILL").arg(id.to_string()).args(serving.split_whitespace()).output());
            drop(server.wait());
        }
    }

    /// Executes statements, each by itself, in a database of it as its administrator.
    ///
    /// # Errors
    /// `io`: what the server says against it.
    pub fn sql(&self, database: &str, statements: &[&str]) -> Result<()> {
        let host = self.folder.path().display().to_string();
        let mut arguments = vec!["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", &host, "-U", USER, "-d", database];
        arguments.extend(statements.iter().flat_map(|statement| ["-c", statement]));
        let output = self.run("psql", &arguments)?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed("psql").got(String::from_utf8_lossy(&output.stderr)))
    }

    /// The output of one of its programs that connects to a database of it, such as `pg_dump`.
    ///
    /// # Errors
    /// `io`.
    pub fn client(&self, program: &str, arguments: &[&str]) -> Result<Vec<u8>> {
        let host = self.folder.path().display().to_string();
        let output = self.run(program, &[&["-h", &host, "-U", USER], arguments].concat())?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(failed(program).got(String::from_utf8_lossy(&output.stderr)))
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        self.command(program).args(arguments).output().map_err(|e| Refusal::io(program, &e))
    }

    /// A program of it, as a user that may be its own, which the kernel ends with the thread that started it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        if is_root() {
            command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"]);
        }
        command.args(["--pdeathsig=KILL", "--"]).arg(self.programs.join(program));
        // Unpacked and not installed, its libraries lie beside it.
        if let Some(root) = self.programs.ancestors().nth(5) {
            let libraries = root.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command.current_dir("/").stdin(Stdio::null());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A disk in memory, mounted until this is dropped.
#[derive(Debug)]
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`: this user may not, or not here.
    fn mount(folder: &Path, mebibytes: u32) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "none"]).arg(folder);
        mount.output().is_ok_and(|output| output.status.success()).then(|| Self(folder.to_owned()))
    }

    fn fill(&self, is_full: bool) -> io::Result<()> {
        let path = self.0.join("ballast");
        if !is_full {
            return fs::remove_file(path);
        }
        match io::copy(&mut io::repeat(0), &mut fs::File::create(path)?) {
            Err(full) if full.kind() == io::ErrorKind::StorageFull => Ok(()),
            other => other.map(drop),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).output());
    }
}

/// The folder of PostgreSQL's programs, if there is any.
///
/// # Errors
/// As [`Postgres::of_test`].
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn programs() -> Result<Option<PathBuf>> {
    if let Some(programs) = std::env::var_os("POSTGRES").map(PathBuf::from).filter(|programs| programs.exists()) {
        return Ok(Some(programs));
    }
    let says = |name: &str, value: &str| std::env::var(name).is_ok_and(|it| it == value);
    if is_root() && (says("CI", "true") || says("STRONGROOM_REQUIRE_PEERS", "1")) {
        return Err(failed("POSTGRES").got("nothing").want("PostgreSQL's programs: run `make peers`"));
    }
    eprintln!("skipped: POSTGRES names nothing; `make peers` brings it");
    Ok(None)
}

fn new_folder() -> Result<TempDir> {
    tempfile::tempdir().map_err(|e| Refusal::io("folder of PostgreSQL", &e))
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn failed(program: &str) -> Refusal {
    Refusal::new(Code::Io, program)
}
