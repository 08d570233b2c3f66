// The console, `/` of the admin listener.
import { render } from 'preact';
import { Console } from '../console/console.tsx';
import { root } from '../root.ts';
import '../styles/base.css';
import '../styles/console.css';

render(<Console />, root());
