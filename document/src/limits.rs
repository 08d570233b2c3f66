//! What a document and a patch may cost. Every loop of this crate that a peer can lengthen ends at one of these.

/// Bounds of parsing and applying. A replica that follows patches which were already accepted uses [`Limits::trusted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Containers inside each other: `[]` is 1, `[[]]` is 2. At most 127, where the JSON reader itself stops.
    pub depth: usize,
    /// Parts of a JSON Pointer: `/a/b` has 2.
    pub pointer_parts: usize,
    /// Operations of a patch, as sent and as it becomes by merging.
    pub operations: usize,
    /// Length of a document as JSON text without whitespace, in bytes. A text to parse may not be longer either, white
    /// space included; the text of a patch may be longer by [`Limits::PATCH_OVERHEAD`].
    pub document_bytes: usize,
    /// Steps that applying one patch may take. A step is about one to thirty nanoseconds: a child copied because its
    /// array or object is shared, a value compared, eight children shifted.
    ///
    /// The largest array of a 4 MiB document has 2 Mi items, so one patch may copy all of it four times, but not once
    /// for each of 1,000 operations. Where even that is too long to wait, apply with less (64 Ki is about a
    /// millisecond) and take [`TooMuchWork`](crate::ApplyError::TooMuchWork) as the sign to do it elsewhere.
    pub work: u64,
}

impl Limits {
    /// What the text of a patch may have over a document's: operations, pointers.
    pub const PATCH_OVERHEAD: usize = 64 * 1024;

    /// For patches that somebody else has checked: a replica must follow whatever the server accepted, under limits it
    /// may not know. Only what protects the stack remains.
    #[must_use]
    pub const fn trusted() -> Limits {
        Limits {
            depth: 127,
            pointer_parts: 128,
            operations: usize::MAX,
            document_bytes: usize::MAX >> 1,
            work: u64::MAX >> 1,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { depth: 64, pointer_parts: 64, operations: 1000, document_bytes: 4 << 20, work: 8 << 20 }
    }
}
