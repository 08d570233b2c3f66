//! Puts the built pages (web/dist) into the program: lists every file for `server/src/pages`. The files are committed, so
//! no npm is needed here; `./test web` shows that they are what web/ builds.

use std::{env, fmt::Write as _, fs, io, path::Path};

/// What the vite build wrote.
const BUILT: &str = "../web/dist";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={BUILT}");
    let folder = fs::canonicalize(BUILT).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("{BUILT}: {error}; it comes with the repository, or by `npm run build -w web`"),
        )
    })?;
    let mut files = Vec::new();
    list(&folder, "", &mut files)?;
    // In one order on every machine, so that the same files make the same program.
    files.sort();
    let mut table = String::from("&[\n");
    for name in files {
        let path = folder.join(&name);
        let path = path.to_str().ok_or_else(|| io::Error::other(format!("{} is not UTF-8", path.display())))?;
        // Writing into a String cannot fail.
        let _ = writeln!(table, "    ({name:?}, include_bytes!({path:?})),");
    }
    table.push_str("]\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?;
    fs::write(Path::new(&out).join("pages.rs"), table)
}

/// Every file below `folder`, by its path from there with slashes.
fn list(folder: &Path, prefix: &str, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry
            .file_name()
            .into_string()
            .map_err(|name| io::Error::other(format!("{} is not UTF-8", name.display())))?;
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &name, files)?;
        } else {
            files.push(name);
        }
    }
    Ok(())
}
