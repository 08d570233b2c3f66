//! `syncbridge profile` with the real binary, of the real server.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::{stderr, stdout, support::server::Setup, syncbridge};

#[test]
fn a_running_server_is_profiled_into_a_new_file_and_nothing_else_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let (data_text, svg) = (data.to_str().expect("text"), folder.path().join("out.svg"));
    let svg_text = svg.to_str().expect("text");
    let profile = |to: [&str; 2]| {
        let seconds = ["--seconds", "1", "--data", data_text];
        syncbridge(&[&["profile"], &to[..], &seconds].concat())
    };
    fs::create_dir(&data).expect("made");
    let nobody = profile(["--svg", svg_text]);
    assert_eq!(nobody.status.code(), Some(6), "{}", stderr(&nobody));
    assert!(stderr(&nobody).contains("hint: is the server running"), "{}", stderr(&nobody));
    assert!(!svg.exists());
    fs::remove_dir(&data).expect("gone");

    let server = Setup::new(&data).start();
    let taken = profile(["--svg", svg_text]);
    assert!(taken.status.success(), "{}", stderr(&taken));
    assert!(stdout(&taken).ends_with(&format!(" samples, in {svg_text}\n")), "{}", stdout(&taken));
    assert!(fs::read_to_string(&svg).expect("written").starts_with("<svg"));
    assert_eq!(fs::metadata(&svg).expect("there").permissions().mode() & 0o777, 0o600);
    let again = profile(["--svg", svg_text]);
    assert_eq!(again.status.code(), Some(5), "nothing is overwritten: {}", stderr(&again));
    let pprof = folder.path().join("out.pb.gz");
    let taken = profile(["--pprof", pprof.to_str().expect("text")]);
    assert!(taken.status.success(), "{}", stderr(&taken));
    assert_eq!(fs::read(&pprof).expect("written")[..2], [0x1F, 0x8B], "gzip");
    let unwritable = profile(["--pprof", "/nowhere/out.pb.gz"]);
    assert_eq!(unwritable.status.code(), Some(1), "{}", stderr(&unwritable));
    for wrong in [&["--seconds", "0", "--svg", "x"][..], &["--seconds", "61", "--svg", "x"], &[]] {
        let refused = syncbridge(&[&["profile", "--data", data_text], wrong].concat());
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}: {}", stderr(&refused));
    }
    drop(server);
}
