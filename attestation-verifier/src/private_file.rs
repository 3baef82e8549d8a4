//! Files that only this process's user may read: refused where others can or where they are somebody else's, made with mode
//! 0600, and never half written or written twice.

use aws_lc_rs::rand;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, renameat_with};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::geteuid;
use std::fs::{DirBuilder, File, OpenOptions, hard_link, remove_file};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroizing;

/// Bits of a mode that let others than the owner in.
const OTHERS: u32 = 0o077;

/// The same of a credential, which systemd lets the service read by an access control list: its mask shows as the group's right to
/// read, though no group has it.
const CREDENTIAL: u32 = 0o037;

/// Reads a private file of at most [`limits::KEY_FILE`] bytes. Mode and owner are read from the opened file, so nothing can
/// be swapped in between.
///
/// # Errors
/// `file-mode-unsafe`: group or others may read or write it, it belongs to a user other than this process's and root, who
/// could put in what they like, or it is not a plain file; `io`; `too-large`.
pub(crate) fn load(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    load_with(path, OTHERS)
}

/// [`load`], of a file whose mode has none of these bits.
fn load_with(path: &Path, others: u32) -> Result<Zeroizing<Vec<u8>>> {
    let io = |e| Refusal::io(path.display(), &e);
    // A pipe that nobody writes to would keep the service from starting; with NONBLOCK it opens, and is refused below.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())).map_err(|e| io(e.into()))?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(io)?;
    let (mode, owner) = (metadata.permissions().mode(), metadata.uid());
    if !metadata.is_file() || mode & others != 0 || !is_trusted(owner, geteuid().as_raw()) {
        return Err(Refusal::new(Code::FileModeUnsafe, path.display().to_string())
            .got(format!("mode {:o}, owner {owner}", mode & 0o7777))
            .want(format!("a plain file of mode 600, owner {} or 0", geteuid().as_raw())));
    }
    let limit = u64::try_from(limits::KEY_FILE).unwrap_or(u64::MAX);
    // One allocation: a vector that grows leaves copies of a secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limits::KEY_FILE.saturating_add(1)));
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > limits::KEY_FILE {
        return Err(Refusal::too_large(path.display().to_string(), "more bytes", limits::KEY_FILE));
    }
    Ok(bytes)
}

/// Reads a credential of systemd's: a file of this name in the folder that it made for this service alone, and named in
/// `CREDENTIALS_DIRECTORY`.
///
/// # Errors
/// `key-missing`: no folder, or no such file; those of [`load`].
pub(crate) fn load_credential(name: &str) -> Result<Zeroizing<Vec<u8>>> {
    let missing = || Refusal::new(Code::KeyMissing, format!("credential `{name}`"));
    let folder =
        std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| missing().want("LoadCredential= of systemd"))?;
    if name.is_empty() || name.contains('/') {
        return Err(missing().want("a name"));
    }
    let path = Path::new(&folder).join(name);
    match path.try_exists() {
        Ok(true) => load_with(&path, CREDENTIAL),
        _ => Err(missing().got("no such file").want(path.display())),
    }
}

const fn is_trusted(owner: u32, user: u32) -> bool {
    owner == user || owner == 0
}

/// [`load`], or where the file is absent, makes it of `make`'s bytes first. Of several that make it at once, all load the one
/// that was first.
pub(crate) fn load_or_create(
    path: &Path,
    make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>>,
) -> Result<Zeroizing<Vec<u8>>> {
    if !path.try_exists().map_err(|e| Refusal::io(path.display(), &e))? {
        match publish(path, &make()?) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            published => published.map_err(|e| Refusal::io(path.display(), &e))?,
        }
    }
    load(path)
}

/// Writes a new private file durably: under another name first, so that a crash leaves either all of it or nothing.
///
/// # Errors
/// `io`; also where there is a file of that name, which stays as it is.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<()> {
    publish(path, bytes).map_err(|e| Refusal::io(path.display(), &e))
}

fn publish(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // A name that nobody else writes to, however many make the file at once.
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(std::io::Error::other)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", hex::encode(random)));
    let temporary = Path::new(&name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| rename(temporary, path));
    if written.is_err() {
        remove_file(temporary)?;
    }
    written?;
    sync_folder(path)
}

/// Renames a file, but never over an existing one. It has one name at any time: a second would outlive a process that is killed,
/// and with it a secret its file's end.
fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some filesystems, such as NFS, cannot: there it is two steps.
        Err(Errno::INVAL | Errno::NOSYS) => hard_link(from, to).and_then(|()| remove_file(from)),
        renamed => Ok(renamed?),
    }
}

/// Puts a file that is there already on the disk, and its name too: whoever wrote it may not have.
///
/// # Errors
/// `io`.
pub(crate) fn sync(path: &Path) -> Result<()> {
    let io = |e| Refusal::io(path.display(), &e);
    // The one that a symbolic link names, and the link.
    let file = path.canonicalize().map_err(io)?;
    let synced = File::open(&file).and_then(|file| file.sync_all());
    synced.and_then(|()| sync_folder(&file)).and_then(|()| sync_folder(path)).map_err(io)
}

/// Makes a folder that only its owner may enter, unless it is there.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| Refusal::io(path.display(), &e))
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};

    #[test]
    fn file_of_mode_600_accepted_and_of_other_modes_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        create(&path, b"secret").unwrap();
        assert_eq!(load(&path).unwrap().as_slice(), b"secret");
        for mode in [0o640, 0o604, 0o620, 0o666, 0o644] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(load(&path).unwrap_err().code, Code::FileModeUnsafe, "{mode:o}");
        }
        set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        assert!(load(&path).is_ok());
    }

    #[test]
    fn file_of_this_user_or_root_accepted_and_of_another_user_refused() {
        assert!(is_trusted(1000, 1000) && is_trusted(0, 1000) && is_trusted(0, 0));
        assert!(!is_trusted(1001, 1000) && !is_trusted(1000, 0));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        create(&path, b"secret").unwrap();
        assert!(load(&path).is_ok());
        match std::os::unix::fs::chown(&path, Some(geteuid().as_raw() + 1), None) {
            Ok(()) => assert_eq!(load(&path).unwrap_err().code, Code::FileModeUnsafe),
            Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "only root gives files away"),
        }
    }

    #[test]
    fn pipe_in_place_of_a_file_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let (sent, loaded) = std::sync::mpsc::channel();
        std::thread::spawn(move || sent.send(load(&path).unwrap_err().code));
        assert_eq!(loaded.recv_timeout(std::time::Duration::from_secs(10)), Ok(Code::FileModeUnsafe));
    }

    #[test]
    fn absent_file_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let make = |text: &'static [u8]| move || Ok(Zeroizing::new(text.to_vec()));
        assert_eq!(load_or_create(&path, make(b"first")).unwrap().as_slice(), b"first");
        assert_eq!(load_or_create(&path, make(b"second")).unwrap().as_slice(), b"first");
    }

    #[test]
    fn of_many_that_make_a_file_at_once_all_load_the_same_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let loaded: Vec<_> = std::thread::scope(|scope| {
            let make = |n: u8| {
                scope.spawn({
                    let path = &path;
                    move || load_or_create(path, || Ok(Zeroizing::new(vec![n])))
                })
            };
            let threads: Vec<_> = (0..32).map(make).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
        });
        let kept = load(&path).unwrap();
        assert!(loaded.iter().all(|loaded| loaded == &kept));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(create(&path, b"another").unwrap_err().code, Code::Io);
        assert_eq!(load(&path).unwrap(), kept);
    }

    #[test]
    fn file_never_has_a_second_name_that_a_kill_would_leave() {
        use rustix::fs::inotify;
        let folder = tempfile::tempdir().unwrap();
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        let seen = inotify::WatchFlags::CREATE | inotify::WatchFlags::DELETE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&watch, folder.path(), seen).unwrap();
        create(&folder.path().join("secret"), b"secret").unwrap();
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        let mut happened = Vec::new();
        while let Ok(event) = events.next() {
            let name = event.file_name().unwrap().to_str().unwrap();
            happened.push((event.events(), name == "secret"));
        }
        assert_eq!(happened, [(inotify::ReadFlags::CREATE, false), (inotify::ReadFlags::MOVED_TO, true)]);
    }

    #[test]
    fn file_that_is_there_is_synced_and_one_that_is_not_refused() {
        let folder = tempfile::tempdir().unwrap();
        let [path, link] = ["secret", "link"].map(|name| folder.path().join(name));
        std::os::unix::fs::symlink("secret", &link).unwrap();
        for path in [&path, &link] {
            assert_eq!(sync(path).unwrap_err().code, Code::Io);
        }
        create(&path, b"secret").unwrap();
        for path in [&path, &link] {
            sync(path).unwrap();
        }
    }

    #[test]
    fn folder_in_place_of_a_file_refused() {
        let folder = tempfile::tempdir().unwrap();
        set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        assert_eq!(load(folder.path()).unwrap_err().code, Code::FileModeUnsafe);
    }

    #[test]
    fn file_over_the_limit_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        create(&path, &vec![0; limits::KEY_FILE + 1]).unwrap();
        assert_eq!(load(&path).unwrap_err().code, Code::TooLarge);
    }
}
