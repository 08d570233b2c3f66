// A component that is drawn again only when one of its properties is another (compared by identity).
import { Component, type ComponentChild, type FunctionComponent, h } from 'preact';

export function memo<Props extends object>(part: FunctionComponent<Props>) {
  return class Memo extends Component<Props> {
    override shouldComponentUpdate(next: Readonly<Props>): boolean {
      const now = this.props as Record<string, unknown>;
      const then = next as Record<string, unknown>;
      return Object.keys({ ...now, ...then }).some(key => now[key] !== then[key]);
    }

    override render(): ComponentChild {
      return h(part as FunctionComponent<object>, this.props);
    }
  };
}
