//! The one place where the client's copy of a document changes, with the rules that the server applies, so that both
//! come to the same end.

use syncbridge_document::{Applied, Limits, Operation, Options, Patch, Touches, Value};

/// Applies what the server says was applied. Lenient, because the writer may have asked for it: where every parent is
/// there, lenient and strict do the same. Trusted, because the server has checked it under limits of its own.
pub(super) fn apply_delta(document: &mut Value, patch: &Patch) -> Result<Applied, String> {
    let options = Options { lenient: true, merge: false };
    patch.apply(document, options, &Limits::trusted()).map_err(|error| error.to_string())
}

/// Applies an own update as the server will.
pub(super) fn apply(document: &mut Value, patch: &Patch, lenient: bool) -> Result<Applied, String> {
    let options = Options { lenient, merge: false };
    patch.apply(document, options, &Limits::default()).map_err(|error| error.to_string())
}

/// Reads the operations of a `Delta`.
pub(super) fn parse(text: &[u8]) -> Result<Patch, String> {
    Patch::parse(text, &Limits::trusted()).map_err(|error| error.to_string())
}

/// Reads a document that the server sent.
pub(super) fn parse_document(text: &[u8]) -> Result<Value, String> {
    Value::parse(text, &Limits::trusted()).map_err(|error| error.to_string())
}

/// What the `test` operations of a patch look at, as touches: a test touches nothing, but an update that tests what an
/// earlier one wrote builds on it.
pub(super) fn tested(document: &Value, patch: &Patch) -> Touches {
    let tests = patch.operations().iter().filter_map(|operation| match operation {
        Operation::Test { path, .. } => Some(path),
        _ => None,
    });
    tests.fold(Patch::new(), |probe, path| probe.replace(path.clone(), Value::null())).touches(document)
}
