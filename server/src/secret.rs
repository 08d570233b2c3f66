//! Secrets in the data folder: made once, kept with mode 0600, never half written. Knows nothing of what is in them.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Largest secret that is read: a certificate chain with its key is some KiB.
const MAX_BYTES: u64 = 64 << 10;

/// Reads the secret at `path`; when there is none, keeps what `make` returns and returns that. Of several processes
/// that come at once one wins, and all return the winner's secret.
///
/// When this returns, file and name are on the disk. A file that others may read is closed to them again, with a
/// warning.
///
/// # Errors
/// What the file system says, with the path; [`io::ErrorKind::InvalidData`] for a file that is empty or far too large.
pub fn create_or_load(path: &Path, make: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    let outcome = match load(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make().and_then(|secret| publish(path, &secret)).and_then(|()| load(path))
        }
        loaded => loaded,
    };
    outcome.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// As [`create_or_load`], for `N` random bytes.
///
/// # Errors
/// As [`create_or_load`]; [`io::ErrorKind::InvalidData`] when the file has another length.
pub fn random<const N: usize>(path: &Path) -> io::Result<[u8; N]> {
    let bytes = create_or_load(path, || {
        let mut secret = vec![0; N];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        Ok(secret)
    })?;
    <[u8; N]>::try_from(bytes.as_slice()).map_err(|_| {
        let text = format!("{}: has {} bytes, should have {N}", path.display(), bytes.len());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// Puts another secret in the place of the one at `path`: whoever reads finds the one or the other, whole. It is on the
/// disk when this returns.
///
/// # Errors
/// What the file system says.
pub fn replace(path: &Path, secret: &[u8]) -> io::Result<()> {
    let (folder, draft) = draft(path)?;
    let replaced = write_durably(&draft, secret).and_then(|()| fs::rename(&draft, path));
    if replaced.is_err() {
        // The reason why it failed is the one to tell; a draft that stays is closed to others, and read by nobody.
        let _ = fs::remove_file(&draft);
    }
    replaced?;
    File::open(folder)?.sync_all()
}

/// The secret at `path`.
///
/// # Errors
/// What the file system says; [`io::ErrorKind::InvalidData`] for a file that is empty or far too large.
pub fn load(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() == 0 || metadata.len() > MAX_BYTES {
        let text = format!("has {} bytes; it cannot be a secret of ours", metadata.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others could read this secret; its mode is 0600 again");
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    let mut secret = Vec::with_capacity(metadata.len() as usize);
    file.take(MAX_BYTES).read_to_end(&mut secret)?;
    Ok(secret)
}

/// Writes a file under a name nobody reads, makes it durable, then gives it its name, unless that is taken by now.
fn publish(path: &Path, secret: &[u8]) -> io::Result<()> {
    let (folder, draft) = draft(path)?;
    let published = write_durably(&draft, secret).and_then(|()| match fs::hard_link(&draft, path) {
        // Another process was first: its secret is the one.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs::remove_file(&draft);
    published?;
    removed?;
    File::open(folder)?.sync_all()
}

/// The folder of a secret, and a name in it that nobody reads.
fn draft(path: &Path) -> io::Result<(&Path, PathBuf)> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or_else(|| io::Error::other("is not the name of a file"))?;
    let unique = getrandom::u64().map_err(io::Error::other)?;
    Ok((folder, folder.join(format!(".{}.{unique:016x}", name.to_string_lossy()))))
}

fn write_durably(path: &Path, secret: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(secret)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_secret_is_made_once_with_mode_0600_and_nothing_else_stays_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let first = random::<32>(&path).unwrap();
        assert_eq!(random::<32>(&path).unwrap(), first);
        assert_ne!(first, [0; 32]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_that_others_can_read_is_closed_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let first = random::<32>(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(random::<32>(&path).unwrap(), first);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_truncated_secret_is_an_error_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for content in [b"".as_slice(), b"short"] {
            fs::write(&path, content).unwrap();
            let error = random::<32>(&path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains("key"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn another_secret_takes_the_place_of_one_with_mode_0600_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        random::<32>(&path).unwrap();
        replace(&path, b"another").unwrap();
        assert_eq!(load(&path).unwrap(), b"another");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn of_many_that_come_at_once_all_get_the_same_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let secrets: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| random::<32>(&path).unwrap())).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    }
}
