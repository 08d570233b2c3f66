//! The body of the fuzz target `patches` in `fuzz/`: what must hold whatever a peer sends. The test below drives it on
//! stable. Compiled only for tests and with the feature `fuzzing`; panics are its way to speak.

use crate::{Limits, Options, Patch, Value, diff, merge_patch};

/// Small, so that a fuzzer finds them: a patch that grows by doubling comes to 64 KiB with few operations.
const LIMITS: Limits = Limits { depth: 16, pointer_parts: 16, operations: 64, document_bytes: 64 << 10, work: 1 << 20 };

/// A document and, after the first line break, what is to be done to it: a JSON Patch, or any JSON as a merge patch.
/// A patch is applied whole or not at all, within the limits; what came of it can be followed strictly, can be sent, and
/// a diff leads there as well.
pub fn patches(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (document, rest) = (&data[..end], &data[end + 1..]);
    let Ok(document) = Value::parse(document, &LIMITS) else { return };
    if let Ok(merge) = Value::parse(rest, &LIMITS) {
        lead(&document, &merge_patch(&document, &merge));
    }
    let Ok(patch) = Patch::parse(rest, &LIMITS) else { return };
    assert_eq!(Patch::parse(&patch.to_json(), &Limits::trusted()).as_ref(), Ok(&patch));
    for options in [Options::STRICT, Options::LENIENT, Options { lenient: true, merge: true }] {
        let mut changed = document.clone();
        let Ok(applied) = patch.apply(&mut changed, options, &LIMITS) else {
            assert_eq!(changed.to_json(), document.to_json(), "an error left a trace");
            continue;
        };
        let text = changed.to_json();
        assert_eq!(changed.json_size(), text.len());
        assert!(text.len() <= LIMITS.document_bytes);
        assert_eq!(Value::parse(&text, &LIMITS).map(|again| again.to_json()).as_ref(), Ok(&text));
        let mut followed = document.clone();
        let strict = applied.effective.as_ref().unwrap_or(&patch);
        let followed = strict.apply(&mut followed, Options::STRICT, &Limits::trusted()).map(|_| followed.to_json());
        assert_eq!(followed.as_ref(), Ok(&text));
        lead(&document, &changed);
    }
}

/// A diff of the two leads from the one to the other.
fn lead(before: &Value, after: &Value) {
    let mut document = before.clone();
    let applied = diff(before, after).apply(&mut document, Options::STRICT, &Limits::trusted());
    assert!(applied.is_ok(), "{applied:?}");
    assert_eq!(document.to_json(), after.to_json());
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    const INPUTS: [&str; 6] = [
        "{\"a\":[1,2,{\"b\":null}],\"c\":\"text\"}\n[{\"op\":\"add\",\"path\":\"/a/-\",\"value\":[1]},{\"op\":\"remove\",\"path\":\"/a/0\"}]",
        "{\"a\":[1,2,{\"b\":null}]}\n[{\"op\":\"move\",\"from\":\"/a/2\",\"path\":\"/d\"},{\"op\":\"copy\",\"from\":\"\",\"path\":\"/e\"}]",
        "{\"a\":\"xxxxxxxx\"}\n[{\"op\":\"copy\",\"from\":\"\",\"path\":\"/a\"},{\"op\":\"copy\",\"from\":\"\",\"path\":\"/b\"},{\"op\":\"copy\",\"from\":\"\",\"path\":\"/c\"}]",
        "[]\n[{\"op\":\"add\",\"path\":\"/0/a/b/c/d/-\",\"value\":1.5e3},{\"op\":\"test\",\"path\":\"\",\"value\":[]}]",
        "{\"o\":{\"x\":1,\"y\":{\"z\":-0.0}}}\n[{\"op\":\"replace\",\"path\":\"/o\",\"value\":{\"y\":{\"w\":18446744073709551615}}}]",
        "{\"title\":\"a\",\"author\":{\"given\":\"b\"}}\n{\"title\":null,\"author\":{\"family\":[\"c\"]}}",
    ];

    #[test]
    fn mutated_documents_and_patches_break_no_rule() {
        let mut rng = Rng::with_seed(1);
        for round in 0..40_000 {
            let mut bytes = INPUTS[round % INPUTS.len()].as_bytes().to_vec();
            for _ in 0..if round < INPUTS.len() { 0 } else { rng.usize(1..4) } {
                let at = rng.usize(..bytes.len());
                let other = INPUTS[rng.usize(..INPUTS.len())].as_bytes();
                let from = rng.usize(..other.len());
                let piece = &other[from..other.len().min(from + rng.usize(1..40))];
                match rng.u8(..4) {
                    0 => bytes[at] = b"\"{}[],:/0-1~\\x\n"[rng.usize(..15)],
                    1 => drop(bytes.splice(at..at, piece.iter().copied())),
                    2 => drop(bytes.splice(at..(at + piece.len()).min(bytes.len()), piece.iter().copied())),
                    _ => drop(bytes.drain(at..(at + rng.usize(1..4)).min(bytes.len()))),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            patches(&bytes);
        }
    }
}
