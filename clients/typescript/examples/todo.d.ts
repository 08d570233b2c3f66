import type { ReactElement } from 'react';
import type { Client, Session } from '../src/api.ts';

export function Todo(props: { client: Client; session: Session<never> }): ReactElement;
