// The SharedWorker of the test's page, as clients/typescript/README.md has it.
import { connect } from '@syncbridge/client';
import { share } from '@syncbridge/client/shared';

share(globalThis as never, connect);
