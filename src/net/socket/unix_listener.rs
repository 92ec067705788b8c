//! The UNIX stream socket of a server. UNIX sockets have no `SO_REUSEPORT`: one listener serves for all workers.
//!
//! ```text
//! claim the path ─▶ bind ─┬────────────────────────▶ unlink ─▶ memory ─▶ bind, chmod, listen ─▶ … ─▶ unlink, if it is still ours
//!                         └ in use: nobody behind it? ─▶ unlink, bind
//! ```
//! Bound for a moment at first, so that what is wrong with a path is said at once. Scripts wait for the file and connect then: it comes back when
//! the server can answer.
//!
//! The file outlives a server that was killed. Only a socket that refuses a connection is taken for such a rest: a file of another kind is never
//! removed, nor one that somebody answers behind.

use crate::net::socket::claim;
use crate::net::socket::listener::start_to_listen;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, connect, socket};
use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Error, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A UNIX socket that takes connections once it listens. It does not block. Its file goes when it is dropped, if nobody has replaced it.
#[derive(Debug)]
pub struct UnixListener {
    /// The socket.
    pub fd: OwnedFd,
    path: PathBuf,
    mode: u32,
    /// Device and inode of its file, once it has one.
    file: Option<(u64, u64)>,
    /// Held until it listens.
    claim: Option<OwnedFd>,
}

/// A socket for `path`, whose file is there from [`UnixListener::listen`] on, with the permissions `mode`.
///
/// # Errors
/// `AddrInUse`: a server answers there, or is about to. `AlreadyExists`: the file is no socket. `PermissionDenied`: it is one of another
/// user, or in a folder of another one. Others: the kernel's, such as a folder that is missing or may not be written to.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    // Between bind and listen a socket refuses connections, as one without a server does: two that start together must not take each
    // other's file away.
    let claim = claim_path(path)?;
    drop(bind_path(path)?);
    fs::remove_file(path)?;
    Ok(UnixListener { fd: open()?, path: path.to_owned(), mode, file: None, claim })
}

impl UnixListener {
    /// Takes connections from now on.
    ///
    /// # Errors
    /// As [`bind_unix`]: somebody else has used the path meanwhile.
    pub fn listen(&mut self) -> io::Result<()> {
        self.fd = bind_path(&self.path)?;
        let file = fs::symlink_metadata(&self.path)?;
        self.file = Some((file.dev(), file.ino()));
        fs::set_permissions(&self.path, Permissions::from_mode(self.mode))?;
        start_to_listen(&self.fd)?;
        self.claim = None;
        Ok(())
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixListener {
    fn drop(&mut self) {
        let is_ours =
            fs::symlink_metadata(&self.path).is_ok_and(|file| self.file == Some((file.dev(), file.ino())));
        if is_ours {
            // A file that cannot be removed is taken for a rest at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Unix, SockType::Stream, flags, None)?)
}

/// A socket with its file; one of a server that is gone is replaced.
fn bind_path(path: &Path) -> io::Result<OwnedFd> {
    let (fd, addr) = (open()?, UnixAddr::new(path)?);
    match bind(fd.as_raw_fd(), &addr) {
        Err(Errno::EADDRINUSE) => {
            remove_stale(path)?;
            bind(fd.as_raw_fd(), &addr)?;
        }
        done => done?,
    }
    Ok(fd)
}

/// Removes the file of a server that is gone.
fn remove_stale(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(Error::new(ErrorKind::AlreadyExists, "the file is there already, and is no socket"));
    }
    match connect(open()?.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => {
                denied("nobody answers there, but this user may not remove the file")
            }
            _ => error,
        }),
        Err(Errno::EACCES | Errno::EPERM) => Err(denied(
            "it is a socket that this user may not connect to, so whether a server answers there is not known",
        )),
        // Connected, or a queue that is full, or a socket of another kind: somebody is there.
        _ => Err(ErrorKind::AddrInUse.into()),
    }
}

fn denied(why: &str) -> Error {
    Error::new(ErrorKind::PermissionDenied, why)
}

/// Held until somebody listens. The name is a hash, because a path is longer than the name of a socket may be.
///
/// # Errors
/// `AddrInUse`: another server is about to listen there.
fn claim_path(path: &Path) -> io::Result<Option<OwnedFd>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut hash = DefaultHasher::new();
    hash.write(folder.canonicalize()?.join(path.file_name().unwrap_or_default()).as_os_str().as_bytes());
    match claim::lock(&format!("sherwood unix {:016x}", hash.finish())) {
        Ok(lock) => Ok(Some(lock)),
        Err(Errno::EADDRINUSE) => Err(Errno::EADDRINUSE.into()),
        // Without the lock only two that start in the same moment are in danger.
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixListener as Std, UnixStream};

    fn listen_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
        let mut listener = bind_unix(path, mode)?;
        listener.listen().map(|()| listener)
    }

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn it_listens_with_its_mode_and_takes_its_file_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        for mode in [0o700, 0o777, 0o660, 0] {
            let listener = listen_unix(&path, mode).unwrap();
            assert_eq!((mode_of(&path), listener.path()), (mode, path.as_path()));
            let _client = (mode == 0o777).then(|| UnixStream::connect(&path).unwrap());
            drop(listener);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_path_is_taken_although_its_file_is_not_there_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let mut first = bind_unix(&path, 0o600).unwrap();
        assert!(!path.exists(), "whoever sees it connects");
        assert_eq!(bind_unix(&path, 0o600).unwrap_err().kind(), ErrorKind::AddrInUse, "it is no rest");
        first.listen().unwrap();
        assert_eq!(mode_of(&path), 0o600);
        UnixStream::connect(&path).unwrap();
        assert_eq!(bind_unix(&path, 0o600).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn the_file_of_a_dead_server_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(Std::bind(&path).unwrap());
        assert!(path.exists());
        let _listener = listen_unix(&path, 0o700).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_server_that_answers_keeps_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let first = listen_unix(&path, 0o700).unwrap();
        assert_eq!(listen_unix(&path, 0o700).unwrap_err().kind(), ErrorKind::AddrInUse);
        UnixStream::connect(&path).unwrap();
        drop(first);
        let _datagrams = UnixDatagram::bind(&path).unwrap();
        assert_eq!(listen_unix(&path, 0o700).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        fs::write(&path, "notes").unwrap();
        assert_eq!(listen_unix(&path, 0o700).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"notes");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(listen_unix(&link, 0o700).unwrap_err().kind(), ErrorKind::AlreadyExists);
        let missing = folder.path().join("none").join("s");
        assert_eq!(listen_unix(&missing, 0o700).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_file_that_was_replaced_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let first = listen_unix(&path, 0o700).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        let _second = listen_unix(&path, 0o700).unwrap();
        drop(first);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn of_many_that_start_at_one_moment_one_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        for _ in 0..8 {
            drop(Std::bind(&path).unwrap());
            let start = std::sync::Barrier::new(4);
            let listen = || {
                start.wait();
                listen_unix(&path, 0o700)
            };
            let all: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(listen)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(all.iter().filter(|listener| listener.is_ok()).count(), 1, "{all:?}");
            UnixStream::connect(&path).unwrap();
        }
    }
}
