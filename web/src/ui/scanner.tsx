// Reads a handoff's link from the camera, where the browser can read QR codes.
import { useEffect, useRef } from 'preact/hooks';

/** The part of the Shape Detection API that is used here; TypeScript does not know it. */
interface BarcodeDetector {
  detect(image: HTMLVideoElement): Promise<readonly { readonly rawValue: string }[]>;
}
type BarcodeDetectorClass = new (options: { formats: string[] }) => BarcodeDetector;

function detector(): BarcodeDetectorClass | undefined {
  return (globalThis as { BarcodeDetector?: BarcodeDetectorClass }).BarcodeDetector;
}

/** Whether there is a camera to be had and somebody to read it. */
export function canScan(): boolean {
  return detector() !== undefined && navigator.mediaDevices?.getUserMedia !== undefined;
}

/** The token in a handoff's link; `undefined` for what is none of this server's. */
export function tokenOf(link: string): string | undefined {
  let url: URL;
  try {
    url = new URL(link);
  } catch {
    return undefined;
  }
  if (url.origin !== location.origin || url.pathname !== '/handoff') return undefined;
  return url.hash.length > 1 ? url.hash.slice(1) : undefined;
}

/** Milliseconds between two looks. */
const LOOK = 150;

interface Props {
  readonly onToken: (token: string) => void;
  readonly onFail: (reason: string) => void;
}

export function Scanner({ onToken, onFail }: Props) {
  const video = useRef<HTMLVideoElement>(null);

  useEffect(() => {
    const Detector = detector();
    if (Detector === undefined) return;
    const ends = new AbortController();
    scan(Detector, video, ends.signal).then(
      token => token !== undefined && onToken(token),
      () => ends.signal.aborted || onFail('The camera cannot be used. Type the code instead.'),
    );
    return () => ends.abort();
  }, []);

  return (
    <div class="scanner">
      <video ref={video} muted playsInline aria-label="What the camera sees" />
      <p class="soft small-text">Hold the other device's QR code in front of the camera.</p>
    </div>
  );
}

async function scan(
  Detector: BarcodeDetectorClass,
  video: { readonly current: HTMLVideoElement | null },
  signal: AbortSignal,
): Promise<string | undefined> {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
  try {
    const screen = video.current;
    if (signal.aborted || screen === null) return undefined;
    screen.srcObject = stream;
    await screen.play();
    const reader = new Detector({ formats: ['qr_code'] });
    while (!signal.aborted) {
      const found = await reader.detect(screen);
      const token = found.map(({ rawValue }) => tokenOf(rawValue)).find(token => token !== undefined);
      if (token !== undefined) return token;
      await new Promise(resolve => setTimeout(resolve, LOOK));
    }
    return undefined;
  } finally {
    for (const track of stream.getTracks()) track.stop();
  }
}
