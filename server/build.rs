//! Puts the built pages (web/dist) into the program: lists every file for `server/src/pages`. The files are committed, so
//! no npm is needed here; `./test web` shows that they are what web/ builds.

use std::{env, fs, io, path::Path};

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
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?;
    // Copied, because what is in OUT_DIR may be used for another checkout, when this one is gone.
    let copies = Path::new(&out).join("pages");
    let mut table = String::from("&[\n");
    for name in files {
        let copy = copies.join(&name);
        fs::create_dir_all(copy.parent().unwrap_or(&copies))?;
        fs::copy(folder.join(&name), &copy)?;
        let line =
            format!("    ({name:?}, include_bytes!(concat!(env!(\"OUT_DIR\"), {:?}))),\n", format!("/pages/{name}"));
        table.push_str(&line);
    }
    table.push_str("]\n");
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
