//! The data folder. Made with mode 0700, because it holds keys and what people wrote. Knows nothing of what is in it.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

/// Where in it the embedded store is.
pub const STORE: &str = "store";

/// Makes the folder, and those above it, when it is missing; its name is on the disk when this returns. Tells whether it
/// was missing.
///
/// # Errors
/// What the file system says, with the path.
pub fn create(folder: &Path) -> io::Result<bool> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => return Ok(false),
        Ok(_) => return Err(named(io::Error::other("the data folder's name belongs to something that is no folder"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(named(error)),
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(named)?;
    if let Some(above) = folder.canonicalize().map_err(named)?.parent() {
        File::open(above).and_then(|above| above.sync_all()).map_err(named)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once_and_closed_to_others() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("a/b");
        assert!(create(&folder).unwrap());
        assert!(!create(&folder).unwrap());
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_in_its_place_is_an_error_with_the_path() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("taken");
        fs::write(&folder, "x").unwrap();
        assert!(create(&folder).unwrap_err().to_string().contains("taken"));
        assert!(create(&folder.join("below")).is_err());
    }
}
