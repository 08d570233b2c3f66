// Why a patch cannot be applied.

/** A patch that is none, or that does not fit the document. `name` is the stable name of proto-spec/errors.md. */
export class PatchError extends Error {
  override readonly name: 'invalid_patch' | 'path_not_found' | 'test_failed';

  constructor(name: PatchError['name'], where: string) {
    super(`${name}: ${where}`);
    this.name = name;
  }
}
